/** Files cut, torn and damaged at every byte: what a crash leaves is repaired, all else refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { CrashDisk } from '../../testing/crash-disk.ts';
import type { Storage } from '../storage.ts';
import type { Entry, Persist } from '../types.ts';
import { openDiskStorage } from './storage.ts';

const identity = { clusterId: 'cdf818194e3a8c32', nodeId: '8e9e05c52164694d' };
const SEGMENT = '/data/member/wal/0000000000000000-0000000000000000.wal';

function open(disk: CrashDisk, warnings: string[] = []): Promise<Storage> {
  const settings = { segmentBytes: 8192 };
  const onWarning = (text: string): void => void warnings.push(text);
  return openDiskStorage({ disk, folder: '/data', identity, settings, onWarning });
}

function persist(storage: Storage, write: Persist): Promise<void> {
  return new Promise((resolve, reject) => {
    storage.persist(write, (error) => (error ? reject(error) : resolve()));
  });
}

function entry(index: number, bytes: number): Entry {
  return { type: 0, term: 1, index, data: Buffer.alloc(bytes, index) };
}

/** Where the records in `bytes` begin, and where the last one ends. */
function recordOffsets(bytes: Buffer): number[] {
  const offsets = [0];
  for (let at = 0; at + 8 <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    if (length === 0) break;
    at += 8 + length + (-length & 7);
    offsets.push(at);
  }
  return offsets;
}

/** The power failed before it was noted beside the log how far that is durable. */
function forgetMark(disk: CrashDisk): CrashDisk {
  disk.setBytes('/data/member/durable', Buffer.alloc(8192));
  return disk;
}

/** A log of three entries, each written by itself, the last one of `bytes`. */
async function threeEntries(bytes: number, secondBytes = 20): Promise<CrashDisk> {
  const disk = new CrashDisk();
  const storage = await open(disk);
  const hardState = { term: 1, vote: '', commit: 0 };
  await persist(storage, { hardState, entries: [entry(1, 20)] });
  await persist(storage, { hardState: undefined, entries: [entry(2, secondBytes)] });
  await persist(storage, { hardState: undefined, entries: [entry(3, bytes)] });
  await storage.close();
  return disk;
}

async function expectEntries(disk: CrashDisk, count: number, repaired: boolean): Promise<void> {
  const warnings: string[] = [];
  const storage = await open(disk, warnings);
  assert.equal(storage.recovered.entries.length, count);
  assert.equal(warnings.length, repaired ? 1 : 0, warnings.join());
  // Appending over the place of the repair must leave a log that is whole.
  const next = entry(count + 1, 700);
  await persist(storage, { hardState: undefined, entries: [next] });
  await storage.close();
  const again = await open(disk, warnings);
  assert.deepEqual(again.recovered.entries.at(-1), next);
  assert.equal(warnings.length, repaired ? 1 : 0);
  await again.close();
}

test('a file that ends anywhere within the last record loses that record only', async () => {
  for (const bytes of [0, 30, 700]) {
    const disk = await threeEntries(bytes);
    const whole = Buffer.from(disk.bytes(SEGMENT));
    const offsets = recordOffsets(whole);
    const start = offsets.at(-2)!;
    const end = offsets.at(-1)!;
    for (let cut = start; cut < end; cut++) {
      const damaged = forgetMark(disk.afterKill());
      damaged.setBytes(SEGMENT, Buffer.from(whole.subarray(0, cut)));
      await expectEntries(damaged, 2, cut > start);
    }
  }
});

test('a last record of which any sectors were never written is removed', async () => {
  const disk = await threeEntries(3000);
  const whole = disk.bytes(SEGMENT);
  const offsets = recordOffsets(whole);
  // The last write begins with the checksum record before the entry.
  const start = offsets.at(-3)!;
  const end = offsets.at(-1)!;
  const sectors = Array.from({ length: Math.ceil(end / 512) }, (_, i) => i).filter(
    (sector) => (sector + 1) * 512 > start,
  );
  for (let lost = 1; lost < 1 << sectors.length; lost++) {
    const damaged = forgetMark(disk.afterKill());
    const torn = damaged.bytes(SEGMENT);
    for (const [bit, sector] of sectors.entries()) {
      if ((lost & (1 << bit)) !== 0)
        torn.fill(0, Math.max(start, sector * 512), (sector + 1) * 512);
    }
    const remains = torn.subarray(start).some((byte) => byte !== 0);
    await expectEntries(damaged, 2, remains);
  }
});

test('the last write, lost in part or whole though it is noted to be durable, is refused', async () => {
  const disk = await threeEntries(700);
  const whole = disk.bytes(SEGMENT);
  const offsets = recordOffsets(whole);
  const end = offsets.at(-1)!;
  const damages: ((bytes: Buffer) => Buffer)[] = [
    (bytes) => bytes.subarray(0, end - 1),
    (bytes) => bytes.subarray(0, offsets.at(-2)),
    (bytes) => bytes.subarray(0, offsets.at(-3)),
    (bytes) => bytes.fill(0, offsets.at(-3)),
    (bytes) => bytes.fill(0, offsets.at(-2)! - (offsets.at(-2)! % 512) + 512),
  ];
  for (const [i, damage] of damages.entries()) {
    const damaged = disk.afterKill();
    damaged.setBytes(SEGMENT, damage(Buffer.from(whole)));
    await assert.rejects(
      open(damaged),
      (error) => isQuorateError(error, 'ERR_CORRUPT') && /was durable/.test(error.message),
      `damage ${i}`,
    );
  }
});

test('a bit flipped anywhere in the records is refused, naming file and byte', async () => {
  const disk = await threeEntries(60);
  const offsets = recordOffsets(disk.bytes(SEGMENT));
  const end = offsets.at(-1)!;
  for (let at = 0; at < end; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const damaged = disk.afterKill();
      damaged.bytes(SEGMENT)[at]! ^= 1 << bit;
      const before = Buffer.from(damaged.bytes(SEGMENT));
      await assert.rejects(open(damaged), (error) => {
        assert.ok(isQuorateError(error, 'ERR_CORRUPT'), `byte ${at} bit ${bit}: ${error}`);
        const offset = /\.wal is corrupt at byte (\d+)/.exec(error.message)?.[1];
        assert.ok(offset !== undefined && Number(offset) % 8 === 0, error.message);
        assert.ok(Number(offset) <= at + 40 && at - Number(offset) < 200, error.message);
        return true;
      });
      assert.ok(before.equals(damaged.bytes(SEGMENT)));
    }
  }
});

test('zeros over any record but the last are refused, not taken for the end', async () => {
  const disk = await threeEntries(60);
  const offsets = recordOffsets(disk.bytes(SEGMENT));
  for (let i = 0; i < offsets.length - 3; i++) {
    const damaged = disk.afterKill();
    damaged.bytes(SEGMENT).fill(0, offsets[i], offsets[i + 1]);
    await assert.rejects(
      open(damaged),
      (error) => isQuorateError(error, 'ERR_CORRUPT'),
      `record ${i}`,
    );
  }
});

test('sectors lost from any write but the last are refused, not taken for a torn write', async () => {
  const disk = await threeEntries(60, 3000);
  const offsets = recordOffsets(disk.bytes(SEGMENT));
  // The second write: its checksum record and its entry.
  const start = offsets.at(-5)!;
  const end = offsets.at(-3)!;
  assert.ok(end - start > 3000);
  for (let sector = Math.floor(start / 512); sector * 512 < end - 512; sector++) {
    const damaged = disk.afterKill();
    damaged.bytes(SEGMENT).fill(0, Math.max(start, sector * 512), (sector + 1) * 512);
    await assert.rejects(
      open(damaged),
      (error) => isQuorateError(error, 'ERR_CORRUPT'),
      `${sector}`,
    );
  }
});

test('an earlier segment is never repaired: cut, torn or followed by anything it is refused', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  const hardState = { term: 1, vote: '', commit: 0 };
  for (let i = 1; i <= 40; i++) await persist(storage, { hardState, entries: [entry(i, 300)] });
  await storage.close();
  const whole = Buffer.from(disk.bytes(SEGMENT));
  const offsets = recordOffsets(whole);
  const start = offsets.at(-2)!;
  const end = offsets.at(-1)!;
  const damages: ((bytes: Buffer) => Buffer)[] = [
    (bytes) => bytes.subarray(0, start),
    (bytes) => bytes.subarray(0, start + 20),
    (bytes) => bytes.fill(0, start),
    (bytes) => bytes.fill(0, start + 8, end),
    (bytes) => Buffer.concat([bytes, Buffer.alloc(1024), Buffer.from([1])]),
  ];
  for (const [i, damage] of damages.entries()) {
    const damaged = disk.afterKill();
    damaged.setBytes(SEGMENT, damage(Buffer.from(whole)));
    await assert.rejects(
      open(damaged),
      (error) => isQuorateError(error, 'ERR_CORRUPT'),
      `damage ${i}`,
    );
  }
  const cut = disk.afterKill();
  cut.setBytes(SEGMENT, Buffer.from(whole.subarray(0, end)));
  const reopened = await open(cut);
  assert.equal(reopened.recovered.entries.length, 40);
  await reopened.close();
});

test('a bit flipped anywhere in a snapshot is refused', async () => {
  const disk = new CrashDisk();
  const storage = await open(disk);
  await persist(storage, { hardState: { term: 1, vote: '', commit: 0 }, entries: [entry(1, 20)] });
  const configuration = { voters: [identity.nodeId], learners: [] };
  const writer = await storage.createSnapshot({ index: 1, term: 1, configuration });
  await writer.write(Buffer.from('first'));
  await writer.write(Buffer.from('second'));
  await writer.commit();
  await storage.close();
  // Without the beginning of the log there is nothing to start from but the snapshot.
  const path = '/data/member/snap/0000000000000001-0000000000000001.state';
  const { verifySnapshot } = await import('./snapshot-file.ts');
  assert.equal((await verifySnapshot(disk, path, identity.clusterId)).bytes, 11);
  for (let at = 0; at < disk.bytes(path).length; at++) {
    const damaged = disk.afterKill();
    damaged.bytes(path)[at]! ^= 1 << (at % 8);
    await assert.rejects(
      verifySnapshot(damaged, path, identity.clusterId),
      (error) => isQuorateError(error, 'ERR_CORRUPT'),
      `byte ${at}`,
    );
    damaged.setBytes(path, Buffer.from(disk.bytes(path).subarray(0, at)));
    await assert.rejects(
      verifySnapshot(damaged, path, identity.clusterId),
      (error) => isQuorateError(error, 'ERR_CORRUPT'),
      `cut at ${at}`,
    );
  }
});
