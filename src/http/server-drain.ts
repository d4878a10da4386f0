/**
 * Takes a server of Node out of service without failing a request.
 *
 * HTTP/1.1 has a race that no server can win alone: a client may send the next request on a kept connection at the moment when
 * the server closes it (RFC 9112, 9.3.1). `server.close()` of Node closes idle connections at once and so runs into it under
 * load. Here a connection goes in one of two ways: its client was told `Connection: close` with a response, or nothing came on it for as
 * long as clients keep idle connections anyway. Until then what comes on it is served.
 *
 * What it relies on are events and methods that Node documents, so it fits all that runs on a server of Node.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type {
  Http2SecureServer,
  Http2Server,
  IncomingHttpHeaders,
  ServerHttp2Session,
  ServerHttp2Stream,
} from 'node:http2';
import { Server, type Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import type { Cancel, Clock } from '../core/clock.ts';
import { Http1Connection, Http2Connection, type ServedConnection } from './served-connection.ts';

/** How often connections are looked at while the server drains. */
const LOOK_MS = 100;
/** How long clients keep an idle connection, where the server does not tell them less. */
const DEFAULT_IDLE_MS = 5_000;
const MOST_NAMED = 10;

export interface ServerDrainReport {
  /** Requests that were in progress, or came, since the listener was closed, and have been answered. */
  readonly finished: number;
  readonly abandoned: number;
  /** Of those: method and path, ten at most. */
  readonly names: readonly string[];
}

export class ServerDrain {
  readonly #server: Server;
  readonly #clock: Clock;
  readonly #idleMs: number;
  readonly #sockets: Map<Socket, Http1Connection>;
  readonly #sessions: Map<ServerHttp2Session, Http2Connection>;
  readonly #removers: Cancel[];
  readonly #onResponseClose: (this: ServerResponse) => void;
  readonly #onListening: () => void;
  /** Connections that were quiet for long enough at the last look. */
  readonly #quiet: Set<ServedConnection>;
  #isDraining: boolean;
  #isStopped: boolean;
  #finished: number;
  #onEmpty: (() => void) | undefined;

  constructor(server: Server, clock: Clock, idleMs: number | undefined) {
    this.#server = server;
    this.#clock = clock;
    const { keepAliveTimeout } = server as { keepAliveTimeout?: number };
    this.#idleMs = idleMs ?? Math.min(keepAliveTimeout || DEFAULT_IDLE_MS, DEFAULT_IDLE_MS);
    this.#sockets = new Map();
    this.#sessions = new Map();
    this.#removers = [];
    const ended = (response: ServerResponse): void => this.#endRequest(response);
    // One function for all requests: Node calls it with the response as `this`.
    this.#onResponseClose = function (this: ServerResponse): void {
      ended(this);
    };
    this.#onListening = () => void Server.prototype.close.call(server);
    this.#quiet = new Set();
    this.#isDraining = false;
    this.#isStopped = false;
    this.#finished = 0;
    this.#onEmpty = undefined;
    this.#listen();
  }

  /** Where it listens, for reports. */
  get name(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') return address ?? 'not listening';
    const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
    return `${host}:${address.port}`;
  }

  /** From now on every client that asks something is told to go elsewhere. New connections are still taken. */
  begin(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    const nowMs = this.#clock.now();
    for (const connection of this.#connections()) {
      connection.wasUsed();
      connection.usedAtMs = nowMs;
      connection.sendAway();
    }
    this.#removers.push(this.#clock.every(LOOK_MS, () => this.#look()));
  }

  /**
   * Takes no more connections, until it is let go of. Those that there are are not touched, as `server.close()` of `node:http`
   * would.
   */
  stop(): void {
    if (this.#server.listening) this.#onListening();
    // A process that is told to end while it starts may come to `listen` only now.
    this.#server.on('listening', this.#onListening);
    this.#isStopped = true;
  }

  /** Waits for the last connection to go; when `cut` is aborted the others are cut. */
  async finish(cut: AbortSignal): Promise<ServerDrainReport> {
    const isEmpty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    const onCut = (): void => this.#onEmpty!();
    if (cut.aborted) onCut();
    else cut.addEventListener('abort', onCut, { once: true });
    this.#look();
    this.#endIfEmpty();
    await isEmpty;
    cut.removeEventListener('abort', onCut);
    const finished = this.#finished;
    const names = this.#connections().flatMap((connection) => connection.requests());
    for (const connection of this.#connections()) connection.destroy();
    this.#unlisten();
    return { finished, abandoned: names.length, names: names.slice(0, MOST_NAMED) };
  }

  /** Lets go of the server. */
  release(): void {
    this.#server.removeListener('listening', this.#onListening);
    this.#unlisten();
  }

  #unlisten(): void {
    for (const remove of this.#removers.splice(0)) remove();
  }

  #connections(): ServedConnection[] {
    return [...this.#sockets.values(), ...this.#sessions.values()];
  }

  #listen(): void {
    const server = this.#server;
    const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
      // A request of HTTP/2 was counted as a stream.
      if (request.httpVersionMajor < 2) this.#beginRequest(request.socket, response);
    };
    if (isHttp2(server)) {
      this.#on('session', (session: ServerHttp2Session) => this.#sessionOf(session));
      this.#on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
        this.#beginStream(stream, headers);
      });
      // HTTP/1 on the same port.
      this.#onIfUsed('request', onRequest);
      return;
    }
    const isTls = server instanceof TlsServer;
    this.#on(isTls ? 'secureConnection' : 'connection', (socket: Socket) => this.#socketOf(socket));
    this.#on('request', onRequest);
    // These come instead of `request`, if anybody listens.
    this.#onIfUsed('checkContinue', onRequest);
    this.#onIfUsed('checkExpectation', onRequest);
    const onUpgrade = (request: IncomingMessage): void => {
      this.#socketOf(request.socket).upgrade(request);
    };
    this.#onIfUsed('upgrade', onUpgrade);
    this.#onIfUsed('connect', onUpgrade);
  }

  /** Before the listeners of the application, which may answer at once. */
  #on<Args extends unknown[]>(event: string, listener: (...args: Args) => void): void {
    const server: NodeJS.EventEmitter = this.#server;
    const taken = listener as (...args: unknown[]) => void;
    server.prependListener(event, taken);
    this.#removers.push(() => server.removeListener(event, taken));
  }

  /** For events that a server treats in another way as soon as there is a listener: ours comes with the first of the application. */
  #onIfUsed<Args extends unknown[]>(event: string, listener: (...args: Args) => void): void {
    const server: NodeJS.EventEmitter = this.#server;
    if (server.listenerCount(event) > 0) {
      this.#on(event, listener);
      return;
    }
    const onNew = (name: string | symbol): void => {
      if (name !== event) return;
      server.removeListener('newListener', onNew);
      this.#on(event, listener);
    };
    server.on('newListener', onNew);
    this.#removers.push(() => server.removeListener('newListener', onNew));
  }

  /** Also for connections that were there before. */
  #socketOf(socket: Socket): Http1Connection {
    const known = this.#sockets.get(socket);
    if (known !== undefined) return known;
    const connection = new Http1Connection(socket, this.#clock.now());
    this.#sockets.set(socket, connection);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#quiet.delete(connection);
      this.#endIfEmpty();
    });
    return connection;
  }

  #sessionOf(session: ServerHttp2Session): Http2Connection {
    const known = this.#sessions.get(session);
    if (known !== undefined) return known;
    const connection = new Http2Connection(session, this.#clock.now());
    this.#sessions.set(session, connection);
    session.once('close', () => {
      this.#sessions.delete(session);
      this.#quiet.delete(connection);
      this.#endIfEmpty();
    });
    return connection;
  }

  #beginRequest(socket: Socket, response: ServerResponse): void {
    const connection = this.#socketOf(socket);
    connection.begin(response);
    response.on('close', this.#onResponseClose);
    if (this.#isDraining) connection.sendAway();
  }

  #endRequest(response: ServerResponse): void {
    // Those that a closed connection left behind are gone with it.
    this.#sockets.get(response.req.socket)?.end(response);
    if (this.#isStopped && response.writableFinished) this.#finished++;
  }

  #beginStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const { session } = stream;
    if (session === undefined) return;
    const connection = this.#sessionOf(session as ServerHttp2Session);
    connection.begin(stream, headers);
    stream.once('close', () => {
      connection.end(stream);
      // One that its client reset has finished writing, too.
      const isWhole = stream.writableFinished && stream.rstCode === 0;
      if (this.#isStopped && isWhole) this.#finished++;
    });
    if (this.#isDraining) connection.sendAway();
  }

  #look(): void {
    const nowMs = this.#clock.now();
    for (const connection of this.#connections()) {
      if (connection.wasUsed()) {
        connection.usedAtMs = nowMs;
        this.#quiet.delete(connection);
      } else if (this.#isStopped && nowMs - connection.usedAtMs >= this.#idleMs) {
        // Timers run before what came in is read: only at the second look is it sure that nothing had come.
        if (this.#quiet.has(connection)) {
          connection.closeIdle();
          connection.usedAtMs = nowMs;
        } else {
          this.#quiet.add(connection);
        }
      }
    }
  }

  #endIfEmpty(): void {
    if (this.#sockets.size + this.#sessions.size === 0) this.#onEmpty?.();
  }
}

function isHttp2(server: Server): server is Http2Server | Http2SecureServer {
  return 'updateSettings' in server;
}
