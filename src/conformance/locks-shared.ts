/** Rules of locks that several hold at a time: read locks and semaphores, also mixed under one name. */
import assert from 'node:assert/strict';
import type { AcquireOptions } from '../locks/locks.ts';
import type { AnyLocks, LockCase } from './locks-context.ts';

const SHARED = { shared: true } as const;

const sharedCases: readonly LockCase[] = [
  {
    name: 'readers share, and a writer waits for all of them',
    needs: ['shared'],
    async run({ two, name, queueUp, stillWaits, promptly, isBusy }) {
      const [a, b] = await two();
      const one = await a.acquire(name(), SHARED);
      const two_ = await promptly(b.acquire(name(), SHARED), 'a second reader');
      const three = await promptly(b.tryAcquire(name(), SHARED), 'a third reader');
      assert.ok(three, 'tryAcquire shares, too');
      await isBusy(a, name());
      const { lock: writer } = await queueUp(a, name());
      await one.release();
      await three.release();
      await stillWaits(writer, 'a writer behind one reader');
      two_.assertHeld();
      await two_.release();
      const written = await promptly(writer, 'the writer when all readers are gone');
      const token = two_.fencingToken;
      if (token !== undefined) assert.ok(written.fencingToken! > token, 'a higher token');
    },
  },
  {
    name: 'readers wait for a writer, and then share',
    needs: ['shared'],
    async run({ two, name, queueUp, stillWaits, promptly }) {
      const [a, b] = await two();
      const writer = await a.acquire(name());
      assert.equal(await b.tryAcquire(name(), SHARED), undefined, 'not shared with a writer');
      const { lock: one } = await queueUp(b, name(), SHARED);
      const { lock: other } = await queueUp(a, name(), SHARED);
      await stillWaits(Promise.race([one, other]), 'a reader behind a writer');
      await writer.release();
      await promptly(Promise.all([one, other]), 'both readers at once');
    },
  },
  {
    name: 'a writer that waits is not overtaken by readers that come later',
    needs: ['shared'],
    async run({ two, name, queueUp, stillWaits, promptly }) {
      const [a, b] = await two();
      const reader = await a.acquire(name(), SHARED);
      const { lock: writer } = await queueUp(b, name());
      assert.equal(await a.tryAcquire(name(), SHARED), undefined, 'a later reader overtook');
      const { lock: late } = await queueUp(a, name(), SHARED);
      await stillWaits(late, 'a reader behind a writer that waits');
      await reader.release();
      const written = await promptly(writer, 'the writer');
      await stillWaits(late, 'a reader behind a writer that holds');
      await written.release();
      await promptly(late, 'the reader behind the writer');
    },
  },
  {
    name: 'readers go on where the writer before them gave up',
    needs: ['shared'],
    async run({ two, name, queueUp, refuses, within }) {
      const [a, b] = await two();
      await a.acquire(name(), SHARED);
      const { lock: writer } = await queueUp(b, name(), { wait: 600 });
      const { lock: reader } = await queueUp(a, name(), SHARED);
      await refuses(within(writer, 'the wait to end'), 'ERR_LOCK_BUSY');
      await within(reader, 'the reader behind a writer that gave up');
    },
  },
];

const permitCases: readonly LockCase[] = [
  {
    name: 'as many hold a semaphore as it has permits, and the next waits for one of them',
    needs: ['permits'],
    async run({ two, name, queueUp, stillWaits, promptly }) {
      const [a, b] = await two();
      const permits = { permits: 3 };
      const held = [await a.acquire(name(), permits)];
      held.push(await promptly(b.acquire(name(), permits), 'a second permit'));
      held.push((await promptly(a.tryAcquire(name(), permits), 'a third permit'))!);
      assert.ok(held[2], 'tryAcquire gives the third of three permits');
      assert.equal(await b.tryAcquire(name(), permits), undefined, 'there is no fourth');
      const { lock: next } = await queueUp(b, name(), permits);
      await stillWaits(next, 'the fourth of three');
      // Not the one that came first.
      await held[1]!.release();
      (await promptly(next, 'the permit that was given back')).assertHeld();
      assert.equal(await a.tryAcquire(name(), permits), undefined, 'three hold again');
    },
  },
  {
    name: 'of many tasks never more hold a semaphore than it has permits',
    needs: ['permits'],
    async run({ two, name, sleep, within }) {
      const clients = await two();
      const permits = { permits: 3 };
      let inside = 0;
      let most = 0;
      const task = async (locks: AnyLocks): Promise<void> => {
        for (let round = 0; round < 2; round++) {
          await locks.run(
            name(),
            async () => {
              inside += 1;
              most = Math.max(most, inside);
              await sleep(5);
              inside -= 1;
            },
            permits,
          );
        }
      };
      const tasks = Array.from({ length: 10 }, (_, i) => task(clients[i % 2]!));
      await within(Promise.all(tasks), 'all tasks to get a permit', 60_000);
      assert.ok(most <= 3, `${most} held three permits`);
    },
  },
  {
    name: 'where permits differ the smallest counts, of those that hold and those that came before',
    needs: ['permits'],
    async run({ two, name, queueUp, stillWaits, promptly }) {
      const [a, b] = await two();
      const first = await a.acquire(name(), { permits: 3 });
      const second = await promptly(b.acquire(name(), { permits: 2 }), 'the second of two');
      assert.equal(await a.tryAcquire(name(), { permits: 3 }), undefined, 'one has two permits');
      assert.equal(await a.tryAcquire(name()), undefined, 'a plain lock beside permits');
      const { lock: plain } = await queueUp(a, name());
      const { lock: many } = await queueUp(b, name(), { permits: 3 });
      await first.release();
      await stillWaits(plain, 'a plain lock beside one permit');
      await second.release();
      const alone = await promptly(plain, 'the plain lock when all permits are back');
      await stillWaits(many, 'a permit behind a plain lock');
      await alone.release();
      await promptly(many, 'the permit behind the plain lock');
    },
  },
  {
    name: 'read locks and semaphores mix under one name',
    needs: ['permits', 'shared'],
    async run({ two, name, promptly, isFree }) {
      const [a, b] = await two();
      const permits = { permits: 2 };
      const one = await a.acquire(name(), SHARED);
      const other = await promptly(b.acquire(name(), permits), 'a permit beside a reader');
      assert.equal(await a.tryAcquire(name(), SHARED), undefined, 'one of those has two permits');
      await other.release();
      const readers = [one, await promptly(b.acquire(name(), SHARED), 'a second reader')];
      assert.equal(await a.tryAcquire(name(), permits), undefined, 'two hold already');
      for (const reader of readers) await reader.release();
      await isFree(a, name());
    },
  },
];

const refusedCases: readonly LockCase[] = [
  {
    name: 'what the engine does not have is refused with ERR_UNSUPPORTED, and nothing else',
    async run({ one, name, refuses, within, later, leavesNothing }) {
      const locks = await one();
      const unchanged = await leavesNothing();
      const has = { shared: locks.guarantees.shared, permits: locks.guarantees.permits };
      const asks: [boolean, AcquireOptions][] = [
        [has.shared, SHARED],
        [has.permits, { permits: 2 }],
      ];
      for (const [hasIt, options] of asks) {
        if (hasIt) continue;
        const calls: Promise<unknown>[] = [
          locks.acquire(name(), options),
          locks.tryAcquire(name(), options),
          locks.acquireAll([name()], options),
          locks.run(name(), () => assert.fail('the work was run'), options),
        ];
        for (const call of calls) later(call);
        for (const call of calls) {
          const error = await refuses(within(call, 'a refusal'), 'ERR_UNSUPPORTED');
          assert.equal(error.retryable, false);
        }
      }
      await unchanged();
      // One permit is a plain lock, which every engine has.
      const plain = await locks.acquire(name(), { permits: 1, shared: false });
      await plain.release();
    },
  },
];

export const severalCases: readonly LockCase[] = [...sharedCases, ...permitCases, ...refusedCases];
