import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfChange, ConfChangeTransition, ConfChangeType, ConfChangeV2 } from './raftpb.ts';

// Written by go.etcd.io/raft/v3 v3.6.0, which writes fields that are zero too.
const ID = 0x8e9e05c52164694dn;
const GOLDEN = {
  remove: '0807100118cdd2918bd2b881cf8e01',
  learner: '0800100318cdd2918bd2b881cf8e0122087b226964223a317d',
  promote: '0800100018cdd2918bd2b881cf8e0122087b226964223a317d',
  joint: '0802120d080010cdd2918bd2b881cf8e011204080110021a065b6e756c6c5d',
  auto: '0800120d080310cdd2918bd2b881cf8e01120408021002',
  leave: '0800',
};
const bytes = (name: keyof typeof GOLDEN): Buffer => Buffer.from(GOLDEN[name], 'hex');

test('a change that etcd wrote is read, and written back without its zeros', () => {
  const remove = { id: 7n, type: ConfChangeType.removeNode, nodeId: ID, context: '' };
  assert.deepEqual(ConfChange.decode(bytes('remove')), remove);
  assert.equal(ConfChange.encode(remove).toString('hex'), GOLDEN.remove);
  const learner = { id: 0n, type: ConfChangeType.addLearner, nodeId: ID, context: '{"id":1}' };
  assert.deepEqual(ConfChange.decode(bytes('learner')), learner);
  assert.equal(ConfChange.encode(learner).toString('hex'), GOLDEN.learner.slice(4));
  const promote = { ...learner, type: ConfChangeType.addNode };
  assert.deepEqual(ConfChange.decode(bytes('promote')), promote);
});

test('several changes that etcd wrote are read, and the end of a joint configuration', () => {
  const joint = {
    transition: ConfChangeTransition.explicit,
    changes: [
      { type: ConfChangeType.addNode, nodeId: ID },
      { type: ConfChangeType.removeNode, nodeId: 2n },
    ],
    context: '[null]',
  };
  assert.deepEqual(ConfChangeV2.decode(bytes('joint')), joint);
  assert.deepEqual(ConfChangeV2.decode(ConfChangeV2.encode(joint)), joint);
  const auto = ConfChangeV2.decode(bytes('auto'));
  assert.equal(auto.transition, ConfChangeTransition.auto);
  assert.deepEqual(auto.changes, [
    { type: ConfChangeType.addLearner, nodeId: ID },
    { type: ConfChangeType.updateNode, nodeId: 2n },
  ]);
  assert.deepEqual(ConfChangeV2.decode(bytes('leave')).changes, []);
  assert.equal(ConfChangeV2.encode(ConfChangeV2.create()).length, 0);
});
