import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { settled } from '../testing/virtual-clock.ts';
import { kvTxnLocks } from './kv-txn.ts';
import type { Locks } from './locks.ts';
import { Store } from './testing.ts';

describe('transaction locks over a store', () => {
  let store: Store;
  let locks: Locks;
  let other: Locks;

  beforeEach(() => {
    store = new Store();
    const options = { clock: store.clock, ttl: '10s', random: seededRandom(1) };
    locks = kvTxnLocks(store.faulty, { ...options, owner: 'one, on host 7' });
    other = kvTxnLocks(store.kv, options);
  });
  afterEach(async () => {
    store.heal();
    await Promise.all([locks.close(), other.close()]);
    assert.deepEqual(await store.keys(), [], 'keys are left behind');
    assert.deepEqual(await store.kv.leases(), [], 'leases are left behind');
    await store.kv.close();
  });

  it('are one key, the name, in one round trip each way', async () => {
    await (await locks.acquire('warm')).release();
    store.calls.length = 0;
    const lock = await locks.acquire('orders/42');
    assert.deepEqual(store.calls, ['txn']);
    const [kv] = (await store.kv.range({ prefix: '' })).kvs;
    assert.equal(kv!.key.toString(), 'orders/42');
    assert.deepEqual([kv!.lease], await store.kv.leases());
    assert.equal(lock.fencingToken, BigInt(kv!.createRevision));
    await lock.release();
    assert.deepEqual(store.calls, ['txn', 'txn']);
  });

  it('keep out a client that creates the key itself, as etcd3 of npm does', async () => {
    await store.kv.put('n', '');
    assert.equal(await locks.tryAcquire('n'), undefined);
    assert.deepEqual(await locks.holders('n'), [
      { holder: 'n', fencingToken: 2n, owner: '', waiting: false },
    ]);
    const waiting = locks.acquire('n');
    await settled();
    await store.kv.delete('n');
    await store.clock.advance(10);
    await (await waiting).release();
  });

  it('wake who waits when the lock is free, each after a pause of its own, and one has it', async () => {
    const held = await other.acquire('n');
    let inside = 0;
    let served = 0;
    const work = async (): Promise<void> => {
      assert.equal(++inside, 1);
      await settled();
      served += 1;
      inside -= 1;
    };
    const all = Array.from({ length: 10 }, (_, i) => (i % 2 ? locks : other).run('n', work));
    await store.clock.advance(1000);
    assert.equal(served, 0);
    await held.release();
    await settled();
    assert.equal(inside + served, 0);
    await store.clock.advance(200);
    await Promise.all(all);
    assert.equal(served, 10);
  });

  it('miss no release between the look and the watch', async () => {
    const held = await other.acquire('n');
    store.inject('txn', 'slow');
    const waiting = locks.acquire('n');
    await settled();
    await held.release();
    await store.clock.advance(2020);
    await (await waiting).release();
  });

  it('look again when the history that they wait in was compacted', async () => {
    const held = await other.acquire('n');
    store.inject('watch', 'compacted');
    const waiting = locks.acquire('n');
    await store.clock.advance(20);
    await held.release();
    await store.clock.advance(20);
    await (await waiting).release();
  });

  it('find out that they have it where the reply was lost', async () => {
    store.inject('txn', 'lose-reply', 2);
    const acquiring = locks.acquire('n');
    await store.clock.advance(200);
    const lock = await acquiring;
    lock.assertHeld();
    assert.equal(lock.fencingToken, 2n, 'the first write of this store');
    assert.equal(await other.tryAcquire('n'), undefined);
    await lock.release();
    assert.deepEqual(await store.keys(), []);
  });

  it('do not take the lock of another task for theirs where the reply was lost', async () => {
    const held = await locks.acquire('n');
    store.inject('txn', 'lose-reply');
    const trying = locks.tryAcquire('n');
    await store.clock.advance(200);
    assert.equal(await trying, undefined);
    held.assertHeld();
    await held.release();
  });

  it('leave nothing behind of a write that arrives after the wait was given up', async () => {
    store.inject('txn', 'delay');
    store.inject('txn', 'refuse', 10);
    const failed = assert.rejects(locks.acquire('n'), { code: 'ERR_UNAVAILABLE' });
    await store.clock.advance(200);
    await failed;
    await settled();
    await store.deliverLate();
    await settled();
    assert.deepEqual(await store.keys(), []);
    assert.deepEqual(await store.kv.leases(), []);
  });

  it('leave nothing behind of a write that arrives after another try had the lock', async () => {
    store.inject('txn', 'delay');
    const acquiring = locks.acquire('n');
    await store.clock.advance(100);
    await (await acquiring).release();
    await settled();
    await store.deliverLate();
    assert.deepEqual(await store.keys(), []);
  });

  it('leave nothing behind when aborted while the store decides', async () => {
    for (const fault of ['slow', 'lose-reply'] as const) {
      store.inject('txn', fault);
      const stop = new AbortController();
      const acquiring = assert.rejects(locks.acquire('n', { signal: stop.signal }), /enough/);
      await settled();
      stop.abort(new Error('enough'));
      await acquiring;
      await store.clock.advance(2100);
      assert.deepEqual(await store.keys(), [], fault);
    }
  });

  it('give up after the time to wait, and at once when closed', async () => {
    const held = await other.acquire('n');
    const late = assert.rejects(locks.acquire('n', { wait: '3s' }), { code: 'ERR_LOCK_BUSY' });
    await store.clock.advance(3000);
    await late;
    const ended = assert.rejects(locks.acquire('n'), { code: 'ERR_CLOSED' });
    await settled();
    await locks.close();
    await ended;
    held.assertHeld();
  });

  it('never delete what is another by now', async () => {
    const lost = await locks.acquire('n');
    await store.kv.delete('n');
    const held = await other.acquire('n');
    await lost.release();
    held.assertHeld();
    assert.deepEqual(await store.keys(), ['n']);
    await store.clock.advance(100);
    assert.throws(() => lost.assertHeld());
    held.assertHeld();
  });

  it('tell who holds by name, and are taken by force', async () => {
    const held = await locks.acquire('n');
    const [holder] = await other.holders('n');
    assert.equal(holder!.owner, 'one, on host 7');
    assert.deepEqual(await other.forceRelease('n'), [holder]);
    await store.clock.advance(100);
    assert.equal(held.lost.reason.loss, 'stolen');
    assert.deepEqual(await other.forceRelease('n'), []);
  });

  it('are gone for others within the time to live of a holder that is gone', async () => {
    const held = await locks.acquire('n');
    store.inject('keepAlive', 'hang', 100);
    store.inject('revokeLease', 'refuse', 10);
    const next = other.acquire('n');
    await store.clock.advance(9999);
    held.assertHeld();
    await store.clock.advance(3000);
    assert.equal(held.lost.aborted, true);
    await (await next).release();
    store.heal();
  });

  it('go on with a new lease where the old one was revoked', async () => {
    await (await locks.acquire('n')).release();
    const [lease] = await store.kv.leases();
    await store.kv.revokeLease(lease!);
    const acquiring = locks.acquire('n');
    await store.clock.advance(100);
    await (await acquiring).release();
  });

  it('are refused as shared ones and as semaphores', async () => {
    await assert.rejects(locks.acquire('n', { shared: true }), { code: 'ERR_UNSUPPORTED' });
    await assert.rejects(locks.acquire('n', { permits: 2 }), { code: 'ERR_UNSUPPORTED' });
    assert.throws(() => kvTxnLocks(store.kv, { jitter: -1 }), { code: 'ERR_INVALID_ARGUMENT' });
  });
});
