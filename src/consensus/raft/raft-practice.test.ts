/**
 * What practice added to the paper: pre-vote (thesis §9.6), check quorum (§6.2), leadership transfer
 * (§3.10), reads at followers (§6.4), writes to disk beside the network (§10.2.1), flow control.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { seededRandom } from '../../core/random.ts';
import type { Entry } from '../types.ts';
import { MessageType } from './messages.ts';
import { RaftCore } from './raft.ts';
import { type RaftSettings, validateSettings } from './settings.ts';
import { bytes, Cluster, entriesOf, entryAt, message, Node, type Start } from './test-cluster.ts';

const { append, appendReply, heartbeat, heartbeatReply, preVote, preVoteReply, vote, voteReply } =
  MessageType;

/** A node that leads a cluster of three in term 1, its first entry committed with node 2. */
function leading(start: Start = {}): Node {
  const node = new Node('1', { ...start, settings: { preVote: false, ...start.settings } });
  node.core.campaign();
  node.run();
  const { term } = node.status;
  node.core.step(message(voteReply, '2', '1', term));
  node.run();
  node.core.step(message(appendReply, '2', '1', term, { index: node.status.lastIndex }));
  node.run();
  assert.equal(node.status.role, 'leader');
  return node;
}

describe('pre-vote, thesis §9.6', () => {
  test('a candidate asks first, and changes neither term nor vote by that', () => {
    const node = new Node('1', { term: 4 });
    node.tick(20);
    const asked = node.run();
    assert.equal(node.status.role, 'pre-candidate');
    assert.deepEqual(
      asked.map(({ type, term }) => [type, term]),
      [
        [preVote, 5],
        [preVote, 5],
      ],
    );
    assert.equal(node.status.term, 4);
    assert.deepEqual(node.persists, []);
    const campaign = node.answer(message(preVoteReply, '2', '1', 5));
    assert.equal(node.status.role, 'candidate');
    assert.deepEqual(
      campaign.map(({ type, term }) => [type, term]),
      [
        [vote, 5],
        [vote, 5],
      ],
    );
  });

  test('granting a pre-vote changes nothing: another may be granted, and the vote stays free', () => {
    const node = new Node('1', { term: 4 });
    for (const candidate of ['2', '3']) {
      const [reply] = node.answer(message(preVote, candidate, '1', 5));
      assert.deepEqual([reply!.type, reply!.reject, reply!.term], [preVoteReply, false, 5]);
    }
    assert.equal(node.status.term, 4);
    assert.deepEqual(node.persists, []);
  });

  test('a pre-vote goes only to an up-to-date log', () => {
    const node = new Node('1', { logTerms: [1, 2] });
    const [reply] = node.answer(message(preVote, '2', '1', 9, { index: 1, logTerm: 2 }));
    assert.deepEqual([reply!.reject, reply!.term], [true, 2]);
  });

  test('a node that was cut off does not depose the leader when it returns', () => {
    const cluster = Cluster.of(3);
    const leader = cluster.elect('1');
    const { term } = leader.status;
    cluster.isolate('3');
    cluster.tick(100);
    assert.equal(cluster.node('3').status.term, term);
    cluster.cut.clear();
    cluster.tick(30);
    assert.equal(leader.status.role, 'leader');
    assert.equal(leader.status.term, term);
    assert.equal(cluster.node('3').status.leader, '1');
  });

  test('grants of an attempt that is over win nothing', () => {
    const node = new Node('1', { term: 4 });
    node.core.campaign();
    node.run();
    node.answer(message(heartbeat, '2', '1', 5));
    assert.equal(node.status.role, 'follower');
    node.answer(message(preVoteReply, '2', '1', 5));
    node.answer(message(preVoteReply, '3', '1', 5));
    assert.equal(node.status.role, 'follower');
    // As pre-candidate for term 6, an old grant for 5 is not one for 6.
    node.core.campaign();
    node.run();
    node.answer(message(preVoteReply, '3', '1', 5));
    assert.equal(node.status.role, 'pre-candidate');
  });

  test('a grant is no vote', () => {
    const node = new Node('1', { settings: { preVote: false } });
    node.core.campaign();
    node.run();
    node.answer(message(preVoteReply, '2', '1', 2));
    assert.equal(node.status.role, 'candidate');
  });

  test('a refusal with a newer term is taken to heart', () => {
    const node = new Node('1', { term: 4 });
    node.core.campaign();
    node.run();
    node.answer(message(preVoteReply, '2', '1', 8, { reject: true }));
    assert.deepEqual([node.status.role, node.status.term], ['follower', 8]);
  });

  test('two nodes that both lost the leader let each other win', () => {
    // Whoever campaigns forgets the leader: else both would refuse for its sake.
    const cluster = Cluster.of(3);
    cluster.elect('1');
    cluster.isolate('1');
    cluster.node('2').core.campaign();
    cluster.node('2').run();
    assert.equal(cluster.node('2').status.leader, '');
    cluster.node('3').core.campaign();
    cluster.settle();
    cluster.tick(60, ['2', '3']);
    assert.notEqual(cluster.leader, undefined);
    assert.ok(['2', '3'].some((id) => cluster.node(id).status.role === 'leader'));
  });

  test('a node with a newer term, whose pre-votes are refused, joins the leader all the same', () => {
    // etcd issue 9586: pre-vote and check quorum together must not lock it out.
    const cluster = new Cluster([{}, {}, { term: 9 }]);
    cluster.isolate('3');
    cluster.elect('1');
    cluster.propose('1', 'a');
    cluster.settle();
    cluster.cut.clear();
    cluster.tick(80);
    assert.deepEqual(cluster.node('3').applied, ['a']);
    assert.ok(cluster.leader!.status.term > 9);
  });
});

describe('check quorum, thesis §6.2', () => {
  test('a leader that hears no quorum for an election timeout steps down', () => {
    const cluster = Cluster.of(3);
    const leader = cluster.elect('1');
    cluster.tick(25);
    assert.equal(leader.status.role, 'leader');
    cluster.isolate('1');
    cluster.tick(20, ['1']);
    assert.notEqual(leader.status.role, 'leader');
    assert.equal(leader.core.propose([bytes('x')]), 'no-leader');
  });

  test('without it a leader stays', () => {
    const cluster = Cluster.of(3, { checkQuorum: false });
    const leader = cluster.elect('1');
    cluster.isolate('1');
    cluster.tick(50, ['1']);
    assert.equal(leader.status.role, 'leader');
  });

  test('who hears a leader gives no vote, unless the leader sent the candidate', () => {
    const node = new Node('1', { term: 1 });
    node.answer(message(heartbeat, '2', '1', 1));
    node.tick(9);
    assert.deepEqual(node.answer(message(vote, '3', '1', 5)), []);
    assert.deepEqual(node.answer(message(preVote, '3', '1', 5)), []);
    assert.equal(node.status.term, 1);
    const [forced] = node.answer(message(vote, '3', '1', 5, { force: true }));
    assert.equal(forced!.reject, false);
  });

  test('a leader is not deposed by a vote request either', () => {
    const node = leading();
    assert.deepEqual(node.answer(message(vote, '3', '1', 9, { index: 99, logTerm: 8 })), []);
    assert.equal(node.status.role, 'leader');
  });

  test('after an election timeout without a leader a vote is given again', () => {
    const node = new Node('1', { term: 1, settings: { electionTicks: 10 } });
    node.answer(message(heartbeat, '2', '1', 1));
    node.tick(10);
    node.run();
    const [reply] = node.answer(message(vote, '3', '1', 5));
    assert.equal(reply!.reject, false);
  });

  test('a peer that receives a snapshot counts as alive, but not for ever', () => {
    const node = leading({ logTerms: [1, 1], term: 1 });
    node.compact(3, 4);
    node.answer(message(appendReply, '3', '1', 2, { reject: true, index: 2, hintIndex: 0 }));
    assert.equal(node.snapshotsWanted.length, 1);
    node.tick(50);
    node.run();
    assert.equal(node.status.role, 'leader');
    node.tick(70);
    assert.notEqual(node.status.role, 'leader');
  });
});

describe('leadership transfer, thesis §3.10', () => {
  test('the target is elected at once, past pre-vote and check quorum', () => {
    const cluster = Cluster.of(3);
    const leader = cluster.elect('1');
    cluster.propose('1', 'a');
    assert.equal(leader.core.transferLeadership('2'), true);
    cluster.settle();
    assert.equal(cluster.node('2').status.role, 'leader');
    assert.equal(leader.status.leader, '2');
    assert.deepEqual(cluster.node('3').applied, ['a']);
  });

  test('the target first gets the whole log; proposals are refused meanwhile', () => {
    const cluster = Cluster.of(3, { checkQuorum: false });
    const leader = cluster.elect('1');
    cluster.isolate('3');
    cluster.propose('1', 'a');
    cluster.settle();
    assert.equal(leader.core.transferLeadership('3'), true);
    assert.equal(leader.core.propose([bytes('b')]), 'transferring');
    cluster.settle();
    assert.equal(leader.status.role, 'leader');
    cluster.cut.clear();
    cluster.tick(1);
    assert.equal(cluster.node('3').status.role, 'leader');
    assert.deepEqual(cluster.node('3').applied, ['a']);
  });

  test('a transfer that does not succeed within an election timeout is given up', () => {
    const node = leading({ settings: { checkQuorum: false } });
    assert.equal(node.core.transferLeadership('3'), true);
    node.tick(9);
    assert.equal(node.core.propose([bytes('b')]), 'transferring');
    node.tick(1);
    assert.equal(typeof node.core.propose([bytes('b')]), 'object');
  });

  test('only another voter can be the target, and only a leader can hand over', () => {
    const node = leading({ learners: ['4'] });
    assert.equal(node.core.transferLeadership('1'), false);
    assert.equal(node.core.transferLeadership('4'), false);
    assert.equal(node.core.transferLeadership('9'), false);
    assert.equal(new Node('1', {}).core.transferLeadership('2'), false);
    assert.equal(typeof node.core.propose([bytes('b')]), 'object');
  });

  test('only the leader of the term can send a node into an election', () => {
    const node = new Node('1', { term: 3 });
    node.answer(message(heartbeat, '2', '1', 3));
    node.answer(message(MessageType.timeoutNow, '3', '1', 3));
    node.answer(message(MessageType.timeoutNow, '2', '1', 2));
    assert.deepEqual([node.status.role, node.status.term], ['follower', 3]);
    const requests = node.answer(message(MessageType.timeoutNow, '2', '1', 3));
    assert.deepEqual(
      requests.map(({ type, term, force }) => [type, term, force]),
      [
        [vote, 4, true],
        [vote, 4, true],
      ],
    );
  });

  test('a target that was removed is not waited for', () => {
    const node = leading();
    node.core.transferLeadership('3');
    node.core.configure({ voters: ['1', '2'], learners: [] });
    assert.equal(typeof node.core.propose([bytes('b')]), 'object');
  });
});

describe('reads, thesis §6.4', () => {
  test('a follower asks the leader, once for all that gathered', () => {
    const cluster = Cluster.of(3);
    cluster.elect('1');
    cluster.propose('1', 'a');
    cluster.settle();
    cluster.delivered = [];
    const follower = cluster.node('2');
    for (let context = 1; context <= 50; context++) follower.core.readIndex(context);
    cluster.settle();
    assert.equal(follower.reads.length, 50);
    assert.ok(follower.reads.every(({ index }) => index === 2));
    const asked = cluster.delivered.filter(({ type }) => type === MessageType.readIndex);
    assert.equal(asked.length, 1);
  });

  test('a node that knows no leader drops a read at once', () => {
    const node = new Node('1', {});
    node.core.readIndex(5);
    node.run();
    assert.deepEqual(node.droppedReads, [5]);
  });

  test('a follower asks again when the answer is lost, and gives up after two election timeouts', () => {
    const node = new Node('1', { term: 1 });
    node.answer(message(heartbeat, '2', '1', 1));
    node.core.readIndex(5);
    const [asked] = node.run();
    assert.equal(asked!.type, MessageType.readIndex);
    const again: number[] = [];
    for (let ticks = 0; ticks < 20; ticks++) {
      node.tick(1);
      for (const sent of node.answer(message(heartbeat, '2', '1', 1))) {
        if (sent.type === MessageType.readIndex) again.push(sent.context);
      }
    }
    assert.deepEqual(again, [asked!.context, asked!.context, asked!.context]);
    assert.deepEqual(node.droppedReads, [5]);
  });

  test('reads that wait at a follower are dropped when the leader changes', () => {
    const node = new Node('1', { term: 1 });
    node.answer(message(heartbeat, '2', '1', 1));
    node.core.readIndex(5);
    const [asked] = node.run();
    node.answer(message(heartbeat, '3', '1', 2));
    assert.deepEqual(node.droppedReads, [5]);
    const late = { context: asked!.context, index: 3 };
    node.answer(message(MessageType.readIndexReply, '3', '1', 2, late));
    assert.deepEqual(node.reads, []);
  });

  test('a restarted follower does not take the answer to its former self', () => {
    const contexts = [1, 2].map((seed) => {
      const core = new RaftCore({
        id: '1',
        random: seededRandom(seed),
        hardState: { term: 1, vote: '', commit: 0 },
        configuration: { voters: ['1', '2', '3'], learners: [] },
        snapshot: { index: 0, term: 0 },
        entries: [],
        applied: 0,
      });
      core.take();
      core.step(message(heartbeat, '2', '1', 1));
      core.readIndex(1);
      return core.take().messages.find(({ type }) => type === MessageType.readIndex)!.context;
    });
    assert.notEqual(contexts[0], contexts[1]);
  });

  test('one voter alone answers at once', () => {
    const node = new Node('1', { voters: ['1'] });
    node.core.campaign();
    node.run();
    node.core.readIndex(3);
    node.run();
    assert.deepEqual(node.reads, [{ context: 3, index: 1 }]);
  });

  test('reads beyond the limit are dropped, and none waits while a round is under way', () => {
    const node = leading({ settings: { maxPendingReads: 2 } });
    node.core.readIndex(1);
    const [round] = node.run();
    node.core.readIndex(2);
    assert.deepEqual(node.run(), [], 'one round at a time');
    node.core.readIndex(3);
    const reply = { context: round!.context };
    const next = node.answer(message(heartbeatReply, '2', '1', 1, reply));
    assert.deepEqual(
      node.reads.map(({ context }) => context),
      [1],
    );
    assert.deepEqual(node.droppedReads, [3]);
    assert.equal(next[0]!.context, round!.context + 1);
  });
});

describe('writing to disk beside the network, thesis §10.2.1', () => {
  test('a leader sends entries before its own disk has them, and counts itself only after', () => {
    const node = leading();
    node.isStalled = true;
    node.core.propose([bytes('a')]);
    assert.equal(node.run().filter(({ type }) => type === append).length, 1);
    assert.equal(node.status.commit, 1);
    node.completeWrites();
    assert.equal(node.status.commit, 1);
    node.core.step(message(appendReply, '2', '1', 1, { index: 2 }));
    assert.equal(node.status.commit, 2);
  });

  test('a quorum of followers commits without the disk of the leader', () => {
    const node = leading();
    node.isStalled = true;
    node.core.propose([bytes('a')]);
    node.run();
    for (const peer of ['2', '3']) node.core.step(message(appendReply, peer, '1', 1, { index: 2 }));
    node.run();
    assert.deepEqual(node.applied, ['a']);
  });

  test('nothing of a term leaves before the term is on the disk', () => {
    const node = new Node('1', { settings: { preVote: false } });
    node.isStalled = true;
    node.core.campaign();
    assert.deepEqual(node.run(), []);
    assert.equal(node.completeWrites().length, 2);
    const granting = new Node('2', {});
    granting.isStalled = true;
    assert.deepEqual(granting.answer(message(vote, '1', '2', 3)), []);
    // Nothing else of that term either, though it would promise nothing.
    assert.deepEqual(granting.answer(message(heartbeat, '1', '2', 3)), []);
    assert.deepEqual(
      granting.completeWrites().map(({ type }) => type),
      [voteReply],
    );
    assert.deepEqual(granting.hardState, { term: 3, vote: '1', commit: 0 });
    assert.deepEqual(
      granting.run().map(({ type }) => type),
      [heartbeatReply],
    );
  });

  test('an acknowledgement waits for the write that it is about, and only for that', () => {
    const node = new Node('1', { term: 1 });
    node.isStalled = true;
    node.answer(message(append, '2', '1', 1, { entries: [entryAt(1, 1)] }));
    const second = { index: 1, logTerm: 1, entries: [entryAt(2, 1)] };
    node.answer(message(append, '2', '1', 1, second));
    // Sent once more: both entries are there, neither is durable.
    node.answer(message(append, '2', '1', 1, { entries: entriesOf([1, 1]) }));
    assert.deepEqual(
      node.completeWrites(1).map(({ index }) => index),
      [1],
    );
    assert.deepEqual(node.run(), []);
    const acknowledged = [...node.completeWrites(1), ...node.run()].map(({ index }) => index);
    assert.deepEqual(acknowledged, [2, 2]);
  });

  test('a write that completes after its entries were replaced promises nothing for the new ones', () => {
    // ABA: index 2 of term 1 is written, cut, and index 2 of term 2 takes its place.
    const node = new Node('1', { term: 1, logTerms: [1] });
    node.isStalled = true;
    node.answer(message(append, '2', '1', 1, { index: 1, logTerm: 1, entries: [entryAt(2, 1)] }));
    const other = { index: 1, logTerm: 1, entries: [entryAt(2, 2)] };
    node.answer(message(append, '3', '1', 2, other));
    const old = [...node.completeWrites(1), ...node.run()];
    assert.ok(old.every(({ to, term }) => to === '2' && term === 1));
    const repeated = node.answer(message(append, '3', '1', 2, other));
    assert.deepEqual(repeated, [], 'the new entry 2 is not durable yet');
    const acknowledged = [...node.completeWrites(), ...node.run()];
    assert.ok(acknowledged.every(({ to, term, index }) => to === '3' && term === 2 && index === 2));
    assert.deepEqual(node.diskTerms, [1, 2]);
  });

  test('a commit index alone causes no write; it goes along with the next entries', () => {
    const node = new Node('1', { term: 1 });
    node.answer(message(append, '2', '1', 1, { entries: [entryAt(1, 1)] }));
    node.answer(message(heartbeat, '2', '1', 1, { commit: 1 }));
    assert.equal(node.status.commit, 1);
    assert.equal(node.persists.length, 1);
    node.answer(message(append, '2', '1', 1, { index: 1, logTerm: 1, entries: [entryAt(2, 1)] }));
    assert.deepEqual(node.hardState, { term: 1, vote: '', commit: 1 });
  });

  test('entries that the recorded term does not know are taken up in their term', () => {
    const node = new Node('1', { term: 1, logTerms: [1, 3] });
    assert.equal(node.status.term, 3);
    node.run();
    assert.deepEqual(node.hardState, { term: 3, vote: '', commit: 0 });
  });

  test('a log that ends before what was committed is refused', () => {
    assert.throws(
      () => new Node('1', { logTerms: [1], commit: 2 }),
      (error) => isQuorateError(error, 'ERR_CORRUPT'),
    );
  });

  test('a node that lost acknowledged entries stops instead of following', () => {
    const node = new Node('1', { term: 1 });
    assert.throws(
      () => node.core.step(message(heartbeat, '2', '1', 1, { commit: 5 })),
      (error) => isQuorateError(error, 'ERR_CORRUPT'),
    );
  });

  test('entries that a received snapshot left behind on the disk are not taken for its successors', () => {
    const core = new RaftCore({
      id: '1',
      random: seededRandom(1),
      hardState: { term: 5, vote: '', commit: 3 },
      configuration: { voters: ['1', '2', '3'], learners: [] },
      snapshot: { index: 3, term: 5 },
      entries: [entryAt(4, 2), entryAt(5, 2)],
      applied: 3,
    });
    assert.equal(core.status().lastIndex, 3);
  });
});

describe('batches, windows and bounds', () => {
  test('proposals of one turn travel in one message', () => {
    const node = leading();
    for (let count = 0; count < 50; count++) node.core.propose([bytes(`${count}`)]);
    const sent = node.run().filter(({ type, to }) => type === append && to === '2');
    assert.equal(sent[0]!.entries.length, 50);
    assert.equal(node.persists.at(-1)!.entries.length, 50);
  });

  test('a peer in step gets entries without waiting for answers, up to the window', () => {
    const node = leading({ settings: { maxInflightMessages: 3 } });
    const sent: (readonly Entry[])[] = [];
    for (let count = 0; count < 6; count++) {
      node.core.propose([bytes('x')]);
      for (const { type, to, entries } of node.run()) {
        if (type === append && to === '2' && entries.length > 0) sent.push(entries);
      }
    }
    assert.deepEqual(
      sent.map((entries) => entries[0]!.index),
      [2, 3, 4],
    );
    const [next] = node.answer(message(appendReply, '2', '1', 1, { index: 3 }));
    assert.deepEqual(
      next!.entries.map(({ index }) => index),
      [5, 6, 7],
    );
  });

  test('the window also counts bytes, and a message is bounded by size', () => {
    const node = leading({ settings: { maxAppendBytes: 1000, maxInflightBytes: 2000 } });
    node.core.propose(Array.from({ length: 10 }, () => new Uint8Array(400)));
    const sent = node.run().filter(({ type, to }) => type === append && to === '2');
    assert.deepEqual(
      sent.map(({ entries }) => entries.length),
      [2, 2, 2],
    );
  });

  test('an entry over the message bound travels alone', () => {
    const node = leading({ settings: { maxAppendBytes: 100 } });
    node.core.propose([new Uint8Array(10), new Uint8Array(5000), new Uint8Array(10)]);
    const sent = node.run().filter(({ type, to }) => type === append && to === '2');
    assert.deepEqual(
      sent.map(({ entries }) => entries.length),
      [1, 1, 1],
    );
  });

  test('a lost append is found out by the next heartbeat and sent again', () => {
    const cluster = Cluster.of(3);
    cluster.elect('1');
    cluster.cut.add('1>3');
    cluster.propose('1', 'a');
    cluster.settle();
    cluster.cut.clear();
    assert.deepEqual(cluster.node('3').applied, []);
    cluster.tick(1);
    assert.deepEqual(cluster.node('3').applied, ['a']);
  });

  test('a peer that cannot be reached is not flooded', () => {
    const node = leading();
    node.core.unreachable('3');
    for (let count = 0; count < 5; count++) {
      node.core.propose([bytes('x')]);
      const sent = node.run().filter(({ to }) => to === '3');
      assert.deepEqual(sent, []);
      node.core.unreachable('3');
    }
    const sent = node.answer(message(heartbeatReply, '3', '1', 1));
    assert.equal(sent.filter(({ to, type }) => to === '3' && type === append).length, 1);
  });

  test('an acknowledgement of more than the log holds is not believed', () => {
    const node = leading();
    node.core.propose([bytes('x')]);
    node.run();
    node.core.step(message(appendReply, '2', '1', 1, { index: 99 }));
    assert.equal(node.status.commit, 1);
    assert.equal(node.status.peers[0]!.match, 1);
  });

  test('entries that do not follow each other, or are of a term to come, are not taken', () => {
    for (const entries of [[entryAt(2, 1)], [entryAt(1, 9)], [entryAt(1, 1), entryAt(3, 1)]]) {
      const node = new Node('1', { term: 1 });
      assert.deepEqual(node.answer(message(append, '2', '1', 1, { entries })), []);
      assert.equal(node.status.lastIndex, 0);
    }
  });

  test('a second leader in one term stops the node', () => {
    const node = leading();
    assert.throws(
      () => node.core.step(message(heartbeat, '2', '1', 1)),
      (error) => isQuorateError(error, 'ERR_INTERNAL'),
    );
  });

  test('proposals over the limits are refused, all of a batch or none', () => {
    const settings = { maxUncommittedBytes: 100, maxUncommittedEntries: 4 };
    const node = leading({ settings });
    assert.equal(typeof node.core.propose([new Uint8Array(60)]), 'object');
    assert.equal(node.core.propose([new Uint8Array(10), new Uint8Array(31)]), 'busy');
    assert.equal(node.status.lastIndex, 2);
    assert.equal(typeof node.core.propose([bytes('1'), bytes('2'), bytes('3')]), 'object');
    assert.equal(node.core.propose([bytes('4')]), 'busy');
    node.run();
    node.core.step(message(appendReply, '2', '1', 1, { index: 5 }));
    assert.equal(typeof node.core.propose([new Uint8Array(100)]), 'object');
  });

  test('a proposal over the limit passes when nothing else is under way', () => {
    const node = leading({ settings: { maxUncommittedBytes: 100 } });
    assert.equal(typeof node.core.propose([new Uint8Array(5000)]), 'object');
    assert.equal(node.core.propose([bytes('x')]), 'busy');
  });

  test('a node that does not lead takes no proposal and says whether another does', () => {
    const node = new Node('1', { term: 1 });
    assert.equal(node.core.propose([bytes('x')]), 'no-leader');
    node.answer(message(heartbeat, '2', '1', 1));
    assert.equal(node.core.propose([bytes('x')]), 'not-leader');
  });

  test('committed entries are handed out in bounded portions', () => {
    const settings: Partial<RaftSettings> = { maxCommittedEntriesPerTake: 2 };
    const node = new Node('1', { settings, logTerms: [1, 1, 1, 1, 1], commit: 5 });
    const portions: number[] = [];
    while (node.core.hasEffects()) portions.push(node.core.take().committed.length);
    assert.deepEqual(portions, [2, 2, 1]);
  });

  test('compaction keeps what is not durable', () => {
    const node = leading();
    node.isStalled = true;
    node.core.propose([bytes('a'), bytes('b')]);
    node.run();
    for (const peer of ['2', '3']) node.core.step(message(appendReply, peer, '1', 1, { index: 3 }));
    node.run();
    node.compact(3, 4);
    assert.equal(node.status.firstIndex, 2);
    node.completeWrites();
    node.compact(3, 4);
    assert.equal(node.status.firstIndex, 4);
  });
});

describe('settings', () => {
  test('defaults are complete and valid', () => {
    assert.deepEqual(validateSettings({ electionTicks: 20 }).electionTicks, 20);
    assert.equal(validateSettings().preVote, true);
  });

  test('settings that contradict each other are refused by name', () => {
    const cases: [Partial<RaftSettings>, RegExp][] = [
      [{ electionTicks: 1, heartbeatTicks: 1 }, /electionTicks \(1\) must be greater/],
      [{ maxAppendBytes: 0 }, /maxAppendBytes must be a whole number/],
      [{ electionTicks: 2.5 }, /electionTicks must be a whole number/],
      [{ maxAppendBytes: 1 << 30 }, /maxInflightBytes .* must be at least maxAppendBytes/],
      [{ maxInflightMessages: 1e6 }, /maxInflightMessages .* at most 65536/],
    ];
    for (const [settings, text] of cases) {
      assert.throws(
        () => validateSettings(settings),
        (error: Error) => isQuorateError(error, 'ERR_INVALID_ARGUMENT') && text.test(error.message),
      );
    }
  });
});
