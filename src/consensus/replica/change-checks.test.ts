/** What a leader refuses since some voters give no vote yet. What etcd refuses as well: `reconfiguration.test.ts`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import type { CoreStatus } from '../core.ts';
import type { NodeId } from '../types.ts';
import { type ClusterView, refusalOf } from './change-checks.ts';
import type { MemberStep } from './member-change.ts';
import { bootstrapEntries, type MemberInfo, Members } from './members.ts';

const idOf = (name: string): NodeId => name.padStart(16, '0');
const memberOf = (name: string, learner = false): MemberInfo => ({
  ...{ id: idOf(name), name, peerUrls: [`http://${name}:1`], learner },
});
const add = (name: string, learner = false): MemberStep => ({
  kind: 'add',
  member: memberOf(name, learner),
});
const remove = (name: string): MemberStep => ({ kind: 'remove', id: idOf(name) });
const promote = (name: string): MemberStep => ({ kind: 'promote', id: idOf(name) });
const demote = (name: string): MemberStep => ({ kind: 'demote', id: idOf(name) });

interface Others {
  readonly onProbation?: string;
  readonly down?: string;
  /** They have acknowledged nothing of this leader's. */
  readonly silent?: string;
}

/** The leader is a, all but `silent` hold its log. A letter in upper case: a learner. */
function viewOf(names: string, { onProbation = '', down = '', silent = '' }: Others): ClusterView {
  const list = [...names].map((name) => memberOf(name.toLowerCase(), name !== name.toLowerCase()));
  const members = new Members();
  for (const entry of bootstrapEntries(list)) members.apply(entry);
  const has = (some: string, member: NodeId): boolean => [...some].map(idOf).includes(member);
  const peers = list.slice(1).map(({ id }) => {
    return {
      id,
      match: has(silent, id) ? 0 : 100,
      next: 101,
      state: 'replicate',
      active: true,
    } as const;
  });
  const id = idOf('a');
  const status: CoreStatus = {
    ...{ id, role: 'leader', term: 2, leader: id, commit: 100, handedOut: 100 },
    ...{ lastIndex: 100, firstIndex: 1, peers },
  };
  return {
    members,
    status,
    isStarted: () => true,
    isConnected: (member) => !has(down, member),
    isOnProbation: (member) => has(onProbation, member),
  };
}

function assertRefused(steps: readonly MemberStep[], view: ClusterView): void {
  const refusal = refusalOf(steps, view);
  assert.ok(isQuorateError(refusal, 'ERR_UNAVAILABLE'), `${JSON.stringify(steps)}: ${refusal}`);
  assert.equal(refusal.retryable, true);
  assert.equal(refusal.outcome, 'not-applied');
  assert.match(
    refusal.message,
    /on probation until they have caught up: 0+[a-e];/,
    'who is waited for',
  );
}

test('a change after which only voters on probation could complete a majority is refused', () => {
  // Each of d and e would wait for a leader that none but the other could help to elect.
  assertRefused([add('e'), remove('b')], viewOf('abcd', { onProbation: 'd' }));
  assertRefused([remove('b')], viewOf('abc', { onProbation: 'c' }));
  assertRefused([demote('b')], viewOf('abc', { onProbation: 'c' }));
  assertRefused([add('d')], viewOf('abc', { onProbation: 'c' }));
  assert.equal(refusalOf([add('e'), remove('b')], viewOf('abcd', {})), undefined);
});

test('a voter that has acknowledged nothing yet may be on probation: it is not counted on for a change', () => {
  const view = viewOf('abc', { silent: 'c' });
  for (const steps of [[remove('b')], [add('d'), remove('b')]]) {
    const refusal = refusalOf(steps, view);
    assert.ok(isQuorateError(refusal, 'ERR_UNAVAILABLE'), `${JSON.stringify(steps)}: ${refusal}`);
    assert.equal(refusal.retryable, true);
    assert.match(refusal.message, /nothing acknowledged yet by 0+c;/);
  }
  assert.equal(refusalOf([remove('c')], view), undefined);
});

test('a learner that is on probation is not promoted', () => {
  const view = viewOf('abC', { onProbation: 'c' });
  for (const steps of [[promote('c')], [promote('c'), remove('b')]]) {
    const refusal = refusalOf(steps, view);
    assert.ok(isQuorateError(refusal, 'ERR_LEARNER_NOT_READY'), `${refusal}`);
    assert.match(refusal.message, /is on probation/);
  }
  assert.equal(refusalOf([promote('c'), remove('b')], viewOf('abC', {})), undefined);
});

test('what takes nobody that votes away is done, whoever is on probation', () => {
  const four = viewOf('abcd', { onProbation: 'd', down: 'c' });
  assert.equal(refusalOf([remove('c')], four), undefined, 'one that is down');
  assert.equal(refusalOf([remove('d')], viewOf('abcd', { onProbation: 'd' })), undefined);
  assert.equal(refusalOf([add('d', true)], viewOf('abc', { onProbation: 'c' })), undefined);
  // With five an end of the probation takes all others: the one that is gone has to be removed first.
  const five = viewOf('abcde', { onProbation: 'cd', down: 'e' });
  assert.equal(refusalOf([remove('e')], five), undefined);
});

test('one becomes two: the second is not there yet, and takes part at once when it is', () => {
  assert.equal(refusalOf([add('b')], viewOf('a', {})), undefined);
});
