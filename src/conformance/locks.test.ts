/**
 * The suite is tested by locks that are wrong in one thing each: the case that is there for it must notice.
 * That it passes on right ones is tested in `test/conformance`.
 */
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, test } from 'node:test';
import { orAborted, sleep } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { durationMs } from '../core/duration.ts';
import { isQuorateError, QuorateError } from '../core/errors.ts';
import type { AcquireOptions, Lock, LockHolder, Locks } from '../locks/locks.ts';
import { lockCases, runLockCases } from './locks.ts';
import { lacksOf } from './locks-lacks.ts';
import { assertNoticed, withMethods } from './test-wrong.ts';
import { noticed, type Wrong } from './test-wrong-locks.ts';

/** Both ways to a lock, with the options changed. */
function withOptions(
  right: Locks,
  change: (options: AcquireOptions) => AcquireOptions,
): Partial<Locks> {
  return {
    acquire: (name, options = {}) => right.acquire(name, change(options)),
    tryAcquire: (name, options = {}) => right.tryAcquire(name, change(options)),
    acquireAll: (names, options = {}) => right.acquireAll(names, change(options)),
    run: (name, work, options = {}) => right.run(name, work, change(options)),
  };
}

/** All that takes a name, with the name changed. */
function withNames(
  right: Locks,
  change: (name: string, options?: AcquireOptions) => string,
): Partial<Locks> {
  return {
    acquire: (name, options) => right.acquire(change(name, options), options),
    tryAcquire: (name, options) => right.tryAcquire(change(name, options), options),
    holders: (name) => right.holders(change(name)),
    forceRelease: (name) => right.forceRelease(change(name)),
  };
}

/** `acquire` and `run` whose failures are changed; so is nothing else. */
function withFailure(right: Locks, change: (error: unknown) => unknown): Partial<Locks> {
  const changed = (error: unknown): never => {
    throw change(error);
  };
  return {
    acquire: (name, options) => right.acquire(name, options).catch(changed),
    tryAcquire: (name, options) => right.tryAcquire(name, options).catch(changed),
  };
}

const never = new AbortController().signal;

const wrongExclusion: Record<string, Wrong> = {
  'give the lock to everybody': {
    noticedBy: 'of many tasks of two clients one holds the lock at a time, and all get it',
    locks: (right) => withOptions(right, (options) => ({ ...options, shared: true })),
  },
  'exclude other clients only': {
    noticedBy: 'a lock excludes others of the same client, too',
    locks: (right) => {
      let mine: Lock | undefined;
      return {
        acquire: async (...args) => (mine = await right.acquire(...args)),
        tryAcquire: async (...args) =>
          (mine?.remainingMs() ?? 0) > 0 ? mine : right.tryAcquire(...args),
      };
    },
  },
  'have one lock for all names': {
    noticedBy: 'different names do not exclude each other',
    locks: (right) => withNames(right, (name) => name.replace(/[^/]+$/, 'all')),
  },
  'reject tryAcquire when the lock is busy': {
    noticedBy: 'tryAcquire of a busy lock gives undefined at once and leaves nothing',
    locks: (right) => ({
      async tryAcquire(name, options) {
        const lock = await right.tryAcquire(name, options);
        if (lock !== undefined) return lock;
        throw new QuorateError('ERR_LOCK_BUSY', 'busy');
      },
    }),
  },
  'leave a place in the queue after tryAcquire': {
    noticedBy: 'tryAcquire of a busy lock gives undefined at once and leaves nothing',
    locks: (right) => ({
      async tryAcquire(name, options) {
        const lock = await right.tryAcquire(name, options);
        if (lock === undefined) right.acquire(name).catch(() => undefined);
        return lock;
      },
    }),
  },
  'find who waits by asking every two seconds': {
    noticedBy: 'a lock that is released goes to one who waits, at once',
    lacks: { waiters: 'they poll' },
    locks: (right, clock) => ({ acquire: polling(right, () => sleep(clock, 2000)) }),
  },
  'serve who came last': {
    noticedBy: 'who waits is served in the order of arrival',
    lacks: { waiters: 'they poll' },
    locks: (right, clock) => {
      // Whoever came later asks more often.
      let asked = 0;
      const acquire: Locks['acquire'] = (name, options) => {
        const delayMs = 500 / ++asked;
        return polling(right, () => sleep(clock, delayMs))(name, options);
      };
      return { acquire };
    },
  },
  'let who is quickest have the lock': {
    noticedBy: 'a lock that is free is not given past those who wait for it',
    lacks: { waiters: 'they poll' },
    locks: (right, clock) => ({ acquire: polling(right, () => sleep(clock, 20)) }),
  },
  'give the same token twice': {
    noticedBy: 'tokens grow with every grant of a name',
    lock: (right) => ({ fencingToken: right.fencingToken / 4n }),
  },
  'count tokens in each client': {
    noticedBy: 'tokens grow with every grant of a name',
    locks: (right) => {
      let token = 0n;
      const counted = (lock: Lock): Lock => withMethods(lock, { fencingToken: (token += 1n) });
      return { acquire: async (...args) => counted(await right.acquire(...args)) };
    },
  },
  'promise tokens and have none': {
    noticedBy: 'there are tokens exactly where they are promised',
    lock: () => ({ fencingToken: undefined as never }),
  },
};

/** Gets a lock by asking again and again. */
function polling(right: Locks, pause: () => Promise<void>): Locks['acquire'] {
  return async (name, options = {}) => {
    while (true) {
      const lock = await right.tryAcquire(name, options);
      if (lock !== undefined) return lock;
      await orAborted(pause(), options.signal);
    }
  };
}

const wrongWaits: Record<string, Wrong> = {
  'know no end of a wait': {
    noticedBy: 'a wait that is over ends with ERR_LOCK_BUSY in time and leaves its place',
    locks: (right) => withOptions(right, (options) => ({ ...options, wait: undefined })),
  },
  'give up too early': {
    noticedBy: 'a wait that is over ends with ERR_LOCK_BUSY in time and leaves its place',
    locks: (right) => withOptions(right, (options) => ({ ...options, wait: 100 })),
  },
  'call the end of a wait a timeout': {
    noticedBy: 'a wait that is over ends with ERR_LOCK_BUSY in time and leaves its place',
    locks: (right) => withFailure(right, () => new QuorateError('ERR_TIMEOUT', 'too late')),
  },
  'stay in the queue when the wait is over': {
    noticedBy: 'who gave up does not hold up the one behind',
    locks: staying,
  },
  'count the wait on after the grant': {
    noticedBy: 'a wait of text is a duration, and a lock that comes before its end is held',
    locks: (right) => ({
      async acquire(name, options = {}) {
        const lock = await right.acquire(name, options);
        if (options.wait !== undefined) await lock.release();
        return lock;
      },
    }),
  },
  'take months for nothing': {
    noticedBy: 'a wait of months is one',
    locks: (right) =>
      withOptions(right, (options) => ({
        ...options,
        wait: durationMs(options.wait ?? 0, 'wait') > 2 ** 31 ? 1 : options.wait,
      })),
  },
  'look at a signal only while they wait': {
    noticedBy:
      'a signal that is aborted already ends every call with its reason, with nothing done',
    locks: (right) =>
      withOptions(right, ({ signal, ...options }) =>
        signal?.aborted === true ? options : { ...options, signal },
      ),
  },
  'hear no signal while they wait': {
    noticedBy: 'a signal ends a wait at once with its reason, and nothing stays of it',
    locks: (right) =>
      withOptions(right, ({ signal, ...options }) =>
        signal?.aborted === true ? { ...options, signal } : options,
      ),
  },
  'have a reason of their own for the end of a signal': {
    noticedBy: 'a signal ends a wait at once with its reason, and nothing stays of it',
    locks: (right) => withFailure(right, () => new DOMException('aborted', 'AbortError')),
  },
  'leave the place of who was aborted': {
    noticedBy: 'a signal ends a wait at once with its reason, and nothing stays of it',
    locks: (right) => ({
      acquire: (name, { signal, ...options } = {}) =>
        orAborted(right.acquire(name, options), signal),
    }),
  },
  'go on when the one before them was aborted': {
    noticedBy: 'who is aborted in the middle of a queue leaves it without moving the others',
    locks: (right) => ({
      async acquire(name, options = {}) {
        try {
          return await right.acquire(name, options);
        } catch (error) {
          await right.forceRelease(name);
          throw error;
        }
      },
    }),
  },
  'keep what was granted after the abort': {
    noticedBy: 'a signal that is aborted while the engine decides leaves nothing',
    locks: (right) => ({
      acquire: (name, { signal } = {}) => orAborted(right.acquire(name), signal),
    }),
  },
  'give the lock up when the signal comes after the grant': {
    noticedBy: 'a signal that is aborted after the grant changes nothing',
    locks: (right) => ({
      async acquire(name, options = {}) {
        const lock = await right.acquire(name, options);
        options.signal?.addEventListener('abort', () => void lock.release());
        return lock;
      },
    }),
  },
};

/** Those who gave up still stand in the queue. */
function staying(right: Locks, clock: Clock): Partial<Locks> {
  return {
    async acquire(name, { wait, ...options } = {}) {
      const lock = right.acquire(name, options);
      if (wait === undefined) return lock;
      const late = sleep(clock, durationMs(wait, 'wait')).then(() => {
        throw new QuorateError('ERR_LOCK_BUSY', 'busy', { retryable: true });
      });
      return Promise.race([lock, late]);
    },
  };
}

const wrongHandles: Record<string, Wrong> = {
  'call all grants alike': {
    noticedBy: 'a lock says its name, and each grant is called something else',
    lock: () => ({ holder: 'me' }),
  },
  'are lost while they are held': {
    noticedBy: 'while it is held it says so',
    lock: () => ({ lost: AbortSignal.abort() }),
  },
  'make a signal for every look': {
    noticedBy: 'while it is held it says so',
    lock: () => ({
      get lost() {
        return AbortSignal.any([never]);
      },
    }),
  },
  'say that more remains than the time to live': {
    noticedBy: 'what remains is at most the time to live',
    lock: (right) => ({ remainingMs: () => right.remainingMs() * 2 }),
  },
  'count what remains on after release': {
    noticedBy: 'after release it is not held, nor lost',
    lock: () => ({ remainingMs: () => 1000 }),
  },
  'are asserted after release': {
    noticedBy: 'after release it is not held, nor lost',
    lock: () => ({ assertHeld: () => undefined }),
  },
  'abort lost with release': {
    noticedBy: 'after release it is not held, nor lost',
    lock: (right) => {
      const stop = new AbortController();
      const release = async (): Promise<void> => {
        stop.abort();
        await right.release();
      };
      return { lost: stop.signal, release };
    },
  },
  'release whoever holds the name': {
    noticedBy: 'release again does nothing, also when another holds by then',
    lock: (right, locks) => ({
      release: async () => void (await locks.forceRelease(right.name)),
    }),
  },
  'reject the second release': {
    noticedBy: 'release again does nothing, also when another holds by then',
    lock: (right) => ({
      async release() {
        right.assertHeld();
        await right.release();
      },
    }),
  },
  'release all locks of a client at once': {
    noticedBy: 'release has no effect on the lock of another, of the same client or not',
    lock: (right, locks) => ({
      async release() {
        await right.release();
        await locks.forceRelease(right.name.replace('one', 'other'));
      },
    }),
  },
  'are not given back by await using': {
    noticedBy: 'await using gives it back',
    lock: () => ({ [Symbol.asyncDispose]: async () => undefined }),
  },
  'stay in the engine after release': {
    noticedBy: 'a lock that is released goes to one who waits, at once',
    lock: () => ({ release: async () => undefined }),
  },
};

const around = new AsyncLocalStorage<Lock>();

const wrongTogether: Record<string, Wrong> = {
  'lose the value of the work': {
    noticedBy: 'run gives the work its lock, returns its value, and gives the lock back',
    locks: (right) => ({
      run: (name, work, options) =>
        right.run(name, async (lock) => void (await work(lock)) as never, options),
    }),
  },
  'keep the lock when the work fails': {
    noticedBy: 'run rejects with the error of the work and gives the lock back',
    locks: (right) => ({
      async run(name, work, options) {
        const lock = await right.acquire(name, options);
        const value = await work(lock);
        await lock.release();
        return value;
      },
    }),
  },
  'wrap the error of the work': {
    noticedBy: 'run rejects with the error of the work and gives the lock back',
    locks: (right) => ({
      run: (...args) =>
        right.run(...args).catch((cause: unknown) => {
          throw new Error('the work failed', { cause });
        }),
    }),
  },
  'run the work without the lock when the wait is over': {
    noticedBy: 'run waits like acquire, and does not begin the work where it got no lock',
    locks: (right) => ({
      run: (name, work, options) =>
        right.run(name, work, options).catch(() => work(undefined as never)),
    }),
  },
  'are entered again unasked': {
    noticedBy: 'a lock is entered again only within run and where both ask for it',
    locks: (right) => withOptions(right, (options) => ({ ...options, reentrant: true })),
  },
  'are never entered again': {
    noticedBy: 'a lock is entered again only within run and where both ask for it',
    locks: (right) =>
      withOptions(right, (options) => ({ ...options, wait: '1s', reentrant: false })),
  },
  'are entered again by other clients': {
    noticedBy: 'what one client holds another does not enter again',
    locks: (right) => ({
      acquire: async (name, options) =>
        around.getStore()?.name === name ? around.getStore()! : right.acquire(name, options),
      run: (name, work, options) =>
        right.run(name, (lock) => around.run(lock, () => work(lock)), options),
    }),
  },
  'hold them together in an order of their own': {
    noticedBy: 'acquireAll holds all of them, in the order given, until it is released',
    locks: (right) => ({
      acquireAll: (names, options) => right.acquireAll([...names].sort(), options),
    }),
  },
  'keep some where they do not get all': {
    noticedBy: 'acquireAll gets none where it does not get all, by time or by signal',
    locks: (right) => ({ acquireAll: allInOrder(right, false) }),
  },
  'wait for each other in opposite orders': {
    noticedBy: 'who wants the same names in opposite orders does not wait for ever',
    locks: (right) => ({ acquireAll: allInOrder(right, true) }),
  },
  'hold the rest when one of them is lost': {
    noticedBy: 'what is held together is lost as soon as one of it is',
    locks: (right) => ({
      async acquireAll(names, options) {
        const set = await right.acquireAll(names, options);
        return withMethods(set, { lost: never });
      },
    }),
  },
};

/** In the order in which the names come. */
function allInOrder(right: Locks, givesBack: boolean): Locks['acquireAll'] {
  return async (names, options) => {
    const locks: Lock[] = [];
    try {
      for (const name of names) locks.push(await right.acquire(name, options));
    } catch (error) {
      if (givesBack) for (const lock of locks) await lock.release();
      throw error;
    }
    const each = async (): Promise<void> => {
      for (const lock of locks) await lock.release();
    };
    return withMethods(locks[0]!, { release: each, [Symbol.asyncDispose]: each }) as never;
  };
}

const wrongSharing: Record<string, Wrong> = {
  'let no readers share': {
    noticedBy: 'readers share, and a writer waits for all of them',
    locks: (right) => withOptions(right, ({ shared: _, ...options }) => options),
  },
  'let readers in beside a writer': {
    noticedBy: 'readers wait for a writer, and then share',
    locks: (right) =>
      withNames(right, (name, options) => (options?.shared === true ? `${name}~r` : name)),
  },
  'serve readers one by one': {
    noticedBy: 'readers wait for a writer, and then share',
    locks: (right) => ({
      acquire: (name, { shared: _, ...options } = {}) => right.acquire(name, options),
    }),
  },
  'prefer readers to a writer that waits': {
    noticedBy: 'a writer that waits is not overtaken by readers that come later',
    locks: (right) => ({
      async tryAcquire(name, options = {}) {
        const holders = await right.holders(name);
        const areReaders = holders.every(({ holder, waiting }) => waiting || /~/.test(holder));
        const at = options.shared === true && areReaders ? `${name}~late` : name;
        return right.tryAcquire(at, options);
      },
    }),
  },
  'hold readers up behind a writer that gave up': {
    noticedBy: 'readers go on where the writer before them gave up',
    locks: staying,
  },
  'have one permit too many': {
    noticedBy: 'as many hold a semaphore as it has permits, and the next waits for one of them',
    locks: (right) =>
      withOptions(right, (options) => ({ ...options, permits: (options.permits ?? 0) + 1 })),
  },
  'let everybody in at once': {
    noticedBy: 'of many tasks never more hold a semaphore than it has permits',
    locks: (right) => withOptions(right, () => ({ shared: true })),
  },
  'look at their own number of permits alone': {
    noticedBy:
      'where permits differ the smallest counts, of those that hold and those that came before',
    locks: (right) =>
      withNames(right, (name, options) => (options?.permits === 2 ? `${name}~two` : name)),
  },
  'keep readers and semaphores apart': {
    noticedBy: 'read locks and semaphores mix under one name',
    locks: (right) =>
      withNames(right, (name, options) => (options?.shared === true ? `${name}~r` : name)),
  },
  'give a plain lock to who asks for a shared one that they do not have': {
    noticedBy: 'what the engine does not have is refused with ERR_UNSUPPORTED, and nothing else',
    lacks: { shared: 'they say so' },
    locks: (right) => ({ guarantees: { ...right.guarantees, shared: false } }),
  },
};

const wrongOperations: Record<string, Wrong> = {
  'do not know their owner': {
    noticedBy: 'holders tells who holds a name: its owner, its holder, its token',
    locks: (right) => withHolders(right, (all) => all.map((one) => ({ ...one, owner: '?' }))),
  },
  'show those who wait first': {
    noticedBy: 'holders tells who waits, after who holds, in the order in which they are served',
    locks: (right) => withHolders(right, (all) => all.toReversed()),
  },
  'show one of those that hold together': {
    noticedBy: 'holders tells all that hold a lock together',
    locks: (right) => withHolders(right, (all) => all.slice(0, 1)),
  },
  'do not tell who was evicted': {
    noticedBy: 'forceRelease takes the lock from its holder, who is told, and serves who waits',
    lock: () => ({ lost: never }),
  },
  'call theft the end of time': {
    noticedBy: 'forceRelease takes the lock from its holder, who is told, and serves who waits',
    lock: (right) => {
      const stop = new AbortController();
      const expired = new QuorateError('ERR_LOCK_LOST', 'lost', { loss: 'expired' });
      right.lost.addEventListener('abort', () => stop.abort(expired));
      return { lost: stop.signal };
    },
  },
  'evict nobody': {
    noticedBy: 'forceRelease takes the lock from its holder, who is told, and serves who waits',
    locks: () => ({ forceRelease: async () => [] }),
  },
  'evict those who wait, too': {
    noticedBy: 'forceRelease takes the lock from its holder, who is told, and serves who waits',
    locks: (right) => ({
      async forceRelease(name) {
        const evicted = await right.forceRelease(name);
        return [...evicted, ...(await right.forceRelease(name))];
      },
    }),
  },
  'give back what another holds by then': {
    noticedBy: 'who is told too late gives back nothing of the next holder',
    lock: (right, locks) => ({
      [Symbol.asyncDispose]: async () => void (await locks.forceRelease(right.name)),
    }),
  },
  'find an error in that nobody holds': {
    noticedBy: 'forceRelease of a name that nobody holds does nothing',
    locks: (right) => ({
      async forceRelease(name) {
        const evicted = await right.forceRelease(name);
        if (evicted.length === 0) throw new QuorateError('ERR_KEY_NOT_FOUND', 'nobody');
        return evicted;
      },
    }),
  },
  'take the end of the work for success whatever became of the lock': {
    noticedBy: 'run under a lock that was taken by force rejects with ERR_LOCK_LOST',
    locks: (right) => ({ run: quietRun(right) }),
  },
  'keep what is held when closed': {
    noticedBy:
      'close gives back what is held, ends waits with ERR_CLOSED, and harms no other client',
    locks: () => ({ close: async () => undefined }),
  },
  'end waits with another error when closed': {
    noticedBy:
      'close gives back what is held, ends waits with ERR_CLOSED, and harms no other client',
    locks: (right) =>
      withFailure(right, () => new QuorateError('ERR_LOCK_LOST', 'its session was closed')),
  },
  'cannot be closed again': {
    noticedBy: 'after close every call is refused with ERR_CLOSED, and close again does nothing',
    locks: (right) => {
      let closed = 0;
      return {
        async close() {
          await right.close();
          if (++closed === 2) throw new QuorateError('ERR_CLOSED', 'again');
        },
      };
    },
  },
  'stay in the engine when closed in the middle': {
    noticedBy: 'close at once after acquire leaves nothing',
    locks: (right) => {
      const open: Promise<unknown>[] = [];
      return {
        acquire: (...args) => {
          const lock = right.acquire(...args);
          open.push(lock.catch(() => undefined));
          return lock;
        },
        // Waits for what comes, and does not end it.
        close: async () => void (await Promise.all(open)),
      };
    },
  },
};

function withHolders(
  right: Locks,
  change: (all: readonly LockHolder[]) => readonly LockHolder[],
): Partial<Locks> {
  return { holders: async (...args) => change(await right.holders(...args)) };
}

/** Says nothing of the loss of the lock. */
function quietRun(right: Locks): Locks['run'] {
  return async (name, work, options) => {
    await using lock = await right.acquire(name, options);
    return await work(lock);
  };
}

const wrongDoors: Record<string, Wrong> = {
  'promise less than the suite is run for': {
    noticedBy: 'what the engine promises is what the suite was run for',
    locks: (right) => ({ guarantees: { ...right.guarantees, waiters: 'barging' } }),
  },
  'leave out what they promise': {
    noticedBy: 'what the engine promises is what the suite was run for',
    lacks: { shared: 'no time to test it' },
  },
  'take upper and lower case for one': {
    noticedBy: 'odd names are locks of their own, or refused with ERR_INVALID_ARGUMENT',
    locks: (right) => withNames(right, (name) => name.toLowerCase()),
  },
  'bring names into a normal form': {
    noticedBy: 'odd names are locks of their own, or refused with ERR_INVALID_ARGUMENT',
    locks: (right) => withNames(right, (name) => name.normalize('NFC')),
  },
  'end names at a NUL byte': {
    noticedBy: 'odd names are locks of their own, or refused with ERR_INVALID_ARGUMENT',
    locks: (right) => withNames(right, (name) => name.replace(/\0.*/s, '')),
  },
  'make halves of pairs alike': {
    noticedBy: 'odd names are locks of their own, or refused with ERR_INVALID_ARGUMENT',
    locks: (right) => withNames(right, (name) => name.toWellFormed()),
  },
  'look for names by their beginning': {
    noticedBy: 'a name does not depend on those that begin with it',
    locks: (right) => withNames(right, (name) => name.replace(/:.*/s, '')),
  },
  'take the folder for the name': {
    noticedBy: 'a name does not depend on those below it as in a folder',
    // The layout of etcd does so.
    lacks: { flatNames: undefined as never },
  },
  'take names of any length': {
    noticedBy: 'names that are none are refused by every call',
    locks: (right) => withNames(right, (name) => name?.slice?.(0, 200) ?? name),
  },
  'throw instead of rejecting': {
    noticedBy: 'names that are none are refused by every call',
    locks: (right) => ({
      acquire: (name, options) => {
        if (name === '') throw new QuorateError('ERR_INVALID_ARGUMENT', 'name: empty');
        return right.acquire(name, options);
      },
    }),
  },
  'cut long names': {
    noticedBy: 'names of 300 bytes are taken',
    locks: (right) => withNames(right, (name) => name.slice(0, 150)),
  },
  'take no permits for one': {
    noticedBy: 'options that make no sense are refused, with nothing done',
    locks: (right) =>
      withOptions(right, (options) => ({ ...options, permits: options.permits || undefined })),
  },
  'run nothing': {
    noticedBy: 'calls without what they need are refused, with nothing done',
    locks: (right) => ({
      run: (name, work, options) => right.run(name, work ?? (() => undefined as never), options),
    }),
  },
  'open with any time to live': {
    noticedBy: 'times to live that are none are refused when it is opened',
    target: (right) => ({
      open: ({ owner }) => right.open({ owner, ttl: '10s' }),
    }),
  },
  'fail with any error on a time to live beyond all limits': {
    noticedBy: 'a time to live beyond all limits is refused with a typed error, or works',
    target: (right) => ({
      async open(options) {
        if (durationMs(options.ttl, 'ttl') > 2 ** 31) throw new RangeError('too large');
        return right.open(options);
      },
    }),
  },
};

const wrongLives: Record<string, Wrong> = {
  'are not renewed': {
    noticedBy:
      'a lock is renewed, and so is a place in the queue: both last for three times the time to live',
    locks: (right, clock) => ({
      async acquire(...args) {
        const lock = await right.acquire(...args);
        clock.after(2000, () => void right.forceRelease(lock.name));
        return lock;
      },
    }),
  },
  'outlive their client': {
    noticedBy: 'the lock of a client that is gone is free after its time to live',
    target: (right) => ({
      open: async (options) => ({ ...(await right.open(options)), abandon: () => undefined }),
    }),
  },
  'are believed to be held when another has them': {
    noticedBy: 'the lock of a client that is gone is free after its time to live',
    lock: (right) => ({ remainingMs: () => right.remainingMs() || 1 }),
  },
  'wait for clients that are gone': {
    noticedBy: 'a client that is gone while it waits does not hold up who is behind',
    target: (right) => ({
      open: async (options) => ({ ...(await right.open(options)), abandon: () => undefined }),
    }),
  },
  'are lost when a timer says so': {
    noticedBy: 'after a stall past the time to live it is lost at the first look',
    lock: (right) => {
      const stop = new AbortController();
      right.lost.addEventListener('abort', () => {
        setImmediate(() => stop.abort(right.lost.reason));
      });
      return { lost: stop.signal };
    },
  },
  'say that time remains after a stall': {
    noticedBy: 'after a stall past the time to live it is lost at the first look',
    lock: () => ({ remainingMs: () => 1 }),
  },
  'take late work for success': {
    noticedBy:
      'run rejects with ERR_LOCK_LOST and an unknown outcome where the lock was lost meanwhile',
    locks: (right) => ({ run: quietRun(right) }),
  },
  'say of late work that it was not done': {
    noticedBy:
      'run rejects with ERR_LOCK_LOST and an unknown outcome where the lock was lost meanwhile',
    locks: (right) => ({
      run: (...args) =>
        right.run(...args).catch((error: unknown) => {
          throw isQuorateError(error) ? new QuorateError(error.code, error.message) : error;
        }),
    }),
  },
  'put the loss before the error of the work': {
    noticedBy: 'an error of the work goes before the loss of its lock',
    locks: (right) => ({
      async run(name, work, options) {
        const lock = await right.acquire(name, options);
        try {
          return await work(lock);
        } finally {
          lock.assertHeld();
          await lock.release();
        }
      },
    }),
  },
  'keep something for every name': {
    noticedBy: 'a lock says its name, and each grant is called something else',
    target: (right) => ({
      leftovers: async (prefix) => [...(await right.leftovers(prefix)), `${prefix}count`],
    }),
  },
};

const wrongLocks = {
  ...wrongExclusion,
  ...wrongWaits,
  ...wrongHandles,
  ...wrongTogether,
  ...wrongSharing,
  ...wrongOperations,
  ...wrongDoors,
  ...wrongLives,
};

describe('the suite of locks', () => {
  for (const [what, wrong] of Object.entries(wrongLocks)) {
    test(`notices locks that ${what}`, async () => {
      assertNoticed(await noticed(lockCases, wrong));
    });
  }

  test('has locks that are wrong for every case, or says why it has none', () => {
    const covered = new Set(Object.values(wrongLocks).map(({ noticedBy }) => noticedBy));
    const without = lockCases.filter(({ name }) => !covered.has(name)).map(({ name }) => name);
    // A wait that ends and a free lock are in other cases already.
    assert.deepEqual(without, ['what tryAcquire gives is a lock like any other']);
  });

  test('has a name of its own for every case', () => {
    assert.equal(new Set(lockCases.map((one) => one.name)).size, lockCases.length);
  });

  test('skips what an engine does not promise, with the reason', () => {
    const lacks = lacksOf({
      fencing: 'none',
      waiters: 'barging',
      expiry: 'connection',
      shared: false,
      permits: false,
    });
    const skipped = new Set<string>();
    const register = (_: string, __: unknown, skip: string | undefined) => {
      if (skip !== undefined) skipped.add(skip);
    };
    const open = () => assert.fail('opened without a run');
    runLockCases(lockCases, open, register, lacks);
    assert.deepEqual([...skipped].sort(), Object.values(lacks).sort());
  });
});
