import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Kv } from '../kv/kv.ts';
import { settled } from '../testing/virtual-clock.ts';
import { kvLatch, type Latch } from './latch.ts';
import { Store } from './testing.ts';

describe('a latch over a store', () => {
  let store: Store;
  let opened: Latch[];

  beforeEach(() => {
    store = new Store();
    opened = [];
  });
  afterEach(async () => {
    store.heal();
    await Promise.all(opened.map((latch) => latch.close()));
    // It ends with the last who had it open.
    await store.clock.advance(15_000);
    assert.deepEqual(await store.keys(), [], 'keys are left behind');
    assert.deepEqual(await store.kv.leases(), [], 'leases are left behind');
    await store.kv.close();
  });

  function open(count = 3, kv: Kv = store.kv): Latch {
    const latch = kvLatch(kv, 'l', { count, clock: store.clock, ttl: '10s' });
    opened.push(latch);
    return latch;
  }

  it('opens with the last count-down for all who wait, and stays open', async () => {
    const [one, other] = [open(), open()];
    let through = 0;
    const waits = [one, other, other].map((latch) => latch.wait().then(() => (through += 1)));
    assert.equal(await other.remaining(), 3);
    assert.equal(await one.countDown(), 2);
    assert.equal(await one.countDown(), 1);
    await settled();
    assert.equal(through, 0);
    assert.equal(await other.remaining(), 1);
    assert.equal(await other.countDown(), 0);
    await Promise.all(waits);
    assert.equal(await one.countDown(), 0);
    await open().wait();
    assert.equal(await open().remaining(), 0);
  });

  it('takes no keys beyond its count from one who knows that it is open', async () => {
    const latch = open(1);
    for (let i = 0; i < 5; i++) assert.equal(await latch.countDown(), 0);
    assert.deepEqual((await store.keys()).length, 2);
  });

  it('keeps what was counted after its process has ended, as long as somebody has it open', async () => {
    const waiting = open(2);
    const wait = waiting.wait();
    const worker = open(2);
    await worker.countDown();
    await worker.close();
    await store.clock.advance(60_000);
    assert.equal(await waiting.remaining(), 1);
    await open(2).countDown();
    await wait;
  });

  it('ends when nobody has it open any more, and is another one then', async () => {
    const latch = open(2);
    await latch.countDown();
    await latch.close();
    await store.clock.advance(15_000);
    assert.deepEqual(await store.keys(), []);
    assert.equal(await open(2).remaining(), 2);
  });

  it('tells those for whom it ended earlier', async () => {
    const latch = open(2, store.faulty);
    await latch.remaining();
    store.inject('keepAlive', 'hang', 100);
    store.inject('txn', 'hang');
    const wait = assert.rejects(latch.wait(), { code: 'ERR_LOCK_LOST' });
    // By its own clock: the store says nothing any more.
    await store.clock.advance(10_000);
    await wait;
    await store.clock.advance(5000);
    store.heal();
    await assert.rejects(latch.countDown(), { code: 'ERR_LOCK_LOST' });
    const again = open(2);
    assert.equal(await again.remaining(), 2);
    await store.kv.delete('l');
    await assert.rejects(again.countDown(), { code: 'ERR_LOCK_LOST' });
  });

  it('tells those who wait when its key is deleted', async () => {
    const latch = open(2);
    const wait = assert.rejects(latch.wait(), { code: 'ERR_LOCK_LOST' });
    await settled();
    await store.kv.delete('l');
    await wait;
  });

  it('counts once where the reply was lost', async () => {
    const latch = open(3, store.faulty);
    store.inject('txn', 'lose-reply');
    const joining = latch.remaining();
    await store.clock.advance(100);
    assert.equal(await joining, 3);
    store.inject('txn', 'lose-reply', 2);
    const counting = latch.countDown();
    await store.clock.advance(200);
    assert.equal(await counting, 2);
    store.inject('txn', 'delay');
    const late = latch.countDown();
    await store.clock.advance(200);
    assert.equal(await late, 1);
    await store.deliverLate();
    assert.equal(await latch.remaining(), 1);
  });

  it('is begun once by those who begin it together, and leaves no lease of the others', async () => {
    const all = Array.from({ length: 5 }, () => open(5));
    const rest = await Promise.all(all.map((latch) => latch.countDown()));
    assert.deepEqual(rest.sort(), [0, 1, 2, 3, 4]);
    await settled();
    assert.equal((await store.kv.leases()).length, 1);
  });

  it('can be joined after the store was out of reach', async () => {
    const latch = open(1, store.faulty);
    store.inject('get', 'refuse');
    await assert.rejects(latch.countDown(), { code: 'ERR_UNAVAILABLE' });
    assert.equal(await latch.countDown(), 0);
  });

  it('waits on where the history was compacted', async () => {
    const latch = open(1, store.faulty);
    store.inject('watch', 'compacted', 3);
    const wait = latch.wait();
    await settled();
    await open(1).countDown();
    await wait;
  });

  it('ends a wait by time, signal and close', async () => {
    const latch = open();
    const late = assert.rejects(latch.wait({ wait: '2s' }), { code: 'ERR_TIMEOUT' });
    await store.clock.advance(2000);
    await late;
    const stop = new AbortController();
    const stopped = assert.rejects(latch.wait({ signal: stop.signal }), /enough/);
    await settled();
    stop.abort(new Error('enough'));
    await stopped;
    const ended = assert.rejects(latch.wait(), { code: 'ERR_CLOSED' });
    await settled();
    await latch.close();
    await ended;
    await assert.rejects(latch.countDown(), { code: 'ERR_CLOSED' });
  });

  it('refuses another count, and options that make no sense', async () => {
    const refused = { code: 'ERR_INVALID_ARGUMENT' };
    await open(3).remaining();
    await assert.rejects(open(4).countDown(), refused);
    for (const count of [0, 1.5, 10_001, undefined as never]) {
      assert.throws(() => kvLatch(store.kv, 'l', { count }), refused);
    }
    assert.throws(() => kvLatch(store.kv, '', { count: 1 }), refused);
    assert.throws(() => kvLatch(store.kv, 'l', { count: 1, ttl: 10 }), refused);
    assert.throws(() => kvLatch({} as Kv, 'l', { count: 1 }), refused);
  });
});
