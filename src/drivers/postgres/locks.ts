/**
 * Locks on PostgreSQL: session-level advisory locks with fencing tokens of a sequence.
 *
 * PostgreSQL keeps one queue per lock and serves it in order, shared and exclusive alike, and a try never
 * overtakes who waits (`LockAcquireExtended`, `ProcSleep` and `ProcLockWakeup` of its sources). It may put
 * who holds other locks ahead, to keep clear of deadlocks; ours hold nothing while they wait.
 */
import { type Clock, systemClock } from '../../core/clock.ts';
import { type Duration, durationMs } from '../../core/duration.ts';
import { invalid } from '../../core/errors.ts';
import { wholeNumber } from '../../core/numbers.ts';
import type { AcquireOptionsWithout, Locks } from '../../locks/locks.ts';
import { locksOver } from '../../locks/locks-over.ts';
import type { PostgresPool } from './client.ts';
import { PostgresEngine } from './engine.ts';
import { requireNamespace } from './key.ts';
import { visibleOwner } from './owner.ts';

/** How locks on PostgreSQL behave. */
export interface PostgresLocksOptions {
  /**
   * What others see of who holds, in `holders`, and as `application_name` in `pg_stat_activity`: at most 63
   * characters of printable ASCII. @defaultValue host name and process id
   */
  readonly owner?: string;
  /** Locks of different namespaces have nothing to do with each other. @defaultValue `'quorate'` */
  readonly namespace?: string;
  /**
   * The sequence that fencing tokens come from, `name` or `schema.name`; created where it is missing. All who
   * share a resource share it. @defaultValue `'quorate_lock_tokens'`
   */
  readonly sequence?: string;
  /**
   * Connections that are taken from the pool, at most: one for all that is held without waiting, and one
   * more for each that waits or has waited. `ERR_BUSY` beyond. @defaultValue 10
   */
  readonly maxConnections?: number;
  /**
   * Between two questions whether the server is still there. Holders stop to believe three of these after
   * the last one that was answered. @defaultValue `'5s'`
   */
  readonly heartbeat?: Duration;
  /** How long to wait for a connection of the pool. @defaultValue `'5s'` */
  readonly connectTimeout?: Duration;
  /** @defaultValue the system's */
  readonly clock?: Clock;
}

/**
 * Locks on the PostgreSQL that `pool` leads to: a `Pool` of node-postgres (`pg`), best one of their own. They
 * keep its connections until they are closed. `close` gives back what is held and leaves the pool open.
 *
 * @throws `ERR_INVALID_ARGUMENT` for options that cannot be; nothing is connected yet.
 */
export function postgresLocks(
  pool: PostgresPool,
  options: PostgresLocksOptions = {},
): Locks<'monotonic', AcquireOptionsWithout<'permits'>> {
  if (typeof (pool as Partial<PostgresPool> | undefined)?.connect !== 'function') {
    throw invalid(
      "pool: a Pool of node-postgres is needed: new Pool({ connectionString }) of 'pg'",
    );
  }
  const maxConnections = wholeNumber('maxConnections', options.maxConnections ?? 10, 2, 10_000);
  const owner = visibleOwner(options.owner);
  const engine = new PostgresEngine(pool, {
    clock: options.clock ?? systemClock,
    owner,
    namespace: requireNamespace(options.namespace ?? 'quorate'),
    sequence: options.sequence ?? 'quorate_lock_tokens',
    maxConnections,
    heartbeatMs: duration(options.heartbeat ?? '5s', 'heartbeat', 100),
    connectTimeoutMs: duration(options.connectTimeout ?? '5s', 'connectTimeout', 1),
  });
  return locksOver(engine, owner);
}

function duration(given: Duration, name: string, leastMs: number): number {
  const ms = durationMs(given, name);
  if (ms >= leastMs && ms <= 3_600_000) return ms;
  throw invalid(`${name}: ${ms} ms; ${leastMs} ms to one hour are needed`);
}
