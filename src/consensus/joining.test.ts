import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { CrashDisk } from '../testing/crash-disk.ts';
import { answeringStanding, joiningMarker } from './joining.ts';
import { MessageType } from './messages.ts';
import { draft } from './raft/draft.ts';
import { RaftCore } from './raft/raft.ts';
import { PeersOnProbation } from './replica/peers-on-probation.ts';
import { ProbationCore, type Standing } from './replica/probation.ts';
import type { Storage } from './storage.ts';

const onProbation = new PeersOnProbation({ now: () => 0 }, 100);

test('of two, one whose own log is damaged does not vouch for the other', async () => {
  // Its log ends when the voters were a and b; the damage took that c, d and e came, and what a and b acknowledged.
  const configuration = { voters: ['a', 'b'], learners: [] };
  const raft = new RaftCore({
    id: 'a',
    random: seededRandom(1),
    hardState: { term: 1, vote: '', commit: 0 },
    configuration,
    snapshot: { index: 0, term: 0 },
    entries: [],
    applied: 0,
  });
  const core = new ProbationCore(raft, 'a');
  const { onCall } = answeringStanding(
    {},
    {
      core,
      configuration: () => configuration,
      wasAddedToUs: () => true,
      neverVoted: () => false,
      onProbation,
      newLength: -1,
    },
  );
  const asked = async (): Promise<Standing> => {
    const answer = await onCall!('standing', Buffer.from('b 0'));
    return JSON.parse(Buffer.from(answer).toString()) as Standing;
  };
  assert.equal((await asked()).holdsAll, false);
  core.abstain();
  core.end();
  assert.equal((await asked()).holdsAll, true);
});

test('a founder that heard of an election is not new any more, though its log holds nothing yet', async () => {
  const configuration = { voters: ['a', 'b', 'c'], learners: [] };
  const raft = new RaftCore({
    id: 'c',
    random: seededRandom(1),
    hardState: { term: 1, vote: '', commit: 0 },
    configuration,
    snapshot: { index: 0, term: 0 },
    entries: [],
    applied: 0,
  });
  const source = {
    wasAddedToUs: () => false,
    neverVoted: () => false,
    onProbation,
    newLength: 0,
  };
  const { onCall } = answeringStanding(
    {},
    { core: raft, configuration: () => configuration, ...source },
  );
  const isNew = async (): Promise<boolean> => {
    const answer = await onCall!('standing', Buffer.from('b 0'));
    return (JSON.parse(Buffer.from(answer).toString()) as Standing).isNew;
  };
  assert.equal(await isNew(), true);
  // What a and b decide from here on b may forget: with c it must not take itself for the first members.
  raft.step(draft(MessageType.heartbeat, 'a', 'c', 2));
  assert.equal(await isNew(), false);
});

test('who asks is on probation until it says that this is over, or asks no more', async () => {
  let nowMs = 0;
  const peers = new PeersOnProbation({ now: () => nowMs }, 100);
  const configuration = { voters: ['a', 'b', 'c'], learners: [] };
  const raft = new RaftCore({
    id: 'a',
    random: seededRandom(1),
    hardState: { term: 1, vote: '', commit: 0 },
    configuration,
    snapshot: { index: 0, term: 0 },
    entries: [],
    applied: 0,
  });
  const source = { wasAddedToUs: () => false, neverVoted: () => false, newLength: 0 };
  const { onCall } = answeringStanding(
    {},
    { core: raft, configuration: () => configuration, onProbation: peers, ...source },
  );
  await onCall!('standing', Buffer.from('b 0'));
  await onCall!('standing', Buffer.from('c 7'));
  assert.deepEqual([peers.has('a'), peers.has('b'), peers.has('c')], [false, true, true]);
  await onCall!('standing', Buffer.from('b over'));
  assert.deepEqual([peers.has('b'), peers.has('c')], [false, true]);
  nowMs = 399;
  assert.equal(peers.has('c'), true, 'its last question may have been given up');
  nowMs = 400;
  assert.equal(peers.has('c'), false);
});

test('of many on probation the one that asked longest ago is forgotten', () => {
  const peers = new PeersOnProbation({ now: () => 0 }, 100);
  for (let i = 0; i < 64; i++) peers.asked(`${i}`);
  peers.asked('0');
  peers.asked('64');
  assert.deepEqual(
    ['0', '1', '2', '64'].map((id) => peers.has(id)),
    [true, false, true, true],
  );
});

test('a founder whose probation ended does not begin another, though its log holds nothing yet', async () => {
  const found = async (vote: string): Promise<boolean> => {
    const disk = new CrashDisk();
    await disk.makeFolder('/data/member');
    const recovered = {
      hardState: { term: 1, vote, commit: 0 },
      snapshot: undefined,
      entries: [{ type: 1, term: 1, index: 1, data: Buffer.of(1) }],
      fresh: false,
    } as const;
    const marker = await joiningMarker(
      disk,
      '/data',
      { recovered } as Partial<Storage> as Storage,
      1,
    );
    return marker !== undefined;
  };
  // The crash came before the marker was there.
  assert.equal(await found(''), true);
  // The crash came after it was gone: at its end the node gave its vote away, durably.
  assert.equal(await found('a'), false);
});
