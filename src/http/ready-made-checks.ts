/** Checks of what services built with Quorate stand on. Each knows its object by shape, so that a wrapper fits too. */
import { type Duration, durationWithin } from '../core/duration.ts';
import { wholeNumber } from '../core/numbers.ts';
import type { Kv } from '../kv/kv.ts';
import type { CircuitBreaker } from '../resilience/breaker/circuit-breaker.ts';
import type { LoopDelay } from '../resilience/loop-delay.ts';
import type { WorkerPool } from '../resilience/pools/worker-pool.ts';
import type { Check } from './check.ts';

/** No key of anybody; that it does not exist costs least. */
const READ_KEY = 'quorate/health-check';

type Store = Pick<Kv, 'get'>;

/**
 * Up where a linearizable read works: there is a leader, and a majority answers it. For a node, or any `Kv`.
 *
 * @example
 * ```ts
 * const health = healthChecks({ checks: { quorum: quorumCheck(node) } });
 * ```
 */
export function quorumCheck(from: Store | { readonly kv: Store }): Check {
  const kv = 'kv' in from ? from.kv : from;
  return async ({ signal }) => {
    await kv.get(READ_KEY, { signal });
  };
}

/**
 * Down where a circuit is open or isolated; up where it is tried, so that requests come that try it. Seldom critical: who is
 * sent no requests because a dependency is down does not get well.
 */
export function breakerCheck(breaker: Pick<CircuitBreaker, 'state'>): Check {
  return () => {
    const { state } = breaker;
    return { ok: state === 'closed' || state === 'half-open', message: `the circuit is ${state}` };
  };
}

/** What `poolCheck` takes. */
export interface PoolCheckOptions {
  /** So many tasks that wait are too many. @defaultValue 1,000, as many as the queue of a pool holds where nothing else was said */
  readonly maxWaiting?: number | undefined;
}

/**
 * Down where too many tasks of a pool wait, in its queue or for room in it.
 *
 * @throws `ERR_INVALID_ARGUMENT`
 */
export function poolCheck(
  pool: { stats(): Pick<ReturnType<WorkerPool['stats']>, 'queued' | 'blocked'> },
  options: PoolCheckOptions = {},
): Check {
  const maxWaiting = wholeNumber('maxWaiting', options.maxWaiting ?? 1000, 1);
  return () => {
    const { queued, blocked } = pool.stats();
    const waiting = queued + blocked;
    return { ok: waiting < maxWaiting, message: `${waiting} tasks wait` };
  };
}

/**
 * Down where the event loop is later than `max`, 1 ms to an hour: nothing here is answered in time then.
 *
 * @throws `ERR_INVALID_ARGUMENT`
 * @example
 * ```ts
 * const loop = loopDelay();
 * const health = healthChecks({ checks: { loop: { check: loopDelayCheck(loop, '500ms'), scope: 'live' } } });
 * ```
 */
export function loopDelayCheck(loop: Pick<LoopDelay, 'read'>, max: Duration): Check {
  const maxMs = durationWithin(max, 'max', 1, 3_600_000);
  return () => {
    const lateMs = loop.read();
    return { ok: lateMs <= maxMs, message: `the event loop is ${Math.round(lateMs)} ms late` };
  };
}
