/**
 * To do well what can be done, rather than all of it badly: where there is more to do than can be done, those calls are
 * refused that matter least, and at once.
 */
import { type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid } from '../core/errors.ts';
import { wholeNumber } from '../core/numbers.ts';
import type { Call } from './call.ts';
import { Deadlines } from './deadlines.ts';
import { levelOf, levelsOf } from './levels.ts';
import { Rejection } from './outcome.ts';
import { Alone, type Changeable, type Policy } from './policy.ts';
import type { Gate, Ticket } from './section.ts';
import { ShareAdmission } from './shed-admission.ts';
import { SteadyClock } from './steady-clock.ts';
import { type WaitingCall, WaitingCalls } from './waiting-calls.ts';

/** What can be changed of load shedding while it is used. */
export interface ShedRules {
  /** So many calls run at the same time; the others wait. @defaultValue as many as want to; then there has to be a `probe` */
  readonly max?: number | undefined;
  /** So many wait at most. One that finds no room takes the place of one that matters less. @defaultValue 1,000 */
  readonly queue?: number | undefined;
  /**
   * A delay in milliseconds that says how much there is to do, such as that of the event loop (`loopDelay`): asked up to
   * four times an interval.
   */
  readonly probe?: (() => number) | undefined;
  /** The delay, of the probe and in the queue, that is in order. @defaultValue `'20ms'` */
  readonly target?: Duration | undefined;
  /**
   * The queue is overloaded when it has not been empty for this long; and nobody waits longer.
   * @defaultValue `'200ms'`
   */
  readonly interval?: Duration | undefined;
}

/** What load shedding takes. */
export interface ShedOptions extends ShedRules {
  /** How many priorities there are: 0, which matters most, to one less; what is above counts as the last. @defaultValue 4 */
  readonly levels?: number | undefined;
  /** @defaultValue `'shed'` */
  readonly name?: string | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** How load shedding stands. */
export interface ShedStats {
  readonly running: number;
  readonly queued: number;
  /** There is more to do than can be done. */
  readonly isOverloaded: boolean;
  /** Calls that came, by priority. */
  readonly offered: readonly number[];
  /** Those of them that were refused. */
  readonly shed: readonly number[];
}

/** Load shedding. */
export interface Shed extends Policy {
  readonly kind: 'shed';
  stats(): ShedStats;
  /**
   * From now on by these rules. What is not given is the default, but the `probe` stays. Calls that run or wait already are
   * left alone.
   *
   * @throws `ERR_INVALID_ARGUMENT`; the old rules stay then.
   */
  reconfigure(rules: ShedRules): void;
}

/**
 * Refuses calls with `ERR_OVERLOADED` while there is more to do than can be done, by the `priority` of the call: those
 * first that matter least.
 *
 * With `max` calls wait in a queue for a place. Those that matter most go first, and of these the one that came first. But
 * while the queue is overloaded (it has not been empty for an `interval`) the one that came last goes first, because whoever
 * waits for the others may be gone already, and who has waited longer than `target` is refused: so what is done is done in
 * time (controlled delay, as in K. Nichols, V. Jacobson, "Controlling Queue Delay", and adaptive LIFO, as in B. Maurer,
 * "Fail at Scale").
 *
 * With a `probe` such a share of the calls comes in that its delay stays around the `target`.
 *
 * @throws `ERR_INVALID_ARGUMENT` for numbers that are none, a `target` not below the `interval`, and neither `max` nor
 * `probe`. A call rejects with that for a priority that is no whole number from 0.
 * @example
 * ```ts
 * const database = shed({ max: 20, target: '10ms', interval: '100ms' });
 * await database.run(() => query(), { priority: isCheckout ? 0 : 2 });
 * ```
 */
export function shed(options: ShedOptions): Shed {
  return new Shedding({ ...options });
}

interface Rules {
  readonly max: number;
  readonly queue: number;
  readonly probe: (() => number) | undefined;
  readonly targetMs: number;
  readonly intervalMs: number;
  readonly admission: ShareAdmission | undefined;
  /** Nobody waits longer. */
  readonly deadlines: Deadlines;
}

class Shedding extends Alone implements Gate, Shed, Changeable<ShedRules> {
  override readonly kind = 'shed';
  readonly #clock: Clock;
  readonly #time: SteadyClock;
  readonly #levels: number;
  readonly #waiting: WaitingCalls;
  readonly #offered: number[];
  readonly #shed: number[];
  #rules: Rules;
  #refusal: Rejection;
  #running: number;
  /** When somebody came last whom nobody waited before. */
  #emptyMs: number;

  constructor(options: ShedOptions) {
    super(options.name ?? 'shed');
    this.#clock = options.clock ?? systemClock;
    this.#time = new SteadyClock(this.#clock);
    this.#levels = levelsOf(options.levels ?? 4);
    this.#rules = rulesOf(options, this.#levels, this.#clock);
    this.#refusal = new Rejection('shed', this.name, this.#rules.intervalMs);
    this.#waiting = new WaitingCalls(this.#levels);
    this.#offered = new Array(this.#levels).fill(0);
    this.#shed = new Array(this.#levels).fill(0);
    this.#running = 0;
    this.#emptyMs = 0;
  }

  stats(): ShedStats {
    const { admission } = this.#rules;
    const isQueueOverloaded = this.#waiting.length > 0 && this.#isOverloaded(this.#time.now());
    return {
      running: this.#running,
      queued: this.#waiting.length,
      isOverloaded: isQueueOverloaded || admission?.isOverloaded === true,
      offered: [...this.#offered],
      shed: [...this.#shed],
    };
  }

  reconfigure(rules: ShedRules): void {
    this.prepare(rules)();
  }

  prepare(rules: ShedRules): () => void {
    const probe = rules.probe ?? this.#rules.probe;
    const checked = rulesOf({ ...rules, probe }, this.#levels, this.#clock);
    return () => {
      this.#rules = checked;
      this.#refusal = new Rejection('shed', this.name, checked.intervalMs);
      this.#serve(this.#time.now());
    };
  }

  enter(call: Call): number | Rejection | Promise<Ticket | Rejection> {
    const level = levelOf(call.options.priority ?? 1, this.#levels);
    this.#offered[level]! += 1;
    const { admission, max, queue } = this.#rules;
    if (admission !== undefined && !admission.admits(level, this.#time.now()))
      return this.#refuse(level);
    if (this.#running < max) {
      this.#running += 1;
      return 0;
    }
    const nowMs = this.#time.now();
    if (this.#waiting.length === 0) this.#emptyMs = nowMs;
    else this.#dropLate(nowMs);
    if (this.#waiting.length >= queue) {
      const victim = this.#waiting.leastBelow(level);
      if (victim === undefined) return this.#refuse(level);
      this.#drop(victim);
    }
    return this.#wait(call, level, nowMs);
  }

  leave(): void {
    this.#running -= 1;
    if (this.#waiting.length > 0) this.#serve(this.#time.now());
  }

  #wait(call: Call, level: number, nowMs: number): Promise<Ticket | Rejection> {
    const { deadlines } = this.#rules;
    return this.#waiting.wait(call, level, nowMs, (waiting) => {
      const deadline = deadlines.begin(() => this.#drop(waiting));
      waiting.onGone = () => deadlines.end(deadline);
    });
  }

  #serve(nowMs: number): void {
    this.#dropLate(nowMs);
    while (this.#running < this.#rules.max) {
      const next = this.#waiting.next(this.#isOverloaded(nowMs));
      if (next === undefined) break;
      this.#waiting.remove(next);
      this.#running += 1;
      next.resolve(0);
    }
  }

  /** Each is dropped once, so however many there are that costs each call next to nothing. */
  #dropLate(nowMs: number): void {
    const { targetMs, intervalMs } = this.#rules;
    const sinceMs = nowMs - (this.#isOverloaded(nowMs) ? targetMs : intervalMs);
    for (let level = 0; level < this.#levels; level++) {
      for (
        let oldest = this.#waiting.oldest(level);
        oldest !== undefined && oldest.sinceMs < sinceMs;
        oldest = this.#waiting.oldest(level)
      )
        this.#drop(oldest);
    }
  }

  #isOverloaded(nowMs: number): boolean {
    return nowMs - this.#emptyMs >= this.#rules.intervalMs;
  }

  #drop(waiting: WaitingCall): void {
    this.#waiting.remove(waiting);
    waiting.resolve(this.#refuse(waiting.level));
  }

  #refuse(level: number): Rejection {
    this.#shed[level]! += 1;
    return this.#refusal;
  }
}

function rulesOf(given: ShedRules, levels: number, clock: Clock): Rules {
  const { max, queue = 1000, probe } = given;
  if (max === undefined && probe === undefined)
    throw invalid('max: one of max and probe is needed, or nothing says what is too much');
  if (probe !== undefined && typeof probe !== 'function')
    throw invalid('probe: a function is needed');
  const targetMs = durationMs(given.target ?? 20, 'target');
  const intervalMs = durationMs(given.interval ?? 200, 'interval');
  if (targetMs <= 0 || targetMs >= intervalMs)
    throw invalid(
      `target: ${targetMs} ms; more than 0 and less than interval, ${intervalMs} ms, is needed`,
    );
  return {
    max: max === undefined ? Number.POSITIVE_INFINITY : wholeNumber('max', max, 1),
    queue: wholeNumber('queue', queue, 0),
    probe,
    targetMs,
    intervalMs,
    admission: probe && new ShareAdmission(probe, levels, targetMs, intervalMs),
    deadlines: new Deadlines(clock, intervalMs),
  };
}
