import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isQuorateError } from '../core/errors.ts';
import { settled } from '../testing/virtual-clock.ts';
import type { Lock, Locks } from './locks.ts';
import { kvLocks } from './over-kv.ts';
import { Store } from './testing.ts';

describe('locks over a store', () => {
  let store: Store;
  let locks: Locks;
  let other: Locks;

  beforeEach(() => {
    store = new Store();
    locks = kvLocks(store.faulty, { clock: store.clock, ttl: '10s' });
    other = kvLocks(store.kv, { clock: store.clock, ttl: '10s' });
  });
  afterEach(async () => {
    store.heal();
    await Promise.all([locks.close(), other.close()]);
    assert.deepEqual(await store.keys(), [], 'keys are left behind');
    assert.deepEqual(await store.kv.leases(), [], 'leases are left behind');
    await store.kv.close();
  });

  /** Starts to acquire and lets it get into the queue. */
  async function queueUp(from: Locks, name: string, got: string[], label: string) {
    const lock = from.acquire(name).then((granted) => {
      got.push(label);
      return granted;
    });
    await settled();
    return lock;
  }

  it('uses the keys of etcd: the name, a slash, the lease in hex', async () => {
    const lock = await locks.acquire('orders/42');
    const [lease] = await store.kv.leases();
    assert.deepEqual(await store.keys(), [`orders/42/${lease!.toString(16)}`]);
    assert.equal(lock.holder, `orders/42/${lease!.toString(16)}`);
    const key = await store.kv.get(lock.holder);
    assert.equal(key!.lease, lease);
    assert.equal(lock.fencingToken, BigInt(key!.createRevision));
  });

  it('grants in the order of arrival, within one Locks and across', async () => {
    const got: string[] = [];
    const first = await locks.acquire('n');
    const second = queueUp(other, 'n', got, 'second');
    await settled();
    const third = queueUp(locks, 'n', got, 'third');
    await settled();
    const fourth = queueUp(locks, 'n', got, 'fourth');
    await settled();
    assert.deepEqual(got, []);
    let holder: Lock = first;
    for (const next of [second, third, fourth]) {
      await holder.release();
      const granted = await next;
      assert.ok(granted.fencingToken > holder.fencingToken);
      holder = granted;
    }
    assert.deepEqual(got, ['second', 'third', 'fourth']);
  });

  it('does not let two of many hold the lock at once', async () => {
    let inside = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      inside += 1;
      most = Math.max(most, inside);
      await settled();
      inside -= 1;
    };
    await Promise.all(
      Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? locks : other).run('n', work)),
    );
    assert.equal(most, 1);
  });

  it('takes one round trip to acquire a free lock and one to give it back', async () => {
    await (await locks.acquire('warm')).release();
    store.calls.length = 0;
    const lock = await locks.acquire('n');
    assert.deepEqual(store.calls, ['txn']);
    await lock.release();
    assert.deepEqual(store.calls, ['txn', 'txn']);
  });

  it('answers tryAcquire with nothing when the lock is busy, and leaves no trace', async () => {
    const lock = await other.acquire('n');
    const keys = await store.keys();
    assert.equal(await locks.tryAcquire('n'), undefined);
    assert.deepEqual(await store.keys(), keys);
    await lock.release();
    const now = await locks.tryAcquire('n');
    now!.assertHeld();
    assert.equal(await other.tryAcquire('n'), undefined);
  });

  it('gives up after the time to wait with ERR_LOCK_BUSY and leaves the queue', async () => {
    const lock = await other.acquire('n');
    const waiting = assert.rejects(locks.acquire('n', { wait: '3s' }), { code: 'ERR_LOCK_BUSY' });
    await store.clock.advance(3000);
    await waiting;
    await settled();
    assert.deepEqual(await store.keys(), [lock.holder]);
  });

  it('rejects with the reason of the signal at once and leaves the queue', async () => {
    const got: string[] = [];
    const holder = await other.acquire('n');
    const stop = new AbortController();
    const waiting = assert.rejects(locks.acquire('n', { signal: stop.signal }), /enough/);
    await settled();
    const behind = queueUp(other, 'n', got, 'behind');
    await settled();
    assert.equal((await store.keys()).length, 3);
    stop.abort(new Error('enough'));
    await waiting;
    await settled();
    assert.equal((await store.keys()).length, 2);
    await holder.release();
    await (await behind).release();
  });

  it('still waits for the holder when the one before it in the queue gives up', async () => {
    const holder = await other.acquire('n');
    const stop = new AbortController();
    const before = assert.rejects(other.acquire('n', { signal: stop.signal }), /enough/);
    await settled();
    const got: string[] = [];
    const last = queueUp(locks, 'n', got, 'last');
    await settled();
    stop.abort(new Error('enough'));
    await before;
    await settled();
    assert.equal((await store.keys()).length, 2);
    assert.deepEqual(got, []);
    await holder.release();
    (await last).assertHeld();
  });

  it('is told when its place in the queue was deleted', async () => {
    const holder = await other.acquire('n');
    const waiting = assert.rejects(locks.acquire('n'), { code: 'ERR_LOCK_LOST' });
    await settled();
    await store.kv.delete((await store.keys()).find((key) => key !== holder.holder)!);
    await holder.release();
    await waiting;
  });

  it('looks again when the history that it waits in was compacted', async () => {
    const holder = await other.acquire('n');
    store.inject('watch', 'compacted');
    const got: string[] = [];
    const next = queueUp(locks, 'n', got, 'next');
    await settled();
    assert.deepEqual(got, []);
    await holder.release();
    (await next).assertHeld();
  });

  it('leaves nothing behind when aborted while the store is deciding', async () => {
    const stop = new AbortController();
    const acquiring = assert.rejects(locks.acquire('n', { signal: stop.signal }), /enough/);
    stop.abort(new Error('enough'));
    await acquiring;
    await assert.rejects(locks.acquire('n', { signal: stop.signal }), /enough/);
    await settled();
    assert.deepEqual(await store.keys(), []);
  });

  it('keeps the lock as long as it can renew', async () => {
    const lock = await locks.acquire('n');
    await store.clock.advance(60_000);
    lock.assertHeld();
    assert.equal(lock.lost.aborted, false);
    assert.ok(lock.remainingMs() > 6000);
  });

  it('says that it is lost at the first look after a stall past the time to live', async () => {
    const lock = await locks.acquire('n');
    const kept = lock.lost;
    let told = 0;
    kept.addEventListener('abort', () => {
      told += 1;
    });
    store.clock.stall(10_001);
    // No timer has run, nothing was awaited.
    assert.equal(kept.aborted, true);
    assert.ok(isQuorateError(kept.reason, 'ERR_LOCK_LOST'));
    assert.equal(lock.lost.aborted, true);
    assert.equal(lock.remainingMs(), 0);
    assert.throws(() => lock.assertHeld(), { code: 'ERR_LOCK_LOST' });
    assert.throws(() => kept.throwIfAborted(), { code: 'ERR_LOCK_LOST' });
    assert.equal(told, 1);
    assert.equal(AbortSignal.any([kept]).aborted, true);
  });

  it('says so also to one who first asks for the signal after the stall', async () => {
    const lock = await locks.acquire('n');
    store.clock.stall(10_001);
    assert.equal(lock.lost.aborted, true);
    assert.ok(isQuorateError(lock.lost.reason, 'ERR_LOCK_LOST'));
  });

  it('counts its life from when the renewal was sent, not from when it was answered', async () => {
    const lock = await locks.acquire('n');
    store.inject('keepAlive', 'hang', 100);
    await store.clock.advance(9999);
    lock.assertHeld();
    await store.clock.advance(1);
    assert.equal(lock.lost.aborted, true);
  });

  it('counts a renewal that was answered late from when it was sent, too', async () => {
    const lock = await locks.acquire('n');
    store.inject('keepAlive', 'slow');
    await store.clock.advance(6000);
    store.inject('keepAlive', 'hang', 100);
    const sentMs = 10_000 / 3;
    await store.clock.advance(sentMs + 10_000 - 6000 - 1);
    lock.assertHeld();
    await store.clock.advance(2);
    assert.equal(lock.lost.aborted, true);
  });

  it('survives renewals that fail as long as one arrives in time', async () => {
    const lock = await locks.acquire('n');
    store.inject('keepAlive', 'refuse', 5);
    await store.clock.advance(9000);
    store.inject('keepAlive', 'hang', 1);
    await store.clock.advance(30_000);
    lock.assertHeld();
  });

  it('is not granted to another before its holder counts it as lost', async () => {
    const lock = await locks.acquire('n');
    const next = other.acquire('n');
    store.inject('keepAlive', 'hang', 100);
    store.inject('revokeLease', 'refuse');
    let lostAt = 0;
    lock.lost.addEventListener('abort', () => {
      lostAt = store.clock.now();
    });
    const lostByThen = next.then(() => lostAt > 0);
    await store.clock.advance(15_000);
    assert.equal(lostAt, 10_000);
    assert.equal(await lostByThen, true);
  });

  it('notices at once that its key was deleted by somebody', async () => {
    const lock = await locks.acquire('n');
    await store.clock.advance(20);
    await store.kv.delete(lock.holder);
    await settled();
    assert.equal(lock.lost.aborted, true);
    assert.match(lock.lost.reason.message, /deleted/);
    await lock.release();
  });

  it('notices a deletion from before it began to look', async () => {
    const lock = await locks.acquire('n');
    await store.kv.delete(lock.holder);
    await store.clock.advance(20);
    assert.equal(lock.lost.aborted, true);
  });

  it('notices a deletion although the history of it was compacted', async () => {
    const lock = await locks.acquire('n');
    const { revision } = await store.kv.delete(lock.holder);
    await store.kv.put('x', '');
    await store.kv.compact(revision + 1);
    await store.clock.advance(20);
    assert.equal(lock.lost.aborted, true);
    await store.kv.delete('x');
  });

  it('does not delete the key of a later grant when an old handle is released', async () => {
    const lock = await locks.acquire('n');
    await store.kv.delete(lock.holder);
    await store.kv.put(lock.holder, 'of somebody else');
    await lock.release();
    assert.equal((await store.kv.range(lock.holder)).count, 1);
    await store.kv.delete(lock.holder);
  });

  it('may be released twice, and is not held any more', async () => {
    const lock = await locks.acquire('n');
    await lock.release();
    await lock.release();
    assert.throws(() => lock.assertHeld(), { code: 'ERR_LOCK_LOST' });
    assert.equal(lock.remainingMs(), 0);
    assert.equal(lock.lost.aborted, false);
  });

  it('is granted although the reply to its put was lost', async () => {
    store.inject('txn', 'lose-reply');
    const acquiring = locks.acquire('n');
    await store.clock.advance(1000);
    const lock = await acquiring;
    lock.assertHeld();
    assert.deepEqual(await store.keys(), [lock.holder]);
    const trying = other.tryAcquire('n');
    assert.equal(await trying, undefined);
  });

  it('is granted by tryAcquire although the reply to its put was lost', async () => {
    store.inject('txn', 'lose-reply');
    const acquiring = locks.tryAcquire('n');
    await store.clock.advance(1000);
    (await acquiring)!.assertHeld();
  });

  it('is not left locked by a put that arrives after the lock was given back', async () => {
    store.inject('txn', 'delay');
    const acquiring = locks.acquire('n');
    await store.clock.advance(1000);
    await (await acquiring).release();
    await settled();
    await store.deliverLate();
    assert.deepEqual(await store.keys(), []);
    (await other.tryAcquire('n'))!.assertHeld();
  });

  it('ends with its lease when the release cannot be confirmed, and says so', async () => {
    const lock = await locks.acquire('n');
    store.inject('txn', 'refuse');
    await assert.rejects(lock.release(), { code: 'ERR_UNAVAILABLE' });
    await settled();
    (await other.tryAcquire('n'))!.assertHeld();
  });

  it('frees what it holds no more, also where others keep its session alive and the store fails', async () => {
    await locks.acquire('held for long');
    const lock = await locks.acquire('n');
    const waits = assert.rejects(locks.acquire('held for long', { wait: 100 }), {
      code: 'ERR_LOCK_BUSY',
    });
    await settled();
    store.inject('txn', 'refuse', 2);
    await assert.rejects(lock.release(), { code: 'ERR_UNAVAILABLE' });
    store.inject('delete', 'refuse', 3);
    store.inject('delete', 'lose-reply');
    await store.clock.advance(100);
    await waits;
    await store.clock.advance(2000);
    const next = await other.tryAcquire('n');
    assert.ok(next, 'released in the end');
    assert.deepEqual(
      (await other.holders('held for long')).map(({ waiting }) => waiting),
      [false],
      'who gave up waits no more',
    );
    await next.release();
  });

  it('is acquired anew after the lease was revoked behind its back', async () => {
    const before = await locks.acquire('a');
    const [lease] = await store.kv.leases();
    await store.kv.revokeLease(lease!);
    const lock = await locks.acquire('n');
    lock.assertHeld();
    assert.equal(before.lost.aborted, true);
  });

  it('tells a waiter whose place was lost with its session', async () => {
    const holder = await other.acquire('n');
    const waiting = assert.rejects(locks.acquire('n'), { code: 'ERR_LOCK_LOST', retryable: true });
    await settled();
    store.inject('keepAlive', 'hang', 100);
    await store.clock.advance(11_000);
    await waiting;
    holder.assertHeld();
  });

  it('is refused at once when the store is out of reach', async () => {
    store.inject('grantLease', 'refuse');
    await assert.rejects(locks.acquire('n'), { code: 'ERR_UNAVAILABLE' });
    store.inject('txn', 'refuse');
    await assert.rejects(locks.acquire('n'), { code: 'ERR_UNAVAILABLE' });
    (await locks.acquire('n')).assertHeld();
  });

  it('runs work under the lock and gives it back, whatever becomes of the work', async () => {
    assert.equal(await locks.run('n', (lock) => lock.name), 'n');
    await assert.rejects(
      locks.run('n', () => {
        throw new TypeError('mine');
      }),
      TypeError,
    );
    assert.deepEqual(await store.keys(), []);
  });

  it('rejects the result of work that outlived its lock', async () => {
    const work = async (): Promise<string> => {
      store.clock.stall(10_001);
      return 'done';
    };
    await assert.rejects(locks.run('n', work), (error) => {
      return isQuorateError(error, 'ERR_LOCK_LOST') && error.outcome === 'unknown';
    });
  });

  it('never throws over an error of the work', async () => {
    const work = (): never => {
      store.inject('txn', 'refuse', 10);
      throw new TypeError('mine');
    };
    await assert.rejects(locks.run('n', work), TypeError);
  });

  it('gives back what is held when closed, and refuses what comes then', async () => {
    const held = await locks.acquire('n');
    const waiting = assert.rejects(locks.acquire('n'), { code: 'ERR_CLOSED' });
    await settled();
    await locks.close();
    await waiting;
    assert.equal(held.lost.aborted, true);
    assert.deepEqual(await store.keys(), []);
    await assert.rejects(locks.acquire('n'), { code: 'ERR_CLOSED' });
  });

  it('refuses names and times that are none', async () => {
    for (const name of ['', 'x'.repeat(10_000), 'half\ud83d', undefined as unknown as string]) {
      await assert.rejects(locks.acquire(name), { code: 'ERR_INVALID_ARGUMENT' });
      await assert.rejects(locks.tryAcquire(name), { code: 'ERR_INVALID_ARGUMENT' });
    }
    for (const ttl of [0, -1, 500, 'soon', Number.NaN]) {
      assert.throws(() => kvLocks(store.kv, { ttl }), { code: 'ERR_INVALID_ARGUMENT' });
    }
    assert.throws(() => kvLocks(undefined as unknown as typeof store.kv), {
      code: 'ERR_INVALID_ARGUMENT',
    });
    await assert.rejects(locks.acquire('n', { wait: -1 }), { code: 'ERR_INVALID_ARGUMENT' });
    const noWork = locks.run('n', undefined as unknown as () => void);
    await assert.rejects(noWork, { code: 'ERR_INVALID_ARGUMENT', message: /a function is needed/ });
    assert.deepEqual(await store.keys(), []);
  });

  it('leaves no timer behind', async () => {
    await locks.run('n', () => store.clock.advance(100));
    await Promise.all([locks.close(), other.close()]);
    await store.kv.close();
    assert.equal(store.clock.pending, 0);
    store = new Store();
  });

  describe('held by several', () => {
    it('readers share, writers do not, and a writer that waits holds up later readers', async () => {
      const readers = [
        await locks.acquire('n', { shared: true }),
        await other.acquire('n', { shared: true }),
      ];
      const order: string[] = [];
      const queue = (from: Locks, label: string, shared: boolean) =>
        from.acquire('n', { shared }).then((lock) => {
          order.push(label);
          return lock;
        });
      const writer = queue(other, 'writer', false);
      await settled();
      const late = [queue(locks, 'late', true), queue(other, 'late', true)];
      await settled();
      await readers[0]!.release();
      await settled();
      assert.deepEqual(order, []);
      await readers[1]!.release();
      const written = await writer;
      await settled();
      assert.deepEqual(order, ['writer']);
      assert.ok(written.fencingToken > readers[1]!.fencingToken);
      await written.release();
      await Promise.all(late);
      assert.deepEqual(order, ['writer', 'late', 'late']);
    });

    it('as many hold a semaphore as it has permits, in order', async () => {
      const held: Lock[] = [];
      const order: number[] = [];
      const permits = 3;
      for (let i = 0; i < 9; i++) {
        void (i % 2 === 0 ? locks : other).acquire('gpu', { permits }).then((lock) => {
          order.push(i);
          held.push(lock);
        });
        await settled();
      }
      for (let released = 0; released < 9; released++) {
        await settled();
        assert.equal(held.length, Math.min(permits, 9 - released));
        // Not always the one that came first.
        await held.splice(released % held.length, 1)[0]!.release();
      }
      assert.deepEqual(order, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    });

    it('where permits differ the smallest counts', async () => {
      const first = await locks.acquire('n', { permits: 3 });
      const second = await locks.acquire('n', { permits: 2 });
      assert.equal(await locks.tryAcquire('n', { permits: 3 }), undefined);
      assert.equal(await locks.tryAcquire('n', { shared: true }), undefined);
      await second.release();
      const third = await locks.tryAcquire('n', { shared: true });
      third!.assertHeld();
      assert.equal(await locks.tryAcquire('n'), undefined);
      await first.release();
      await third!.release();
    });
  });

  it('acquires all or none, whatever the order of the names', async () => {
    const busy = await other.acquire('b');
    await Promise.all([
      assert.rejects(locks.acquireAll(['a', 'b', 'c'], { wait: '1s' }), { code: 'ERR_LOCK_BUSY' }),
      store.clock.advance(1000),
    ]);
    await settled();
    assert.deepEqual(await store.keys(), [busy.holder]);
    await busy.release();
    const set = await locks.acquireAll(['c', 'a', 'b', 'a']);
    assert.deepEqual(
      set.locks.map(({ name }) => name),
      ['c', 'a', 'b', 'a'],
    );
    const opposite = other.acquireAll(['a', 'b', 'c']);
    await settled();
    await set.release();
    const next = await opposite;
    assert.equal(next.lost.aborted, false);
    await store.kv.delete(next.locks[1]!.holder);
    await store.clock.advance(100);
    assert.equal(next.lost.aborted, true);
    assert.throws(() => next.assertHeld(), { code: 'ERR_LOCK_LOST', loss: 'stolen' });
  });

  it('enters again only within run, and where both ask for it', async () => {
    const reentrant = { reentrant: true };
    await locks.run(
      'n',
      async (outer) => {
        const inner = await locks.acquire('n', reentrant);
        assert.equal(inner.fencingToken, outer.fencingToken);
        await inner.release();
        assert.throws(() => inner.assertHeld(), { code: 'ERR_LOCK_LOST' });
        outer.assertHeld();
        assert.equal(await locks.tryAcquire('n'), undefined);
      },
      reentrant,
    );
    await locks.run('n', async () =>
      assert.equal(await locks.tryAcquire('n', reentrant), undefined),
    );
  });

  it('tells who holds and who waits, and takes the lock away by force', async () => {
    const named = kvLocks(store.kv, { clock: store.clock, owner: 'host-7' });
    const held = await named.acquire('n');
    const waiting = locks.acquire('n');
    await settled();
    const holders = await other.holders('n');
    assert.deepEqual(
      holders.map(({ owner, waiting }) => [owner === 'host-7', waiting]),
      [
        [true, false],
        [false, true],
      ],
    );
    assert.equal(holders[0]!.fencingToken, held.fencingToken);
    const evicted = await other.forceRelease('n');
    assert.deepEqual(
      evicted.map(({ holder }) => holder),
      [held.holder],
    );
    (await waiting).assertHeld();
    await store.clock.advance(50);
    assert.equal(held.lost.reason.loss, 'stolen');
    assert.deepEqual(await other.forceRelease('nobody'), []);
    await named.close();
  });

  it('uses the key of a claim that was stolen again, as that of one given back', async () => {
    const keys = new Set<string>();
    for (let i = 0; i < 3; i++) {
      const held = await locks.acquire('n');
      keys.add(held.holder);
      await other.forceRelease('n');
      await store.clock.advance(50);
      assert.equal(held.lost.reason.loss, 'stolen');
    }
    assert.equal(keys.size, 1);
  });

  it('refuses what makes no sense at the door', async () => {
    const refused = { code: 'ERR_INVALID_ARGUMENT' };
    await assert.rejects(locks.acquire('n', { permits: 0 }), refused);
    await assert.rejects(locks.acquire('n', { permits: 1.5 }), refused);
    await assert.rejects(locks.acquire('n', { permits: 2, shared: true }), refused);
    await assert.rejects(locks.acquireAll([]), refused);
    await assert.rejects(locks.acquireAll(['a', '']), refused);
    await assert.rejects(locks.holders(''), refused);
    assert.throws(() => kvLocks(store.kv, { owner: 'x'.repeat(2000) }), refused);
    assert.deepEqual(await store.keys(), []);
  });
});
