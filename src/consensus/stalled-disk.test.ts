/** A leader whose disk stands still: another one leads soon, and stays so until the disk moves. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DiskFile } from '../core/disk.ts';
import { CrashDisk } from '../testing/crash-disk.ts';
import { ELECTION_MS, type Name, VirtualCluster } from './test-cluster.ts';

/** Syncs end when they may. */
class StallingDisk extends CrashDisk {
  #stall: { readonly over: Promise<void>; readonly end: () => void } | undefined;

  stall(): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#stall = { over: promise, end: resolve };
  }

  move(): void {
    this.#stall?.end();
    this.#stall = undefined;
  }

  override async open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
    const file = await super.open(path, mode);
    return {
      ...file,
      sync: async () => {
        await this.#stall?.over;
        await file.sync();
      },
    };
  }
}

test('a leader whose disk stands still gives way within two election timeouts, and comes back when it moves', async () => {
  const disks = { a: new StallingDisk(), b: new StallingDisk(), c: new StallingDisk() };
  const cluster = new VirtualCluster(disks);
  await cluster.open('a', 'b', 'c');
  await cluster.propose('first');
  await cluster.clock.advance(5 * ELECTION_MS);
  const leads = (name: Name): boolean => cluster.nodes.get(name)!.replica.leading;
  const leader = (['a', 'b', 'c'] as const).find(leads)!;
  const others = (['a', 'b', 'c'] as const).filter((name) => name !== leader);

  disks[leader].stall();
  const { replica } = cluster.nodes.get(leader)!;
  // The disks of the others are enough for a majority: what is on its way is acknowledged.
  const waiting = replica.propose(Buffer.from('in the stall'));
  const before = cluster.clock.now();
  assert.ok(await cluster.until(() => others.some(leads)));
  assert.ok(
    cluster.clock.now() - before <= 2 * ELECTION_MS + 20,
    `${cluster.clock.now() - before} ms`,
  );
  await waiting;
  await cluster.propose('led by another');
  const { term } = replica.status();
  await cluster.clock.advance(20 * ELECTION_MS);
  assert.ok(others.some(leads), 'it does not campaign');
  assert.ok(cluster.nodes.get(others[0]!)!.replica.status().term <= term + 1);

  disks[leader].move();
  await cluster.propose('after');
  const agree = (): boolean =>
    cluster
      .journals()
      .every((journal) => journal.join() === 'first,in the stall,led by another,after');
  assert.ok(await cluster.until(agree), JSON.stringify(cluster.journals()));
  await cluster.close();
});
