/**
 * One HTTP/2 connection to one endpoint, from dialling to its end: it tells when the peer has shown
 * that it speaks HTTP/2, notices a dead link by pings, and knows of each stream whether the server
 * can have seen it.
 *
 * Pings obey etcd's enforcement policy (gRFC A8): only with open streams, at least 5 s apart.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import type { Clock } from '../../core/clock.ts';
import { closedEarly } from './connect-errors.ts';
import type { Target } from './options.ts';

/** What the owner of a connection is told; `ended` comes exactly once. */
export interface SessionEvents {
  /** The peer's first SETTINGS arrived: calls may be sent. */
  ready(): void;
  /** The peer takes no new calls; those it has go on. */
  draining(): void;
  ended(cause: Error): void;
}

export interface SessionSettings {
  readonly connectTimeoutMs: number;
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
  readonly clock: Clock;
}

/** Large windows: an answer of some MiB must not wait for a round trip every 64 KiB. */
const STREAM_WINDOW_BYTES = 1024 * 1024;
const CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024;
/** In MB. Node's 10 refuses streams that a busy client needs; answers have their own bound. */
const SESSION_MEMORY_MB = 1024;
/** etcd's `MinTime` between pings. */
const SHORTEST_PING_INTERVAL_MS = 5_000;
/** `last-stream-id` of a peer that has sent no GOAWAY. */
const ALL_STREAMS = 0x7fffffff;

export class GrpcSession {
  readonly target: Target;
  state: 'connecting' | 'ready' | 'draining' | 'ended';
  /** Streams that are open now. */
  streams: number;
  /** When the peer last sent anything, by the clock. */
  lastHeardAt: number;
  /** A call waits and nothing at all is heard: others are preferred until this one speaks. */
  suspect: boolean;
  /** Whether the peer complained of too many pings. */
  pingedTooOften: boolean;
  /** Whether it has answered a call: many a proxy takes connections for a server that is gone. */
  hasServed: boolean;
  readonly #settings: SessionSettings;
  readonly #events: SessionEvents;
  readonly #startedAt: number;
  readonly #socket: Socket;
  readonly #session: ClientHttp2Session;
  #cause: Error | undefined;
  /** When a ping was last sent, or the first stream of a row opened: pings keep apart from both. */
  #pingedAt: number;
  #pinging: boolean;
  #probedAt: number;
  #lastStreamId: number;

  constructor(target: Target, settings: SessionSettings, events: SessionEvents) {
    this.target = target;
    this.state = 'connecting';
    this.streams = 0;
    this.#settings = settings;
    this.#events = events;
    this.#startedAt = settings.clock.now();
    this.lastHeardAt = this.#startedAt;
    this.suspect = false;
    this.pingedTooOften = false;
    this.hasServed = false;
    this.#cause = undefined;
    this.#pingedAt = this.#startedAt;
    this.#pinging = false;
    this.#probedAt = Number.NEGATIVE_INFINITY;
    this.#lastStreamId = ALL_STREAMS;
    const socket = dial(target);
    this.#socket = socket;
    this.#session = connect(authority(target), {
      createConnection: () => socket,
      maxSessionMemory: SESSION_MEMORY_MB,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES },
    });
    this.#listen();
  }

  #listen(): void {
    const session = this.#session;
    session.unref();
    session.on('connect', () => session.setLocalWindowSize(CONNECTION_WINDOW_BYTES));
    session.on('remoteSettings', () => {
      this.heard();
      if (this.state !== 'connecting') return;
      this.state = 'ready';
      this.#events.ready();
    });
    session.on('goaway', (code, lastStreamId, data) => this.#goaway(code, lastStreamId, data));
    // Without a listener an error of the socket would end the process.
    session.on('error', (error) => this.#failed(error));
    // Not every end of a socket reaches the session by itself: a TLS alert may not.
    this.#socket.on('error', (error) => this.destroy(error));
    this.#socket.on('close', () => session.destroy());
    session.on('close', () => {
      if (this.state === 'ended') return;
      if (this.state === 'connecting') this.#failed(closedEarly(this.target.tls !== undefined));
      this.state = 'ended';
      this.#events.ended(this.#cause ?? new Error('connection closed by the server'));
    });
  }

  #failed(error: Error): void {
    this.#cause ??= error;
  }

  #goaway(code: number, lastStreamId: number, data: Buffer | undefined): void {
    this.heard();
    this.#lastStreamId = Math.min(this.#lastStreamId, lastStreamId);
    const text = data === undefined ? '' : ` (${Buffer.from(data.subarray(0, 100)).latin1Slice()})`;
    this.#failed(new Error(`the server is closing the connection: GOAWAY ${code}${text}`));
    if (code === constants.NGHTTP2_ENHANCE_YOUR_CALM) this.pingedTooOften = true;
    if (this.state === 'ready') {
      this.state = 'draining';
      this.#events.draining();
    }
  }

  /** Notes a sign of life. */
  heard(): void {
    this.lastHeardAt = this.#settings.clock.now();
    this.suspect = false;
  }

  /** Notes the beginning of an answer. */
  served(): void {
    this.hasServed = true;
    this.heard();
  }

  /** Opens a stream, or returns `undefined` where nothing can be sent any more. */
  open(headers: OutgoingHttpHeaders): ClientHttp2Stream | undefined {
    if (this.state !== 'ready' || this.#session.destroyed || this.#session.closed) return undefined;
    let stream: ClientHttp2Stream;
    try {
      stream = this.#session.request(headers);
    } catch (error) {
      // Stream ids are used up, or the socket went in this very turn.
      this.#failed(error as Error);
      this.#session.close();
      return undefined;
    }
    if (this.streams++ === 0) this.#pingedAt = this.#settings.clock.now();
    stream.on('close', () => this.streams--);
    return stream;
  }

  /** Whether the server can have acted on `stream`, which ended without a status. */
  canHaveSeen(stream: ClientHttp2Stream): boolean {
    if (stream.rstCode === constants.NGHTTP2_REFUSED_STREAM) return false;
    return stream.id !== undefined && stream.id <= this.#lastStreamId;
  }

  /** Why the connection ended or is about to; for messages. */
  get cause(): Error | undefined {
    return this.#cause;
  }

  /** Ends the attempt to connect, or a silent connection, when its time is over; pings when due. */
  check(now: number): void {
    if (this.state === 'connecting') {
      const { connectTimeoutMs } = this.#settings;
      if (now - this.#startedAt < connectTimeoutMs) return;
      this.destroy(new Error(`no HTTP/2 server answered within ${connectTimeoutMs} ms`));
    } else if (this.#pinging) {
      const { keepaliveTimeoutMs } = this.#settings;
      if (this.lastHeardAt > this.#pingedAt) this.#pinging = false;
      else if (now - this.#pingedAt >= keepaliveTimeoutMs) {
        this.destroy(
          new Error(`connection dead: a ping stayed unanswered ${keepaliveTimeoutMs} ms`),
        );
      }
    } else if (this.streams > 0) {
      const since = Math.max(this.lastHeardAt, this.#pingedAt);
      if (now - since >= this.#settings.keepaliveMs) this.#ping(now);
    }
  }

  /**
   * Nothing is heard while a call waits: asks the peer whether it lives, at most as often as it
   * tolerates. Until it answers it is suspect; a peer that answered lately is only slow.
   */
  probe(now: number): void {
    if (this.state !== 'ready' || now - this.#probedAt < SHORTEST_PING_INTERVAL_MS) return;
    this.suspect = true;
    this.#ping(now);
  }

  #ping(now: number): void {
    if (this.#session.destroyed) return;
    this.#pinging = true;
    this.#pingedAt = now;
    this.#probedAt = now;
    this.#session.ping((error) => {
      if (error === null) this.heard();
    });
  }

  /** Ends it at once, with all its streams. */
  destroy(cause: Error): void {
    this.#failed(cause);
    this.#session.destroy();
    this.#socket.destroy();
  }
}

function dial(target: Target): Socket {
  const { host, port, tls } = target;
  if (tls === undefined) return connectTcp({ host, port, noDelay: true });
  const servername = tls.serverName ?? (isIP(host) === 0 ? host : undefined);
  const options: ConnectionOptions = { host, port, ALPNProtocols: ['h2'] };
  if (servername !== undefined) options.servername = servername;
  if (tls.ca !== undefined) options.ca = tls.ca;
  if (tls.cert !== undefined) options.cert = tls.cert;
  if (tls.key !== undefined) options.key = tls.key;
  if (tls.insecureSkipVerify === true) options.rejectUnauthorized = false;
  return connectTls(options).setNoDelay(true);
}

function authority(target: Target): string {
  return `${target.tls === undefined ? 'http' : 'https'}://${target.name}`;
}
