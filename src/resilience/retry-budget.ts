/**
 * What retries and hedges may add to the load. Each caller's three attempts look modest; when what all of them call is
 * down they are a load of three times, which keeps it down. A budget holds them to a share of the calls.
 */
import { type Clock, systemClock } from '../core/clock.ts';
import { numberWithin, wholeNumber } from '../core/numbers.ts';
import { SteadyClock } from './steady-clock.ts';

/**
 * Lets further attempts of calls happen or not. `retryBudget` makes one; a user may bring another, such as one for a
 * fleet.
 */
export interface RetryBudget {
  /** A call was begun, whatever becomes of it. */
  countCall(): void;
  /** Takes one further attempt, if there is one to be had. */
  tryTake(): boolean;
}

/** What a budget takes. */
export interface RetryBudgetOptions {
  /** So many further attempts a call, from 0 to 1. @defaultValue 0.2 */
  readonly share?: number | undefined;
  /** In a second with few calls so many may be made all the same: a whole number. @defaultValue 3 */
  readonly perSecond?: number | undefined;
  /** So many at most are saved up while nothing fails: a whole number of at least `perSecond`. @defaultValue 100 */
  readonly burst?: number | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** How far a budget is used. */
export interface RetryBudgetStats {
  /** So many further attempts may be made now. */
  readonly available: number;
  /** So many were. */
  readonly taken: number;
  /** So often none was to be had. */
  readonly refused: number;
}

/** A budget for further attempts, in this process. */
export interface LocalRetryBudget extends RetryBudget {
  /** What it may spend now, and what it has. */
  stats(): RetryBudgetStats;
  /**
   * From now on by these rules; what was saved up stays, up to the new burst. What is not given is the default.
   *
   * @throws `ERR_INVALID_ARGUMENT`; the old rules stay then.
   */
  reconfigure(options: Omit<RetryBudgetOptions, 'clock'>): void;
}

/**
 * A budget for further attempts: in each second of the clock `share` for each call or `perSecond`, whichever is more,
 * after the `burst` that was saved up. It is shared by giving it to several policies, also of several pipelines; a call
 * that passes several of them counts once. It starts with `perSecond` and nothing saved up, so while there are
 * calls enough there are at most `1 + share` attempts a call.
 *
 * @throws `ERR_INVALID_ARGUMENT` for numbers that are none, or out of range.
 * @example
 * ```ts
 * const budget = retryBudget({ share: 0.2 });
 * const reads = retry({ attempts: 3, budget });
 * const writes = retry({ attempts: 2, budget });
 * ```
 */
export function retryBudget(options: RetryBudgetOptions = {}): LocalRetryBudget {
  return new Budget(options);
}

interface Rules {
  readonly share: number;
  readonly perSecond: number;
  readonly burst: number;
}

const SECOND_MS = 1000;

class Budget implements LocalRetryBudget {
  readonly #time: SteadyClock;
  #rules: Rules;
  #available: number;
  /** The second of the clock that was last looked at. */
  #second: number;
  /** What its calls have earned: it counts where that is more than `perSecond`, which was there from the start. */
  #earned: number;
  #taken: number;
  #refused: number;

  constructor(options: RetryBudgetOptions) {
    this.#rules = rulesOf(options);
    this.#time = new SteadyClock(options.clock ?? systemClock);
    this.#available = this.#rules.perSecond;
    this.#second = 0;
    this.#earned = 0;
    this.#taken = 0;
    this.#refused = 0;
  }

  countCall(): void {
    this.#turn();
    const { share, perSecond } = this.#rules;
    this.#earned += share;
    if (this.#earned > perSecond) this.#add(Math.min(share, this.#earned - perSecond));
  }

  tryTake(): boolean {
    this.#turn();
    // A hundred times 0.01 is a little less than 1.
    if (this.#available < 1 - 1e-9) {
      this.#refused += 1;
      return false;
    }
    this.#available = Math.max(0, this.#available - 1);
    this.#taken += 1;
    return true;
  }

  stats(): RetryBudgetStats {
    this.#turn();
    return {
      available: Math.floor(this.#available + 1e-9),
      taken: this.#taken,
      refused: this.#refused,
    };
  }

  reconfigure(options: Omit<RetryBudgetOptions, 'clock'>): void {
    const rules = rulesOf(options);
    this.#turn();
    this.#rules = rules;
    this.#add(0);
  }

  #turn(): void {
    const second = Math.floor(this.#time.now() / SECOND_MS);
    if (second === this.#second) return;
    this.#add((second - this.#second) * this.#rules.perSecond);
    this.#second = second;
    this.#earned = 0;
  }

  #add(attempts: number): void {
    this.#available = Math.min(this.#rules.burst, this.#available + attempts);
  }
}

function rulesOf({ share = 0.2, perSecond = 3, burst }: RetryBudgetOptions): Rules {
  const least = wholeNumber('perSecond', perSecond, 0);
  return {
    share: numberWithin('share', share, 0, 1),
    perSecond: least,
    burst:
      burst === undefined ? Math.max(100, least) : wholeNumber('burst', burst, Math.max(1, least)),
  };
}
