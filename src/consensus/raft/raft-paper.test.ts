/**
 * The paper, section by section: "In Search of an Understandable Consensus Algorithm" (extended
 * version). What practice added is in `raft-practice.test.ts`.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MessageType, type RaftMessage } from './messages.ts';
import { Cluster, entriesOf, entryAt, message, Node } from './test-cluster.ts';

const { append, appendReply, heartbeat, vote, voteReply } = MessageType;
const plain = { preVote: false, checkQuorum: false };

/** Lets `node` win: the others' votes are invented. */
function win(node: Node, voters: readonly string[]): RaftMessage[] {
  node.core.campaign();
  node.run();
  const { term } = node.status;
  for (const voter of voters) node.core.step(message(voteReply, voter, node.id, term));
  assert.equal(node.status.role, 'leader');
  return node.run();
}

function only(messages: readonly RaftMessage[], type: number): RaftMessage[] {
  return messages.filter((sent) => sent.type === type);
}

describe('§5.1 Raft basics', () => {
  for (const role of ['follower', 'candidate', 'leader'] as const) {
    test(`a ${role} that meets a newer term becomes follower in that term`, () => {
      const node = new Node('1', { settings: plain });
      if (role === 'leader') win(node, ['2']);
      if (role === 'candidate') node.core.campaign();
      node.run();
      assert.equal(node.status.role, role);
      node.answer(message(append, '2', '1', 7));
      assert.equal(node.status.role, 'follower');
      assert.equal(node.status.term, 7);
      assert.equal(node.status.leader, '2');
      assert.equal(node.hardState.term, 7, 'the term is persistent');
    });
  }

  test('a message of an older term changes nothing and is told the newer one', () => {
    const node = new Node('1', { term: 5 });
    const replies = node.answer(
      message(append, '2', '1', 4, { entries: entriesOf([4]), commit: 1 }),
    );
    assert.equal(node.status.lastIndex, 0);
    assert.equal(node.status.commit, 0);
    assert.equal(replies[0]!.term, 5);
    assert.equal(replies[0]!.reject, true);
    const [refusal] = node.answer(message(vote, '3', '1', 4, { index: 9, logTerm: 4 }));
    assert.equal(refusal!.type, voteReply);
    assert.equal(refusal!.reject, true);
    assert.equal(refusal!.term, 5);
  });

  test('term, vote and log survive a crash', () => {
    const node = new Node('1', { settings: plain });
    node.answer(message(append, '2', '1', 3, { entries: entriesOf([3]) }));
    node.answer(message(vote, '3', '1', 4, { index: 1, logTerm: 3 }));
    node.restart();
    assert.equal(node.status.term, 4);
    assert.equal(node.status.lastIndex, 1);
    const [second] = node.answer(message(vote, '2', '1', 4, { index: 1, logTerm: 3 }));
    assert.equal(second!.reject, true, 'the vote of term 4 was given before the crash');
    const [again] = node.answer(message(vote, '3', '1', 4, { index: 1, logTerm: 3 }));
    assert.equal(again!.reject, false, 'the same candidate may ask again');
  });
});

describe('§5.2 leader election', () => {
  test('nodes begin as followers', () => {
    assert.equal(new Node('1', {}).status.role, 'follower');
  });

  test('a leader sends heartbeats to all followers every heartbeat interval', () => {
    const node = new Node('1', { settings: { ...plain, heartbeatTicks: 2 } });
    win(node, ['2']);
    node.tick(1);
    assert.deepEqual(only(node.run(), heartbeat), []);
    node.tick(1);
    const beats = only(node.run(), heartbeat);
    assert.deepEqual(
      beats.map(({ to, term }) => [to, term]),
      [
        ['2', 1],
        ['3', 1],
      ],
    );
  });

  test('a follower that hears nothing begins an election: next term, vote for itself, ask all', () => {
    const node = new Node('1', { settings: plain });
    node.tick(20);
    const requests = node.run();
    assert.equal(node.status.role, 'candidate');
    assert.equal(node.status.term, 1);
    assert.deepEqual(node.hardState, { term: 1, vote: '1', commit: 0 });
    assert.deepEqual(
      requests.map(({ type, to, term }) => [type, to, term]),
      [
        [vote, '2', 1],
        [vote, '3', 1],
      ],
    );
  });

  test('a candidate that times out begins another election', () => {
    const node = new Node('1', { settings: plain });
    node.tick(20);
    node.run();
    node.tick(20);
    assert.equal(only(node.run(), vote).length, 2);
    assert.equal(node.status.term, 2);
  });

  test('the votes of a majority make a leader, those of fewer do not', () => {
    const cases: [size: number, votes: number, role: string][] = [
      [1, 0, 'leader'],
      [3, 1, 'leader'],
      [3, 0, 'candidate'],
      [5, 2, 'leader'],
      [5, 1, 'candidate'],
      [4, 1, 'candidate'],
      [4, 2, 'leader'],
    ];
    for (const [size, votes, role] of cases) {
      const voters = Array.from({ length: size }, (_, at) => String(at + 1));
      const node = new Node('1', { settings: plain, voters });
      node.core.campaign();
      node.run();
      for (const voter of voters.slice(1, 1 + votes)) {
        node.core.step(message(voteReply, voter, '1', 1));
        // A vote that arrives twice is one vote.
        node.core.step(message(voteReply, voter, '1', 1));
      }
      assert.equal(node.status.role, role, `${votes + 1} of ${size}`);
    }
  });

  test('a candidate that a majority refused becomes follower', () => {
    const node = new Node('1', { settings: plain });
    node.core.campaign();
    node.run();
    for (const voter of ['2', '3']) {
      node.core.step(message(voteReply, voter, '1', 1, { reject: true }));
    }
    assert.equal(node.status.role, 'follower');
    assert.equal(node.status.term, 1);
  });

  test('the votes of strangers, of older terms and of learners do not count', () => {
    const node = new Node('1', { settings: plain, learners: ['4'] });
    node.tick(20);
    node.run();
    node.tick(20);
    node.run();
    assert.equal(node.status.term, 2);
    node.core.step(message(voteReply, '2', '1', 1));
    node.core.step(message(voteReply, '4', '1', 2));
    node.core.step(message(voteReply, '9', '1', 2));
    assert.equal(node.status.role, 'candidate');
  });

  test('a node votes for at most one candidate in a term, first come, first served', () => {
    const node = new Node('1', { settings: plain });
    assert.equal(node.answer(message(vote, '2', '1', 1))[0]!.reject, false);
    assert.equal(node.answer(message(vote, '3', '1', 1))[0]!.reject, true);
    assert.equal(node.answer(message(vote, '2', '1', 1))[0]!.reject, false);
    assert.equal(node.answer(message(vote, '3', '1', 2))[0]!.reject, false);
  });

  test('a candidate follows the leader that another election in its term made', () => {
    for (const type of [append, heartbeat]) {
      const node = new Node('1', { settings: plain });
      node.core.campaign();
      node.run();
      node.answer(message(type, '2', '1', 1));
      assert.equal(node.status.role, 'follower');
      assert.equal(node.status.leader, '2');
    }
  });

  test('election timeouts are drawn anew each time, from one to two times the setting', () => {
    const node = new Node('1', { settings: plain });
    const drawn = new Set<number>();
    for (let round = 0; round < 500; round++) {
      const { term } = node.status;
      let ticks = 0;
      while (node.status.term === term) {
        node.tick(1);
        ticks += 1;
      }
      node.run();
      drawn.add(ticks);
    }
    assert.deepEqual(
      [...drawn].sort((a, b) => a - b),
      [10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
    );
  });

  test('a split vote is resolved by the next election', () => {
    const cluster = Cluster.of(4, plain);
    cluster.cut.add('1>4').add('2>3');
    cluster.node('1').core.campaign();
    cluster.node('2').core.campaign();
    cluster.settle();
    assert.equal(cluster.leader, undefined);
    cluster.cut.clear();
    cluster.tick(60);
    assert.ok(cluster.leader !== undefined);
  });
});

describe('§5.3 log replication', () => {
  test('a leader appends a proposal, and sends it with what comes before it to each follower', () => {
    const node = new Node('1', { settings: plain });
    win(node, ['2']);
    node.core.step(message(appendReply, '2', '1', 1, { index: 1 }));
    node.run();
    node.isStalled = true;
    assert.deepEqual(node.core.propose([new Uint8Array([1])]), { index: 2, term: 1 });
    const [sent] = only(node.run(), append);
    assert.equal(sent!.to, '2');
    assert.equal(sent!.index, 1);
    assert.equal(sent!.logTerm, 1);
    assert.deepEqual(
      sent!.entries.map(({ index, term }) => [index, term]),
      [[2, 1]],
    );
  });

  test('an entry on a majority of the logs is committed, applied, and made known', () => {
    const cluster = Cluster.of(3, plain);
    cluster.elect('1');
    cluster.propose('1', 'a', 'b');
    cluster.settle();
    for (const node of cluster.nodes) {
      assert.equal(node.status.commit, 3);
      assert.deepEqual(node.applied, ['a', 'b']);
    }
  });

  test('what fewer than a majority hold is not committed', () => {
    const cases: [size: number, acknowledgers: number, isCommitted: boolean][] = [
      [1, 0, true],
      [3, 0, false],
      [3, 1, true],
      [4, 1, false],
      [4, 2, true],
      [5, 1, false],
      [5, 2, true],
    ];
    for (const [size, acknowledgers, isCommitted] of cases) {
      const voters = Array.from({ length: size }, (_, at) => String(at + 1));
      const node = new Node('1', { settings: plain, voters });
      win(node, voters.slice(1));
      for (const voter of voters.slice(1, 1 + acknowledgers)) {
        node.core.step(message(appendReply, voter, '1', 1, { index: 1 }));
      }
      assert.equal(node.status.commit, isCommitted ? 1 : 0, `${acknowledgers + 1} of ${size}`);
    }
  });

  test('committing an entry commits all before it, of earlier leaders as well', () => {
    for (const logTerms of [[], [2], [1, 2], [1, 1]]) {
      const node = new Node('1', { settings: plain, term: 2, logTerms });
      win(node, ['2']);
      node.core.step(message(appendReply, '2', '1', 3, { index: logTerms.length + 1 }));
      node.run();
      assert.equal(node.applied.length, logTerms.length);
      assert.equal(node.status.commit, logTerms.length + 1);
    }
  });

  test('a follower takes over the commit index, as far as its log was checked', () => {
    const cases: [commit: number, expected: number][] = [
      [0, 0],
      [2, 2],
      [3, 3],
      [9, 3],
    ];
    for (const [commit, expected] of cases) {
      // Entries 4 and 5 are of a leader that is gone: they say nothing about the new one's.
      const node = new Node('1', { logTerms: [1, 1, 1, 1, 1] });
      const fields = { index: 2, logTerm: 1, entries: [entryAt(3, 1)], commit };
      node.answer(message(append, '2', '1', 2, fields));
      assert.equal(node.status.commit, expected);
    }
  });

  test('a follower refuses entries whose predecessor it does not hold', () => {
    const cases: [index: number, logTerm: number, reject: boolean][] = [
      [0, 0, false],
      [1, 1, false],
      [2, 2, false],
      [2, 1, true],
      [1, 2, true],
      [3, 3, true],
      [3, 0, true],
    ];
    for (const [index, logTerm, reject] of cases) {
      const node = new Node('1', { term: 3, logTerms: [1, 2] });
      const [reply] = node.answer(message(append, '2', '1', 3, { index, logTerm }));
      assert.equal(reply!.reject, reject, `${index}@${logTerm}`);
    }
  });

  test('a follower replaces what conflicts, and keeps what does not', () => {
    const cases: [index: number, logTerm: number, terms: number[], log: number[]][] = [
      [2, 2, [3], [1, 2, 3]],
      [1, 1, [3, 4], [1, 3, 4]],
      [0, 0, [1], [1, 2, 2]],
      [0, 0, [3], [3]],
      [3, 2, [4, 4], [1, 2, 2, 4, 4]],
      [1, 1, [2], [1, 2, 2]],
    ];
    for (const [index, logTerm, terms, expected] of cases) {
      const node = new Node('1', { logTerms: [1, 2, 2] });
      const entries = terms.map((term, at) => entryAt(index + 1 + at, term));
      node.answer(message(append, '2', '1', 4, { index, logTerm, entries }));
      assert.deepEqual(node.diskTerms, expected);
    }
  });

  test('figure 7: a leader brings every kind of follower to its own log', () => {
    const leaderTerms = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    const followers: [name: string, terms: number[]][] = [
      ['a', [1, 1, 1, 4, 4, 5, 5, 6, 6]],
      ['b', [1, 1, 1, 4]],
      ['c', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
      ['d', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
      ['e', [1, 1, 1, 4, 4, 4, 4]],
      ['f', [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]],
    ];
    for (const [name, logTerms] of followers) {
      const cluster = new Cluster([
        { term: 7, logTerms: leaderTerms, settings: plain },
        { term: 7, logTerms, settings: plain },
        { term: 7, settings: plain },
      ]);
      cluster.elect('1');
      assert.deepEqual(cluster.node('2').diskTerms, [...leaderTerms, 8], name);
    }
  });

  test('a conflict of hundreds of entries is found in a few messages: whole terms are skipped', () => {
    const ones = Array<number>(100).fill(1);
    const cluster = new Cluster([
      { logTerms: [...ones, ...Array<number>(400).fill(4)], settings: plain },
      { logTerms: [...ones, ...Array(200).fill(2), ...Array(300).fill(3)], settings: plain },
      { logTerms: [...ones, ...Array<number>(400).fill(4)], settings: plain },
    ]);
    cluster.elect('1');
    assert.deepEqual(cluster.node('2').diskTerms, cluster.node('1').diskTerms);
    const refusals = cluster.delivered.filter((sent) => sent.type === appendReply && sent.reject);
    assert.ok(refusals.length <= 3, `${refusals.length} refusals`);
  });

  test('an append that arrives late or twice does no harm', () => {
    const node = new Node('1', { logTerms: [1, 1, 1] });
    const first = message(append, '2', '1', 1, { entries: [entryAt(1, 1)], commit: 1 });
    const [reply] = node.answer(first);
    assert.equal(reply!.index, 1);
    assert.equal(node.status.lastIndex, 3);
    node.answer(first);
    assert.equal(node.status.lastIndex, 3);
    assert.equal(
      node.persists.every(({ entries }) => entries.length === 0),
      true,
    );
  });

  test('a refusal that arrives late does not move the leader back', () => {
    const node = new Node('1', { settings: plain, logTerms: [1, 1, 1] });
    win(node, ['2']);
    node.core.step(message(appendReply, '2', '1', 2, { index: 4 }));
    node.run();
    const late = { reject: true, index: 3, hintIndex: 0 };
    node.core.step(message(appendReply, '2', '1', 2, late));
    const [peer] = node.status.peers;
    assert.deepEqual([peer!.match, peer!.next, peer!.state], [4, 5, 'replicate']);
  });
});

describe('§5.4.1 election restriction', () => {
  test('a vote goes only to a log at least as up to date', () => {
    const cases: [index: number, logTerm: number, isGranted: boolean][] = [
      [2, 2, true],
      [3, 2, true],
      [1, 3, true],
      [1, 2, false],
      [9, 1, false],
      [0, 0, false],
    ];
    for (const [index, logTerm, isGranted] of cases) {
      const node = new Node('1', { logTerms: [1, 2] });
      const [reply] = node.answer(message(vote, '2', '1', 4, { index, logTerm }));
      assert.equal(reply!.reject, !isGranted, `${index}@${logTerm}`);
    }
  });

  test('a candidate shows the end of its log', () => {
    const node = new Node('1', { settings: plain, logTerms: [1, 2, 2] });
    node.core.campaign();
    const [request] = node.run();
    assert.deepEqual([request!.index, request!.logTerm], [3, 2]);
  });

  test('a node that lacks a committed entry cannot win', () => {
    const cluster = Cluster.of(3, plain);
    cluster.isolate('3');
    cluster.elect('1');
    cluster.propose('1', 'a');
    cluster.settle();
    cluster.cut.clear();
    cluster.isolate('1');
    cluster.node('3').core.campaign();
    cluster.settle();
    assert.notEqual(cluster.node('3').status.role, 'leader');
    cluster.elect('2');
    assert.deepEqual(cluster.node('3').applied, ['a']);
  });
});

describe('§5.4.2 committing entries from previous terms', () => {
  test('a leader counts only entries of its own term', () => {
    const node = new Node('1', { settings: plain, logTerms: [1, 2] });
    win(node, ['2']);
    for (const [index, commit] of [
      [1, 0],
      [2, 0],
      [3, 3],
    ] as const) {
      node.core.step(message(appendReply, '2', '1', 3, { index }));
      assert.equal(node.status.commit, commit);
    }
  });

  test('figure 8: an old entry on a majority can still be replaced, and is not committed before', () => {
    // (c): S1 of term 4 has brought entry 2 of term 2 to S2 and S3, but nothing of term 4.
    const s1 = new Node('1', {
      settings: plain,
      term: 3,
      logTerms: [1, 2],
      voters: '12345'.split(''),
    });
    win(s1, ['2', '3']);
    s1.core.step(message(appendReply, '2', '1', 4, { index: 2 }));
    s1.core.step(message(appendReply, '3', '1', 4, { index: 2 }));
    s1.run();
    assert.equal(s1.status.commit, 0);
    // (d): S5, with entry 2 of term 3, may win and replace it everywhere.
    const s2 = new Node('2', {
      settings: plain,
      term: 4,
      logTerms: [1, 2],
      voters: '12345'.split(''),
    });
    const [granted] = s2.answer(message(vote, '5', '2', 5, { index: 2, logTerm: 3 }));
    assert.equal(granted!.reject, false);
    s2.answer(
      message(append, '5', '2', 5, { index: 1, logTerm: 1, entries: [entryAt(2, 3)], commit: 2 }),
    );
    assert.deepEqual(s2.diskTerms, [1, 3]);
    // (e): once an entry of term 4 is on a majority, all before it is committed.
    s1.core.step(message(appendReply, '2', '1', 4, { index: 3 }));
    s1.core.step(message(appendReply, '3', '1', 4, { index: 3 }));
    assert.equal(s1.status.commit, 3);
  });
});

describe('§5.5 follower and candidate crashes', () => {
  test('a follower that was down catches up', () => {
    const cluster = Cluster.of(3, plain);
    cluster.elect('1');
    cluster.isolate('3');
    for (const text of ['a', 'b', 'c']) {
      cluster.propose('1', text);
      cluster.settle();
    }
    cluster.node('3').restart();
    cluster.cut.clear();
    cluster.tick(1);
    assert.deepEqual(cluster.node('3').applied, ['a', 'b', 'c']);
  });

  test('a leader that was cut off gives up what it had not committed', () => {
    const cluster = Cluster.of(3, plain);
    cluster.elect('1');
    cluster.isolate('1');
    cluster.propose('1', 'lost');
    cluster.settle();
    cluster.elect('2');
    cluster.propose('2', 'kept');
    cluster.settle();
    cluster.cut.clear();
    cluster.tick(1);
    assert.equal(cluster.node('1').status.role, 'follower');
    for (const node of cluster.nodes) assert.deepEqual(node.applied, ['kept']);
    assert.deepEqual(cluster.node('1').diskTerms, cluster.node('2').diskTerms);
  });
});

describe('§5.6 timing and availability', () => {
  test('a majority goes on without the leader, a minority does not', () => {
    const cluster = Cluster.of(5);
    cluster.elect('1');
    cluster.isolate('1');
    cluster.tick(40, ['2', '3', '4', '5']);
    const next = cluster.nodes.find(({ id, status }) => id !== '1' && status.role === 'leader');
    assert.ok(next !== undefined);
    cluster.isolate(next.id);
    const third = cluster.nodes.find(({ id }) => id !== '1' && id !== next.id)!;
    cluster.isolate(third.id);
    cluster.tick(60);
    assert.equal(cluster.leader, undefined);
  });
});

describe('§6 cluster membership', () => {
  test('a learner receives the log, does not count and never campaigns', () => {
    const settings = plain;
    const cluster = new Cluster(
      [1, 2, 3].map(() => ({ voters: ['1', '2'], learners: ['3'], settings })),
    );
    assert.equal(cluster.node('3').status.role, 'learner');
    cluster.elect('1');
    cluster.isolate('2');
    cluster.propose('1', 'a');
    cluster.settle();
    assert.equal(cluster.node('3').status.lastIndex, 2);
    assert.equal(cluster.node('1').status.commit, 1);
    cluster.node('3').tick(100);
    cluster.node('3').core.campaign();
    assert.equal(cluster.node('3').status.role, 'learner');
    cluster.cut.clear();
    cluster.tick(1);
    assert.deepEqual(cluster.node('3').applied, ['a']);
  });

  test('a learner that becomes a voter counts from then on', () => {
    const node = new Node('1', { settings: plain, voters: ['1', '2'], learners: ['3'] });
    win(node, ['2']);
    node.core.step(message(appendReply, '3', '1', 1, { index: 1 }));
    assert.equal(node.status.commit, 0);
    node.core.configure({ voters: ['1', '2', '3'], learners: [] });
    assert.equal(node.status.commit, 1);
  });

  test('a leader that is no longer a voter steps down; a removed peer is forgotten', () => {
    const node = new Node('1', { settings: plain });
    win(node, ['2']);
    node.core.configure({ voters: ['1', '2'], learners: [] });
    assert.deepEqual(
      node.status.peers.map(({ id }) => id),
      ['2'],
    );
    node.core.configure({ voters: ['2', '3'], learners: [] });
    assert.equal(node.status.role, 'learner');
  });
});

describe('§7 log compaction', () => {
  test('a follower whose entries are gone gets the snapshot, then what follows it', () => {
    const cluster = Cluster.of(3, plain);
    const leader = cluster.elect('1');
    cluster.isolate('3');
    cluster.propose('1', 'a', 'b', 'c');
    cluster.settle();
    leader.compact(4, 5);
    assert.equal(leader.status.firstIndex, 5);
    cluster.cut.clear();
    cluster.tick(1);
    const [wanted] = leader.snapshotsWanted;
    assert.deepEqual(
      [wanted!.type, wanted!.to, wanted!.index, wanted!.logTerm],
      [MessageType.snapshot, '3', 4, 1],
    );
    assert.equal(leader.status.peers[1]!.state, 'snapshot');
    cluster.propose('1', 'd');
    cluster.settle();
    const receiver = cluster.node('3');
    receiver.core.step(wanted!);
    receiver.run();
    assert.equal(receiver.install?.index, 4);
    assert.equal(receiver.status.commit, 1, 'nothing is claimed before it is installed');
    receiver.finishInstall();
    cluster.settle();
    leader.core.snapshotSent('3', true);
    cluster.settle();
    assert.deepEqual(receiver.applied, ['d']);
    assert.equal(receiver.status.commit, 5);
    assert.equal(leader.status.peers[1]!.state, 'replicate');
    assert.equal(leader.snapshotsWanted.length, 1, 'it is asked for once');
  });

  test('a snapshot that the log agrees with only says what is committed', () => {
    const node = new Node('1', { logTerms: [1, 1, 2] });
    const [reply] = node.answer(
      message(MessageType.snapshot, '2', '1', 2, { index: 3, logTerm: 2 }),
    );
    assert.equal(node.install, undefined);
    assert.equal(node.status.commit, 3);
    assert.equal(reply!.index, 3);
  });

  test('an old snapshot is answered with what is committed', () => {
    const node = new Node('1', { logTerms: [1, 1, 2], commit: 3 });
    const [reply] = node.answer(
      message(MessageType.snapshot, '2', '1', 2, { index: 2, logTerm: 1 }),
    );
    assert.equal(node.install, undefined);
    assert.deepEqual([reply!.type, reply!.index, reply!.reject], [appendReply, 3, false]);
  });

  test('a snapshot replaces a log that conflicts with it, whole', () => {
    const node = new Node('1', { logTerms: [1, 1, 1, 1] });
    node.answer(message(MessageType.snapshot, '2', '1', 3, { index: 3, logTerm: 2 }));
    assert.equal(node.install?.index, 3);
    // Until then it takes no entries, and does not campaign on a log that is about to go.
    const late = { index: 4, logTerm: 1, entries: [entryAt(5, 3)], commit: 5 };
    assert.deepEqual(node.answer(message(append, '2', '1', 3, late)), []);
    node.tick(50);
    assert.equal(node.status.role, 'follower');
    node.finishInstall();
    const [reply] = node.run();
    assert.deepEqual([reply!.type, reply!.index, reply!.to], [appendReply, 3, '2']);
    const { firstIndex, lastIndex, commit, handedOut } = node.status;
    assert.deepEqual(
      { firstIndex, lastIndex, commit, handedOut },
      {
        firstIndex: 4,
        lastIndex: 3,
        commit: 3,
        handedOut: 3,
      },
    );
    const next = { index: 3, logTerm: 2, entries: [entryAt(4, 3)], commit: 4 };
    assert.equal(node.answer(message(append, '2', '1', 3, next))[0]!.index, 4);
  });

  test('a leader keeps what it was told to, and a snapshot that failed is tried again', () => {
    const cluster = Cluster.of(3, plain);
    const leader = cluster.elect('1');
    cluster.isolate('3');
    cluster.propose('1', 'a', 'b', 'c');
    cluster.settle();
    leader.compact(4, 3);
    assert.equal(leader.status.firstIndex, 3);
    assert.equal(leader.core.termAt(2), 1, 'the term before the first entry is still known');
    assert.equal(leader.core.termAt(1), 0);
    cluster.cut.clear();
    cluster.tick(1);
    assert.equal(leader.snapshotsWanted.length, 1);
    leader.core.snapshotSent('3', false);
    cluster.settle();
    assert.equal(leader.snapshotsWanted.length, 1, 'not before there is a sign of life');
    cluster.tick(1);
    assert.equal(leader.snapshotsWanted.length, 2);
  });

  test('no snapshot is streamed to a peer that does not answer', () => {
    const node = new Node('1', { settings: plain, logTerms: [1, 1, 1] });
    win(node, ['2']);
    node.core.step(message(appendReply, '2', '1', 2, { index: 4 }));
    node.run();
    node.compact(4, 5);
    node.core.unreachable('3');
    node.tick(5);
    node.run();
    assert.deepEqual(node.snapshotsWanted, []);
  });
});

describe('§8 client interaction', () => {
  test('a new leader commits an entry of its own before it answers a read', () => {
    const node = new Node('1', { settings: plain, logTerms: [1, 1], commit: 1 });
    win(node, ['2']);
    node.core.readIndex(7);
    const beats = only(node.run(), heartbeat);
    assert.deepEqual(beats, [], 'its commit index may be older than what clients have seen');
    assert.deepEqual(node.reads, []);
    node.core.step(message(appendReply, '2', '1', 2, { index: 3 }));
    const [asked] = only(node.run(), heartbeat);
    node.answer(message(MessageType.heartbeatReply, '2', '1', 2, { context: asked!.context }));
    assert.deepEqual(node.reads, [{ context: 7, index: 3 }]);
  });

  test('a leader that was deposed without knowing answers no read', () => {
    const cluster = Cluster.of(3, plain);
    const old = cluster.elect('1');
    cluster.isolate('1');
    cluster.elect('2');
    cluster.propose('2', 'newer');
    cluster.settle();
    old.core.readIndex(1);
    cluster.tick(5, ['1']);
    assert.deepEqual(old.reads, []);
    cluster.cut.clear();
    cluster.tick(1);
    assert.deepEqual(old.reads, []);
    assert.deepEqual(old.droppedReads, [1]);
  });

  test('a read costs one round of heartbeats, and no entry of the log', () => {
    const cluster = Cluster.of(3, plain);
    const leader = cluster.elect('1');
    cluster.propose('1', 'a');
    cluster.settle();
    cluster.delivered = [];
    for (let context = 1; context <= 100; context++) leader.core.readIndex(context);
    cluster.settle();
    assert.equal(leader.reads.length, 100);
    assert.ok(leader.reads.every(({ index }) => index === 2));
    assert.equal(cluster.delivered.length, 4, 'two heartbeats and their answers');
    assert.equal(leader.status.lastIndex, 2);
  });

  test('an answer to an earlier round, or of an earlier term, proves nothing for a later read', () => {
    const node = new Node('1', { settings: plain });
    win(node, ['2']);
    node.core.step(message(appendReply, '2', '1', 1, { index: 1 }));
    node.run();
    node.core.readIndex(1);
    const first = only(node.run(), heartbeat)[0]!.context;
    node.answer(message(MessageType.heartbeatReply, '2', '1', 1, { context: first }));
    assert.equal(node.reads.length, 1);
    node.core.readIndex(2);
    const second = only(node.run(), heartbeat)[0]!.context;
    assert.notEqual(second, first);
    node.answer(message(MessageType.heartbeatReply, '2', '1', 1, { context: first }));
    node.answer(message(MessageType.heartbeatReply, '2', '1', 0, { context: second }));
    node.answer(message(MessageType.heartbeatReply, '9', '1', 1, { context: second }));
    assert.equal(node.reads.length, 1);
    node.answer(message(MessageType.heartbeatReply, '3', '1', 1, { context: second }));
    assert.equal(node.reads.length, 2);
  });
});
