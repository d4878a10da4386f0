/**
 * Degradation: a primary way to answer, and a fallback while that is down or slow. A circuit breaker and a fallback with
 * names and defaults for this purpose, and figures over a sliding window; what decides is the breaker.
 */
import type { Clock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import { degradeSwitch } from '../telemetry/channels.ts';
import { Admission, Breaker, type Isolation } from './breaker/circuit-breaker.ts';
import {
  type BreakerChange,
  type BreakerRules,
  type BreakerState,
  type OpenTime,
  settingsOf,
  type TrialOptions,
} from './breaker/options.ts';
import type { Call, End } from './call.ts';
import { Answers, type FallbackFunction, type FallbackOn } from './fallback.ts';
import { LatencyWindow } from './latency.ts';
import type { Rejection } from './outcome.ts';
import { Alone, type Changeable, type Policy } from './policy.ts';
import type { Gate, Section, Ticket, Wrap } from './section.ts';
import { SlidingSums } from './sliding-sums.ts';

/**
 * `auto`: the rules decide. `on`: degraded, the primary is not called. `off`: the primary alone is called, and its failures
 * are the caller's.
 */
export type DegradeMode = 'auto' | 'on' | 'off';

/** What can be changed of a degradation while it is used. */
export interface DegradeRules {
  /** Degrades where more than this share of the primary's calls failed: from 0 and below 1. @defaultValue 0.5 */
  readonly errorRate?: number | undefined;
  /** Degrades where the primary's calls took longer than this on average. @defaultValue `'2s'` */
  readonly mean?: Duration | undefined;
  /** Rate and mean say nothing before so many calls are in the window. @defaultValue 20 */
  readonly minCalls?: number | undefined;
  /** For how long the primary is not called at all. @defaultValue 5 s at first, then growing */
  readonly open?: Duration | OpenTime | undefined;
  /** How the primary is tried after that. @defaultValue one call, which has to succeed and not to be slow */
  readonly trial?: TrialOptions | undefined;
  /** Whether what the primary threw is a failure for the rate. @defaultValue all errors are */
  readonly isFailure?: ((error: unknown) => boolean) | undefined;
  /** Whether what the primary returned is a failure for the rate. @defaultValue no value is */
  readonly isBadValue?: ((value: unknown) => boolean) | undefined;
  /** Which failures the fallback answers. @defaultValue all: also single ones while it is not degraded */
  readonly on?: FallbackOn | undefined;
}

/** What a degradation takes. */
export interface DegradeOptions extends DegradeRules {
  /** The answer while degraded: a value, or a `FallbackFunction`, which may make it of the failure. */
  readonly fallback: unknown;
  /** What rate, mean and figures are taken of, in ten slices: the oldest leaves as a whole. @defaultValue `'10s'` */
  readonly window?: Duration | undefined;
  /** @defaultValue `'auto'` */
  readonly mode?: DegradeMode | undefined;
  /** @defaultValue `'degrade'` */
  readonly name?: string | undefined;
  /** Told of each change: `open` is degraded, `half-open` tried, `isolated` degraded by hand. What it throws is ignored. */
  readonly onStateChange?: ((change: BreakerChange) => void) | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
  /** @defaultValue the system's */
  readonly random?: Random | undefined;
}

/** What became of calls in the window. */
export interface DegradeStats {
  readonly mode: DegradeMode;
  readonly state: BreakerState;
  readonly isDegraded: boolean;
  /** Calls that came. */
  readonly requests: number;
  /** Calls that the fallback was to answer. */
  readonly fallbacks: number;
  /** Calls whose fallback failed as well. */
  readonly fallbackErrors: number;
  /** Calls of the primary that have ended, but for those that nobody waited for any more. */
  readonly primaryCalls: number;
  /** Calls of the primary that failed. */
  readonly errors: number;
  /** Of the primary's calls; 0 where there were none. */
  readonly errorRate: number;
  /** How long the primary took; `undefined` where it was not called. */
  readonly meanMs: number | undefined;
  readonly p50Ms: number | undefined;
  readonly p95Ms: number | undefined;
  readonly p99Ms: number | undefined;
}

/** A degradation. */
export interface Degradation extends Policy {
  readonly kind: 'degrade';
  readonly mode: DegradeMode;
  /** Whether the primary is not called now, or on trial alone. */
  readonly isDegraded: boolean;
  /** From `on` back to `auto` it goes by trials; from `off` it begins to count anew. */
  switchTo(mode: DegradeMode): void;
  stats(): DegradeStats;
  /**
   * From now on by these rules. What is not given is the default, but functions stay.
   *
   * @throws `ERR_INVALID_ARGUMENT`; the old rules stay then.
   */
  reconfigure(rules: DegradeRules): void;
}

/**
 * Calls the primary, and answers by the fallback where that fails; while it fails too often or is too slow, at once. Recovers
 * by itself: after a while some calls are let through to the primary on trial, and decide.
 *
 * A call counts when it ends: put a timeout inside, or around, where the primary may hang. Around it, the timeout is the
 * caller's end, and no fallback answers. Where the fallback throws, the call rejects with its error, with the failure as `cause`.
 *
 * @throws `ERR_INVALID_ARGUMENT` for rules that cannot be.
 * @example
 * ```ts
 * const prices = degrade({ fallback: () => cachedPrices(), errorRate: 0.5, mean: '2s' });
 * const answer = await prices.run(({ signal }) => fetchPrices(signal));
 * prices.switchTo('on');
 * ```
 */
export function degrade(options: DegradeOptions): Degradation {
  return new Degrading({ ...options });
}

/** Columns of the sums. */
const REQUESTS = 0;
const FALLBACKS = 1;
const FALLBACK_ERRORS = 2;
const ERRORS = 3;
const PRIMARY_CALLS = 4;
const COLUMNS = 5;
const SLICES = 10;
/** The generation of calls that the breaker knows nothing of. */
const NOT_COUNTED = -1;
const MODES: readonly DegradeMode[] = ['auto', 'on', 'off'];

class Degrading extends Alone implements Wrap, Degradation, Changeable<DegradeRules> {
  override readonly kind = 'degrade';
  readonly inside: Primary;
  readonly #breaker: Breaker;
  readonly #answers: Answers;
  readonly #answer: FallbackFunction;
  readonly #figures: Figures;
  readonly #window: Duration;
  #on: FallbackOn | undefined;
  #mode: DegradeMode;
  #isolation: Isolation | undefined;

  constructor(options: DegradeOptions) {
    super(options.name ?? 'degrade');
    const { clock, random, onStateChange, window = '10s', mode = 'auto' } = options;
    if (!('fallback' in options)) throw invalid('fallback: a value or a function is needed');
    const rules = breakerRules(options, window);
    const { name } = this;
    const settings = settingsOf(rules, true);
    this.#breaker = new Breaker({ name, clock, random, onStateChange }, settings);
    this.#figures = new Figures(window);
    this.#answer = counted(options.fallback, this.#breaker, this.#figures);
    this.#answers = new Answers(name, { answer: this.#answer, on: options.on });
    this.#window = window;
    this.#on = options.on;
    this.#mode = 'auto';
    this.#isolation = undefined;
    this.inside = new Primary(this.#breaker, this.#figures);
    this.switchTo(mode);
  }

  get mode(): DegradeMode {
    return this.#mode;
  }

  get isDegraded(): boolean {
    return this.#mode !== 'off' && this.#breaker.state !== 'closed';
  }

  switchTo(mode: DegradeMode): void {
    if (!MODES.includes(mode)) throw invalid(`mode: ${String(mode)}; auto, on or off is needed`);
    const from = this.#mode;
    if (mode === from) return;
    this.#mode = mode;
    if (degradeSwitch.hasSubscribers) degradeSwitch.publish({ name: this.name, from, to: mode });
    this.inside.isOff = mode === 'off';
    if (mode === 'on') {
      this.#isolation = this.#breaker.isolate();
      return;
    }
    // Without its rules what it has seen grows old.
    if (mode === 'off') this.#breaker.close();
    this.#isolation?.release();
    this.#isolation = undefined;
  }

  around(call: Call, inner: Section): Promise<unknown> {
    return this.#mode === 'off' ? inner.result(call) : this.#answers.around(call, inner);
  }

  reconfigure(rules: DegradeRules): void {
    this.prepare(rules)();
  }

  prepare(rules: DegradeRules): () => void {
    const on = rules.on ?? this.#on;
    const changeAnswers = this.#answers.prepare({ answer: this.#answer, on });
    const changeBreaker = this.#breaker.prepare(breakerRules(rules, this.#window));
    return () => {
      this.#on = on;
      changeAnswers();
      changeBreaker();
    };
  }

  stats(): DegradeStats {
    const { mode, isDegraded } = this;
    this.#figures.move(this.#breaker.now());
    return { mode, state: this.#breaker.state, isDegraded, ...this.#figures.stats() };
  }
}

/** The gate before the primary: the breaker, and what is counted of the primary whether that is in force or not. */
class Primary implements Gate {
  readonly name = 'primary';
  readonly leavesEarly = true;
  readonly #breaker: Breaker;
  readonly #figures: Figures;
  isOff: boolean;

  constructor(breaker: Breaker, figures: Figures) {
    this.#breaker = breaker;
    this.#figures = figures;
    this.isOff = false;
  }

  enter(): Ticket | Rejection {
    const ticket = this.isOff
      ? new Admission(NOT_COUNTED, this.#breaker.now())
      : this.#breaker.enter();
    // There is a rule for the mean, so the breaker notes when each call was let in.
    this.#figures.move(ticket instanceof Admission ? ticket.atMs : this.#breaker.now());
    this.#figures.count(REQUESTS);
    return ticket;
  }

  leave(ticket: Ticket, end: End, result: unknown): void {
    const { generation, atMs } = ticket as Admission;
    const judged = this.#breaker.judge(end, result);
    if (judged === 'ignored') {
      if (generation !== NOT_COUNTED) this.#breaker.settle(ticket, judged);
      return;
    }
    const nowMs = this.#breaker.now();
    this.#figures.move(nowMs);
    this.#figures.record(nowMs - atMs, judged === 'failure');
    if (generation !== NOT_COUNTED) this.#breaker.settle(ticket, judged, nowMs);
  }
}

/** What is shown of the window. Who has read the time moves it on, as to read it is most of what this costs. */
class Figures {
  readonly #sums: SlidingSums;
  readonly #latency: LatencyWindow;
  #nowMs: number;

  constructor(window: Duration) {
    this.#nowMs = 0;
    this.#latency = new LatencyWindow({
      window,
      slices: SLICES,
      clock: { now: () => this.#nowMs },
    });
    this.#sums = new SlidingSums(COLUMNS, durationMs(window, 'window'), SLICES);
  }

  move(nowMs: number): void {
    this.#nowMs = nowMs;
    this.#sums.advance(nowMs);
  }

  count(column: number): void {
    this.#sums.add(column, 1);
  }

  record(tookMs: number, isFailure: boolean): void {
    this.#latency.record(tookMs);
    this.count(PRIMARY_CALLS);
    if (isFailure) this.count(ERRORS);
  }

  stats(): Omit<DegradeStats, 'mode' | 'state' | 'isDegraded'> {
    const { totals } = this.#sums;
    const primaryCalls = totals[PRIMARY_CALLS]!;
    const errors = totals[ERRORS]!;
    return {
      requests: totals[REQUESTS]!,
      fallbacks: totals[FALLBACKS]!,
      fallbackErrors: totals[FALLBACK_ERRORS]!,
      primaryCalls,
      errors,
      errorRate: primaryCalls === 0 ? 0 : errors / primaryCalls,
      meanMs: this.#latency.meanMs,
      p50Ms: this.#latency.percentileMs(50),
      p95Ms: this.#latency.percentileMs(95),
      p99Ms: this.#latency.percentileMs(99),
    };
  }
}

function breakerRules(rules: DegradeRules, window: Duration): BreakerRules {
  const { errorRate = 0.5, mean = '2s', minCalls, open, trial, isFailure, isBadValue } = rules;
  return {
    window: { time: window, slices: SLICES },
    failureRate: errorRate,
    mean,
    minCalls,
    open,
    trial,
    isFailure,
    isBadValue,
  };
}

function counted(answer: unknown, breaker: Breaker, figures: Figures): FallbackFunction {
  return async (failure, context) => {
    figures.move(breaker.now());
    figures.count(FALLBACKS);
    try {
      return await (typeof answer === 'function' ? answer(failure, context) : answer);
    } catch (error) {
      figures.move(breaker.now());
      figures.count(FALLBACK_ERRORS);
      throw error;
    }
  };
}
