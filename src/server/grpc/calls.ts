/** Calls in progress: one object a stream, which takes its messages and sends its response. */
import { GrpcCode, type GrpcStatus } from '../../proto/etcd-errors.ts';
import type { Http2Stream, ReadyCall, StreamReceiver } from '../http2/stream.ts';
import type { Deadlines, Expiring } from './deadlines.ts';
import { MessageReader, type MessageTarget, PREFIX_BYTES } from './message-reader.ts';
import type { BoundStream, BoundUnary, StreamCall, StreamHandler } from './method.ts';
import { OK_TRAILERS, RESPONSE_HEAD, statusBlock, statusOf } from './status.ts';

const DEADLINE_EXCEEDED: GrpcStatus = {
  code: GrpcCode.deadlineExceeded,
  message: 'context deadline exceeded',
};

const NO_MESSAGE: GrpcStatus = {
  code: GrpcCode.internal,
  message: 'grpc: the request ended without a whole message',
};

/** What calls share. */
export interface CallContext {
  readonly deadlines: Deadlines;
  readonly maxMessageBytes: number;
}

function malformed(error: unknown): GrpcStatus {
  const detail = error instanceof Error ? error.message : String(error);
  return { code: GrpcCode.internal, message: `grpc: error unmarshalling request: ${detail}` };
}

/** A unary call: the request is handled once the client has said all it has to say. */
export class UnaryCall implements StreamReceiver, MessageTarget, Expiring, ReadyCall {
  dueTick: number;
  requestBytes: number;
  readonly #stream: Http2Stream;
  readonly #bound: BoundUnary;
  readonly #context: CallContext;
  #timed: boolean;
  /** Only where the request does not arrive in one piece. */
  #reader: MessageReader | undefined;
  #request: object | undefined;
  #over: boolean;

  constructor(stream: Http2Stream, bound: BoundUnary, context: CallContext, timeoutMs: number) {
    this.dueTick = 0;
    this.requestBytes = 0;
    this.#stream = stream;
    this.#bound = bound;
    this.#context = context;
    this.#timed = timeoutMs > 0;
    this.#reader = undefined;
    this.#request = undefined;
    this.#over = false;
    if (this.#timed) context.deadlines.add(this, timeoutMs);
  }

  data(buffer: Buffer, start: number, end: number): void {
    if (this.#over) return;
    const length = end - start - PREFIX_BYTES;
    if (
      this.#reader === undefined &&
      length >= 0 &&
      length <= this.#context.maxMessageBytes &&
      buffer[start] === 0 &&
      buffer.readUInt32BE(start + 1) === length
    ) {
      this.message(buffer, start + PREFIX_BYTES, end);
      return;
    }
    this.#reader ??= new MessageReader(this.#stream, this, this.#context.maxMessageBytes);
    this.#reader.data(buffer, start, end);
  }

  message(buffer: Buffer, start: number, end: number): boolean {
    if (this.#request !== undefined) {
      this.#fail({ code: GrpcCode.internal, message: 'grpc: more than one request message' });
      return false;
    }
    try {
      this.requestBytes = end - start;
      this.#request = this.#bound.method.request.decode(buffer, start, end);
      this.#bound.counts.received++;
      return true;
    } catch (error) {
      this.#fail(malformed(error));
      return false;
    }
  }

  unreadable(status: GrpcStatus): void {
    this.#fail(status);
  }

  end(): void {
    if (this.#over) return;
    if (this.#request === undefined || this.#reader?.midMessage) {
      this.#fail(NO_MESSAGE);
      return;
    }
    this.#stream.admit(this);
  }

  start(): void {
    if (this.#over || this.#request === undefined) return;
    const { handle } = this.#bound.method;
    this.#stream.beginWork();
    try {
      const result = handle(this.#request);
      if (result instanceof Promise) {
        result.then(
          (response) => this.#settle(response, undefined),
          (error: unknown) => this.#settle(undefined, error),
        );
      } else {
        this.#settle(result, undefined);
      }
    } catch (error) {
      this.#settle(undefined, error);
    }
  }

  closed(): void {
    if (!this.#over) this.#finish(GrpcCode.canceled);
  }

  writable(): void {
    // A unary response is sent whole.
  }

  expired(): void {
    this.#timed = false;
    this.#fail(DEADLINE_EXCEEDED);
  }

  #settle(response: object | undefined, error: unknown): void {
    this.#stream.endWork();
    if (this.#over) return;
    if (response === undefined) {
      this.#fail(statusOf(error));
      return;
    }
    this.#bound.counts.sent++;
    this.#finish(GrpcCode.ok);
    this.#stream.respond(RESPONSE_HEAD, this.#bound.part, response, OK_TRAILERS);
  }

  #fail(status: GrpcStatus): void {
    if (this.#over) return;
    this.#finish(status.code);
    this.#stream.respond(undefined, undefined, undefined, statusBlock(status, false));
  }

  #finish(code: GrpcCode): void {
    this.#over = true;
    this.#bound.counts.handled[code]!++;
    this.#reader?.discard();
    if (this.#timed) this.#context.deadlines.remove(this);
  }
}

/** A call with a stream of messages in at least one direction. */
export class StreamingCall implements StreamReceiver, MessageTarget, Expiring, StreamCall<object> {
  dueTick: number;
  /** Told once, however the call ends. */
  onOver: (() => void) | undefined;
  readonly #stream: Http2Stream;
  readonly #bound: BoundStream;
  readonly #context: CallContext;
  readonly #reader: MessageReader;
  readonly #handler: StreamHandler<object>;
  #timed: boolean;
  #headSent: boolean;
  #over: boolean;

  constructor(stream: Http2Stream, bound: BoundStream, context: CallContext, timeoutMs: number) {
    this.dueTick = 0;
    this.onOver = undefined;
    this.#stream = stream;
    this.#bound = bound;
    this.#context = context;
    this.#reader = new MessageReader(stream, this, context.maxMessageBytes);
    this.#timed = timeoutMs > 0;
    this.#headSent = false;
    this.#over = false;
    if (this.#timed) context.deadlines.add(this, timeoutMs);
    this.#handler = bound.method.open(this);
  }

  get over(): boolean {
    return this.#over;
  }

  data(buffer: Buffer, start: number, end: number): void {
    if (!this.#over) this.#reader.data(buffer, start, end);
  }

  message(buffer: Buffer, start: number, end: number): boolean {
    let request: object;
    try {
      request = this.#bound.method.request.decode(buffer, start, end);
    } catch (error) {
      this.finish(malformed(error));
      return false;
    }
    this.#bound.counts.received++;
    try {
      this.#handler.message(request);
    } catch (error) {
      this.finish(statusOf(error));
    }
    return !this.#over;
  }

  unreadable(status: GrpcStatus): void {
    this.finish(status);
  }

  end(): void {
    if (this.#over) return;
    if (this.#reader.midMessage) this.finish(NO_MESSAGE);
    else this.#handler.halfClosed();
  }

  closed(): void {
    if (!this.#over) this.#finish(GrpcCode.canceled);
  }

  writable(): void {
    if (!this.#over) this.#handler.writable();
  }

  expired(): void {
    this.#timed = false;
    this.finish(DEADLINE_EXCEEDED);
  }

  send(message: object): boolean {
    if (this.#over) return true;
    if (!this.#headSent) {
      this.#headSent = true;
      this.#stream.sendHead(RESPONSE_HEAD);
    }
    this.#bound.counts.sent++;
    return this.#stream.send(this.#bound.part, message);
  }

  finish(status: GrpcStatus): void {
    if (this.#over) return;
    this.#finish(status.code);
    this.#stream.finish(statusBlock(status, this.#headSent));
  }

  holdRequests(held: boolean): void {
    this.#stream.holdCredit(held);
  }

  #finish(code: GrpcCode): void {
    this.#over = true;
    this.#bound.counts.handled[code]!++;
    this.#reader.discard();
    if (this.#timed) this.#context.deadlines.remove(this);
    this.onOver?.();
    this.#handler.closed();
  }
}

/** A call that is answered before it has begun: unknown method, no leader. */
export function refusedCall(stream: Http2Stream, status: GrpcStatus): StreamReceiver {
  stream.respond(undefined, undefined, undefined, statusBlock(status, false));
  return REFUSED;
}

function ignore(): void {
  undefined;
  return;
}

const REFUSED: StreamReceiver = { data: ignore, end: ignore, closed: ignore, writable: ignore };
