/** What limiters of many processes take, and what is made of it once it was checked. */
import { type Clock, systemClock } from '../../core/clock.ts';
import { type Duration, durationWithin } from '../../core/duration.ts';
import { invalid } from '../../core/errors.ts';
import { wholeNumber } from '../../core/numbers.ts';
import { type Random, systemRandom } from '../../core/random.ts';
import type { LimitAlgorithm } from '../limit-algorithm.ts';
import type { ClusterAlgorithm, Limiter, LimitRules } from '../limiter.ts';
import { bucketOf, fixedWindowOf, rateOf, slidingCounterOf, slidingWindowOf } from '../limiters.ts';
import type { StoreRules } from './limit-store.ts';

/**
 * Who decides while the store is down. `'refuse'`: nothing is allowed. `'admit'`: everything is. A limiter of this process:
 * that one, for example at the rate divided by the number of processes.
 */
export type WhenDown = 'refuse' | 'admit' | { readonly local: Limiter };

/** Tokens that a process takes ahead of need. */
export interface LimitLease {
  /** It has so many of a key at most: a whole number. */
  readonly tokens: number;
  /** Those that were not used for so long are thrown away: 10 ms to an hour. @defaultValue `'5s'` */
  readonly for?: Duration | undefined;
}

/** What limiters of many processes take, on each store. */
export interface ClusterLimiterOptions extends LimitRules {
  /** How to count; all who share keys say the same. @defaultValue `'token-bucket'` */
  readonly algorithm?: ClusterAlgorithm | undefined;
  /** Before all keys; who shares it, and the algorithm, shares the limits. @defaultValue `'quorate:limit:'` */
  readonly prefix?: string | undefined;
  /**
   * Takes tokens ahead of need, and answers `allow` without the store while they last. In any time t, at most `tokens` more for
   * each process are admitted. @defaultValue each call asks the store
   */
  readonly lease?: LimitLease | undefined;
  /** Who decides while the store is down. @defaultValue `'refuse'` */
  readonly whenDown?: WhenDown | undefined;
  /** The store answers within this, or counts as down: 1 ms to a minute. @defaultValue `'250ms'` on Redis, `'1s'` over a key-value store */
  readonly timeout?: Duration | undefined;
  /** So many may wait in this process, for all keys together; a further one is refused. @defaultValue 10,000 */
  readonly maxWaiting?: number | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
  /** @defaultValue the system's */
  readonly random?: Random | undefined;
}

/** Options with all that was left out. */
export interface Settings {
  /** What it is called in events. */
  readonly name: string;
  readonly rules: StoreRules;
  readonly lease: { readonly tokens: number; readonly forMs: number } | undefined;
  readonly whenDown: WhenDown;
  readonly timeoutMs: number;
  readonly maxWaiting: number;
  readonly clock: Clock;
  readonly random: Random;
}

/** What keys begin with where nothing else was said. */
export const DEFAULT_PREFIX = 'quorate:limit:';
const MAX_WAITING = 2 ** 24;
const MAX_LEASE = 1e9;

const ALGORITHMS: Readonly<Record<ClusterAlgorithm, (rules: LimitRules) => LimitAlgorithm>> = {
  'token-bucket': bucketOf,
  'sliding-window': slidingWindowOf,
  'sliding-counter': slidingCounterOf,
  'fixed-window': fixedWindowOf,
};

/** @throws ERR_INVALID_ARGUMENT */
export function settingsOf(options: ClusterLimiterOptions, usualTimeout: Duration): Settings {
  if (typeof options !== 'object' || options === null) throw invalid('options: a rate is needed');
  const { algorithm = 'token-bucket', lease, whenDown = 'refuse' } = options;
  if (typeof algorithm !== 'string' || !Object.hasOwn(ALGORITHMS, algorithm)) {
    const known = Object.keys(ALGORITHMS).join(', ');
    throw invalid(`algorithm: '${String(algorithm)}'; there are ${known}`);
  }
  const isLocal = typeof whenDown === 'object' && whenDown?.local?.scope === 'process';
  if (!isLocal && whenDown !== 'refuse' && whenDown !== 'admit')
    throw invalid("whenDown: 'refuse', 'admit' or { local: a limiter of this process } is needed");
  return {
    name: String(options.prefix ?? DEFAULT_PREFIX),
    rules: storeRulesOf(algorithm, options),
    lease: lease === undefined ? undefined : leaseOf(lease),
    whenDown,
    timeoutMs: durationWithin(options.timeout ?? usualTimeout, 'timeout', 1, 60_000),
    maxWaiting: wholeNumber('maxWaiting', options.maxWaiting ?? 10_000, 1, MAX_WAITING),
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
  };
}

/** @throws ERR_INVALID_ARGUMENT */
export function storeRulesOf(kind: ClusterAlgorithm, rules: LimitRules): StoreRules {
  const { limit: perPeriod, periodMs } = rateOf(rules.rate);
  if (periodMs < 1) throw invalid('rate: a period of at least 1 ms is needed among processes');
  const periodUs = Math.ceil(periodMs * 1000 - 1e-6);
  const rate = { limit: perPeriod, period: periodUs / 1000 };
  const algorithm = ALGORITHMS[kind]({ rate, burst: rules.burst });
  return { kind, perPeriod, periodUs, limit: algorithm.limit, algorithm };
}

function leaseOf(lease: LimitLease): { readonly tokens: number; readonly forMs: number } {
  if (typeof lease !== 'object' || lease === null) throw invalid('lease: { tokens } is needed');
  const tokens = wholeNumber('lease.tokens', lease.tokens, 1, MAX_LEASE);
  return { tokens, forMs: durationWithin(lease.for ?? '5s', 'lease.for', 10, 3_600_000) };
}
