/** A limit for how many calls run at the same time that finds out itself how many that are. */
import { type Clock, systemClock } from '../core/clock.ts';
import { invalid, isQuorateError } from '../core/errors.ts';
import { wholeNumber } from '../core/numbers.ts';
import { AdaptiveLimit, type Said } from './adaptive-limit.ts';
import type { Call, End } from './call.ts';
import { Rejection } from './outcome.ts';
import { Alone, type Changeable, type Policy } from './policy.ts';
import type { Gate, Ticket } from './section.ts';
import { SteadyClock } from './steady-clock.ts';
import { WaitingCalls } from './waiting-calls.ts';

/** What can be changed of an adaptive limit while it is used. */
export interface AdaptiveRules {
  /** The limit never goes below: a whole number from 1. @defaultValue 1 */
  readonly min?: number | undefined;
  /** The limit never goes above. @defaultValue 200 */
  readonly max?: number | undefined;
  /** So many more wait for a place, first come, first served. @defaultValue 0 */
  readonly queue?: number | undefined;
  /**
   * Whether a failure says that what is called has too much to do; other failures say nothing about the limit.
   * @defaultValue `ERR_TIMEOUT`, `ERR_OVERLOADED` and `ERR_RATE_LIMITED`, and timeouts further in
   */
  readonly isOverload?: ((error: unknown) => boolean) | undefined;
}

/** What an adaptive limit takes. */
export interface AdaptiveOptions extends AdaptiveRules {
  /** The limit at first, from `min` to `max`. @defaultValue 20, or the nearest of these */
  readonly initial?: number | undefined;
  /** @defaultValue `'adaptive'` */
  readonly name?: string | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** How an adaptive limit stands. */
export interface AdaptiveStats {
  /** So many may run now; while it measures what calls take without load, half of what may run otherwise. */
  readonly limit: number;
  readonly running: number;
  readonly queued: number;
  readonly refused: number;
  /** What calls take without load, as far as it is known. */
  readonly unloadedMs: number | undefined;
  /** What they took lately. */
  readonly loadedMs: number | undefined;
}

/** An adaptive limit. */
export interface Adaptive extends Policy {
  readonly kind: 'adaptive';
  stats(): AdaptiveStats;
  /**
   * From now on by these rules. What is not given is the default, but `isOverload` stays; so does the limit, within the
   * new bounds.
   *
   * @throws `ERR_INVALID_ARGUMENT`; the old rules stay then.
   */
  reconfigure(rules: AdaptiveRules): void;
}

/**
 * Lets so many calls run at the same time as what they call can do, and refuses the others with `ERR_OVERLOADED`. How many
 * these are it finds out from how long calls take: more than without load, and there are too many. That is measured anew every
 * ten seconds while there is load, with half of the limit for some tens of calls.
 *
 * The time that a call waits for its place does not count. It belongs inside of a retry, and directly around what it is to
 * protect.
 *
 * @throws `ERR_INVALID_ARGUMENT` for numbers that are none, and bounds that leave nothing between them.
 * @example
 * ```ts
 * const backend = adaptive({ max: 500, queue: 50 });
 * await backend.run(({ signal }) => fetch(url, { signal }));
 * ```
 */
export function adaptive(options: AdaptiveOptions = {}): Adaptive {
  return new AdaptivePlaces(options);
}

interface Rules {
  readonly min: number;
  readonly max: number;
  readonly queue: number;
  readonly isOverload: (error: unknown) => boolean;
}

class AdaptivePlaces extends Alone implements Gate, Adaptive, Changeable<AdaptiveRules> {
  override readonly kind = 'adaptive';
  readonly #time: SteadyClock;
  readonly #limit: AdaptiveLimit;
  readonly #waiting: WaitingCalls;
  readonly #full: Rejection;
  #rules: Rules;
  #running: number;
  #refused: number;

  constructor(options: AdaptiveOptions) {
    super(options.name ?? 'adaptive');
    this.#time = new SteadyClock(options.clock ?? systemClock);
    this.#rules = rulesOf(options);
    const { min, max } = this.#rules;
    const initial = options.initial ?? Math.min(max, Math.max(min, 20));
    if (wholeNumber('initial', initial, min) > max)
      throw invalid(`initial: ${initial}, more than max, ${max}`);
    this.#limit = new AdaptiveLimit(initial, min, max);
    this.#waiting = new WaitingCalls(1);
    this.#full = new Rejection('full', this.name);
    this.#running = 0;
    this.#refused = 0;
  }

  stats(): AdaptiveStats {
    return {
      limit: this.#limit.limit,
      running: this.#running,
      queued: this.#waiting.length,
      refused: this.#refused,
      unloadedMs: this.#limit.unloadedMs,
      loadedMs: this.#limit.loadedMs,
    };
  }

  reconfigure(rules: AdaptiveRules): void {
    this.prepare(rules)();
  }

  prepare(rules: AdaptiveRules): () => void {
    const checked = rulesOf({ ...rules, isOverload: rules.isOverload ?? this.#rules.isOverload });
    return () => {
      this.#rules = checked;
      this.#limit.setBounds(checked.min, checked.max);
      this.#serve(this.#time.now());
    };
  }

  enter(call: Call): number | Rejection | Promise<Ticket | Rejection> {
    const nowMs = this.#time.now();
    if (this.#running < this.#limit.limit) return this.#begin(nowMs);
    if (this.#waiting.length < this.#rules.queue) return this.#waiting.wait(call, 0, nowMs);
    this.#refused += 1;
    return this.#full;
  }

  leave(beganMs: number, end: End, result: unknown): void {
    const nowMs = this.#time.now();
    this.#running -= 1;
    try {
      const said = end === 'success' ? end : this.#said(end, result);
      this.#limit.onEnd(said, beganMs, nowMs, this.#running);
    } finally {
      this.#serve(nowMs);
    }
  }

  #begin(nowMs: number): number {
    this.#running += 1;
    this.#limit.onBegin(nowMs, this.#running);
    return nowMs;
  }

  #said(end: End, result: unknown): Said {
    if (end !== 'failure') return 'nothing';
    const isOverload = result instanceof Rejection || this.#rules.isOverload(result);
    return isOverload ? 'overload' : 'nothing';
  }

  #serve(nowMs: number): void {
    while (this.#waiting.length > 0 && this.#running < this.#limit.limit) {
      const next = this.#waiting.next(false)!;
      this.#waiting.remove(next);
      next.resolve(this.#begin(nowMs));
    }
  }
}

function rulesOf(given: AdaptiveRules): Rules {
  const { min = 1, max = 200, queue = 0, isOverload = saysOverload } = given;
  wholeNumber('min', min, 1);
  if (wholeNumber('max', max, 1) < min) throw invalid(`max: ${max}, which is below min, ${min}`);
  return { min, max, queue: wholeNumber('queue', queue, 0), isOverload };
}

function saysOverload(error: unknown): boolean {
  return (
    isQuorateError(error, 'ERR_TIMEOUT') ||
    isQuorateError(error, 'ERR_OVERLOADED') ||
    isQuorateError(error, 'ERR_RATE_LIMITED')
  );
}
