/** Changes of the configuration: Raft §6, thesis §4, with configurations in force once they are applied. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seededRandom } from '../../core/random.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { type Configuration, type Entry, EntryType } from '../types.ts';
import { RaftCore } from './raft.ts';
import { bytes, entryAt, leading, message, Node, only, win } from './test-cluster.ts';

const { append, appendReply, heartbeat, heartbeatReply, preVote, preVoteReply } = MessageType;
const { timeoutNow, vote, voteReply } = MessageType;
const { configChange, configChangeV2 } = EntryType;
const plain = { preVote: false, checkQuorum: false };
const CHANGE = bytes('change');
const LEAVE = bytes('');

/** From 1, 4 and 5 to 1, 2 and 3. */
const JOINT: Configuration = {
  voters: ['1', '2', '3'],
  learners: [],
  joint: { outgoing: ['1', '4', '5'], learnersNext: [], autoLeave: false },
};

const changeAt = (index: number, term: number, data = CHANGE): Entry => ({
  ...{ type: configChange, term, index },
  data,
});

/** Node 1 leads and has applied an entry of its term; `peers` acknowledge what it sends. */
function acknowledge(node: Node, ...peers: string[]): void {
  const { term, lastIndex } = node.status;
  for (const peer of peers) {
    node.core.step(message(appendReply, peer, '1', term, { index: lastIndex }));
  }
}

const ticked = (node: Node, ticks: number): PeerMessage[] => {
  node.tick(ticks);
  return node.run();
};

describe('joint quorums', () => {
  test('a commit needs a majority of both sets of voters', () => {
    const node = leading();
    node.core.configure(JOINT);
    node.core.propose([bytes('a')]);
    node.run();
    acknowledge(node, '2', '3');
    assert.equal(node.status.commit, 1);
    acknowledge(node, '4');
    assert.equal(node.status.commit, 2);
  });

  test('an election needs a majority of both, and is lost without either', () => {
    for (const missing of ['2', '4']) {
      const node = new Node('1', { settings: plain });
      node.core.configure(JOINT);
      node.core.campaign();
      const asked = only(node.run(), vote).map(({ to }) => to);
      assert.deepEqual(asked, ['2', '3', '4', '5']);
      const voters = missing === '2' ? ['4', '5'] : ['2', '3'];
      for (const voter of voters) node.core.step(message(voteReply, voter, '1', 1));
      assert.equal(node.status.role, 'candidate');
      const others = missing === '2' ? ['2', '3'] : ['4', '5'];
      for (const voter of others) {
        node.core.step(message(voteReply, voter, '1', 1, { reject: true }));
      }
      assert.equal(node.status.role, 'follower');
    }
  });

  test('a read needs a majority of both', () => {
    const node = leading();
    node.core.configure(JOINT);
    node.core.readIndex(7);
    const [beat] = only(node.run(), heartbeat);
    const answer = (from: string): void => {
      node.core.step(message(heartbeatReply, from, '1', 1, { context: beat!.context }));
      node.run();
    };
    answer('2');
    answer('3');
    assert.deepEqual(node.reads, []);
    answer('5');
    assert.deepEqual(node.reads, [{ context: 7, index: 1 }]);
  });

  test('a leader that hears only one of the two sets steps down', () => {
    const node = leading({ settings: { checkQuorum: true } });
    node.core.configure(JOINT);
    for (let tick = 0; tick < 40 && node.status.role === 'leader'; tick++) {
      node.core.step(message(heartbeatReply, '2', '1', 1));
      node.tick(1);
    }
    assert.equal(node.status.role, 'follower');
  });
});

describe('one change at a time', () => {
  test('no change while one is in the log and not applied', () => {
    const node = leading();
    assert.deepEqual(node.core.proposeChange(configChange, CHANGE), { index: 2, term: 1 });
    assert.equal(node.core.proposeChange(configChange, CHANGE), 'changing');
    node.run();
    acknowledge(node, '2');
    assert.equal(node.core.proposeChange(configChange, CHANGE), 'changing');
    node.run();
    assert.deepEqual(node.core.proposeChange(configChange, CHANGE), { index: 3, term: 1 });
  });

  test('no change before the leader has applied an entry of its own term', () => {
    const node = new Node('1', { settings: plain, logTerms: [1, 1], commit: 2 });
    win(node, ['2']);
    assert.equal(node.core.proposeChange(configChange, CHANGE), 'changing');
    acknowledge(node, '2');
    assert.equal(node.core.proposeChange(configChange, CHANGE), 'changing');
    node.run();
    assert.equal(typeof node.core.proposeChange(configChange, CHANGE), 'object');
  });

  test('only its end can follow a joint configuration, and nothing else has one', () => {
    const node = leading();
    assert.equal(node.core.proposeChange(configChangeV2, LEAVE), 'changing');
    node.core.configure(JOINT);
    assert.equal(node.core.proposeChange(configChange, CHANGE), 'changing');
    assert.equal(node.core.proposeChange(configChangeV2, CHANGE), 'changing');
    assert.deepEqual(node.core.proposeChange(configChangeV2, LEAVE), { index: 2, term: 1 });
  });

  test('a follower refuses; a change that was cut off is not under way any more', () => {
    const node = new Node('1', {});
    assert.equal(node.core.proposeChange(configChange, CHANGE), 'no-leader');
    node.answer(message(append, '2', '1', 1, { entries: [changeAt(1, 1)] }));
    assert.equal(node.core.proposeChange(configChange, CHANGE), 'not-leader');
    node.answer(message(append, '3', '1', 2, { entries: [entryAt(1, 2)], commit: 1 }));
    node.core.campaign();
    assert.equal(node.status.role, 'pre-candidate');
  });
});

describe('the end of a joint configuration', () => {
  const automatic = { ...JOINT, joint: { ...JOINT.joint!, autoLeave: true } };
  const lastChange = (node: Node): Entry | undefined =>
    node.persists.flatMap(({ entries }) => entries).findLast(({ type }) => type === configChangeV2);

  test('a leader proposes it as soon as the joint one is applied', () => {
    const node = leading();
    node.core.proposeChange(configChangeV2, CHANGE);
    node.run();
    acknowledge(node, '2');
    const { committed } = node.core.take();
    assert.equal(committed[0]?.index, 2);
    node.core.configure(automatic);
    node.core.applied(2);
    node.run();
    assert.equal(lastChange(node)?.index, 3);
    assert.equal(lastChange(node)?.data.length, 0);
    assert.equal(node.status.commit, 2, 'not before a majority of both has it');
    acknowledge(node, '2');
    assert.equal(node.status.commit, 2);
    acknowledge(node, '4');
    assert.equal(node.status.commit, 3);
  });

  test('so does a new leader that finds it, and none where it is not automatic', () => {
    for (const configuration of [automatic, JOINT]) {
      const node = new Node('1', { settings: plain, logTerms: [1], commit: 1 });
      node.core.configure(configuration);
      win(node, ['2', '4']);
      assert.equal(lastChange(node), undefined);
      acknowledge(node, '2', '4');
      node.run();
      assert.equal(lastChange(node)?.index, configuration === automatic ? 3 : undefined);
    }
  });
});

describe('who may campaign', () => {
  test('not a node that knows of a committed change and has not applied it', () => {
    const node = new Node('1', { settings: { preVote: false } });
    const entries = [entryAt(1, 1), changeAt(2, 1)];
    node.core.step(message(append, '2', '1', 1, { entries, commit: 2 }));
    node.core.take();
    node.core.campaign();
    assert.equal(node.status.role, 'follower');
    // What the leader asked for is done as soon as it is possible.
    node.core.step(message(timeoutNow, '2', '1', 1));
    assert.equal(node.status.role, 'follower');
    node.core.applied(2);
    assert.equal(node.status.role, 'candidate');
  });

  test('a change in the log that is not committed keeps nobody from it', () => {
    const node = new Node('1', { settings: { preVote: false } });
    node.answer(message(append, '2', '1', 1, { entries: [changeAt(1, 1)] }));
    node.core.campaign();
    assert.equal(node.status.role, 'candidate');
  });

  test('with two changes in the log the first is committed, whatever the crash left of the commit index', () => {
    const core = new RaftCore({
      ...{ id: '1', random: seededRandom(1), applied: 0 },
      hardState: { term: 1, vote: '', commit: 0 },
      configuration: { voters: ['1', '2', '3'], learners: [] },
      snapshot: { index: 0, term: 0 },
      entries: [entryAt(1, 1), changeAt(2, 1), entryAt(3, 1), changeAt(4, 1)],
    });
    assert.equal(core.status().commit, 2);
    core.campaign();
    assert.equal(core.status().role, 'follower');
    assert.equal(core.take().committed.length, 2);
    core.applied(2);
    core.campaign();
    assert.equal(core.status().role, 'pre-candidate');
  });

  test('a removed node disturbs nobody who hears a leader', () => {
    const node = new Node('1', {});
    node.answer(message(heartbeat, '2', '1', 1));
    const term = node.status.term;
    const replies = node.answer(message(vote, '9', '1', 50, { index: 99, logTerm: 49 }));
    assert.deepEqual(replies, []);
    assert.equal(node.status.term, term);
  });
});

describe('what is left after a removal', () => {
  test('learns from a refused vote that the removal is committed, and goes on alone', () => {
    const node = new Node('1', { settings: { preVote: false }, voters: ['1', '2'] });
    node.answer(message(append, '2', '1', 1, { entries: [entryAt(1, 1), changeAt(2, 1)] }));
    node.core.campaign();
    node.run();
    // Node 2 led, removed itself and has more in its log.
    const fields = { reject: true, hintIndex: 2, hintTerm: 1 };
    node.core.step(message(voteReply, '2', '1', 2, fields));
    assert.equal(node.status.commit, 2);
    assert.equal(node.status.role, 'follower');
    node.core.configure({ voters: ['1'], learners: [] });
    node.run();
    node.core.campaign();
    node.run();
    assert.equal(node.status.role, 'leader');
  });

  /** Node 1 led and removed itself, which only learner 3 knows; it is gone. Returns what node 2 asks of the learner. */
  function leftWithLearner(): { left: Node; asked: PeerMessage } {
    const members = { voters: ['1', '2'], learners: ['3'] };
    const left = new Node('2', members);
    left.answer(message(append, '1', '2', 1, { entries: [entryAt(1, 1), changeAt(2, 1)] }));
    left.core.campaign();
    const asked = only(left.run(), preVote);
    assert.deepEqual(
      asked.map(({ to }) => to),
      ['1', '3'],
    );
    return { left, asked: asked[1]! };
  }

  function goesOnAlone(left: Node): void {
    assert.equal(left.status.commit, 2);
    assert.equal(left.status.role, 'follower');
    left.core.configure({ voters: ['2'], learners: ['3'] });
    left.run();
    left.core.campaign();
    left.run();
    assert.equal(left.status.role, 'leader');
  }

  test('learns it from a learner that would give its vote, where nobody else is left to ask', () => {
    const { left, asked } = leftWithLearner();
    const learner = new Node('3', { logTerms: [1, 1], commit: 2, voters: ['2'], learners: ['3'] });
    const [reply] = learner.answer(asked);
    assert.deepEqual([reply!.reject, reply!.hintIndex, reply!.hintTerm], [false, 2, 1]);
    assert.equal(learner.status.term, 1);
    left.core.step(reply!);
    goesOnAlone(left);
  });

  test('learns it from a learner that heard of no newer term, and whose log is longer', () => {
    const { left } = leftWithLearner();
    left.answer(message(preVoteReply, '1', '2', 2, { reject: true }));
    left.core.campaign();
    const asked = only(left.run(), preVote).find(({ to }) => to === '3')!;
    assert.equal(left.status.term, 2);
    const learner = new Node('3', { logTerms: [1, 1, 1], commit: 2, voters: ['2'] });
    const [reply] = learner.answer(asked);
    assert.deepEqual([reply!.reject, reply!.term], [true, 1]);
    left.core.step(reply!);
    goesOnAlone(left);
  });

  test("a learner's answer is no vote, and a voter's grant is not held up by what it knows", () => {
    const { left, asked } = leftWithLearner();
    left.core.step(message(preVoteReply, '3', '2', asked.term));
    assert.equal(left.status.role, 'pre-candidate');
    const known = { hintIndex: 2, hintTerm: 1 };
    left.core.step(message(preVoteReply, '1', '2', asked.term, known));
    assert.equal(left.status.role, 'candidate');
  });

  test('nothing is learned from a log that is another one', () => {
    const node = new Node('1', { logTerms: [1, 1] });
    node.core.campaign();
    node.run();
    const fields = { reject: true, hintIndex: 2, hintTerm: 2 };
    node.core.step(message(preVoteReply, '2', '1', 1, fields));
    assert.equal(node.status.commit, 0);
  });

  test('a voter tells with its refusal what is committed', () => {
    const node = new Node('1', { term: 3, logTerms: [1, 2, 3], commit: 2 });
    const [reply] = node.answer(message(vote, '2', '1', 4, { index: 2, logTerm: 2 }));
    assert.deepEqual([reply!.reject, reply!.hintIndex, reply!.hintTerm], [true, 2, 2]);
  });
});

describe('members that come and go', () => {
  test('a removed member hears that its removal is committed, then it is forgotten', () => {
    const node = leading();
    acknowledge(node, '2', '3');
    node.core.proposeChange(configChange, CHANGE);
    node.run();
    acknowledge(node, '2');
    const { committed, messages } = node.core.take();
    assert.equal(committed[0]?.index, 2);
    node.core.configure({ voters: ['1', '2'], learners: [] });
    node.core.applied(2);
    // It has not acknowledged its removal yet, and is waited for.
    node.tick(1);
    const told = only([...messages, ...node.run()], append).filter(({ to }) => to === '3');
    assert.equal(told.at(-1)?.commit, 2);
    acknowledge(node, '3');
    assert.deepEqual(
      node.status.peers.map(({ id }) => id),
      ['2'],
    );
    node.run();
    assert.deepEqual(
      only(ticked(node, 1), heartbeat).map(({ to }) => to),
      ['2'],
    );
  });

  test('one that never answers is forgotten too', () => {
    const node = leading({ settings: { checkQuorum: false } });
    node.core.configure({ voters: ['1', '2'], learners: [] });
    assert.equal(only(ticked(node, 1), heartbeat).length, 2);
    ticked(node, 40);
    assert.equal(only(ticked(node, 1), heartbeat).length, 1);
  });

  test('leadership goes to voters only', () => {
    const node = leading();
    node.core.configure({ voters: ['1', '2'], learners: ['3'] });
    assert.equal(node.core.transferLeadership('3'), false);
    assert.equal(node.core.transferLeadership('9'), false);
    assert.equal(node.core.transferLeadership('2'), true);
    assert.equal(node.core.proposeChange(configChange, CHANGE), 'transferring');
  });

  test('the commit index of a change is written, though nothing else is', () => {
    const node = leading();
    node.core.proposeChange(configChange, CHANGE);
    node.run();
    acknowledge(node, '2');
    assert.equal(node.core.take().committed[0]?.index, 2);
    assert.equal(node.hardState.commit < 2, true);
    node.core.configure({ voters: ['1'], learners: [] });
    node.core.applied(2);
    node.run();
    assert.equal(node.hardState.commit, 2);
  });
});
