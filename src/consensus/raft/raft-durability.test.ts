/**
 * Writes that complete later than the network answers (thesis §10.2.1), and what a disk gives back.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { seededRandom } from '../../core/random.ts';
import { MessageType } from '../messages.ts';
import { RaftCore } from './raft.ts';
import { bytes, entriesOf, entryAt, leading, message, Node } from './test-cluster.ts';

const { append, appendReply, heartbeat, heartbeatReply, vote, voteReply } = MessageType;

describe('writing to disk beside the network, thesis §10.2.1', () => {
  test('a leader sends entries before its own disk has them, and counts itself only after', () => {
    const node = leading();
    node.isStalled = true;
    node.core.propose([bytes('a')]);
    assert.equal(node.run().filter(({ type }) => type === append).length, 1);
    node.core.step(message(appendReply, '2', '1', 1, { index: 2 }));
    assert.equal(node.status.commit, 1, 'one disk of three');
    node.completeWrites();
    assert.equal(node.status.commit, 2);
  });

  test('a quorum of followers commits without the disk of the leader', () => {
    const node = leading();
    node.isStalled = true;
    node.core.propose([bytes('a')]);
    node.run();
    for (const peer of ['2', '3']) node.core.step(message(appendReply, peer, '1', 1, { index: 2 }));
    node.run();
    assert.deepEqual(node.applied, ['a']);
  });

  test('nothing of a term leaves before the term is on the disk', () => {
    const node = new Node('1', { settings: { preVote: false } });
    node.isStalled = true;
    node.core.campaign();
    assert.deepEqual(node.run(), []);
    assert.equal(node.completeWrites().length, 2);
    const granting = new Node('2', {});
    granting.isStalled = true;
    assert.deepEqual(granting.answer(message(vote, '1', '2', 3)), []);
    // Nothing else of that term either, though it would promise nothing.
    assert.deepEqual(granting.answer(message(heartbeat, '1', '2', 3)), []);
    assert.deepEqual(
      granting.completeWrites().map(({ type }) => type),
      [voteReply],
    );
    assert.deepEqual(granting.hardState, { term: 3, vote: '1', commit: 0 });
    assert.deepEqual(
      granting.run().map(({ type }) => type),
      [heartbeatReply],
    );
  });

  test('an acknowledgement waits for the write that it is about, and only for that', () => {
    const node = new Node('1', { term: 1 });
    node.isStalled = true;
    node.answer(message(append, '2', '1', 1, { entries: [entryAt(1, 1)] }));
    const second = { index: 1, logTerm: 1, entries: [entryAt(2, 1)] };
    node.answer(message(append, '2', '1', 1, second));
    // Sent once more: both entries are there, neither is durable.
    node.answer(message(append, '2', '1', 1, { entries: entriesOf([1, 1]) }));
    assert.deepEqual(
      node.completeWrites(1).map(({ index }) => index),
      [1],
    );
    assert.deepEqual(node.run(), []);
    const acknowledged = [...node.completeWrites(1), ...node.run()].map(({ index }) => index);
    assert.deepEqual(acknowledged, [2, 2]);
  });

  test('a write that completes after its entries were replaced promises nothing for the new ones', () => {
    // ABA: index 2 of term 1 is written, cut, and index 2 of term 2 takes its place.
    const node = new Node('1', { term: 1, logTerms: [1] });
    node.isStalled = true;
    node.answer(message(append, '2', '1', 1, { index: 1, logTerm: 1, entries: [entryAt(2, 1)] }));
    node.answer(message(heartbeat, '3', '1', 2));
    const other = { index: 1, logTerm: 1, entries: [entryAt(2, 2)] };
    node.answer(message(append, '3', '1', 2, other));
    const old = [...node.completeWrites(2), ...node.run()];
    assert.ok(old.every(({ type, term }) => type !== appendReply || term === 1));
    const repeated = node.answer(message(append, '3', '1', 2, other));
    assert.deepEqual(repeated, [], 'the new entry 2 is not durable yet');
    const acknowledged = [...node.completeWrites(), ...node.run()];
    assert.ok(acknowledged.every(({ to, term, index }) => to === '3' && term === 2 && index === 2));
    assert.deepEqual(node.diskTerms, [1, 2]);
  });

  test('a commit index alone causes no write; it goes along with the next entries', () => {
    const node = new Node('1', { term: 1 });
    node.answer(message(append, '2', '1', 1, { entries: [entryAt(1, 1)] }));
    node.answer(message(heartbeat, '2', '1', 1, { commit: 1 }));
    assert.equal(node.status.commit, 1);
    assert.equal(node.persists.length, 1);
    node.answer(message(append, '2', '1', 1, { index: 1, logTerm: 1, entries: [entryAt(2, 1)] }));
    assert.deepEqual(node.hardState, { term: 1, vote: '', commit: 1 });
  });

  test('entries that the recorded term does not know are taken up in their term', () => {
    const node = new Node('1', { term: 1, logTerms: [1, 3] });
    assert.equal(node.status.term, 3);
    node.run();
    assert.deepEqual(node.hardState, { term: 3, vote: '', commit: 0 });
  });

  test('a log that ends before what was committed is refused', () => {
    assert.throws(
      () => new Node('1', { logTerms: [1], commit: 2 }),
      (error) => isQuorateError(error, 'ERR_CORRUPT'),
    );
  });

  test('a node that lost acknowledged entries stops instead of following', () => {
    const node = new Node('1', { term: 1 });
    assert.throws(
      () => node.core.step(message(heartbeat, '2', '1', 1, { commit: 5 })),
      (error) => isQuorateError(error, 'ERR_CORRUPT'),
    );
  });

  test('entries that a received snapshot left behind on the disk are not taken for its successors', () => {
    const core = new RaftCore({
      id: '1',
      random: seededRandom(1),
      hardState: { term: 5, vote: '', commit: 3 },
      configuration: { voters: ['1', '2', '3'], learners: [] },
      snapshot: { index: 3, term: 5 },
      entries: [entryAt(4, 2), entryAt(5, 2)],
      applied: 3,
    });
    assert.equal(core.status().lastIndex, 3);
  });
});
