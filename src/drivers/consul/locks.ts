/** Locks and elections on Consul. */
import { type Duration, durationWithin } from '../../core/duration.ts';
import type { Elections } from '../../locks/elections.ts';
import { electionsOver } from '../../locks/elections-over.ts';
import type { AcquireOptionsWithout, Locks } from '../../locks/locks.ts';
import { locksOver } from '../../locks/locks-over.ts';
import { ownerName } from '../../locks/owner.ts';
import { ConsulClient } from './client.ts';
import { ConsulEngine } from './engine.ts';
import { prefixOf } from './keys.ts';
import { type ConsulConnection, resolveConnection } from './options.ts';

/** How locks and elections on Consul behave. */
export interface ConsulLocksOptions extends ConsulConnection {
  /**
   * The time to live of the session that all locks of one `Locks` share: its holder counts on them for so long
   * after the last renewal, and Consul keeps them for up to twice as long. It is renewed every third of it. Below
   * 10 s servers refuse it unless they are told otherwise (`session_ttl_min`). At most a day. @defaultValue `'10s'`
   */
  readonly ttl?: Duration | undefined;
  /**
   * For how long nobody gets a lock whose session ended before its holder gave it back: for holders that could
   * not be told. At most 60 s. @defaultValue `ttl`: by then they know by themselves
   */
  readonly lockDelay?: Duration | undefined;
  /**
   * What keys begin with. All who share locks need the same.
   * @defaultValue `'quorate/locks/'`, for elections `'quorate/elections/'`
   */
  readonly prefix?: string | undefined;
  /** What others see of who holds, in `holders`, and as the session's name. @defaultValue host name and process id */
  readonly owner?: string | undefined;
}

const LEAST_TTL_MS = 100;
const MOST_TTL_MS = 86_400_000;
const MOST_LOCK_DELAY_MS = 60_000;

/**
 * Locks on Consul: one key a name, on a session. They speak to the HTTP API themselves; `close` gives back what
 * is held and ends the connections.
 *
 * @throws `ERR_INVALID_ARGUMENT` for options that cannot be; nothing is connected yet. A `ttl` that the server
 * refuses is told by the first call, with the same code.
 * @example
 * ```ts
 * await using locks = consulLocks({ address: 'http://127.0.0.1:8500', token });
 * await locks.run('nightly-report', (lock) => report({ signal: lock.lost }));
 * ```
 */
export function consulLocks(
  options: ConsulLocksOptions = {},
): Locks<'monotonic', AcquireOptionsWithout<'shared' | 'permits'>> {
  const owner = ownerName(options.owner);
  return locksOver(open(options, owner, 'quorate/locks/'), owner);
}

/**
 * Elections on Consul: what a leader says is the value of its key. `close` resigns what is held and ends the
 * connections.
 *
 * @throws as `consulLocks`
 */
export function consulElections(options: ConsulLocksOptions = {}): Elections {
  return electionsOver(open(options, ownerName(options.owner), 'quorate/elections/'));
}

function open(options: ConsulLocksOptions, owner: string, usualPrefix: string): ConsulEngine {
  const ttlMs = durationWithin(options.ttl ?? '10s', 'ttl', LEAST_TTL_MS, MOST_TTL_MS);
  const usualDelay = Math.min(ttlMs, MOST_LOCK_DELAY_MS);
  const lockDelay = options.lockDelay ?? usualDelay;
  const connection = resolveConnection(options);
  const engineOptions = {
    owner,
    ttlMs,
    lockDelayMs: durationWithin(lockDelay, 'lockDelay', 0, MOST_LOCK_DELAY_MS),
    prefix: prefixOf(options.prefix, usualPrefix),
    maxWaits: connection.maxWaits,
  };
  // A request that takes longer than a session lasts is no use to anybody.
  const timeoutMs = Math.min(connection.timeoutMs, ttlMs);
  return new ConsulEngine(new ConsulClient({ ...connection, timeoutMs }), engineOptions);
}
