import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isQuorateError } from '../core/errors.ts';
import { Mvcc } from './mvcc.ts';

function put(mvcc: Mvcc, key: string, value = 'v', lease = 0n): void {
  mvcc.begin();
  mvcc.put(key, value, lease, mvcc.latest(key));
  mvcc.end();
}

function remove(mvcc: Mvcc, ...keys: string[]): void {
  mvcc.begin();
  for (const key of keys) mvcc.delete(mvcc.latest(key)!);
  mvcc.end();
}

function compact(mvcc: Mvcc, revision: number): void {
  mvcc.compact(revision);
  while (mvcc.compactStep());
}

function logged(mvcc: Mvcc): string[] {
  const found: string[] = [];
  mvcc.scanLog(0, ({ key, modRevision, version }) => {
    return found.push(`${key}@${modRevision}${version === 0 ? 't' : ''}`) > 0;
  });
  return found;
}

describe('compaction', () => {
  it('keeps of each key the newest version at or below the floor', () => {
    const mvcc = new Mvcc();
    for (const key of ['a', 'a', 'b', 'a', 'a']) put(mvcc, key);
    compact(mvcc, 4);
    assert.deepEqual(logged(mvcc), ['a@3', 'b@4', 'a@5', 'a@6']);
    assert.equal(mvcc.at('a', 4)?.modRevision, 3);
  });

  it('drops a tombstone below the floor and keeps one exactly at it, until the next time', () => {
    const mvcc = new Mvcc();
    put(mvcc, 'a');
    put(mvcc, 'b');
    remove(mvcc, 'a');
    remove(mvcc, 'b');
    put(mvcc, 'c');
    compact(mvcc, 5);
    assert.deepEqual(logged(mvcc), ['b@5t', 'c@6']);
    compact(mvcc, 6);
    assert.deepEqual(logged(mvcc), ['c@6']);
    assert.equal(mvcc.keyCount, 1);
  });

  it('sees tombstones at the old floor also when it was not finished before the next began', () => {
    const mvcc = new Mvcc();
    for (let i = 0; i < 3000; i++) put(mvcc, `k${i}`);
    mvcc.begin();
    for (let i = 0; i < 3000; i++) mvcc.delete(mvcc.latest(`k${i}`)!);
    mvcc.end();
    put(mvcc, 'last');
    mvcc.compact(mvcc.revision - 1);
    mvcc.compactStep();
    compact(mvcc, mvcc.revision);
    assert.deepEqual(logged(mvcc), ['last@3003']);
    assert.equal(mvcc.keyCount, 1);
  });

  it('removes the history of one hot key in bounded slices', () => {
    const mvcc = new Mvcc();
    for (let i = 0; i < 5500; i++) put(mvcc, 'hot');
    remove(mvcc, 'hot');
    put(mvcc, 'other');
    mvcc.compact(mvcc.revision);
    let before = mvcc.versionCount;
    for (let more = true; more; ) {
      more = mvcc.compactStep();
      assert.ok(before - mvcc.versionCount <= 1001, 'a slice is bounded');
      before = mvcc.versionCount;
    }
    assert.deepEqual(logged(mvcc), ['other@5503']);
    assert.equal(mvcc.keyCount, 1);
  });

  it('refuses a floor that is not above the old one, or is in the future', () => {
    const mvcc = new Mvcc();
    put(mvcc, 'a');
    put(mvcc, 'a');
    mvcc.compact(2);
    assert.throws(() => mvcc.compact(2), { code: 'ERR_COMPACTED', compactRevision: 2 });
    assert.throws(() => mvcc.compact(4), { code: 'ERR_FUTURE_REVISION' });
    assert.throws(
      () => mvcc.checkReadable(1),
      (error) => isQuorateError(error, 'ERR_COMPACTED'),
    );
    mvcc.checkReadable(2);
  });

  it('of revision 0 and 1 is legal in a fresh store, once each', () => {
    const mvcc = new Mvcc();
    mvcc.compact(0);
    assert.throws(() => mvcc.compact(0), { code: 'ERR_COMPACTED' });
    mvcc.compact(1);
  });
});

describe('the hash', () => {
  it('is what etcd 3.6.16 answers for the same history', () => {
    const mvcc = new Mvcc();
    const now = (): number => mvcc.hash(mvcc.revision);
    assert.equal(now(), 1084519789);
    put(mvcc, 'a', '1');
    put(mvcc, 'b', '2', 7n);
    put(mvcc, 'a', 'x'.repeat(200));
    assert.equal(now(), 1965314682);
    put(mvcc, 'c', '');
    remove(mvcc, 'a', 'b');
    put(mvcc, 'a', 'again');
    assert.equal(now(), 634477845);
    mvcc.compact(6);
    assert.equal(now(), 2013044869);
    put(mvcc, 'c', '2');
    assert.equal(now(), 2790998122);
    mvcc.compact(8);
    assert.equal(now(), 2790998122);
    remove(mvcc, 'a', 'c');
    assert.equal(now(), 673281395);
  });

  it('is the same before and after a compaction has removed what it passed, and removes nothing', () => {
    for (const removedInTheEnd of [['a'], ['a', 'b', 'c']]) {
      for (let floor = 0; floor <= 11; floor++) {
        const mvcc = new Mvcc();
        for (let i = 0; i < 2; i++) {
          for (const key of ['a', 'b', 'a', 'c']) put(mvcc, key, `${i}`);
          if (i === 0) remove(mvcc, 'a');
        }
        remove(mvcc, ...removedInTheEnd);
        mvcc.compact(floor);
        const { versionCount, revision } = mvcc;
        const hashes = (): number[] => {
          const first = Math.max(floor, 1);
          return Array.from({ length: revision - first + 1 }, (_, at) => mvcc.hash(first + at));
        };
        const pending = hashes();
        assert.deepEqual([mvcc.versionCount, mvcc.compacting], [versionCount, true]);
        while (mvcc.compactStep());
        assert.deepEqual(pending, hashes(), `${removedInTheEnd} removed, compacted at ${floor}`);
      }
    }
  });
});

describe('the size', () => {
  it('falls in use with compaction, and in total only when defragmented', () => {
    const mvcc = new Mvcc();
    for (let i = 0; i < 100; i++) put(mvcc, 'a', 'x'.repeat(1000));
    const full = mvcc.sizeBytes();
    assert.ok(full.total > 100_000 && full.total === full.inUse);
    compact(mvcc, mvcc.revision);
    assert.ok(mvcc.sizeBytes().inUse < 30_000);
    assert.equal(mvcc.sizeBytes().total, full.total);
    mvcc.defragment();
    assert.equal(mvcc.sizeBytes().total, mvcc.sizeBytes().inUse);
  });
});
