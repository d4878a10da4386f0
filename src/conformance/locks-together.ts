/** Rules of what is built on single locks: `run`, reentrancy, several at once. */
import assert from 'node:assert/strict';
import type { AnyLocks, LockCase } from './locks-context.ts';

const runCases: readonly LockCase[] = [
  {
    name: 'run gives the work its lock, returns its value, and gives the lock back',
    async run({ two, name, isBusy, isFree }) {
      const [a, b] = await two();
      const value = await a.run(name(), async (lock) => {
        lock.assertHeld();
        assert.equal(lock.name, name());
        await isBusy(b, name());
        return { any: 'value' };
      });
      assert.deepEqual(value, { any: 'value' });
      await isFree(b, name());
      assert.equal(await a.run(name(), () => 'not a promise'), 'not a promise');
      await isFree(b, name());
    },
  },
  {
    name: 'run rejects with the error of the work and gives the lock back',
    async run({ two, name, isFree, rejectsWith }) {
      const [a, b] = await two();
      const mine = new TypeError('mine');
      const work = async (): Promise<never> => {
        throw mine;
      };
      await rejectsWith(a.run(name(), work), mine);
      await isFree(b, name());
      const sync = (): never => {
        throw mine;
      };
      await rejectsWith(a.run(name(), sync), mine);
      await isFree(b, name());
    },
  },
  {
    name: 'run waits like acquire, and does not begin the work where it got no lock',
    async run({ two, name, refuses, within }) {
      const [a, b] = await two();
      const lock = await a.acquire(name());
      const work = () => assert.fail('the work was run');
      const busy = within(b.run(name(), work, { wait: 100 }), 'the wait to end');
      await refuses(busy, 'ERR_LOCK_BUSY');
      lock.assertHeld();
    },
  },
  {
    name: 'a lock is entered again only within run and where both ask for it',
    async run({ one, name, refuses, promptly, isBusy, isFree, within }) {
      const locks = await one();
      const reentrant = { reentrant: true };
      const busy = { wait: 100 };
      const outside = await locks.acquire(name(), reentrant);
      await refuses(
        within(locks.acquire(name(), { ...reentrant, ...busy }), 'it'),
        'ERR_LOCK_BUSY',
      );
      await outside.release();
      const plainOuter = async () => {
        await refuses(
          within(locks.acquire(name(), { ...reentrant, ...busy }), 'it'),
          'ERR_LOCK_BUSY',
        );
      };
      await locks.run(name(), plainOuter);
      await locks.run(
        name(),
        async (outer) => {
          await refuses(within(locks.acquire(name(), busy), 'it'), 'ERR_LOCK_BUSY');
          const inner = await promptly(locks.acquire(name(), reentrant), 'a reentrant lock');
          assert.equal(inner.fencingToken, outer.fencingToken);
          inner.assertHeld();
          await inner.release();
          await refuses((async () => inner.assertHeld())(), 'ERR_LOCK_LOST');
          outer.assertHeld();
          await isBusy(locks, name());
          const value = await promptly(
            locks.run(name(), () => 7, reentrant),
            'a run within',
          );
          assert.equal(value, 7);
          outer.assertHeld();
          await isBusy(locks, name());
        },
        reentrant,
      );
      await isFree(locks, name());
    },
  },
  {
    name: 'what one client holds another does not enter again',
    needs: ['twoClients'],
    async run({ two, name, refuses, within }) {
      const [a, b] = await two();
      const options = { reentrant: true };
      await a.run(
        name(),
        async () => {
          const other = b.acquire(name(), { ...options, wait: 100 });
          await refuses(within(other, 'the wait to end'), 'ERR_LOCK_BUSY');
        },
        options,
      );
    },
  },
];

const allCases: readonly LockCase[] = [
  {
    name: 'acquireAll holds all of them, in the order given, until it is released',
    async run({ two, name, isBusy, isFree, refuses }) {
      const [a, b] = await two();
      const names = ['c', 'a', 'b', 'a'].map(name);
      const set = await a.acquireAll(names);
      assert.deepEqual(
        set.locks.map((lock) => lock.name),
        names,
      );
      set.assertHeld();
      assert.ok(set.remainingMs() > 0);
      assert.equal(set.lost.aborted, false);
      for (const one of names) await isBusy(b, one);
      await set.release();
      await set.release();
      assert.equal(set.remainingMs(), 0);
      await refuses((async () => set.assertHeld())(), 'ERR_LOCK_LOST');
      for (const one of names) await isFree(b, one);
    },
  },
  {
    name: 'acquireAll gets none where it does not get all, by time or by signal',
    async run({ two, name, isFree, refuses, rejectsWith, within, later, sleep, leavesNothing }) {
      const [a, b] = await two();
      const names = ['a', 'b', 'c'].map(name);
      await isFree(b, name('other'));
      const busy = await a.acquire(name('b'));
      const unchanged = await leavesNothing();
      const late = within(b.acquireAll(names, { wait: 200 }), 'the wait to end');
      await refuses(late, 'ERR_LOCK_BUSY');
      await unchanged();
      const stop = new AbortController();
      const waiting = later(b.acquireAll(names, { signal: stop.signal }));
      await sleep(100);
      const reason = new Error('enough');
      stop.abort(reason);
      await rejectsWith(waiting, reason);
      await unchanged();
      busy.assertHeld();
      for (const one of ['a', 'c'].map(name)) await isFree(a, one);
    },
  },
  {
    name: 'who wants the same names in opposite orders does not wait for ever',
    async run({ two, name, sleep, within }) {
      const [a, b] = await two();
      const names = ['a', 'b', 'c'].map(name);
      let inside = 0;
      let most = 0;
      const rounds = async (locks: AnyLocks, ordered: readonly string[]): Promise<void> => {
        for (let i = 0; i < 4; i++) {
          await using _ = await locks.acquireAll(ordered);
          inside += 1;
          most = Math.max(most, inside);
          await sleep(2);
          inside -= 1;
        }
      };
      const both = [rounds(a, names), rounds(b, names.toReversed()), rounds(a, names.toReversed())];
      await within(Promise.all(both), 'all to get all names', 60_000);
      assert.equal(most, 1);
    },
  },
  {
    name: 'what is held together is lost as soon as one of it is',
    needs: ['forceRelease'],
    async run({ two, name, ttlMs, noticedMs, eventually, refuses }) {
      const [a, b] = await two(ttlMs);
      const set = await a.acquireAll(['a', 'b'].map(name));
      const { lost } = set;
      await b.forceRelease(name('b'));
      await eventually(() => lost.aborted, 'the set is lost', noticedMs);
      await refuses((async () => set.assertHeld())(), 'ERR_LOCK_LOST');
      assert.equal(set.remainingMs(), 0);
      await set.release();
    },
  },
];

export const togetherCases: readonly LockCase[] = [...runCases, ...allCases];
