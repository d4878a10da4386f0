/**
 * To begin another attempt where the first takes longer than most, and take what comes first: the few slow calls of many
 * are what users wait for (J. Dean, L. A. Barroso, "The Tail at Scale", CACM 2013).
 */
import { type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid } from '../core/errors.ts';
import { numberWithin, wholeNumber } from '../core/numbers.ts';
import { hedgeAttempt } from '../telemetry/channels.ts';
import type { Call } from './call.ts';
import { type Deadline, Deadlines } from './deadlines.ts';
import { LatencyWindow } from './latency.ts';
import { Rejection } from './outcome.ts';
import { Alone, type Changeable, type Policy } from './policy.ts';
import { count } from './retry.ts';
import type { RetryBudget } from './retry-budget.ts';
import type { Section, Wrap } from './section.ts';

/** After how long another attempt is begun: what this share of the calls did not take lately. */
export interface HedgePercentile {
  /** Above 0 and below 100; 95: one call in twenty has a second attempt. */
  readonly percentile: number;
  /** While fewer than 20 calls are known. */
  readonly initially: Duration;
  /** Never sooner. @defaultValue `'1ms'` */
  readonly least?: Duration | undefined;
}

/** What can be changed of a hedge while it is used. */
export interface HedgeRules {
  /** After how long without an answer another attempt is begun, and so on until there are `max`. */
  readonly after: Duration | HedgePercentile;
  /** So many attempts more than the first: a whole number from 1. @defaultValue 1 */
  readonly max?: number | undefined;
  /** What all that share it may add to the load. @defaultValue no bound but `max` */
  readonly budget?: RetryBudget | undefined;
}

/** What a hedge takes. */
export interface HedgeOptions extends HedgeRules {
  /** @defaultValue `'hedge'` */
  readonly name?: string | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** What a hedge has done. */
export interface HedgeStats {
  readonly calls: number;
  /** Attempts after the first ones. */
  readonly hedges: number;
  /** Calls whose result was that of a later attempt. */
  readonly won: number;
  /** Attempts that were not begun because the budget had nothing left. */
  readonly overBudget: number;
  /** After how long another attempt is begun now. */
  readonly afterMs: number;
}

/** A hedge. */
export interface Hedge extends Policy {
  readonly kind: 'hedge';
  stats(): HedgeStats;
  /**
   * From now on by these rules, for calls that come. What is not given is the default, but the budget stays.
   *
   * @throws `ERR_INVALID_ARGUMENT`; the old rules stay then.
   */
  reconfigure(rules: HedgeRules): void;
}

/**
 * Begins another attempt of a call that has no answer after a while; the first success is the result, and the signals of
 * the others are aborted. An attempt that fails does not end the call while another is under way; where all fail it ends
 * like the first of them. To try again what failed is for `retry`.
 *
 * Only for what may be done twice at the same time: reads above all.
 *
 * @throws `ERR_INVALID_ARGUMENT` for numbers that are none, or out of range.
 * @example
 * ```ts
 * const reads = hedge({ after: { percentile: 95, initially: '200ms' }, budget: retryBudget({ share: 0.1 }) });
 * const value = await reads.run(({ signal }) => readFromAnyReplica(key, signal));
 * ```
 */
export function hedge(options: HedgeOptions): Hedge {
  return new Hedges({ ...options });
}

interface Rules {
  readonly afterMs: number;
  readonly percentile: number | undefined;
  readonly leastMs: number;
  readonly max: number;
  readonly budget: RetryBudget | undefined;
}

const ENOUGH_CALLS = 20;
/** To look for a percentile costs as much as some calls. */
const LOOK_EVERY_MS = 100;

class Hedges extends Alone implements Wrap, Hedge, Changeable<HedgeRules> {
  override readonly kind = 'hedge';
  readonly clock: Clock;
  rules: Rules;
  /** Of the percentile. */
  latency: LatencyWindow | undefined;
  hedges: number;
  won: number;
  overBudget: number;
  #calls: number;
  #deadlines: Deadlines;
  #afterMs: number;
  #lookAtMs: number;

  constructor(options: HedgeOptions) {
    super(options.name ?? 'hedge');
    this.clock = options.clock ?? systemClock;
    this.rules = rulesOf(options);
    this.latency = this.#latencyFor(this.rules);
    this.hedges = 0;
    this.won = 0;
    this.overBudget = 0;
    this.#calls = 0;
    this.#afterMs = this.rules.afterMs;
    this.#deadlines = new Deadlines(this.clock, this.#afterMs);
    this.#lookAtMs = Number.NEGATIVE_INFINITY;
  }

  stats(): HedgeStats {
    const { hedges, won, overBudget } = this;
    this.#look();
    return { calls: this.#calls, hedges, won, overBudget, afterMs: this.#afterMs };
  }

  reconfigure(rules: HedgeRules): void {
    this.prepare(rules)();
  }

  prepare(rules: HedgeRules): () => void {
    const checked = rulesOf({ ...rules, budget: rules.budget ?? this.rules.budget });
    return () => {
      this.rules = checked;
      this.latency = this.#latencyFor(checked);
      this.#setAfter(checked.afterMs);
      this.#lookAtMs = Number.NEGATIVE_INFINITY;
    };
  }

  around(call: Call, inner: Section): Promise<unknown> {
    this.#calls += 1;
    const { budget } = this.rules;
    if (budget !== undefined) count(call, budget);
    this.#look();
    return new Promise((resolve, reject) => {
      new Race(this, this.#deadlines, call, inner, resolve, reject).begin();
    });
  }

  /** What was known of the time that calls take stays known. */
  #latencyFor({ percentile }: Rules): LatencyWindow | undefined {
    if (percentile === undefined) return undefined;
    return this.latency ?? new LatencyWindow({ clock: this.clock });
  }

  #look(): void {
    if (this.latency === undefined) return;
    const nowMs = this.clock.now();
    // A clock that jumps back would have it wait for long.
    if (nowMs < this.#lookAtMs && nowMs >= this.#lookAtMs - LOOK_EVERY_MS) return;
    this.#lookAtMs = nowMs + LOOK_EVERY_MS;
    const { afterMs, percentile, leastMs } = this.rules;
    const isKnown = this.latency.count >= ENOUGH_CALLS;
    const seenMs = isKnown ? this.latency.percentileMs(percentile!) : undefined;
    this.#setAfter(Math.max(leastMs, seenMs ?? afterMs));
  }

  #setAfter(afterMs: number): void {
    if (afterMs === this.#afterMs) return;
    this.#afterMs = afterMs;
    // Those that wait are in the old list.
    this.#deadlines = new Deadlines(this.clock, afterMs);
  }
}

/** The attempts of one call. */
class Race {
  readonly #hedges: Hedges;
  readonly #rules: Rules;
  readonly #deadlines: Deadlines;
  readonly #call: Call;
  readonly #inner: Section;
  readonly #resolve: (result: unknown) => void;
  readonly #reject: (error: unknown) => void;
  readonly #beganMs: number;
  /** Those under way; where one has ended there is none. */
  readonly #attempts: (Call | undefined)[];
  #running: number;
  #isOver: boolean;
  #next: Deadline | undefined;
  /** Ends the call like the first attempt. */
  #fail: (() => void) | undefined;

  constructor(
    hedges: Hedges,
    deadlines: Deadlines,
    call: Call,
    inner: Section,
    resolve: (result: unknown) => void,
    reject: (error: unknown) => void,
  ) {
    this.#hedges = hedges;
    this.#rules = hedges.rules;
    this.#deadlines = deadlines;
    this.#call = call;
    this.#inner = inner;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#beganMs = hedges.latency === undefined ? 0 : hedges.clock.now();
    this.#attempts = [];
    this.#running = 0;
    this.#isOver = false;
    this.#next = undefined;
    this.#fail = undefined;
  }

  begin(): void {
    this.#start();
    this.#awaitNext();
  }

  #start(): void {
    const index = this.#attempts.length;
    const attempt = this.#call.fork(this.#call.attempt + index);
    this.#attempts.push(attempt);
    this.#running += 1;
    this.#inner.result(attempt).then(
      (result) => {
        if (result instanceof Rejection) this.#onFailure(index, () => this.#resolve(result));
        else this.#onSuccess(index, result);
      },
      (error: unknown) => this.#onFailure(index, () => this.#reject(error)),
    );
  }

  #awaitNext(): void {
    if (this.#attempts.length > this.#rules.max) return;
    const due = new Promise<void>((resolve) => {
      this.#next = this.#deadlines.begin(resolve);
    });
    // The timer is that of many calls. A reaction keeps what the caller has in its `AsyncLocalStorage`, for the work to see it.
    void due.then(() => this.#onDue());
  }

  #onDue(): void {
    this.#next = undefined;
    if (this.#isOver || this.#call.isAborted) return;
    const { budget } = this.#rules;
    if (budget !== undefined && !budget.tryTake()) {
      this.#hedges.overBudget += 1;
      return;
    }
    this.#hedges.hedges += 1;
    const { name: policy } = this.#hedges;
    const number = this.#call.attempt + this.#attempts.length;
    this.#call.watcher?.hedges(policy, number);
    if (hedgeAttempt.hasSubscribers) hedgeAttempt.publish({ policy, attempt: number });
    this.#start();
    this.#awaitNext();
  }

  #onSuccess(index: number, result: unknown): void {
    if (this.#isOver) return;
    const { latency, clock } = this.#hedges;
    // Where the first attempt lost, it took at least as long as this.
    latency?.record(clock.now() - this.#beganMs);
    if (index > 0) this.#hedges.won += 1;
    this.#attempts[index] = undefined;
    this.#end();
    this.#resolve(result);
  }

  #onFailure(index: number, fail: () => void): void {
    this.#attempts[index] = undefined;
    this.#running -= 1;
    if (this.#isOver) return;
    if (index === 0) this.#fail = fail;
    if (this.#running > 0) return;
    this.#end();
    (this.#fail ?? fail)();
  }

  #end(): void {
    this.#isOver = true;
    if (this.#next !== undefined) {
      this.#deadlines.end(this.#next);
      // Its promise is not to wait for ever; nothing is due any more.
      this.#next.onDue();
    }
    for (const attempt of this.#attempts) attempt?.abort(slower(), 'ignored');
    this.#call.forgetAttempts();
  }
}

let slowerReason: DOMException | undefined;

/** Why attempts end that were not needed: the same for all of them, an error costs more than an attempt. */
function slower(): DOMException {
  slowerReason ??= new DOMException('another attempt was quicker', 'AbortError');
  return slowerReason;
}

function rulesOf(given: HedgeRules): Rules {
  const { after, budget } = given;
  const max = wholeNumber('max', given.max ?? 1, 1);
  if (typeof after !== 'object' || after === null) {
    const afterMs = durationMs(after, 'after');
    if (afterMs > 0) return { afterMs, percentile: undefined, leastMs: 0, max, budget };
    throw invalid('after: 0, so that each call would be made twice');
  }
  const { percentile, initially, least = 1 } = after;
  numberWithin('after.percentile', percentile, 0, 100);
  if (percentile === 0 || percentile === 100)
    throw invalid(`after.percentile: ${percentile}; a number between 0 and 100 is needed`);
  const leastMs = durationMs(least, 'after.least');
  const afterMs = Math.max(leastMs, durationMs(initially, 'after.initially'));
  if (leastMs <= 0) throw invalid('after.least: 0, so that calls could be made twice at once');
  return { afterMs, percentile, leastMs, max, budget };
}
