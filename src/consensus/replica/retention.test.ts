import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CoreStatus, PeerProgress } from '../core.ts';
import { Retention } from './retention.ts';
import { replicaSettings } from './settings.ts';

const follower = (match: number): PeerProgress => {
  return { id: 'f', match, next: match + 1, state: 'probe', active: true };
};
const leaderWith = (...peers: PeerProgress[]): { status: () => CoreStatus } => {
  return { status: () => ({ peers }) as unknown as CoreStatus };
};
const alone = leaderWith();

test('the log in memory is bounded by entries', () => {
  const retention = new Retention(replicaSettings({ keepEntries: 100 }));
  let first = 1;
  for (let index = 1; index <= 1000; index++) {
    retention.applied(10);
    first = retention.dropBefore(index, alone) ?? first;
    assert.ok(index - first + 1 <= 127, `${index - first + 1} entries kept`);
    assert.ok(index < 100 || index - first + 1 >= 100, 'at least what was asked for is kept');
  }
});

test('the log in memory is bounded by bytes', () => {
  const retention = new Retention(replicaSettings({ keepBytes: 1000 }));
  let first = 1;
  for (let index = 1; index <= 100; index++) {
    retention.applied(100);
    first = retention.dropBefore(index, alone) ?? first;
    assert.ok((index - first + 1) * 100 <= 1300);
  }
});

test('after a snapshot took the place of the log, what is kept is counted anew', () => {
  const retention = new Retention(replicaSettings({ keepEntries: 10 }));
  for (let index = 1; index <= 12; index++) retention.applied(1);
  retention.reset();
  retention.applied(1);
  assert.equal(retention.dropBefore(100, alone), undefined);
});

test('what follows a snapshot on its way is kept until its follower caught up, within bounds', () => {
  const retention = new Retention(replicaSettings({ keepEntries: 10 }));
  let index = 0;
  const applyTo = (last: number): void => {
    while (index < last) {
      index += 1;
      retention.applied(1);
    }
  };
  applyTo(20);
  retention.hold('f', 15);
  assert.equal(retention.dropBefore(20, leaderWith(follower(0))), 11);
  applyTo(100);
  assert.equal(retention.dropBefore(100, leaderWith(follower(0))), 16);
  assert.equal(retention.dropBefore(100, leaderWith(follower(0))), undefined, 'nothing more');
  assert.equal(retention.dropBefore(100, leaderWith(follower(50))), 51, 'what it has');
  assert.equal(retention.dropBefore(100, leaderWith(follower(95))), 91, 'it caught up');
  retention.hold('f', 95);
  retention.release('f');
  applyTo(120);
  assert.equal(retention.dropBefore(120, leaderWith(follower(0))), 111, 'it was not sent');
  retention.hold('f', 115);
  applyTo(1000);
  assert.equal(retention.dropBefore(1000, leaderWith(follower(0))), 991, 'it took too long');
});
