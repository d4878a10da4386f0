/** Rules of who may hold a lock: one at a time, in which order, with which token. */
import assert from 'node:assert/strict';
import type { AnyLocks, LockCase } from './locks-context.ts';

export const exclusionCases: readonly LockCase[] = [
  {
    name: 'of many tasks of two clients one holds the lock at a time, and all get it',
    async run({ two, name, sleep, within }) {
      const clients = await two();
      let inside = 0;
      let most = 0;
      let done = 0;
      const task = async (locks: AnyLocks): Promise<void> => {
        for (let round = 0; round < 2; round++) {
          await locks.run(name(), async () => {
            inside += 1;
            most = Math.max(most, inside);
            await sleep(2);
            inside -= 1;
            done += 1;
          });
        }
      };
      const tasks = Array.from({ length: 12 }, (_, i) => task(clients[i % 2]!));
      await within(Promise.all(tasks), 'all tasks to get the lock', 60_000);
      assert.equal(most, 1, 'held by several at once');
      assert.equal(done, 24);
    },
  },
  {
    name: 'a lock excludes others of the same client, too',
    async run({ one, name, isBusy, isFree }) {
      const locks = await one();
      const lock = await locks.acquire(name());
      await isBusy(locks, name());
      await lock.release();
      await isFree(locks, name());
    },
  },
  {
    name: 'different names do not exclude each other',
    async run({ two, name, promptly }) {
      const [a, b] = await two();
      await promptly(a.acquire(name('one')), 'a free lock');
      await promptly(b.acquire(name('two')), 'another free lock');
      await promptly(a.acquire(name('three')), 'a third free lock');
    },
  },
  {
    name: 'tryAcquire of a busy lock gives undefined at once and leaves nothing',
    async run({ two, name, isBusy, isFree, leavesNothing }) {
      const [a, b] = await two();
      await isFree(b, name('other'));
      const lock = await a.acquire(name());
      const unchanged = await leavesNothing();
      await isBusy(b, name());
      await isBusy(a, name());
      await unchanged();
      await lock.release();
      await isFree(b, name());
    },
  },
  {
    name: 'what tryAcquire gives is a lock like any other',
    async run({ two, name, isBusy, isFree, queueUp, promptly }) {
      const [a, b] = await two();
      const lock = await a.tryAcquire(name());
      assert.ok(lock, 'a free lock is given');
      lock.assertHeld();
      await isBusy(b, name());
      const { lock: next } = await queueUp(b, name());
      await lock.release();
      await (await promptly(next, 'the lock that was released')).release();
      await isFree(a, name());
    },
  },
  {
    name: 'a lock that is released goes to one who waits, at once',
    async run({ two, name, queueUp, stillWaits, promptly, isBusy }) {
      const [a, b] = await two();
      const lock = await a.acquire(name());
      const { lock: next } = await queueUp(b, name());
      await stillWaits(next, 'who asks for a busy lock');
      lock.assertHeld();
      await lock.release();
      (await promptly(next, 'the lock that was released')).assertHeld();
      await isBusy(a, name());
    },
  },
  {
    name: 'who waits is served in the order of arrival',
    needs: ['fifo'],
    async run({ two, name, queueUp, promptly, later }) {
      const clients = await two();
      let holder = await clients[0].acquire(name());
      const waiting: Promise<unknown>[] = [];
      const order: number[] = [];
      const turns = [];
      for (let i = 0; i < 6; i++) {
        // Not strictly in turns: two of one client also stand in order.
        const { lock } = await queueUp(clients[i % 3 === 0 ? 0 : 1]!, name());
        waiting.push(later(lock.then(() => order.push(i))));
        turns.push(lock);
      }
      for (const turn of turns) {
        await holder.release();
        holder = await promptly(turn, 'the next in the queue');
      }
      await Promise.all(waiting);
      assert.deepEqual(order, [0, 1, 2, 3, 4, 5]);
    },
  },
  {
    name: 'a lock that is free is not given past those who wait for it',
    needs: ['fifo'],
    async run({ two, name, queueUp, promptly }) {
      const [a, b] = await two();
      const first = await a.acquire(name());
      const { lock: second } = await queueUp(b, name());
      await first.release();
      // Whoever was quickest would have it now.
      const again = await a.tryAcquire(name());
      assert.equal(again, undefined, 'the releaser overtook one who waits');
      await promptly(second, 'the lock that was released');
    },
  },
  {
    name: 'tokens grow with every grant of a name',
    needs: ['fencing'],
    async run({ two, name, openClient, queueUp, promptly }) {
      const [a, b] = await two();
      const tokens: (bigint | undefined)[] = [];
      for (const locks of [a, b, a, a, b]) {
        const lock = await locks.acquire(name());
        tokens.push(lock.fencingToken);
        await lock.release();
      }
      const tried = await b.tryAcquire(name());
      tokens.push(tried!.fencingToken);
      const { lock: next } = await queueUp(a, name());
      await tried!.release();
      const handedOver = await promptly(next, 'the lock that was released');
      tokens.push(handedOver.fencingToken);
      await handedOver.release();
      await a.close();
      if (a !== b) {
        const later = await openClient('10s');
        tokens.push((await later.locks.acquire(name())).fencingToken);
      }
      for (const [i, token] of tokens.entries()) {
        assert.equal(typeof token, 'bigint', 'a token is a bigint');
        if (i > 0) assert.ok(token! > tokens[i - 1]!, `${token} after ${tokens[i - 1]}`);
      }
    },
  },
  {
    name: 'there are tokens exactly where they are promised',
    async run({ one, name }) {
      const locks = await one();
      const lock = await locks.acquire(name());
      const expected = locks.guarantees.fencing === 'none' ? 'undefined' : 'bigint';
      assert.equal(typeof lock.fencingToken, expected);
    },
  },
];
