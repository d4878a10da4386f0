/**
 * Linearizable reads at leaders and followers (thesis §6.4).
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seededRandom } from '../../core/random.ts';
import { MessageType } from '../messages.ts';
import { RaftCore } from './raft.ts';
import { Cluster, leading, message, Node } from './test-cluster.ts';

const { heartbeat, heartbeatReply } = MessageType;

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
