/**
 * Multi-Paxos message by message: phase one over an open range, phase two out of order, what is durable
 * before what is said (Paxos Made Simple §2.2 to §3, Paxos Made Moderately Complex §2 to §4).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../../core/random.ts';
import type { Effects } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { draft } from '../raft/draft.ts';
import type { RaftSettings } from '../raft/settings.ts';
import { type Entry, EntryType, type HardState } from '../types.ts';
import { PaxosCore } from './paxos.ts';
import { fromRecord, gapFiller, toRecord } from './slot.ts';

const A = '000000000000000a';
const B = '000000000000000b';
const C = '000000000000000c';
/** Ballots of round 1. */
const BALLOT = { [A]: 1024, [B]: 1025, [C]: 1026 };

interface Start {
  readonly hardState?: Partial<HardState>;
  readonly entries?: readonly Entry[];
  readonly snapshot?: { readonly index: number; readonly term: number };
  readonly settings?: Partial<RaftSettings>;
}

function core(id: string, start: Start = {}): PaxosCore {
  const snapshot = start.snapshot ?? { index: 0, term: 0 };
  return new PaxosCore({
    id,
    random: seededRandom(1),
    hardState: { term: 0, vote: '', commit: 0, ...start.hardState },
    configuration: { voters: [A, B, C], learners: [] },
    snapshot,
    entries: start.entries ?? [],
    applied: snapshot.index,
    settings: { preVote: false, ...start.settings },
  });
}

type Fields = Partial<PeerMessage> & Pick<PeerMessage, 'type' | 'from' | 'to' | 'term'>;

function message({ type, from, to, term, ...fields }: Fields): PeerMessage {
  return { ...draft(type, from, to, term), ...fields };
}

function value(index: number, origin: number, text = `${index} of ${origin}`): Entry {
  return {
    type: EntryType.normal,
    term: origin,
    index,
    data: new Uint8Array(Buffer.from(text)),
  };
}

/** Takes effects until there are none, every write durable at once; returns what was sent. */
function settle(node: PaxosCore): PeerMessage[] {
  const sent: PeerMessage[] = [];
  while (node.hasEffects()) {
    const effects = node.take();
    sent.push(...effects.messages, ...effects.messagesAfterPersist);
    if (effects.committed.length > 0) node.applied(effects.committed.at(-1)!.index);
    if (effects.persist !== undefined) node.persisted(effects.persist.sequence);
  }
  return sent;
}

function ofType(messages: readonly PeerMessage[], type: MessageType): PeerMessage[] {
  return messages.filter((each) => each.type === type);
}

/** `id` prepared its first ballot and has the promise of one other, with `records`. */
function promised(node: PaxosCore, id: string, records: readonly Entry[] = []): PeerMessage[] {
  node.campaign();
  const prepare = ofType(settle(node), MessageType.prepare)[0]!;
  const hintIndex = records.at(-1)?.index ?? 0;
  const { term, to, index } = prepare;
  node.step(
    message({
      type: MessageType.promise,
      from: to,
      to: id,
      term,
      index,
      entries: records,
      hintIndex,
    }),
  );
  return settle(node);
}

function asked(effects: Effects): readonly PeerMessage[] {
  return [...effects.messages, ...effects.messagesAfterPersist];
}

test('phase 1a: a ballot is durable as an own promise before anybody hears of it', () => {
  const node = core(A);
  node.campaign();
  const effects = node.take();
  assert.deepEqual(effects.messages, []);
  assert.deepEqual(effects.persist?.hardState, { term: BALLOT[A], vote: A, commit: 0 });
  const prepares = ofType(effects.messagesAfterPersist, MessageType.prepare);
  assert.deepEqual(
    prepares.map(({ to, term, index }) => [to, term, index]),
    [
      [B, BALLOT[A], 1],
      [C, BALLOT[A], 1],
    ],
  );
});

test('a ballot is never used again: after a restart the next one is above all that was promised', () => {
  const node = core(A, { hardState: { term: BALLOT[C] } });
  node.campaign();
  assert.equal(node.take().persist?.hardState?.term, 2048);
});

test('phase 1b: a promise waits for the disk, and tells what was accepted from the asked slot on', () => {
  const entries = [value(1, 1024), value(3, 1024)];
  const node = core(B, { hardState: { term: 1024 }, entries });
  node.step(message({ type: MessageType.prepare, from: C, to: B, term: BALLOT[C], index: 1 }));
  const effects = node.take();
  assert.deepEqual(effects.messages, []);
  assert.equal(effects.persist?.hardState?.term, BALLOT[C]);
  const [promise] = effects.messagesAfterPersist;
  assert.equal(promise?.type, MessageType.promise);
  assert.deepEqual(promise.entries, entries, 'slot 2 is a hole');
  assert.equal(promise.hintIndex, 3);
});

test('to accept is to promise: a crash that kept a slot and lost the promise written with it lost nothing', () => {
  const node = core(A, {
    hardState: { term: BALLOT[A], vote: A },
    entries: [value(1, BALLOT[A]), value(2, BALLOT[C])],
  });
  assert.equal(node.status().term, BALLOT[C]);
  const accept = { type: MessageType.accept, from: B, to: A, term: BALLOT[B], index: 1 };
  node.step(message({ ...accept, entries: [value(2, BALLOT[B])] }));
  const effects = node.take();
  assert.deepEqual(effects.persist?.hardState?.term, BALLOT[C], 'durable before it is said');
  assert.deepEqual(effects.persist?.entries, []);
  assert.deepEqual(
    asked(effects).map(({ type, term, reject }) => [type, term, reject]),
    [[MessageType.accepted, BALLOT[C], true]],
  );
});

test('phase 1b: an older ballot is refused and told the newer one', () => {
  const node = core(B, { hardState: { term: BALLOT[C] } });
  for (const type of [MessageType.prepare, MessageType.accept]) {
    node.step(message({ type, from: A, to: B, term: BALLOT[A] }));
    const [reply] = settle(node);
    assert.deepEqual([reply?.reject, reply?.term], [true, BALLOT[C]]);
  }
});

test('phase 1b: who lacks what is no longer in the log is refused, and nothing is promised to it', () => {
  const node = core(B, { snapshot: { index: 9, term: 1024 }, hardState: { term: 1024 } });
  node.step(message({ type: MessageType.prepare, from: C, to: B, term: BALLOT[C], index: 9 }));
  const [reply] = settle(node);
  assert.equal(reply?.reject, true);
  assert.equal(node.status().term, 1024);
});

test('phase 2a: a new leader proposes the newest reported values, fills gaps, then its own', () => {
  const newer = toRecord({ ballot: 2049, value: value(1, 1026, 'newer') });
  const later = core(A, { hardState: { term: 2050 }, entries: [value(1, 1025, 'old')] });
  later.campaign();
  const prepare = ofType(settle(later), MessageType.prepare)[0]!;
  assert.equal(prepare.term, 3072);
  later.step(
    message({
      type: MessageType.promise,
      from: B,
      to: A,
      term: 3072,
      index: 1,
      entries: [newer, value(3, 2049)],
      hintIndex: 3,
    }),
  );
  const accepts = ofType(settle(later), MessageType.accept).filter(({ to }) => to === B);
  assert.deepEqual(
    accepts[0]?.entries.map(({ index, term }) => [index, term]),
    [
      [1, 1026],
      [2, 0],
      [3, 2049],
      [4, 3072],
    ],
  );
  assert.deepEqual(accepts[0]?.entries[1], gapFiller(2));
});

test('a promise in several pages counts when the last one is here, and a page that came twice only once', () => {
  const node = core(A);
  node.campaign();
  settle(node);
  const page = (index: number, hintIndex: number): PeerMessage =>
    message({
      type: MessageType.promise,
      from: B,
      to: A,
      term: BALLOT[A],
      index,
      entries: [value(index, 1)],
      hintIndex,
      // The acceptor sends no more of itself.
      force: index < hintIndex,
    });
  node.step(page(1, 2));
  const [next] = settle(node);
  assert.deepEqual([next?.type, next?.to, next?.index], [MessageType.prepare, B, 2]);
  node.step(page(1, 2));
  assert.equal(node.status().role, 'candidate');
  node.step(page(2, 2));
  assert.equal(node.status().role, 'leader');
});

test('phase 2b: an acceptance is acknowledged when it is durable', () => {
  const node = core(B);
  const accept = message({
    type: MessageType.accept,
    from: A,
    to: B,
    term: BALLOT[A],
    entries: [value(1, BALLOT[A])],
  });
  node.step(accept);
  const effects = node.take();
  assert.deepEqual(asked({ ...effects, messagesAfterPersist: [] }), []);
  assert.deepEqual(effects.persist?.entries, accept.entries);
  assert.equal(effects.persist?.hardState?.term, BALLOT[A], 'to accept is to promise');
  const [reply] = effects.messagesAfterPersist;
  assert.deepEqual([reply?.type, reply?.index, reply?.reject], [MessageType.accepted, 1, false]);
});

test('out of order: what comes behind a hole is accepted, the hole is named, and filled alone', () => {
  const leader = core(A);
  promised(leader, A);
  leader.step(message({ type: MessageType.accepted, from: B, to: A, term: BALLOT[A], index: 1 }));
  leader.propose([new Uint8Array([1])]);
  const lost = ofType(settle(leader), MessageType.accept).filter(({ to }) => to === B);
  assert.ok(lost.some(({ entries }) => entries[0]?.index === 2));
  leader.propose([new Uint8Array([2])]);
  const behind = ofType(settle(leader), MessageType.accept)
    .filter(({ to }) => to === B)
    .at(-1)!;

  const follower = core(B);
  follower.step(
    message({
      type: MessageType.accept,
      from: A,
      to: B,
      term: BALLOT[A],
      entries: [{ ...value(1, BALLOT[A]), data: new Uint8Array(0) }],
    }),
  );
  settle(follower);
  follower.step(behind);
  const replies = settle(follower);
  const hole = replies.find(({ reject }) => reject)!;
  assert.deepEqual([hole.index, hole.hintIndex], [1, 2]);

  leader.step(hole);
  const repair = ofType(settle(leader), MessageType.accept).filter(({ to }) => to === B);
  assert.deepEqual(
    repair.map(({ entries }) => entries.map(({ index }) => index)),
    [[2]],
  );
  follower.step(repair[0]!);
  assert.equal(settle(follower).at(-1)?.index, 3, 'the whole row counts at once');
});

test('a slot counts as chosen where it was accepted in the ballot of who says so, not in an older one', () => {
  const node = core(C, { hardState: { term: BALLOT[A] }, entries: [value(1, BALLOT[A], 'stale')] });
  // B leads and knows slot 1 to be chosen; what C has there is of A's ballot.
  const heartbeat = message({
    type: MessageType.heartbeat,
    from: B,
    to: C,
    term: BALLOT[B],
    commit: 1,
  });
  node.step(heartbeat);
  assert.equal(node.status().commit, 0);
  node.step(
    message({
      type: MessageType.accept,
      from: B,
      to: C,
      term: BALLOT[B],
      commit: 1,
      entries: [value(1, 1, 'chosen')],
    }),
  );
  assert.equal(node.status().commit, 1);
  const { persist, committed } = node.take();
  assert.deepEqual(committed, [value(1, 1, 'chosen')]);
  assert.equal(fromRecord(persist!.entries[0]!)?.ballot, BALLOT[B]);
});

test('who hears a leader promises nobody else, unless that leader hands over', () => {
  const node = core(B);
  node.step(message({ type: MessageType.heartbeat, from: A, to: B, term: BALLOT[A] }));
  settle(node);
  const prepare = message({
    type: MessageType.prepare,
    from: C,
    to: B,
    term: BALLOT[C],
    index: 1,
  });
  node.step(prepare);
  assert.equal(node.status().term, BALLOT[A]);
  assert.deepEqual(settle(node), []);
  node.step({ ...prepare, force: true });
  assert.equal(node.status().term, BALLOT[C]);
});

/** A follower of A that is asked by C before a prepare, and refuses while it hears its leader. */
function follower(settings: Partial<RaftSettings> = {}) {
  const node = core(B, { settings: { preVote: true, ...settings } });
  const heartbeat = message({ type: MessageType.heartbeat, from: A, to: B, term: BALLOT[A] });
  const asks = message({ type: MessageType.preVote, from: C, to: B, term: BALLOT[C], index: 1 });
  return {
    node,
    hear(): void {
      node.step(heartbeat);
      settle(node);
    },
    /** Ticks until it campaigns. */
    patience(): number {
      const campaigns: MessageType[] = [MessageType.preVote, MessageType.prepare];
      for (let ticks = 1; ticks < 40; ticks++) {
        node.tick();
        if (settle(node).some(({ type }) => campaigns.includes(type))) return ticks;
      }
      return assert.fail('it never campaigns');
    },
    grants(): boolean {
      node.step(asks);
      return settle(node).some(({ type, reject }) => type === MessageType.preVoteReply && !reject);
    },
  };
}

test('a connection to the leader that breaks lets those who lost it elect sooner, and again soon', () => {
  const { node, hear, patience, grants } = follower();
  hear();
  assert.equal(grants(), false);
  node.unreachable(A);
  assert.equal(grants(), true);
  assert.ok(patience() < 10);
  assert.ok(patience() < 10, 'where two were in each other’s way');
  assert.equal(node.status().term, BALLOT[A], 'only asked');
  const unaware = follower();
  unaware.hear();
  assert.ok(unaware.patience() >= 10, 'which they else wait for');
});

test('a broken connection is forgotten as soon as the leader is heard, and means nothing of anybody else', () => {
  const { node, hear, patience, grants } = follower();
  hear();
  node.unreachable(A);
  hear();
  assert.equal(grants(), false);
  node.unreachable(C);
  assert.equal(grants(), false);
  assert.ok(patience() >= 10);
  for (const settings of [{ preVote: false }, { checkQuorum: false }]) {
    const other = follower(settings);
    other.hear();
    other.node.unreachable(A);
    assert.ok(other.patience() >= 10);
  }
});

test('only its owner leads in a ballot, or asks for promises in it', () => {
  const node = core(B);
  for (const type of [MessageType.prepare, MessageType.accept, MessageType.heartbeat]) {
    node.step(message({ type, from: C, to: B, term: BALLOT[A], index: 1 }));
  }
  assert.deepEqual(settle(node), []);
  assert.equal(node.status().term, 0);
});

test('a snapshot takes the place of the log up to its index; what was accepted behind stays promised', () => {
  const entries = [value(1, BALLOT[A]), value(7, BALLOT[A])];
  const node = core(B, { hardState: { term: BALLOT[A] }, entries });
  node.step(
    message({
      type: MessageType.snapshot,
      from: A,
      to: B,
      term: BALLOT[A],
      index: 5,
      logTerm: BALLOT[A],
    }),
  );
  const { install } = node.take();
  node.snapshotInstalled({ ...install!, configuration: { voters: [A, B, C], learners: [] } });
  assert.deepEqual(
    [node.status().commit, node.status().firstIndex, node.status().lastIndex],
    [5, 6, 7],
  );
  settle(node);
  node.step(
    message({
      type: MessageType.prepare,
      from: C,
      to: B,
      term: BALLOT[C],
      index: 6,
      force: true,
    }),
  );
  assert.deepEqual(settle(node).at(-1)?.entries, [value(7, BALLOT[A])]);
});

test('a log with a hole among what was chosen is damaged', () => {
  const entries = [value(1, BALLOT[A]), value(3, BALLOT[A])];
  assert.throws(() => core(B, { hardState: { term: BALLOT[A], commit: 3 }, entries }), {
    code: 'ERR_CORRUPT',
    message: /slot 2/,
  });
});

test('the members cannot be changed', () => {
  assert.equal(core(A).proposeChange(), 'changing');
  assert.equal(core(A).status().hasFixedMembers, true);
});

test('a leader whose disk stands still hands over, steps down, and does not campaign meanwhile', () => {
  const leader = core(A, { settings: { electionTicks: 10 } });
  promised(leader, A);
  const { term } = leader.status();
  leader.step(message({ type: MessageType.accepted, from: B, to: A, term, index: 1 }));
  settle(leader);
  leader.propose([new Uint8Array([1])]);
  const { persist } = leader.take();
  leader.step(message({ type: MessageType.accepted, from: B, to: A, term, index: 2 }));
  const sent: PeerMessage[] = [];
  for (let tick = 0; tick < 16; tick++) {
    leader.tick();
    leader.step(message({ type: MessageType.heartbeatReply, from: B, to: A, term }));
    if (leader.hasEffects()) sent.push(...leader.take().messages);
  }
  assert.deepEqual(
    ofType(sent, MessageType.timeoutNow).map(({ to }) => to),
    [B],
  );
  assert.equal(leader.status().role, 'follower');
  leader.campaign();
  assert.equal(leader.status().role, 'follower');
  leader.persisted(persist!.sequence);
  leader.tick();
  leader.campaign();
  assert.equal(leader.status().role, 'candidate');
});
