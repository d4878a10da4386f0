/**
 * A cluster of whole nodes in virtual time: the real replica, write-ahead log and snapshots, on disks
 * that lose what was not synced and a network that delays, loses and cuts. What a node is, a bare
 * replica with a state machine or a key-value store, the tests say.
 */
import assert from 'node:assert/strict';
import type { PeerMessage } from '../../src/consensus/messages.ts';
import { memberId } from '../../src/consensus/replica/members.ts';
import type { PeerStatus, Transport, TransportHandlers } from '../../src/consensus/transport.ts';
import type { NodeId, SnapshotMetadata } from '../../src/consensus/types.ts';
import type { Clock } from '../../src/core/clock.ts';
import { isQuorateError, QuorateError } from '../../src/core/errors.ts';
import { type Random, seededRandom } from '../../src/core/random.ts';
import { CrashDisk } from '../../src/testing/crash-disk.ts';
import { type MemoryNetwork, memoryNetwork } from '../../src/testing/memory-network.ts';
import type { CoreUnderTest } from './cores.ts';
import { MillisecondClock } from './millisecond-clock.ts';

/** What a node is opened with. */
export interface NodePlan {
  readonly name: string;
  readonly peers: Readonly<Record<string, string>>;
  readonly dataDir: string;
  readonly surroundings: {
    readonly segmentBytes: number;
    readonly clock: Clock;
    readonly random: Random;
    readonly disk: CrashDisk;
    readonly transport: Transport;
  };
  readonly heartbeatMs: number;
  readonly electionMs: number;
  readonly requestTimeoutMs: number;
}

/** What the cluster must know of a node. */
export interface Running {
  status(): { readonly role: string; readonly term: number };
  close(): Promise<void>;
}

export interface NodeClusterOptions {
  readonly seed: number;
  readonly nodes: number;
  /** One message in ten is lost, the others take up to 20 ms. @defaultValue `false` */
  readonly unreliable?: boolean;
}

/** One place in the cluster: a disk, and the node that runs on it. */
export class NodeSeat<Node extends Running> {
  readonly name: string;
  readonly id: NodeId;
  disk = new CrashDisk();
  node: Node | undefined;
  transport: Transport | undefined;
  connected = true;

  constructor(name: string, id: NodeId) {
    this.name = name;
    this.id = id;
  }
}

export class NodeCluster<Node extends Running> {
  readonly clock = new MillisecondClock();
  readonly random: Random;
  readonly network: MemoryNetwork;
  readonly seats: readonly NodeSeat<Node>[];
  unreliable: boolean;
  readonly #core: CoreUnderTest;
  readonly #options: NodeClusterOptions;
  readonly #peers: Readonly<Record<string, string>>;
  readonly #open: (plan: NodePlan) => Promise<Node>;
  /** Nodes that crashed, until they have noticed. */
  readonly #dying = new Set<Promise<void>>();

  constructor(
    core: CoreUnderTest,
    options: NodeClusterOptions,
    open: (plan: NodePlan) => Promise<Node>,
  ) {
    this.#core = core;
    this.#options = options;
    this.#open = open;
    this.random = seededRandom(options.seed);
    this.unreliable = options.unreliable ?? false;
    this.network = memoryNetwork({ clock: this.clock });
    const names = Array.from({ length: options.nodes }, (_, at) => `n${at + 1}`);
    this.#peers = Object.fromEntries(names.map((name) => [name, `http://${name}:2380`]));
    this.seats = names.map(
      (name) => new NodeSeat<Node>(name, memberId([this.#peers[name]!], 'etcd-cluster')),
    );
  }

  seat(at: number): NodeSeat<Node> {
    return this.seats[at % this.seats.length]!;
  }

  get running(): NodeSeat<Node>[] {
    return this.seats.filter(({ node }) => node !== undefined);
  }

  // Life and death

  async start(...seats: readonly NodeSeat<Node>[]): Promise<void> {
    const opening = seats.map(async (seat) => {
      assert.equal(seat.node, undefined);
      const inner = this.network.transport(seat.id);
      seat.transport = new UnreliableTransport(inner, this);
      const node = await this.#open({
        name: seat.name,
        peers: this.#peers,
        dataDir: '/data',
        surroundings: {
          segmentBytes: 16 * 1024,
          clock: this.clock,
          random: this.random,
          disk: seat.disk,
          transport: seat.transport,
        },
        heartbeatMs: 10,
        electionMs: 100,
        requestTimeoutMs: 1000,
      });
      seat.node = node;
    });
    await this.during(Promise.all(opening));
  }

  /** Power is cut: memory is gone, and what was not synced may be. */
  crash(...seats: readonly NodeSeat<Node>[]): void {
    for (const seat of seats) {
      const { node, disk, transport } = seat;
      if (node === undefined) continue;
      disk.operationLimit = disk.operations;
      seat.disk = disk.afterCrash(this.random);
      seat.node = undefined;
      void transport!.close();
      const dying = node
        .close()
        .catch(() => undefined)
        .then(() => void this.#dying.delete(dying));
      this.#dying.add(dying);
    }
  }

  async restart(...seats: readonly NodeSeat<Node>[]): Promise<void> {
    this.crash(...seats);
    await this.start(...seats);
  }

  disconnect(...seats: readonly NodeSeat<Node>[]): void {
    for (const seat of seats) {
      seat.connected = false;
      this.network.isolate(seat.id);
    }
  }

  connect(...seats: readonly NodeSeat<Node>[]): void {
    for (const seat of seats) {
      seat.connected = true;
      this.network.rejoin(seat.id);
    }
  }

  /** Only nodes of one part reach each other. */
  partition(...parts: readonly (readonly NodeSeat<Node>[])[]): void {
    for (const from of this.seats) {
      for (const to of this.seats) {
        const together = parts.some((part) => part.includes(from) && part.includes(to));
        if (together) this.network.restore(from.id, to.id);
        else this.network.cut(from.id, to.id);
      }
    }
  }

  // Time

  wait(ms: number): Promise<void> {
    return this.clock.advance(ms);
  }

  /** Lets time pass until `promise` settles, and answers with it. */
  async during<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const end = (): void => {
      settled = true;
    };
    promise.then(end, end);
    const deadlineMs = this.clock.now() + 60_000;
    while (!settled) {
      assert.ok(this.clock.now() < deadlineMs, `${this}: nothing waits for more than a minute`);
      await this.clock.advance(1);
    }
    return promise;
  }

  async until(what: string, holds: () => boolean, timeoutMs = 10_000): Promise<void> {
    const deadlineMs = this.clock.now() + timeoutMs;
    while (!holds()) {
      assert.ok(this.clock.now() < deadlineMs, `${this}: not within ${timeoutMs} ms: ${what}`);
      await this.clock.advance(5);
    }
  }

  /** The leader of the newest term among the connected. */
  async leader(): Promise<NodeSeat<Node>> {
    const leaders = (): NodeSeat<Node>[] =>
      this.seats
        .filter(({ node, connected }) => connected && node?.status().role === 'leader')
        .sort((a, b) => b.node!.status().term - a.node!.status().term);
    await this.until('a leader', () => leaders().length > 0);
    return leaders()[0]!;
  }

  /** Everything ends: no node, no timer is left. */
  async close(): Promise<void> {
    const nodes = this.seats.flatMap(({ node }) => (node === undefined ? [] : [node]));
    await this.during(Promise.all(nodes.map((node) => node.close())));
    await this.during(Promise.all(this.#dying));
    await this.clock.advance(5000);
    assert.equal(this.clock.pending, 0, `${this}: no timer is left`);
  }

  toString(): string {
    return `${this.#core.consensus}, seed ${this.#options.seed}, ${this.clock.now()} ms`;
  }

  /** How long what is sent now takes; `undefined`: it is lost. */
  delayMs(): number | undefined {
    if (!this.unreliable) return 1;
    if (this.random.below(10) === 0) return undefined;
    return 1 + this.random.below(20);
  }
}

interface Weather {
  readonly clock: Clock;
  delayMs(): number | undefined;
}

/** Delays what arrives, keeping the order of each sender, and loses some of it. */
class UnreliableTransport implements Transport {
  readonly #inner: Transport;
  readonly #weather: Weather;
  readonly #dueMs = new Map<NodeId, number>();
  #handlers: TransportHandlers | undefined;

  constructor(inner: Transport, weather: Weather) {
    this.#inner = inner;
    this.#weather = weather;
  }

  start(handlers: TransportHandlers): Promise<void> {
    this.#handlers = handlers;
    return this.#inner.start({
      onMessage: (message) => this.#arrive(message),
      onCall: async (from, method, payload) => {
        await this.#pass('not-applied');
        const reply = await handlers.onCall(from, method, payload);
        await this.#pass('unknown');
        return reply;
      },
      onSnapshot: async (message, metadata, chunks) => {
        await this.#pass('not-applied');
        await handlers.onSnapshot(message, metadata, chunks);
      },
      onUnreachable: (peer) => handlers.onUnreachable(peer),
    });
  }

  #arrive(message: PeerMessage): void {
    const delayMs = this.#weather.delayMs();
    if (delayMs === undefined) return;
    const { clock } = this.#weather;
    const dueMs = Math.max(this.#dueMs.get(message.from) ?? 0, clock.now() + delayMs);
    this.#dueMs.set(message.from, dueMs);
    clock.after(dueMs - clock.now(), () => this.#handlers?.onMessage(message));
  }

  async #pass(outcome: 'not-applied' | 'unknown'): Promise<void> {
    const delayMs = this.#weather.delayMs();
    await new Promise<void>((resolve) => this.#weather.clock.after(delayMs ?? 30, resolve));
    if (delayMs !== undefined && this.#handlers !== undefined) return;
    throw new QuorateError('ERR_UNAVAILABLE', 'the connection broke', { outcome, retryable: true });
  }

  send(message: PeerMessage): void {
    this.#inner.send(message);
  }

  flush(): void {
    this.#inner.flush();
  }

  call(to: NodeId, method: string, payload: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    return this.#inner.call(to, method, payload, timeoutMs);
  }

  sendSnapshot(
    message: PeerMessage,
    metadata: SnapshotMetadata,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    return this.#inner.sendSnapshot(message, metadata, chunks);
  }

  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>): void {
    this.#inner.setPeers(peers);
  }

  peers(): readonly PeerStatus[] {
    return this.#inner.peers();
  }

  close(): Promise<void> {
    this.#handlers = undefined;
    return this.#inner.close();
  }
}

/** What an operation that failed has done: nothing, or nobody knows. Any other error is a fault of ours. */
export function outcomeOf(error: unknown): 'not-applied' | 'unknown' {
  if (isQuorateError(error)) return error.outcome;
  throw error;
}
