/**
 * A network within one process, for tests of what sits on a transport. Same contract as TCP:
 * messages to a peer arrive in order, later than the call that sent them, or not at all.
 */

import type { PeerMessage } from '../consensus/messages.ts';
import type { PeerStatus, Transport, TransportHandlers } from '../consensus/transport.ts';
import type { NodeId, SnapshotMetadata } from '../consensus/types.ts';
import type { Cancel, Clock } from '../core/clock.ts';
import { systemClock } from '../core/clock.ts';
import { isQuorateError, QuorateError } from '../core/errors.ts';

export interface MemoryNetworkOptions {
  /** For the timeouts of calls. @defaultValue the system's */
  readonly clock?: Clock;
}

export interface MemoryNetwork {
  /** The transport of node `id`. A closed one may be followed by another of the same id. */
  transport(id: NodeId): Transport;
  /** Cuts or restores what `from` sends to `to`; one way. */
  cut(from: NodeId, to: NodeId): void;
  restore(from: NodeId, to: NodeId): void;
  /** Cuts a node off, both ways, or takes it back. */
  isolate(id: NodeId): void;
  rejoin(id: NodeId): void;
}

interface Shared {
  readonly clock: Clock;
  readonly nodes: Map<NodeId, MemoryTransport>;
  readonly cuts: Set<string>;
  readonly isolated: Set<NodeId>;
}

export function memoryNetwork(options: MemoryNetworkOptions = {}): MemoryNetwork {
  const shared: Shared = {
    clock: options.clock ?? systemClock,
    nodes: new Map(),
    cuts: new Set(),
    isolated: new Set(),
  };
  return {
    transport: (id) => new MemoryTransport(shared, id),
    cut: (from, to) => void shared.cuts.add(`${from}>${to}`),
    restore: (from, to) => void shared.cuts.delete(`${from}>${to}`),
    isolate: (id) => void shared.isolated.add(id),
    rejoin: (id) => void shared.isolated.delete(id),
  };
}

class MemoryTransport implements Transport {
  readonly id: NodeId;
  readonly #shared: Shared;
  #handlers: TransportHandlers | undefined;
  #peers: Set<NodeId>;
  #inbox: PeerMessage[];
  readonly #pending: Set<(error: Error) => void>;

  constructor(shared: Shared, id: NodeId) {
    this.id = id;
    this.#shared = shared;
    this.#handlers = undefined;
    this.#peers = new Set();
    this.#inbox = [];
    this.#pending = new Set();
  }

  async start(handlers: TransportHandlers): Promise<void> {
    if (this.#shared.nodes.has(this.id)) {
      throw new QuorateError('ERR_ADDRESS_IN_USE', `node ${this.id} is already on this network`);
    }
    this.#handlers = handlers;
    this.#shared.nodes.set(this.id, this);
  }

  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>, removed?: ReadonlySet<NodeId>): void {
    const before = removed === undefined ? [] : this.#peers;
    this.#peers = new Set([...before, ...peers.keys()]);
    for (const id of removed ?? []) this.#peers.delete(id);
    this.#peers.delete(this.id);
  }

  peers(): readonly PeerStatus[] {
    return [...this.#peers].map((id) => ({ id, connected: this.#reach(id) !== undefined }));
  }

  send(message: PeerMessage): void {
    if (!this.#peers.has(message.to)) return;
    const peer = this.#reach(message.to);
    if (peer !== undefined) peer.#receive(message);
    else queueMicrotask(() => this.#handlers?.onUnreachable(message.to));
  }

  flush(): void {
    // Delivery takes a turn here, as a network does.
  }

  async call(
    to: NodeId,
    method: string,
    payload: Uint8Array,
    timeoutMs: number,
  ): Promise<Uint8Array> {
    if (this.#handlers === undefined) throw closedError();
    const peer = this.#reach(to);
    if (peer === undefined) {
      throw new QuorateError('ERR_UNAVAILABLE', `there is no connection to node ${to}`, {
        retryable: true,
      });
    }
    const copy = Buffer.from(payload);
    const answer = Promise.resolve().then(() => {
      const handlers = peer.#handlers;
      if (handlers === undefined) throw closedError();
      return handlers.onCall(this.id, method, copy);
    });
    return this.#answered(peer, method, answer, timeoutMs);
  }

  async sendSnapshot(
    message: PeerMessage,
    metadata: SnapshotMetadata,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    if (this.#handlers === undefined) throw closedError();
    const peer = this.#reach(message.to);
    const handlers = peer === undefined ? undefined : peer.#handlers;
    if (peer === undefined || handlers === undefined) {
      throw new QuorateError('ERR_UNAVAILABLE', `there is no connection to node ${message.to}`);
    }
    await handlers.onSnapshot(message, metadata, this.#guarded(peer, chunks));
  }

  async close(): Promise<void> {
    this.#handlers = undefined;
    this.#inbox = [];
    if (this.#shared.nodes.get(this.id) === this) this.#shared.nodes.delete(this.id);
    for (const fail of [...this.#pending]) fail(closedError());
  }

  /** The peer, where a message sent now would arrive. */
  #reach(to: NodeId): MemoryTransport | undefined {
    const { cuts, isolated, nodes } = this.#shared;
    if (this.#handlers === undefined || !this.#peers.has(to)) return undefined;
    if (cuts.has(`${this.id}>${to}`) || isolated.has(this.id) || isolated.has(to)) return undefined;
    const peer = nodes.get(to);
    if (peer === undefined) return undefined;
    return peer.#peers.has(this.id) ? peer : undefined;
  }

  #receive(message: PeerMessage): void {
    this.#inbox.push(message);
    if (this.#inbox.length === 1) setImmediate(() => this.#deliver());
  }

  #deliver(): void {
    const inbox = this.#inbox;
    this.#inbox = [];
    for (const message of inbox) this.#handlers?.onMessage(message);
  }

  /** `answer`, unless time is up, the way back is cut or this side closes first. */
  #answered(
    peer: MemoryTransport,
    method: string,
    answer: Promise<Uint8Array>,
    timeoutMs: number,
  ): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      let cancel: Cancel | undefined;
      const settle = (finish: () => void): void => {
        if (!this.#pending.delete(fail)) return;
        cancel?.();
        finish();
      };
      const fail = (error: Error): void => settle(() => reject(error));
      this.#pending.add(fail);
      cancel = this.#shared.clock.after(timeoutMs, () =>
        fail(
          new QuorateError('ERR_TIMEOUT', `node ${peer.id} did not answer "${method}" in time`, {
            outcome: 'unknown',
            retryable: true,
          }),
        ),
      );
      // A reply that the cut swallows is noticed by the timeout, as on a real network.
      answer.then(
        (payload) => peer.#reach(this.id) && settle(() => resolve(Buffer.from(payload))),
        (error) => peer.#reach(this.id) && settle(() => reject(carriedOver(error))),
      );
    });
  }

  async *#guarded(
    peer: MemoryTransport,
    chunks: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      if (this.#reach(peer.id) === undefined) {
        throw new QuorateError('ERR_UNAVAILABLE', 'the snapshot broke off before its end');
      }
      yield Buffer.from(chunk);
    }
  }
}

function carriedOver(error: unknown): QuorateError {
  if (isQuorateError(error)) return error;
  return new QuorateError('ERR_INTERNAL', `the peer failed: ${String(error)}`, {
    outcome: 'unknown',
  });
}

function closedError(): QuorateError {
  return new QuorateError('ERR_CLOSED', 'the transport is closed');
}
