import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Random, seededRandom } from '../core/random.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { LatencyWindow } from './latency.ts';

const PERCENTS = [0, 1, 25, 50, 90, 99, 99.9, 100];

/** From microseconds to an hour, as many in each decade. */
function anyMs(random: Random): number {
  const exponent = random.below(10) - 3;
  return (10 ** exponent * (1 + random.below(9_000_000) / 1_000_000)) / 3;
}

/** The nearest rank of whole microseconds. */
function exactMs(tookMs: readonly number[], percent: number): number {
  const sorted = tookMs.map((ms) => Math.round(ms * 1000)).sort((a, b) => a - b);
  const rank = Math.max(1, Math.ceil((percent * sorted.length) / 100));
  return sorted[rank - 1]! / 1000;
}

describe('latency window', () => {
  it('gives percentiles that are at most 1.6 % from the exact ones', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seededRandom(seed);
      const latency = new LatencyWindow({ clock: new VirtualClock() });
      const tookMs = Array.from({ length: 1 + random.below(3000) }, () => anyMs(random));
      for (const ms of tookMs) latency.record(ms);
      for (const percent of PERCENTS) {
        const exact = exactMs(tookMs, percent);
        const given = latency.percentileMs(percent)!;
        const offMs = Math.abs(given - exact);
        assert.ok(offMs <= exact / 64 + 1e-9, `${seed}: p${percent} ${given} instead of ${exact}`);
      }
    }
  });

  it('is exact where times are below 64 microseconds', () => {
    const latency = new LatencyWindow({ clock: new VirtualClock() });
    for (let us = 0; us < 64; us++) {
      latency.clear();
      latency.record(us / 1000);
      assert.equal(latency.percentileMs(50), us / 1000);
    }
  });

  it('holds number and mean of the window as it slides, whatever came and went', async () => {
    const random = seededRandom(7);
    const clock = new VirtualClock();
    const latency = new LatencyWindow({ window: 1000, slices: 10, clock });
    let all: { slice: number; ms: number }[] = [];
    for (let step = 0; step < 3000; step++) {
      const slice = Math.floor(clock.now() / 100);
      all = all.filter((one) => one.slice > slice - 10);
      if (random.below(4) > 0) {
        const ms = anyMs(random);
        all.push({ slice, ms });
        latency.record(ms);
      }
      assert.equal(latency.count, all.length);
      const sumUs = all.reduce((sum, { ms }) => sum + Math.round(ms * 1000), 0);
      assert.equal(latency.meanMs, all.length === 0 ? undefined : sumUs / all.length / 1000);
      if (all.length > 0) {
        const exact = exactMs(
          all.map(({ ms }) => ms),
          90,
        );
        assert.ok(Math.abs(latency.percentileMs(90)! - exact) <= exact / 64 + 1e-9);
      } else {
        assert.equal(latency.percentileMs(90), undefined);
      }
      clock.stall(random.below(20) === 0 ? random.below(3000) : random.below(60));
    }
  });

  it('forgets in whichever way it is asked', () => {
    const asks = [
      (latency: LatencyWindow) => latency.count || undefined,
      (latency: LatencyWindow) => latency.meanMs,
      (latency: LatencyWindow) => latency.percentileMs(50),
    ];
    for (const ask of asks) {
      const clock = new VirtualClock();
      const latency = new LatencyWindow({ window: 1000, clock });
      latency.record(0.05);
      clock.stall(999);
      assert.notEqual(ask(latency), undefined);
      clock.stall(1);
      assert.equal(ask(latency), undefined);
    }
  });

  it('may be as short and as fine as anybody likes', () => {
    for (const options of [{ window: 0.5 }, { slices: 2 }, { slices: 1000 }]) {
      const latency = new LatencyWindow({ ...options, clock: new VirtualClock() });
      latency.record(0.05);
      assert.equal(latency.percentileMs(100), 0.05);
    }
  });

  it('takes times that are none for 0, and longer ones than 71 minutes for that in percentiles', () => {
    const latency = new LatencyWindow({ clock: new VirtualClock() });
    latency.record(Number.NaN);
    latency.record(-5);
    assert.equal(latency.percentileMs(100), 0);
    latency.record(10 * 3_600_000);
    latency.record(Number.POSITIVE_INFINITY);
    assert.ok(Math.abs(latency.percentileMs(100)! / 60_000 - 71.6) < 1.2);
    assert.equal(latency.count, 4);
  });

  it('stands still while the clock goes back', () => {
    let nowMs = 5000;
    const clock = new VirtualClock();
    clock.now = () => nowMs;
    const latency = new LatencyWindow({ window: 1000, clock });
    latency.record(1);
    nowMs = 0;
    assert.equal(latency.count, 1);
    nowMs = 500;
    assert.equal(latency.count, 1);
    nowMs = 1000;
    assert.equal(latency.count, 0);
  });

  it('refuses windows, slices and percentiles that are none', () => {
    const refused = { code: 'ERR_INVALID_ARGUMENT' };
    for (const window of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 'soon'])
      assert.throws(() => new LatencyWindow({ window }), refused);
    for (const slices of [0, 1, 1.5, 1001, Number.NaN])
      assert.throws(() => new LatencyWindow({ slices }), refused);
    const latency = new LatencyWindow({ clock: new VirtualClock() });
    for (const percent of [-1, 101, Number.NaN])
      assert.throws(() => latency.percentileMs(percent), refused);
  });
});

describe('a window of times', () => {
  it('is exact up to 63 µs, and to one in 64 from there on, up to the longest', () => {
    for (const [us, shown] of [
      [0, 0],
      [1, 1],
      [63, 63],
      [64, 64.5],
      [65, 64.5],
      [66, 66.5],
      [127, 126.5],
      [128, 129.5],
    ] as const) {
      const latency = new LatencyWindow({ clock: new VirtualClock() });
      latency.record(us / 1000);
      assert.equal(latency.percentileMs(50), shown / 1000, `${us} µs`);
    }
    const latency = new LatencyWindow({ clock: new VirtualClock() });
    for (const tookMs of [Number.POSITIVE_INFINITY, 2 ** 40, 4_294_967.295]) {
      latency.record(tookMs);
      const mostMs = latency.percentileMs(100)!;
      assert.ok(mostMs > 4_200_000 && mostMs < 4_300_000, `${mostMs}`);
    }
  });

  it('counts what is no positive number as 0', () => {
    const latency = new LatencyWindow({ clock: new VirtualClock() });
    for (const tookMs of [-5, Number.NaN, 0]) latency.record(tookMs);
    assert.deepEqual([latency.count, latency.meanMs, latency.percentileMs(100)], [3, 0, 0]);
  });
});
