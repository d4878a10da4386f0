/** From a request's path to its method, with the checks that come before every call. */
import type { Cancel, Clock } from '../../core/clock.ts';
import { GrpcCode, type GrpcStatus } from '../../proto/etcd-errors.ts';
import type { RequestHead } from '../http2/request-head.ts';
import type { Http2Stream, StreamReceiver } from '../http2/stream.ts';
import { type CallContext, refusedCall, StreamingCall, UnaryCall } from './calls.ts';
import { Deadlines, parseTimeout } from './deadlines.ts';
import {
  type BoundMethod,
  type BoundStream,
  bindMethod,
  type GrpcMethod,
  isUnary,
} from './method.ts';

/** How often streams that need a leader are looked after. */
const LEADER_CHECK_MS = 250;

const NO_LEADER: GrpcStatus = { code: GrpcCode.unavailable, message: 'etcdserver: no leader' };

/** How streams end when the server stops. */
export const SERVER_STOPPED: GrpcStatus = {
  code: GrpcCode.unavailable,
  message: 'etcdserver: server stopped',
};

export interface GrpcRouterOptions {
  readonly clock: Clock;
  readonly maxMessageBytes: number;
  readonly hasLeader: () => boolean;
  /** Streams that ask for a leader are cut after this long without one. */
  readonly noLeaderMs: number;
}

/** What the header of a call says; kept with the head, which many calls share. */
interface CallHead {
  readonly bound: BoundMethod | undefined;
  readonly refusal: GrpcStatus | undefined;
  readonly needsLeader: boolean;
  /** 0 for none. */
  readonly timeoutMs: number;
}

export class GrpcRouter {
  readonly methods: readonly BoundMethod[];
  readonly #byPath: ReadonlyMap<string, BoundMethod>;
  readonly #services: ReadonlySet<string>;
  readonly #options: GrpcRouterOptions;
  readonly #context: CallContext;
  readonly #streams: Set<StreamingCall>;
  /** Those of the streams that need a leader. */
  readonly #leaderStreams: Set<StreamingCall>;
  #stopLeaderTimer: Cancel | undefined;
  #leaderSeen: number;

  constructor(methods: readonly GrpcMethod[], options: GrpcRouterOptions) {
    this.methods = methods.map(bindMethod);
    this.#byPath = new Map(this.methods.map((bound) => [bound.path, bound]));
    this.#services = new Set(methods.map((method) => method.service));
    this.#options = options;
    this.#context = {
      deadlines: new Deadlines(options.clock),
      maxMessageBytes: options.maxMessageBytes,
    };
    this.#streams = new Set();
    this.#leaderStreams = new Set();
    this.#stopLeaderTimer = undefined;
    this.#leaderSeen = 0;
  }

  /** Begins a call; the request is known to be one of gRPC. */
  open(stream: Http2Stream, head: RequestHead): StreamReceiver {
    head.derived ??= this.#read(head);
    const call = head.derived as CallHead;
    if (call.bound === undefined || call.refusal !== undefined) {
      return refusedCall(stream, call.refusal ?? NO_LEADER);
    }
    call.bound.counts.started++;
    if (call.needsLeader && !this.#options.hasLeader()) {
      call.bound.counts.handled[NO_LEADER.code]!++;
      return refusedCall(stream, NO_LEADER);
    }
    if (isUnary(call.bound)) {
      return new UnaryCall(stream, call.bound, this.#context, call.timeoutMs);
    }
    return this.#openStream(stream, call.bound, call);
  }

  /** Ends all streams: the server stops. Unary calls may still finish. */
  endStreams(): void {
    for (const call of [...this.#streams]) call.finish(SERVER_STOPPED);
  }

  close(): void {
    this.#context.deadlines.close();
    this.#stopLeaderTimer?.();
    this.#stopLeaderTimer = undefined;
  }

  #openStream(stream: Http2Stream, bound: BoundStream, head: CallHead): StreamReceiver {
    const call = new StreamingCall(stream, bound, this.#context, head.timeoutMs);
    if (call.over) return call;
    this.#streams.add(call);
    if (head.needsLeader) {
      this.#leaderStreams.add(call);
      this.#leaderSeen = this.#options.clock.now();
      this.#stopLeaderTimer ??= this.#options.clock.every(LEADER_CHECK_MS, () =>
        this.#checkLeader(),
      );
    }
    call.onOver = () => {
      this.#streams.delete(call);
      this.#leaderStreams.delete(call);
    };
    return call;
  }

  #checkLeader(): void {
    if (this.#leaderStreams.size === 0) {
      this.#stopLeaderTimer?.();
      this.#stopLeaderTimer = undefined;
      return;
    }
    const now = this.#options.clock.now();
    if (this.#options.hasLeader()) this.#leaderSeen = now;
    else if (now - this.#leaderSeen >= this.#options.noLeaderMs) {
      for (const call of [...this.#leaderStreams]) call.finish(NO_LEADER);
    }
  }

  #read(head: RequestHead): CallHead {
    const bound = this.#byPath.get(head.path);
    const timeout = head.field('grpc-timeout');
    const timeoutMs = timeout === undefined ? 0 : parseTimeout(timeout);
    return {
      bound,
      refusal: this.#refusal(head, bound, timeoutMs),
      needsLeader: head.field('hasleader') === 'true',
      // A timeout of zero has passed already; it still must be one.
      timeoutMs: timeout === undefined ? 0 : Math.max(timeoutMs ?? 0, Number.MIN_VALUE),
    };
  }

  #refusal(
    head: RequestHead,
    bound: BoundMethod | undefined,
    timeoutMs: number | undefined,
  ): GrpcStatus | undefined {
    if (bound === undefined)
      return { code: GrpcCode.unimplemented, message: this.#unknown(head.path) };
    const encoding = head.field('grpc-encoding') ?? 'identity';
    if (encoding !== 'identity') {
      const message = `grpc: Decompressor is not installed for grpc-encoding "${encoding}"`;
      return { code: GrpcCode.unimplemented, message };
    }
    if (timeoutMs === undefined) {
      return { code: GrpcCode.internal, message: 'malformed grpc-timeout' };
    }
    const version = head.field('client-api-version');
    if (version !== undefined && !isUtf8(version)) {
      return { code: GrpcCode.invalidArgument, message: 'etcdserver: invalid client api version' };
    }
    return undefined;
  }

  #unknown(path: string): string {
    const slash = path.lastIndexOf('/');
    const service = path.slice(1, slash);
    const name = path.slice(slash + 1);
    if (slash < 1) return `malformed method name: ${JSON.stringify(path)}`;
    if (!this.#services.has(service)) return `unknown service ${service}`;
    return `unknown method ${name} for service ${service}`;
  }
}

/** Whether the bytes of a header value (one a character) are UTF-8. */
function isUtf8(value: string): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(value, 'latin1'));
    return true;
  } catch {
    return false;
  }
}
