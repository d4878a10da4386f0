import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { Proposals } from './proposals.ts';

const data = Buffer.from('x');

function taken(proposals: Proposals<string>): ReturnType<Proposals<string>['takeWaiting']>[number] {
  return proposals.takeWaiting()[0]!;
}

test('an entry that is applied before the leader said where it went still answers its proposer', async () => {
  const proposals = new Proposals<string>(0);
  const answer = proposals.add(data, 1000);
  const proposal = taken(proposals);
  proposal.state = 'sent';
  const forward = proposals.forwardBegan();
  proposals.applied(7, 2, 'seven');
  proposals.place(proposal, 7, 2, forward);
  assert.equal(await answer, 'seven');
});

test('another entry at its index sends a proposal back to wait, and it is answered once', async () => {
  const proposals = new Proposals<string>(0);
  const answer = proposals.add(data, 1000);
  proposals.place(taken(proposals), 5, 2);
  proposals.applied(5, 3, 'of another');
  assert.equal(proposals.waitingCount, 1);
  proposals.place(taken(proposals), 6, 3);
  proposals.applied(6, 3, 'mine');
  assert.equal(await answer, 'mine');
  assert.equal(proposals.unsettled, 0);
});

test('what was applied behind a snapshot cannot be known', async () => {
  const proposals = new Proposals<string>(0);
  const answer = proposals.add(data, 1000);
  proposals.place(taken(proposals), 5, 2);
  proposals.skippedTo(9, 2);
  await assert.rejects(answer, (error) => isQuorateError(error) && error.outcome === 'unknown');
});

test('a place that is applied already, with a result nobody kept, has an unknown outcome', async () => {
  const proposals = new Proposals<string>(10);
  const answer = proposals.add(data, 1000);
  proposals.place(taken(proposals), 5, 2);
  await assert.rejects(answer, (error) => isQuorateError(error) && error.outcome === 'unknown');
});

test('a deadline rejects what waits as not applied and what is in the log as unknown', async () => {
  const proposals = new Proposals<string>(0);
  const sent = proposals.add(data, 1000);
  proposals.place(taken(proposals), 5, 2);
  const waiting = proposals.add(data, 1000);
  proposals.expire(999, true);
  assert.equal(proposals.unsettled, 2);
  proposals.expire(1000, true);
  await assert.rejects(sent, (error) => isQuorateError(error) && error.outcome === 'unknown');
  await assert.rejects(
    waiting,
    (error) => isQuorateError(error, 'ERR_NO_LEADER') && error.outcome === 'not-applied',
  );
  assert.equal(proposals.unsettled, 0);
  assert.equal(proposals.waitingBytes, 0);
});

test('what is put back keeps its place before younger ones', () => {
  const proposals = new Proposals<string>(0);
  for (const text of ['a', 'b']) void proposals.add(Buffer.from(text), 1000);
  const first = proposals.takeWaiting();
  void proposals.add(Buffer.from('c'), 1000);
  proposals.putBack(first);
  const order = proposals.takeWaiting().map((proposal) => Buffer.from(proposal.data).toString());
  assert.deepEqual(order, ['a', 'b', 'c']);
});

test('what a newer leader put at the same index does not yet free a proposal: its entry may still win', async () => {
  const proposals = new Proposals<string>(9);
  const older = proposals.add(data, 1000);
  proposals.place(taken(proposals), 10, 2);
  const newer = proposals.add(data, 1000);
  proposals.place(taken(proposals), 10, 3);
  assert.equal(proposals.waitingCount, 0, 'neither is proposed again');
  // Raft figure 8: the entry of term 2 survived on a node that leads term 4.
  proposals.applied(10, 2, 'older');
  assert.equal(await older, 'older');
  proposals.applied(11, 4, undefined);
  assert.equal(proposals.waitingCount, 1, 'now it is certain that the newer one is lost');
  proposals.place(taken(proposals), 12, 4);
  proposals.applied(12, 4, 'newer');
  assert.equal(await newer, 'newer');
});

test('a late answer of an older leader leaves the proposal of a newer one in its place', async () => {
  const proposals = new Proposals<string>(9);
  const late = proposals.add(data, 1000);
  const lateProposal = taken(proposals);
  const newer = proposals.add(data, 1000);
  proposals.place(taken(proposals), 10, 3);
  proposals.place(lateProposal, 10, 2);
  proposals.applied(10, 3, 'newer');
  assert.equal(await newer, 'newer');
  assert.deepEqual(proposals.takeWaiting(), [lateProposal]);
  proposals.rejectAll(() => new Error('over'));
  await assert.rejects(late, /over/);
});

test('an entry of a newer term frees what older terms placed further on, in order', () => {
  const proposals = new Proposals<string>(9);
  for (const index of [17, 15, 12]) {
    void proposals.add(data, 1000);
    proposals.place(taken(proposals), index, 2);
  }
  proposals.applied(10, 2, undefined);
  assert.equal(proposals.waitingCount, 0);
  proposals.applied(11, 3, undefined);
  const order = proposals.takeWaiting().map((proposal) => proposal.index);
  assert.deepEqual(order, [12, 15, 17]);
});

test('calls that overlap for ever lose no answer and keep no more than the entries since the oldest', async () => {
  const proposals = new Proposals<string>(0);
  let forward = proposals.forwardBegan();
  for (let index = 1; index <= 70_000; index++) proposals.applied(index, 1, `result ${index}`);
  const answer = proposals.add(data, 1000);
  const proposal = taken(proposals);
  const next = proposals.forwardBegan();
  proposals.applied(70_001, 1, 'mine');
  proposals.forwardEnded(forward);
  forward = next;
  proposals.place(proposal, 70_001, 1, forward);
  assert.equal(await answer, 'mine');
});

test('a place before what was applied when the call began is that of another: proposed again', () => {
  const proposals = new Proposals<string>(20);
  void proposals.add(data, 1000);
  const proposal = taken(proposals);
  proposals.place(proposal, 11, 2, proposals.forwardBegan());
  assert.deepEqual(proposals.takeWaiting(), [proposal]);
});

test('a proposal bound to a term is refused as not applied once this node leads it no more', async () => {
  const proposals = new Proposals<string>(0);
  const bound = proposals.add(data, 1000, 2);
  void proposals.add(data, 1000);
  proposals.refuseBound(2);
  assert.equal(proposals.waitingCount, 2);
  proposals.refuseBound(3);
  assert.equal(proposals.waitingCount, 1);
  await assert.rejects(
    bound,
    (error) => isQuorateError(error, 'ERR_NOT_LEADER') && error.outcome === 'not-applied',
  );
});

test('a full queue runs out at once', () => {
  const proposals = new Proposals<string>(0);
  for (let i = 0; i < 50_000; i++) proposals.add(data, 1000).catch(() => undefined);
  proposals.expire(1000, true);
  assert.equal(proposals.waitingCount, 0);
  assert.equal(proposals.waitingBytes, 0);
});
