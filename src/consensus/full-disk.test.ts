/** Disks that are full: writes are refused with a clear error, everything else goes on, and it heals. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../core/errors.ts';
import type { CrashDisk } from '../testing/crash-disk.ts';
import { idOf, type Name, VirtualCluster } from './test-cluster.ts';

/** Whatever would make a file longer, or a new one, is refused. */
function fill(disk: CrashDisk): void {
  disk.refuse = (operation, path) =>
    operation === 'write' && path.endsWith('.tmp') ? 'ENOSPC' : undefined;
}

async function withCluster(run: (cluster: VirtualCluster) => Promise<void>): Promise<void> {
  const cluster = new VirtualCluster();
  await cluster.open('a', 'b', 'c');
  await cluster.propose('first');
  // The first term's probation is over.
  await cluster.clock.advance(200);
  await run(cluster);
  await cluster.close();
}

/** Which one leads. */
function leaderOf(cluster: VirtualCluster): Name {
  for (const [name, { replica }] of cluster.nodes) if (replica.leading) return name;
  throw new assert.AssertionError({ message: 'nobody leads' });
}

/** Proposes on `name` until that is refused; with what. */
async function refusalOf(cluster: VirtualCluster, name: Name): Promise<unknown> {
  for (let i = 0; i < 60; i++) {
    let outcome: unknown;
    cluster.nodes
      .get(name)!
      .replica.propose(Buffer.from(`${name}${i}`.padEnd(300, '.')))
      .then(
        () => {
          outcome = 'applied';
        },
        (error) => {
          outcome = error;
        },
      );
    assert.ok(await cluster.until(() => outcome !== undefined));
    if (outcome !== 'applied') return outcome;
  }
  throw new assert.AssertionError({ message: 'never refused' });
}

const reads = (cluster: VirtualCluster, name: Name): Promise<void> =>
  cluster.ended(cluster.node(name).replica.readBarrier(), `what ${name} reads`);

const agree = (cluster: VirtualCluster): boolean => {
  const [first, ...others] = cluster.journals();
  return others.every((journal) => journal.join() === first!.join());
};

test('with all disks full, writes get ERR_NO_SPACE, reads and elections go on, and it heals by itself', async () => {
  await withCluster(async (cluster) => {
    for (const disk of Object.values(cluster.disks)) fill(disk);
    const refusal = await refusalOf(cluster, 'b');
    assert.ok(isQuorateError(refusal, 'ERR_NO_SPACE'), String(refusal));
    assert.match(refusal.message, /disk of the leading node is full.*reads go on/);
    assert.equal(refusal.outcome, 'not-applied');
    await reads(cluster, 'c');
    await cluster.clock.advance(1000);
    const before = leaderOf(cluster);
    const next = before === 'a' ? 'b' : 'a';
    const moving = cluster.nodes.get(before)!.replica.transferLeadership(idOf(next));
    moving.catch(() => undefined);
    assert.ok(await cluster.until(() => cluster.nodes.get(next)!.replica.leading));
    await moving;
    await reads(cluster, 'c');

    for (const disk of Object.values(cluster.disks)) disk.refuse = undefined;
    await cluster.clock.advance(500);
    for (let i = 0; i < 20; i++) await cluster.propose(`after ${i}`.padEnd(300, '.'));
    assert.ok(await cluster.until(() => agree(cluster)));
  });
});

test('a leader whose disk is full hands over to one with space', async () => {
  await withCluster(async (cluster) => {
    const full = leaderOf(cluster);
    fill(cluster.disks[full]);
    for (let i = 0; leaderOf(cluster) === full && i < 60; i++) {
      await cluster.nodes
        .get(full)!
        .replica.propose(Buffer.from(`${i}`.padEnd(300, '.')))
        .catch((error) => assert.ok(isQuorateError(error, 'ERR_NO_SPACE'), String(error)));
      await cluster.clock.advance(10);
      assert.ok(await cluster.until(() => cluster.leader !== undefined));
    }
    assert.notEqual(leaderOf(cluster), full);
    for (let i = 0; i < 20; i++) await cluster.propose(`after ${i}`.padEnd(300, '.'));

    cluster.disks[full].refuse = undefined;
    await cluster.clock.advance(500);
    assert.ok(await cluster.until(() => agree(cluster)), 'it catches up');
  });
});

test('a follower whose disk is full acknowledges nothing that it did not take, and still votes', async () => {
  await withCluster(async (cluster) => {
    const leader = leaderOf(cluster);
    const [full, other] = (['a', 'b', 'c'] as const).filter((name) => name !== leader);
    fill(cluster.disks[full!]);
    for (let i = 0; i < 40; i++) await cluster.propose(`${i}`.padEnd(300, '.'));
    const { journal, replica } = cluster.nodes.get(full!)!;
    const held = replica.status().lastIndex;
    assert.ok(journal.commands.length < 30, `${journal.commands.length} commands`);
    await cluster.propose('one more');
    assert.equal(replica.status().lastIndex, held);
    const refusal = await refusalOf(cluster, full!);
    assert.ok(isQuorateError(refusal, 'ERR_NO_SPACE'), String(refusal));
    assert.match(refusal.message, /disk of this node is full/);
    cluster.network.isolate(idOf(leader));
    const elected = (): boolean => cluster.nodes.get(other!)!.replica.status().role === 'leader';
    assert.ok(await cluster.until(elected), 'with the vote of the full one');
    cluster.network.rejoin(idOf(leader));
    cluster.disks[full!].refuse = undefined;
    await cluster.clock.advance(500);
    await cluster.propose('last');
    assert.ok(await cluster.until(() => agree(cluster)), 'it catches up');
  });
});
