/** Limiters of many processes over the key-value contract: on the quorum inside your processes, on etcd, in memory. */
import { invalid } from '../../core/errors.ts';
import type { Kv } from '../../kv/kv.ts';
import type { ClusterLimiter } from '../limiter.ts';
import { KvLimitStore } from './kv-store.ts';
import type { StoreRules } from './limit-store.ts';
import { type ClusterLimiterOptions, DEFAULT_PREFIX, settingsOf } from './options.ts';
import { limiterOver } from './store-limiter.ts';

/** How limits over a store behave. */
export interface KvLimiterOptions extends ClusterLimiterOptions {}

/** All of it is written with each change: 8 KiB. */
const MAX_SLIDING = 1000;
/** Disks of a majority take part, and several processes may meet. */
const USUAL_TIMEOUT = '1s';

/**
 * A limiter of all processes that share a store and a prefix. `close` leaves the store open.
 *
 * Exact in every interval by the latest of the clocks of those who ask: among processes whose clocks differ by up to d, at
 * most `burst + rate·(t + d)`. See docs/cluster-limits.md.
 *
 * @throws `ERR_INVALID_ARGUMENT` for options that cannot be, and for a sliding window of more than 1,000.
 * @example
 * ```ts
 * const limiter = kvLimiter(node.kv, { rate: '100/s', burst: 20 });
 * const { ok, retryAfterMs } = await limiter.allow(tenant);
 * ```
 */
export function kvLimiter(kv: Kv, options: KvLimiterOptions): ClusterLimiter {
  const settings = settingsOf(options, USUAL_TIMEOUT);
  const { prefix = DEFAULT_PREFIX } = options;
  if (typeof prefix !== 'string' || prefix.length > 200)
    throw invalid('prefix: a text of up to 200 characters is needed');
  const store = new KvLimitStore(kv, prefix, settings.clock, settings.timeoutMs);
  return limiterOver(store, settings, requireShort);
}

function requireShort({ kind, limit }: StoreRules): void {
  if (kind !== 'sliding-window' || limit <= MAX_SLIDING) return;
  throw invalid(
    `rate: ${limit} a window; up to ${MAX_SLIDING} is possible here, as all of it is one value; see 'sliding-counter'`,
  );
}
