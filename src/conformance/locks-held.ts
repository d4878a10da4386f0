/** Rules of what is held: what its handle says, and how it is given back. */
import assert from 'node:assert/strict';
import type { LockCase } from './locks-context.ts';

export const heldCases: readonly LockCase[] = [
  {
    name: 'a lock says its name, and each grant is called something else',
    async run({ one, name }) {
      const locks = await one();
      const lock = await locks.acquire(name());
      assert.equal(lock.name, name());
      assert.equal(typeof lock.holder, 'string');
      assert.notEqual(lock.holder, '');
      const other = await locks.acquire(name('other'));
      assert.notEqual(other.holder, lock.holder);
    },
  },
  {
    name: 'while it is held it says so',
    async run({ one, name, sleep }) {
      const lock = await (await one()).acquire(name());
      assert.ok(lock.remainingMs() > 0, 'time remains');
      assert.equal(lock.lost.aborted, false);
      assert.ok(lock.lost instanceof AbortSignal, 'lost is a signal');
      assert.equal(AbortSignal.any([lock.lost]).aborted, false);
      lock.assertHeld();
      await sleep(50);
      lock.assertHeld();
      assert.equal(lock.lost, lock.lost, 'lost is one signal');
    },
  },
  {
    name: 'what remains is at most the time to live',
    needs: ['ttl'],
    async run({ one, name, ttlMs }) {
      const lock = await (await one(ttlMs)).acquire(name());
      const leftMs = lock.remainingMs();
      assert.ok(leftMs > 0 && leftMs <= ttlMs, `${leftMs} ms remain of ${ttlMs}`);
    },
  },
  {
    name: 'after release it is not held, nor lost',
    async run({ one, name, refuses, sleep }) {
      const lock = await (await one()).acquire(name());
      const { lost } = lock;
      await lock.release();
      await sleep(50);
      await refuses((async () => lock.assertHeld())(), 'ERR_LOCK_LOST');
      assert.equal(lock.remainingMs(), 0);
      assert.equal(lost.aborted, false, 'release must not abort lost');
      assert.equal(lock.lost.aborted, false);
    },
  },
  {
    name: 'release again does nothing, also when another holds by then',
    async run({ two, name, queueUp, promptly, isBusy, sleep }) {
      const [a, b] = await two();
      const lock = await a.acquire(name());
      await lock.release();
      await lock.release();
      const held = await b.acquire(name());
      const { lock: third } = await queueUp(a, name());
      await lock.release();
      await lock[Symbol.asyncDispose]();
      await sleep(50);
      held.assertHeld();
      await isBusy(a, name());
      await held.release();
      await promptly(third, 'the lock that was released by its holder');
    },
  },
  {
    name: 'release has no effect on the lock of another, of the same client or not',
    async run({ two, name, isBusy, isFree }) {
      const [a, b] = await two();
      const one = await a.acquire(name('one'));
      const other = await a.acquire(name('other'));
      await one.release();
      await isBusy(b, name('other'));
      other.assertHeld();
      await isFree(b, name('one'));
    },
  },
  {
    name: 'await using gives it back',
    async run({ two, name, isBusy, isFree }) {
      const [a, b] = await two();
      {
        await using lock = await a.acquire(name());
        lock.assertHeld();
        await isBusy(b, name());
      }
      await isFree(b, name());
    },
  },
];
