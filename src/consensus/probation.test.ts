/** A node whose disk was lost comes back under its old name: what was acknowledged stays. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { nodeDisk } from '../core/node-disk.ts';
import { type MemoryNetwork, memoryNetwork } from '../testing/memory-network.ts';
import { openReplica } from './open-replica.ts';
import { memberId } from './replica/members.ts';
import type { Replica } from './replica/replica.ts';
import type { StateMachine } from './state-machine.ts';
import type { Identity } from './storage.ts';
import type { Transport } from './transport.ts';
import { openDiskStorage } from './wal/storage.ts';

class Journal implements StateMachine<number> {
  commands: string[] = [];
  apply(data: Uint8Array): number {
    return this.commands.push(Buffer.from(data).toString());
  }
  snapshot(): Iterable<Uint8Array> {
    return [Buffer.from(JSON.stringify(this.commands))];
  }
  async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const chunk of chunks) this.commands = JSON.parse(Buffer.from(chunk).toString());
  }
}

const peers = { a: 'http://a:1', b: 'http://b:1', c: 'http://c:1' };
const ELECTION_MS = 60;

class Cluster {
  readonly #network: MemoryNetwork = memoryNetwork();
  readonly #folder: string;
  readonly #identities = new Map<string, Identity>();
  /** What nodes asked each other. */
  readonly calls: { readonly name: string; readonly to: string; readonly text: string }[] = [];
  readonly replicas = new Map<string, { replica: Replica<number>; journal: Journal }>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  folder(name: string): string {
    return join(this.#folder, name);
  }

  async open(...names: (keyof typeof peers)[]): Promise<void> {
    for (const name of names) {
      const journal = new Journal();
      const { replica, nodeId, clusterId } = await openReplica<number>({
        name,
        peers,
        dataDir: this.folder(name),
        machine: journal,
        heartbeatMs: 10,
        electionMs: ELECTION_MS,
        requestTimeoutMs: 5000,
        transport: this.#network.transport(memberId([peers[name]], 'etcd-cluster')),
        wrapTransport: (transport) => this.#watched(name, transport),
      });
      this.replicas.set(name, { replica, journal });
      this.#identities.set(name, { clusterId, nodeId, consensus: 'raft' });
    }
  }

  #watched(name: string, transport: Transport): Transport {
    const call = transport.call.bind(transport);
    transport.call = (to, method, payload, timeoutMs) => {
      this.calls.push({ name, to, text: `${method} ${Buffer.from(payload)}` });
      return call(to, method, payload, timeoutMs);
    };
    return transport;
  }

  get(name: string): { replica: Replica<number>; journal: Journal } {
    return this.replicas.get(name)!;
  }

  async close(...names: string[]): Promise<void> {
    await Promise.all(names.map((name) => this.get(name).replica.close()));
    for (const name of names) this.replicas.delete(name);
  }

  /** The disk is lost. */
  async wipe(name: string): Promise<void> {
    await rm(this.folder(name), { recursive: true });
  }

  /** It heard of a leader in `term`, and crashed before an entry came. */
  async setTerm(name: keyof typeof peers, term: number): Promise<void> {
    const storage = await openDiskStorage({
      disk: nodeDisk,
      folder: this.folder(name),
      identity: this.#identities.get(name)!,
    });
    await new Promise<void>((resolve) => {
      storage.persist({ hardState: { term, vote: '', commit: 0 }, entries: [] }, () => resolve());
    });
    await storage.close();
  }

  isOnProbation(name: string): boolean {
    return existsSync(join(this.folder(name), 'member', 'joining'));
  }
}

async function withCluster(run: (cluster: Cluster) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'quorate-probation-'));
  const cluster = new Cluster(folder);
  try {
    await run(cluster);
  } finally {
    await cluster.close(...cluster.replicas.keys());
    await rm(folder, { recursive: true });
  }
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, `timed out waiting for ${holds}`);
    await wait(5);
  }
}

const bytes = (text: string): Buffer => Buffer.from(text);

test('a node that lost its disk does not help a node that missed a write to lead', async () => {
  await withCluster(async (cluster) => {
    await cluster.open('a', 'b', 'c');
    await cluster.get('a').replica.propose(bytes('first'));
    await until(() => !['a', 'b', 'c'].some((name) => cluster.isOnProbation(name)));
    await cluster.close('b');
    await cluster.get('a').replica.propose(bytes('acknowledged by a and c'));
    await cluster.close('a', 'c');
    await cluster.wipe('c');

    // b never saw the write, c forgot it: together they must not decide anything.
    await cluster.open('b', 'c');
    await wait(ELECTION_MS * 10); // time in which an election would be won, if one could be
    assert.equal(cluster.get('b').replica.leader, '', 'nobody leads');
    assert.ok(cluster.isOnProbation('c'));

    await cluster.open('a');
    await cluster.get('b').replica.readBarrier();
    assert.deepEqual(cluster.get('b').journal.commands, ['first', 'acknowledged by a and c']);
  });
});

test('a node that lost its disk and one that heard of a leader, and of no write, are no new cluster', async () => {
  await withCluster(async (cluster) => {
    await cluster.open('c');
    await cluster.close('c');
    await cluster.open('a', 'b');
    await cluster.get('a').replica.propose(bytes('acknowledged by a and b'));
    await cluster.close('a', 'b');
    await cluster.wipe('b');
    await cluster.setTerm('c', 2);

    await cluster.open('b', 'c');
    await wait(ELECTION_MS * 10); // time in which an election would be won, if one could be
    assert.ok(cluster.isOnProbation('b'));
    assert.ok(cluster.isOnProbation('c'));
    assert.equal(cluster.get('c').replica.leader, '', 'nobody leads');
  });
});

test('a node that lost its disk catches up and votes again', async () => {
  await withCluster(async (cluster) => {
    await cluster.open('a', 'b', 'c');
    for (let i = 0; i < 20; i++) await cluster.get('a').replica.propose(bytes(`${i}`));
    await cluster.close('c');
    await cluster.wipe('c');
    await cluster.open('c');
    await until(() => !cluster.isOnProbation('c'));
    await until(() => cluster.get('c').journal.commands.length === 20);
    await cluster.close('a');
    await cluster.get('b').replica.propose(bytes('with the vote of c'));
    await until(() => cluster.get('c').journal.commands.length === 21);
  });
});

test('all that a node asked while it was on probation hear that it is over', async () => {
  await withCluster(async (cluster) => {
    await cluster.open('a', 'b', 'c');
    await cluster.get('a').replica.propose(bytes('x'));
    await until(() => !['a', 'b', 'c'].some((name) => cluster.isOnProbation(name)));
    await cluster.close('c');
    await cluster.wipe('c');
    cluster.calls.length = 0;
    await cluster.open('c');
    const { id } = cluster.get('c').replica;
    const toldOver = (): string[] => {
      const over = cluster.calls.filter(({ name, text }) => name === 'c' && text.endsWith(' over'));
      assert.ok(over.every(({ text }) => text === `standing ${id} over`));
      return over.map(({ to }) => to).sort();
    };
    await until(() => toldOver().length > 0);
    assert.ok(!cluster.isOnProbation('c'), 'not before that is durable');
    const others = ['a', 'b'].map((name) => cluster.get(name).replica.id);
    assert.deepEqual(toldOver(), others.sort());
  });
});

test('a probation goes on after a restart', async () => {
  await withCluster(async (cluster) => {
    await cluster.open('a', 'b', 'c');
    await cluster.get('a').replica.propose(bytes('x'));
    await cluster.close('a', 'b', 'c');
    await cluster.wipe('c');
    await cluster.open('c', 'a');
    await cluster.close('c');
    await cluster.open('c');
    await wait(ELECTION_MS * 5); // as above
    assert.ok(cluster.isOnProbation('c'));
    assert.equal(cluster.get('a').replica.leader, '', 'nobody leads');
    await cluster.open('b');
    await cluster.get('b').replica.readBarrier();
    await until(() => !cluster.isOnProbation('c'));
  });
});

test('two nodes of a new cluster elect a leader without the third, which joins later', async () => {
  await withCluster(async (cluster) => {
    await cluster.open('a', 'b');
    await cluster.get('a').replica.propose(bytes('x'));
    await cluster.open('c');
    await cluster.get('c').replica.readBarrier();
    assert.deepEqual(cluster.get('c').journal.commands, ['x']);
    await until(() => !cluster.isOnProbation('c'));
    await cluster.close('a');
    await cluster.get('c').replica.propose(bytes('y'));
  });
});
