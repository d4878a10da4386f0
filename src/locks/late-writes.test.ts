/** Writes that had no answer and come when nobody wants them any more, while others keep their session alive. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { settled } from '../testing/virtual-clock.ts';
import { kvTxnLocks } from './kv-txn.ts';
import type { Lock, Locks } from './locks.ts';
import { kvLocks } from './over-kv.ts';
import { Store } from './testing.ts';

for (const kind of ['queue', 'transaction'] as const) {
  describe(`a late write of a ${kind} lock`, () => {
    let store: Store;
    let locks: Locks;
    /** Held for long, on the session that the others are on. */
    let kept: Lock;

    beforeEach(async () => {
      store = new Store();
      const options = { clock: store.clock, ttl: '10s' } as const;
      locks =
        kind === 'queue'
          ? kvLocks(store.faulty, options)
          : kvTxnLocks(store.faulty, { ...options, random: seededRandom(1) });
      kept = await locks.acquire('kept');
    });
    afterEach(async () => {
      await locks.close();
      assert.deepEqual(await store.keys(), [], 'keys are left behind');
      assert.deepEqual(await store.kv.leases(), [], 'leases are left behind');
      await store.kv.close();
    });

    /** The write comes now, and is gone again although its session goes on. */
    async function comesLate(): Promise<void> {
      await store.deliverLate();
      await settled();
      assert.deepEqual(await store.keys(), [kept.holder]);
      kept.assertHeld();
    }

    it('does not stay where its wait was given up', async () => {
      const enough = new Error('enough');
      const stop = new AbortController();
      store.inject('txn', 'delay');
      const acquiring = assert.rejects(locks.acquire('n', { signal: stop.signal }), enough);
      await settled();
      stop.abort(enough);
      await acquiring;
      await settled();
      await comesLate();
    });

    it('does not stay where the lock was had by a second try, and given back', async () => {
      store.inject('txn', 'delay');
      const acquiring = locks.acquire('n');
      await settled();
      await store.clock.advance(50);
      const lock = await acquiring;
      assert.equal((await store.keys()).length, 2);
      lock.assertHeld();
      await lock.release();
      await settled();
      await comesLate();
    });

    it('does not stay where the lock was had, and taken away', async () => {
      store.inject('txn', 'delay');
      const acquiring = locks.acquire('n');
      await settled();
      await store.clock.advance(50);
      const lock = await acquiring;
      // Long enough that it watches.
      await store.clock.advance(20);
      await settled();
      await locks.forceRelease('n');
      await settled();
      assert.equal(lock.lost.aborted, true);
      await comesLate();
    });

    it('does not stay where somebody else had the lock by then', async () => {
      const other = kvLocks(store.kv, { clock: store.clock, ttl: '10s' });
      const rival =
        kind === 'queue' ? await other.acquire('n') : await store.kv.put('n', 'by someone');
      store.inject('txn', 'delay');
      const trying = locks.tryAcquire('n');
      await settled();
      await store.clock.advance(50);
      assert.equal(await trying, undefined);
      if ('release' in rival) await rival.release();
      else await store.kv.delete('n');
      await other.close();
      await settled();
      await comesLate();
    });

    it('goes away when the store is in reach again', async () => {
      const enough = new Error('enough');
      const stop = new AbortController();
      store.inject('txn', 'delay');
      const acquiring = assert.rejects(locks.acquire('n', { signal: stop.signal }), enough);
      await settled();
      store.inject('watch', 'compacted');
      stop.abort(enough);
      await acquiring;
      await settled();
      await store.deliverLate();
      await settled();
      assert.equal((await store.keys()).length, 2);
      await store.clock.advance(200);
      await settled();
      assert.deepEqual(await store.keys(), [kept.holder]);
    });
  });
}
