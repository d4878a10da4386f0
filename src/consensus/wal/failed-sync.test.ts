/** A sync that fails leaves in the page cache what is not on the disk, and later syncs do not write it (fsyncgate). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../../core/random.ts';
import { CrashDisk } from '../../testing/crash-disk.ts';
import type { Storage } from '../storage.ts';
import { type Entry, EntryType } from '../types.ts';
import { openDiskStorage } from './storage.ts';

const identity = { clusterId: 'cdf818194e3a8c32', nodeId: '8e9e05c52164694d' };

function open(disk: CrashDisk): Promise<Storage> {
  return openDiskStorage({ disk, folder: '/data', identity, settings: { segmentBytes: 8192 } });
}

function entry(index: number): Entry {
  return { type: EntryType.normal, term: 1, index, data: Buffer.alloc(600, index) };
}

function persist(storage: Storage, index: number): Promise<Error | undefined> {
  const hardState = { term: 1, vote: '', commit: 0 };
  return new Promise((resolve) => storage.persist({ hardState, entries: [entry(index)] }, resolve));
}

test('what is found after a failed sync and a restart is on the disk before anything is promised on it', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const disk = new CrashDisk();
    const first = await open(disk);
    assert.equal(await persist(first, 1), undefined);
    disk.refuse = (operation, path) =>
      operation === 'sync' && path.endsWith('.wal') ? 'EIO' : undefined;
    assert.match(String(await persist(first, 2)), /EIO/);
    await first.close();

    const restarted = disk.afterKill();
    const second = await open(restarted);
    const found = second.recovered.entries;
    assert.deepEqual(found, [entry(1), entry(2)]);
    assert.equal(await persist(second, 3), undefined);

    const third = await open(restarted.afterCrash(seededRandom(seed)));
    assert.deepEqual(third.recovered.entries, [...found, entry(3)]);
    await third.close();
    await second.close();
  }
});
