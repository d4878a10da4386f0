/** The suites of locks and elections through our client on a node that we serve. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import type { LocksTarget } from '../../src/conformance/index.ts';
import { etcdKv } from '../../src/drivers/etcd/index.ts';
import type { Kv } from '../../src/kv/index.ts';
import type { QuorateNode } from '../../src/node.ts';
import { type EtcdServer, serveEtcd } from '../../src/server/index.ts';
import { openThree } from './embedded.ts';
import { block, KV_LACKS, kvTarget, lockSuites } from './locks-over-kv.ts';

describe('locks through the etcd API of three nodes', () => {
  let nodes: readonly QuorateNode[] = [];
  let servers: readonly EtcdServer[] = [];
  let stores: readonly Kv[] = [];
  let folder: string;
  let target: LocksTarget;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'quorate-locks-'));
    nodes = await openThree(folder, 'raft');
    const listen = { listenUrls: ['http://127.0.0.1:0'] };
    servers = await Promise.all(nodes.map((node) => serveEtcd(node.backend, listen)));
    stores = servers.map((server) => etcdKv({ endpoints: server.urls }));
    target = kvTarget({ stores, ttlMs: 2000, expiryMs: 3000, stall: block });
  });
  after(async () => {
    await Promise.all(stores.map((store) => store.close()));
    await Promise.all(servers.map((server) => server.close()));
    await Promise.all(nodes.map((node) => node.close()));
    await rm(folder, { recursive: true });
  });
  lockSuites(() => target, KV_LACKS);
});
