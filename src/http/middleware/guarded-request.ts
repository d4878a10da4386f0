/** A request under way: what its handler may ask about it, and what becomes of it. */
import type { Cancel, Clock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import type { RequestHeaders } from '../../core/headers.ts';
import { Call, type CallDeadline, type CallOptions, type End } from '../../resilience/call.ts';
import { carried, requestAround } from '../../resilience/deadline.ts';
import type { Deadline } from '../../resilience/deadlines.ts';
import type { Ticket } from '../../resilience/section.ts';
import type { Refusal } from './refusal.ts';
import { formatTraceParent, type TraceParent } from './trace-context.ts';

/** The request for which code runs. */
export interface RequestContext {
  /** That of the client if it is harmless, else our own. */
  readonly requestId: string;
  /**
   * Aborted when nobody waits for the answer any more: the client went away, or its deadline is over. Made when it is first
   * looked at.
   */
  readonly signal: AbortSignal;
  /** Milliseconds until its deadline, at least 0; `undefined` where it has none. */
  readonly remainingMs: number | undefined;
  /** The trace it is part of: the same for all services that have to do with it. */
  readonly traceId: string;
  /** Our own part of the trace; for what this service calls it is the parent. */
  readonly spanId: string;
  /** Whether others are asked to record the trace. */
  readonly isSampled: boolean;
}

/** What an adapter for a framework does with a request, in this order. */
export interface GuardedRequest extends RequestContext {
  /** As the framework has it. */
  readonly native: unknown;
  /** Whether it is let in: `undefined`, or the answer that it gets. Never rejects. */
  enter(): Refusal | undefined | Promise<Refusal | undefined>;
  /**
   * How to answer where its time is over after it was let in: called once at most. Whoever asks for the refusal has to send it: it
   * counts as one.
   */
  late<T>(response: T, answer: (response: T, refuse: () => Refusal) => void): void;
  /** The same request as a guard around this one has it. */
  readonly outer: GuardedRequest | undefined;
  /** Headers for the response, one by one, with names in lower case. */
  eachHeader<T>(response: T, set: (response: T, name: string, value: string) => unknown): void;
  /** Runs the handler with up to two arguments, so that `currentRequest` and deadlines within it know the request. */
  run<T, A, B>(work: (one: A, other: B) => T, one: A, other: B): T;
  run<T>(work: () => T): T;
  /** The handler failed: what to say in its place; `undefined` where it got an answer already, or nobody waits for one. */
  fail(error: unknown): Refusal | undefined;
  /** The client went away. */
  gone(): void;
  /** It is over. Idempotent. */
  end(status: number): void;
}

/** What an adapter may know of a request when it begins. */
export interface BeginOptions<R> {
  /** The same request as a guard around this one has it. */
  readonly outer?: GuardedRequest | undefined;
  /** The template of its route, where the framework knows it; asked when it is over. */
  routeOf?(native: R): string | undefined;
}

/** What a request needs of its guard. */
export interface GuardCore {
  readonly clock: Clock;
  enter(request: GuardedCall): Refusal | undefined | Promise<Refusal | undefined>;
  late(request: GuardedCall): Refusal;
  failed(request: GuardedCall, error: unknown): Refusal | undefined;
  ended(request: GuardedCall, status: number): void;
  /** What `RateLimit-Policy` says. */
  readonly policy: string | undefined;
  readonly idHeader: string;
  traceOf(request: GuardedCall): TraceContext;
}

/** The trace that a request is part of. */
export interface TraceContext extends TraceParent {
  readonly spanId: string;
  readonly state: string | undefined;
}

const NO_WORK = (): undefined => undefined;

/** It is a call, so policies take it as it is; and the deadline that is carried to what runs within it. */
export class GuardedCall extends Call implements GuardedRequest, CallDeadline {
  readonly #core: GuardCore;
  /** As the framework has it. */
  readonly native: unknown;
  readonly method: string;
  readonly headers: RequestHeaders;
  readonly requestId: string;
  readonly outer: GuardedRequest | undefined;
  readonly routeOf: ((native: never) => string | undefined) | undefined;
  readonly begunMs: number;
  dueMs: number;
  #response: unknown;
  #answerLate: ((response: never, refuse: () => Refusal) => void) | undefined;
  /** `RateLimit`, where there is a limit. */
  rateLimit: string | undefined;
  ticket: Ticket | undefined;
  isIn: boolean;
  isEnded: boolean;
  isLate: boolean;
  timer: Deadline | Cancel | undefined;
  #trace: TraceContext | undefined;

  constructor(
    core: GuardCore,
    native: unknown,
    method: string,
    headers: RequestHeaders,
    requestId: string,
    options: CallOptions,
    { outer, routeOf }: BeginOptions<never>,
  ) {
    super(NO_WORK, options);
    this.#core = core;
    this.native = native;
    this.method = method;
    this.headers = headers;
    this.requestId = requestId;
    this.outer = outer;
    this.routeOf = routeOf;
    this.begunMs = core.clock.now();
    this.dueMs = Number.POSITIVE_INFINITY;
    this.#response = undefined;
    this.#answerLate = undefined;
    this.rateLimit = undefined;
    this.ticket = undefined;
    this.isIn = false;
    this.isEnded = false;
    this.isLate = false;
    this.timer = undefined;
    this.#trace = undefined;
  }

  get clock(): Clock {
    return this.#core.clock;
  }

  /** As the deadline that is carried to what runs within it. */
  get request(): this {
    return this;
  }

  override get remainingMs(): number | undefined {
    if (this.dueMs === Number.POSITIVE_INFINITY) return undefined;
    return Math.max(0, this.dueMs - this.clock.now());
  }

  get traceId(): string {
    return this.trace.traceId;
  }

  get spanId(): string {
    return this.trace.spanId;
  }

  get isSampled(): boolean {
    return this.trace.isSampled;
  }

  get trace(): TraceContext {
    const { outer } = this;
    this.#trace ??= outer instanceof GuardedCall ? outer.trace : this.#core.traceOf(this);
    return this.#trace;
  }

  enter(): Refusal | undefined | Promise<Refusal | undefined> {
    return this.#core.enter(this);
  }

  eachHeader<T>(response: T, set: (response: T, name: string, value: string) => unknown): void {
    set(response, this.#core.idHeader, this.requestId);
    if (this.rateLimit === undefined) return;
    set(response, 'ratelimit', this.rateLimit);
    const { policy } = this.#core;
    if (policy !== undefined) set(response, 'ratelimit-policy', policy);
  }

  late<T>(response: T, answer: (response: T, refuse: () => Refusal) => void): void {
    this.#response = response;
    this.#answerLate = answer;
  }

  run<T, A, B>(work: (one: A, other: B) => T, one?: A, other?: B): T {
    return carried.run(this, work, one!, other!);
  }

  gone(): void {
    if (this.isEnded || this.isAborted) return;
    const message = 'the client went away before it had its answer; nobody waits for it any more';
    this.abort(new QuorateError('ERR_CLOSED', message, { outcome: 'unknown' }));
  }

  /** Its deadline is over. */
  expire(): void {
    if (this.isEnded || this.isAborted) return;
    this.isLate = true;
    const wasIn = this.isIn;
    const message = 'the deadline of the request is over; end what is under way for it';
    this.abort(new QuorateError('ERR_TIMEOUT', message, { outcome: 'unknown', retryable: true }));
    if (wasIn) this.#answerLate?.(this.#response as never, () => this.#core.late(this));
  }

  fail(error: unknown): Refusal | undefined {
    return this.#core.failed(this, error);
  }

  end(status: number): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.#core.ended(this, status);
  }

  /** What its end says about the work, for policies that judge it. */
  endOf(status: number): End {
    if (this.isLate || status >= 500) return 'failure';
    return this.isAborted ? 'ignored' : 'success';
  }
}

/**
 * The request for which the code runs that calls this: in its handler and everything that awaits there, however deep;
 * `undefined` outside. In listeners of events it may be unknown: take what is needed before.
 *
 * @example
 * ```ts
 * log.info({ requestId: currentRequest()?.requestId }, 'stored');
 * ```
 */
export function currentRequest(): RequestContext | undefined {
  const request = requestAround();
  return request instanceof GuardedCall ? request : undefined;
}

/**
 * The headers that make what this service calls part of the trace of the request: `traceparent`, and `tracestate` where
 * there is one (W3C Trace Context). None outside of requests.
 *
 * @example
 * ```ts
 * await fetch(url, { headers: { ...traceHeaders(), ...deadlineHeaders() } });
 * ```
 */
export function traceHeaders(): { readonly traceparent?: string; readonly tracestate?: string } {
  const request = requestAround();
  if (!(request instanceof GuardedCall)) return {};
  const { traceId, spanId, isSampled, state } = request.trace;
  const traceparent = formatTraceParent({ traceId, parentId: spanId, isSampled });
  return state === undefined ? { traceparent } : { traceparent, tracestate: state };
}
