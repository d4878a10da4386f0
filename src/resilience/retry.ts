/** To try again what failed. */
import { type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid } from '../core/errors.ts';
import { wholeNumber } from '../core/numbers.ts';
import { type Random, systemRandom } from '../core/random.ts';
import { retryAttempt } from '../telemetry/channels.ts';
import { type Backoff, type BackoffRules, backoffOf } from './backoff.ts';
import type { Call } from './call.ts';
import { type Outcome, Rejection } from './outcome.ts';
import { Alone, type Changeable, type Policy } from './policy.ts';
import type { RetryBudget } from './retry-budget.ts';
import { type Next, type Section, Value, type Wrap } from './section.ts';

/** An attempt that did not succeed: what its work threw, or the policy further in that ended it. */
export type Failure = Exclude<
  Outcome<never>,
  { readonly ok: true } | { readonly reason: 'aborted' }
>;

/** Which failures are worth another attempt: these reasons, or what a function says of the failure of the nth attempt. */
export type RetryOn =
  | readonly Failure['reason'][]
  | ((failure: Failure, attempt: number) => boolean);

/** What can be changed of a retry while it is used. */
export interface RetryRules {
  /** How often it is tried in all: a whole number from 1, or `Infinity`. @defaultValue 3 */
  readonly attempts?: number | undefined;
  /** The pause between two attempts; what can be written in a file, too. @defaultValue `exponentialBackoff()` */
  readonly backoff?: Backoff | BackoffRules | undefined;
  /**
   * What is tried again. By reasons: of the errors of the work those that do not say `retryable: false` of themselves.
   * @defaultValue `['failed', 'timeout']`
   */
  readonly retryOn?: RetryOn | undefined;
  /**
   * Whether a value is worth another attempt, such as an answer with the status 503; where there is none the call ends
   * with it. @defaultValue no value is
   */
  readonly isBadValue?: ((value: unknown) => boolean) | undefined;
  /**
   * A failure that asks to come back later than this (`retryAfterMs`) is not tried again.
   * @defaultValue `'30s'`
   */
  readonly maxRetryAfter?: Duration | undefined;
  /** What all that share it may add to the load. @defaultValue no bound but `attempts` */
  readonly budget?: RetryBudget | undefined;
}

/** What a retry takes. */
export interface RetryOptions extends RetryRules {
  /** @defaultValue `'retry'` */
  readonly name?: string | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
  /** For the pauses. @defaultValue the system's */
  readonly random?: Random | undefined;
}

/** What a retry has done. */
export interface RetryStats {
  readonly calls: number;
  /** Attempts after the first ones. */
  readonly retries: number;
  /** Calls whose last attempt failed in a way that is worth another, when all had been made. */
  readonly exhausted: number;
  /** Calls that ended because the budget had nothing left. */
  readonly overBudget: number;
}

/** A retry. */
export interface Retry extends Policy {
  readonly kind: 'retry';
  stats(): RetryStats;
  /**
   * From now on by these rules, for calls that are under way, too. What is not given is the default, but functions and the
   * budget stay.
   *
   * @throws `ERR_INVALID_ARGUMENT`; the old rules stay then.
   */
  reconfigure(rules: RetryRules): void;
}

/**
 * Tries again what failed, with a pause between two attempts, and ends like the last of them.
 *
 * Whether the work may be done twice is for the caller to say: a failure does not mean that nothing happened (`outcome:
 * 'unknown'`, or any timeout), and it is tried again all the same. Use it for what is idempotent, carries a request id, or
 * with a `retryOn` that looks at the outcome.
 *
 * Refusals by policies further in (`'open'`, `'limited'`, `'full'`, `'shed'`, `'deadline'`, `'unavailable'`) end the call
 * unless `retryOn` names them: more attempts are what they defend against. Where a failure says `retryAfterMs` the pause is no
 * shorter. A pause that would outlast the call's deadline is not begun; one that is under way ends when the call is aborted.
 *
 * @throws `ERR_INVALID_ARGUMENT` for numbers that are none, and reasons that do not exist.
 * @example
 * ```ts
 * const calls = retry({ attempts: 3, backoff: decorrelatedBackoff({ base: '50ms', max: '1s' }) });
 * const stock = await calls.run(({ signal }) => fetchStock(signal));
 * ```
 */
export function retry(options: RetryOptions = {}): Retry {
  return new Retries(options);
}

interface Rules {
  readonly attempts: number;
  readonly backoff: Backoff;
  readonly retryOn: RetryOn;
  readonly isBadValue: ((value: unknown) => boolean) | undefined;
  readonly maxRetryAfterMs: number;
  readonly budget: RetryBudget | undefined;
}

class Retries extends Alone implements Wrap, Retry, Changeable<RetryRules> {
  override readonly kind = 'retry';
  readonly #clock: Clock;
  readonly #random: Random;
  #rules: Rules;
  #calls: number;
  #retries: number;
  #exhausted: number;
  #overBudget: number;

  constructor(options: RetryOptions) {
    super(options.name ?? 'retry');
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#rules = rulesOf(options);
    this.#calls = 0;
    this.#retries = 0;
    this.#exhausted = 0;
    this.#overBudget = 0;
  }

  stats(): RetryStats {
    return {
      calls: this.#calls,
      retries: this.#retries,
      exhausted: this.#exhausted,
      overBudget: this.#overBudget,
    };
  }

  reconfigure(rules: RetryRules): void {
    this.prepare(rules)();
  }

  prepare(rules: RetryRules): () => void {
    const { backoff, retryOn, isBadValue, budget } = this.#rules;
    const checked = rulesOf({
      ...rules,
      // Rules from a file or a store hold no functions.
      backoff: rules.backoff ?? backoff,
      retryOn: rules.retryOn ?? (typeof retryOn === 'function' ? retryOn : undefined),
      isBadValue: rules.isBadValue ?? isBadValue,
      budget: rules.budget ?? budget,
    });
    return () => {
      this.#rules = checked;
    };
  }

  around(call: Call, inner: Section): Promise<unknown> {
    this.#calls += 1;
    const { budget } = this.#rules;
    if (budget !== undefined) count(call, budget);
    // Nothing can abort the first attempt but what aborts the call.
    const attempt = call.attempt === 1 ? call : call.fork(1);
    return inner.result(attempt, new FirstAttempt(this, call, inner));
  }

  /** After the first attempt, where that was not good. */
  async goOn(call: Call, inner: Section, wasThrown: boolean, first: unknown): Promise<unknown> {
    let isThrown = wasThrown;
    let result = first;
    let pauseMs = 0;
    for (let made = 1; ; made++) {
      const nextMs = this.#pauseAfter(call, made, pauseMs, isThrown, result);
      if (nextMs === undefined) {
        if (isThrown) throw result;
        return result;
      }
      this.#retries += 1;
      pauseMs = nextMs;
      this.#tell(call, made + 1, pauseMs, isThrown, result);
      call.forgetAttempts();
      if (pauseMs > 0) await pause(this.#clock, call, pauseMs);
      try {
        isThrown = false;
        result = await inner.result(call.fork(made + 1));
      } catch (error) {
        isThrown = true;
        result = error;
      }
      if (!isThrown && this.isGood(result)) return result;
    }
  }

  isGood(result: unknown): boolean {
    if (result instanceof Rejection) return false;
    const { isBadValue } = this.#rules;
    if (isBadValue === undefined) return true;
    return !isBadValue(result instanceof Value ? result.value : result);
  }

  /** Those who look on hear of it before the pause. */
  #tell(call: Call, attempt: number, pauseMs: number, isThrown: boolean, result: unknown): void {
    const { watcher } = call;
    if (watcher === undefined && !retryAttempt.hasSubscribers) return;
    const refusal = result instanceof Rejection ? result.reason : 'bad-value';
    const reason = isThrown ? 'failed' : refusal;
    const error = isThrown ? result : undefined;
    watcher?.retries(this.name, attempt, pauseMs, reason, error);
    retryAttempt.publish({ policy: this.name, attempt, pauseMs, reason, error });
  }

  /** `undefined` where it is not tried again. */
  #pauseAfter(
    call: Call,
    made: number,
    previousMs: number,
    isThrown: boolean,
    result: unknown,
  ): number | undefined {
    if (call.isAborted) return undefined;
    const { attempts, backoff, retryOn, maxRetryAfterMs, budget } = this.#rules;
    if (!isWorthAnother(retryOn, made, isThrown, result)) return undefined;
    if (made >= attempts) {
      this.#exhausted += 1;
      return undefined;
    }
    const atLeastMs = retryAfterMsOf(result);
    if (atLeastMs > maxRetryAfterMs) return undefined;
    const pauseMs = Math.max(atLeastMs, requirePause(backoff(made, previousMs, this.#random)));
    const { remainingMs } = call;
    if (remainingMs !== undefined && pauseMs >= remainingMs) return undefined;
    if (budget === undefined || budget.tryTake()) return pauseMs;
    this.#overBudget += 1;
    return undefined;
  }
}

/** Most calls have no other. */
class FirstAttempt implements Next {
  readonly #retries: Retries;
  readonly #call: Call;
  readonly #inner: Section;

  constructor(retries: Retries, call: Call, inner: Section) {
    this.#retries = retries;
    this.#call = call;
    this.#inner = inner;
  }

  ended(result: unknown): unknown {
    const isGood = this.#retries.isGood(result);
    return isGood ? result : this.#retries.goOn(this.#call, this.#inner, false, result);
  }

  failed(error: unknown): unknown {
    return this.#retries.goOn(this.#call, this.#inner, true, error);
  }
}

/** Counts a call that may have further attempts, once for each budget. */
export function count(call: Call, budget: RetryBudget): void {
  if (call.countedBy === budget) return;
  call.countedBy = budget;
  budget.countCall();
}

function isWorthAnother(
  retryOn: RetryOn,
  attempt: number,
  isThrown: boolean,
  result: unknown,
): boolean {
  // A value was asked about already.
  if (!isThrown && !(result instanceof Rejection)) return true;
  if (typeof retryOn === 'function') {
    const failure: Failure = isThrown
      ? { ok: false, reason: 'failed', error: result }
      : (result as Rejection);
    return retryOn(failure, attempt);
  }
  if (!isThrown) return retryOn.includes((result as Rejection).reason);
  return retryOn.includes('failed') && fieldOf(result, 'retryable') !== false;
}

/** What a failure asks for; 0 where it asks for nothing that makes sense. */
function retryAfterMsOf(result: unknown): number {
  const asked = fieldOf(result, 'retryAfterMs');
  return typeof asked === 'number' && asked > 0 ? asked : 0;
}

function fieldOf(result: unknown, name: 'retryable' | 'retryAfterMs'): unknown {
  if (typeof result !== 'object' || result === null) return undefined;
  return (result as Record<string, unknown>)[name];
}

/** Resolves after the pause, or rejects as soon as the call is aborted. */
function pause(clock: Clock, call: Call, pauseMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    // Nothing else may be left to keep the process alive meanwhile.
    const cancel = clock.after(
      pauseMs,
      () => {
        call.onAbort(undefined);
        resolve();
      },
      true,
    );
    call.onAbort(() => {
      call.onAbort(undefined);
      cancel();
      reject(call.abortReason);
    });
  });
}

const REASONS: readonly Failure['reason'][] = [
  'failed',
  'timeout',
  'open',
  'limited',
  'full',
  'shed',
  'deadline',
  'unavailable',
];

function rulesOf(given: RetryRules): Rules {
  const { attempts = 3, retryOn = ['failed', 'timeout'] } = given;
  if (attempts !== Number.POSITIVE_INFINITY) wholeNumber('attempts', attempts, 1);
  if (typeof retryOn !== 'function') {
    for (const reason of retryOn) {
      if (!REASONS.includes(reason))
        throw invalid(`retryOn: '${reason}' is no reason; there are ${REASONS.join(', ')}`);
    }
  }
  return {
    attempts,
    backoff: backoffOf(given.backoff ?? { kind: 'exponential' }),
    retryOn: typeof retryOn === 'function' ? retryOn : [...retryOn],
    maxRetryAfterMs: durationMs(given.maxRetryAfter ?? 30_000, 'maxRetryAfter'),
    isBadValue: given.isBadValue,
    budget: given.budget,
  };
}

/** A pause that is no number would be a loop without any. */
function requirePause(pauseMs: number): number {
  if (pauseMs >= 0) return pauseMs;
  throw invalid(`backoff: it returned ${pauseMs}; milliseconds from 0 are needed`);
}
