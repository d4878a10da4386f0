/**
 * The power fails in the whole house while all three write: any of them may have torn its last write. None
 * of that was acknowledged, so nobody waits for anybody, and they come back as they are.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import type { CrashDisk } from '../testing/crash-disk.ts';
import { type Name, VirtualCluster } from './test-cluster.ts';

const NAMES: readonly Name[] = ['a', 'b', 'c'];

/** Any number of writes finish, one is under way on each disk. */
async function cutPower(seed: number): Promise<{
  readonly disks: Record<Name, CrashDisk>;
  readonly acknowledged: readonly string[];
}> {
  const random = seededRandom(seed);
  const cluster = new VirtualCluster();
  await cluster.open(...NAMES);
  const acknowledged: string[] = [];
  const before = 1 + random.below(15);
  for (let i = 0; i < before; i++) {
    await cluster.propose(`${i}`.padEnd(random.below(900), '.'));
    acknowledged.push(cluster.leader!.journal.commands.at(-1)!);
  }
  // From some operation on nothing reaches the disk any more; or all wait for the sync of a write.
  for (const name of NAMES) {
    const disk = cluster.disks[name];
    if (seed % 2 === 0) disk.operationLimit = disk.operations + random.below(8);
    else
      disk.refuse = (name, path) => (name === 'sync' && path.includes('/wal/') ? 'EIO' : undefined);
  }
  const { replica } = cluster.leader!;
  for (let i = 0; i < 4; i++) {
    replica.propose(Buffer.from(`last ${i}`.padEnd(300, '.'))).catch(() => undefined);
  }
  await cluster.clock.advance(20);
  const disks = {
    a: cluster.disks.a.afterCrash(random),
    b: cluster.disks.b.afterCrash(random),
    c: cluster.disks.c.afterCrash(random),
  };
  await cluster.close();
  return { disks, acknowledged };
}

test('three nodes that lose power at once, with torn writes, come back by themselves with all that was acknowledged', async () => {
  /** How many nodes had torn writes, by seed. */
  const torn: number[] = [];
  for (let seed = 1; seed <= 40; seed++) {
    const { disks, acknowledged } = await cutPower(seed);
    const cluster = new VirtualCluster(disks);
    await cluster.open(...NAMES);
    await cluster.propose('after');
    const done = (): boolean => cluster.journals().every((journal) => journal.at(-1) === 'after');
    assert.ok(await cluster.until(done), `seed ${seed}`);
    for (const journal of cluster.journals()) {
      assert.deepEqual(journal.slice(0, acknowledged.length), acknowledged, `seed ${seed}`);
    }
    torn.push(cluster.warnings.filter((text) => text.includes('cut short by a crash')).length);
    const damaged = cluster.warnings.filter((text) => text.includes('set the damaged'));
    assert.deepEqual(damaged, [], `seed ${seed}`);
    await cluster.close();
  }
  assert.ok(torn.includes(3), `all of them at once: ${torn}`);
});
