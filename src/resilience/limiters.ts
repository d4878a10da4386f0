/** The limiters of a process: how each counts, and what it promises. */
import { durationMs } from '../core/duration.ts';
import { invalid } from '../core/errors.ts';
import {
  BucketAlgorithm,
  FixedWindowAlgorithm,
  SlidingCounterAlgorithm,
  SlidingWindowAlgorithm,
} from './limit-algorithm.ts';
import type { Limiter, LimitRules, Rate } from './limiter.ts';
import { type LimiterOptions, ProcessLimiter } from './process-limiter.ts';

/** What a token bucket takes. */
export interface TokenBucketOptions extends LimiterOptions {
  /** How fast tokens come. */
  readonly rate: Rate;
  /** How many there are at most. @defaultValue those of one period of the rate */
  readonly burst?: number | undefined;
}

/** What windows take. */
export interface WindowOptions extends LimiterOptions {
  /** So much in one period. */
  readonly rate: Rate;
}

/** A true sliding window remembers so many units for each key. */
const MAX_SLIDING = 100_000;
const PERIODS: Readonly<Record<string, string>> = {
  ms: '1ms',
  s: '1s',
  m: '1m',
  h: '1h',
  d: '1d',
};

/**
 * A token bucket: a key has `burst` tokens at first, and gets them back at `rate`. In any interval of length t at most
 * `burst + rate·t` is taken. It is kept as GCRA does (generic cell rate algorithm, ATM Forum TM 4.0): one number a key.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a rate or a burst that is none.
 * @example
 * ```ts
 * const limiter = tokenBucket({ rate: '100/s', burst: 20 });
 * const { ok, retryAfterMs } = limiter.allow(tenant);
 * ```
 */
export function tokenBucket(options: TokenBucketOptions): Limiter {
  return new ProcessLimiter(bucketOf, options);
}

/**
 * A true sliding window: in no period, wherever it begins, is more than the limit taken. Takes 8 bytes a key for each unit of
 * the limit, which is a whole number up to 100,000; for larger ones there is `slidingCounter`.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a rate that is none, or a limit that is no such number.
 */
export function slidingWindow(options: WindowOptions): Limiter {
  return new ProcessLimiter(slidingWindowOf, options);
}

/**
 * A sliding window approximated by two counters a key: what the period before took counts as if it had been spread evenly
 * over it. Where it was not more than the limit may be taken in a period, at worst nearly twice as much.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a rate that is none.
 */
export function slidingCounter(options: WindowOptions): Limiter {
  return new ProcessLimiter(slidingCounterOf, options);
}

/**
 * A fixed window: so much in each period, which begin one after the other for all keys together. Around the edge of two
 * up to twice as much is taken in a short time; what is promised is the sum of each.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a rate that is none.
 */
export function fixedWindow(options: WindowOptions): Limiter {
  return new ProcessLimiter(fixedWindowOf, options);
}

/** @throws ERR_INVALID_ARGUMENT */
export function bucketOf({ rate, burst }: LimitRules): BucketAlgorithm {
  const { limit, periodMs } = rateOf(rate);
  const atOnce = burst ?? limit;
  if (Number.isFinite(atOnce) && atOnce >= 1) return new BucketAlgorithm(limit / periodMs, atOnce);
  throw invalid(`burst: ${atOnce}; a number of at least 1 is needed, or nothing could be taken`);
}

/** @throws ERR_INVALID_ARGUMENT */
export function slidingWindowOf(rules: LimitRules): SlidingWindowAlgorithm {
  const { limit, periodMs } = windowOf(rules);
  if (Number.isInteger(limit) && limit <= MAX_SLIDING) {
    return new SlidingWindowAlgorithm(limit, periodMs);
  }
  throw invalid(
    `rate: ${limit} a window; a whole number up to ${MAX_SLIDING} is needed, see slidingCounter`,
  );
}

/** @throws ERR_INVALID_ARGUMENT */
export function slidingCounterOf(rules: LimitRules): SlidingCounterAlgorithm {
  const { limit, periodMs } = windowOf(rules);
  return new SlidingCounterAlgorithm(limit, periodMs);
}

/** @throws ERR_INVALID_ARGUMENT */
export function fixedWindowOf(rules: LimitRules): FixedWindowAlgorithm {
  const { limit, periodMs } = windowOf(rules);
  return new FixedWindowAlgorithm(limit, periodMs);
}

function windowOf({ rate, burst }: LimitRules) {
  if (burst !== undefined) throw invalid('burst: windows have none, it is for token buckets');
  return rateOf(rate);
}

/** The parts of a rate. @throws ERR_INVALID_ARGUMENT */
export function rateOf(rate: Rate): { readonly limit: number; readonly periodMs: number } {
  let limit = Number.NaN;
  let periodMs = Number.NaN;
  if (typeof rate === 'string') {
    const [, amount, period] = /^(\d+(?:\.\d+)?)\/(ms|s|m|h|d|\d.*)$/.exec(rate) ?? [];
    limit = Number(amount);
    periodMs = period === undefined ? Number.NaN : durationMs(PERIODS[period] ?? period, 'rate');
  } else if (typeof rate === 'object' && rate !== null) {
    limit = rate.limit;
    periodMs = durationMs(rate.period, 'rate.period');
  }
  // With a period below a nanosecond, or of years, fractions would be lost.
  if (Number.isFinite(limit) && limit > 0 && periodMs >= 1e-6 && periodMs <= MAX_PERIOD_MS)
    return { limit, periodMs };
  const given = typeof rate === 'string' ? `'${rate}'` : JSON.stringify(rate);
  throw invalid(
    `rate: ${given}; a positive amount in a time is needed, such as '100/s', '10/30s' or { limit: 5000, period: '1h' }`,
  );
}

const MAX_PERIOD_MS = 366 * 86_400_000;
