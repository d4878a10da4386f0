/**
 * gRPC to a cluster: every call goes to one of the endpoints in turn, to those that answer first.
 *
 * One timer sweeps over all deadlines, pings and connection attempts, and none runs while there is
 * nothing to wait for. Connections do not keep the process alive, work in progress does.
 */
import type { OutgoingHttpHeaders } from 'node:http2';
import { MessageChannel } from 'node:worker_threads';
import type { Cancel, Clock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import { reasonOf } from './connect-errors.ts';
import {
  type CallEnd,
  type CallHost,
  type CallOptions,
  GrpcStream,
  notSent,
  type StreamHandlers,
  UnaryCall,
  type Waiter,
} from './grpc-call.ts';
import { GrpcEndpoint } from './grpc-endpoint.ts';
import type { ResolvedOptions, Target } from './options.ts';

/** Deadlines are met this exactly while calls are under way. */
const FINE_SWEEP_MS = 25;
/** Only pings are due. */
const COARSE_SWEEP_MS = 500;
/** Calls under way or waiting for a connection; beyond it they end as `busy`. */
const MOST_CALLS = 16_384;
/** What the requests of these calls may hold together; a single one may always be tried. */
const MOST_REQUEST_BYTES = 256 * 1024 * 1024;
/** Reads that ask a second member at one time: where all is slow, asking more makes it slower. */
const MOST_TWINS = 128;
/** How long a call waits for a connection that is being made, before a doubtful endpoint will do. */
const PATIENCE_MS = 200;
/** Endpoints that were named in calls and are none of the client's own: one more ends the oldest. */
const MOST_FURTHER = 64;

/** Something with deadlines of its own; looked at while it is registered. */
export interface Check {
  check(now: number): void;
}

export class GrpcChannel implements CallHost {
  readonly clock: Clock;
  readonly endpoints: readonly GrpcEndpoint[];
  readonly maxMessageBytes: number;
  readonly #options: ResolvedOptions;
  readonly #further: Map<string, GrpcEndpoint>;
  /** With the time from which a doubtful endpoint will do, where there is nothing else. */
  readonly #waiters: Map<Waiter, number>;
  readonly #calls: Set<UnaryCall>;
  #requestBytes: number;
  #twins: number;
  readonly #streams: Set<GrpcStream>;
  readonly #checks: Set<Check>;
  /** Keeps the process alive while referenced. */
  readonly #anchor: MessageChannel;
  #holds: number;
  #next: number;
  #everReady: boolean;
  #cancelSweep: Cancel | undefined;
  #sweepIsFine: boolean;
  #closed: boolean;

  constructor(options: ResolvedOptions) {
    this.clock = options.clock;
    this.maxMessageBytes = options.maxMessageBytes;
    this.#options = options;
    this.#further = new Map();
    this.#waiters = new Map();
    this.#calls = new Set();
    this.#requestBytes = 0;
    this.#twins = 0;
    this.#streams = new Set();
    this.#checks = new Set();
    this.#anchor = new MessageChannel();
    this.#anchor.port1.unref();
    this.#anchor.port2.unref();
    this.#holds = 0;
    this.#next = options.random.below(options.targets.length);
    this.#everReady = false;
    this.#cancelSweep = undefined;
    this.#sweepIsFine = false;
    this.#closed = false;
    this.endpoints = options.targets.map((target) => this.#endpoint(target));
  }

  #endpoint(target: Target): GrpcEndpoint {
    return new GrpcEndpoint(target, this.#options, this.#options.random, {
      ready: (endpoint) => this.#ready(endpoint),
      failed: (endpoint) => this.#failed(endpoint),
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** The endpoint of `target`, which need not be one of those that calls are spread over. */
  endpointOf(target: Target): GrpcEndpoint {
    const known =
      this.endpoints.find((endpoint) => endpoint.target.name === target.name) ??
      this.#further.get(target.name);
    if (known !== undefined) return known;
    const endpoint = this.#endpoint(target);
    this.#further.set(target.name, endpoint);
    for (const [name, oldest] of this.#further) {
      if (this.#further.size <= MOST_FURTHER) break;
      if (oldest === endpoint || oldest.streams > 0 || oldest.connecting) continue;
      this.#further.delete(name);
      oldest.close();
    }
    return endpoint;
  }

  /** One request, one reply. Never rejects. */
  unary(options: CallOptions): Promise<CallEnd> {
    return new Promise((resolve) => {
      if (this.#closed) return resolve(notSent('closed', 'the client is closed'));
      if (options.signal?.aborted) return resolve(notSent('aborted', 'aborted before it was sent'));
      if (this.#calls.size >= MOST_CALLS) {
        return resolve(notSent('busy', `${MOST_CALLS} calls are under way already`));
      }
      const { length } = options.frame;
      if (this.#requestBytes > 0 && this.#requestBytes + length > MOST_REQUEST_BYTES) {
        const why = `calls under way hold ${this.#requestBytes} bytes already`;
        return resolve(notSent('busy', why));
      }
      const call = new UnaryCall(this, options, (end) => {
        this.#calls.delete(call);
        this.#waiters.delete(call);
        this.#requestBytes -= length;
        this.release();
        resolve(end);
      });
      this.#calls.add(call);
      this.#requestBytes += length;
      this.hold();
      this.#dispatch(call, options.avoid);
    });
  }

  startTwin(
    options: CallOptions,
    avoid: GrpcEndpoint,
    settle: (end: CallEnd) => void,
  ): UnaryCall | undefined {
    if (this.#twins >= MOST_TWINS || !this.hasOther(avoid)) return undefined;
    this.#twins++;
    const twin: UnaryCall = new UnaryCall(this, options, (end) => {
      this.#twins--;
      this.#calls.delete(twin);
      this.#waiters.delete(twin);
      settle(end);
    });
    this.#calls.add(twin);
    this.#dispatch(twin, avoid);
    return twin;
  }

  /**
   * Opens a stream of messages both ways. It waits for a connection until `deadline`.
   */
  stream(
    path: string,
    metadata: OutgoingHttpHeaders,
    handlers: StreamHandlers,
    deadline: number,
    avoid?: GrpcEndpoint,
  ): GrpcStream {
    const stream: GrpcStream = new GrpcStream(this, path, metadata, handlers, deadline, () => {
      this.#streams.delete(stream);
      this.#waiters.delete(stream);
    });
    this.#streams.add(stream);
    if (this.#closed) stream.giveUp('closed', 'the client is closed');
    else this.#dispatch(stream, avoid);
    return stream;
  }

  #dispatch(waiter: Waiter, avoid: GrpcEndpoint | undefined): void {
    const now = this.clock.now();
    const endpoint = waiter.only ?? this.#pick(avoid);
    const session = endpoint?.usable;
    const isGood = endpoint === waiter.only || (endpoint !== avoid && !endpoint?.isDoubtful(now));
    if (endpoint !== undefined && session !== undefined && (isGood || !this.isConnecting)) {
      waiter.start(endpoint, session);
    } else {
      this.#waiters.set(waiter, now + PATIENCE_MS);
      this.#wakeFor(waiter);
    }
    this.#arm(true);
  }

  get isConnecting(): boolean {
    return this.endpoints.some((one) => one.connecting);
  }

  /** The next endpoint that takes calls, those that seem dead last; connects to those that do not. */
  #pick(avoid: GrpcEndpoint | undefined): GrpcEndpoint | undefined {
    const count = this.endpoints.length;
    const now = this.clock.now();
    let second: GrpcEndpoint | undefined;
    for (let i = 0; i < count; i++) {
      const index = (this.#next + i) % count;
      const endpoint = this.endpoints[index]!;
      if (endpoint.usable === undefined) {
        this.#wake(endpoint);
      } else if (endpoint === avoid || endpoint.isDoubtful(now)) {
        if (second === undefined || second === avoid) second = endpoint;
      } else {
        this.#next = (index + 1) % count;
        return endpoint;
      }
    }
    return second;
  }

  #wakeFor(waiter: Waiter): void {
    if (waiter.only !== undefined) this.#wake(waiter.only);
    else for (const endpoint of this.endpoints) this.#wake(endpoint);
  }

  #wake(endpoint: GrpcEndpoint): void {
    endpoint.wake(this.clock.now());
  }

  #ready(endpoint: GrpcEndpoint): void {
    this.#everReady = true;
    const session = endpoint.usable;
    for (const waiter of [...this.#waiters.keys()]) {
      if (session?.state !== 'ready') return;
      if (waiter.only !== undefined && waiter.only !== endpoint) continue;
      this.#waiters.delete(waiter);
      waiter.start(endpoint, session);
    }
  }

  #failed(endpoint: GrpcEndpoint): void {
    if (this.#closed) return;
    // Whoever was never able to reach anything is told at once: most likely the address is wrong,
    // or nothing runs there. Later a cluster that is away for a moment is waited for.
    const hopeless =
      !this.#everReady &&
      this.endpoints.every((one) => one.failures > 0 && !one.connecting && !one.usable);
    for (const waiter of [...this.#waiters.keys()]) {
      if (waiter.only === undefined ? hopeless : waiter.only === endpoint) {
        this.#waiters.delete(waiter);
        waiter.giveUp('unreachable', this.unreachable(waiter.only));
      }
    }
  }

  /** Why no endpoint (or not `only`) can be reached, in words. */
  unreachable(only?: GrpcEndpoint): string {
    const reasons = (only === undefined ? this.endpoints : [only]).map(
      ({ target, lastError }) => `${target.name}: ${reasonOf(lastError)}`,
    );
    return `no endpoint can be reached (${reasons.join('; ')})`;
  }

  /** Whether a call that got nothing from `endpoint` has another one to go to; connects to the rest. */
  hasOther(endpoint: GrpcEndpoint): boolean {
    const now = this.clock.now();
    for (const one of this.endpoints) {
      if (one.usable === undefined) one.wake(now);
      else if (one !== endpoint && !one.isDoubtful(now)) return true;
    }
    return false;
  }

  /** Whether there is another endpoint to try at all. */
  get isAlone(): boolean {
    return this.endpoints.length === 1;
  }

  /** Keeps the process alive until `release`. */
  hold(): void {
    if (this.#holds++ === 0) this.#anchor.port1.ref();
  }

  release(): void {
    if (--this.#holds === 0) this.#anchor.port1.unref();
  }

  /** Calls `check.check` every few milliseconds until `removeCheck`. */
  addCheck(check: Check): void {
    this.#checks.add(check);
    this.#arm(true);
  }

  removeCheck(check: Check): void {
    this.#checks.delete(check);
  }

  // The sweep.

  #arm(fine: boolean): void {
    if (this.#closed || (this.#cancelSweep !== undefined && (this.#sweepIsFine || !fine))) return;
    this.#cancelSweep?.();
    this.#sweepIsFine = fine;
    this.#cancelSweep = this.clock.after(fine ? FINE_SWEEP_MS : COARSE_SWEEP_MS, () => {
      this.#cancelSweep = undefined;
      this.#sweep();
    });
  }

  #sweep(): void {
    const now = this.clock.now();
    for (const [waiter, settlesAt] of [...this.#waiters]) {
      if (now >= waiter.deadline) {
        this.#waiters.delete(waiter);
        waiter.giveUp('expired', this.unreachable(waiter.only));
      } else if (now >= settlesAt) this.#settleFor(waiter);
      else this.#wakeFor(waiter);
    }
    // A stream must not have to wait for a connection when it has to leave the one it has.
    if (this.#streams.size > 0) for (const endpoint of this.endpoints) endpoint.wake(now);
    for (const call of this.#calls) call.check(now);
    for (const check of this.#checks) check.check(now);
    for (const endpoint of this.endpoints) endpoint.check(now);
    for (const endpoint of this.#further.values()) endpoint.check(now);
    const urgent =
      this.#calls.size + this.#waiters.size + this.#checks.size > 0 ||
      this.endpoints.some((one) => one.connecting);
    if (urgent) this.#arm(true);
    else if (this.#streams.size > 0) this.#arm(false);
  }

  /** A doubtful endpoint is better than none. */
  #settleFor(waiter: Waiter): void {
    const endpoint = waiter.only ?? this.#pick(undefined);
    const session = endpoint?.usable;
    if (endpoint === undefined || session === undefined) {
      this.#wakeFor(waiter);
    } else {
      this.#waiters.delete(waiter);
      waiter.start(endpoint, session);
    }
  }

  /** Ends everything under way as `closed`. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelSweep?.();
    for (const stream of this.#streams) stream.giveUp('closed', 'the client was closed');
    for (const call of this.#calls) call.giveUp('closed', 'the client was closed');
    for (const endpoint of this.endpoints) endpoint.close();
    for (const endpoint of this.#further.values()) endpoint.close();
    this.#anchor.port1.close();
  }
}

/** The error of what a closed client cannot do. */
export function closedError(call: string): QuorateError {
  return new QuorateError('ERR_CLOSED', `${call}: the client is closed`);
}
