/** A node whose disk was lost comes back under its old name: what was acknowledged stays. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { CrashDisk } from '../testing/crash-disk.ts';
import type { MemoryNetwork } from '../testing/memory-network.ts';
import { ELECTION_MS, idOf, type Name, VirtualCluster } from './test-cluster.ts';
import { readIdentity } from './wal/identity.ts';
import { openDiskStorage } from './wal/storage.ts';

const NAMES: readonly Name[] = ['a', 'b', 'c'];

async function withCluster(run: (cluster: VirtualCluster) => Promise<void>): Promise<void> {
  const cluster = new VirtualCluster();
  try {
    await run(cluster);
  } finally {
    await cluster.close();
  }
}

/** The disk is lost. */
function wipe({ disks }: VirtualCluster, name: Name): void {
  disks[name] = new CrashDisk();
}

const isOnProbation = (disk: CrashDisk): Promise<boolean> => disk.exists('/data/member/joining');

async function probationsEnd(cluster: VirtualCluster, ...names: readonly Name[]): Promise<void> {
  for (const name of names) {
    const isOver = async (): Promise<boolean> => !(await isOnProbation(cluster.disks[name]));
    assert.ok(await cluster.until(isOver), `the probation of ${name} ends`);
  }
}

const read = (cluster: VirtualCluster, name: Name): Promise<void> =>
  cluster.ended(cluster.node(name).replica.readBarrier(), `what ${name} reads`);

/** It heard of a leader in `term`, and crashed before an entry came. */
async function setTerm({ disks }: VirtualCluster, name: Name, term: number): Promise<void> {
  const disk = disks[name];
  const identity = (await readIdentity(disk, '/data'))!;
  const storage = await openDiskStorage({ disk, folder: '/data', identity });
  await new Promise<void>((resolve) => {
    storage.persist({ hardState: { term, vote: '', commit: 0 }, entries: [] }, () => resolve());
  });
  await storage.close();
}

/** Hears what nodes that are opened from here on ask each other, as they ask it. */
function watchCalls(
  network: MemoryNetwork,
  onCall: (from: string, to: string, text: string) => void,
): void {
  const { transport: open } = network;
  network.transport = (from) => {
    const transport = open(from);
    const call = transport.call.bind(transport);
    transport.call = (to, method, payload, timeoutMs) => {
      onCall(from, to, `${method} ${Buffer.from(payload)}`);
      return call(to, method, payload, timeoutMs);
    };
    return transport;
  };
}

test('a node that lost its disk does not help a node that missed a write to lead', async () => {
  await withCluster(async (cluster) => {
    await cluster.open('a', 'b', 'c');
    await cluster.propose('first');
    await probationsEnd(cluster, ...NAMES);
    await cluster.close('b');
    await cluster.propose('acknowledged by a and c');
    await cluster.close('a', 'c');
    wipe(cluster, 'c');

    // b never saw the write, c forgot it: together they must not decide anything.
    await cluster.open('b', 'c');
    // Time in which an election would be won, if one could be.
    await cluster.clock.advance(10 * ELECTION_MS);
    assert.equal(cluster.node('b').replica.leader, '', 'nobody leads');
    assert.ok(await isOnProbation(cluster.disks.c));

    await cluster.open('a');
    await read(cluster, 'b');
    assert.deepEqual(cluster.node('b').journal.commands, ['first', 'acknowledged by a and c']);
  });
});

test('a node that lost its disk and one that heard of a leader, and of no write, are no new cluster', async () => {
  await withCluster(async (cluster) => {
    await cluster.open('c');
    await cluster.close('c');
    await cluster.open('a', 'b');
    await cluster.propose('acknowledged by a and b');
    await cluster.close('a', 'b');
    wipe(cluster, 'b');
    await setTerm(cluster, 'c', 2);

    await cluster.open('b', 'c');
    // Time in which an election would be won, if one could be.
    await cluster.clock.advance(10 * ELECTION_MS);
    assert.ok(await isOnProbation(cluster.disks.b));
    assert.ok(await isOnProbation(cluster.disks.c));
    assert.equal(cluster.node('c').replica.leader, '', 'nobody leads');
  });
});

for (const [from, writes] of [
  ['log', 1],
  ['snapshot', 20],
] as const) {
  test(`a node that lost its disk catches up from a ${from} and votes again`, async () => {
    await withCluster(async (cluster) => {
      await cluster.open('a', 'b', 'c');
      for (let i = 0; i < writes; i++) await cluster.propose(`${i}`);
      await cluster.close('c');
      wipe(cluster, 'c');
      await cluster.open('c');
      const { replica, journal } = cluster.node('c');
      await probationsEnd(cluster, 'c');
      assert.ok(await cluster.until(() => journal.commands.length === writes));
      assert.equal(replica.status().snapshotIndex > 0, from === 'snapshot');
      await cluster.close('a');
      await cluster.propose('with the vote of c');
      assert.ok(await cluster.until(() => journal.commands.length === writes + 1));
    });
  });
}

test('all that a node asked while it was on probation hear that it is over', async () => {
  await withCluster(async (cluster) => {
    await cluster.open('a', 'b', 'c');
    await cluster.propose('x');
    await probationsEnd(cluster, ...NAMES);
    await cluster.close('c');
    wipe(cluster, 'c');
    const { c: disk } = cluster.disks;
    const random = seededRandom(1);
    const told: { readonly to: string; readonly text: string; readonly cut: CrashDisk }[] = [];
    watchCalls(cluster.network, (from, to, text) => {
      const isOver = from === idOf('c') && text.endsWith(' over');
      if (isOver) told.push({ to, text, cut: disk.afterCrash(random) });
    });
    await cluster.open('c');
    assert.ok(await cluster.until(() => told.length > 0), 'somebody is told');
    assert.deepEqual(told.map(({ to }) => to).sort(), [idOf('a'), idOf('b')].sort());
    for (const { text, cut } of told) {
      assert.equal(text, `standing ${idOf('c')} over`);
      assert.ok(!(await isOnProbation(cut)), 'not before that is durable');
    }
  });
});

test('a probation goes on after a restart', async () => {
  await withCluster(async (cluster) => {
    await cluster.open('a', 'b', 'c');
    await cluster.propose('x');
    await cluster.close('a', 'b', 'c');
    wipe(cluster, 'c');
    await cluster.open('c', 'a');
    await cluster.close('c');
    await cluster.open('c');
    await cluster.clock.advance(5 * ELECTION_MS);
    assert.ok(await isOnProbation(cluster.disks.c));
    assert.equal(cluster.node('a').replica.leader, '', 'nobody leads');
    await cluster.open('b');
    await read(cluster, 'b');
    await probationsEnd(cluster, 'c');
  });
});

test('two nodes of a new cluster elect a leader without the third, which joins later', async () => {
  await withCluster(async (cluster) => {
    await cluster.open('a', 'b');
    await cluster.propose('x');
    await cluster.open('c');
    await read(cluster, 'c');
    assert.deepEqual(cluster.node('c').journal.commands, ['x']);
    await probationsEnd(cluster, 'c');
    await cluster.close('a');
    await cluster.propose('y');
  });
});
