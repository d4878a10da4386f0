/**
 * Calls on an HTTP/2 stream: one request with one reply, or messages both ways. A call ends once,
 * with what is known about it; whether to try again is decided above.
 */
import type { ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';
import { constants } from 'node:http2';
import type { Clock } from '../../core/clock.ts';
import { reasonOf } from './connect-errors.ts';
import type { GrpcEndpoint } from './grpc-endpoint.ts';
import { foreignAnswer, MessageReader, type ServerStatus, statusOf } from './grpc-message.ts';
import type { GrpcSession } from './grpc-session.ts';

/** Silence after which a connection is asked whether it lives, and a read asks a second member. */
const SUSPECT_AFTER_MS = 1_000;
/** gRPC's status of a member that cannot serve now while others may. */
const UNAVAILABLE = 14;

/** HTTP statuses that gRPC takes as UNAVAILABLE: a proxy's word on a server behind it. */
const PROXY_FAILURES: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/** How a call ended. */
export interface CallEnd {
  /**
   * `reply`: the server's message. `status`: the server said no. `lost`: the connection broke
   * before the end. `garbage`: what came is no gRPC. `unreachable`: no endpoint takes connections.
   * `expired`: the deadline came first. `aborted`: by the caller's signal. `closed`: the client was
   * closed. `busy`: too many calls at once.
   */
  readonly kind:
    | 'reply'
    | 'status'
    | 'lost'
    | 'garbage'
    | 'unreachable'
    | 'expired'
    | 'aborted'
    | 'closed'
    | 'busy';
  /** The endpoint it was sent to; `undefined` where none could be reached. */
  readonly endpoint: GrpcEndpoint | undefined;
  readonly message: Buffer | undefined;
  readonly status: ServerStatus | undefined;
  /** Whether the server can have acted on it. */
  readonly delivered: boolean;
  /** In words, for messages. */
  readonly why: string;
}

export interface CallOptions {
  readonly path: string;
  /** The framed request. */
  readonly frame: Buffer;
  readonly metadata: OutgoingHttpHeaders;
  /** On the clock. */
  readonly deadline: number;
  readonly signal: AbortSignal | undefined;
  /** Only this endpoint, and no waiting where it cannot be reached. */
  readonly only?: GrpcEndpoint | undefined;
  /** Not this one, where another answers. */
  readonly avoid?: GrpcEndpoint | undefined;
  /** Asks a second endpoint as well when the first keeps it waiting; the first good answer counts. */
  readonly impatient: boolean;
}

/** What a stream's owner is told. */
export interface StreamHandlers {
  /** The stream is open: what is sent from now on reaches the server, or `ended` comes. */
  opened(stream: GrpcStream): void;
  message(buffer: Buffer, start: number, end: number): void;
  /** Comes once, unless the owner ended it by `cancel`. */
  ended(end: CallEnd): void;
}

/** Something that waits for a connection. */
export interface Waiter {
  readonly deadline: number;
  readonly only: GrpcEndpoint | undefined;
  start(endpoint: GrpcEndpoint, session: GrpcSession): void;
  /** No connection came in time, or none can come. */
  giveUp(kind: 'expired' | 'unreachable' | 'closed', why: string): void;
}

/** What calls need of their channel. */
export interface CallHost {
  readonly clock: Clock;
  readonly maxMessageBytes: number;
  /** Whether a call that gets nothing from `endpoint` has another one to go to. */
  hasOther(endpoint: GrpcEndpoint): boolean;
  /** Makes the call at another endpoint too; `undefined` where there is none, or too many do that. */
  startTwin(
    options: CallOptions,
    avoid: GrpcEndpoint,
    settle: (end: CallEnd) => void,
  ): UnaryCall | undefined;
}

/** The end of a call that reached no server. */
export function notSent(kind: CallEnd['kind'], why: string): CallEnd {
  return {
    kind,
    endpoint: undefined,
    message: undefined,
    status: undefined,
    delivered: false,
    why,
  };
}

function headersFor(path: string, session: GrpcSession): OutgoingHttpHeaders {
  const { name, tls } = session.target;
  return {
    ':method': 'POST',
    ':scheme': tls === undefined ? 'http' : 'https',
    ':path': path,
    ':authority': name,
    'content-type': 'application/grpc',
    te: 'trailers',
    'user-agent': 'quorate',
  };
}

/** What both kinds of calls read from their HTTP/2 stream. */
class Incoming {
  readonly session: GrpcSession;
  readonly stream: ClientHttp2Stream;
  readonly reader: MessageReader;
  /** Whether anything of the answer has come. */
  begun: boolean;
  status: ServerStatus | undefined;
  /** Why the answer is no gRPC. */
  garbage: string | undefined;
  error: Error | undefined;
  /** Why a proxy did not pass the call on. */
  unavailable: string | undefined;

  constructor(
    session: GrpcSession,
    stream: ClientHttp2Stream,
    maxBytes: number,
    take: (buffer: Buffer, start: number, end: number) => void,
    done: () => void,
  ) {
    this.session = session;
    this.stream = stream;
    this.reader = new MessageReader(maxBytes, take);
    this.begun = false;
    this.status = undefined;
    this.garbage = undefined;
    this.error = undefined;
    this.unavailable = undefined;
    stream.on('response', (headers) => this.#headers(headers));
    stream.on('trailers', (headers) => {
      session.heard();
      this.status ??= statusOf(headers);
    });
    stream.on('data', (chunk: Buffer) => this.#data(chunk));
    stream.on('end', () => {
      if (this.status !== undefined || this.garbage !== undefined) done();
    });
    stream.on('error', (error) => {
      this.error = error;
    });
    stream.on('close', done);
  }

  #headers(headers: IncomingHttpHeaders): void {
    this.begun = true;
    this.session.served();
    this.status = statusOf(headers);
    if (this.status !== undefined) return;
    const foreign = foreignAnswer(headers);
    if (foreign === undefined) return;
    if (PROXY_FAILURES.has(Number(headers[':status']))) {
      this.unavailable = `a proxy answered: ${foreign}`;
      this.stream.close(constants.NGHTTP2_CANCEL);
    } else {
      this.#refuse(`the answer is no gRPC: ${foreign}`);
    }
  }

  #data(chunk: Buffer): void {
    if (this.garbage !== undefined || this.unavailable !== undefined) return;
    this.session.heard();
    try {
      this.reader.push(chunk);
    } catch (error) {
      this.#refuse((error as Error).message);
    }
  }

  #refuse(why: string): void {
    this.garbage = why;
    this.stream.close(constants.NGHTTP2_CANCEL);
  }

  /** How it ended when the stream did, without a message. */
  end(endpoint: GrpcEndpoint): CallEnd {
    const { garbage, status } = this;
    const base = { endpoint, message: undefined, status, delivered: true };
    if (garbage !== undefined) return { ...base, kind: 'garbage', why: garbage };
    if (status?.code === 0) return { ...base, kind: 'lost', why: 'the server ended the stream' };
    if (status !== undefined) return { ...base, kind: 'status', why: status.text };
    if (this.unavailable !== undefined) return { ...base, kind: 'lost', why: this.unavailable };
    const delivered = this.session.canHaveSeen(this.stream);
    const error = this.session.cause ?? this.error;
    const why =
      error === undefined ? `stream reset (code ${this.stream.rstCode})` : reasonOf(error);
    return { ...base, kind: 'lost', delivered, why };
  }
}

export class UnaryCall implements Waiter {
  readonly deadline: number;
  readonly only: GrpcEndpoint | undefined;
  readonly #host: CallHost;
  readonly #options: CallOptions;
  readonly #settle: (end: CallEnd) => void;
  readonly #onAbort: () => void;
  #settled: boolean;
  #endpoint: GrpcEndpoint | undefined;
  #incoming: Incoming | undefined;
  #sentAt: number;
  #message: Buffer | undefined;
  /** The same call at another endpoint. */
  #twin: UnaryCall | undefined;
  /** When the call was last made, here or by its twin. */
  #askedAt: number;

  constructor(host: CallHost, options: CallOptions, settle: (end: CallEnd) => void) {
    this.deadline = options.deadline;
    this.only = options.only;
    this.#host = host;
    this.#options = options;
    this.#settle = settle;
    this.#onAbort = () => this.giveUp('aborted', 'aborted by the caller');
    this.#settled = false;
    this.#endpoint = undefined;
    this.#incoming = undefined;
    this.#sentAt = 0;
    this.#message = undefined;
    this.#twin = undefined;
    this.#askedAt = 0;
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  start(endpoint: GrpcEndpoint, session: GrpcSession): void {
    const now = this.#host.clock.now();
    const headers = headersFor(this.#options.path, session);
    headers['grpc-timeout'] = `${Math.max(1, Math.ceil(this.deadline - now))}m`;
    Object.assign(headers, this.#options.metadata);
    this.#endpoint = endpoint;
    const stream = session.open(headers);
    if (stream === undefined) {
      this.#finish({ ...notSent('lost', reasonOf(session.cause)), endpoint });
      return;
    }
    this.#sentAt = now;
    this.#askedAt = now;
    this.#incoming = new Incoming(
      session,
      stream,
      this.#host.maxMessageBytes,
      (buffer, start, end) => {
        this.#message = buffer.subarray(start, end);
      },
      () => this.#done(endpoint),
    );
    stream.end(this.#options.frame);
  }

  #done(endpoint: GrpcEndpoint): void {
    if (this.#settled) return;
    const incoming = this.#incoming!;
    const status = incoming.status;
    if (incoming.garbage === undefined && status?.code === 0) {
      const message = this.#message;
      const why = 'the server answered without a message';
      const kind = message === undefined ? 'garbage' : 'reply';
      endpoint.served();
      this.#finish({ kind, endpoint, message, status, delivered: true, why });
    } else {
      this.#finish(incoming.end(endpoint));
    }
  }

  /** Meets the deadline, and notices a connection that has fallen silent. */
  check(now: number): void {
    if (this.#incoming === undefined) return;
    if (now >= this.deadline) {
      this.#endpoint?.passOver();
      this.giveUp('expired', `no answer from ${this.#endpoint?.target.name}`);
      return;
    }
    const { session, begun } = this.#incoming;
    if (now - this.#sentAt < SUSPECT_AFTER_MS) return;
    if (now - session.lastHeardAt >= SUSPECT_AFTER_MS) session.probe(now);
    // A live connection proves little: a member cut off from the others answers pings too.
    if (begun || !this.#options.impatient || this.only !== undefined) return;
    if (this.#twin !== undefined || now - this.#askedAt < SUSPECT_AFTER_MS) return;
    this.#askedAt = now;
    this.#endpoint?.passOver();
    // It doubts its own endpoint in turn: two of five members may be stuck.
    const twin = this.#host.startTwin(this.#options, this.#endpoint!, (end) => this.#heard(end));
    // It may have ended before this call returned.
    this.#twin = twin === undefined || twin.#settled ? undefined : twin;
  }

  /** The twin's end. */
  #heard(end: CallEnd): void {
    if (this.#settled) return;
    if (mayBeBettered(end)) {
      this.#twin = undefined;
      return;
    }
    this.#finish(end);
    this.#cancel();
  }

  giveUp(kind: 'expired' | 'lost' | 'unreachable' | 'aborted' | 'closed', why: string): void {
    if (this.#settled) return;
    const incoming = this.#incoming;
    const delivered = incoming?.session.canHaveSeen(incoming.stream) ?? false;
    const endpoint = this.#endpoint;
    this.#finish({ kind, endpoint, message: undefined, status: undefined, delivered, why });
    this.#cancel();
  }

  #finish(end: CallEnd): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#settle(end);
    this.#twin?.giveUp('aborted', 'the other answered');
  }

  /** Whatever the server still says is for nobody. */
  #cancel(): void {
    this.#incoming?.stream.close(constants.NGHTTP2_CANCEL);
  }
}

/** Whether another member may answer what this one could not. */
function mayBeBettered({ kind, status }: CallEnd): boolean {
  return kind === 'lost' || kind === 'garbage' || status?.code === UNAVAILABLE;
}

/** A stream of messages both ways, from waiting for a connection to its end. */
export class GrpcStream implements Waiter {
  readonly deadline: number;
  readonly only: undefined;
  endpoint: GrpcEndpoint | undefined;
  readonly #host: CallHost;
  readonly #path: string;
  readonly #metadata: OutgoingHttpHeaders;
  readonly #handlers: StreamHandlers;
  readonly #forget: () => void;
  #incoming: Incoming | undefined;
  #over: boolean;

  constructor(
    host: CallHost,
    path: string,
    metadata: OutgoingHttpHeaders,
    handlers: StreamHandlers,
    deadline: number,
    forget: () => void,
  ) {
    this.deadline = deadline;
    this.only = undefined;
    this.endpoint = undefined;
    this.#host = host;
    this.#path = path;
    this.#metadata = metadata;
    this.#handlers = handlers;
    this.#forget = forget;
    this.#incoming = undefined;
    this.#over = false;
  }

  start(endpoint: GrpcEndpoint, session: GrpcSession): void {
    this.endpoint = endpoint;
    const headers = headersFor(this.#path, session);
    Object.assign(headers, this.#metadata);
    const stream = session.open(headers);
    if (stream === undefined) {
      this.#end({ ...notSent('lost', reasonOf(session.cause)), endpoint });
      return;
    }
    this.#incoming = new Incoming(
      session,
      stream,
      this.#host.maxMessageBytes,
      (buffer, start, end) => {
        if (!this.#over) this.#handlers.message(buffer, start, end);
      },
      () => this.#end(this.#incoming!.end(endpoint)),
    );
    this.#handlers.opened(this);
  }

  /** Whether it has ended. */
  get over(): boolean {
    return this.#over;
  }

  /** Asks the server of a silent connection whether it lives. */
  probe(now: number): void {
    const session = this.#incoming?.session;
    if (session !== undefined && now > session.lastHeardAt) session.probe(now);
  }

  /** Sends a framed message. What is lost shows in `ended`. */
  send(frame: Buffer): void {
    const stream = this.#incoming?.stream;
    if (this.#over || stream === undefined || !stream.writable) return;
    stream.write(frame);
  }

  /** Stops reading; the server is held up by HTTP/2's flow control. */
  pause(): void {
    this.#incoming?.stream.pause();
  }

  resume(): void {
    this.#incoming?.stream.resume();
  }

  /** Ends it; `ended` does not come. */
  cancel(): void {
    if (this.#over) return;
    this.#over = true;
    this.#forget();
    this.#incoming?.stream.close(constants.NGHTTP2_CANCEL);
  }

  giveUp(kind: 'expired' | 'unreachable' | 'closed', why: string): void {
    const { endpoint } = this;
    this.#end({ ...notSent(kind, why), endpoint });
    this.#incoming?.stream.close(constants.NGHTTP2_CANCEL);
  }

  #end(end: CallEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.#forget();
    this.#handlers.ended(end);
  }
}
