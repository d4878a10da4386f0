/** What a gRPC method is to the server, and how its messages are written to a stream. */
import { assert } from '../../core/assert.ts';
import type { MessageType } from '../../proto/etcd.ts';
import type { GrpcStatus } from '../../proto/etcd-errors.ts';
import type { Part } from '../http2/stream.ts';
import { PREFIX_BYTES } from './message-reader.ts';

/** Counts of one method, for `/metrics`. */
interface MethodCounts {
  started: number;
  received: number;
  sent: number;
  /** By status code. */
  readonly handled: number[];
}

/** One request, one response. Rejects, or throws, with what `statusOfError` understands. */
export interface UnaryMethod<Q extends object, R extends object> {
  readonly kind: 'unary';
  readonly service: string;
  readonly name: string;
  readonly request: MessageType<Q>;
  readonly response: MessageType<R>;
  readonly handle: (request: Q) => Promise<R> | R;
}

/** The server's side of a running stream. */
export interface StreamCall<R> {
  /** `false`: the client is slow, wait for `StreamHandler.writable`. */
  send(message: R): boolean;
  finish(status: GrpcStatus): void;
  /** While true the client can send no more than the window it has. */
  holdRequests(held: boolean): void;
}

/** What a method does on one stream. */
export interface StreamHandler<Q> {
  message(request: Q): void;
  halfClosed(): void;
  /** The call is over, however it ended. */
  closed(): void;
  writable(): void;
}

export interface StreamMethod<Q extends object, R extends object> {
  readonly kind: 'server_stream' | 'bidi_stream';
  readonly service: string;
  readonly name: string;
  readonly request: MessageType<Q>;
  readonly response: MessageType<R>;
  readonly open: (call: StreamCall<R>) => StreamHandler<Q>;
}

export type GrpcMethod = UnaryMethod<object, object> | StreamMethod<object, object>;

/** A method with its path, counters and codecs as the calls use them. */
interface Bound<Method extends GrpcMethod> {
  readonly path: string;
  readonly method: Method;
  readonly part: Part<object>;
  readonly counts: MethodCounts;
}

export type BoundUnary = Bound<UnaryMethod<object, object>>;
export type BoundStream = Bound<StreamMethod<object, object>>;
export type BoundMethod = BoundUnary | BoundStream;

export function isUnary(bound: BoundMethod): bound is BoundUnary {
  return bound.method.kind === 'unary';
}

export function bindMethod(method: GrpcMethod): BoundMethod {
  const bound = {
    path: `/${method.service}/${method.name}`,
    part: messagePart(method.response),
    counts: { started: 0, received: 0, sent: 0, handled: new Array<number>(17).fill(0) },
  };
  // The same in both branches, but each knows its kind.
  return method.kind === 'unary' ? { ...bound, method } : { ...bound, method };
}

/** A message behind its five bytes of prefix. */
function messagePart<R extends object>(type: MessageType<R>): Part<R> {
  return {
    size: (message) => PREFIX_BYTES + type.size(message),
    write(buffer, offset, size, message) {
      buffer[offset] = 0;
      buffer.writeUInt32BE(size - PREFIX_BYTES, offset + 1);
      const end = type.encodeTo(buffer, offset + PREFIX_BYTES, message);
      assert(end === offset + size, 'an encoded message has the size that was counted');
    },
  };
}

/** Erases a method's types for the router; the codecs on both sides keep them true. */
export function unary<Q extends object, R extends object>(
  service: string,
  name: string,
  request: MessageType<Q>,
  response: MessageType<R>,
  handle: (request: Q) => Promise<R> | R,
): GrpcMethod {
  return { kind: 'unary', service, name, request, response, handle } as unknown as GrpcMethod;
}

export function streaming<Q extends object, R extends object>(
  kind: 'server_stream' | 'bidi_stream',
  service: string,
  name: string,
  request: MessageType<Q>,
  response: MessageType<R>,
  open: (call: StreamCall<R>) => StreamHandler<Q>,
): GrpcMethod {
  return { kind, service, name, request, response, open } as unknown as GrpcMethod;
}
