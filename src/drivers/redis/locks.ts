/** Locks and elections on one Redis. */
import { type Clock, systemClock } from '../../core/clock.ts';
import { type Duration, durationWithin } from '../../core/duration.ts';
import { invalid } from '../../core/errors.ts';
import { type Random, systemRandom } from '../../core/random.ts';
import type { Elections } from '../../locks/elections.ts';
import { electionsOver } from '../../locks/elections-over.ts';
import type { LockEngine } from '../../locks/engine.ts';
import type { Fencing, Locks } from '../../locks/locks.ts';
import { locksOver } from '../../locks/locks-over.ts';
import { ownerName } from '../../locks/owner.ts';
import { connectionOf, type RedisClient } from './clients.ts';
import { RedisEngine } from './engine.ts';
import { prefixOf } from './names.ts';

/** How locks and elections on one Redis behave. */
export interface RedisLocksOptions {
  /**
   * How long what is held outlives its holder, from 100 ms to a day. It is renewed every third of it.
   * @defaultValue `'10s'`
   */
  readonly ttl?: Duration | undefined;
  /** What keys and channels begin with. All who share locks need the same. @defaultValue `'quorate:lock:'` */
  readonly prefix?: string | undefined;
  /** What others see of who holds, in `holders`. @defaultValue host name and process id */
  readonly owner?: string | undefined;
  /**
   * `false`: grants get no numbers, and an uncontended lock costs 4 commands in the place of 7.
   * @defaultValue `true`
   */
  readonly fencing?: boolean | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
  /** For ids, and to spread what many do at a time. @defaultValue the system's */
  readonly random?: Random | undefined;
}

const LEAST_TTL_MS = 100;
const MOST_TTL_MS = 86_400_000;

/**
 * Locks on one Redis, first come, first served, over a client that you made and connected: of the package
 * `redis` (node-redis) or of `ioredis`. Waits are woken by messages, over a second connection that is made
 * from your client when it is first needed. `close` gives back what is held and leaves your client open.
 *
 * Tokens grow as long as Redis loses nothing, or its clock does not go back: see docs/redis.md.
 *
 * @throws `ERR_INVALID_ARGUMENT` for what is no such client or option, `ERR_UNSUPPORTED` for a cluster.
 * @example
 * ```ts
 * const client = await createClient().connect();
 * await using locks = redisLocks(client, { ttl: '10s' });
 * await locks.run('nightly-report', (lock) => report({ signal: lock.lost }));
 * ```
 */
export function redisLocks(
  client: RedisClient,
  options: RedisLocksOptions & { readonly fencing: false },
): Locks<'none'>;
export function redisLocks(
  client: RedisClient,
  options?: RedisLocksOptions & { readonly fencing?: true | undefined },
): Locks<'best-effort'>;
export function redisLocks(
  client: RedisClient,
  options: RedisLocksOptions = {},
): Locks<'best-effort'> | Locks<'none'> {
  const fenced = options.fencing ?? true;
  const engine = open(client, options, { fenced, observed: false }, 'quorate:lock:');
  return locksOver(engine as LockEngine<Fencing>, ownerName(options.owner)) as Locks<'best-effort'>;
}

/**
 * Elections on one Redis. Who observes is told by messages. `close` resigns what is held and leaves your
 * client open.
 */
export function redisElections(
  client: RedisClient,
  options: Omit<RedisLocksOptions, 'fencing' | 'owner'> = {},
): Elections {
  const settings = { fenced: true, observed: true };
  return electionsOver(open(client, options, settings, 'quorate:election:'));
}

function open(
  client: RedisClient,
  options: RedisLocksOptions,
  settings: { readonly fenced: boolean; readonly observed: boolean },
  usualPrefix: string,
): RedisEngine {
  if (typeof settings.fenced !== 'boolean') throw invalid('fencing: true or false is needed');
  return new RedisEngine(connectionOf(client), {
    ...settings,
    prefix: prefixOf(options.prefix, usualPrefix),
    ttlMs: ttlOf(options.ttl),
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
  });
}

/** @throws `ERR_INVALID_ARGUMENT` unless Redis and timers can do it */
export function ttlOf(given: Duration | undefined): number {
  return durationWithin(given ?? '10s', 'ttl', LEAST_TTL_MS, MOST_TTL_MS);
}
