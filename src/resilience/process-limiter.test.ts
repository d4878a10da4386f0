import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, it } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import {
  BucketAlgorithm,
  FixedWindowAlgorithm,
  type LimitAlgorithm,
  SlidingCounterAlgorithm,
  SlidingWindowAlgorithm,
} from './limit-algorithm.ts';
import { fixedWindow, slidingCounter, slidingWindow, tokenBucket } from './limiters.ts';
import { openNotingClock } from './test-noting-clock.ts';

/** Exact times: one from each full second on. */
function open(options: { maxWaiting?: number; maxKeys?: number; rate?: string } = {}) {
  const clock = new VirtualClock();
  const limiter = fixedWindow({ rate: '1/s', ...options, clock });
  return { clock, limiter };
}

const refusal = (message: string, retryAfterMs: number) => ({
  code: 'ERR_RATE_LIMITED',
  message,
  retryAfterMs,
  retryable: true,
  outcome: 'not-applied',
});

describe('limiters of a process', () => {
  it('say why somebody is not to wait, and for how long', async () => {
    const { clock, limiter } = open({ maxWaiting: 1, maxKeys: 2 });
    await clock.advance(300);
    limiter.allow();
    limiter.allow('a');
    await assert.rejects(
      limiter.wait('', { maxWait: 699 }),
      refusal('the limit is used up: it is free in 700 ms, later than the longest wait', 700),
    );
    await assert.rejects(
      limiter.wait('a', { maxWait: '0.5s' }),
      refusal(
        "the limit of 'a' is used up: it is free in 700 ms, later than the longest wait",
        700,
      ),
    );
    await assert.rejects(
      limiter.wait('b'),
      refusal("the limit of 'b' is used up: too many keys are in use", 1000),
    );
    assert.deepEqual(limiter.allow('b'), { ok: false, retryAfterMs: 1000 });
    assert.equal(limiter.reserve('b'), undefined);
    const waiting = limiter.wait('', { maxWait: 700 });
    await assert.rejects(
      limiter.wait('a'),
      refusal("the limit of 'a' is used up: 1 wait already", 700),
    );
    await clock.advance(700);
    await waiting;
    limiter.close();
    await assert.rejects(limiter.wait(), { message: 'this limiter was closed' });
  });

  it('let those by who need not wait, however many do', async () => {
    const { clock, limiter } = open({ maxWaiting: 1 });
    limiter.allow();
    const waiting = limiter.wait();
    await settled();
    assert.equal(clock.pending, 1);
    await limiter.wait('another');
    assert.equal(clock.pending, 1, 'at once, without a timer');
    await clock.advance(1000);
    await waiting;
  });

  it('count as waiting only who waits', async () => {
    const { clock, limiter } = open({ maxWaiting: 2, rate: '4/s' });
    limiter.allow('', 4);
    // Given up.
    for (let i = 0; i < 5; i++) {
      const stop = new AbortController();
      const given = limiter.wait('', { signal: stop.signal });
      await settled();
      stop.abort(new Error('enough'));
      await assert.rejects(given, /enough/);
    }
    // Refused by new rules.
    for (let i = 0; i < 3; i++) {
      const waits = [4, 3].map((cost) => limiter.wait('', { cost }));
      const ended = Promise.allSettled(waits);
      await settled();
      limiter.reconfigure({ rate: '2/s' });
      for (const { status, reason } of (await ended) as PromiseRejectedResult[]) {
        assert.equal(status, 'rejected');
        assert.equal(reason.message, 'the limit is used up: it was made smaller');
        assert.equal(reason.retryAfterMs, 0);
      }
      limiter.reconfigure({ rate: '4/s' });
    }
    // Served.
    for (let i = 0; i < 3; i++) {
      const waits = [4, 4].map((cost) => limiter.wait('', { cost }));
      await clock.advance(10_000);
      await Promise.all(waits);
      limiter.allow('', 4);
    }
  });

  it('move those up who wait where the rate is raised', async () => {
    const clock = new VirtualClock();
    const limiter = tokenBucket({ rate: '1/s', burst: 1, clock });
    limiter.allow();
    let isServed = false;
    const waiting = limiter.wait().then(() => {
      isServed = true;
    });
    await settled();
    limiter.reconfigure({ rate: '1000/s', burst: 1 });
    await clock.advance(100);
    assert.equal(isServed, false, 'what was taken counts as before');
    limiter.reset();
    await clock.advance(2);
    assert.equal(isServed, true);
    await waiting;
  });

  it('keep the line in order where one in the middle gives up, and leave no listener', async () => {
    const clock = new VirtualClock();
    const limiter = tokenBucket({ rate: '1/s', burst: 1, clock });
    limiter.allow();
    const served: string[] = [];
    const stop = new AbortController();
    const wait = (name: string, signal?: AbortSignal) =>
      limiter.wait('', { signal }).then(
        () => served.push(`${name} ${Math.round(clock.now())}`),
        () => served.push(`${name} gave up`),
      );
    const { signal } = new AbortController();
    const waits = [wait('a', signal), wait('b', stop.signal), wait('c', signal), wait('d')];
    await settled();
    stop.abort();
    await settled();
    await clock.advance(1500);
    // The first was served: those behind it go by that, also where they are counted anew.
    const late = new AbortController();
    waits.push(wait('e', late.signal));
    await settled();
    late.abort();
    await clock.advance(5000);
    await Promise.all(waits);
    assert.deepEqual(served, ['b gave up', 'a 1000', 'e gave up', 'c 2000', 'd 3000']);
    for (const one of [signal, stop.signal, late.signal]) {
      assert.equal(getEventListeners(one, 'abort').length, 0);
    }
  });

  it('keep those in line who wait where a sliding window becomes another', async () => {
    const clock = new VirtualClock();
    const limiter = slidingWindow({ rate: '2/s', clock });
    limiter.allow('', 2);
    const atMs: number[] = [];
    const waits = [1, 2, 3].map(() =>
      limiter.wait().then(() => atMs.push(Math.round(clock.now()))),
    );
    await settled();
    limiter.reconfigure({ rate: '3/s' });
    await clock.advance(5000);
    await Promise.all(waits);
    assert.deepEqual(atMs, [0, 1000, 1000]);
  });

  it('let those go at once who wait where more may be taken at once', async () => {
    const clock = new VirtualClock();
    const limiter = tokenBucket({ rate: '1/s', burst: 1, clock });
    limiter.allow();
    const atMs: number[] = [];
    const waits = [1, 2].map(() => limiter.wait().then(() => atMs.push(Math.round(clock.now()))));
    await settled();
    limiter.reconfigure({ rate: '1/s', burst: 2 });
    await clock.advance(5000);
    await Promise.all(waits);
    assert.deepEqual(atMs, [0, 1000]);
  });

  it('reserve after the last that waited was served, and after a close', async () => {
    const { clock, limiter } = open();
    limiter.allow();
    const waiting = limiter.wait();
    await settled();
    assert.equal(limiter.reserve(), undefined, 'nobody gets ahead');
    await clock.advance(1000);
    await waiting;
    assert.equal(limiter.reserve()!.delayMs, 1000);
    const left = assert.rejects(limiter.wait(), { code: 'ERR_CLOSED' });
    await settled();
    limiter.close();
    await left;
    assert.equal(limiter.reserve()!.delayMs, 3000, 'those that waited keep what they were to take');
  });

  it('reserve as late as they may, and not later', async () => {
    const { clock, limiter } = open();
    await clock.advance(5250);
    limiter.allow('k');
    assert.equal(limiter.reserve('k', { maxWait: 749 }), undefined);
    assert.equal(limiter.reserve('k', { maxWait: 750 })!.delayMs, 750);
  });

  it('take a reservation back only where nothing came after it', async () => {
    const { clock, limiter } = open();
    limiter.allow('one that stays');
    for (const key of ['first', 'second']) {
      limiter.allow(key);
      const one = limiter.reserve(key)!;
      const other = limiter.reserve(key)!;
      assert.equal(one.cancel(), false, 'another was reserved since');
      assert.equal(other.cancel(), true);
      assert.equal(one.cancel(), true, 'now it is the last');
      assert.equal(limiter.reserve(key)!.delayMs, 1000);
      limiter.reset(key);
      limiter.allow(key);
      const forgotten = limiter.reserve(key)!;
      limiter.reset(key);
      assert.equal(forgotten.cancel(), false, 'there is nothing of it');
      limiter.allow(key);
      const before = limiter.reserve(key)!;
      const waiting = limiter.wait(key);
      await settled();
      assert.equal(before.cancel(), false, 'somebody waits behind it');
      await clock.advance(3000);
      await waiting;
      const due = limiter.reserve(key)!;
      await clock.advance(due.delayMs);
      assert.equal(due.cancel(), false, 'its time has come');
      limiter.reset(key);
    }
  });

  it('tell from now when a key is whole again', async () => {
    const { clock, limiter } = open({ rate: '2/s' });
    await clock.advance(3600);
    assert.deepEqual(limiter.usage('k'), { limit: 2, remaining: 2, resetMs: 0 });
    limiter.allow('k');
    assert.deepEqual(limiter.usage('k'), { limit: 2, remaining: 1, resetMs: 400 });
    await clock.advance(1000);
    assert.deepEqual(limiter.usage('k'), { limit: 2, remaining: 2, resetMs: 0 });
  });

  it('keep a process alive for who waits', async () => {
    const { clock, noting, alive } = openNotingClock();
    const limiter = tokenBucket({ rate: '1/s', burst: 1, clock: noting });
    limiter.allow();
    const waiting = limiter.wait();
    await clock.advance(2000);
    await waiting;
    assert.deepEqual(alive, [true]);
  });

  it('forget a key that is whole again, and grow no further than they may', async () => {
    const { clock, limiter } = open({ maxKeys: 40 });
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 40; i++) assert.equal(limiter.allow(`${round} ${i}`).ok, true);
      assert.equal(limiter.allow('one more').ok, false);
      for (let i = 0; i < 40; i++) assert.equal(limiter.allow(`${round} ${i}`).ok, false);
      await clock.advance(1000);
      // Those that are not needed any more are found as others come, some at a time.
      for (let i = 0; i < 9; i++) limiter.reset(`${round} ${i}`);
      limiter.reset('never there');
    }
  });

  it('a sliding counter keeps both windows where the rate changes', async () => {
    const clock = new VirtualClock();
    const limiter = slidingCounter({ rate: '10/s', clock });
    limiter.allow('', 10);
    limiter.reconfigure({ rate: '20/s' });
    assert.equal(limiter.usage().remaining, 10);
    await clock.advance(1500);
    assert.equal(limiter.usage().remaining, 15);
  });
});

describe('ways to count', () => {
  const ways: Readonly<Record<string, () => LimitAlgorithm>> = {
    bucket: () => new BucketAlgorithm(0.01, 5),
    'sliding window': () => new SlidingWindowAlgorithm(5, 1000),
    'fixed window': () => new FixedWindowAlgorithm(5, 1000),
    'sliding counter': () => new SlidingCounterAlgorithm(5, 1000),
  };
  const near = (a: number, b: number): boolean => Math.abs(a - b) < 1e-3;

  for (const [name, make] of Object.entries(ways)) {
    it(`${name}: says the same of a key whose time begins later`, () => {
      const way = make();
      assert.equal(way.whole, name === 'sliding window');
      const random = seededRandom(4);
      const byMs = 7000;
      for (let run = 0; run < 60; run++) {
        const at = way.columns;
        const rows = new Float64Array(3 * way.columns);
        let nowMs = byMs;
        for (let step = 0; step < run % 8; step++) {
          const whenMs = way.earliest(rows, at, 1 + random.below(5), nowMs);
          way.take(rows, at, 1, whenMs);
          nowMs += random.below(700);
        }
        const shifted = rows.slice();
        for (const other of [at - 1, 2 * at]) shifted[other] = 9 * byMs;
        way.shift(shifted, at, byMs);
        const isUsed = run % 8 > 0;
        if (isUsed) {
          const idleMs = way.idleAt(rows, at) - byMs;
          assert.ok(near(Math.max(0, way.idleAt(shifted, at)), Math.max(0, idleMs)));
        } else if (name !== 'fixed window' && name !== 'sliding counter') {
          assert.deepEqual(shifted.slice(at, 2 * at), rows.slice(at, 2 * at));
        }
        for (const cost of [1, 3, 5]) {
          const soonest = way.earliest(rows, at, cost, nowMs) - byMs;
          assert.ok(near(way.earliest(shifted, at, cost, nowMs - byMs), soonest), `${run}`);
        }
        const remaining = way.remaining(rows, at, nowMs);
        assert.ok(near(way.remaining(shifted, at, nowMs - byMs), remaining));
        // Its neighbours are others' keys.
        for (const other of [at - 1, 2 * at]) assert.equal(shifted[other], 9 * byMs);
      }
    });

    it(`${name}: takes all of it at once, and not a moment before it is there`, () => {
      const way = make();
      const rows = new Float64Array(way.columns);
      assert.equal(way.idleAt(rows, 0), 0);
      const fromMs = 12_000;
      assert.equal(way.earliest(rows, 0, 5, fromMs), fromMs);
      way.take(rows, 0, 2, fromMs);
      assert.equal(way.earliest(rows, 0, 3, fromMs), fromMs);
      assert.ok(way.earliest(rows, 0, 4, fromMs) > fromMs);
      way.take(rows, 0, 3, fromMs);
      assert.ok(way.remaining(rows, 0, fromMs) < 1e-6);
      const idleMs = way.idleAt(rows, 0);
      assert.ok(idleMs > fromMs);
      assert.equal(way.earliest(rows, 0, 5, idleMs), idleMs);
      assert.ok(way.remaining(rows, 0, idleMs) > 5 - 1e-6);
    });
  }

  it('a sliding counter has nothing left in a window that is yet to come', () => {
    const way = new SlidingCounterAlgorithm(4, 1000);
    const rows = new Float64Array(3);
    way.take(rows, 0, 4, 0);
    way.take(rows, 0, 4, 2000);
    assert.equal(way.remaining(rows, 0, 1500), 0);
    assert.equal(way.remaining(rows, 0, 2500), 0);
    assert.equal(way.remaining(rows, 0, 3500), 2);
    assert.equal(way.remaining(rows, 0, 4500), 4);
    assert.equal(way.earliest(rows, 0, 3, 2500), 3750);
  });

  it('a sliding counter goes by the window before, and by none that is older', () => {
    const way = new SlidingCounterAlgorithm(4, 1000);
    const rows = new Float64Array(3);
    way.take(rows, 0, 4, 500);
    way.take(rows, 0, 1, 1500);
    assert.equal(way.remaining(rows, 0, 1500), 1);
    assert.equal(way.earliest(rows, 0, 1, 1500), 1500);
    assert.equal(way.earliest(rows, 0, 2, 1500), 1750);
    way.take(rows, 0, 1, 3500);
    assert.equal(way.remaining(rows, 0, 3500), 3);
    assert.equal(way.earliest(rows, 0, 3, 3500), 3500);
  });
});
