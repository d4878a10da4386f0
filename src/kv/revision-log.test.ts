import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VersionRecord } from './record.ts';
import { RevisionLog } from './revision-log.ts';

function filled(count: number): { log: RevisionLog; records: VersionRecord[] } {
  const log = new RevisionLog();
  const records = Array.from({ length: count }, (_, i) => {
    const modRevision = 2 + Math.floor(i / 3);
    return {
      key: `k${i}`,
      createRevision: modRevision,
      modRevision,
      version: 1,
      value: '',
      lease: 0n,
      sub: i % 3,
    };
  });
  for (const record of records) log.append(record);
  return { log, records };
}

function from(log: RevisionLog, revision: number, sub: number): string[] {
  const keys: string[] = [];
  log.scan(revision, sub, ({ key }) => keys.push(key) > 0);
  return keys;
}

test('a scan begins at exactly the revision and sub-revision asked for', () => {
  const { log, records } = filled(9000);
  const keys = records.map(({ key }) => key);
  assert.deepEqual(from(log, 0, 0), keys);
  assert.deepEqual(from(log, 1502, 1), keys.slice(4501));
  assert.deepEqual(from(log, 3001, 2), keys.slice(8999));
  assert.deepEqual(from(log, 3002, 0), []);
});

test('dead versions are gone, before and after the segments are copied', () => {
  const { log, records } = filled(20_000);
  const living = records.filter((_, i) => i % 4 === 0 || i > 15_000);
  const alive = new Set(living);
  for (const record of records) if (!alive.has(record)) assert.ok(log.markDead(record));
  const keys = living.map(({ key }) => key);
  assert.equal(log.count, keys.length);
  assert.deepEqual(from(log, 0, 0), keys);
  while (log.repack());
  assert.deepEqual(from(log, 0, 0), keys);
  assert.deepEqual(from(log, 2 + Math.floor(8000 / 3), 8000 % 3)[0], 'k8000');
});

test('a pinned view shows neither appends nor compaction', () => {
  const { log, records } = filled(9000);
  const view = log.pin();
  for (const record of records.slice(0, 8000)) log.markDead(record);
  while (log.repack());
  log.append({ ...records[0]!, modRevision: 9999 });
  assert.equal(view.count, 9000);
  assert.deepEqual([...view], records);
  assert.equal(log.count, 1001);
});

test('a view pinned after a compaction does not show what it removed', () => {
  const { log, records } = filled(100);
  for (const record of records.slice(0, 10)) log.markDead(record);
  assert.deepEqual([...log.pin()], records.slice(10));
});

test('a version is taken out once', () => {
  const { log, records } = filled(3);
  assert.equal(log.markDead(records[1]!), true);
  assert.equal(log.markDead(records[1]!), false);
  assert.equal(log.count, 2);
});
