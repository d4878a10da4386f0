import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { EntryType } from '../types.ts';
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
