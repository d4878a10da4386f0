/**
 * How much is sent, kept and handed out at a time, and what is not believed.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { MessageType } from '../messages.ts';
import type { Entry } from '../types.ts';
import type { RaftSettings } from './settings.ts';
import { bytes, Cluster, entryAt, leading, message, Node } from './test-cluster.ts';

const { append, appendReply, heartbeat, heartbeatReply } = MessageType;

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

  test('what a peer acknowledged before it lost its log counts no more', () => {
    const node = leading();
    node.core.propose([bytes('x')]);
    node.run();
    node.core.step(message(appendReply, '2', '1', 1, { index: 1 }));
    assert.equal(node.status.peers[0]!.match, 1);
    node.core.lost('2');
    assert.equal(node.status.peers[0]!.match, 0);
    assert.equal(node.status.peers[0]!.state, 'probe');
    const probe = node.run().find(({ to, type }) => to === '2' && type === append);
    assert.equal(probe?.index, node.status.lastIndex);
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
