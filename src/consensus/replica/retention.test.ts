import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Retention } from './retention.ts';
import { replicaSettings } from './settings.ts';

test('the log in memory is bounded by entries', () => {
  const retention = new Retention(replicaSettings({ keepEntries: 100 }));
  let first = 1;
  for (let index = 1; index <= 1000; index++) {
    retention.applied(10);
    first = retention.dropBefore(index) ?? first;
    assert.ok(index - first + 1 <= 127, `${index - first + 1} entries kept`);
    assert.ok(index < 100 || index - first + 1 >= 100, 'at least what was asked for is kept');
  }
});

test('the log in memory is bounded by bytes', () => {
  const retention = new Retention(replicaSettings({ keepBytes: 1000 }));
  let first = 1;
  for (let index = 1; index <= 100; index++) {
    retention.applied(100);
    first = retention.dropBefore(index) ?? first;
    assert.ok((index - first + 1) * 100 <= 1300);
  }
});

test('after a snapshot took the place of the log, what is kept is counted anew', () => {
  const retention = new Retention(replicaSettings({ keepEntries: 10 }));
  for (let index = 1; index <= 12; index++) retention.applied(1);
  retention.reset();
  retention.applied(1);
  assert.equal(retention.dropBefore(100), undefined);
});
