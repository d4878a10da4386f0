/**
 * The paper, section by section, on the log:
 * "In Search of an Understandable Consensus Algorithm" (extended version).
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MessageType } from '../messages.ts';
import { Cluster, entryAt, message, Node, only, win } from './test-cluster.ts';

const { append, appendReply, vote } = MessageType;
const plain = { preVote: false, checkQuorum: false };

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

  test('a refusal tells where to look, not what the follower holds', () => {
    const node = new Node('1', { settings: plain, logTerms: [1, 1, 1] });
    win(node, ['2']);
    const refusal = { reject: true, index: 3, hintIndex: 2, hintTerm: 1 };
    const [probe] = node.answer(message(appendReply, '2', '1', 2, refusal));
    assert.equal(probe!.index, 2);
    assert.equal(node.status.peers[0]!.match, 0);
    assert.equal(node.status.commit, 0);
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
