/** Rules of waits that end without a lock: by time, by signal. Nothing stays behind, nobody is held up. */
import assert from 'node:assert/strict';
import type { LockCase } from './locks-context.ts';

export const waitingCases: readonly LockCase[] = [
  {
    name: 'a wait that is over ends with ERR_LOCK_BUSY in time and leaves its place',
    async run({ two, name, clock, refuses, within, promptMs, isFree, leavesNothing }) {
      const [a, b] = await two();
      await isFree(b, name('other'));
      const lock = await a.acquire(name());
      const unchanged = await leavesNothing();
      const beginMs = clock.now();
      const waited = within(b.acquire(name(), { wait: 300 }), 'the wait to end');
      const error = await refuses(waited, 'ERR_LOCK_BUSY');
      const tookMs = clock.now() - beginMs;
      assert.equal(error.outcome, 'not-applied');
      assert.equal(error.retryable, true, 'the same call may succeed later');
      assert.ok(tookMs >= 299, `gave up after ${tookMs} of 300 ms`);
      assert.ok(tookMs <= 300 + promptMs, `gave up only after ${tookMs} of 300 ms`);
      await unchanged();
      await lock.release();
      await isFree(b, name());
    },
  },
  {
    name: 'a wait of text is a duration, and a lock that comes before its end is held',
    async run({ two, name, queueUp, promptly, sleep }) {
      const [a, b] = await two();
      const lock = await a.acquire(name());
      const { lock: next } = await queueUp(b, name(), { wait: '5s' });
      await lock.release();
      const held = await promptly(next, 'the lock that was released');
      // The end of the wait that was allowed does not end the lock.
      await sleep(100);
      held.assertHeld();
    },
  },
  {
    name: 'who gave up does not hold up the one behind',
    async run({ two, name, queueUp, refuses, promptly, within }) {
      const [a, b] = await two();
      const lock = await a.acquire(name());
      const { lock: impatient } = await queueUp(b, name(), { wait: '1s' });
      const { lock: behind } = await queueUp(a, name());
      await refuses(within(impatient, 'the wait to end'), 'ERR_LOCK_BUSY');
      await lock.release();
      await promptly(behind, 'the lock behind one who gave up');
    },
  },
  {
    name: 'a signal that is aborted already ends every call with its reason, with nothing done',
    async run({ two, name, rejectsWith, leavesNothing, isFree }) {
      const [a, b] = await two();
      await isFree(a, name('other'));
      const unchanged = await leavesNothing();
      const reason = new Error('enough');
      const signal = AbortSignal.abort(reason);
      await rejectsWith(a.acquire(name(), { signal }), reason);
      await rejectsWith(a.tryAcquire(name(), { signal }), reason);
      await rejectsWith(a.acquireAll([name(), name('m')], { signal }), reason);
      await rejectsWith(a.holders(name(), { signal }), reason);
      await rejectsWith(a.forceRelease(name(), { signal }), reason);
      const work = () => assert.fail('the work was run');
      await rejectsWith(a.run(name(), work, { signal }), reason);
      await unchanged();
      await isFree(b, name());
    },
  },
  {
    name: 'a signal ends a wait at once with its reason, and nothing stays of it',
    async run({ two, name, queueUp, rejectsWith, leavesNothing, isFree, promptly }) {
      const [a, b] = await two();
      await isFree(b, name('other'));
      const lock = await a.acquire(name());
      const unchanged = await leavesNothing();
      const stop = new AbortController();
      const { lock: waiting } = await queueUp(b, name(), { signal: stop.signal });
      const reason = { any: 'value' };
      stop.abort(reason);
      await rejectsWith(waiting, reason);
      await unchanged();
      const { lock: next } = await queueUp(b, name());
      await lock.release();
      await promptly(next, 'the lock after an aborted wait');
    },
  },
  {
    name: 'who is aborted in the middle of a queue leaves it without moving the others',
    async run({ two, name, queueUp, rejectsWith, stillWaits, promptly }) {
      const [a, b] = await two();
      const lock = await a.acquire(name());
      const stop = new AbortController();
      const { lock: aborted } = await queueUp(b, name(), { signal: stop.signal });
      const { lock: behind } = await queueUp(a, name());
      const reason = new Error('enough');
      stop.abort(reason);
      await rejectsWith(aborted, reason);
      await stillWaits(behind, 'one behind an aborted wait');
      lock.assertHeld();
      await lock.release();
      await promptly(behind, 'the lock behind an aborted wait');
    },
  },
  {
    name: 'a signal that is aborted while the engine decides leaves nothing',
    async run({ two, name, rejectsWith, eventually, later }) {
      const [a, b] = await two();
      const reason = new Error('enough');
      for (const turns of [0, 1, 3]) {
        const stop = new AbortController();
        const acquiring = later(a.acquire(name(), { signal: stop.signal }));
        for (let i = 0; i < turns; i++) await Promise.resolve();
        stop.abort(reason);
        // It may have been granted just before.
        const granted = await acquiring.catch(() => undefined);
        if (granted === undefined) await rejectsWith(acquiring, reason);
        await granted?.release();
        const isFree = async () => {
          const lock = await b.tryAcquire(name());
          await lock?.release();
          return lock !== undefined;
        };
        await eventually(isFree, 'the lock is free after an aborted acquire');
      }
    },
  },
  {
    name: 'a signal that is aborted after the grant changes nothing',
    async run({ one, name, sleep }) {
      const locks = await one();
      const stop = new AbortController();
      const lock = await locks.acquire(name(), { signal: stop.signal });
      stop.abort(new Error('too late'));
      await sleep(50);
      lock.assertHeld();
      assert.equal(lock.lost.aborted, false);
    },
  },
];
