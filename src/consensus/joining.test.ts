import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { CrashDisk } from '../testing/crash-disk.ts';
import type { Core } from './core.ts';
import { answeringStanding, joiningMarker, type StandingSource } from './joining.ts';
import { MessageType, type PeerMessage } from './messages.ts';
import { PaxosCore } from './paxos/paxos.ts';
import { draft } from './raft/draft.ts';
import { PeersOnProbation } from './replica/peers-on-probation.ts';
import { ProbationCore, type Standing } from './replica/probation.ts';
import { newRaft } from './replica/test-replicas.ts';
import type { Storage } from './storage.ts';
import { EntryType } from './types.ts';

const nobody = new PeersOnProbation({ now: () => 0 }, 100);

/** Asks the node of `core` how it stands, as a peer on probation does. */
function asking(
  core: Core,
  given: Partial<StandingSource> = {},
): (question: string) => Promise<Standing> {
  const { onCall } = answeringStanding(
    {},
    {
      core,
      configuration: () => ({ voters: ['a', 'b', 'c'], learners: [] }),
      wasAddedToUs: () => false,
      neverVoted: () => false,
      onProbation: nobody,
      newLength: 0,
      ...given,
    },
  );
  return async (question) => {
    const answer = await onCall!('standing', Buffer.from(question));
    return JSON.parse(Buffer.from(answer).toString()) as Standing;
  };
}

test('of two, one whose own log is damaged does not vouch for the other', async () => {
  // Its log ends when the voters were a and b; the damage took that c, d and e came, and what a and b acknowledged.
  const configuration = { voters: ['a', 'b'], learners: [] };
  const core = new ProbationCore(newRaft('a', { configuration }), 'a', 'raft');
  const source = { configuration: () => configuration, wasAddedToUs: () => true, newLength: -1 };
  const ask = asking(core, source);
  assert.equal((await ask('b 0')).holdsAll, false);
  core.abstain();
  core.end();
  assert.equal((await ask('b 0')).holdsAll, true);
});

test('a founder that heard of an election is not new any more, though its log holds nothing yet', async () => {
  const raft = newRaft('c');
  const ask = asking(raft);
  assert.equal((await ask('b 0')).isNew, true);
  // What a and b decide from here on b may forget: with c it must not take itself for the first members.
  raft.step(draft(MessageType.heartbeat, 'a', 'c', 2));
  assert.equal((await ask('b 0')).isNew, false);
});

test('who asks is on probation until it says that this is over, or asks no more', async () => {
  let nowMs = 0;
  const peers = new PeersOnProbation({ now: () => nowMs }, 100);
  const ask = asking(newRaft('a'), { onProbation: peers });
  await ask('b 0');
  await ask('c 7');
  assert.deepEqual([peers.has('a'), peers.has('b'), peers.has('c')], [false, true, true]);
  await ask('b over');
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

test('after its probation a node of Multi-Paxos learns what is chosen in the same ballot', () => {
  const [leader, id] = ['000000000000000a', '000000000000000b'];
  const ballot = 1024;
  const configuration = { voters: [leader, id, '000000000000000c'], learners: [] };
  const paxos = new PaxosCore({
    id,
    random: seededRandom(1),
    hardState: { term: 0, vote: '', commit: 0 },
    configuration,
    snapshot: { index: 0, term: 0 },
    entries: [],
    applied: 0,
  });
  const core = new ProbationCore(paxos, id, 'paxos');
  core.configure(configuration);
  const hear = (message: Partial<PeerMessage> & { readonly type: MessageType }): void => {
    core.step({ ...draft(message.type, leader, id, ballot), ...message });
    while (core.hasEffects()) core.persisted(core.take().persist?.sequence ?? 0);
  };
  const entry = { type: EntryType.normal, term: ballot, index: 1, data: Buffer.from('x') };
  hear({ type: MessageType.accept, entries: [entry] });
  core.abstain();
  core.end();
  // The leader may still count on what was lost, further than this node's log.
  hear({ type: MessageType.heartbeat, commit: 7 });
  assert.equal(core.status().commit, 1);
});
