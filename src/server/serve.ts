/** Serves a node to etcd clients: gRPC, the JSON gateway, health and metrics on one port. */
import type { Server as HttpServer } from 'node:http';
import { type Clock, systemClock } from '../core/clock.ts';
import { QuorateError } from '../core/errors.ts';
import type { NodeBackend } from './backend.ts';
import { GrpcRouter, SERVER_STOPPED } from './grpc/router.ts';
import type { HttpHandler } from './http/exchange.ts';
import { Gateway } from './http/gateway.ts';
import { httpHandler } from './http/handler.ts';
import { http1Server } from './http/http1.ts';
import { Http2Exchange } from './http/http2.ts';
import type { Http2Context } from './http2/connection.ts';
import { DEFAULT_HTTP2_LIMITS, type Http2Limits } from './http2/limits.ts';
import { Flusher, Slab } from './http2/output.ts';
import { Connections, type Listener, listen, type TlsFiles } from './listener.ts';
import { kvMethods } from './services/kv-methods.ts';
import { exceptOnLearners } from './services/learners.ts';
import { nodeMethods } from './services/node-methods.ts';

/** What a message may exceed the largest request by, as in etcd. */
const MESSAGE_OVERHEAD_BYTES = 512 * 1024;

/** Where and how to serve. */
export interface ServeOptions {
  /** `http://127.0.0.1:2379`, `https://…`; port 0 takes a free one. At least one. */
  readonly listenUrls: readonly string[];
  /** For `https://` URLs. */
  readonly tls?: TlsFiles;
  /**
   * Largest request, as etcd's flag of this name. Messages may be 512 KiB larger; beyond that they
   * are refused before they are read.
   * @defaultValue 1572864
   */
  readonly maxRequestBytes?: number;
  /** Streams that ask for a leader (`hasleader`) end after this long without. @defaultValue 3000 */
  readonly noLeaderMs?: number;
  /** Bounds of each connection; what is not given keeps its default. */
  readonly limits?: Partial<Http2Limits>;
  /** @defaultValue the clock of this process */
  readonly clock?: Clock;
  /** Told of faults of the server itself. @defaultValue a process warning */
  readonly onFault?: (error: unknown) => void;
}

/** A running server. */
export interface EtcdServer extends AsyncDisposable {
  /** The listen URLs with their real ports, in the order given. */
  readonly urls: readonly string[];
  /** Open client connections. */
  connections(): number;
  /**
   * Takes no new connections and calls, ends streams with "server stopped", waits up to `graceMs`
   * for calls in progress, then cuts what is left. Idempotent.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

/**
 * Starts to serve; resolves when all URLs are being listened on.
 *
 * @throws `ERR_ADDRESS_IN_USE` where a port is taken; `ERR_INVALID_ARGUMENT` for a bad URL or
 * certificate. Nothing is left listening then.
 *
 * @example
 * ```ts
 * await using server = await serveEtcd(node.backend, { listenUrls: ['http://127.0.0.1:2379'] });
 * ```
 */
export async function serveEtcd(backend: NodeBackend, options: ServeOptions): Promise<EtcdServer> {
  const { listenUrls, tls } = options;
  if (listenUrls.length === 0) {
    throw new QuorateError('ERR_INVALID_ARGUMENT', "give at least one of 'listenUrls'");
  }
  const server = new Server(backend, options);
  try {
    for (const url of listenUrls) {
      server.listeners.push(await listen(url, tls, server.connectionSet));
    }
  } catch (error) {
    await server.close({ graceMs: 0 });
    throw error;
  }
  return server;
}

class Server implements EtcdServer {
  readonly listeners: Listener[];
  readonly connectionSet: Connections;
  readonly #router: GrpcRouter;
  readonly #gateway: Gateway;
  readonly #http1: HttpServer;
  readonly #clock: Clock;
  #closed: Promise<void> | undefined;

  constructor(backend: NodeBackend, options: ServeOptions) {
    const maxRequestBytes = options.maxRequestBytes ?? 1_572_864;
    const maxMessageBytes = maxRequestBytes + MESSAGE_OVERHEAD_BYTES;
    this.listeners = [];
    this.#clock = options.clock ?? systemClock;
    const methods = [...kvMethods(backend.kv), ...nodeMethods(backend)];
    const served = exceptOnLearners(methods, () => backend.isLearner());
    this.#router = new GrpcRouter(served, {
      clock: this.#clock,
      maxMessageBytes,
      hasLeader: () => backend.hasLeader(),
      noLeaderMs: options.noLeaderMs ?? 3000,
    });
    this.#gateway = new Gateway(this.#router.methods);
    // Base64 makes a third more of bytes, and a body has names besides.
    const maxBodyBytes = maxMessageBytes * 2;
    const handler = this.#httpHandler(backend);
    this.#http1 = http1Server(handler, maxBodyBytes);
    this.connectionSet = new Connections(
      this.#http1,
      this.#http2Context(options, handler, maxBodyBytes),
    );
    this.#closed = undefined;
  }

  get urls(): readonly string[] {
    return this.listeners.map(({ url }) => url);
  }

  connections(): number {
    return this.connectionSet.count;
  }

  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#close(options.graceMs ?? 1000);
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(graceMs: number): Promise<void> {
    const freed = this.listeners.map((listener) => listener.close());
    this.#router.endStreams();
    this.#gateway.endStreams(SERVER_STOPPED);
    const { drained } = this.connectionSet.shutDown();
    const cancel = this.#clock.after(graceMs, () => this.connectionSet.destroy());
    await drained;
    cancel();
    this.#router.close();
    this.#http1.close();
    await Promise.all(freed);
  }

  #httpHandler(backend: NodeBackend): HttpHandler {
    const { methods } = this.#router;
    const counts = () => ({
      methods,
      bytesReceived: this.connectionSet.bytesRead,
      bytesSent: this.connectionSet.bytesWritten,
      connections: this.connectionSet.count,
    });
    return httpHandler(backend, this.#gateway, counts, this.#clock);
  }

  #http2Context(options: ServeOptions, handler: HttpHandler, maxBodyBytes: number): Http2Context {
    return {
      clock: this.#clock,
      limits: { ...DEFAULT_HTTP2_LIMITS, ...options.limits },
      slab: new Slab(),
      flusher: new Flusher(),
      onRequest: (stream, head) =>
        head.method === 'POST' && head.contentType.startsWith('application/grpc')
          ? this.#router.open(stream, head)
          : new Http2Exchange(stream, head, handler, maxBodyBytes),
      onFault: options.onFault ?? warn,
    };
  }
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error), 'QuorateServer');
}
