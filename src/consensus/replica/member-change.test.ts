import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { type Entry, EntryType } from '../types.ts';
import { decodeChange, encodeChange, type MemberInfo, type MemberStep } from './member-change.ts';
import { bootstrapEntries, Members } from './members.ts';

const idOf = (n: number): string => `${n}`.padStart(16, '0');
const memberOf = (n: number, learner = false): MemberInfo => ({
  ...{ id: idOf(n), name: `é"${n}`, peerUrls: [`http://node${n}:2380`] },
  learner,
});
const entryOf = (index: number, ...steps: MemberStep[]): Entry => ({
  ...encodeChange(steps),
  ...{ term: 1, index },
});
const LEAVE: Entry = {
  ...{ type: EntryType.configChangeV2, term: 1, index: 9 },
  data: new Uint8Array(0),
};

const STEPS: MemberStep[] = [
  { kind: 'add', member: memberOf(4, true) },
  { kind: 'add', member: memberOf(5) },
  { kind: 'promote', id: idOf(2) },
  { kind: 'demote', id: idOf(1) },
  { kind: 'remove', id: idOf(3) },
  { kind: 'update', id: 'ffffffffffffffff', peerUrls: ['http://moved:1'] },
];

function threeMembers(): Members {
  const members = new Members();
  for (const entry of bootstrapEntries([1, 2, 3].map((n) => memberOf(n)))) members.apply(entry);
  return members;
}

test('changes read back as they were written, one by one and together', () => {
  for (const step of STEPS) assert.deepEqual(decodeChange(entryOf(1, step)).steps, [step]);
  const together = decodeChange(entryOf(1, ...STEPS));
  assert.deepEqual(together, { steps: STEPS, transition: 'enter', autoLeave: true });
  assert.equal(decodeChange(LEAVE).transition, 'leave');
});

test('one change is written as etcd does, context included', () => {
  const context = (step: MemberStep): string =>
    Buffer.from(encodeChange([step]).data)
      .toString()
      .replace(/^[^{]*/, '');
  assert.equal(
    context({ kind: 'add', member: { ...memberOf(4, true), name: '' } }),
    '{"id":4,"peerURLs":["http://node4:2380"],"isLearner":true}',
  );
  assert.equal(
    context({ kind: 'promote', id: idOf(4) }),
    '{"id":4,"peerURLs":null,"isPromote":true}',
  );
  assert.equal(context({ kind: 'remove', id: idOf(4) }), '');
});

test('a change that cannot be read is damage, whatever is wrong with it', () => {
  const { data } = entryOf(1, ...STEPS);
  for (let length = 1; length < data.length; length += 7) {
    const entry = {
      type: EntryType.configChangeV2,
      term: 1,
      index: 7,
      data: data.subarray(0, length),
    };
    try {
      decodeChange(entry);
    } catch (error) {
      assert.ok(isQuorateError(error, 'ERR_CORRUPT') && /entry 7/.test(error.message));
    }
  }
});

test('several changes pass through a joint configuration, which a snapshot keeps', () => {
  const members = threeMembers();
  const steps: MemberStep[] = [
    { kind: 'add', member: memberOf(4) },
    { kind: 'remove', id: idOf(1) },
    { kind: 'demote', id: idOf(2) },
  ];
  assert.equal(members.apply(entryOf(4, ...steps)), undefined);
  const restored = new Members();
  restored.decode(members.encode());
  for (const each of [members, restored]) {
    assert.deepEqual(each.configuration(), {
      voters: [idOf(3), idOf(4)],
      learners: [],
      joint: {
        outgoing: [1, 2, 3].map(idOf),
        learnersNext: [idOf(2)],
        autoLeave: true,
      },
    });
    assert.deepEqual([...each.peers().keys()].sort(), [1, 2, 3, 4].map(idOf));
    const listed = (): string[] =>
      each.list().map(({ id, learner }) => `${Number(id)}${learner ? ' learns' : ''}`);
    // Those that leave are needed until they have left.
    assert.deepEqual(listed(), ['1', '2', '3', '4']);
    const busy = each.apply(entryOf(5, { kind: 'remove', id: idOf(3) }));
    assert.ok(isQuorateError(busy, 'ERR_BUSY'));
    each.apply(LEAVE);
    assert.deepEqual(each.configuration(), {
      voters: [idOf(3), idOf(4)],
      learners: [idOf(2)],
    });
    assert.deepEqual([...each.peers().keys()].sort(), [2, 3, 4].map(idOf));
    assert.deepEqual(listed(), ['2 learns', '3', '4']);
    assert.deepEqual(each.removed(), [idOf(1)]);
  }
});

test('of two changes that conflict the second one changes nothing, and says why', () => {
  const members = threeMembers();
  const before = members.list();
  const conflicts: [MemberStep[], string][] = [
    [[{ kind: 'add', member: memberOf(1) }], 'ERR_MEMBER_EXISTS'],
    [
      [{ kind: 'add', member: { ...memberOf(4), peerUrls: memberOf(1).peerUrls } }],
      'ERR_PEER_URL_EXISTS',
    ],
    [[{ kind: 'promote', id: idOf(1) }], 'ERR_NOT_LEARNER'],
    [[{ kind: 'remove', id: idOf(8) }], 'ERR_MEMBER_NOT_FOUND'],
    // The first of the two would be possible.
    [
      [
        { kind: 'remove', id: idOf(1) },
        { kind: 'remove', id: idOf(8) },
      ],
      'ERR_MEMBER_NOT_FOUND',
    ],
    [[1, 2, 3].map((n) => ({ kind: 'demote', id: idOf(n) })), 'ERR_NOT_ENOUGH_STARTED'],
  ];
  for (const [steps, code] of conflicts) {
    assert.equal(members.apply(entryOf(4, ...steps))?.code, code);
    assert.deepEqual(members.list(), before);
    assert.deepEqual(members.removed(), []);
  }
});

test('a new address does not make a voter of a learner, nor the other way round', () => {
  const members = threeMembers();
  members.apply(entryOf(4, { kind: 'add', member: memberOf(4, true) }));
  for (const n of [1, 4]) {
    members.apply(entryOf(5, { kind: 'update', id: idOf(n), peerUrls: [`http://moved${n}:1`] }));
    const { learner, peerUrls } = members.get(idOf(n))!;
    assert.deepEqual({ learner, peerUrls }, { learner: n === 4, peerUrls: [`http://moved${n}:1`] });
  }
});
