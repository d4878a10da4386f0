/**
 * Faults on purpose, by rate and seed: what a dependency does that is slow, fails, or never answers, for tests of what guards
 * calls to it.
 */
import { type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid, QuorateError } from '../core/errors.ts';
import { numberWithin, wholeNumber } from '../core/numbers.ts';
import { type Random, seededRandom } from '../core/random.ts';
import type { Call } from '../resilience/call.ts';
import { Alone, type Changeable, type Policy } from '../resilience/policy.ts';
import type { Section, Wrap } from '../resilience/section.ts';

/** Calls that fail. */
export interface ErrorFault {
  /** The share of calls, from 0 to 1. */
  readonly rate: number;
  /** Makes what is thrown; `count` is 1 for the first. @defaultValue `ERR_UNAVAILABLE`, which may be tried again */
  readonly make?: ((count: number) => unknown) | undefined;
  /** The work is done first, and only its answer is lost. @defaultValue `false`: it is not begun */
  readonly afterWork?: boolean | undefined;
}

/** Calls that are late. */
export interface LatencyFault {
  /** The share of calls, from 0 to 1. */
  readonly rate: number;
  /** How late the work begins; or give `min` and `max`. */
  readonly delay?: Duration | undefined;
  /** At least so late. @defaultValue 0 */
  readonly min?: Duration | undefined;
  /** At most so late: anything between is as likely. */
  readonly max?: Duration | undefined;
}

/** Calls that are never answered: they end when they are aborted, and not before. */
export interface DropFault {
  /** The share of calls, from 0 to 1. */
  readonly rate: number;
  /** The work is done first, and only its answer is lost. @defaultValue `false`: it is not begun */
  readonly afterWork?: boolean | undefined;
}

/** Which faults there are. What is not given does not happen. */
export interface FaultRules {
  /** Together with `drop` at most all calls: one call has one end. */
  readonly error?: ErrorFault | undefined;
  /** Also of calls that fail after that. */
  readonly latency?: LatencyFault | undefined;
  /** Together with `error` at most all calls. */
  readonly drop?: DropFault | undefined;
}

/** What faults take. */
export interface FaultOptions extends FaultRules {
  /** The same seed gives the same faults to the same order of calls. A whole number from 0 and below 2^32. @defaultValue 1 */
  readonly seed?: number | undefined;
  /** In the place of a seed. */
  readonly random?: Random | undefined;
  /** What delays are counted by. @defaultValue the system's */
  readonly clock?: Clock | undefined;
  /** @defaultValue `'faults'` */
  readonly name?: string | undefined;
}

/** What became of calls. Counters only grow. */
export interface FaultStats {
  /** Calls that came, also while it was off. */
  readonly calls: number;
  readonly errors: number;
  readonly delayed: number;
  readonly dropped: number;
  /** Under way now: being late, or dropped and not yet aborted. */
  readonly waiting: number;
}

/** Faults on purpose. */
export interface Faults extends Policy {
  /** Whether faults happen. On at first. */
  readonly isOn: boolean;
  /** Faults happen or not, for calls that come: off is a dependency that is well again. */
  switchTo(mode: 'on' | 'off'): void;
  stats(): FaultStats;
  /**
   * From now on by these rules, for calls that come. What is not given does not happen any more, but `make` stays.
   *
   * @throws `ERR_INVALID_ARGUMENT`; the old rules stay then.
   */
  reconfigure(rules: FaultRules): void;
}

/**
 * A policy that does harm: a share of the calls is late, fails, or is never answered. Put it innermost, in the place of what
 * the others guard against; alone it spoils any function.
 *
 * A seed decides: the same calls in the same order have the same faults, whatever else changes. A change of one rate does
 * not move the faults of another kind to other calls.
 *
 * @throws `ERR_INVALID_ARGUMENT` for rates that are no numbers from 0 to 1, or more than 1 together; for delays that are
 * none or missing; for both a seed and a `random`.
 * @example
 * ```ts
 * const storm = faults({ seed: 7, error: { rate: 0.2 }, latency: { rate: 0.1, delay: '2s' }, clock });
 * const guarded = pipeline('stock', [timeout('1s', { clock }), retry({ clock }), storm]);
 * ```
 */
export function faults(options: FaultOptions = {}): Faults {
  return new FaultWrap(options);
}

interface Rules {
  readonly errorRate: number;
  readonly make: ((count: number) => unknown) | undefined;
  readonly isErrorAfterWork: boolean;
  readonly dropRate: number;
  readonly isDropAfterWork: boolean;
  readonly latencyRate: number;
  readonly minMs: number;
  readonly maxMs: number;
}

const MAX_SEED = 2 ** 32 - 1;

class FaultWrap extends Alone implements Wrap, Faults, Changeable<FaultRules> {
  readonly #clock: Clock;
  readonly #random: Random;
  #rules: Rules;
  #isOn: boolean;
  #calls: number;
  #errors: number;
  #delayed: number;
  #dropped: number;
  #waiting: number;

  constructor(options: FaultOptions) {
    super(options.name ?? 'faults');
    this.#clock = options.clock ?? systemClock;
    this.#random = randomOf(options);
    this.#rules = rulesOf(options);
    this.#isOn = true;
    this.#calls = 0;
    this.#errors = 0;
    this.#delayed = 0;
    this.#dropped = 0;
    this.#waiting = 0;
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  switchTo(mode: 'on' | 'off'): void {
    if (mode !== 'on' && mode !== 'off')
      throw invalid(`mode: ${String(mode)}; on or off is needed`);
    this.#isOn = mode === 'on';
  }

  stats(): FaultStats {
    return {
      calls: this.#calls,
      errors: this.#errors,
      delayed: this.#delayed,
      dropped: this.#dropped,
      waiting: this.#waiting,
    };
  }

  reconfigure(rules: FaultRules): void {
    this.prepare(rules)();
  }

  prepare(rules: FaultRules): () => void {
    const checked = rulesOf(rules);
    // Rules from a file or a store hold no functions.
    const { make = this.#rules.make } = checked;
    return () => {
      this.#rules = { ...checked, make };
    };
  }

  async around(call: Call, inner: Section): Promise<unknown> {
    this.#calls += 1;
    if (!this.#isOn) return inner.result(call);
    const rules = this.#rules;
    // As many numbers for each call, so that each call has the same faults whatever the rates are.
    const late = this.#draw();
    const delay = this.#draw();
    const end = this.#draw();
    if (late < rules.latencyRate) {
      this.#delayed += 1;
      await this.#wait(call, rules.minMs + delay * (rules.maxMs - rules.minMs));
    }
    if (end < rules.errorRate) {
      if (rules.isErrorAfterWork) await ended(inner.result(call));
      this.#errors += 1;
      throw this.#error(rules);
    }
    if (end >= 1 - rules.dropRate) {
      if (rules.isDropAfterWork) await ended(inner.result(call));
      this.#dropped += 1;
      return this.#wait(call, Number.POSITIVE_INFINITY);
    }
    return inner.result(call);
  }

  #draw(): number {
    return this.#random.below(2 ** 32) / 2 ** 32;
  }

  /** Resolves after the delay, or rejects as soon as the call is aborted. */
  #wait(call: Call, delayMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (call.isAborted) return reject(call.abortReason);
      this.#waiting += 1;
      const over = (): void => {
        this.#waiting -= 1;
        call.onAbort(undefined);
      };
      const onTime = (): void => {
        over();
        resolve();
      };
      const cancel =
        delayMs === Number.POSITIVE_INFINITY ? undefined : this.#clock.after(delayMs, onTime, true);
      call.onAbort(() => {
        over();
        cancel?.();
        reject(call.abortReason);
      });
    });
  }

  #error({ make, isErrorAfterWork }: Rules): unknown {
    if (make !== undefined) return make(this.#errors);
    return new QuorateError('ERR_UNAVAILABLE', `${this.name}: failed on purpose`, {
      retryable: true,
      outcome: isErrorAfterWork ? 'unknown' : 'not-applied',
    });
  }
}

/** How the work ends is what gets lost. */
async function ended(result: Promise<unknown>): Promise<void> {
  try {
    await result;
  } catch {
    // As lost as a value.
  }
}

function randomOf({ seed, random }: FaultOptions): Random {
  if (random === undefined) return seededRandom(wholeNumber('seed', seed ?? 1, 0, MAX_SEED));
  if (seed === undefined) return random;
  throw invalid('seed: there is a random as well; one of them is needed');
}

function rulesOf({ error, latency, drop }: FaultRules): Rules {
  const errorRate = numberWithin('error.rate', error === undefined ? 0 : error.rate, 0, 1);
  const dropRate = numberWithin('drop.rate', drop === undefined ? 0 : drop.rate, 0, 1);
  const latencyRate = numberWithin('latency.rate', latency === undefined ? 0 : latency.rate, 0, 1);
  if (errorRate + dropRate > 1) {
    throw invalid(
      `error.rate and drop.rate: ${errorRate + dropRate} together; at most 1 is possible`,
    );
  }
  const make = error?.make;
  if (make !== undefined && typeof make !== 'function') {
    throw invalid('error.make: a function is needed');
  }
  const [minMs, maxMs] = latency === undefined ? [0, 0] : delaysOf(latency);
  return {
    errorRate,
    make,
    isErrorAfterWork: error?.afterWork === true,
    dropRate,
    isDropAfterWork: drop?.afterWork === true,
    latencyRate,
    minMs,
    maxMs,
  };
}

function delaysOf({ delay, min, max }: LatencyFault): readonly [minMs: number, maxMs: number] {
  if (delay !== undefined) {
    if (min !== undefined || max !== undefined) {
      throw invalid('latency.delay: there is a min or max as well; delay alone, or max, is needed');
    }
    const delayMs = durationMs(delay, 'latency.delay');
    return [delayMs, delayMs];
  }
  if (max === undefined) throw invalid('latency.delay: missing; delay or max is needed');
  const minMs = durationMs(min ?? 0, 'latency.min');
  const maxMs = durationMs(max, 'latency.max');
  if (minMs <= maxMs) return [minMs, maxMs];
  throw invalid(`latency.max: ${maxMs} ms, which is below min, ${minMs} ms`);
}
