/**
 * The paper, section by section, on snapshots and reads:
 * "In Search of an Understandable Consensus Algorithm" (extended version).
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MessageType } from '../messages.ts';
import { Cluster, entryAt, message, Node, only, win } from './test-cluster.ts';

const { append, appendReply, heartbeat } = MessageType;
const plain = { preVote: false, checkQuorum: false };

describe('§7 log compaction', () => {
  test('a follower whose entries are gone gets the snapshot, then what follows it', () => {
    const cluster = Cluster.of(3, plain);
    const leader = cluster.elect('1');
    cluster.isolate('3');
    cluster.propose('1', 'a', 'b', 'c');
    cluster.settle();
    leader.compact(4, 5);
    assert.equal(leader.status.firstIndex, 5);
    cluster.cut.clear();
    cluster.tick(1);
    const [wanted] = leader.snapshotsWanted;
    assert.deepEqual(
      [wanted!.type, wanted!.to, wanted!.index, wanted!.logTerm],
      [MessageType.snapshot, '3', 4, 1],
    );
    assert.equal(leader.status.peers[1]!.state, 'snapshot');
    cluster.propose('1', 'd');
    cluster.settle();
    const receiver = cluster.node('3');
    receiver.core.step(wanted!);
    receiver.run();
    assert.equal(receiver.install?.index, 4);
    assert.equal(receiver.status.commit, 1, 'nothing is claimed before it is installed');
    receiver.finishInstall();
    cluster.settle();
    leader.core.snapshotSent('3', true);
    cluster.settle();
    assert.deepEqual(receiver.applied, ['d']);
    assert.equal(receiver.status.commit, 5);
    assert.equal(leader.status.peers[1]!.state, 'replicate');
    assert.equal(leader.snapshotsWanted.length, 1, 'it is asked for once');
  });

  test('a snapshot that the log agrees with only says what is committed', () => {
    const node = new Node('1', { logTerms: [1, 1, 2] });
    const [reply] = node.answer(
      message(MessageType.snapshot, '2', '1', 2, { index: 3, logTerm: 2 }),
    );
    assert.equal(node.install, undefined);
    assert.equal(node.status.commit, 3);
    assert.equal(reply!.index, 3);
  });

  test('an old snapshot is answered with what is committed', () => {
    const node = new Node('1', { logTerms: [1, 1, 2], commit: 3 });
    const [reply] = node.answer(
      message(MessageType.snapshot, '2', '1', 2, { index: 2, logTerm: 1 }),
    );
    assert.equal(node.install, undefined);
    assert.deepEqual([reply!.type, reply!.index, reply!.reject], [appendReply, 3, false]);
  });

  test('a snapshot of what is committed is not taken, not even where the log is gone or differs', () => {
    const cluster = Cluster.of(3, plain);
    const node = cluster.elect('1');
    cluster.propose('1', 'a', 'b', 'c');
    cluster.settle();
    node.compact(4, 5);
    for (const [index, logTerm] of [
      [2, 1],
      [4, 3],
    ] as const) {
      node.answer(message(MessageType.snapshot, '2', '1', 5, { index, logTerm }));
      assert.equal(node.install, undefined);
      assert.equal(node.status.commit, 4);
    }
  });

  test('a snapshot replaces a log that conflicts with it, whole', () => {
    const node = new Node('1', { logTerms: [1, 1, 1, 1] });
    node.answer(message(MessageType.snapshot, '2', '1', 3, { index: 3, logTerm: 2 }));
    assert.equal(node.install?.index, 3);
    // Until then it takes no entries, and does not campaign on a log that is about to go.
    const late = { index: 4, logTerm: 1, entries: [entryAt(5, 3)], commit: 5 };
    assert.deepEqual(node.answer(message(append, '2', '1', 3, late)), []);
    node.tick(50);
    assert.equal(node.status.role, 'follower');
    node.finishInstall();
    const [reply] = node.run();
    assert.deepEqual([reply!.type, reply!.index, reply!.to], [appendReply, 3, '2']);
    const { firstIndex, lastIndex, commit, handedOut } = node.status;
    assert.deepEqual(
      { firstIndex, lastIndex, commit, handedOut },
      {
        firstIndex: 4,
        lastIndex: 3,
        commit: 3,
        handedOut: 3,
      },
    );
    const next = { index: 3, logTerm: 2, entries: [entryAt(4, 3)], commit: 4 };
    assert.equal(node.answer(message(append, '2', '1', 3, next))[0]!.index, 4);
  });

  test('a leader keeps what it was told to, and a snapshot that failed is tried again', () => {
    const cluster = Cluster.of(3, plain);
    const leader = cluster.elect('1');
    cluster.isolate('3');
    cluster.propose('1', 'a', 'b', 'c');
    cluster.settle();
    leader.compact(4, 3);
    assert.equal(leader.status.firstIndex, 3);
    assert.equal(leader.core.termAt(2), 1, 'the term before the first entry is still known');
    assert.equal(leader.core.termAt(1), 0);
    cluster.cut.clear();
    cluster.tick(1);
    assert.equal(leader.snapshotsWanted.length, 1);
    leader.core.snapshotSent('3', false);
    cluster.settle();
    assert.equal(leader.snapshotsWanted.length, 1, 'not before there is a sign of life');
    cluster.tick(1);
    assert.equal(leader.snapshotsWanted.length, 2);
  });

  test('no snapshot is streamed to a peer that does not answer', () => {
    const node = new Node('1', { settings: plain, logTerms: [1, 1, 1] });
    win(node, ['2']);
    node.core.step(message(appendReply, '2', '1', 2, { index: 4 }));
    node.run();
    node.compact(4, 5);
    node.core.unreachable('3');
    node.tick(5);
    node.run();
    assert.deepEqual(node.snapshotsWanted, []);
  });
});

describe('§8 client interaction', () => {
  test('a new leader commits an entry of its own before it answers a read', () => {
    const node = new Node('1', { settings: plain, logTerms: [1, 1], commit: 1 });
    win(node, ['2']);
    node.core.readIndex(7);
    const beats = only(node.run(), heartbeat);
    assert.deepEqual(beats, [], 'its commit index may be older than what clients have seen');
    assert.deepEqual(node.reads, []);
    node.core.step(message(appendReply, '2', '1', 2, { index: 3 }));
    const [asked] = only(node.run(), heartbeat);
    node.answer(message(MessageType.heartbeatReply, '2', '1', 2, { context: asked!.context }));
    assert.deepEqual(node.reads, [{ context: 7, index: 3 }]);
  });

  test('a leader that was deposed without knowing answers no read', () => {
    const cluster = Cluster.of(3, plain);
    const old = cluster.elect('1');
    cluster.isolate('1');
    cluster.elect('2');
    cluster.propose('2', 'newer');
    cluster.settle();
    old.core.readIndex(1);
    cluster.tick(5, ['1']);
    assert.deepEqual(old.reads, []);
    cluster.cut.clear();
    cluster.tick(1);
    assert.deepEqual(old.reads, []);
    assert.deepEqual(old.droppedReads, [1]);
  });

  test('a read costs one round of heartbeats, and no entry of the log', () => {
    const cluster = Cluster.of(3, plain);
    const leader = cluster.elect('1');
    cluster.propose('1', 'a');
    cluster.settle();
    cluster.delivered = [];
    for (let context = 1; context <= 100; context++) leader.core.readIndex(context);
    cluster.settle();
    assert.equal(leader.reads.length, 100);
    assert.ok(leader.reads.every(({ index }) => index === 2));
    assert.equal(cluster.delivered.length, 4, 'two heartbeats and their answers');
    assert.equal(leader.status.lastIndex, 2);
  });

  test('an answer to an earlier round, or of an earlier term, proves nothing for a later read', () => {
    const node = new Node('1', { settings: plain });
    win(node, ['2']);
    node.core.step(message(appendReply, '2', '1', 1, { index: 1 }));
    node.run();
    node.core.readIndex(1);
    const first = only(node.run(), heartbeat)[0]!.context;
    node.answer(message(MessageType.heartbeatReply, '2', '1', 1, { context: first }));
    assert.equal(node.reads.length, 1);
    node.core.readIndex(2);
    const second = only(node.run(), heartbeat)[0]!.context;
    assert.notEqual(second, first);
    node.answer(message(MessageType.heartbeatReply, '2', '1', 1, { context: first }));
    node.answer(message(MessageType.heartbeatReply, '2', '1', 0, { context: second }));
    node.answer(message(MessageType.heartbeatReply, '9', '1', 1, { context: second }));
    assert.equal(node.reads.length, 1);
    node.answer(message(MessageType.heartbeatReply, '3', '1', 1, { context: second }));
    assert.equal(node.reads.length, 2);
  });
});
