import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Core } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { draft } from '../raft/draft.ts';
import {
  type ProbationContext,
  ProbationCore,
  type ProbationEnd,
  probation,
  type Standing,
} from './probation.ts';
import { newRaft } from './test-replicas.ts';

const REPLIES: readonly number[] = [
  MessageType.appendReply,
  MessageType.heartbeatReply,
  MessageType.voteReply,
  MessageType.preVoteReply,
];

function onProbation(): ProbationCore {
  const core = new ProbationCore(newRaft('c'), 'c', 'raft');
  core.configure({ voters: ['a', 'b', 'c'], learners: [] });
  return core;
}

/** All that leaves, with every write durable at once. */
function run(core: Core): PeerMessage[] {
  const sent: PeerMessage[] = [];
  while (core.hasEffects()) {
    const effects = core.take();
    sent.push(...effects.messages, ...effects.messagesAfterPersist);
    if (effects.persist !== undefined) core.persisted(effects.persist.sequence);
  }
  return sent;
}

function from(leader: string, term: number, type: MessageType): PeerMessage {
  const message = draft(type, leader, 'c', term);
  if (type === MessageType.append) {
    message.entries = [{ type: 0, term, index: 1, data: Buffer.from('x') }];
  }
  return message;
}

const promises = (sent: readonly PeerMessage[]): PeerMessage[] =>
  sent.filter(({ type }) => REPLIES.includes(type));

test('a leader that only the forgetful node follows gets nothing from it to count', () => {
  const core = onProbation();
  // It may be deposed: this node may have promised a later term, and forgotten that.
  core.step(from('a', 2, MessageType.append));
  core.step(from('a', 2, MessageType.heartbeat));
  core.step(from('a', 3, MessageType.vote));
  assert.deepEqual(promises(run(core)), []);
});

/** The leader of term 2 is confirmed by a majority of the others. */
function confirm(core: ProbationCore): void {
  core.step(from('a', 2, MessageType.heartbeat));
  core.readIndex(7);
  const asked = run(core).find(({ type }) => type === MessageType.readIndex);
  assert.ok(asked !== undefined, 'it asks the leader');
  const reply = draft(MessageType.readIndexReply, 'a', 'c', 2);
  reply.context = asked.context;
  core.step(reply);
  run(core);
}

test('a leader that still counts on what was lost gets nothing to count, even once it is confirmed', () => {
  const core = onProbation();
  confirm(core);
  core.step(from('a', 2, MessageType.append));
  assert.deepEqual(promises(run(core)), []);
});

test('a heartbeat commits nothing that the leader has not compared since the loss', () => {
  const core = onProbation();
  const entries = [1, 2].map(
    (index) => ({ type: 0, term: 2, index, data: Buffer.of(index) }) as const,
  );
  core.step({ ...from('a', 2, MessageType.append), entries: entries.slice(0, 1) });
  core.step({ ...from('a', 2, MessageType.heartbeat), commit: 2 });
  assert.equal(core.status().commit, 1);
  core.step({ ...from('b', 3, MessageType.heartbeat), commit: 2 });
  assert.equal(core.status().commit, 1);
});

test('at the end it gives its vote away durably, in this term and only there', () => {
  const core = onProbation();
  core.step(from('a', 2, MessageType.heartbeat));
  run(core);
  assert.deepEqual(core.abstain(), { term: 2, vote: 'c', commit: 0 });
  core.step({ ...from('b', 3, MessageType.vote), force: true });
  assert.deepEqual(
    promises(run(core)),
    [],
    'not before that is durable, and the probation forgotten',
  );
  core.end();
  core.step({ ...from('b', 2, MessageType.vote), force: true });
  assert.deepEqual(promises(run(core)), []);
  core.step({ ...from('b', 3, MessageType.vote), force: true });
  assert.deepEqual(
    promises(run(core)).map(({ type, term, reject }) => [type, term, reject]),
    [[MessageType.voteReply, 3, false]],
  );
});

test('a heartbeat from before the leader knew of the loss may come after the probation', () => {
  const core = onProbation();
  confirm(core);
  core.abstain();
  core.end();
  core.step({ ...from('a', 2, MessageType.heartbeat), commit: 40 });
  assert.equal(core.status().commit, 0);
});

test('a leader on a lease, which may be deposed already, confirms itself with the others first', () => {
  const leader = newRaft('a', {
    settings: { preVote: false },
    lease: { now: () => 1000, durationMs: 90, maxClockDrift: 0 },
  });
  const answered = (type: MessageType, fields: Partial<PeerMessage> = {}): PeerMessage[] => {
    leader.step({ ...draft(type, 'b', 'a', 2), ...fields });
    return run(leader);
  };
  leader.campaign();
  run(leader);
  answered(MessageType.voteReply);
  answered(MessageType.appendReply, { index: 1 });
  const core = onProbation();
  core.leaderKnows(2);
  core.step(from('a', 2, MessageType.heartbeat));
  core.readIndex(7);
  const [asked] = run(core);
  assert.equal(asked?.type, MessageType.readIndex);
  leader.step(asked);
  const toAll = run(leader);
  assert.deepEqual(
    toAll.map(({ type }) => type),
    [MessageType.heartbeat, MessageType.heartbeat],
  );
  const sent = answered(MessageType.heartbeatReply, { context: toAll[0]!.context });
  assert.deepEqual(
    sent.map(({ type, to }) => [type, to]),
    [[MessageType.readIndexReply, 'c']],
  );
});

/** A probation whose peers answer as `standings` says; resolves with how it ended, or not. */
async function serve(
  standings: Record<string, Standing | undefined>,
  { rounds = 20, leader = '', known = Object.keys(standings), applied = 10 } = {},
  other: Partial<ProbationContext> = {},
): Promise<{ end: ProbationEnd; informed: number[] }> {
  let left = rounds;
  let term = 0;
  const informed: number[] = [];
  const end = await probation({
    id: 'c',
    peers: () => known,
    applied: () => applied,
    mayBeNew: true,
    ask: async (peer) => standings[peer] ?? Promise.reject(new Error('not there')),
    leaderKnows(newest) {
      informed.push(newest);
      term = newest;
    },
    caughtUp: async () => undefined,
    term: () => term,
    leader: () => leader,
    patience: 10,
    async pause() {
      for (let i = 0; i < 20; i++) await undefined;
      left -= 1;
      return left > 0;
    },
    ...other,
  });
  return { end, informed };
}

const led = (term: number, leads: boolean, voters: string): Standing => {
  const said = { isNew: false, holdsAll: false, neverVoted: false, applied: 9 };
  return { ...said, term, leads, voters: [...voters] };
};

const fresh: Standing = { ...led(1, false, 'abc'), isNew: true, applied: 3 };

test('of three, one other that is new is enough where the third is not there', async () => {
  assert.equal((await serve({ a: fresh, b: undefined })).end, 'new');
  assert.equal(
    (await serve({ a: fresh, b: undefined }, { rounds: 10 })).end,
    'closed',
    'not at once',
  );
  assert.equal((await serve({ a: fresh, b: fresh }, { rounds: 3 })).end, 'new', 'all are there');
});

test('a cluster is not new where one has more in its log, however late that one answers', async () => {
  let asked = 0;
  let hasAnswered = false;
  const late = {
    ask: async (peer: string): Promise<Standing> => {
      if (peer === 'b') return fresh;
      // For a while there is no connection yet.
      asked += 1;
      if (asked < 9) throw new Error('not there yet');
      hasAnswered = true;
      return led(2, false, 'abc');
    },
  };
  assert.equal((await serve({ a: fresh, b: fresh }, {}, late)).end, 'closed');
  assert.ok(hasAnswered);
});

test('a cluster is not new where one that is gone now had more in its log', async () => {
  let isUp = false;
  const leaving = {
    ask: async (peer: string): Promise<Standing> => {
      if (peer === 'b') return isUp ? fresh : Promise.reject(new Error('not there yet'));
      if (isUp) throw new Error('not there any more');
      isUp = true;
      return led(2, false, 'abc');
    },
  };
  assert.equal((await serve({ a: fresh, b: fresh }, {}, leaving)).end, 'closed');
});

test('one that was added to a node that was alone takes part at once', async () => {
  const alone = { ...led(2, false, 'ax'), holdsAll: true };
  assert.equal((await serve({ a: alone })).end, 'one-of-two');
  assert.equal((await serve({ a: led(2, false, 'ax') })).end, 'closed');
});

test('of five, a learner that never voted needs not hear them all', async () => {
  const others = { b: led(2, false, 'abcde'), c: undefined, d: undefined, e: undefined };
  const leader = led(2, true, 'abcde');
  assert.equal((await serve({ a: leader, ...others })).end, 'closed');
  const knowing = { ...leader, neverVoted: true };
  assert.equal((await serve({ a: knowing, ...others })).end, 'caught-up');
});

test('of three, a leader and no answer from the third are enough', async () => {
  const { end } = await serve({ a: led(2, true, 'abc'), b: undefined });
  assert.equal(end, 'caught-up');
});

test('of five, the one that is not heard may be a candidate with our vote', async () => {
  const others = { b: led(2, false, 'abcde'), d: led(2, false, 'abcde') };
  const missing = { a: led(2, true, 'abcde'), ...others, e: undefined };
  assert.equal((await serve(missing)).end, 'closed');
  const later = { ...missing, e: led(3, false, 'abcde') };
  assert.deepEqual(await serve(later), { end: 'closed', informed: [] });
  assert.equal((await serve({ ...missing, e: led(2, false, 'abcde') })).end, 'caught-up');
});

test('who votes is what the leader says, where this node has forgotten it', async () => {
  const { end } = await serve({ a: led(2, true, 'abcde'), b: led(2, false, 'abcde') });
  assert.equal(end, 'closed', 'd and e were never heard');
});

test('who was removed need not be heard, once the leader has applied as much as this node', async () => {
  const others = {
    b: led(2, false, 'abcde'),
    d: led(2, false, 'abcde'),
    e: led(2, false, 'abcde'),
  };
  const standings = { a: led(2, true, 'abcde'), ...others, gone: undefined };
  assert.equal((await serve(standings)).end, 'closed', 'what this node has applied may be newer');
  assert.equal((await serve(standings, { applied: 9 })).end, 'caught-up');
});

test('the leader is asked also where the log here does not know it as a voter yet', async () => {
  const standings = { a: led(2, true, 'ab'), b: led(2, false, 'ab'), old: undefined };
  const known = ['b', 'old'];
  assert.equal((await serve(standings, { known })).end, 'closed');
  assert.equal((await serve(standings, { known, leader: 'a' })).end, 'caught-up');
});

test('once a quorum without it has confirmed the leader, it acknowledges, and still gives no vote', () => {
  const core = onProbation();
  core.leaderKnows(2);
  confirm(core);
  core.step(from('a', 2, MessageType.append));
  assert.deepEqual(
    promises(run(core)).map(({ type, index }) => [type, index]),
    [[MessageType.appendReply, 1]],
  );
  core.step(from('b', 9, MessageType.vote));
  assert.deepEqual(promises(run(core)), []);
});
