/** Rules of what operators see and do, and of the end of a client. */
import assert from 'node:assert/strict';
import { isQuorateError, type LockLoss } from '../core/errors.ts';
import type { AnyLocks, LockCase } from './locks-context.ts';

/** A connection that was cut by force cannot always tell why it ended. */
function lossesByForce(locks: AnyLocks): readonly (LockLoss | undefined)[] {
  return locks.guarantees.expiry === 'connection' ? ['stolen', 'session'] : ['stolen'];
}

const holderCases: readonly LockCase[] = [
  {
    name: 'holders tells who holds a name: its owner, its holder, its token',
    async run({ two, name }) {
      const [a, b] = await two();
      assert.deepEqual(await b.holders(name()), []);
      const lock = await a.acquire(name());
      const [held, ...more] = await b.holders(name());
      assert.deepEqual(more, []);
      assert.equal(held?.owner, 'client-0');
      assert.equal(held.holder, lock.holder);
      assert.equal(held.waiting, false);
      // Not every engine keeps it where others can see it.
      if (held.fencingToken !== undefined) assert.equal(held.fencingToken, lock.fencingToken);
      assert.deepEqual(await b.holders(name('other')), []);
      await lock.release();
      assert.deepEqual(await b.holders(name()), []);
    },
  },
  {
    name: 'holders tells who waits, after who holds, in the order in which they are served',
    needs: ['waiters', 'fifo'],
    async run({ clients, name, queueUp, promptly }) {
      const [a, b, c] = (await clients(3)).map((client) => client.locks);
      const lock = await a!.acquire(name());
      const { lock: second } = await queueUp(b!, name());
      const { lock: third } = await queueUp(c!, name());
      const all = await a!.holders(name());
      assert.deepEqual(
        all.map(({ waiting }) => waiting),
        [false, true, true],
      );
      await lock.release();
      const next = await promptly(second, 'the lock');
      assert.equal(next.holder, all[1]!.holder);
      await next.release();
      assert.equal((await promptly(third, 'the lock')).holder, all[2]!.holder);
    },
  },
  {
    name: 'holders tells all that hold a lock together',
    needs: ['shared'],
    async run({ two, name }) {
      const [a, b] = await two();
      const one = await a.acquire(name(), { shared: true });
      const other = await b.acquire(name(), { shared: true });
      const all = await b.holders(name());
      assert.deepEqual(all.map(({ holder }) => holder).sort(), [one.holder, other.holder].sort());
      assert.ok(all.every(({ waiting }) => !waiting));
    },
  },
];

const forceCases: readonly LockCase[] = [
  {
    name: 'forceRelease takes the lock from its holder, who is told, and serves who waits',
    needs: ['forceRelease'],
    async run({ clients, name, ttlMs, noticedMs, queueUp, promptly, eventually, isBusy, sleep }) {
      const [a, b, c] = (await clients(3, ttlMs)).map((client) => client.locks);
      const lock = await a!.acquire(name());
      const { lost } = lock;
      const { lock: next } = await queueUp(b!, name());
      const evicted = await c!.forceRelease(name());
      assert.deepEqual(
        evicted.map(({ holder, waiting }) => [holder, waiting]),
        [[lock.holder, false]],
      );
      const granted = await promptly(next, 'the lock that was taken by force');
      await eventually(() => lost.aborted, 'its holder is told', noticedMs);
      const { reason } = lost;
      assert.ok(isQuorateError(reason, 'ERR_LOCK_LOST'), `ERR_LOCK_LOST, not ${String(reason)}`);
      assert.ok(lossesByForce(a!).includes(reason.loss), `loss ${reason.loss}, not stolen`);
      assert.equal(lock.remainingMs(), 0);
      // It is not his to give back any more.
      await lock.release();
      await lock[Symbol.asyncDispose]();
      await sleep(50);
      granted.assertHeld();
      await isBusy(c!, name());
    },
  },
  {
    name: 'who is told too late gives back nothing of the next holder',
    needs: ['forceRelease'],
    async run({ two, name, isBusy, isFree, sleep }) {
      const [a, b] = await two();
      const lock = await a.acquire(name());
      await b.forceRelease(name());
      const granted = await b.acquire(name());
      // Perhaps not noticed yet: the engine has to compare.
      await lock[Symbol.asyncDispose]();
      await sleep(50);
      granted.assertHeld();
      await isBusy(b, name());
      await granted.release();
      await isFree(b, name());
    },
  },
  {
    name: 'forceRelease of a name that nobody holds does nothing',
    needs: ['forceRelease'],
    async run({ two, name, isFree }) {
      const [a, b] = await two();
      const lock = await a.acquire(name('other'));
      assert.deepEqual(await b.forceRelease(name()), []);
      lock.assertHeld();
      await isFree(b, name());
    },
  },
  {
    name: 'run under a lock that was taken by force rejects with ERR_LOCK_LOST',
    needs: ['forceRelease'],
    async run({ two, name, ttlMs, noticedMs, eventually, refuses }) {
      const [a, b] = await two(ttlMs);
      const run = a.run(name(), async (lock) => {
        await b.forceRelease(name());
        await eventually(() => lock.lost.aborted, 'the holder is told', noticedMs);
      });
      assert.equal((await refuses(run, 'ERR_LOCK_LOST')).outcome, 'unknown');
    },
  },
];

const closeCases: readonly LockCase[] = [
  {
    name: 'close gives back what is held, ends waits with ERR_CLOSED, and harms no other client',
    needs: ['twoClients'],
    async run({ two, name, queueUp, promptly, refuses, isFree, isBusy, within }) {
      const [a, b] = await two();
      const held = await a.acquire(name('held'));
      const others = await b.acquire(name('others'));
      const { lock: waiting } = await queueUp(a, name('others'));
      const { lock: behind } = await queueUp(b, name('others'));
      const { lock: next } = await queueUp(b, name('held'));
      await within(a.close(), 'close to end');
      await refuses(within(waiting, 'the wait to end'), 'ERR_CLOSED');
      await promptly(next, 'what a closed client held');
      assert.equal(held.remainingMs(), 0);
      await refuses((async () => held.assertHeld())(), 'ERR_LOCK_LOST');
      await held.release();
      others.assertHeld();
      await isBusy(b, name('others'));
      await others.release();
      await promptly(behind, 'the lock behind a client that was closed');
      await isFree(b, name('other'));
    },
  },
  {
    name: 'after close every call is refused with ERR_CLOSED, and close again does nothing',
    async run({ one, name, refuses, within, later }) {
      const locks = await one();
      const lock = await locks.acquire(name());
      const waiting = later(locks.acquire(name()));
      await within(locks.close(), 'close to end');
      await refuses(within(waiting, 'the wait to end'), 'ERR_CLOSED');
      await within(locks.close(), 'close again to end');
      await locks[Symbol.asyncDispose]();
      assert.equal(lock.remainingMs(), 0);
      const calls: Promise<unknown>[] = [
        locks.acquire(name()),
        locks.tryAcquire(name()),
        locks.acquireAll([name(), name('m')]),
        locks.run(name(), () => assert.fail('the work was run')),
      ];
      for (const call of calls) later(call);
      for (const call of calls) await refuses(within(call, 'a refusal'), 'ERR_CLOSED');
    },
  },
  {
    name: 'close at once after acquire leaves nothing',
    async run({ one, name, later, within }) {
      const locks = await one();
      const acquiring = later(locks.acquire(name()));
      const trying = later(locks.tryAcquire(name('m')));
      await within(locks.close(), 'close to end');
      for (const work of [acquiring, trying]) {
        const lock = await within(work, 'it to end').catch((error: unknown) => {
          assert.ok(isQuorateError(error, 'ERR_CLOSED'), `ERR_CLOSED, not ${String(error)}`);
        });
        assert.equal(lock?.remainingMs() ?? 0, 0, 'held after close');
      }
    },
  },
];

export const operatorCases: readonly LockCase[] = [...holderCases, ...forceCases, ...closeCases];
