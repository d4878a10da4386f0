/**
 * How long to pause before something is tried again. Those who failed together must not come back together, so each pause
 * is drawn from a range; see M. Brooker, "Exponential Backoff And Jitter" (2015), for what the ranges do to a crowd.
 */
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid } from '../core/errors.ts';
import type { Random } from '../core/random.ts';

/**
 * The pause before the next attempt, in milliseconds.
 *
 * @param failed - how many attempts have failed, from 1
 * @param previousMs - the pause before the last of them; 0 where that was the first
 * @param random - to draw from; with a seed the same pauses come again
 */
export type Backoff = (failed: number, previousMs: number, random: Random) => number;

/** What `constantBackoff` takes, besides how long. */
export interface ConstantBackoffOptions {
  /** By up to so much, drawn evenly, each pause is shorter or longer; never below 0. @defaultValue 0 */
  readonly jitter?: Duration | undefined;
}

/**
 * Always the same pause, give or take the jitter.
 *
 * @throws `ERR_INVALID_ARGUMENT` for what is no duration.
 * @example
 * ```ts
 * const calls = retry({ attempts: 5, backoff: constantBackoff('200ms', { jitter: '50ms' }) });
 * ```
 */
export function constantBackoff(delay: Duration, options: ConstantBackoffOptions = {}): Backoff {
  const delayMs = durationMs(delay, 'delay');
  const jitterMs = durationMs(options.jitter ?? 0, 'jitter');
  if (jitterMs === 0) return () => delayMs;
  return (_failed, _previousMs, random) =>
    Math.max(0, delayMs + (2 * fraction(random) - 1) * jitterMs);
}

/** What `exponentialBackoff` takes. */
export interface ExponentialBackoffOptions {
  /** The longest first pause. @defaultValue `'100ms'` */
  readonly base?: Duration | undefined;
  /** No pause is longer. @defaultValue `'30s'` */
  readonly max?: Duration | undefined;
  /** The range grows by this with each failure: a number of at least 1. @defaultValue 2 */
  readonly factor?: number | undefined;
  /**
   * `'full'`: drawn evenly from 0 to what it has grown to, which spreads a crowd best. `'none'`: just that, for those
   * who are alone. @defaultValue `'full'`
   */
  readonly jitter?: 'full' | 'none' | undefined;
}

/**
 * A pause drawn from a range that grows with each failure: up to `base · factor^(failures − 1)`, at most `max`.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a factor below 1, a `max` below `base`, and what is no duration.
 * @example
 * ```ts
 * const calls = retry({ attempts: 4, backoff: exponentialBackoff({ base: '50ms', max: '2s' }) });
 * ```
 */
export function exponentialBackoff(options: ExponentialBackoffOptions = {}): Backoff {
  const { factor = 2, jitter = 'full' } = options;
  const { baseMs, maxMs } = rangeOf(options.base ?? 100, options.max ?? 30_000);
  if (!(Number.isFinite(factor) && factor >= 1))
    throw invalid(`factor: ${factor}; a number of at least 1 is needed`);
  if (jitter !== 'full' && jitter !== 'none')
    throw invalid(`jitter: ${String(jitter)}; 'full' or 'none' is needed`);
  const most = (failed: number): number => {
    // Where the power is infinite a base of 0 would make it no number.
    const grown = baseMs * Math.min(factor ** (failed - 1), Number.MAX_VALUE);
    return Math.min(maxMs, grown);
  };
  if (jitter === 'none') return most;
  return (failed, _previousMs, random) => fraction(random) * most(failed);
}

/** What `decorrelatedBackoff` takes. */
export interface DecorrelatedBackoffOptions {
  /** No pause is shorter. @defaultValue `'100ms'` */
  readonly base?: Duration | undefined;
  /** No pause is longer. @defaultValue `'30s'` */
  readonly max?: Duration | undefined;
}

/**
 * Decorrelated jitter: a pause drawn from `base` to three times the pause before it, at most `max`. Unlike full jitter it
 * never comes back at once.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a `max` below `base`, and what is no duration.
 * @example
 * ```ts
 * const calls = retry({ attempts: 6, backoff: decorrelatedBackoff({ base: '50ms', max: '5s' }) });
 * ```
 */
export function decorrelatedBackoff(options: DecorrelatedBackoffOptions = {}): Backoff {
  const { baseMs, maxMs } = rangeOf(options.base ?? 100, options.max ?? 30_000);
  return (_failed, previousMs, random) => {
    const most = Math.min(maxMs, Math.max(baseMs, previousMs) * 3);
    return baseMs + fraction(random) * Math.max(0, most - baseMs);
  };
}

/** A backoff as it can be written in a file; what is not given is the default of the function of its kind. */
export type BackoffRules =
  | ({ readonly kind: 'constant'; readonly delay: Duration } & ConstantBackoffOptions)
  | ({ readonly kind: 'exponential' } & ExponentialBackoffOptions)
  | ({ readonly kind: 'decorrelated' } & DecorrelatedBackoffOptions);

/** @throws ERR_INVALID_ARGUMENT for a kind that there is not, and as the function of its kind */
export function backoffOf(given: Backoff | BackoffRules): Backoff {
  if (typeof given === 'function') return given;
  switch (given.kind) {
    case 'constant':
      return constantBackoff(given.delay, given);
    case 'exponential':
      return exponentialBackoff(given);
    case 'decorrelated':
      return decorrelatedBackoff(given);
    default:
      throw invalid(
        'backoff: a function is needed, or a kind: constant, exponential or decorrelated',
      );
  }
}

function rangeOf(base: Duration, max: Duration): { baseMs: number; maxMs: number } {
  const baseMs = durationMs(base, 'base');
  const maxMs = durationMs(max, 'max');
  if (baseMs <= maxMs) return { baseMs, maxMs };
  throw invalid(`max: ${maxMs} ms, which is below base, ${baseMs} ms`);
}

/** In `[0, 1)`. */
function fraction(random: Random): number {
  return random.below(2 ** 32) / 2 ** 32;
}
