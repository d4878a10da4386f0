import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Core, CoreStatus, Effects } from '../../../consensus/core.ts';
import { encodeChange } from '../../../consensus/replica/member-change.ts';
import { type Configuration, type Entry, EntryType } from '../../../consensus/types.ts';
import { Oracle } from './oracle.ts';
import { Properties } from './properties.ts';
import { entry, found, message, NotedWorld, scriptedCore } from './testing.ts';

const CONFIGURATION: Configuration = { voters: ['a', 'b', 'c'], learners: [] };

interface Node {
  readonly core: Core;
  take(status: Partial<CoreStatus>, effects?: Partial<Effects>): void;
}

class Scene {
  readonly world = new NotedWorld();
  readonly properties: Properties;
  #sequence = 0;

  constructor(consensus: 'raft' | 'paxos' = 'raft') {
    this.properties = new Properties(this.world, consensus, new Oracle(2));
  }

  start(id: string, term = 1, entries: readonly Entry[] = [], vote = ''): Node {
    const { core, set } = scriptedCore(id);
    set({ term, lastIndex: entries.length });
    const watched = this.properties.started(id, core, found({ term, vote }, entries));
    watched.configure(CONFIGURATION);
    return {
      core: watched,
      take(status, effects) {
        set(status, effects);
        watched.take();
      },
    };
  }

  /** A write that is durable at once. */
  write(node: Node, term: number, vote: string, entries: readonly Entry[] = []): void {
    const sequence = ++this.#sequence;
    const lastIndex = entries.at(-1)?.index;
    const persist = { hardState: { term, vote, commit: 0 }, entries, sequence };
    node.take({ term, ...(lastIndex === undefined ? {} : { lastIndex }) }, { persist });
    node.core.persisted(sequence);
  }

  lead(node: Node, id: string, term: number): void {
    this.write(node, term, id);
    // Who is not looked at voted for it as well.
    this.properties.seat(id === 'c' ? 'b' : 'c').votes.set(term, id);
    node.take({ role: 'leader', term });
  }

  expect(...properties: readonly string[]): void {
    assert.deepEqual(this.world.violated, properties, this.world.messages.join('; '));
  }
}

test('a term with one leader and entries on a durable quorum breaks nothing', () => {
  const scene = new Scene();
  const [a, b] = [scene.start('a'), scene.start('b')];
  scene.lead(a, 'a', 2);
  scene.write(a, 2, 'a', [entry(1, 2)]);
  scene.write(b, 2, 'a', [entry(1, 2)]);
  scene.properties.sent('b', message('appendReply', { from: 'b', to: 'a', term: 2, index: 1 }));
  a.take({ commit: 1, handedOut: 1, lastIndex: 1 }, { committed: [entry(1, 2)] });
  b.take({ commit: 1, handedOut: 1, lastIndex: 1 }, { committed: [entry(1, 2)] });
  scene.expect();
});

test('two leaders of one term are seen', () => {
  const scene = new Scene();
  scene.lead(scene.start('a'), 'a', 2);
  scene.lead(scene.start('b'), 'b', 2);
  scene.expect('election-safety');
});

test('a leader whose own vote is not durable is seen', () => {
  const scene = new Scene();
  scene.start('a').take({ role: 'leader', term: 2 });
  scene.expect('durable-before-promise', 'election-quorum');
});

test('a leader without an entry that was chosen before its term is seen', () => {
  const scene = new Scene();
  const [a, b, c] = [scene.start('a'), scene.start('b'), scene.start('c')];
  scene.lead(a, 'a', 2);
  scene.write(a, 2, 'a', [entry(1, 2)]);
  scene.write(b, 2, 'a', [entry(1, 2)]);
  a.take({ commit: 1, handedOut: 1, lastIndex: 1 }, { committed: [entry(1, 2)] });
  scene.lead(c, 'c', 3);
  scene.expect('leader-completeness');
});

test('a leader without the first members, which no leader ever counted, is seen', () => {
  const scene = new Scene();
  const [a, b] = [scene.start('a', 1, [entry(1, 1)]), scene.start('b', 1, [entry(1, 1)])];
  a.take({ commit: 1, handedOut: 1 }, { committed: [entry(1, 1)] });
  scene.lead(a, 'a', 3);
  for (const node of [a, b]) scene.write(node, 3, 'a', [entry(2, 3)]);
  a.take({ commit: 2, handedOut: 2 }, { committed: [entry(2, 3)] });
  scene.expect();
  scene.lead(scene.start('c'), 'c', 2);
  scene.expect('leader-completeness');
});

test('a leader need not have what a later one brings to commitment, of whatever term that is', () => {
  const scene = new Scene();
  const [a, b, c] = [scene.start('a'), scene.start('b'), scene.start('c')];
  scene.lead(c, 'c', 2);
  scene.write(c, 2, 'c', [entry(1, 2)]);
  scene.lead(b, 'b', 3);
  c.take({ role: 'follower' });
  scene.lead(c, 'c', 5);
  scene.write(c, 5, 'c', [entry(2, 5)]);
  scene.write(a, 5, 'c', [entry(1, 2), entry(2, 5)]);
  const committed = [entry(1, 2), entry(2, 5)];
  c.take({ commit: 2, handedOut: 2, lastIndex: 2 }, { committed });
  scene.expect();
  // The votes of term 4 reach it only now.
  b.take({ role: 'candidate' });
  scene.lead(b, 'b', 4);
  scene.expect();
  b.take({ role: 'candidate' });
  scene.lead(b, 'b', 6);
  scene.expect('leader-completeness');
});

test('a leader without an entry that an older one counts is seen, however late and whoever counted it before', () => {
  const scene = new Scene();
  const [a, b, c] = [scene.start('a'), scene.start('b'), scene.start('c')];
  scene.lead(a, 'a', 2);
  for (const node of [a, b]) scene.write(node, 2, 'a', [entry(1, 2)]);
  scene.lead(c, 'c', 3);
  scene.lead(b, 'b', 4);
  scene.write(b, 4, 'b', [entry(2, 4)]);
  scene.properties.seat('a').durable.push(4);
  b.take({ commit: 2, handedOut: 1, lastIndex: 2 }, { committed: [entry(1, 2)] });
  scene.expect();
  a.take({ commit: 1 });
  scene.expect('leader-completeness');
});

test('a leader that counts an entry without a durable quorum is seen', () => {
  const scene = new Scene();
  const a = scene.start('a');
  scene.lead(a, 'a', 2);
  scene.write(a, 2, 'a', [entry(1, 2)]);
  a.take({ commit: 1, handedOut: 1, lastIndex: 1 }, { committed: [entry(1, 2)] });
  scene.expect('durable-quorum', 'durable-quorum');
});

test('a leader that counts an entry of an older term is seen', () => {
  const scene = new Scene();
  const a = scene.start('a', 1, [entry(1, 1)]);
  scene.start('b', 1, [entry(1, 1)]);
  scene.lead(a, 'a', 2);
  a.take({ commit: 1, handedOut: 1, lastIndex: 1 }, { committed: [entry(1, 1)] });
  scene.expect('commit-of-old-term');
});

test('a leader that believes a peer to hold what it does not hold is seen', () => {
  const scene = new Scene();
  const [a, b] = [scene.start('a'), scene.start('b')];
  scene.lead(a, 'a', 2);
  scene.write(a, 2, 'a', [entry(1, 2), entry(2, 2)]);
  scene.write(b, 2, 'a', [entry(1, 2)]);
  const peer = { id: 'b', match: 2, next: 3, state: 'replicate', active: true } as const;
  a.take({ commit: 1, handedOut: 1, lastIndex: 2, peers: [peer] }, { committed: [entry(1, 2)] });
  scene.expect('match');
});

test('a deposed leader may hear late what a peer held before it followed another', () => {
  const scene = new Scene();
  const [a, b] = [scene.start('a'), scene.start('b')];
  scene.lead(a, 'a', 2);
  scene.write(a, 2, 'a', [entry(1, 2), entry(2, 2)]);
  scene.write(b, 2, 'a', [entry(1, 2), entry(2, 2)]);
  scene.write(b, 3, 'c', [entry(2, 3)]);
  const peer = { id: 'b', match: 2, next: 3, state: 'replicate', active: true } as const;
  a.take({ commit: 1, handedOut: 1, lastIndex: 2, peers: [peer] }, { committed: [entry(1, 2)] });
  scene.expect();
});

test('a leader that overwrites its own log is seen', () => {
  const scene = new Scene();
  const a = scene.start('a');
  scene.lead(a, 'a', 2);
  scene.write(a, 2, 'a', [entry(1, 2)]);
  scene.write(a, 2, 'a', [entry(1, 2)]);
  scene.expect('leader-append-only');
});

test('two different entries of one index and term are seen, whoever wrote them', () => {
  const scene = new Scene();
  scene.write(scene.start('a'), 2, '', [entry(1, 2, 'x')]);
  scene.write(scene.start('b'), 2, '', [entry(1, 2, 'y')]);
  scene.expect('log-matching');
});

test('two different entries handed out at one index are seen', () => {
  const scene = new Scene();
  const a = scene.start('a', 2, [entry(1, 2)]);
  const b = scene.start('b', 3, [entry(1, 3)]);
  scene.start('c', 2, [entry(1, 2)]);
  a.take({ commit: 1, handedOut: 1, lastIndex: 1 }, { committed: [entry(1, 2)] });
  b.take({ commit: 1, handedOut: 1, lastIndex: 1 }, { committed: [entry(1, 3)] });
  scene.expect('state-machine-safety');
});

test('terms and commit indexes that fall are seen', () => {
  const scene = new Scene();
  const a = scene.start('a', 3, [entry(1, 3), entry(2, 3)]);
  a.take({ commit: 2 });
  a.take({ commit: 1 });
  a.take({ term: 2 });
  scene.expect('commit-regressed', 'term-regressed');
});

test('a vote that is granted before it is durable is seen, and so is a second one', () => {
  const scene = new Scene();
  const a = scene.start('a');
  scene.write(a, 2, '');
  scene.properties.sent('a', message('voteReply', { term: 2, to: 'b' }));
  scene.write(a, 2, 'b');
  scene.properties.sent('a', message('voteReply', { term: 2, to: 'b' }));
  scene.properties.sent('a', message('voteReply', { term: 2, to: 'c' }));
  scene.expect('durable-before-promise', 'one-vote');
});

test('a vote leaves with the write of a newer term, but not a second one', () => {
  const scene = new Scene();
  const a = scene.start('a');
  scene.write(a, 3, '');
  scene.properties.sent('a', message('voteReply', { term: 2, to: 'b' }));
  scene.expect();
  scene.properties.sent('a', message('voteReply', { term: 2, to: 'c' }));
  scene.expect('one-vote');
});

test('a message of a term that is not durable is seen, but for questions before an election', () => {
  const scene = new Scene();
  scene.start('a');
  scene.properties.sent('a', message('preVote', { term: 2 }));
  scene.properties.sent('a', message('preVoteReply', { term: 2 }));
  scene.expect();
  scene.properties.sent('a', message('heartbeatReply', { term: 2 }));
  scene.expect('durable-before-promise');
});

test('an acknowledgement that waited for the disk together with a newer term is none of a lie, one of more is', () => {
  const scene = new Scene();
  const b = scene.start('b');
  scene.write(b, 2, '', [entry(1, 2), entry(2, 2)]);
  // Another leader replaced them in the same write, and what was said of them leaves after it.
  scene.write(b, 3, '', [entry(1, 3)]);
  scene.properties.sent('b', message('appendReply', { from: 'b', to: 'a', term: 2, index: 2 }));
  scene.expect();
  scene.properties.sent('b', message('appendReply', { from: 'b', to: 'a', term: 2, index: 3 }));
  scene.expect('durable-before-promise');
  // Written at once with the newer term, whose leader has it as well.
  const c = scene.start('c', 2);
  scene.write(c, 3, '', [entry(1, 2)]);
  scene.properties.sent('c', message('appendReply', { from: 'c', to: 'a', term: 2, index: 1 }));
  scene.expect('durable-before-promise');
  scene.properties.sent('b', message('appendReply', { from: 'b', to: 'c', term: 3, index: 2 }));
  scene.expect('durable-before-promise', 'durable-before-promise');
});

test('an acknowledgement of what is not durable, or is not what the leader has, is seen', () => {
  const scene = new Scene();
  const [a, b] = [scene.start('a'), scene.start('b', 1, [entry(1, 1)])];
  scene.lead(a, 'a', 2);
  scene.write(a, 2, 'a', [entry(1, 2)]);
  scene.write(b, 2, '');
  scene.properties.sent('b', message('appendReply', { from: 'b', to: 'a', term: 2, index: 2 }));
  scene.properties.sent('b', message('appendReply', { from: 'b', to: 'a', term: 2, index: 1 }));
  scene.expect('durable-before-promise', 'log-matching');
});

test('what was durable must be found at the next start', () => {
  for (const [what, state] of [
    ['an entry less', found({ term: 2, vote: 'b' }, [])],
    ['another entry', found({ term: 2, vote: 'b' }, [entry(1, 1)])],
    ['an older term', found({ term: 1 }, [entry(1, 2)])],
    ['another vote', found({ term: 2, vote: 'c' }, [entry(1, 2)])],
    ['an entry that was never written', found({ term: 2, vote: 'b' }, [entry(1, 2), entry(2, 2)])],
  ] as const) {
    const scene = new Scene();
    scene.write(scene.start('a'), 2, 'b', [entry(1, 2)]);
    scene.properties.worstCase('a', state);
    assert.deepEqual(scene.world.violated, ['durable-before-promise'], what);
  }
});

test('a write that was not said to be durable may be found, or not', () => {
  const scene = new Scene();
  const a = scene.start('a');
  scene.write(a, 2, 'b', [entry(1, 2), entry(2, 2)]);
  const hardState = { term: 3, vote: 'c', commit: 0 };
  a.take({ term: 3 }, { persist: { hardState, entries: [entry(2, 3)], sequence: 9 } });
  scene.properties.worstCase('a', found({ term: 2, vote: 'b' }, [entry(1, 2), entry(2, 2)]));
  scene.properties.worstCase('a', found({ term: 3, vote: 'c' }, [entry(1, 2), entry(2, 3)]));
  scene.properties.worstCase('a', found({ term: 3, vote: 'c' }, [entry(1, 2)]));
  scene.expect();
});

test('a vote for itself that was lost with the disk binds nobody, one that is still there does', () => {
  for (const [found, broken] of [
    ['', []],
    ['b', ['one-vote']],
  ] as const) {
    const scene = new Scene();
    scene.write(scene.start('b'), 3, 'b');
    scene.properties.damaged('b');
    scene.write(scene.start('b', 3, [], found), 3, 'c');
    scene.expect(...broken);
  }
});

test('nothing is expected of a disk that was lost, but that no second vote is given', () => {
  const scene = new Scene();
  scene.write(scene.start('a'), 2, 'b', [entry(1, 2)]);
  scene.properties.damaged('a');
  const again = scene.start('a');
  scene.write(again, 2, '');
  scene.expect();
  scene.write(again, 2, 'c');
  scene.expect('one-vote');
});

test('what a leader counted on before a disk was lost twice is not held against it', () => {
  const scene = new Scene('paxos');
  const write = (term: number): void => {
    scene.write(scene.start('a'), term, '', [entry(1, term)]);
    scene.properties.damaged('a');
  };
  write(7);
  write(5);
  scene.start('a');
  const seat = scene.properties.seat('a');
  assert.deepEqual(
    [5, 7, 8].map((ballot) => seat.acceptedSince(1, ballot)),
    [true, true, false],
  );
  assert.deepEqual(
    [5, 6, 7].map((ballot) => seat.holds(1, ballot)),
    [true, false, true],
  );
});

test('a read index older than what was committed before it was asked is seen', () => {
  const scene = new Scene();
  const a = scene.start('a', 2, [entry(1, 2)]);
  scene.start('b', 2, [entry(1, 2)]);
  a.take({ commit: 1, handedOut: 1, lastIndex: 1 }, { committed: [entry(1, 2)] });
  a.core.readIndex(1);
  a.core.readIndex(2);
  a.take({}, { reads: [{ context: 1, index: 1 }] });
  a.take({}, { reads: [{ context: 2, index: 0 }] });
  a.take({}, { reads: [{ context: 2, index: 1 }] });
  scene.expect('stale-read', 'stale-read');
});

test('a second change of the configuration before the first is committed is seen', () => {
  const scene = new Scene();
  const a = scene.start('a');
  const change = (index: number): Entry => ({ ...entry(index, 2), type: EntryType.configChange });
  scene.lead(a, 'a', 2);
  scene.write(a, 2, 'a', [change(1)]);
  scene.write(a, 2, 'a', [change(2)]);
  scene.expect('configuration');
  const other = new Scene();
  const b = other.start('b');
  other.lead(b, 'b', 2);
  other.write(b, 2, 'b', [change(1), change(2)]);
  other.expect('configuration');
});

test('members are decided when the newest leader has no change before it and is not between two', () => {
  const scene = new Scene();
  const [a, b] = [scene.start('a'), scene.start('b')];
  assert.equal(scene.properties.areMembersDecided, false, 'nobody leads');
  scene.lead(a, 'a', 2);
  assert.equal(scene.properties.areMembersDecided, true);
  const change: Entry = { ...entry(1, 2), type: EntryType.configChangeV2 };
  a.take({ changes: [change] });
  assert.equal(scene.properties.areMembersDecided, false);
  // It comes into force, and two sets of voters are joined.
  a.take({ changes: [] });
  const { voters } = CONFIGURATION;
  const joint = { outgoing: voters, learnersNext: [], autoLeave: true };
  a.core.configure({ voters: ['a', 'b', 'd'], learners: [], joint });
  assert.equal(scene.properties.areMembersDecided, false);
  a.core.configure({ voters: ['a', 'b', 'd'], learners: [] });
  assert.equal(scene.properties.areMembersDecided, true);
  // What a newer leader has counts.
  scene.lead(b, 'b', 3);
  b.take({ changes: [change] });
  assert.equal(scene.properties.areMembersDecided, false);
  scene.expect();
});

test('configurations whose majorities need not meet may not follow each other', () => {
  const steps: readonly (readonly [Configuration, boolean])[] = [
    [{ voters: ['a', 'b', 'c', 'd'], learners: [] }, true],
    [{ voters: ['a', 'b'], learners: [] }, true],
    [{ voters: ['a', 'b', 'c'], learners: ['d'] }, true],
    [{ voters: ['a', 'd', 'e'], learners: [] }, false],
    [
      {
        voters: ['a', 'd', 'e'],
        learners: [],
        joint: { outgoing: ['a', 'b', 'c'], learnersNext: [], autoLeave: true },
      },
      true,
    ],
    [
      {
        voters: ['a', 'd', 'e'],
        learners: [],
        joint: { outgoing: ['a', 'b'], learnersNext: [], autoLeave: true },
      },
      false,
    ],
  ];
  for (const [next, mayFollow] of steps) {
    const scene = new Scene();
    scene.start('a').core.configure(next);
    assert.deepEqual(scene.world.violated, mayFollow ? [] : ['configuration']);
  }
});

test('what a process that is gone still does is not held against its successor', () => {
  const scene = new Scene();
  const old = scene.start('a');
  scene.start('a');
  old.take({ role: 'leader', term: 7 });
  scene.expect();
});

test('a promise that leaves out what was accepted in an older ballot is seen', () => {
  const scene = new Scene('paxos');
  scene.start('a', 5, [entry(1, 2), entry(2, 3), entry(3, 4)]);
  const promise = (entries: readonly Entry[], index = 1): void =>
    scene.properties.sent(
      'a',
      message('promise', { term: 5, index, hintIndex: 3, entries: [...entries] }),
    );
  promise([entry(1, 2), entry(2, 3)]);
  promise([entry(3, 4)], 3);
  scene.expect();
  promise([entry(1, 2)].concat(entry(3, 4)));
  promise([entry(2, 2), entry(3, 4)], 2);
  promise([entry(1, 2), entry(2, 3), entry(3, 3)]);
  scene.expect('promise-complete', 'promise-complete', 'promise-complete');
});

test('a leader without the votes of a majority is seen', () => {
  const scene = new Scene();
  const [a, b] = [scene.start('a'), scene.start('b')];
  scene.write(b, 2, 'a');
  scene.write(a, 2, 'a');
  a.take({ role: 'leader', term: 2 });
  scene.expect();
  a.take({ role: 'candidate' });
  scene.write(a, 3, 'a');
  a.take({ role: 'leader', term: 3 });
  scene.expect('election-quorum');
});

/** Replaces where b is, and nothing else. */
const UPDATE: Entry = {
  ...entry(1, 1),
  ...encodeChange([{ kind: 'update', id: '000000000000000b', peerUrls: ['http://b:1'] }]),
};

test('a change that does something else than it says is seen', () => {
  const scene = new Scene();
  const a = scene.start('a', 1, [UPDATE]);
  a.core.configure({ voters: ['a'], learners: ['000000000000000b'] });
  scene.world.violated.length = 0;
  a.take({ commit: 1, handedOut: 1 }, { committed: [UPDATE] });
  a.core.configure({ voters: ['a', '000000000000000b'], learners: [] });
  scene.expect('configuration');
});

test('a leader that takes new entries when it is no voter any more is seen', () => {
  const scene = new Scene();
  const a = scene.start('a');
  scene.lead(a, 'a', 2);
  scene.world.violated.length = 0;
  scene.write(a, 2, 'a', [entry(1, 2)]);
  a.core.configure({ voters: ['b', 'c'], learners: [] });
  scene.world.violated.length = 0;
  scene.write(a, 2, 'a', [entry(2, 2)]);
  scene.expect('removed-leader');
});

test('a follower that hands out first what no quorum holds is seen, under either core', () => {
  for (const consensus of ['raft', 'paxos'] as const) {
    const scene = new Scene(consensus);
    const a = scene.start('a', 2, [entry(1, 2), entry(2, 2)]);
    scene.start('b', 2, [entry(1, 2)]);
    a.take({ commit: 1, handedOut: 1, lastIndex: 2 }, { committed: [entry(1, 2)] });
    scene.expect();
    a.take({ commit: 2, handedOut: 2 }, { committed: [entry(2, 2)] });
    scene.expect('durable-quorum');
  }
});

test('what was counted before a change is in force the old members may have counted, and nothing behind it', () => {
  const scene = new Scene();
  const d = '000000000000000d';
  const member = { id: d, name: '', peerUrls: ['http://d:1'], clientUrls: [], learner: false };
  const change: Entry = { ...entry(1, 2), ...encodeChange([{ kind: 'add', member }]) };
  const [a, b] = [scene.start('a'), scene.start('b')];
  scene.lead(a, 'a', 2);
  for (const node of [a, b]) scene.write(node, 2, 'a', [change, entry(2, 2), entry(3, 2)]);
  a.take({ commit: 2, handedOut: 1, lastIndex: 3 }, { committed: [change] });
  a.core.configure({ voters: [...CONFIGURATION.voters, d], learners: [] });
  a.take({ commit: 2, handedOut: 2 }, { committed: [entry(2, 2)] });
  scene.expect();
  a.take({ commit: 3, handedOut: 3 }, { committed: [entry(3, 2)] });
  scene.expect('durable-quorum', 'durable-quorum');
});

test('a Paxos leader that counts what a peer accepted in an older ballot is seen', () => {
  const scene = new Scene('paxos');
  const entries = [entry(1, 2), entry(2, 2)];
  const [a, b] = [scene.start('a', 2, entries), scene.start('b', 2, entries)];
  scene.lead(a, 'a', 3);
  scene.write(a, 3, 'a', [entry(1, 3), entry(2, 3)]);
  scene.write(b, 3, 'a', [entry(1, 3)]);
  const peer = { id: 'b', match: 2, next: 3, state: 'replicate', active: true } as const;
  a.take({ commit: 1, handedOut: 1, lastIndex: 2, peers: [peer] }, { committed: [entry(1, 2)] });
  scene.expect('match');
});
