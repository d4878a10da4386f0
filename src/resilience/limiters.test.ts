import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Random, seededRandom } from '../core/random.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import type { Limiter } from './limiter.ts';
import {
  fixedWindow,
  rateOf,
  slidingCounter,
  slidingWindow,
  tokenBucket,
  type WindowOptions,
} from './limiters.ts';

const ALL = { tokenBucket, slidingWindow, slidingCounter, fixedWindow } as const;

/** Time in steps of 2^-10 ms, so that sums of it are exact. */
const TICK_MS = 2 ** -10;

interface Taken {
  readonly ticks: number;
  readonly cost: number;
}

/** What was taken in a random run, with all three ways to ask. */
async function run(limiter: Limiter, clock: VirtualClock, random: Random, maxCost: number) {
  const taken: Taken[] = [];
  const note = (delayMs: number, cost: number): void => {
    taken.push({ ticks: (clock.now() + delayMs) / TICK_MS, cost });
  };
  const waits: Promise<void>[] = [];
  for (let step = 0; step < 400; step++) {
    const cost = 1 + random.below(maxCost);
    const way = random.below(10);
    if (way < 6) {
      if (limiter.allow('', cost).ok) note(0, cost);
    } else if (way < 8) {
      const reserved = limiter.reserve('', { cost, maxWait: 3000 });
      if (reserved !== undefined) {
        if (reserved.delayMs > 0 && random.below(3) === 0) reserved.cancel();
        else note(reserved.delayMs, cost);
      }
    } else {
      const signal = random.below(3) === 0 ? AbortSignal.abort() : undefined;
      waits.push(
        limiter.wait('', { cost, maxWait: 3000, signal }).then(
          () => note(0, cost),
          () => undefined,
        ),
      );
      await settled();
    }
    // Often nothing, often long.
    const ticks = random.below(3) === 0 ? 0 : random.below(random.below(4) === 0 ? 400_000 : 4000);
    await clock.advance(ticks * TICK_MS);
  }
  await clock.advance(60_000);
  await Promise.all(waits);
  return taken.sort((a, b) => a.ticks - b.ticks);
}

/** Whether more than `burst + limit·t/period` was taken in some interval, by whole numbers. */
function overdrawn(taken: readonly Taken[], burst: number, limit: number, periodMs: number) {
  // A reservation may lie between two ticks; rounded to the later one it only gets nearer to what follows.
  const times = taken.map(({ ticks }) => BigInt(Math.floor(ticks)));
  const perTick = BigInt(Math.round(periodMs / TICK_MS));
  for (let from = 0; from < taken.length; from++) {
    let sum = 0n;
    for (let to = from; to < taken.length; to++) {
      sum += BigInt(taken[to]!.cost);
      // One tick more for what was rounded down.
      const ticks = times[to]! - times[from]! + (from === to ? 0n : 1n);
      if ((sum - BigInt(burst)) * perTick > BigInt(limit) * ticks) return { from, to, sum };
    }
  }
  return undefined;
}

describe('limiters, each', () => {
  for (const [name, make] of Object.entries(ALL)) {
    describe(name, () => {
      const open = (options: Partial<WindowOptions> = {}) => {
        const clock = new VirtualClock();
        return { clock, limiter: make({ rate: '3/s', clock, ...options }) };
      };

      it('allows the limit at once, and says when the next is', async () => {
        const { clock, limiter } = open();
        for (let i = 0; i < 3; i++)
          assert.deepEqual(limiter.allow('a'), { ok: true, retryAfterMs: 0 });
        const refused = limiter.allow('a');
        assert.equal(refused.ok, false);
        assert.ok(
          refused.retryAfterMs > 0 && refused.retryAfterMs <= 2000,
          `${refused.retryAfterMs}`,
        );
        assert.equal(limiter.allow('a').ok, false, 'what was refused takes nothing');
        await clock.advance(refused.retryAfterMs / 2);
        assert.equal(limiter.allow('a').ok, false);
        await clock.advance(refused.retryAfterMs / 2 + 0.001);
        assert.equal(limiter.allow('a').ok, true);
      });

      it('keeps keys apart', () => {
        const { limiter } = open();
        for (let i = 0; i < 3; i++) limiter.allow('a');
        assert.equal(limiter.allow('a').ok, false);
        assert.equal(limiter.allow('b').ok, true);
        assert.equal(limiter.allow().ok, true);
      });

      it('takes a cost as a whole or not at all', async () => {
        const { clock, limiter } = open();
        assert.equal(limiter.allow('', 2).ok, true);
        assert.equal(limiter.allow('', 2).ok, false);
        assert.equal(limiter.allow('', 1).ok, true);
        assert.equal(limiter.allow('', 1).ok, false);
        await clock.advance(2001);
        assert.equal(limiter.allow('', 3).ok, true);
      });

      it('lets those who wait through in the order in which they came, a later one not before', async () => {
        const { clock, limiter } = open();
        limiter.allow('', 3);
        const order: string[] = [];
        const waits = [
          limiter.wait('', { cost: 3 }).then(() => order.push('3')),
          limiter.wait('', { cost: 1 }).then(() => order.push('1')),
          limiter.wait('', { cost: 2 }).then(() => order.push('2')),
        ];
        await clock.advance(400);
        assert.equal(limiter.allow().ok, false, 'got ahead of those who wait');
        assert.equal(limiter.reserve(), undefined);
        await clock.advance(10_000);
        await Promise.all(waits);
        assert.deepEqual(order, ['3', '1', '2']);
        assert.equal(clock.pending, 0);
      });

      it('lets those behind move up when somebody gives up, with the reason of the signal at once', async () => {
        const { clock, limiter } = open();
        limiter.allow('', 3);
        const stop = new AbortController();
        const reason = new Error('enough');
        const first = assert.rejects(limiter.wait('', { cost: 3, signal: stop.signal }), reason);
        const alone = limiter.reserve('other', { cost: 3 });
        assert.equal(alone?.delayMs, 0);
        const dueMs = limiter.reserve('other', { cost: 3 })!.delayMs;
        let got = -1;
        const second = limiter.wait('', { cost: 3 }).then(() => {
          got = clock.now();
        });
        await clock.advance(10);
        stop.abort(reason);
        await first;
        await clock.advance(5000);
        await second;
        assert.ok(Math.abs(got - dueMs) < 0.01, `${got} instead of ${dueMs}`);
        assert.equal(clock.pending, 0);
      });

      it('refuses a wait that is longer than allowed, and one too many, with nothing taken', async () => {
        const { clock, limiter } = open({ maxWaiting: 1 });
        limiter.allow('', 3);
        const before = limiter.usage();
        const late = { code: 'ERR_RATE_LIMITED', retryable: true };
        await assert.rejects(limiter.wait('', { cost: 3, maxWait: 100 }), late);
        assert.equal(limiter.reserve('', { cost: 3, maxWait: 100 }), undefined);
        assert.deepEqual(limiter.usage(), before);
        const waits = limiter.wait();
        await assert.rejects(limiter.wait(), late);
        await assert.rejects(
          limiter.wait('b', { cost: 3, signal: AbortSignal.abort(new Error('x')) }),
          /x/,
        );
        assert.equal(limiter.usage('b').remaining, 3);
        await clock.advance(2000);
        await waits;
        limiter.allow('', 3);
        const again = limiter.wait();
        await clock.advance(4000);
        await again;
      });

      it('gives back a reservation that nobody reserved after, before its time has come', async () => {
        const { clock, limiter } = open();
        const now = limiter.reserve('', { cost: 3 })!;
        assert.equal(now.delayMs, 0);
        assert.equal(now.cancel(), false, 'its time has come');
        const before = limiter.usage();
        const first = limiter.reserve('', { cost: 2 })!;
        const second = limiter.reserve('', { cost: 2 })!;
        assert.ok(second.delayMs > first.delayMs);
        assert.equal(first.cancel(), false, 'somebody reserved after it');
        assert.equal(second.cancel(), true);
        assert.equal(second.cancel(), false);
        assert.equal(first.cancel(), true);
        assert.deepEqual(limiter.usage(), before);
        await clock.advance(5000);
        assert.equal(limiter.usage().remaining, 3);
      });

      it('tells what remains and when all is there again; a key that was reset has all', async () => {
        const { clock, limiter } = open();
        assert.deepEqual(limiter.usage('a'), { limit: 3, remaining: 3, resetMs: 0 });
        limiter.allow('a', 2);
        const { remaining, resetMs } = limiter.usage('a');
        assert.ok(Math.abs(remaining - 1) < 0.001, `${remaining}`);
        assert.ok(resetMs > 0 && resetMs <= 2000);
        limiter.reset('a');
        assert.deepEqual(limiter.usage('a'), { limit: 3, remaining: 3, resetMs: 0 });
        limiter.allow('a', 3);
        const waits = limiter.wait('a', { cost: 3 });
        await settled();
        limiter.reset('a');
        await clock.advance(1);
        await waits;
      });

      it('refuses what makes no sense at the door, and takes nothing', async () => {
        const { limiter } = open();
        const bad = { code: 'ERR_INVALID_ARGUMENT' };
        for (const cost of [
          0,
          -1,
          Number.NaN,
          Number.POSITIVE_INFINITY,
          3.5,
          '1' as never,
          null as never,
        ]) {
          assert.throws(() => limiter.allow('a', cost), bad, `${cost}`);
          assert.throws(() => limiter.reserve('a', { cost }), bad);
          await assert.rejects(limiter.wait('a', { cost }), bad);
        }
        for (const key of ['k'.repeat(2 ** 20), 7 as never, null as never]) {
          assert.throws(() => limiter.allow(key), bad);
          await assert.rejects(limiter.wait(key), bad);
        }
        for (const maxWait of [-1, Number.NaN, 'soon']) {
          assert.throws(() => limiter.reserve('a', { maxWait }), bad);
          await assert.rejects(limiter.wait('a', { maxWait }), bad);
        }
        assert.equal(limiter.usage('a').remaining, 3);
        for (const rate of [
          '0/s',
          '-1/s',
          '5',
          '5/0s',
          's',
          '',
          'NaN/s',
          '5/y',
          7 as never,
          null as never,
        ]) {
          assert.throws(() => make({ rate }), bad, `${rate}`);
        }
        for (const limit of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
          assert.throws(() => make({ rate: { limit, period: '1s' } }), bad);
        }
        for (const count of [0, -1, 1.5, Number.NaN]) {
          assert.throws(() => make({ rate: '1/s', maxKeys: count }), bad);
          assert.throws(() => make({ rate: '1/s', maxWaiting: count }), bad);
        }
      });

      it('has bounded memory: a key that has all back makes room, a further one is refused', async () => {
        const { clock, limiter } = open({ maxKeys: 100 });
        for (let i = 0; i < 100; i++) assert.equal(limiter.allow(`${i}`).ok, true);
        assert.deepEqual(limiter.allow('further'), { ok: false, retryAfterMs: 1000 });
        await assert.rejects(limiter.wait('further'), { code: 'ERR_RATE_LIMITED' });
        assert.equal(limiter.allow('7').ok, true, 'those that are there go on');
        await clock.advance(3000);
        for (let i = 100; i < 300; i++) {
          assert.equal(limiter.allow(`${i}`).ok, i < 200, `${i}`);
        }
      });

      it('goes on by another rate with what was taken before; a rate that is none changes nothing', async () => {
        const { clock, limiter } = open();
        assert.throws(() => limiter.reconfigure({ rate: '0/s' }), { code: 'ERR_INVALID_ARGUMENT' });
        limiter.allow('a', 3);
        limiter.reconfigure({ rate: '5/s' });
        assert.equal(limiter.allow('a', 4).ok, false);
        assert.equal(limiter.allow('b', 5).ok, true);
        const big = assert.rejects(limiter.wait('b', { cost: 5 }), { code: 'ERR_RATE_LIMITED' });
        let got = -1;
        const small = limiter.wait('b', { cost: 2 }).then(() => {
          got = clock.now();
        });
        await settled();
        limiter.reconfigure({ rate: '2/s' });
        await big;
        await clock.advance(5000);
        await small;
        assert.ok(got >= 999, `${got}`);
        assert.equal(limiter.allow('a', 2).ok, true);
        assert.throws(() => limiter.allow('a', 3), { code: 'ERR_INVALID_ARGUMENT' });
        assert.equal(clock.pending, 0);
      });

      it('goes on where the clock jumps back', async () => {
        const { clock, limiter } = open();
        limiter.allow('', 3);
        clock.stall(-3_600_000);
        assert.equal(limiter.allow().ok, false);
        await clock.advance(2001);
        assert.equal(limiter.allow().ok, true);
      });

      it('ends every wait when it is closed, and leaves no timer or listener', async () => {
        const { clock, limiter } = open();
        limiter.allow('', 3);
        const { signal } = new AbortController();
        let listeners = 0;
        signal.addEventListener = () => void (listeners += 1);
        signal.removeEventListener = () => void (listeners -= 1);
        const waits = [1, 2, 3].map(() =>
          assert.rejects(limiter.wait('', { signal }), { code: 'ERR_CLOSED' }),
        );
        await settled();
        assert.equal(listeners, 3);
        limiter.close();
        limiter.close();
        await Promise.all(waits);
        await assert.rejects(limiter.wait(), { code: 'ERR_CLOSED' });
        assert.equal(listeners, 0);
        assert.equal(clock.pending, 0);
      });
    });
  }
});

describe('what limiters promise', () => {
  const SEEDS = 60;

  it('a token bucket: never more than burst + rate·t in any interval', async () => {
    let total = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = seededRandom(seed);
      const [limit, burst] = [1 + random.below(50), 1 + random.below(20)];
      const periodMs = [1000, 333, 60_000, 7][random.below(4)]!;
      const clock = new VirtualClock();
      const limiter = tokenBucket({ rate: { limit, period: periodMs }, burst, clock });
      const taken = await run(limiter, clock, random, burst);
      total += taken.length;
      assert.equal(overdrawn(taken, burst, limit, periodMs), undefined, `seed ${seed}`);
    }
    assert.ok(total > 40 * SEEDS, `only ${total} were taken`);
  });

  it('a true sliding window: never more than the limit in a window, wherever it begins', async () => {
    let total = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = seededRandom(seed);
      const limit = 1 + random.below(30);
      const periodMs = [1000, 333, 5000, 7][random.below(4)]!;
      const clock = new VirtualClock();
      const limiter = slidingWindow({ rate: { limit, period: periodMs }, clock });
      const taken = await run(limiter, clock, random, limit);
      total += taken.length;
      for (const [i, { ticks }] of taken.entries()) {
        let sum = 0;
        for (const one of taken.slice(i)) {
          if (one.ticks - ticks < periodMs / TICK_MS) sum += one.cost;
        }
        assert.ok(sum <= limit, `seed ${seed}: ${sum} of ${limit} in the window from ${ticks}`);
      }
    }
    assert.ok(total > 40 * SEEDS, `only ${total} were taken`);
  });

  it('a fixed window: never more than the limit in a period of the clock', async () => {
    let total = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = seededRandom(seed);
      const limit = 1 + random.below(30);
      const periodMs = [1000, 333, 5000, 7][random.below(4)]!;
      const clock = new VirtualClock();
      const limiter = fixedWindow({ rate: { limit, period: periodMs }, clock });
      const taken = await run(limiter, clock, random, limit);
      const sums = new Map<number, number>();
      for (const { ticks, cost } of taken) {
        const window = Math.floor(ticks / (periodMs / TICK_MS) + 1e-9);
        sums.set(window, (sums.get(window) ?? 0) + cost);
      }
      total += taken.length;
      assert.ok(Math.max(...sums.values()) <= limit, `seed ${seed}`);
    }
    assert.ok(total > 40 * SEEDS, `only ${total} were taken`);
  });

  it('a true sliding window keeps the newest where it becomes smaller, and all where it grows', async () => {
    const clock = new VirtualClock();
    const limiter = slidingWindow({ rate: '4/s', clock });
    for (let i = 0; i < 6; i++) {
      limiter.allow();
      await clock.advance(300);
    }
    // Taken at 0, 300, 600, 900, 1200 and 1500; now it is 1800.
    limiter.reconfigure({ rate: '3/s' });
    assert.ok(Math.abs(limiter.allow().retryAfterMs - 100) < 0.01);
    limiter.reconfigure({ rate: '5/s' });
    assert.equal(limiter.usage().remaining, 2);
    assert.ok(Math.abs(limiter.allow('', 3).retryAfterMs - 100) < 0.01);
  });

  it('a sliding counter: as much as the two counters say, and under even load the limit', async () => {
    const clock = new VirtualClock();
    const limiter = slidingCounter({ rate: '100/s', clock });
    const at: number[] = [];
    for (let ms = 0; ms < 10_000; ms += 2) {
      if (limiter.allow().ok) at.push(ms);
      await clock.advance(2);
    }
    for (const from of at) {
      const sum = at.filter((ms) => ms >= from && ms < from + 1000).length;
      assert.ok(sum <= 110, `${sum} in the second from ${from} ms`);
    }
    assert.ok(at.length >= 950 && at.length <= 1010, `${at.length} in ten seconds`);
  });

  it('a sliding counter: what the window before took counts for less as this one goes on', async () => {
    const clock = new VirtualClock();
    const limiter = slidingCounter({ rate: '100/s', clock });
    await clock.advance(900);
    assert.equal(limiter.allow('', 100).ok, true);
    assert.equal(limiter.allow('', 1).retryAfterMs, 110);
    await clock.advance(600);
    assert.equal(limiter.usage().remaining, 50);
    assert.deepEqual(limiter.allow('', 60), { ok: false, retryAfterMs: 100 });
    assert.equal(limiter.allow('', 50).ok, true);
    // Of the next window, in which these 50 count for less and less.
    assert.equal(limiter.reserve('', { cost: 75 })!.delayMs, 1000);
  });

  it('a token bucket is not slower than its rate either', async () => {
    for (const rate of ['1000/s', '7/s', '100000/s']) {
      const clock = new VirtualClock();
      const limiter = tokenBucket({ rate, burst: 10, clock });
      const { limit } = rateOf(rate);
      let taken = 0;
      for (let i = 0; i < 20_000; i++) {
        while (limiter.allow().ok) taken += 1;
        clock.stall(1000 / limit / 2);
      }
      const expected = 10 + 10_000;
      assert.ok(taken > expected * 0.999 - 1 && taken <= expected, `${rate}: ${taken}`);
    }
  });

  it('reads rates as people write them', () => {
    assert.deepEqual(rateOf('100/s'), { limit: 100, periodMs: 1000 });
    assert.deepEqual(rateOf('2.5/m'), { limit: 2.5, periodMs: 60_000 });
    assert.deepEqual(rateOf('2.25/m'), { limit: 2.25, periodMs: 60_000 });
    assert.deepEqual(rateOf('1/ms'), { limit: 1, periodMs: 1 });
    assert.deepEqual(rateOf('1/h'), { limit: 1, periodMs: 3_600_000 });
    assert.deepEqual(rateOf('1/d'), { limit: 1, periodMs: 86_400_000 });
    assert.deepEqual(rateOf('10/30s'), { limit: 10, periodMs: 30_000 });
    assert.deepEqual(rateOf('10/1h30m'), { limit: 10, periodMs: 5_400_000 });
    assert.deepEqual(rateOf({ limit: 3, period: 500 }), { limit: 3, periodMs: 500 });
  });
});
