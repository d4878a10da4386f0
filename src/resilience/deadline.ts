/**
 * The moment by which somebody needs the result, carried on to all that is called for it: to nested pipelines through the
 * asynchronous context, to other processes in a header. What nobody waits for any more is not begun.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid } from '../core/errors.ts';
import { headerOf, type RequestHeaders } from '../core/headers.ts';
import type { Call, CallContext, CallDeadline } from './call.ts';
import { type Deadline, Deadlines } from './deadlines.ts';
import { Rejection, tellRejected } from './outcome.ts';
import { Alone, type Changeable, type Policy } from './policy.ts';
import type { Section, Wrap } from './section.ts';

/** What can be changed of a deadline policy while it is used. */
export interface DeadlineRules {
  /** A call may take so long, or as long as what calls it has left. @defaultValue only that */
  readonly after?: Duration | undefined;
  /** A call with less than this left is not begun: what it takes at least. @defaultValue 0 */
  readonly least?: Duration | undefined;
}

/** What a deadline policy takes. */
export interface DeadlineOptions extends DeadlineRules {
  /** @defaultValue `'deadline'` */
  readonly name?: string | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** What a deadline policy has done. */
export interface DeadlineStats {
  readonly calls: number;
  /** Not begun: too little time was left. */
  readonly refused: number;
  /** Ended by the deadline. */
  readonly exceeded: number;
}

/** A deadline policy. */
export interface DeadlinePolicy extends Policy {
  readonly kind: 'deadline';
  stats(): DeadlineStats;
  /**
   * From now on by these rules, for calls that come. What is not given is the default.
   *
   * @throws `ERR_INVALID_ARGUMENT`; the old rules stay then.
   */
  reconfigure(rules: DeadlineRules): void;
}

/**
 * Gives calls a deadline, and keeps the one that they have where that is earlier: of a `deadline` around this one, in the
 * same pipeline or any that is used within its work, or of `withDeadline`. Their work sees what is left as `remainingMs`.
 *
 * A call with no time left is refused at once with the reason `'deadline'` (`ERR_TIMEOUT` of `outcome: 'not-applied'`).
 * One that is under way then is ended likewise with `outcome: 'unknown'`, and its signal aborted. A call that had all of
 * `after` counts as a failure of its work; one that had less says nothing about that, so impatient callers open no breaker.
 *
 * @throws `ERR_INVALID_ARGUMENT` for what is no duration, and an `after` of 0 or not above `least`.
 * @example
 * ```ts
 * const calls = deadline({ after: '2s' });
 * await calls.run(({ signal, remainingMs }) => fetchStock({ signal, timeoutMs: remainingMs }));
 * ```
 */
export function deadline(options: DeadlineOptions = {}): DeadlinePolicy {
  return new DeadlineWrap(options);
}

/** What everything called within it is bound by. A request without a deadline has one that never comes. */
export const carried = new AsyncLocalStorage<CallDeadline>();

interface Rules {
  readonly afterMs: number;
  readonly leastMs: number;
  /** Of the calls that have all of it. */
  readonly deadlines: Deadlines | undefined;
}

class DeadlineWrap extends Alone implements Wrap, DeadlinePolicy, Changeable<DeadlineRules> {
  override readonly kind = 'deadline';
  readonly #clock: Clock;
  readonly #refusal: Rejection;
  #rules: Rules;
  #calls: number;
  #refused: number;
  #exceeded: number;

  constructor(options: DeadlineOptions) {
    super(options.name ?? 'deadline');
    this.#clock = options.clock ?? systemClock;
    this.#refusal = new Rejection('deadline', this.name);
    this.#rules = rulesOf(options, this.#clock);
    this.#calls = 0;
    this.#refused = 0;
    this.#exceeded = 0;
  }

  stats(): DeadlineStats {
    return { calls: this.#calls, refused: this.#refused, exceeded: this.#exceeded };
  }

  reconfigure(rules: DeadlineRules): void {
    this.prepare(rules)();
  }

  prepare(rules: DeadlineRules): () => void {
    const checked = rulesOf(rules, this.#clock);
    return () => {
      this.#rules = checked;
    };
  }

  around(call: Call, inner: Section): Promise<unknown> {
    this.#calls += 1;
    const { afterMs, leastMs, deadlines } = this.#rules;
    const outer = earlier(call.deadline, carried.getStore());
    const outerMs = leftMs(outer);
    const nowMs = this.#clock.now();
    if (outerMs <= leastMs) {
      this.#refused += 1;
      tellRejected(this.#refusal);
      return Promise.resolve(this.#refusal);
    }
    if (outer !== undefined && outerMs <= afterMs)
      return this.#within(call, inner, outer, (onDue) => endAfter(this.#clock, outerMs, onDue));
    if (deadlines === undefined) return inner.result(call);
    const own = { dueMs: nowMs + afterMs, clock: this.#clock, request: requestAround() };
    return this.#within(call, inner, own, (onDue) => endIn(deadlines, onDue), 'failure');
  }

  #within(
    call: Call,
    inner: Section,
    deadline: CallDeadline,
    begin: (onDue: () => void) => () => void,
    end: 'failure' | 'ignored' = 'ignored',
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const attempt = call.fork(call.attempt);
      attempt.deadline = deadline;
      let late: Rejection | undefined;
      const stop = begin(() => {
        this.#exceeded += 1;
        late = new Rejection('deadline', this.name, undefined, true, end);
        tellRejected(late);
        attempt.abort(late.error, end);
        resolve(late);
      });
      carried
        .run(deadline, () => inner.result(attempt))
        .then(
          (result) => {
            stop();
            resolve(result);
          },
          (error: unknown) => {
            stop();
            reject(error);
          },
        );
    });
  }
}

/**
 * Runs something with a deadline that all `deadline` policies within it keep, however deep; it is not ended by itself.
 * For servers, with what `deadlineFrom` read from a request. An earlier deadline that is around it stays.
 *
 * @param after - how long from now; `undefined`: it has no deadline of its own
 * @throws `ERR_INVALID_ARGUMENT` for what is no duration.
 * @example
 * ```ts
 * server.on('request', (request, response) =>
 *   withDeadline(deadlineFrom(request.headers), () => handle(request, response)),
 * );
 * ```
 */
export function withDeadline<T>(
  after: Duration | undefined,
  work: () => T,
  options: Pick<DeadlineOptions, 'clock'> = {},
): T {
  if (after === undefined) return work();
  const { clock = systemClock } = options;
  const dueMs = clock.now() + durationMs(after, 'after');
  const own = { dueMs, clock, request: requestAround() };
  return carried.run(earlier(own, carried.getStore())!, work);
}

/** A timeout in gRPC's header: up to eight digits and a unit (gRPC over HTTP2, "Timeout"). */
const TIMEOUT = /^(\d{1,8})([HMSmun])$/;
const UNITS_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};
const MOST = 99_999_999;

/**
 * The header that carries a deadline to another process: `grpc-timeout`, which says how much time is left, as a whole
 * number of at most eight digits and a unit: `H`, `M`, `S` (hours, minutes, seconds), `m` (milliseconds), `u`, `n`. Here
 * milliseconds where they fit, rounded down. Without a deadline there is no header.
 *
 * @param context - whose deadline. @defaultValue the one around where it is called
 * @example
 * ```ts
 * const calls = deadline({ after: '2s' });
 * await calls.run(({ signal }) => fetch(url, { signal, headers: deadlineHeaders() }));
 * ```
 */
export function deadlineHeaders(context?: Pick<CallContext, 'remainingMs'>): {
  readonly 'grpc-timeout'?: string;
} {
  const remainingMs = context === undefined ? remainingTimeMs() : context.remainingMs;
  if (remainingMs === undefined) return {};
  const unit = remainingMs > 0 && remainingMs < 1 ? 'u' : unitFor(remainingMs);
  const amount = Math.min(MOST, Math.floor(remainingMs / UNITS_MS[unit]!));
  return { 'grpc-timeout': `${amount}${unit}` };
}

/**
 * Milliseconds that the caller of a request gave it, read from its `grpc-timeout` header; `undefined` where there is none, or
 * none that can be read: a header that is wrong makes no request fail.
 *
 * @param headers - a `Headers` object, or a record with names in lower case as `node:http` has it
 * @example
 * ```ts
 * const leftMs = deadlineFrom(request.headers);
 * ```
 */
export function deadlineFrom(headers: RequestHeaders): number | undefined {
  const given = headerOf(headers, 'grpc-timeout');
  const [, amount, unit] = (typeof given === 'string' && TIMEOUT.exec(given.trim())) || [];
  return unit === undefined ? undefined : Number(amount) * UNITS_MS[unit]!;
}

/** Milliseconds until the deadline around where it is called; at least 0, `undefined` where there is none. */
export function remainingTimeMs(): number | undefined {
  const deadline = carried.getStore();
  if (deadline === undefined || deadline.dueMs === Number.POSITIVE_INFINITY) return undefined;
  return Math.max(0, leftMs(deadline));
}

/** The request for which this runs, as the server that took it has it. */
export function requestAround(): object | undefined {
  return carried.getStore()?.request;
}

function unitFor(ms: number): string {
  return ['m', 'S', 'M'].find((unit) => ms / UNITS_MS[unit]! < MOST + 1) ?? 'H';
}

function earlier(one: CallDeadline | undefined, other: CallDeadline | undefined) {
  if (one === other) return one;
  return leftMs(one) <= leftMs(other) ? one : other;
}

function leftMs(deadline: CallDeadline | undefined): number {
  return deadline === undefined ? Number.POSITIVE_INFINITY : deadline.dueMs - deadline.clock.now();
}

function endAfter(clock: Clock, delayMs: number, onDue: () => void): () => void {
  return clock.after(delayMs, onDue);
}

function endIn(deadlines: Deadlines, onDue: () => void): () => void {
  const due: Deadline = deadlines.begin(onDue);
  return () => deadlines.end(due);
}

function rulesOf({ after, least = 0 }: DeadlineRules, clock: Clock): Rules {
  const leastMs = durationMs(least, 'least');
  if (after === undefined)
    return { afterMs: Number.POSITIVE_INFINITY, leastMs, deadlines: undefined };
  const afterMs = durationMs(after, 'after');
  if (afterMs <= leastMs) {
    throw invalid(
      `after: ${afterMs} ms, not above least (${leastMs} ms), so that every call would be too late`,
    );
  }
  return { afterMs, leastMs, deadlines: new Deadlines(clock, afterMs) };
}
