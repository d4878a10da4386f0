/**
 * The transport between nodes on TCP or TLS.
 *
 * To every peer a node opens two connections of its own: *control* for votes, heartbeats, replies,
 * read index and small calls, *bulk* for appends and large calls. A snapshot gets a third one for
 * as long as it lasts. So a heartbeat never queues behind a large frame, and appends not behind a
 * snapshot. Messages of one channel arrive in order; between channels there is no order, which Raft
 * tolerates. All appends, empty ones too, go by bulk: overtaking each other they would look like
 * gaps in the log. Replies to calls come back on the connection of the call.
 */
import { type Cancel, systemClock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import { systemRandom } from '../../core/random.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import type { PeerStatus, Transport, TransportHandlers } from '../transport.ts';
import type { NodeId, SnapshotMetadata } from '../types.ts';
import { Acceptor } from './acceptor.ts';
import { type PeerAddress, parsePeerUrl } from './address.ts';
import { Channel } from './codec.ts';
import { FrameKind, OutFrame } from './frame.ts';
import { Link } from './link.ts';
import {
  DEFAULT_TRANSPORT_SETTINGS,
  readTlsFiles,
  type Swept,
  type TcpTransportOptions,
  type TransportContext,
  type TransportLog,
} from './settings.ts';
import { sendSnapshot } from './snapshot-stream.ts';
import { nodeSockets } from './sockets.ts';

export type { TcpTransportOptions, TlsFiles, TransportLog } from './settings.ts';

/** A kind of warning is repeated only after this long. */
const WARN_AGAIN_MS = 10_000;
/** Kinds of warning remembered; they name addresses, which strangers choose. */
const MAX_WARNING_KINDS = 256;

/** A `Transport` that also tells where it listens. */
export interface TcpTransport extends Transport {
  /** The URLs listened on, with real ports. Empty before `start`. */
  readonly listenUrls: readonly string[];
}

interface Peer {
  readonly id: NodeId;
  readonly key: string;
  readonly control: Link;
  readonly bulk: Link;
  /** `onUnreachable` is due at the end of this turn. */
  unreachable: boolean;
}

/**
 * The transport of one node on TCP, or TLS where the URLs say `https`.
 *
 * @throws `ERR_INVALID_ARGUMENT` for ids or URLs that are none.
 */
export function tcpTransport(options: TcpTransportOptions): TcpTransport {
  return new TcpNode(options);
}

class TcpNode implements TcpTransport {
  readonly #context: TransportContext;
  readonly #addresses: readonly PeerAddress[];
  readonly #acceptor: Acceptor;
  readonly #peers: Map<NodeId, Peer>;
  /** Peers that were named before `start`. */
  #named: ReadonlyMap<NodeId, readonly string[]>;
  /** Whose hello is accepted: from the first moment of listening on. */
  readonly #members: Set<NodeId>;
  #state: 'new' | 'started' | 'closed';
  #cancelSweep: Cancel | undefined;
  #lastSweepMs: number;
  #closing: Promise<void> | undefined;

  constructor(options: TcpTransportOptions) {
    requireId(options.id, 'id');
    requireId(options.clusterId, 'clusterId');
    this.#addresses = options.listenUrls.map(parsePeerUrl);
    this.#peers = new Map();
    this.#members = new Set();
    this.#context = createContext(options, (id) => this.#members.has(id));
    this.#acceptor = new Acceptor(this.#context);
    this.#named = new Map();
    this.#state = 'new';
    this.#cancelSweep = undefined;
    this.#lastSweepMs = 0;
    this.#closing = undefined;
  }

  get listenUrls(): readonly string[] {
    return this.#acceptor.urls;
  }

  async start(handlers: TransportHandlers): Promise<void> {
    if (this.#state !== 'new') throw new QuorateError('ERR_CLOSED', 'start: already started once');
    this.#state = 'started';
    this.#context.handlers = handlers;
    try {
      for (const address of this.#addresses) await this.#acceptor.listen(address);
      this.#connectPeers(this.#named);
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#lastSweepMs = this.#context.clock.now();
    const { clock, settings } = this.#context;
    this.#cancelSweep = clock.every(settings.sweepMs, () => this.#sweep());
  }

  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>): void {
    for (const urls of peers.values()) urls.forEach(parsePeerUrl);
    this.#members.clear();
    for (const id of peers.keys()) this.#members.add(id);
    this.#named = new Map(peers);
    if (this.#state === 'started') this.#connectPeers(this.#named);
  }

  #connectPeers(peers: ReadonlyMap<NodeId, readonly string[]>): void {
    const removed = new QuorateError('ERR_CLOSED', 'the peer was removed or has new addresses');
    for (const [id, peer] of [...this.#peers]) {
      if (peers.get(id)?.join(' ') === peer.key) continue;
      this.#peers.delete(id);
      peer.control.close(removed);
      peer.bulk.close(removed);
    }
    for (const [id, urls] of peers) {
      if (id === this.#context.id || this.#peers.has(id)) continue;
      this.#peers.set(id, this.#connectPeer(id, urls));
    }
    this.#acceptor.dropUnknown();
  }

  send(message: PeerMessage): void {
    const peer = this.#peers.get(message.to);
    if (peer === undefined) return;
    const link = message.type === MessageType.append ? peer.bulk : peer.control;
    const frame = new OutFrame(FrameKind.message, message, undefined, undefined);
    const { maxFrameBytes } = this.#context.settings;
    if (frame.bytes > maxFrameBytes) {
      const text = `dropped a message of ${frame.bytes} bytes to node ${peer.id}: at most ${maxFrameBytes} fit a frame`;
      this.#context.warn(`large ${peer.id}`, text);
    } else if (link.send(frame)) return;
    this.#reportUnreachable(peer);
  }

  flush(): void {
    this.#context.flushAll();
  }

  call(to: NodeId, method: string, payload: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const peer = this.#peers.get(to);
    if (this.#state === 'closed') return Promise.reject(closedError());
    if (peer === undefined) {
      return Promise.reject(new QuorateError('ERR_UNAVAILABLE', `node ${to} is no peer`));
    }
    const { bulkCallBytes, maxFrameBytes } = this.#context.settings;
    if (payload.length > maxFrameBytes - 512) {
      const text = `a call of ${payload.length} bytes is over the limit of a frame`;
      return Promise.reject(new QuorateError('ERR_REQUEST_TOO_LARGE', text));
    }
    const link = payload.length > bulkCallBytes ? peer.bulk : peer.control;
    return link.call(method, payload, timeoutMs);
  }

  async sendSnapshot(
    message: PeerMessage,
    metadata: SnapshotMetadata,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const peer = this.#peers.get(message.to);
    if (this.#state === 'closed') throw closedError();
    if (peer === undefined) {
      throw new QuorateError('ERR_UNAVAILABLE', `node ${message.to} is no peer`);
    }
    await sendSnapshot(this.#context, message.to, peer.control.address, message, metadata, chunks);
  }

  peers(): readonly PeerStatus[] {
    return [...this.#peers.values()].map((peer) => ({
      id: peer.id,
      connected: peer.control.open && peer.bulk.open,
    }));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#state = 'closed';
    this.#cancelSweep?.();
    const reason = closedError();
    for (const peer of this.#peers.values()) {
      peer.control.close(reason);
      peer.bulk.close(reason);
    }
    this.#peers.clear();
    const stopped = this.#acceptor.close();
    for (const connection of [...this.#context.connections]) connection.close(reason);
    await stopped;
  }

  #connectPeer(id: NodeId, urls: readonly string[]): Peer {
    const addresses = urls.map(parsePeerUrl);
    if (addresses.length === 0) {
      throw new QuorateError('ERR_INVALID_ARGUMENT', `node ${id} has no peer URL`);
    }
    const onChange = (open: boolean): void => {
      const current = this.#peers.get(id);
      if (current === undefined || this.#state === 'closed') return;
      if (!open) this.#reportUnreachable(current);
      const other = current.control.open && current.bulk.open;
      if (open && other) this.#context.info(`connected to node ${id} at ${current.key}`);
    };
    return {
      id,
      key: urls.join(' '),
      control: new Link(this.#context, id, Channel.control, addresses, onChange),
      bulk: new Link(this.#context, id, Channel.bulk, addresses, onChange),
      unreachable: false,
    };
  }

  /** Told at the end of the turn, once: the core that is sending must not be called from within. */
  #reportUnreachable(peer: Peer): void {
    if (peer.unreachable) return;
    peer.unreachable = true;
    queueMicrotask(() => {
      peer.unreachable = false;
      if (this.#state === 'started') this.#context.handlers.onUnreachable(peer.id);
    });
  }

  #sweep(): void {
    const { clock, settings, connections } = this.#context;
    const now = clock.now();
    const gapMs = now - this.#lastSweepMs;
    this.#lastSweepMs = now;
    // We were stopped or busy: what arrived meanwhile has not been read yet. It is, until next time.
    if (gapMs > Math.max(settings.deadAfterMs / 4, 4 * settings.sweepMs)) {
      for (const connection of connections) connection.forgive(gapMs);
      return;
    }
    for (const connection of connections) connection.sweep(now);
    for (const peer of this.#peers.values()) {
      peer.control.sweep(now);
      peer.bulk.sweep(now);
    }
  }
}

function createContext(
  options: TcpTransportOptions,
  knows: (peer: NodeId) => boolean,
): TransportContext {
  const clock = options.clock ?? systemClock;
  const random = options.random ?? systemRandom;
  const log = options.log ?? (() => undefined);
  const unflushed: Swept[] = [];
  return {
    id: options.id,
    clusterId: options.clusterId,
    incarnation: random.id63().toString(16).padStart(16, '0'),
    tls: options.tls === undefined ? undefined : readTlsFiles(options.tls),
    clock,
    random,
    settings: { ...DEFAULT_TRANSPORT_SETTINGS, ...options.settings },
    sockets: options.sockets ?? nodeSockets,
    defer: options.defer ?? ((run) => void setImmediate(run)),
    connections: new Set(),
    unflushed,
    flushAll: () => {
      for (let at = 0; at < unflushed.length; at++) unflushed[at]!.flush();
      unflushed.length = 0;
    },
    handlers: NO_HANDLERS,
    warn: limitedWarnings(log, () => clock.now()),
    info: (text) => log('info', text),
    knows,
  };
}

/** Logs a kind of warning at most once in ten seconds, and says how often it was held back. */
function limitedWarnings(log: TransportLog, now: () => number): TransportContext['warn'] {
  const seen = new Map<string, { lastMs: number; heldBack: number }>();
  return (kind, text) => {
    const known = seen.get(kind);
    if (known !== undefined && now() - known.lastMs < WARN_AGAIN_MS) {
      known.heldBack += 1;
      return;
    }
    if (seen.size >= MAX_WARNING_KINDS) seen.clear();
    seen.set(kind, { lastMs: now(), heldBack: 0 });
    const held = known?.heldBack ?? 0;
    log('warn', held === 0 ? text : `${text} (and ${held} times before)`);
  };
}

/** Before `start`: nobody is listened to, so none of these is reached. */
const NO_HANDLERS: TransportHandlers = {
  onMessage: () => undefined,
  onCall: () => Promise.reject(closedError()),
  onSnapshot: () => Promise.reject(closedError()),
  onUnreachable: () => undefined,
};

function closedError(): QuorateError {
  return new QuorateError('ERR_CLOSED', 'the transport is closed');
}

function requireId(id: NodeId, name: string): void {
  if (/^[0-9a-f]{16}$/.test(id)) return;
  throw new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `${name}: ${JSON.stringify(id)} is no id; 16 lower-case hex digits are needed`,
  );
}
