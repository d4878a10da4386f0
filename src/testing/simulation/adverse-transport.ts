/**
 * Between a node and its transport: shows what is sent, and does to messages what Raft must bear and
 * one TCP connection alone does not do: to be lost without a trace, to come again, to be overtaken
 * (all of which connections that break and are made anew can do). Calls lose their replies.
 */
import type { PeerMessage } from '../../consensus/messages.ts';
import type { PeerStatus, Transport, TransportHandlers } from '../../consensus/transport.ts';
import type { NodeId, SnapshotMetadata } from '../../consensus/types.ts';
import { QuorateError } from '../../core/errors.ts';
import type { Random } from '../../core/random.ts';
import { between, chance } from './draw.ts';
import type { SimulatedProcess } from './process.ts';
import type { World } from './types.ts';

/** What happens to messages: may be changed while it is in use. Rates are chances from 0 to 1. */
export interface MessageWeather {
  lossRate: number;
  duplicateRate: number;
  reorderRate: number;
  /** A message that comes again or is overtaken is at most so late. */
  lateMs: number;
  lostReplyRate: number;
}

export function calmMessages(): MessageWeather {
  return { lossRate: 0, duplicateRate: 0, reorderRate: 0, lateMs: 1000, lostReplyRate: 0 };
}

/** Longer than any process is paused. */
const LONGEST_PAUSE_MS = 20_000;

export interface AdverseTransportOptions {
  readonly world: World;
  readonly process: SimulatedProcess;
  readonly weather: MessageWeather;
  readonly random: Random;
  /**
   * By node: when its disk was last lost or damaged. What it said before does not come late: the
   * connections of that life are closed before it is heard again.
   */
  readonly memoryLosses: ReadonlyMap<NodeId, number>;
  readonly onSend: (message: PeerMessage) => void;
  readonly onReceive: (message: PeerMessage) => void;
}

export class AdverseTransport implements Transport {
  readonly #inner: Transport;
  readonly #options: AdverseTransportOptions;
  #handlers: TransportHandlers | undefined;

  constructor(inner: Transport, options: AdverseTransportOptions) {
    this.#inner = inner;
    this.#options = options;
    this.#handlers = undefined;
  }

  start(handlers: TransportHandlers): Promise<void> {
    this.#handlers = handlers;
    return this.#inner.start({ ...handlers, onMessage: (message) => this.#arrive(message) });
  }

  #arrive(message: PeerMessage): void {
    const { random, weather, world } = this.#options;
    if (chance(random, weather.lossRate)) {
      world.fault('message-lost');
      return;
    }
    if (chance(random, weather.duplicateRate)) {
      world.fault('message-duplicate');
      this.#late(message);
    }
    if (chance(random, weather.reorderRate)) {
      world.fault('message-reorder');
      this.#late(message);
    } else this.#deliver(message);
  }

  #late(message: PeerMessage): void {
    const { process, random, weather, world, memoryLosses } = this.#options;
    const lostAtMs = memoryLosses.get(message.from);
    // Read by a process that was paused it may still be of the life before.
    if (lostAtMs !== undefined && world.nowMs - lostAtMs < LONGEST_PAUSE_MS) return;
    process.after(between(random, 0, weather.lateMs), () => {
      if (memoryLosses.get(message.from) === lostAtMs) this.#deliver(message);
    });
  }

  #deliver(message: PeerMessage): void {
    if (this.#handlers === undefined) return;
    this.#options.onReceive(message);
    this.#handlers.onMessage(message);
  }

  send(message: PeerMessage): void {
    this.#options.onSend(message);
    this.#inner.send(message);
  }

  flush(): void {
    this.#inner.flush();
  }

  async call(
    to: NodeId,
    method: string,
    payload: Uint8Array,
    timeoutMs: number,
  ): Promise<Uint8Array> {
    const reply = await this.#inner.call(to, method, payload, timeoutMs);
    const { random, weather, world } = this.#options;
    if (!chance(random, weather.lostReplyRate)) return reply;
    world.fault('reply-lost');
    throw new QuorateError('ERR_UNAVAILABLE', `the reply of node ${to} was lost`, {
      outcome: 'unknown',
    });
  }

  sendSnapshot(
    message: PeerMessage,
    metadata: SnapshotMetadata,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    return this.#inner.sendSnapshot(message, metadata, chunks);
  }

  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>, removed?: ReadonlySet<NodeId>): void {
    this.#inner.setPeers(peers, removed);
  }

  peers(): readonly PeerStatus[] {
    return this.#inner.peers();
  }

  close(): Promise<void> {
    this.#handlers = undefined;
    return this.#inner.close();
  }
}
