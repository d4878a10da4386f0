/** The key-value suite on an embedded quorum: on the leader, on a follower, and over the wire. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type KvTarget, kvCases, runCases } from '../../src/conformance/index.ts';
import type { Consensus } from '../../src/consensus/types.ts';
import { etcdService } from '../../src/drivers/etcd/index.ts';
import { kvOver } from '../../src/kv/index.ts';
import { openNode, type QuorateNode } from '../../src/node.ts';
import { type EtcdServer, serveEtcd } from '../../src/server/index.ts';
import { until } from '../support/cluster.ts';
import { freePorts } from '../support/ports.ts';

type Place = (typeof PLACES)[number];

const PLACES = ['on the leader', 'on a follower', 'over the wire from a follower'] as const;
/** Registers the whole suite on clusters of three embedded nodes under `consensus`. */
export function embeddedSuite(consensus: Consensus): void {
  for (const place of PLACES) {
    describe(`three embedded nodes under ${consensus}, ${place}`, () => {
      let nodes: QuorateNode[] = [];
      let folder: string;
      let server: EtcdServer | undefined;
      let target: KvTarget;
      before(async () => {
        folder = await mkdtemp(join(tmpdir(), 'quorate-conformance-'));
        nodes = await openThree(folder, consensus);
        const node = await pick(nodes, place);
        target = { kv: node.kv, service: node.backend.kv };
        if (place !== 'over the wire from a follower') return;
        server = await serveEtcd(node.backend, { listenUrls: ['http://127.0.0.1:0'] });
        const service = etcdService({ endpoints: server.urls });
        target = { kv: kvOver(service), service };
      });
      after(async () => {
        await target.kv.close();
        await server?.close();
        await Promise.all(nodes.map((node) => node.close()));
        await rm(folder, { recursive: true });
      });
      runCases(
        kvCases,
        () => target,
        (name, run, skip) => {
          test(name, { skip: skip ?? false }, run);
        },
      );
    });
  }
}

/** Three durable nodes in this process. */
export async function openThree(folder: string, consensus: Consensus): Promise<QuorateNode[]> {
  const ports = await freePorts(3);
  const peers = Object.fromEntries(ports.map((port, i) => [`n${i}`, `http://127.0.0.1:${port}`]));
  return Promise.all(
    Object.keys(peers).map((name) =>
      openNode({ name, peers, consensus, dataDir: join(folder, name) }),
    ),
  );
}

function pick(nodes: readonly QuorateNode[], place: Place): Promise<QuorateNode> {
  const role = place === 'on the leader' ? 'leader' : 'follower';
  return until(`a node is ${role}`, () =>
    nodes.find((node) => node.status().role === role && node.status().leader !== ''),
  );
}
