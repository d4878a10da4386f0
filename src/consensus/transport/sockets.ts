/** The sockets under the transport: what it needs of them, and those of this machine. The simulator has its own. */
import { connect, createServer, isIP, type Server, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import type { PeerAddress } from './address.ts';

/** A stream of bytes to a peer: of `net.Socket` what the transport uses, with its meaning. */
export interface PeerSocket {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  on(event: 'data', listener: (chunk: Buffer) => void): unknown;
  on(event: 'drain' | 'close', listener: () => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  once(event: 'secureConnect', listener: () => void): unknown;
  /** `false`: enough for now, until `drain`. */
  write(data: Uint8Array): boolean;
  end(): unknown;
  destroy(): unknown;
  setNoDelay(on: boolean): unknown;
}

/** Certificates between nodes, read. */
export interface PeerTls {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer | undefined;
  readonly clientCertAuth: boolean;
}

export interface ListenOptions {
  /** There where the address is secure. */
  readonly tls: PeerTls | undefined;
  readonly handshakeTimeoutMs: number;
  readonly maxConnections: number;
  readonly onSocket: (socket: PeerSocket) => void;
  readonly onWarning: (kind: string, text: string) => void;
}

export interface PeerListener {
  /** The one that was given for port 0. */
  readonly port: number;
  /** Listens no more; resolves when all its sockets are closed. */
  close(): Promise<void>;
}

export interface PeerSockets {
  connect(address: PeerAddress, tls: PeerTls | undefined): PeerSocket;
  /** Rejects with the system's error. */
  listen(address: PeerAddress, options: ListenOptions): Promise<PeerListener>;
}

/** TCP and TLS of this machine. */
export const nodeSockets: PeerSockets = {
  connect({ host, port, secure }, tls) {
    if (!secure) return connect({ host, port });
    return connectTls({
      host,
      port,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(tls === undefined ? {} : { cert: tls.cert, key: tls.key }),
      ...(tls?.ca === undefined ? {} : { ca: tls.ca }),
      minVersion: 'TLSv1.2',
    });
  },
  async listen(address, options) {
    const server = address.secure ? secureServer(options) : createServer();
    const event = address.secure ? 'secureConnection' : 'connection';
    server.on(event, (socket: Socket) => options.onSocket(socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address.host, port: address.port }, () => {
        server.removeListener('error', reject);
        resolve();
      });
    });
    server.on('error', (error) => options.onWarning(`listen ${address.url}`, String(error)));
    const bound = server.address();
    return {
      port: typeof bound === 'object' && bound !== null ? bound.port : address.port,
      close: () => new Promise((resolve) => server.close(() => resolve())),
    };
  },
};

function secureServer(options: ListenOptions): Server {
  const { tls, handshakeTimeoutMs, maxConnections, onWarning } = options;
  const server = createTlsServer({
    cert: tls!.cert,
    key: tls!.key,
    ...(tls!.ca === undefined ? {} : { ca: tls!.ca }),
    requestCert: tls!.clientCertAuth,
    rejectUnauthorized: tls!.clientCertAuth,
    handshakeTimeout: handshakeTimeoutMs,
    minVersion: 'TLSv1.2',
  });
  server.on('tlsClientError', (error, socket) => {
    const host = socket.remoteAddress ?? 'unknown address';
    // A certificate that does not verify is cut off without an error of its own.
    const fault = socket.authorizationError as Error | string | null | undefined;
    const why = fault ? `its certificate is not trusted (${String(fault)})` : error.message;
    onWarning(`tls ${host}`, `no TLS connection from ${host}: ${why}`);
  });
  server.maxConnections = maxConnections;
  return server;
}
