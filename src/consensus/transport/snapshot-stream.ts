/**
 * A snapshot on its way: one connection of its own, opened for it and closed after it, so that
 * neither heartbeats nor appends ever queue behind its chunks.
 *
 * The sender may be a few chunks ahead of what the receiver's state machine has taken
 * (`snapshotTaken` gives room), so neither side holds more than that window in memory. Either side
 * ends it by closing the connection; the receiver answers `snapshotDone` or `snapshotFailed`.
 */
import type { Cancel } from '../../core/clock.ts';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import { Fifo } from '../../core/fifo.ts';
import type { PeerMessage } from '../messages.ts';
import type { NodeId, SnapshotMetadata } from '../types.ts';
import type { PeerAddress } from './address.ts';
import {
  Channel,
  decodeError,
  decodeSnapshotBegin,
  encodeError,
  encodeSnapshotBegin,
} from './codec.ts';
import type { Connection } from './connection.ts';
import { dial } from './dial.ts';
import { FrameKind, OutFrame } from './frame.ts';
import type { TransportContext } from './settings.ts';

/** Something that happens once more, waited for by one. */
class Signal {
  #wake: (() => void) | undefined = undefined;

  notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** Fails a stream that makes no progress. */
class StallGuard {
  readonly #context: TransportContext;
  readonly #onStall: () => void;
  #cancel: Cancel | undefined;

  constructor(context: TransportContext, onStall: () => void) {
    this.#context = context;
    this.#onStall = onStall;
    this.#cancel = undefined;
  }

  expectWithin(delayMs: number): void {
    this.#cancel?.();
    this.#cancel = this.#context.clock.after(delayMs, this.#onStall);
  }

  stop(): void {
    this.#cancel?.();
  }
}

function stalled(remote: string): QuorateError {
  return new QuorateError('ERR_TIMEOUT', `the snapshot stream with ${remote} makes no progress`, {
    outcome: 'unknown',
  });
}

function unreachablePeer(peer: NodeId, cause: Error): QuorateError {
  return new QuorateError('ERR_UNAVAILABLE', `the snapshot did not reach node ${peer}`, {
    outcome: 'unknown',
    retryable: true,
    cause,
  });
}

/** The sending side of one stream. */
class SnapshotSender {
  readonly #context: TransportContext;
  readonly #changed: Signal;
  readonly #connection: Connection;
  readonly #guard: StallGuard;
  #open: boolean;
  #taken: number;
  #limitMs: number;
  /** The receiver is content, be it before the end because it needs no more. */
  #done: boolean;
  #failure: Error | undefined;

  constructor(context: TransportContext, peer: NodeId, address: PeerAddress) {
    this.#context = context;
    this.#changed = new Signal();
    this.#open = false;
    this.#taken = 0;
    this.#done = false;
    this.#failure = undefined;
    this.#guard = new StallGuard(context, () =>
      this.#connection.close(stalled(this.#connection.remote)),
    );
    this.#limitMs = context.settings.snapshotStallMs;
    this.#guard.expectWithin(this.#limitMs);
    this.#connection = dial(context, peer, address, Channel.snapshot, this.#limitMs, {
      onOpen: () => {
        this.#open = true;
        this.#changed.notify();
      },
      onFrame: (content) => this.#take(content),
      onClose: (reason) => {
        this.#failure ??= isQuorateError(reason) ? reason : unreachablePeer(peer, reason);
        this.#changed.notify();
      },
    });
  }

  /** Sends all of it and waits until the receiver has installed it. */
  async run(
    message: PeerMessage,
    metadata: SnapshotMetadata,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    try {
      await this.#until(() => this.#open);
      this.#send(FrameKind.snapshotBegin, encodeSnapshotBegin(message, metadata));
      let sent = 0;
      for await (const chunk of chunks) {
        if (chunk.length >= this.#context.settings.maxFrameBytes) throw chunkTooLarge(chunk.length);
        await this.#until(() => sent - this.#taken < this.#context.settings.snapshotWindowChunks);
        if (this.#done) return;
        this.#send(FrameKind.snapshotChunk, chunk);
        sent += 1;
      }
      this.#send(FrameKind.snapshotEnd, undefined);
      this.#limitMs = this.#context.settings.snapshotInstallMs;
      this.#guard.expectWithin(this.#limitMs);
      await this.#until(() => this.#done);
    } finally {
      this.#guard.stop();
      this.#connection.close(new QuorateError('ERR_CLOSED', 'the snapshot stream has ended'));
    }
  }

  #send(kind: FrameKind, body: Uint8Array | undefined): void {
    this.#connection.send(new OutFrame(kind, undefined, undefined, body));
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition() && !this.#done) {
      if (this.#failure !== undefined) throw this.#failure;
      await this.#changed.wait();
    }
  }

  #take(content: Buffer): void {
    const kind = content[0];
    if (kind === FrameKind.snapshotTaken) {
      this.#taken += 1;
      this.#guard.expectWithin(this.#limitMs);
    } else if (kind === FrameKind.snapshotDone) this.#done = true;
    else if (kind === FrameKind.snapshotFailed) this.#failure ??= decodeError(content, 1);
    else throw new QuorateError('ERR_PROTOCOL', `a frame of kind ${kind} in a snapshot stream`);
    this.#changed.notify();
  }
}

function chunkTooLarge(bytes: number): QuorateError {
  return new QuorateError(
    'ERR_REQUEST_TOO_LARGE',
    `a snapshot chunk of ${bytes} bytes is over the limit of a frame`,
  );
}

/** Sends a snapshot; resolves when the peer has installed it. */
export async function sendSnapshot(
  context: TransportContext,
  peer: NodeId,
  address: PeerAddress,
  message: PeerMessage,
  metadata: SnapshotMetadata,
  chunks: AsyncIterable<Uint8Array>,
): Promise<void> {
  await new SnapshotSender(context, peer, address).run(message, metadata, chunks);
}

/** The receiving side: what `onSnapshot` reads its chunks from. */
export class SnapshotReceiver implements AsyncIterable<Uint8Array> {
  readonly #context: TransportContext;
  readonly #peer: NodeId;
  readonly #connection: Connection;
  readonly #waiting: Fifo<Uint8Array>;
  readonly #changed: Signal;
  readonly #guard: StallGuard;
  #begun: boolean;
  #ended: boolean;
  #failure: Error | undefined;

  constructor(context: TransportContext, peer: NodeId, connection: Connection) {
    this.#context = context;
    this.#peer = peer;
    this.#connection = connection;
    this.#waiting = new Fifo();
    this.#changed = new Signal();
    this.#begun = false;
    this.#ended = false;
    this.#failure = undefined;
    this.#guard = new StallGuard(context, () => connection.close(stalled(connection.remote)));
    this.#guard.expectWithin(context.settings.snapshotStallMs);
  }

  /** A frame of the sender. */
  take(content: Buffer, owned: boolean): void {
    const kind = content[0];
    if (kind === FrameKind.snapshotBegin && !this.#begun) this.#begin(content);
    else if (kind === FrameKind.snapshotChunk && this.#begun && !this.#ended) {
      if (this.#waiting.length >= this.#context.settings.snapshotWindowChunks) {
        throw new QuorateError('ERR_PROTOCOL', 'more snapshot chunks than there was room for');
      }
      const chunk = content.subarray(1);
      this.#waiting.push(owned ? chunk : Buffer.from(chunk));
      this.#guard.expectWithin(this.#context.settings.snapshotStallMs);
    } else if (kind === FrameKind.snapshotEnd && this.#begun && !this.#ended) {
      this.#ended = true;
      this.#guard.stop();
    } else throw new QuorateError('ERR_PROTOCOL', `a frame of kind ${kind} in a snapshot stream`);
    this.#changed.notify();
  }

  /** The connection is gone. */
  broken(reason: Error): void {
    this.#guard.stop();
    this.#failure ??= new QuorateError(
      'ERR_UNAVAILABLE',
      `the snapshot of node ${this.#peer} broke off before its end`,
      { cause: reason },
    );
    this.#changed.notify();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    while (true) {
      const chunk = this.#waiting.shift();
      if (chunk !== undefined) {
        yield chunk;
        this.#send(FrameKind.snapshotTaken, undefined);
      } else if (this.#ended) return;
      else if (this.#failure !== undefined) throw this.#failure;
      else await this.#changed.wait();
    }
  }

  #begin(content: Buffer): void {
    this.#begun = true;
    const begin = decodeSnapshotBegin(Buffer.from(content), 1, this.#peer, this.#context.id);
    void this.#run(begin.message, begin.metadata);
  }

  async #run(message: PeerMessage, metadata: SnapshotMetadata): Promise<void> {
    const ended = new QuorateError('ERR_CLOSED', 'the snapshot stream has ended');
    try {
      await this.#context.handlers.onSnapshot(message, metadata, this);
      this.#sendLast(FrameKind.snapshotDone, undefined, ended);
    } catch (error) {
      this.#sendLast(FrameKind.snapshotFailed, encodeError(error), ended);
    } finally {
      this.#guard.stop();
    }
  }

  #send(kind: FrameKind, body: Uint8Array | undefined): void {
    this.#connection.send(new OutFrame(kind, undefined, undefined, body));
  }

  #sendLast(kind: FrameKind, body: Uint8Array | undefined, reason: Error): void {
    if (this.#connection.closed) return;
    this.#connection.sendLast(new OutFrame(kind, undefined, undefined, body), reason);
  }
}
