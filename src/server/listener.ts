/**
 * One port for everything: what a connection speaks is told by its first bytes (or, under TLS, by
 * ALPN). HTTP/2 goes to our own connections, everything else to Node's HTTP/1.1 server.
 */
import { readFile } from 'node:fs/promises';
import type { Server as HttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { invalid, QuorateError } from '../core/errors.ts';
import { stopHttp1 } from './http/http1.ts';
import { Http2Connection, type Http2Context } from './http2/connection.ts';
import { PREFACE } from './http2/frames.ts';

/** A connection whose first bytes could still become either protocol is given this long. */
const PREFACE_MS = 10_000;

/** Files of PEM text, as etcd's flags name them. */
export interface TlsFiles {
  /** The server's certificate, with intermediate ones behind it. */
  readonly certFile: string;
  /** Its private key. */
  readonly keyFile: string;
  /** Authorities that sign client certificates. */
  readonly trustedCaFile?: string;
  /** Refuse clients without a certificate of one of these authorities. @defaultValue `false` */
  readonly clientCertAuth?: boolean;
}

/** What the listeners of one server share: its connections and where they lead. */
export class Connections {
  readonly #http1: HttpServer;
  readonly #http2: Http2Context;
  readonly #sockets: Set<Socket>;
  readonly #http2Connections: Set<Http2Connection>;
  #closedBytesRead: number;
  #closedBytesWritten: number;
  #whenEmpty: (() => void) | undefined;
  #closing: boolean;

  constructor(http1: HttpServer, http2: Http2Context) {
    this.#http1 = http1;
    this.#http2 = http2;
    this.#sockets = new Set();
    this.#http2Connections = new Set();
    this.#closedBytesRead = 0;
    this.#closedBytesWritten = 0;
    this.#whenEmpty = undefined;
    this.#closing = false;
  }

  get count(): number {
    return this.#sockets.size;
  }

  /** Received from HTTP/2 clients since the start. */
  get bytesRead(): number {
    let sum = this.#closedBytesRead;
    for (const connection of this.#http2Connections) sum += connection.bytesRead;
    return sum;
  }

  /** Sent to HTTP/2 clients since the start. */
  get bytesWritten(): number {
    let sum = this.#closedBytesWritten;
    for (const connection of this.#http2Connections) sum += connection.bytesWritten;
    return sum;
  }

  /** Takes charge of a socket until it closes. */
  track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      this.#sockets.delete(socket);
      if (this.#sockets.size === 0) this.#whenEmpty?.();
    });
  }

  /** Finds out what an accepted (under TLS: secured) socket speaks. */
  accept(socket: Socket, protocol: string | false | null): void {
    if (this.#closing) return void socket.destroy();
    if (protocol === 'h2') return void this.#startHttp2(socket);
    if (protocol === 'http/1.1') return void this.#http1.emit('connection', socket);
    let seen: Buffer = Buffer.alloc(0);
    let cancel: (() => void) | undefined;
    const decide = (chunk: Buffer): void => {
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
      const known = Math.min(seen.length, PREFACE.length);
      const isHttp2 = PREFACE.compare(seen, 0, known, 0, known) === 0;
      if (isHttp2 && known < PREFACE.length) {
        cancel ??= this.#http2.clock.after(PREFACE_MS, () => socket.destroy());
        return;
      }
      cancel?.();
      socket.off('data', decide);
      socket.off('end', giveUp);
      if (isHttp2) this.#startHttp2(socket).receive(seen);
      else this.#startHttp1(socket, seen);
    };
    const giveUp = (): void => void socket.destroy();
    socket.on('data', decide);
    socket.on('end', giveUp);
    socket.once('close', () => cancel?.());
  }

  /** Ends what is idle; `drained` settles when the last socket has closed. */
  shutDown(): { readonly drained: Promise<void> } {
    this.#closing = true;
    for (const connection of this.#http2Connections) connection.goAway();
    stopHttp1(this.#http1);
    const drained = new Promise<void>((resolve) => {
      if (this.#sockets.size === 0) resolve();
      else this.#whenEmpty = resolve;
    });
    return { drained };
  }

  destroy(): void {
    for (const connection of this.#http2Connections) connection.destroy();
    for (const socket of this.#sockets) socket.destroy();
  }

  #startHttp1(socket: Socket, seen: Buffer): void {
    socket.pause();
    socket.unshift(seen);
    this.#http1.emit('connection', socket);
    socket.resume();
  }

  #startHttp2(socket: Socket): Http2Connection {
    const connection = new Http2Connection(socket, this.#http2);
    this.#http2Connections.add(connection);
    socket.on('data', (chunk: Buffer) => connection.receive(chunk));
    // A client of HTTP/2 that stops sending has left.
    socket.on('end', () => connection.destroy());
    socket.once('close', () => {
      connection.destroy();
      this.#http2Connections.delete(connection);
      this.#closedBytesRead += connection.bytesRead;
      this.#closedBytesWritten += connection.bytesWritten;
    });
    return connection;
  }
}

/** A port that is being listened on. */
export interface Listener {
  /** With the real port. */
  readonly url: string;
  /** Accepts no more; settles when the port is free. */
  close(): Promise<void>;
}

/** Listens on an `http://` or `https://` URL and hands what connects to `connections`. */
export async function listen(
  listenUrl: string,
  tls: TlsFiles | undefined,
  connections: Connections,
): Promise<Listener> {
  const url = parseListenUrl(listenUrl);
  if (url.protocol === 'https:' && tls === undefined) {
    throw invalid(`${listenUrl}: https needs a certificate and a key; give 'tls'`);
  }
  const server =
    url.protocol === 'https:' ? await tlsServer(tls!, connections) : plainServer(connections);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  await listening(server, host, listenPort(url), listenUrl);
  const { port } = server.address() as AddressInfo;
  return {
    url: `${url.protocol}//${url.hostname}:${port}`,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function parseListenUrl(listenUrl: string): URL {
  const url = URL.parse(listenUrl);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw invalid(
      `listen URL ${JSON.stringify(listenUrl)}: give http://HOST:PORT or https://HOST:PORT`,
    );
  }
  return url;
}

/** URL leaves out a scheme's own port. */
function listenPort(url: URL): number {
  if (url.port !== '') return Number(url.port);
  return url.protocol === 'https:' ? 443 : 80;
}

function plainServer(connections: Connections): Server {
  return createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, (socket) => {
    connections.track(socket);
    connections.accept(socket, null);
  });
}

async function tlsServer(files: TlsFiles, connections: Connections): Promise<Server> {
  const [cert, key, ca] = await Promise.all([
    readPem(files.certFile, 'certFile'),
    readPem(files.keyFile, 'keyFile'),
    files.trustedCaFile === undefined ? undefined : readPem(files.trustedCaFile, 'trustedCaFile'),
  ]);
  const clientCertAuth = files.clientCertAuth ?? false;
  if (clientCertAuth && ca === undefined) {
    throw invalid("tls.clientCertAuth needs 'trustedCaFile', the authority of the clients");
  }
  try {
    const server = createTlsServer({
      cert,
      key,
      ...(ca === undefined ? {} : { ca }),
      requestCert: clientCertAuth,
      rejectUnauthorized: clientCertAuth,
      ALPNProtocols: ['h2', 'http/1.1'],
      minVersion: 'TLSv1.2',
      noDelay: true,
      keepAlive: true,
    });
    server.on('connection', (socket: Socket) => connections.track(socket));
    server.on('secureConnection', (socket: TLSSocket) => {
      socket.on('error', () => socket.destroy());
      connections.accept(socket, socket.alpnProtocol);
    });
    return server;
  } catch (error) {
    throw new QuorateError(
      'ERR_INVALID_ARGUMENT',
      `tls: ${files.certFile} and ${files.keyFile} are no usable certificate and key: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

async function readPem(path: string, option: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new QuorateError(
      'ERR_INVALID_ARGUMENT',
      `tls.${option}: cannot read ${path}: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

function listening(server: Server, host: string, port: number, listenUrl: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') {
        const message = `${listenUrl}: the port is in use; stop what listens there or choose another`;
        reject(new QuorateError('ERR_ADDRESS_IN_USE', message, { cause: error }));
      } else {
        reject(invalid(`${listenUrl}: cannot listen: ${error.message}`));
      }
    });
    server.listen({ host, port, backlog: 1024 }, () => {
      server.removeAllListeners('error');
      // What goes wrong with one accepted connection must not end the process.
      server.on('error', () => undefined);
      resolve();
    });
  });
}
