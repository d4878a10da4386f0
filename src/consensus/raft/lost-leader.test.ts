import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MessageType } from '../messages.ts';
import { Cluster, message, Node, only } from './test-cluster.ts';

/** Three nodes; 1 leads and is gone: connections to it break where `noticed` says. */
function withoutLeader(noticed: readonly string[]): Cluster {
  const cluster = Cluster.of(3);
  cluster.elect('1');
  cluster.tick(1);
  cluster.isolate('1');
  for (const id of noticed) cluster.node(id).core.unreachable('1');
  return cluster;
}

/** Ticks until 2 or 3 leads. */
function ticksToLead(cluster: Cluster): number {
  for (let ticks = 0; ticks < 60; ticks++) {
    if (['2', '3'].some((id) => cluster.node(id).status.role === 'leader')) return ticks;
    cluster.tick(1, ['2', '3']);
  }
  return assert.fail('nobody leads');
}

describe('a connection to the leader that breaks', () => {
  test('lets those who lost it elect before an election timeout is over', () => {
    assert.ok(ticksToLead(withoutLeader(['2', '3'])) < 10);
    assert.ok(ticksToLead(withoutLeader([])) >= 10, 'which they else wait for');
  });

  test('means nothing to those who hear the leader', () => {
    const cluster = Cluster.of(3);
    const leader = cluster.elect('1');
    cluster.tick(1);
    const { term } = leader.status;
    cluster.cut.add('1>2');
    cluster.node('2').core.unreachable('1');
    cluster.tick(9);
    assert.equal(leader.status.role, 'leader');
    assert.equal(leader.status.term, term, 'only asked, and refused');
    cluster.cut.clear();
    cluster.tick(1);
    assert.equal(cluster.node('2').status.leader, '1');
  });

  test('is forgotten as soon as the leader is heard', () => {
    const node = new Node('2', {});
    const heartbeat = message(MessageType.heartbeat, '1', '2', 1);
    node.answer(heartbeat);
    node.core.unreachable('1');
    node.tick(1);
    node.answer(heartbeat);
    node.tick(9);
    assert.deepEqual(only(node.run(), MessageType.preVote), []);
    // And whoever asks for its vote is refused again.
    node.answer(heartbeat);
    const asks = message(MessageType.preVote, '3', '2', 2, { index: 9, logTerm: 1 });
    assert.equal(node.answer(asks).length, 0);
    node.core.unreachable('1');
    assert.equal(only(node.answer(asks), MessageType.preVoteReply)[0]?.reject, false);
  });

  test('of anybody else, or without the vote before the vote, changes nothing', () => {
    const heartbeat = message(MessageType.heartbeat, '1', '2', 1);
    for (const [settings, peer] of [
      [{}, '3'],
      [{ preVote: false }, '1'],
      [{ checkQuorum: false }, '1'],
    ] as const) {
      const node = new Node('2', { settings });
      node.answer(heartbeat);
      node.core.unreachable(peer);
      node.tick(9);
      assert.equal(node.status.role, 'follower');
    }
  });

  test('leads to another attempt soon where two were in each other’s way', () => {
    const node = new Node('2', {});
    node.answer(message(MessageType.heartbeat, '1', '2', 1));
    node.core.unreachable('1');
    node.tick(7);
    assert.ok(only(node.run(), MessageType.preVote).length > 0);
    node.tick(7);
    assert.ok(only(node.run(), MessageType.preVote).length > 0);
  });

  test('makes no leader that grants its own successor the vote before the vote', () => {
    const cluster = withoutLeader(['2', '3']);
    ticksToLead(cluster);
    const leader = ['2', '3'].find((id) => cluster.node(id).status.role === 'leader')!;
    const { core, status } = cluster.node(leader);
    const other = leader === '2' ? '3' : '2';
    const asks = { index: status.lastIndex, logTerm: status.term };
    core.step(message(MessageType.preVote, other, leader, status.term + 1, asks));
    assert.deepEqual(only(cluster.node(leader).run(), MessageType.preVoteReply), []);
  });
});
