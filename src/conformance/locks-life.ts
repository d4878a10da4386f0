/** Rules of how long a lock lasts: renewed while its holder lives, free soon after, known to be lost in time. */
import assert from 'node:assert/strict';
import { isQuorateError } from '../core/errors.ts';
import type { LockCase } from './locks-context.ts';

export const lifeCases: readonly LockCase[] = [
  {
    name: 'a lock is renewed, and so is a place in the queue: both last for three times the time to live',
    async run({ two, name, ttlMs, queueUp, sleep, stillWaits, promptly }) {
      const [a, b] = await two(ttlMs);
      const lock = await a.acquire(name());
      const { lock: next } = await queueUp(b, name());
      await sleep(3 * ttlMs);
      lock.assertHeld();
      assert.equal(lock.lost.aborted, false);
      assert.ok(lock.remainingMs() > 0);
      await stillWaits(next, 'who waits for a lock that is renewed');
      await lock.release();
      (await promptly(next, 'the lock that was released')).assertHeld();
    },
  },
  {
    name: 'the lock of a client that is gone is free after its time to live',
    needs: ['twoClients', 'abandon'],
    async run({ clients, name, ttlMs, freedMs, promptMs, queueUp, abandon, within, has, later }) {
      const [gone, other] = await clients(2, ttlMs);
      const lock = await gone!.locks.acquire(name());
      const token = lock.fencingToken;
      const { lock: next } = await queueUp(other!.locks, name());
      const leftMs = later(next.then(() => lock.remainingMs()));
      await abandon(gone!);
      const granted = await within(next, 'the lock of a client that is gone', freedMs + promptMs);
      granted.assertHeld();
      if (token !== undefined) assert.ok(granted.fencingToken! > token, 'a higher token');
      // Were it cut off only: it must not believe to hold what another has.
      if (has('ttl')) assert.equal(await leftMs, 0, 'both believed to hold it');
    },
  },
  {
    name: 'a client that is gone while it waits does not hold up who is behind',
    needs: ['twoClients', 'abandon'],
    async run({ clients, name, ttlMs, freedMs, promptMs, queueUp, abandon, within }) {
      const [first, gone, last] = await clients(3, ttlMs);
      const lock = await first!.locks.acquire(name());
      await queueUp(gone!.locks, name());
      const { lock: behind } = await queueUp(last!.locks, name());
      await abandon(gone!);
      await lock.release();
      await within(behind, 'the lock behind a client that is gone', freedMs + promptMs);
    },
  },
  {
    name: 'after a stall past the time to live it is lost at the first look',
    needs: ['stall', 'ttl'],
    async run({ two, name, ttlMs, freedMs, promptMs, stall, refuses, within }) {
      const [a, b] = await two(ttlMs);
      const lock = await a.acquire(name());
      const { lost } = lock;
      let told = 0;
      lost.addEventListener('abort', () => {
        told += 1;
      });
      const unlooked = await a.acquire(name('unlooked'));
      stall(ttlMs + 100);
      // Nothing was awaited: no timer has run.
      const seen = [lost.aborted, lock.remainingMs(), unlooked.lost.aborted];
      assert.deepEqual(seen, [true, 0, true]);
      const { reason } = lost;
      assert.ok(isQuorateError(reason, 'ERR_LOCK_LOST'), `ERR_LOCK_LOST, not ${String(reason)}`);
      assert.equal(reason.loss, 'expired');
      const error = await refuses((async () => lock.assertHeld())(), 'ERR_LOCK_LOST');
      assert.equal(error.loss, 'expired');
      assert.equal(told, 1, 'lost is aborted once');
      await lock.release();
      await lock[Symbol.asyncDispose]();
      await within(b.acquire(name()), 'the lock that was lost', freedMs + promptMs);
    },
  },
  {
    name: 'run rejects with ERR_LOCK_LOST and an unknown outcome where the lock was lost meanwhile',
    needs: ['stall', 'ttl'],
    async run({ one, name, ttlMs, stall, refuses }) {
      const locks = await one(ttlMs);
      const work = async (): Promise<string> => {
        stall(ttlMs + 100);
        return 'done';
      };
      const error = await refuses(locks.run(name(), work), 'ERR_LOCK_LOST');
      assert.equal(error.outcome, 'unknown', 'the work was done');
    },
  },
  {
    name: 'an error of the work goes before the loss of its lock',
    needs: ['stall', 'ttl'],
    async run({ one, name, ttlMs, stall, rejectsWith }) {
      const locks = await one(ttlMs);
      const mine = new TypeError('mine');
      const work = async (): Promise<never> => {
        stall(ttlMs + 100);
        throw mine;
      };
      await rejectsWith(locks.run(name(), work), mine);
    },
  },
];
