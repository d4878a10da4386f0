/** What an engine cannot do is refused by types already; the conformance suite sees that calls refuse it. */
import { test } from 'node:test';
import type { consulLocks } from '../../src/drivers/consul/index.ts';
import type { postgresLocks } from '../../src/drivers/postgres/index.ts';
import type { redisLocks, redlock } from '../../src/drivers/redis/index.ts';
import type { kvLocks, kvTxnLocks, Locks, lockWithRetry } from '../../src/locks/index.ts';

interface Engines {
  readonly redlock: ReturnType<typeof redlock>;
  readonly consul: ReturnType<typeof consulLocks>;
  readonly txn: ReturnType<typeof kvTxnLocks>;
  readonly postgres: ReturnType<typeof postgresLocks>;
  readonly redis: ReturnType<typeof redisLocks>;
  readonly kv: ReturnType<typeof kvLocks>;
  readonly retry: typeof lockWithRetry;
}

/** Never called: it is for the compiler, which refuses a directive that expects an error in vain. */
export async function ask(engines: Engines): Promise<readonly Locks[]> {
  const { redlock, consul, txn, postgres, redis, kv, retry } = engines;
  for (const one of [redlock, consul, txn]) {
    // @ts-expect-error There are no read locks.
    await one.acquire('a', { shared: true });
    // @ts-expect-error There are no semaphores.
    await one.tryAcquire('a', { permits: 2 });
    // @ts-expect-error There are no read locks.
    await one.run('a', () => undefined, { shared: true });
    await one.acquireAll(['a', 'b'], { wait: '1s' });
  }
  // @ts-expect-error There are no semaphores.
  await postgres.acquire('a', { permits: 2 });
  // @ts-expect-error There are no tokens.
  await redlock.run('a', (lock) => lock.fencingToken + 1n);
  await postgres.acquire('a', { shared: true });
  for (const one of [redis, kv]) await one.acquire('a', { permits: 2 });
  await retry(redlock, 'a', { attempts: 2 });
  return [consul, txn, postgres, redis, kv];
}

test('what an engine does not have does not compile', () => undefined);
