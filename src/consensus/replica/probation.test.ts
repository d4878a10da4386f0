import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../../core/random.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { draft } from '../raft/draft.ts';
import { RaftCore } from '../raft/raft.ts';
import { ProbationCore } from './probation.ts';

const configuration = { voters: ['a', 'b', 'c'], learners: [] };
const REPLIES: readonly number[] = [
  MessageType.appendReply,
  MessageType.heartbeatReply,
  MessageType.voteReply,
  MessageType.preVoteReply,
];

function onProbation(): ProbationCore {
  const raft = new RaftCore({
    id: 'c',
    random: seededRandom(1),
    hardState: { term: 1, vote: '', commit: 0 },
    configuration,
    snapshot: { index: 0, term: 0 },
    entries: [],
    applied: 0,
  });
  const core = new ProbationCore(raft, 'c');
  core.configure(configuration);
  return core;
}

/** All that leaves, with every write durable at once. */
function run(core: ProbationCore): PeerMessage[] {
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

test('once a quorum without it has confirmed the leader, it acknowledges, and still gives no vote', () => {
  const core = onProbation();
  core.step(from('a', 2, MessageType.heartbeat));
  core.readIndex(7);
  const asked = run(core).find(({ type }) => type === MessageType.readIndex);
  assert.ok(asked !== undefined, 'it asks the leader');
  const reply = draft(MessageType.readIndexReply, 'a', 'c', 2);
  reply.context = asked.context;
  core.step(reply);
  run(core);
  core.step(from('a', 2, MessageType.append));
  assert.deepEqual(
    promises(run(core)).map(({ type, index }) => [type, index]),
    [[MessageType.appendReply, 1]],
  );
  core.step(from('b', 9, MessageType.vote));
  assert.deepEqual(promises(run(core)), []);
});
