/**
 * What practice added to elections: pre-vote (thesis §9.6), check quorum (§6.2), transfer (§3.10).
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MessageType } from '../messages.ts';
import { bytes, Cluster, leading, message, Node } from './test-cluster.ts';

const { appendReply, heartbeat, vote, preVote, preVoteReply } = MessageType;

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
