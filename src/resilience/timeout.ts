/** A limit for how long a call may take. */
import { type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid } from '../core/errors.ts';
import type { Call } from './call.ts';
import { type Deadline, Deadlines } from './deadlines.ts';
import { Rejection, tellRejected } from './outcome.ts';
import { Alone, type Changeable, type Policy } from './policy.ts';
import type { Next, Section, Wrap } from './section.ts';

/** What a timeout takes, besides how long. */
export interface TimeoutOptions {
  /** @defaultValue `'timeout'` */
  readonly name?: string | undefined;
  /**
   * Whether the caller waits for work that does not end although its signal was aborted. @defaultValue `false`: the call
   * ends in time, and what the work still does is on its own
   */
  readonly cooperative?: boolean | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** What can be changed of a timeout while it is used. */
export interface TimeoutRules {
  /** How long a call may take. */
  readonly after: Duration;
}

/** What a timeout has done. */
export interface TimeoutStats {
  /** How long a call may take. */
  readonly afterMs: number;
  /** Calls that took longer. */
  readonly exceeded: number;
}

/** A timeout. */
export interface Timeout extends Policy {
  readonly kind: 'timeout';
  stats(): TimeoutStats;
  /** From now on by this time, for calls that begin. @throws `ERR_INVALID_ARGUMENT`; the old time stays then */
  reconfigure(rules: TimeoutRules): void;
}

/**
 * Ends calls that take longer with `ERR_TIMEOUT` of `outcome: 'unknown'`, and aborts the signal of their work. What is
 * inside it is told that the work failed; a bulkhead inside keeps the place until the work has ended.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a time that is none, or 0.
 * @example
 * ```ts
 * const body = await timeout('2s').run(({ signal }) => fetch(url, { signal }));
 * ```
 */
export function timeout(after: Duration, options: TimeoutOptions = {}): Timeout {
  return new TimeoutWrap(after, options);
}

class TimeoutWrap extends Alone implements Wrap, Timeout, Changeable<TimeoutRules> {
  override readonly kind = 'timeout';
  readonly #clock: Clock;
  #afterMs: number;
  #deadlines: Deadlines;
  readonly #isCooperative: boolean;
  #exceeded: number;

  constructor(after: Duration, options: TimeoutOptions) {
    super(options.name ?? 'timeout');
    this.#clock = options.clock ?? systemClock;
    this.#afterMs = afterMsOf({ after });
    this.#deadlines = new Deadlines(this.#clock, this.#afterMs);
    this.#isCooperative = options.cooperative === true;
    this.#exceeded = 0;
  }

  stats(): TimeoutStats {
    return { afterMs: this.#afterMs, exceeded: this.#exceeded };
  }

  reconfigure(rules: TimeoutRules): void {
    this.prepare(rules)();
  }

  prepare(rules: TimeoutRules): () => void {
    const afterMs = afterMsOf(rules);
    const deadlines = new Deadlines(this.#clock, afterMs);
    return () => {
      this.#afterMs = afterMs;
      this.#deadlines = deadlines;
    };
  }

  around(call: Call, inner: Section): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timed = new TimedCall(call.fork(call.attempt), this.#deadlines, resolve, reject);
      timed.deadline = this.#deadlines.begin(() => {
        this.#exceeded += 1;
        timed.end(new Rejection('timeout', this.name, undefined, true), this.#isCooperative);
      });
      void inner.result(timed.attempt, timed);
    });
  }
}

/** Ends with what is inside, or in time. */
class TimedCall implements Next {
  readonly attempt: Call;
  readonly #deadlines: Deadlines;
  readonly #resolve: (result: unknown) => void;
  readonly #reject: (error: unknown) => void;
  deadline: Deadline | undefined;
  #late: Rejection | undefined;

  constructor(
    attempt: Call,
    deadlines: Deadlines,
    resolve: (result: unknown) => void,
    reject: (error: unknown) => void,
  ) {
    this.attempt = attempt;
    this.#deadlines = deadlines;
    this.#resolve = resolve;
    this.#reject = reject;
    this.deadline = undefined;
    this.#late = undefined;
  }

  end(late: Rejection, isCooperative: boolean): void {
    this.#late = late;
    tellRejected(late);
    this.attempt.abort(late.error, 'failure');
    if (!isCooperative) this.#resolve(late);
  }

  ended(result: unknown): void {
    this.#deadlines.end(this.deadline!);
    this.#resolve(result);
  }

  failed(error: unknown): void {
    this.#deadlines.end(this.deadline!);
    // That the work failed is what it was asked for then.
    if (this.#late === undefined) this.#reject(error);
    else this.#resolve(this.#late);
  }
}

function afterMsOf({ after }: TimeoutRules): number {
  const afterMs = durationMs(after, 'after');
  if (afterMs > 0) return afterMs;
  throw invalid('after: 0, so that every call would be too late');
}
