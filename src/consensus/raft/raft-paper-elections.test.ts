/**
 * The paper, section by section, on terms, elections and members:
 * "In Search of an Understandable Consensus Algorithm" (extended version).
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MessageType } from '../messages.ts';
import { bytes, Cluster, entriesOf, message, Node, only, win } from './test-cluster.ts';

const { append, appendReply, heartbeat, vote, voteReply } = MessageType;
const plain = { preVote: false, checkQuorum: false };

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

  test('a removed peer is forgotten; a removed leader takes nothing new and hands over', () => {
    const node = new Node('1', { settings: plain });
    win(node, ['2']);
    node.core.configure({ voters: ['1', '2'], learners: [] });
    assert.deepEqual(
      node.status.peers.map(({ id }) => id),
      ['2'],
    );
    node.core.configure({ voters: ['2', '3'], learners: [] });
    assert.equal(node.core.propose([bytes('x')]), 'transferring');
    node.run();
    for (const id of ['2', '3']) {
      node.core.step(message(appendReply, id, '1', 1, { index: node.status.lastIndex }));
    }
    const { timeoutNow } = MessageType;
    assert.deepEqual(only(node.run(), timeoutNow), []);
    node.core.tick();
    assert.equal(only(node.run(), timeoutNow).length, 1);
    // Nobody takes over: it gives up all the same, and never campaigns.
    node.tick(90);
    assert.equal(node.status.role, 'leader');
    node.tick(110);
    assert.equal(node.status.role, 'learner');
  });
});
