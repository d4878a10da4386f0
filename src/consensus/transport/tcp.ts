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
import type { Cancel } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import type { PeerStatus, Transport, TransportHandlers } from '../transport.ts';
import type { NodeId, SnapshotMetadata } from '../types.ts';
import { isPeerUrl, type PeerAddress, parsePeerUrl } from './address.ts';
import { Channel } from './codec.ts';
import { closedError, createContext } from './context.ts';
import { FrameKind, OutFrame } from './frame.ts';
import { InboundConnections } from './inbound.ts';
import { Link } from './link.ts';
import type { Admission, TcpTransportOptions, TransportContext } from './settings.ts';
import { sendSnapshot } from './snapshot-stream.ts';

export type { TcpTransportOptions, TlsFiles, TransportLog } from './settings.ts';

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
  readonly #inbound: InboundConnections;
  readonly #peers: Map<NodeId, Peer>;
  /** Members and former ones, as far as known here: accepted from the first moment of listening on. */
  readonly #named: Map<NodeId, readonly string[]>;
  /** Where peers say that they are, in so far as that is news. */
  readonly #introduced: Map<NodeId, readonly string[]>;
  /** `undefined`: nobody but those named last is accepted. */
  #removed: ReadonlySet<NodeId> | undefined;
  #toldOfRemoval: boolean;
  #state: 'new' | 'started' | 'closed';
  #cancelSweep: Cancel | undefined;
  #lastSweepMs: number;
  #closing: Promise<void> | undefined;

  constructor(options: TcpTransportOptions) {
    requireId(options.id, 'id');
    requireId(options.clusterId, 'clusterId');
    this.#addresses = options.listenUrls.map(parsePeerUrl);
    this.#peers = new Map();
    this.#named = new Map();
    this.#introduced = new Map();
    this.#removed = undefined;
    this.#toldOfRemoval = false;
    this.#context = createContext(options, {
      admission: (peer, urls) => this.#admission(peer, urls),
      removed: () => this.#tellRemoval(),
    });
    this.#inbound = new InboundConnections(this.#context);
    this.#state = 'new';
    this.#cancelSweep = undefined;
    this.#lastSweepMs = 0;
    this.#closing = undefined;
  }

  get listenUrls(): readonly string[] {
    return this.#inbound.urls;
  }

  async start(handlers: TransportHandlers): Promise<void> {
    if (this.#state !== 'new') throw new QuorateError('ERR_CLOSED', 'start: already started once');
    this.#state = 'started';
    this.#context.handlers = handlers;
    try {
      for (const address of this.#addresses) await this.#inbound.listen(address);
      this.#connectPeers();
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#lastSweepMs = this.#context.clock.now();
    const { clock, settings } = this.#context;
    this.#cancelSweep = clock.every(settings.sweepMs, () => this.#sweep());
  }

  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>, removed?: ReadonlySet<NodeId>): void {
    for (const urls of peers.values()) urls.forEach(parsePeerUrl);
    const isGone = (id: NodeId): boolean => removed === undefined || removed.has(id);
    for (const id of [...this.#named.keys()]) if (isGone(id)) this.#named.delete(id);
    for (const [id, urls] of peers) this.#named.set(id, urls);
    for (const [id, urls] of [...this.#introduced]) {
      const isNews = this.#named.get(id)?.join(' ') !== urls.join(' ');
      if (isGone(id) || !isNews) this.#introduced.delete(id);
    }
    this.#removed = removed;
    if (this.#state === 'started') this.#connectPeers();
  }

  /** A node that is behind does not know who leads now, and where: whoever introduces itself is heard. */
  #admission(peer: NodeId, urls: readonly string[]): Admission {
    const isNamed = this.#named.has(peer);
    if (this.#removed === undefined) return isNamed ? 'accepted' : 'unknown';
    if (this.#removed.has(peer)) return 'removed';
    const known = this.#introduced.get(peer) ?? this.#named.get(peer);
    if (urls.length === 0 || known?.join(' ') === urls.join(' ') || !urls.every(isPeerUrl)) {
      return known === undefined ? 'unknown' : 'accepted';
    }
    const { settings, info } = this.#context;
    if (known === undefined && this.#introduced.size >= settings.maxIntroduced) return 'unknown';
    info(`node ${peer} says that it is at ${urls.join(' ')}; the log here does not say so yet`);
    this.#introduced.set(peer, urls);
    this.#connectPeers();
    return 'accepted';
  }

  #tellRemoval(): void {
    if (this.#toldOfRemoval) return;
    this.#toldOfRemoval = true;
    queueMicrotask(() => {
      if (this.#state === 'started') this.#context.handlers.onRemoved?.();
    });
  }

  #connectPeers(): void {
    const peers = new Map([...this.#named, ...this.#introduced]);
    for (const [id, urls] of this.#introduced) {
      // The one that is right is found by trying.
      peers.set(id, [...new Set([...urls, ...(this.#named.get(id) ?? [])])]);
    }
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
    this.#inbound.dropUnknown();
  }

  send(message: PeerMessage): void {
    const peer = this.#peers.get(message.to);
    if (peer === undefined) return;
    const link = isBulk(message) ? peer.bulk : peer.control;
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
    const stopped = this.#inbound.close();
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

function requireId(id: NodeId, name: string): void {
  if (/^[0-9a-f]{16}$/.test(id)) return;
  throw new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `${name}: ${JSON.stringify(id)} is no id; 16 lower-case hex digits are needed`,
  );
}

/** What may be large, and must not delay a heartbeat. What must stay in order is of one kind. */
function isBulk({ type }: PeerMessage): boolean {
  return type === MessageType.append || type === MessageType.accept || type === MessageType.promise;
}
