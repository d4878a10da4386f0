import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isQuorateError } from '../core/errors.ts';
import { seededRandom } from '../core/random.ts';
import { CrashDisk } from '../testing/crash-disk.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { describeLeases, type LeaseTerms, leaseTerms, outlastOldLeases } from './lease-reads.ts';
import { guardMs } from './raft/lease.ts';

/** Starts a node on `disk` with `terms`: how long it waits before it takes part. */
async function waits(disk: CrashDisk, terms: LeaseTerms | undefined): Promise<number> {
  const clock = new VirtualClock();
  let endMs: number | undefined;
  const waiting = outlastOldLeases(disk, '/data', terms, clock, () => undefined).finally(() => {
    endMs = clock.now();
  });
  await settled();
  while (endMs === undefined) await clock.advance(1000);
  await waiting;
  return endMs;
}

async function newDisk(): Promise<CrashDisk> {
  const disk = new CrashDisk();
  for (const folder of ['/data', '/data/member']) await disk.makeFolder(folder);
  for (const folder of ['/', '/data']) await disk.syncFolder(folder);
  return disk;
}

const FIRST: LeaseTerms = { durationMs: 90, maxClockDrift: 0.05 };
const SECOND: LeaseTerms = { durationMs: 30, maxClockDrift: 0.1 };

describe('the terms of leases', () => {
  test('make a new leader wait no longer than an election takes', () => {
    for (const maxClockDrift of [0, 0.01, 0.5]) {
      const terms = leaseTerms({ maxClockDrift }, 'raft', 1000)!;
      assert.equal(Math.round(guardMs(terms.durationMs, maxClockDrift)), 1000);
    }
    assert.equal(leaseTerms(undefined, 'raft', 1000), undefined);
  });

  test('are refused where they make no sense, and with Paxos', () => {
    for (const maxClockDrift of [-0.1, 0.6, 5, Number.NaN]) {
      assert.throws(
        () => leaseTerms({ maxClockDrift }, 'raft', 1000),
        (error) =>
          isQuorateError(error, 'ERR_INVALID_ARGUMENT') && /leaseReads/.test(error.message),
      );
    }
    assert.throws(
      () => leaseTerms({ maxClockDrift: 0 }, 'paxos', 1000),
      (error) => isQuorateError(error, 'ERR_UNSUPPORTED'),
    );
  });

  test('are told apart in words', () => {
    const texts = [undefined, FIRST, SECOND].map(describeLeases);
    assert.equal(new Set(texts).size, 3);
    assert.equal(texts[0], '');
  });
});

describe('a node that is started with other terms than before', () => {
  test('waits for leases by the old ones, once', async () => {
    const disk = await newDisk();
    assert.equal(await waits(disk, FIRST), 0, 'there were none before');
    assert.equal(await waits(disk, FIRST), 0, 'these are the same');
    assert.equal(await waits(disk, SECOND), Math.ceil(guardMs(90, 0.05)));
    assert.equal(await waits(disk, SECOND), 0);
    assert.equal(await waits(disk, undefined), Math.ceil(guardMs(30, 0.1)));
    assert.equal(await waits(disk, undefined), 0);
  });

  test('waits again after a power cut while it waited, and remembers what it began with', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      let disk = await newDisk();
      await waits(disk, FIRST);
      const clock = new VirtualClock();
      void outlastOldLeases(disk, '/data', SECOND, clock, () => undefined);
      await clock.advance(50);
      disk = disk.afterCrash(seededRandom(seed));
      assert.equal(await waits(disk, SECOND), Math.ceil(guardMs(90, 0.05)));
      disk = disk.afterCrash(seededRandom(seed));
      assert.equal(await waits(disk, undefined), Math.ceil(guardMs(30, 0.1)));
    }
  });

  test('waits as long as any lease can last where it cannot read what it remembers', async () => {
    const disk = await newDisk();
    await waits(disk, FIRST);
    disk.setBytes('/data/member/leases', Buffer.from('{"durationMs": 1e99'));
    assert.equal(await waits(disk, FIRST), 50_000);
    assert.equal(await waits(disk, FIRST), 0);
  });
});
