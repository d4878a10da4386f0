import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { type Entry, EntryType, type NodeId } from '../types.ts';
import { encodeChange, type MemberStep } from './member-change.ts';
import { bootstrapEntries, clusterIdOf, type MemberInfo, Members, memberId } from './members.ts';

const peerUrls = ['http://127.0.0.1:2380'];
const member: MemberInfo = { id: memberId(peerUrls, 't'), name: 'né"1', peerUrls, learner: false };
const ADD_NODE =
  '18fea2a68ed7e186ca5b224f7b226964223a363539383932393039383536323137393435342c227065657255524c73223a5b22687474703a2f2f3132372e302e302e313a32333830225d2c226e616d65223a226ec3a95c2231227d';

test('the first entries are what etcd writes, byte for byte', () => {
  const [entry] = bootstrapEntries([member]);
  assert.equal(Buffer.from(entry!.data).toString('hex'), ADD_NODE);
});

test('members are what the log says, and what the snapshot of it says', () => {
  const members = new Members();
  for (const entry of bootstrapEntries([member])) members.apply(entry);
  assert.deepEqual(members.list(), [member]);
  assert.deepEqual(members.configuration(), { voters: [member.id], learners: [] });
  const restored = new Members();
  restored.decode(members.encode());
  assert.deepEqual(restored.list(), [member]);
});

test('ids do not depend on the order of URLs and members', () => {
  assert.equal(memberId(['b', 'a'], 't'), memberId(['a', 'b'], 't'));
  assert.notEqual(memberId(['a'], 't'), memberId(['a'], 'u'));
  assert.equal(clusterIdOf(['02', '01']), clusterIdOf(['01', '02']));
});

test('a configuration change that cannot be read is named as damage, an unknown one as such', () => {
  const data = Buffer.from(ADD_NODE, 'hex');
  const entryOf = (bytes: Buffer) =>
    ({ type: EntryType.configChange, term: 1, index: 7, data: bytes }) as const;
  const members = new Members();
  for (const bad of [data.subarray(0, 5), data.subarray(0, 10), Buffer.from('x')]) {
    assert.throws(
      () => members.apply(entryOf(bad)),
      (error) => isQuorateError(error, 'ERR_CORRUPT') && /entry 7/.test(error.message),
    );
  }
  const unknown = Buffer.concat([Buffer.of(0x10, 9), data]);
  assert.throws(
    () => members.apply(entryOf(unknown)),
    (error) => isQuorateError(error, 'ERR_UNSUPPORTED'),
  );
  assert.deepEqual(members.list(), []);
});

/** Entries of the log, one a list of steps: several steps are a joint change. */
function logOf(...changes: MemberStep[][]): Entry[] {
  return changes.map((steps, i) => ({ ...encodeChange(steps), term: 1, index: i + 1 }));
}

function add(name: string, learner = false): MemberStep {
  return { kind: 'add', member: { id: idOf(name), name, peerUrls: [`http://${name}:1`], learner } };
}

function idOf(name: string): NodeId {
  return name.repeat(16);
}

const [A, B, C] = ['a', 'b', 'c'].map(idOf) as [NodeId, NodeId, NodeId];

test('the second of two voters never counted without the first, while the voters stay the same', () => {
  const members = new Members().with(logOf([add('a')], [add('b')]));
  assert.equal(members.wasAddedTo(A, B), true);
  assert.equal(members.wasAddedTo(B, A), false, 'b was not there before a');
  const same: MemberStep[][] = [
    [add('c', true)],
    [{ kind: 'remove', id: C }],
    [{ kind: 'update', id: B, peerUrls: ['http://x:1'] }],
  ];
  for (let n = 1; n <= same.length; n++) {
    assert.equal(members.with(logOf(...same.slice(0, n))).wasAddedTo(A, B), true, `${n} changes`);
  }
  const restored = new Members();
  restored.decode(members.encode());
  assert.equal(restored.wasAddedTo(A, B), true);
  assert.equal(members.list().length, 2, 'what may come changes nothing yet');
});

test('the second of two voters may have counted with others that were there in between', () => {
  const members = new Members().with(logOf([add('a')], [add('b')]));
  const other: MemberStep[][] = [[add('c')], [{ kind: 'remove', id: C }]];
  assert.equal(members.with(logOf(...other.slice(0, 1))).wasAddedTo(A, B), false);
  assert.equal(members.with(logOf(...other)).wasAddedTo(A, B), false);
  const again: MemberStep[][] = [
    [{ kind: 'demote', id: B }],
    [{ kind: 'remove', id: C }],
    [{ kind: 'promote', id: B }],
  ];
  const demoted = members.with(logOf([add('c')], ...again));
  assert.deepEqual(demoted.configuration().voters, [A, B]);
  assert.equal(demoted.wasAddedTo(A, B), false, 'c may still take it for a voter');
});

test('a learner has never voted unless it was a voter before', () => {
  const members = new Members().with(logOf([add('a')], [add('b')], [add('c', true)]));
  assert.deepEqual([members.neverVoted(B), members.neverVoted(C)], [false, true]);
  const after = members.with(logOf([{ kind: 'promote', id: C }], [{ kind: 'demote', id: C }]));
  assert.equal(after.neverVoted(C), false);
});
