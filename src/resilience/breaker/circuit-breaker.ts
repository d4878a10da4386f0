/**
 * A circuit breaker (M. Nygard, Release It!): calls that would fail are refused at once, so that who calls does not wait, and
 * what is called can recover.
 *
 * Time moves it from open to half-open, and no timer does: whoever looks at it, or calls, finds it as it is by then.
 */
import { type Cancel, systemClock } from '../../core/clock.ts';
import { wholeNumber } from '../../core/numbers.ts';
import { type Random, systemRandom } from '../../core/random.ts';
import { breakerChange } from '../../telemetry/channels.ts';
import type { End } from '../call.ts';
import { Rejection } from '../outcome.ts';
import { Alone, type Changeable, type Policy } from '../policy.ts';
import type { Gate, Ticket } from '../section.ts';
import { SteadyClock } from '../steady-clock.ts';
import {
  type BreakerChange,
  type BreakerOptions,
  type BreakerReason,
  type BreakerRules,
  type BreakerState,
  openWindow,
  type Settings,
  settingsOf,
} from './options.ts';
import { Permit } from './permit.ts';
import type { ResultWindow } from './window.ts';

/** What a circuit breaker counts. */
export interface BreakerStats {
  readonly state: BreakerState;
  /** Calls in the window since the circuit was closed. */
  readonly calls: number;
  readonly failures: number;
  /** Those that took longer than `slow.over`; 0 without that rule. */
  readonly slow: number;
  /** Share of the window that failed; 0 where it is empty. */
  readonly failureRate: number;
  readonly slowRate: number;
  /** Of the window; `undefined` where it is empty, or no rule is about how long calls take. */
  readonly meanMs: number | undefined;
  /** Failures one after the other since the circuit was closed. */
  readonly consecutive: number;
  /** Calls refused, ever. */
  readonly refused: number;
  /** Results that did not count, ever: the state that let the calls in was over. */
  readonly late: number;
  /** How often it broke, ever: by a rule, by trials, by hand or by hints. */
  readonly opened: number;
  /** Milliseconds until it is tried; `undefined` unless it is open. */
  readonly retryAfterMs: number | undefined;
}

/** An isolation: ends when all of them are released. */
export interface Isolation extends Disposable {
  /** Idempotent. */
  release(): void;
}

/** A circuit breaker. */
export interface CircuitBreaker extends Policy, Disposable {
  readonly kind: 'breaker';
  /** What it is now. */
  readonly state: BreakerState;
  /** For work that is no function: lets it in, to be told how it ended, or refuses it. */
  allow(): Permit | Rejection;
  /** Breaks now, for as long as a rule would; while it is open that time begins anew. Nothing while isolated. */
  open(): void;
  /** Closes now, and counts from the beginning; isolations are over. */
  close(): void;
  /** Refuses all calls until released; then trial calls decide. Together with others it lasts until all are released. */
  isolate(): Isolation;
  /**
   * From now on by these rules. What is not given is the default, but the predicates stay. What was counted stays unless the
   * window is another one; an open time that has begun is not changed.
   *
   * @throws `ERR_INVALID_ARGUMENT`; the old rules stay then.
   */
  reconfigure(rules: BreakerRules): void;
  stats(): BreakerStats;
  /** Hears no more hints, and tells none. */
  [Symbol.dispose](): void;
}

/**
 * Refuses calls with `ERR_CIRCUIT_OPEN` while what it guards fails.
 *
 * A result counts for the state that let the call in; where that is over, for nothing: an old call that fails while the
 * circuit is tried does not open it, and one that succeeds does not close it. Calls that nobody waits for any more say nothing.
 * `retryAfterMs` of a refusal is the rest of the open time; during trials, the open time if they failed now.
 *
 * @throws `ERR_INVALID_ARGUMENT` for rules that cannot be.
 * @example
 * ```ts
 * const breaker = circuitBreaker({ window: { time: '10s' }, failureRate: 0.5, minCalls: 20, open: { first: '5s' } });
 * const rows = await breaker.run(({ signal }) => query(sql, { signal }));
 * ```
 */
export function circuitBreaker(options: BreakerOptions = {}): CircuitBreaker {
  return new Breaker(options);
}

/** A call that was let in, where it matters when. */
export class Admission {
  readonly generation: number;
  readonly atMs: number;

  constructor(generation: number, atMs: number) {
    this.generation = generation;
    this.atMs = atMs;
  }
}

const NO_TIME = new Rejection('open', '');

export class Breaker extends Alone implements Gate, CircuitBreaker, Changeable<BreakerRules> {
  override readonly kind = 'breaker';
  readonly leavesEarly = true;
  readonly #time: SteadyClock;
  readonly #random: Random;
  readonly #onStateChange: ((change: BreakerChange) => void) | undefined;
  readonly #isolated: Rejection;
  readonly #isolations: Set<Isolation>;
  #settings: Settings;
  #window: ResultWindow;
  #state: BreakerState;
  /** Grows with each change: a result of another one is late. */
  #generation: number;
  #consecutive: number;
  /** How long it is open, or was last, without what was left out at random. 0: not since it was closed. */
  #openMs: number;
  #openUntilMs: number;
  #trialsRunning: number;
  #trialSuccesses: number;
  #trialFailures: number;
  #lastTrialMs: number;
  #refusal: Rejection;
  #refused: number;
  #late: number;
  #opened: number;
  readonly #tell: ((isBroken: boolean) => void) | undefined;
  #stopListening: Cancel | undefined;
  /** The others were told that this instance has broken it. */
  #hasTold: boolean;

  constructor(options: BreakerOptions, settings = settingsOf(options)) {
    super(options.name ?? 'breaker');
    const { clock = systemClock, random = systemRandom, hints } = options;
    this.#time = new SteadyClock(clock);
    this.#random = random;
    this.#onStateChange = options.onStateChange;
    this.#isolated = new Rejection('open', this.name);
    this.#isolations = new Set();
    this.#settings = settings;
    this.#window = openWindow(settings.window);
    this.#state = 'closed';
    this.#generation = 0;
    this.#consecutive = 0;
    this.#openMs = 0;
    this.#openUntilMs = 0;
    this.#trialsRunning = 0;
    this.#trialSuccesses = 0;
    this.#trialFailures = 0;
    this.#lastTrialMs = 0;
    this.#refusal = NO_TIME;
    this.#refused = 0;
    this.#late = 0;
    this.#opened = 0;
    this.#tell = undefined;
    this.#stopListening = undefined;
    this.#hasTold = false;
    if (hints === undefined) return;
    const quorum = wholeNumber('hints.quorum', hints.quorum, 1);
    this.#tell = (isBroken) => hints.shared.tell(this.name, isBroken);
    this.#stopListening = hints.shared.listen(this.name, (others) => {
      if (others >= quorum && this.state === 'closed') this.#break('hints', this.#time.now());
    });
  }

  get state(): BreakerState {
    this.#pass();
    return this.#state;
  }

  /** The time by which calls are let in. */
  now(): number {
    return this.#time.now();
  }

  enter(): Ticket | Rejection {
    if (this.#state !== 'closed') return this.#enterUnlessClosed();
    return this.#settings.isTimed ? this.#admission(this.#time.now()) : this.#generation;
  }

  leave(ticket: Ticket, end: End, result: unknown): void {
    // First of all, as it is the user's code and may do anything.
    this.settle(ticket, this.judge(end, result));
  }

  /** What an end counts for, by the user's predicates. */
  judge(end: End, result: unknown): End {
    if (end === 'ignored') return end;
    const { isFailure, isBadValue } = this.#settings;
    const judge = end === 'failure' ? isFailure : isBadValue;
    if (judge === undefined) return end;
    try {
      const given = end === 'failure' && result instanceof Rejection ? result.error : result;
      return judge(given) ? 'failure' : 'success';
    } catch {
      return 'failure';
    }
  }

  /** @param readMs - the time, where it was read already: that is most of what a breaker costs */
  settle(ticket: Ticket, end: End, readMs?: number): void {
    if (this.#state !== 'closed') this.#pass();
    const isNumber = typeof ticket === 'number';
    if ((isNumber ? ticket : (ticket as Admission).generation) !== this.#generation) {
      if (end !== 'ignored') this.#late += 1;
      return;
    }
    const admission = isNumber ? undefined : (ticket as Admission);
    if (this.#state === 'closed') {
      if (end !== 'ignored') this.#record(admission, end === 'failure', readMs);
    } else {
      this.#trialsRunning -= 1;
      if (end !== 'ignored') this.#trialEnded(end === 'failure' || this.#isSlowTrial(admission));
    }
  }

  allow(): Permit | Rejection {
    const ticket = this.enter();
    return ticket instanceof Rejection ? ticket : new Permit(this, ticket);
  }

  open(): void {
    const nowMs = this.#pass();
    if (this.#state !== 'isolated') this.#break('manual', nowMs);
  }

  close(): void {
    this.#isolations.clear();
    this.#close('manual');
  }

  isolate(): Isolation {
    const release = (): void => {
      if (!this.#isolations.delete(isolation) || this.#isolations.size > 0) return;
      this.#try('manual');
    };
    const isolation = { release, [Symbol.dispose]: release };
    this.#pass();
    this.#isolations.add(isolation);
    if (this.#state !== 'isolated') this.#change('isolated', 'manual', undefined);
    return isolation;
  }

  reconfigure(rules: BreakerRules): void {
    this.prepare(rules)();
  }

  prepare(rules: BreakerRules): () => void {
    const { isFailure, isBadValue, isAbove } = this.#settings;
    // Rules from a file or a store hold no functions.
    const predicates = {
      isFailure: rules.isFailure ?? isFailure,
      isBadValue: rules.isBadValue ?? isBadValue,
    };
    const settings = settingsOf({ ...rules, ...predicates }, isAbove);
    return () => this.#apply(settings);
  }

  #apply(settings: Settings): void {
    const nowMs = this.#pass();
    const before = this.#settings.window;
    const { calls, timeMs, slices } = settings.window;
    this.#settings = settings;
    if (calls !== before.calls || timeMs !== before.timeMs || slices !== before.slices)
      this.#window = openWindow(settings.window);
    // With fewer trials than before it may be decided already.
    if (this.#state === 'half-open') this.#decide(nowMs);
  }

  stats(): BreakerStats {
    const nowMs = this.#pass();
    this.#window.advance(nowMs);
    const { calls, failures, slow, totalUs } = this.#window;
    return {
      state: this.#state,
      calls,
      failures,
      slow,
      failureRate: calls === 0 ? 0 : failures / calls,
      slowRate: calls === 0 ? 0 : slow / calls,
      meanMs: calls === 0 || !this.#settings.isTimed ? undefined : totalUs / calls / 1000,
      consecutive: this.#consecutive,
      refused: this.#refused,
      late: this.#late,
      opened: this.#opened,
      retryAfterMs: this.#state === 'open' ? this.#openUntilMs - nowMs : undefined,
    };
  }

  [Symbol.dispose](): void {
    this.#stopListening?.();
    this.#stopListening = undefined;
    if (this.#hasTold) this.#tell?.(false);
    this.#hasTold = false;
  }

  #admission(nowMs: number): Ticket {
    return new Admission(this.#generation, nowMs);
  }

  #enterUnlessClosed(): Ticket | Rejection {
    const nowMs = this.#pass();
    switch (this.#state) {
      case 'open':
        this.#refused += 1;
        return new Rejection('open', this.name, this.#openUntilMs - nowMs);
      case 'isolated':
        this.#refused += 1;
        return this.#isolated;
      case 'half-open':
        if (!this.#hasPlace()) {
          this.#refused += 1;
          return this.#refusal;
        }
        this.#trialsRunning += 1;
        this.#lastTrialMs = nowMs;
        return this.#admission(nowMs);
      case 'closed':
        // Somebody who was told of the change closed it.
        return this.enter();
    }
  }

  #hasPlace(): boolean {
    const { trialCalls, trialConcurrent } = this.#settings;
    const running = this.#trialsRunning;
    return (
      running < trialConcurrent && running + this.#trialSuccesses + this.#trialFailures < trialCalls
    );
  }

  /** What time alone has changed, as of the moment at which it did. Returns the time. */
  #pass(): number {
    const nowMs = this.#time.now();
    while (this.#state === 'open' || this.#state === 'half-open') {
      if (this.#state === 'open') {
        if (nowMs < this.#openUntilMs) break;
        this.#try('time');
      } else {
        const overMs = this.#lastTrialMs + this.#settings.trialWithinMs;
        if (this.#trialsRunning === 0 || this.#hasPlace() || nowMs < overMs) break;
        this.#break('trial', overMs);
      }
    }
    return nowMs;
  }

  #record(admission: Admission | undefined, isFailure: boolean, readMs?: number): void {
    const { slowMs, window } = this.#settings;
    const isTimed = admission !== undefined;
    const nowMs = readMs ?? (isTimed || window.calls === 0 ? this.#time.now() : 0);
    const tookMs = isTimed ? nowMs - admission.atMs : 0;
    this.#consecutive = isFailure ? this.#consecutive + 1 : 0;
    this.#window.record(nowMs, isFailure, tookMs > slowMs, tookMs);
    const reason = this.#broken();
    if (reason !== undefined) this.#break(reason, this.#time.now());
  }

  #broken(): BreakerReason | undefined {
    const { consecutive, failureRate, isAbove, slowRate, meanMs, minCalls } = this.#settings;
    if (this.#consecutive >= consecutive) return 'consecutive';
    const { calls, failures, slow, totalUs } = this.#window;
    if (calls < minCalls) return undefined;
    const limit = failureRate * calls;
    if (isAbove ? failures > limit : failures >= limit) return 'failure-rate';
    if (slow >= slowRate * calls) return 'slow-rate';
    return totalUs > meanMs * 1000 * calls ? 'mean' : undefined;
  }

  #isSlowTrial(admission: Admission | undefined): boolean {
    const { slowMs, meanMs } = this.#settings;
    return this.#time.now() - admission!.atMs > Math.min(slowMs, meanMs);
  }

  #trialEnded(isFailure: boolean): void {
    if (isFailure) this.#trialFailures += 1;
    else this.#trialSuccesses += 1;
    this.#decide(this.#time.now());
  }

  #decide(nowMs: number): void {
    const { trialCalls, trialSuccesses } = this.#settings;
    if (this.#trialSuccesses >= trialSuccesses) this.#close('trial');
    else if (this.#trialFailures > trialCalls - trialSuccesses) this.#break('trial', nowMs);
  }

  #break(reason: BreakerReason, nowMs: number): void {
    const { openFactor, openJitter } = this.#settings;
    // Trials that failed make it longer; who opens it by hand does not.
    this.#openMs = this.#nextOpenMs(reason === 'trial' ? openFactor : 1);
    const left = 1 - openJitter * (this.#random.below(2 ** 32) / 2 ** 32);
    this.#openUntilMs = nowMs + this.#openMs * left;
    this.#opened += 1;
    this.#change('open', reason, this.#openMs * left);
  }

  #try(reason: BreakerReason): void {
    this.#trialsRunning = 0;
    this.#trialSuccesses = 0;
    this.#trialFailures = 0;
    const againMs = this.#nextOpenMs(this.#settings.openFactor);
    this.#refusal = new Rejection('open', this.name, againMs);
    this.#change('half-open', reason, undefined);
  }

  #nextOpenMs(factor: number): number {
    const { firstOpenMs, maxOpenMs } = this.#settings;
    return Math.min(maxOpenMs, Math.max(firstOpenMs, this.#openMs * factor));
  }

  #close(reason: BreakerReason): void {
    this.#window.clear();
    this.#consecutive = 0;
    this.#openMs = 0;
    this.#change('closed', reason, undefined);
  }

  #change(to: BreakerState, reason: BreakerReason, openMs: number | undefined): void {
    const from = this.#state;
    this.#state = to;
    this.#generation += 1;
    if (from === to && to === 'closed') return;
    this.#tellOthers(to, reason);
    if (breakerChange.hasSubscribers)
      breakerChange.publish({ name: this.name, from, to, reason, openMs });
    try {
      this.#onStateChange?.({ name: this.name, from, to, reason, openMs });
    } catch {
      // Who looks on must not change how calls end.
    }
  }

  /** Only what this instance has seen itself: what it was told by others must not come back to them as news. */
  #tellOthers(to: BreakerState, reason: BreakerReason): void {
    if (this.#stopListening === undefined) return;
    const isBroken = to === 'open' && reason !== 'hints' && reason !== 'manual';
    if (isBroken === this.#hasTold || (!isBroken && to !== 'closed')) return;
    this.#hasTold = isBroken;
    try {
      this.#tell?.(isBroken);
    } catch {
      // That others do not hear of it must not change how calls end either.
    }
  }
}
