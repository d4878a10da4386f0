/** The locks on one Redis that are compared, behind one interface: ours and those of npm. */
import { Redis } from 'ioredis';
import { redisLocks } from '../src/drivers/redis/index.ts';
import { installPeers, requirePeer } from './peers.ts';

type GiveBack = () => Promise<unknown>;

/** What one process, or one connection of it, has. */
export interface LockClient {
  /** Waits as long as it takes. */
  acquire(name: string): Promise<GiveBack>;
  /** Holds, and keeps it alive; calls `onLost` when it is noticed that it is lost. */
  hold(name: string, onLost: () => void): Promise<void>;
  /** Takes it from whoever holds it, who is told; only where there is such a thing. */
  evict?(name: string): Promise<void>;
}

export interface LockSystem {
  /** It tells whoever holds that the lock was lost. */
  readonly tellsLoss: boolean;
  open(port: number, ttlMs: number): Promise<LockClient>;
}

/** Those of npm in the versions that are compared; `ioredis` for the one that makes its connections itself. */
export const PEERS = [
  'redlock@5.0.0-beta.2',
  '@sesamecare-oss/redlock@1.4.0',
  'redis-semaphore@5.8.0',
  'redlock-universal@0.8.5',
  'node-redisson@1.0.4',
  'ioredis@5.11.1',
];

export const SYSTEMS: Readonly<Record<string, LockSystem>> = {
  quorate: { tellsLoss: true, open: (port, ttl) => openOurs(port, ttl, true) },
  'quorate without tokens': { tellsLoss: true, open: (port, ttl) => openOurs(port, ttl, false) },
  redlock: { tellsLoss: true, open: (port, ttl) => openRedlock('redlock', port, ttl, {}) },
  'redlock, asks each 10 ms': {
    tellsLoss: true,
    open: (port, ttl) => openRedlock('redlock', port, ttl, { retryDelay: 10, retryJitter: 10 }),
  },
  '@sesamecare-oss/redlock': {
    tellsLoss: true,
    open: (port, ttl) => openRedlock('@sesamecare-oss/redlock', port, ttl, {}),
  },
  'redis-semaphore': { tellsLoss: true, open: openSemaphore },
  'redlock-universal': { tellsLoss: true, open: openUniversal },
  'node-redisson': { tellsLoss: false, open: openRedisson },
};

const peers = (): Promise<string> => installPeers('quorate-bench-locks', PEERS);

async function connect(port: number): Promise<Redis> {
  const client = new Redis({ port, host: '127.0.0.1', lazyConnect: true });
  await client.connect();
  return client;
}

async function openOurs(port: number, ttlMs: number, fencing: boolean): Promise<LockClient> {
  const client = await connect(port);
  const locks = fencing
    ? redisLocks(client, { ttl: ttlMs })
    : redisLocks(client, { ttl: ttlMs, fencing: false });
  const operator = redisLocks(client);
  return {
    async acquire(name) {
      const lock = await locks.acquire(name);
      return () => lock.release();
    },
    async hold(name, onLost) {
      const { lost } = await locks.acquire(name);
      lost.addEventListener('abort', onLost);
    },
    async evict(name) {
      await operator.forceRelease(name);
    },
  };
}

/** What of `redlock`, and of its fork, is used. */
interface Redlock {
  acquire(names: string[], ttlMs: number): Promise<{ release(): Promise<unknown> }>;
  using(
    names: string[],
    ttlMs: number,
    work: (signal: AbortSignal) => Promise<void>,
  ): Promise<void>;
  on(event: 'error', listener: () => void): void;
}
type RedlockClass = new (clients: Redis[], settings: object) => Redlock;

async function openRedlock(
  name: string,
  port: number,
  ttlMs: number,
  settings: object,
): Promise<LockClient> {
  type Module = { readonly default: RedlockClass; readonly Redlock?: RedlockClass };
  const module = requirePeer<Module>(await peers(), name);
  const Class = module.Redlock ?? module.default;
  // With its defaults it gives up after ten times.
  const connection = await connect(port);
  const redlock = new Class([connection], { ...settings, retryCount: -1 });
  // It renews with these too: without an end it would never notice a loss.
  const holding = new Class([connection], { ...settings, retryCount: 10 });
  for (const each of [redlock, holding]) each.on('error', () => undefined);
  return {
    async acquire(key) {
      const lock = await redlock.acquire([key], ttlMs);
      return () => lock.release();
    },
    hold: (key, onLost) => within((work) => holding.using([key], ttlMs, work), onLost),
  };
}

async function openSemaphore(port: number, ttlMs: number): Promise<LockClient> {
  interface Mutex {
    acquire(): Promise<void>;
    release(): Promise<void>;
  }
  type Module = { readonly Mutex: new (client: Redis, key: string, options: object) => Mutex };
  const { Mutex } = requirePeer<Module>(await peers(), 'redis-semaphore');
  const client = await connect(port);
  const options = { lockTimeout: ttlMs, acquireTimeout: 600_000, onLockLost: () => undefined };
  return {
    async acquire(name) {
      const mutex = new Mutex(client, name, options);
      await mutex.acquire();
      return () => mutex.release();
    },
    hold: (name, onLost) => new Mutex(client, name, { ...options, onLockLost: onLost }).acquire(),
  };
}

async function openUniversal(port: number, ttlMs: number): Promise<LockClient> {
  interface Simple {
    acquire(): Promise<object>;
    release(handle: object): Promise<boolean>;
    using(work: (signal: AbortSignal) => Promise<void>): Promise<void>;
  }
  interface Module {
    readonly createLock: (config: object) => Simple;
    readonly IoredisAdapter: new (client: Redis) => object;
  }
  const { createLock, IoredisAdapter } = requirePeer<Module>(await peers(), 'redlock-universal');
  const adapter = new IoredisAdapter(await connect(port));
  const locks = new Map<string, Simple>();
  const lockOf = (key: string): Simple => {
    // With its defaults it gives up after three times.
    const lock = locks.get(key) ?? createLock({ adapter, key, ttl: ttlMs, retryAttempts: 100_000 });
    locks.set(key, lock);
    return lock;
  };
  return {
    async acquire(name) {
      const lock = lockOf(name);
      const handle = await lock.acquire();
      return () => lock.release(handle);
    },
    hold: (name, onLost) => within((work) => lockOf(name).using(work), onLost),
  };
}

async function openRedisson(port: number, ttlMs: number): Promise<LockClient> {
  interface RLock {
    lock(): Promise<void>;
    unlock(): Promise<void>;
  }
  interface Module {
    readonly Redisson: new (config: object) => { getLock(name: string): RLock };
  }
  const { Redisson } = requirePeer<Module>(await peers(), 'node-redisson');
  const redisson = new Redisson({
    redis: { options: { host: '127.0.0.1', port } },
    lockWatchdogTimeout: BigInt(ttlMs),
  });
  return {
    async acquire(name) {
      const lock = redisson.getLock(name);
      await lock.lock();
      return () => lock.unlock();
    },
    hold: (name) => redisson.getLock(name).lock(),
  };
}

/** For those that renew only while a function runs; resolves when it runs. */
function within(
  using: (work: (signal: AbortSignal) => Promise<void>) => Promise<void>,
  onLost: () => void,
): Promise<void> {
  return new Promise((held, failed) => {
    const work = (signal: AbortSignal): Promise<void> =>
      new Promise((end) => {
        signal.addEventListener('abort', () => {
          onLost();
          end();
        });
        held();
      });
    using(work).catch(failed);
  });
}
