/** A node whose own disk stands still. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageType } from '../messages.ts';
import { bytes, leading, message, type Node, only } from './test-cluster.ts';

const ELECTION_TICKS = 10;
const { appendReply, heartbeatReply, timeoutNow } = MessageType;

/** Ticks, while the followers answer heartbeats; what was sent. */
function tick(node: Node, ticks: number): ReturnType<Node['run']> {
  const sent: ReturnType<Node['run']> = [];
  for (let i = 0; i < ticks; i++) {
    node.core.tick();
    sent.push(...node.run());
    for (const peer of ['2', '3']) node.core.step(message(heartbeatReply, peer, '1', 1));
    sent.push(...node.run());
  }
  return sent;
}

function stalled(): Node {
  const node = leading({ settings: { electionTicks: ELECTION_TICKS, heartbeatTicks: 1 } });
  tick(node, 1);
  node.isStalled = true;
  node.core.propose([bytes('a')]);
  node.run();
  return node;
}

test('a leader whose disk stands still for an election timeout hands over to a follower that has all', () => {
  const node = stalled();
  node.core.step(message(appendReply, '2', '1', 1, { index: 2 }));
  assert.deepEqual(only(tick(node, ELECTION_TICKS - 1), timeoutNow), []);
  assert.deepEqual(
    only(tick(node, 1), timeoutNow).map(({ to }) => to),
    ['2'],
  );
  assert.equal(node.core.propose([bytes('b')]), 'transferring');
});

test('where nobody takes over it steps down before two election timeouts are over', () => {
  const node = stalled();
  tick(node, 1.5 * ELECTION_TICKS - 1);
  assert.equal(node.status.role, 'leader');
  tick(node, 1);
  assert.equal(node.status.role, 'follower');
});

test('it does not campaign before its disk moves again', () => {
  const node = stalled();
  tick(node, 1.5 * ELECTION_TICKS);
  tick(node, 5 * ELECTION_TICKS);
  assert.equal(node.status.role, 'follower');
  node.core.campaign();
  assert.equal(node.status.role, 'follower');
  node.isStalled = false;
  node.completeWrites();
  tick(node, 2 * ELECTION_TICKS);
  assert.notEqual(node.status.role, 'follower');
});

test('a disk that is slow and moves, and one that has nothing to do, are none that stands still', () => {
  const node = stalled();
  for (let i = 0; i < 10; i++) {
    tick(node, ELECTION_TICKS - 2);
    node.completeWrites();
    node.core.propose([bytes('more')]);
  }
  assert.equal(node.status.role, 'leader');
  node.isStalled = false;
  node.completeWrites();
  tick(node, 5 * ELECTION_TICKS);
  assert.equal(node.status.role, 'leader');
});

test('a node that is alone has nobody to give way to', () => {
  const node = stalled();
  node.core.configure({ voters: ['1'], learners: [] });
  tick(node, 5 * ELECTION_TICKS);
  assert.equal(node.status.role, 'leader');
});
