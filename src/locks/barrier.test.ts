import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Kv } from '../kv/kv.ts';
import { settled } from '../testing/virtual-clock.ts';
import { type Barrier, kvBarrier } from './barrier.ts';
import { Store } from './testing.ts';

describe('a double barrier over a store', () => {
  let store: Store;
  let open: Barrier[];

  beforeEach(() => {
    store = new Store();
    open = [];
  });
  afterEach(async () => {
    store.heal();
    await Promise.all(open.map((barrier) => barrier.close()));
    await settled();
    assert.deepEqual(await store.keys(), [], 'keys are left behind');
    assert.deepEqual(await store.kv.leases(), [], 'leases are left behind');
    await store.kv.close();
  });

  function party(parties = 3, kv: Kv = store.kv): Barrier {
    const barrier = kvBarrier(kv, 'b', { parties, clock: store.clock, ttl: '10s' });
    open.push(barrier);
    return barrier;
  }

  /** Starts it and notes its end. */
  function noting<T>(events: string[], label: string, work: Promise<T>): Promise<T> {
    const done = work.then((value) => {
      events.push(label);
      return value;
    });
    done.catch(() => undefined);
    return done;
  }

  /** As if the process was killed: nothing more is sent. */
  function die(...methods: (keyof Kv & string)[]): void {
    for (const method of methods) store.inject(method, 'hang', 1000);
  }

  it('lets all in when the last has entered, and out when the last has left', async () => {
    const events: string[] = [];
    const all = [party(), party(), party()];
    for (let round = 0; round < 3; round++) {
      const entering: Promise<unknown>[] = [];
      for (const [i, one] of all.entries()) {
        assert.deepEqual(events, []);
        entering.push(noting(events, `in ${i}`, one.enter()));
        await settled();
      }
      await Promise.all(entering);
      assert.equal(events.splice(0).length, 3);
      const leaving: Promise<unknown>[] = [];
      for (const [i, one] of all.entries()) {
        assert.deepEqual(events, []);
        leaving.push(noting(events, `out ${i}`, one.leave()));
        await settled();
      }
      await Promise.all(leaving);
      assert.equal(events.splice(0).length, 3);
    }
  });

  it('keeps a round waiting while one of the round before is inside, and lets the first in first', async () => {
    const events: string[] = [];
    const first = [party(2), party(2)];
    await Promise.all(first.map((one) => one.enter()));
    const next = [party(2), party(2), party(2)];
    for (const [i, one] of next.entries()) {
      noting(events, `in ${i}`, one.enter());
      await settled();
    }
    const left = noting(events, 'out', first[0]!.leave());
    await store.clock.advance(5000);
    assert.deepEqual(events, []);
    await first[1]!.leave();
    await left;
    await store.clock.advance(600);
    assert.deepEqual(events.sort(), ['in 0', 'in 1', 'out']);
  });

  it('counts a party no more that died while it waited; another comes in its place', async () => {
    const events: string[] = [];
    const dead = party(2, store.faulty);
    noting(events, 'dead', dead.enter());
    await settled();
    die('keepAlive', 'txn', 'range', 'watch', 'revokeLease', 'delete');
    await store.clock.advance(15_000);
    noting(events, 'one', party(2).enter());
    await store.clock.advance(1000);
    assert.deepEqual(events, []);
    noting(events, 'two', party(2).enter());
    await store.clock.advance(1000);
    assert.deepEqual(events.sort(), ['one', 'two']);
  });

  it('is left within the time to live of a party that died inside, who knows of it', async () => {
    const events: string[] = [];
    const dying = party(2, store.faulty);
    const living = party(2);
    const [place] = await Promise.all([dying.enter(), living.enter()]);
    die('keepAlive', 'revokeLease');
    const left = noting(events, 'out', living.leave());
    await store.clock.advance(9000);
    assert.deepEqual(events, []);
    assert.equal(place.lost.aborted, false);
    await store.clock.advance(5000);
    await left;
    assert.equal(place.lost.aborted, true);
    await assert.rejects(dying.leave(), { code: 'ERR_LOCK_LOST' });
    store.heal();
    noting(events, 'again', dying.enter());
    await settled();
    await living.enter();
    await store.clock.advance(100);
    assert.deepEqual(events, ['out', 'again']);
  });

  it('is begun by the others where the last to come dies before it lets them in', async () => {
    const events: string[] = [];
    noting(events, 'one', party(2).enter());
    await settled();
    // Its key is written; its transaction for all of them never arrives.
    const last = party(2, store.faulty);
    const { txn } = store.kv;
    let txns = 0;
    store.kv.txn = (...args: Parameters<Kv['txn']>) => {
      txns += 1;
      if (txns === 2) return new Promise(() => undefined);
      return txn.apply(store.kv, args);
    };
    noting(events, 'last', last.enter());
    await store.clock.advance(400);
    assert.deepEqual(events, []);
    await store.clock.advance(200);
    assert.deepEqual(events, ['one']);
    store.kv.txn = txn;
  });

  it('finds out what became of writes whose replies were lost', async () => {
    const events: string[] = [];
    const unlucky = party(2, store.faulty);
    const other = party(2);
    store.inject('txn', 'lose-reply');
    noting(events, 'other', other.enter());
    const entering = noting(events, 'unlucky', unlucky.enter());
    await store.clock.advance(600);
    await entering;
    assert.deepEqual(events.sort(), ['other', 'unlucky']);
    await Promise.all([other.leave(), unlucky.leave()]);
    // It hears late that it came last, and not at all whether it let all in.
    store.inject('txn', 'slow');
    store.inject('txn', 'lose-reply');
    const again = [other.enter(), unlucky.enter()];
    await store.clock.advance(2100);
    await Promise.all(again);
    store.inject('txn', 'lose-reply');
    const leaving = [other.leave(), unlucky.leave()];
    await store.clock.advance(600);
    await Promise.all(leaving);
  });

  it('leaves nothing behind of a key that arrives late', async () => {
    const unlucky = party(2, store.faulty);
    store.inject('txn', 'delay');
    store.inject('txn', 'refuse', 10);
    const failed = assert.rejects(unlucky.enter(), { code: 'ERR_UNAVAILABLE' });
    await store.clock.advance(200);
    await failed;
    await settled();
    await store.deliverLate();
    await settled();
    assert.deepEqual(await store.keys(), []);
  });

  it('goes on where the history was compacted', async () => {
    const slow = party(2, store.faulty);
    store.inject('watch', 'compacted', 3);
    const entering = slow.enter();
    await settled();
    const other = party(2);
    await Promise.all([entering, other.enter()]);
    store.inject('watch', 'compacted', 3);
    const leaving = slow.leave();
    await settled();
    await other.leave();
    await leaving;
  });

  it('ends a wait by time, signal and close, and takes the key back', async () => {
    const one = party(2);
    const late = assert.rejects(one.enter({ wait: '2s' }), { code: 'ERR_TIMEOUT' });
    await store.clock.advance(2000);
    await late;
    const stop = new AbortController();
    const stopped = assert.rejects(one.enter({ signal: stop.signal }), /enough/);
    await settled();
    stop.abort(new Error('enough'));
    await stopped;
    await settled();
    assert.deepEqual(await store.keys(), []);
    const ended = assert.rejects(one.enter(), { code: 'ERR_CLOSED' });
    await settled();
    await one.close();
    await ended;
    await assert.rejects(one.enter(), { code: 'ERR_CLOSED' });
  });

  it('can go on to wait for the others after leave gave up, having left', async () => {
    const [one, other] = [party(2), party(2)];
    await Promise.all([one.enter(), other.enter()]);
    const late = assert.rejects(one.leave({ wait: '1s' }), { code: 'ERR_TIMEOUT' });
    await store.clock.advance(1000);
    await late;
    assert.equal((await store.keys()).length, 1);
    const again = one.leave();
    await other.leave();
    await again;
    await Promise.all([one.enter(), other.enter()]);
    const ended = assert.rejects(one.leave(), { code: 'ERR_CLOSED' });
    await settled();
    await one.close();
    await ended;
  });

  it('has left also where the caller had given up before it asked to leave', async () => {
    const [one, other] = [party(2), party(2)];
    await Promise.all([one.enter(), other.enter()]);
    const enough = new Error('enough');
    await assert.rejects(one.leave({ signal: AbortSignal.abort(enough) }), enough);
    await other.leave();
    await Promise.all([one.enter(), other.enter()]);
  });

  it('is no wider than its place: a second enter, a leave without enter, odd options', async () => {
    const refused = { code: 'ERR_INVALID_ARGUMENT' };
    const one = party(1);
    await assert.rejects(one.leave(), refused);
    const entering = one.enter();
    await assert.rejects(one.enter(), refused);
    await using place = await entering;
    await assert.rejects(one.enter(), refused);
    place.assertHeld();
    for (const parties of [0, 1.5, 101, Number.NaN, undefined as never]) {
      assert.throws(() => kvBarrier(store.kv, 'b', { parties }), refused);
    }
    assert.throws(() => kvBarrier(store.kv, '', { parties: 2 }), refused);
    assert.throws(() => kvBarrier(store.kv, 'b', { parties: 2, ttl: 10 }), refused);
  });
});
