/**
 * Our standing connection to a peer for one channel: connects, connects again, sends, and keeps the
 * calls that wait for a reply. A peer has two links, control and bulk.
 */
import type { Cancel } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import type { NodeId } from '../types.ts';
import type { PeerAddress } from './address.ts';
import { type Channel, decodeCallId, decodeError, encodeCallHead } from './codec.ts';
import type { Connection } from './connection.ts';
import { dial } from './dial.ts';
import { FrameKind, OutFrame } from './frame.ts';
import type { TransportContext } from './settings.ts';

interface PendingCall {
  readonly frame: OutFrame;
  readonly method: string;
  readonly deadlineMs: number;
  readonly resolve: (payload: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

export class Link {
  readonly #context: TransportContext;
  readonly #peer: NodeId;
  readonly #channel: Channel;
  readonly #addresses: readonly PeerAddress[];
  /** The connection opened (`true`) or broke after it was open (`false`). */
  readonly #onChange: (open: boolean) => void;
  readonly #calls: Map<number, PendingCall>;
  #connection: Connection | undefined;
  #open: boolean;
  #closed: boolean;
  #attempts: number;
  #addressIndex: number;
  #cancelRetry: Cancel | undefined;
  #nextCallId: number;
  /** No call's deadline is before this. */
  #firstDeadlineMs: number;

  constructor(
    context: TransportContext,
    peer: NodeId,
    channel: Channel,
    addresses: readonly PeerAddress[],
    onChange: (open: boolean) => void,
  ) {
    this.#context = context;
    this.#peer = peer;
    this.#channel = channel;
    this.#addresses = addresses;
    this.#onChange = onChange;
    this.#calls = new Map();
    this.#connection = undefined;
    this.#open = false;
    this.#closed = false;
    this.#attempts = 0;
    this.#addressIndex = 0;
    this.#cancelRetry = undefined;
    this.#nextCallId = 0;
    this.#firstDeadlineMs = Number.POSITIVE_INFINITY;
    this.#connect();
  }

  get open(): boolean {
    return this.#open;
  }

  /** Where the peer was last tried or reached. */
  get address(): PeerAddress {
    return this.#addresses[this.#addressIndex % this.#addresses.length]!;
  }

  /** `false`: dropped, there is no connection or its queue is full. */
  send(frame: OutFrame): boolean {
    return this.#open && this.#connection!.send(frame);
  }

  call(method: string, payload: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const callId = this.#newCallId();
    const head = encodeCallHead(callId, method);
    const frame = new OutFrame(FrameKind.call, undefined, head, payload);
    if (!this.send(frame)) return Promise.reject(this.#notDelivered(method));
    return new Promise((resolve, reject) => {
      const deadlineMs = this.#context.clock.now() + timeoutMs;
      if (deadlineMs < this.#firstDeadlineMs) this.#firstDeadlineMs = deadlineMs;
      this.#calls.set(callId, { frame, method, deadlineMs, resolve, reject });
    });
  }

  /** Fails the calls whose time is over. */
  sweep(now: number): void {
    if (now < this.#firstDeadlineMs) return;
    let first = Number.POSITIVE_INFINITY;
    for (const [callId, call] of this.#calls) {
      if (call.deadlineMs > now) {
        if (call.deadlineMs < first) first = call.deadlineMs;
        continue;
      }
      this.#calls.delete(callId);
      call.frame.withdrawn = true;
      call.reject(
        new QuorateError(
          'ERR_TIMEOUT',
          `node ${this.#peer} did not answer "${call.method}" in time`,
          { outcome: call.frame.written ? 'unknown' : 'not-applied', retryable: true },
        ),
      );
    }
    this.#firstDeadlineMs = first;
  }

  close(reason: Error): void {
    this.#closed = true;
    this.#cancelRetry?.();
    this.#connection?.close(reason);
  }

  #newCallId(): number {
    do this.#nextCallId = (this.#nextCallId + 1) >>> 0;
    while (this.#calls.has(this.#nextCallId));
    return this.#nextCallId;
  }

  #connect(): void {
    this.#cancelRetry = undefined;
    const deadAfterMs = this.#context.settings.deadAfterMs;
    this.#connection = dial(this.#context, this.#peer, this.address, this.#channel, deadAfterMs, {
      onOpen: () => {
        this.#attempts = 0;
        this.#open = true;
        this.#onChange(true);
      },
      onFrame: (content) => this.#take(content),
      onClose: (reason) => this.#lost(reason),
    });
  }

  #lost(reason: Error): void {
    const wasOpen = this.#open;
    this.#open = false;
    this.#connection = undefined;
    this.#failCalls(reason);
    if (!this.#closed) this.#retryLater();
    if (wasOpen) this.#onChange(false);
  }

  /** Half to all of a delay that doubles: peers that lost the same node do not return in step. */
  #retryLater(): void {
    const { reconnectMinMs, reconnectMaxMs } = this.#context.settings;
    const ceiling = Math.min(reconnectMaxMs, reconnectMinMs * 2 ** Math.min(this.#attempts, 16));
    const delayMs = ceiling / 2 + this.#context.random.below(Math.ceil(ceiling / 2) + 1);
    this.#attempts += 1;
    this.#addressIndex = (this.#addressIndex + 1) % this.#addresses.length;
    this.#cancelRetry = this.#context.clock.after(delayMs, () => this.#connect());
  }

  #failCalls(cause: Error): void {
    if (this.#calls.size === 0) return;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) {
      call.reject(
        call.frame.written
          ? this.#maybeDelivered(call.method, cause)
          : this.#notDelivered(call.method),
      );
    }
  }

  #notDelivered(method: string): QuorateError {
    return new QuorateError(
      'ERR_UNAVAILABLE',
      this.#open
        ? `too much waits to be sent to node ${this.#peer}: "${method}" was not sent`
        : `there is no connection to node ${this.#peer}: "${method}" was not sent`,
      { retryable: true },
    );
  }

  #maybeDelivered(method: string, cause: Error): QuorateError {
    return new QuorateError(
      'ERR_UNAVAILABLE',
      `the connection to node ${this.#peer} broke before "${method}" was answered; it may have happened`,
      { outcome: 'unknown', cause },
    );
  }

  #take(content: Buffer): void {
    const kind = content[0];
    if (kind !== FrameKind.reply && kind !== FrameKind.callError) {
      throw new QuorateError('ERR_PROTOCOL', `a frame of kind ${kind} is no answer to a call`);
    }
    const callId = decodeCallId(content, 1);
    const error = kind === FrameKind.callError ? decodeError(content, 5) : undefined;
    const call = this.#calls.get(callId);
    // The call's time may be over already.
    if (call === undefined) return;
    this.#calls.delete(callId);
    if (error !== undefined) call.reject(error);
    // Copied: a view would keep the socket's whole read buffer.
    else call.resolve(Buffer.from(content.subarray(5)));
  }
}
