/** Listens for peers, checks who they say they are, and takes what they send. */
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import type { PeerAddress } from './address.ts';
import {
  Channel,
  carriesEntries,
  decodeCall,
  decodeHello,
  encodeCallId,
  encodeError,
  encodeWelcome,
  type Hello,
  PROTOCOL_VERSION,
  REMOVED,
  readMessage,
} from './codec.ts';
import { Connection } from './connection.ts';
import { FrameKind, OutFrame } from './frame.ts';
import type { TransportContext } from './settings.ts';
import { SnapshotReceiver } from './snapshot-stream.ts';
import type { PeerListener, PeerSocket } from './sockets.ts';

/** A connection that a peer opened to us. */
class Inbound {
  readonly connection: Connection;
  readonly #all: InboundConnections;
  readonly #context: TransportContext;
  #hello: Hello | undefined;
  #snapshot: SnapshotReceiver | undefined;
  #callsUnderWay: number;

  constructor(all: InboundConnections, context: TransportContext, socket: PeerSocket) {
    const remote = `${socket.remoteAddress ?? 'unknown address'}:${socket.remotePort ?? 0}`;
    this.#all = all;
    this.#context = context;
    this.#hello = undefined;
    this.#snapshot = undefined;
    this.#callsUnderWay = 0;
    this.connection = new Connection(context, socket, remote, {
      onFrame: (content, owned) => this.#take(content, owned),
      onClose: (reason) => this.#closed(reason, socket.remoteAddress ?? 'unknown address'),
    });
  }

  get hello(): Hello | undefined {
    return this.#hello;
  }

  #take(content: Buffer, owned: boolean): void {
    const kind = content[0];
    if (this.#hello === undefined) this.#greet(content);
    else if (this.#snapshot !== undefined) this.#snapshot.take(content, owned);
    else if (kind === FrameKind.message) {
      // Entries live on in the log and would keep the whole read buffer: one copy for the frame.
      const kept = owned || !carriesEntries(content, 1) ? content : Buffer.from(content);
      const message = readMessage(kept, 1, this.#hello.from, this.#context.id);
      this.#context.handlers.onMessage(message);
    } else if (kind === FrameKind.call) this.#takeCall(content, owned);
    else throw new QuorateError('ERR_PROTOCOL', `a frame of unknown kind ${kind}`);
  }

  #greet(content: Buffer): void {
    if (content[0] === FrameKind.askMembers) {
      this.#tellMembers();
      return;
    }
    if (content[0] !== FrameKind.hello) {
      throw new QuorateError('ERR_PROTOCOL', 'the first frame is no hello');
    }
    const hello = decodeHello(content, 1);
    const refused = this.#all.refusal(hello);
    const version = Math.min(PROTOCOL_VERSION.newest, hello.newestVersion);
    const { id, clusterId } = this.#context;
    const welcome = encodeWelcome({ version, clusterId, nodeId: id, refused });
    const frame = new OutFrame(FrameKind.welcome, undefined, welcome, undefined);
    if (refused !== '') {
      const text = `refused node ${hello.from} at ${this.connection.remote}: ${refused}`;
      this.#context.warn(`refused ${hello.from}`, text);
      this.connection.sendLast(frame, new QuorateError('ERR_PROTOCOL', text));
      return;
    }
    this.#hello = hello;
    const { deadAfterMs, snapshotStallMs } = this.#context.settings;
    const isSnapshot = hello.channel === Channel.snapshot;
    this.connection.greet(isSnapshot ? snapshotStallMs : deadAfterMs);
    if (isSnapshot) {
      this.#snapshot = new SnapshotReceiver(this.#context, hello.from, this.connection);
    }
    this.#all.greeted(this);
    this.connection.send(frame);
  }

  /** To one that is no peer yet: it gets this answer and nothing else. */
  #tellMembers(): void {
    const members = this.#context.describeCluster?.();
    if (members === undefined) {
      throw new QuorateError('ERR_PROTOCOL', 'it asks for members, which nobody here can tell');
    }
    const frame = new OutFrame(FrameKind.members, undefined, undefined, members);
    this.connection.sendLast(frame, new QuorateError('ERR_CLOSED', 'the members were told'));
  }

  #takeCall(content: Buffer, owned: boolean): void {
    // The handler keeps the payload while it works; the read buffer is not ours to lend.
    const { callId, method, payload } = decodeCall(owned ? content : Buffer.from(content), 1);
    if (this.#callsUnderWay >= this.#context.settings.maxCallsUnderWay) {
      const busy = new QuorateError('ERR_BUSY', `node ${this.#context.id} has too many calls`, {
        retryable: true,
      });
      this.#reply(FrameKind.callError, callId, encodeError(busy));
      return;
    }
    this.#callsUnderWay += 1;
    void this.#serve(callId, method, payload);
  }

  async #serve(callId: number, method: string, payload: Buffer): Promise<void> {
    const from = this.#hello!.from;
    try {
      const result = await this.#context.handlers.onCall(from, method, payload);
      this.#reply(FrameKind.reply, callId, result);
    } catch (error) {
      this.#reply(FrameKind.callError, callId, encodeError(error));
    } finally {
      this.#callsUnderWay -= 1;
    }
  }

  #reply(kind: FrameKind, callId: number, body: Uint8Array): void {
    let frame = new OutFrame(kind, undefined, encodeCallId(callId), body);
    if (frame.bytes > this.#context.settings.maxFrameBytes) {
      const error = new QuorateError(
        'ERR_REQUEST_TOO_LARGE',
        `the reply of ${body.length} bytes is over the limit of a frame`,
        { outcome: 'unknown' },
      );
      const text = encodeError(error);
      frame = new OutFrame(FrameKind.callError, undefined, encodeCallId(callId), text);
    }
    if (this.connection.send(frame) || this.connection.closed) return;
    // A caller that does not read its replies: it will see its calls as unknown.
    this.connection.close(
      new QuorateError('ERR_UNAVAILABLE', `${this.connection.remote} does not read its replies`),
    );
  }

  #closed(reason: Error, host: string): void {
    this.#snapshot?.broken(reason);
    this.#all.gone(this);
    if (isQuorateError(reason, 'ERR_PROTOCOL') && !reason.message.startsWith('refused')) {
      const who = this.#hello === undefined ? host : `node ${this.#hello.from} at ${host}`;
      this.#context.warn(
        `protocol ${who}`,
        `closed a connection from ${this.connection.remote} (${who}): ${reason.message}`,
      );
    }
  }
}

export class InboundConnections {
  readonly #context: TransportContext;
  readonly #listeners: PeerListener[];
  readonly #urls: string[];
  /** Connections whose hello was taken, by peer and channel: one each. */
  readonly #peers: Map<string, Inbound>;
  /** Connections without a hello yet, oldest first. */
  readonly #strangers: Set<Inbound>;
  #closed: boolean;

  constructor(context: TransportContext) {
    this.#context = context;
    this.#listeners = [];
    this.#urls = [];
    this.#peers = new Map();
    this.#strangers = new Set();
    this.#closed = false;
  }

  /** Where it listens, with the ports that were given for port 0. */
  get urls(): readonly string[] {
    return this.#urls;
  }

  async listen(address: PeerAddress): Promise<void> {
    const { sockets, tls, settings } = this.#context;
    if (address.secure && tls === undefined) {
      throw new QuorateError(
        'ERR_INVALID_ARGUMENT',
        `listening on ${address.url} needs a certificate and a key for peers`,
      );
    }
    let listener: PeerListener;
    try {
      listener = await sockets.listen(address, {
        tls,
        handshakeTimeoutMs: settings.handshakeTimeoutMs,
        // Bounds those in the TLS handshake too, which are not known here yet.
        maxConnections: settings.maxStrangers * 4,
        onSocket: (socket) => this.#accept(socket),
        onWarning: (kind, text) => this.#context.warn(kind, text),
      });
    } catch (error) {
      throw listenError(address, error as NodeJS.ErrnoException);
    }
    if (this.#closed) {
      await listener.close();
      throw new QuorateError('ERR_CLOSED', 'the transport was closed while it started');
    }
    this.#listeners.push(listener);
    const host = address.host.includes(':') ? `[${address.host}]` : address.host;
    this.#urls.push(`${address.secure ? 'https' : 'http'}://${host}:${listener.port}`);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#listeners.map((listener) => listener.close()));
  }

  /** Why `hello` cannot be accepted; empty where it can. */
  refusal(hello: Hello): string {
    const { id, clusterId, consensus, leases } = this.#context;
    const { oldest, newest } = PROTOCOL_VERSION;
    if (hello.oldestVersion > newest || hello.newestVersion < oldest) {
      return `protocol versions ${hello.oldestVersion} to ${hello.newestVersion} do not meet ours, ${oldest} to ${newest}`;
    }
    if (hello.clusterId !== clusterId) {
      return (
        `it belongs to cluster ${hello.clusterId}, this node to ${clusterId}; to join another cluster a node needs ` +
        'an empty folder and join (--initial-cluster-state existing)'
      );
    }
    const theirs = hello.consensus ?? 'raft';
    if (theirs !== consensus) {
      return `it runs ${theirs}, this node ${consensus}; start all nodes of a cluster with the same consensus`;
    }
    if ((hello.leases ?? '') !== leases) {
      return `it has ${hello.leases || 'no lease reads'}, this node ${leases || 'none'}; give all nodes the same lease reads and election timeout`;
    }
    if (hello.to !== id) return `it looks for node ${hello.to}, this is ${id}`;
    if (hello.from === id) return 'it has the same node id as this node';
    switch (this.#context.admission(hello.from, hello.urls)) {
      case 'removed':
        return REMOVED;
      case 'unknown':
        return `node ${hello.from} is no member as far as known here`;
      default:
        return '';
    }
  }

  /** A peer was recognised: connections it had before, or of an earlier life of it, are void. */
  greeted(inbound: Inbound): void {
    this.#strangers.delete(inbound);
    const { from, channel, incarnation } = inbound.hello!;
    const replaced = new QuorateError('ERR_UNAVAILABLE', `node ${from} has connected anew`);
    for (const old of [...this.#peers.values()]) {
      const hello = old.hello!;
      if (hello.from !== from) continue;
      if (hello.channel === channel || hello.incarnation !== incarnation) {
        old.connection.close(replaced);
      }
    }
    this.#peers.set(`${from}/${channel}`, inbound);
  }

  gone(inbound: Inbound): void {
    this.#strangers.delete(inbound);
    const hello = inbound.hello;
    if (hello === undefined) return;
    const key = `${hello.from}/${hello.channel}`;
    if (this.#peers.get(key) === inbound) this.#peers.delete(key);
  }

  /** Closes what peers that are no longer members have open. */
  dropUnknown(): void {
    for (const inbound of [...this.#peers.values()]) {
      const from = inbound.hello!.from;
      const admission = this.#context.admission(from, []);
      if (admission === 'accepted') continue;
      inbound.connection.close(new QuorateError('ERR_CLOSED', `node ${from} was removed`));
    }
  }

  #accept(socket: PeerSocket): void {
    if (this.#closed) {
      // Its TLS handshake ended behind the end of ours: the peer would keep it alive, and close would wait for ever.
      socket.destroy();
      return;
    }
    const inbound = new Inbound(this, this.#context, socket);
    this.#strangers.add(inbound);
    if (this.#strangers.size <= this.#context.settings.maxStrangers) return;
    const [oldest] = this.#strangers;
    oldest!.connection.close(
      new QuorateError('ERR_BUSY', 'too many connections that said no hello'),
    );
  }
}

function listenError(address: PeerAddress, error: NodeJS.ErrnoException): QuorateError {
  if (error.code === 'EADDRINUSE') {
    return new QuorateError(
      'ERR_ADDRESS_IN_USE',
      `${address.url} is taken by another process; stop it or choose another peer port`,
      { cause: error },
    );
  }
  return new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `cannot listen on ${address.url}: ${error.message}`,
    { cause: error },
  );
}
