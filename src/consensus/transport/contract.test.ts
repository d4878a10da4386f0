/** What every transport promises, held against TCP and the in-process network alike. */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import { memoryNetwork } from '../../testing/memory-network.ts';
import { MessageType } from '../messages.ts';
import type { Transport } from '../transport.ts';
import type { SnapshotMetadata } from '../types.ts';
import { tcpTransport } from './tcp.ts';
import { A, B, CLUSTER, Recorder, raftMessage, turn } from './testing.ts';

interface Pair {
  readonly a: Transport;
  readonly b: Transport;
  readonly atA: Recorder;
  readonly atB: Recorder;
}

/** Resolves when both see each other. */
async function connected(pair: Pair): Promise<Pair> {
  while (![pair.a, pair.b].every((node) => node.peers().every((peer) => peer.connected))) {
    await turn();
  }
  return pair;
}

async function tcpPair(): Promise<Pair> {
  const options = { clusterId: CLUSTER, listenUrls: ['http://127.0.0.1:0'] };
  const a = tcpTransport({ ...options, id: A });
  const b = tcpTransport({ ...options, id: B });
  const [atA, atB] = [new Recorder(), new Recorder()];
  await Promise.all([a.start(atA), b.start(atB)]);
  a.setPeers(new Map([[B, b.listenUrls]]));
  b.setPeers(new Map([[A, a.listenUrls]]));
  return connected({ a, b, atA, atB });
}

async function memoryPair(): Promise<Pair> {
  const network = memoryNetwork();
  const [a, b] = [network.transport(A), network.transport(B)];
  const [atA, atB] = [new Recorder(), new Recorder()];
  const peers = new Map([A, B].map((id) => [id, []] as const));
  a.setPeers(peers);
  b.setPeers(peers);
  await Promise.all([a.start(atA), b.start(atB)]);
  return connected({ a, b, atA, atB });
}

const METADATA: SnapshotMetadata = {
  index: 9,
  term: 3,
  configuration: { voters: [A, B], learners: ['0123456789abcdef'] },
};

async function* chunksOf(...sizes: number[]): AsyncGenerator<Uint8Array> {
  for (const [i, size] of sizes.entries()) yield Buffer.alloc(size, i);
}

for (const [name, open] of [
  ['TCP', tcpPair],
  ['the in-process network', memoryPair],
] as const) {
  describe(`a transport on ${name}`, () => {
    let pair: Pair | undefined;
    const opened = async (): Promise<Pair> => (pair = await open());
    afterEach(async () => {
      await Promise.all([pair?.a.close(), pair?.b.close()]);
      pair = undefined;
    });

    it('delivers a message with every field and entry unchanged', async () => {
      const { a, atB } = await opened();
      const sent = raftMessage({
        type: MessageType.append,
        term: 2 ** 40 + 5,
        index: 2 ** 53 - 1,
        logTerm: 7,
        commit: 2 ** 32,
        entries: [
          { type: 0, term: 7, index: 2 ** 53 - 2, data: Buffer.from('one') },
          { type: 1, term: 8, index: 2 ** 53 - 1, data: Buffer.alloc(0) },
        ],
        reject: true,
        hintIndex: 11,
        hintTerm: 12,
        context: 13,
        force: true,
      });
      a.send(sent);
      await atB.until(() => atB.messages.length === 1);
      const [received] = atB.messages;
      assert.deepEqual({ ...received!, entries: [] }, { ...sent, entries: [] });
      assert.deepEqual(
        received!.entries.map((entry) => ({ ...entry, data: Buffer.from(entry.data).toString() })),
        sent.entries.map((entry) => ({ ...entry, data: Buffer.from(entry.data).toString() })),
      );
    });

    it('delivers the messages to one peer in the order they were sent', async () => {
      const { a, atB } = await opened();
      for (let i = 0; i < 500; i++) {
        const entries = [{ type: 0, term: 1, index: i + 1, data: Buffer.alloc(300, i) }] as const;
        a.send(raftMessage({ type: MessageType.append, index: i, entries }));
      }
      await atB.until(() => atB.messages.length === 500);
      assert.deepEqual(
        atB.messages.map((message) => message.index),
        Array.from({ length: 500 }, (_, i) => i),
      );
      for (const message of atB.messages) {
        const { index, data } = message.entries[0]!;
        assert.ok(data.every((byte) => byte === ((index - 1) & 0xff)));
      }
    });

    it('answers a call with what the handler of the peer returned', async () => {
      const { a, atB } = await opened();
      atB.answer = async (method, payload) => Buffer.concat([Buffer.from(method), payload]);
      const large = Buffer.alloc(300_000, 'x');
      const replies = await Promise.all([
        a.call(B, 'small', Buffer.from('!'), 5000),
        a.call(B, 'large', large, 5000),
      ]);
      assert.equal(Buffer.from(replies[0]).toString(), 'small!');
      assert.equal(replies[1].length, 5 + large.length);
    });

    it('carries the error of the peer over with code, outcome and text', async () => {
      const { a, atB } = await opened();
      atB.answer = () =>
        Promise.reject(
          new QuorateError('ERR_COMPACTED', 'gone: é', {
            outcome: 'unknown',
            retryable: true,
            compactRevision: 2 ** 40,
          }),
        );
      await assert.rejects(a.call(B, 'm', Buffer.alloc(0), 5000), (error) => {
        assert.ok(isQuorateError(error, 'ERR_COMPACTED'));
        assert.equal(error.message, 'gone: é');
        assert.equal(error.outcome, 'unknown');
        assert.equal(error.retryable, true);
        assert.equal(error.compactRevision, 2 ** 40);
        return true;
      });
    });

    it('gives up a call that is not answered in time, with its outcome unknown', async () => {
      const { a, atB } = await opened();
      atB.answer = () => new Promise(() => undefined);
      await assert.rejects(a.call(B, 'm', Buffer.alloc(0), 50), (error) => {
        return isQuorateError(error, 'ERR_TIMEOUT') && error.outcome === 'unknown';
      });
    });

    it('rejects calls under way when it is closed, and later ones at once', async () => {
      const { a, atB } = await opened();
      let arrived!: () => void;
      const arrival = new Promise<void>((resolve) => (arrived = resolve));
      atB.answer = () => {
        arrived();
        return new Promise(() => undefined);
      };
      const pending = assert.rejects(a.call(B, 'm', Buffer.alloc(0), 60_000));
      await arrival;
      await a.close();
      await pending;
      await assert.rejects(a.call(B, 'm', Buffer.alloc(0), 60_000), { code: 'ERR_CLOSED' });
    });

    it('rejects a call to a node that cannot be reached as not applied', async () => {
      const { a, b } = await opened();
      await b.close();
      while (a.peers()[0]!.connected) await turn();
      await assert.rejects(a.call(B, 'm', Buffer.alloc(0), 5000), (error) => {
        return isQuorateError(error, 'ERR_UNAVAILABLE') && error.outcome === 'not-applied';
      });
    });

    it('reports a peer that is gone as unreachable', async () => {
      const { a, b, atA } = await opened();
      await b.close();
      while (a.peers()[0]!.connected) await turn();
      atA.unreachable.length = 0;
      a.send(raftMessage({}));
      await atA.until(() => atA.unreachable.length > 0);
      assert.deepEqual(atA.unreachable, [B]);
    });

    it('streams a snapshot with its chunks as they were cut', async () => {
      const { a, atB } = await opened();
      const sizes = [1, 2_000_000, 0, 65_536, 300_000, 7, 1_000_000, 3];
      const seen: number[] = [];
      let seenMetadata: SnapshotMetadata | undefined;
      atB.snapshot = async (message, metadata, chunks) => {
        assert.equal(message.index, 9);
        seenMetadata = metadata;
        for await (const chunk of chunks) {
          assert.ok(chunk.every((byte) => byte === seen.length));
          seen.push(chunk.length);
        }
      };
      const message = raftMessage({ type: MessageType.snapshot, index: 9, logTerm: 3 });
      await a.sendSnapshot(message, METADATA, chunksOf(...sizes));
      assert.deepEqual(seen, sizes);
      assert.deepEqual(seenMetadata, METADATA);
    });

    it('ends a snapshot on both sides when its source fails', async () => {
      const { a, atB } = await opened();
      let begun!: () => void;
      const beginning = new Promise<void>((resolve) => (begun = resolve));
      const failed = new Promise<unknown>((resolve) => {
        atB.snapshot = async (_message, _metadata, chunks) => {
          try {
            for await (const _chunk of chunks) begun();
          } catch (error) {
            resolve(error);
            throw error;
          }
        };
      });
      const source = async function* (): AsyncGenerator<Uint8Array> {
        yield Buffer.alloc(10);
        await beginning;
        throw new Error('the disk is gone');
      };
      const message = raftMessage({ type: MessageType.snapshot });
      await assert.rejects(a.sendSnapshot(message, METADATA, source()), /the disk is gone/);
      assert.ok((await failed) instanceof Error);
    });

    it('ends a snapshot on both sides when the receiver fails, with its error', async () => {
      const { a, atB } = await opened();
      atB.snapshot = async (_message, _metadata, chunks) => {
        for await (const chunk of chunks) {
          if (chunk.length === 2) throw new QuorateError('ERR_CORRUPT', 'bad chunk');
        }
      };
      let returned = false;
      const source = async function* (): AsyncGenerator<Uint8Array> {
        try {
          for (let size = 1; ; size++) yield Buffer.alloc(size);
        } finally {
          returned = true;
        }
      };
      const message = raftMessage({ type: MessageType.snapshot });
      await assert.rejects(a.sendSnapshot(message, METADATA, source()), { code: 'ERR_CORRUPT' });
      assert.ok(returned);
    });
  });
}
