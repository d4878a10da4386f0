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
  proposals.forwardBegan();
  proposals.applied(7, 2, 'seven');
  proposals.place(proposal, 7, 2);
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
  proposals.skippedTo(9);
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
