import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AdaptiveLimit, type Said } from './adaptive-limit.ts';

/** A limit, and calls that begin together and end together. */
class Bench {
  nowMs = 0;
  readonly limit: AdaptiveLimit;

  constructor(initial = 100, min = 1, max = 1000) {
    this.limit = new AdaptiveLimit(initial, min, max);
  }

  /** So many begin now, and end after a while, these first. Nobody else runs. */
  batch(calls: number, tookMs: number, ...first: Said[]): void {
    const beganMs = this.begin(calls);
    this.nowMs += tookMs;
    this.end(beganMs, calls, 0, ...first);
    this.nowMs += 1;
  }

  begin(calls: number, alreadyRunning = 0): number {
    for (let i = 1; i <= calls; i++) this.limit.onBegin(this.nowMs, alreadyRunning + i);
    return this.nowMs;
  }

  end(beganMs: number, calls: number, leftRunning: number, ...first: Said[]): void {
    for (let i = 0; i < calls; i++) {
      const said = first[i] ?? 'success';
      this.limit.onEnd(said, beganMs, this.nowMs, leftRunning + calls - 1 - i);
    }
  }

  requireLimit(limit: number): void {
    assert.equal(this.limit.limit, Math.floor(limit));
  }
}

const near = (actual: number | undefined, wanted: number): void => {
  assert.ok(Math.abs(actual! - wanted) < 1e-9, `${actual}, not ${wanted}`);
};

describe('an adaptive limit, cohort by cohort', () => {
  it('grows by half of its root while calls take what they took', () => {
    const bench = new Bench();
    bench.batch(100, 150);
    bench.requireLimit(105);
    near(bench.limit.unloadedMs, 150);
    near(bench.limit.loadedMs, 150);
    bench.batch(105, 150);
    bench.requireLimit(105 + Math.sqrt(105) / 2);
    // A fifth longer is no reason yet.
    const before = 105 + Math.sqrt(105) / 2;
    bench.batch(110, 180);
    near(bench.limit.loadedMs, 180);
    bench.limit.setBounds(1, 1000);
    assert.equal(
      bench.limit.limit,
      Math.ceil((before + Math.sqrt(before) / 2) / 2),
      'a probe is due',
    );
  });

  it('goes half of the way to what the gradient says, which is at least a half', () => {
    for (const [tookMs, gradient] of [
      [160, 0.75],
      [240, 0.5],
      [900, 0.5],
    ] as const) {
      const bench = new Bench();
      bench.batch(100, 100);
      bench.batch(105, tookMs);
      near(bench.limit.loadedMs, tookMs);
      near(bench.limit.unloadedMs, 100);
      const wanted = 105 * gradient + Math.sqrt(105);
      bench.requireLimit(105 + (wanted - 105) / 2);
    }
  });

  it('takes a twentieth of what is quicker than without load', () => {
    const bench = new Bench();
    bench.batch(100, 200);
    bench.batch(100, 120);
    near(bench.limit.unloadedMs, 196);
    near(bench.limit.loadedMs, 120);
    bench.batch(19, 120);
    near(bench.limit.unloadedMs, 196);
  });

  it('is lowered by half of the share that says there is too much to do, and has no room to grow then', () => {
    const bench = new Bench();
    bench.batch(100, 150, ...new Array<Said>(38).fill('overload'));
    // It ends with the 95th.
    bench.requireLimit(100 + (100 * (1 - 38 / 95 / 2) - 100) / 2);
    near(bench.limit.loadedMs, 150);
    const all = new Bench();
    all.batch(100, 150, ...new Array<Said>(100).fill('overload'));
    all.requireLimit(75);
    assert.equal(all.limit.loadedMs, undefined);
    assert.equal(all.limit.unloadedMs, undefined);
  });

  it('stays where fewer than half of it want to run', () => {
    const bench = new Bench();
    bench.batch(49, 150);
    bench.requireLimit(100);
    near(bench.limit.unloadedMs, 150);
    const enough = new Bench();
    enough.batch(50, 150);
    enough.requireLimit(105);
  });

  it('waits for twenty calls and a tenth of a second', () => {
    const bench = new Bench(20);
    bench.batch(19, 150);
    assert.equal(bench.limit.loadedMs, undefined);
    bench.batch(1, 10);
    near(bench.limit.loadedMs, (19 * 150 + 10) / 20);
    const quick = new Bench(20);
    quick.batch(40, 50);
    assert.equal(quick.limit.loadedMs, undefined);
    quick.batch(20, 48);
    assert.equal(quick.limit.loadedMs, undefined, 'a moment before');
    quick.batch(20, 48);
    assert.notEqual(quick.limit.loadedMs, undefined);
    const second = new Bench(20);
    second.batch(20, 150);
    second.batch(40, 50);
    near(second.limit.loadedMs, 150);
  });

  it('is told nothing by calls that began in another cohort', () => {
    const bench = new Bench(100);
    const beganMs = bench.begin(100);
    bench.nowMs = 150;
    bench.end(beganMs, 95, 5);
    near(bench.limit.loadedMs, 150);
    bench.nowMs = 200;
    const nextMs = bench.begin(100, 5);
    bench.nowMs = 400;
    // Those that are left of the first, and what began when the second was whole.
    bench.end(beganMs, 5, 100);
    const lateMs = bench.begin(10, 100);
    bench.nowMs = 410;
    bench.end(lateMs, 10, 100);
    near(bench.limit.loadedMs, 150);
    bench.nowMs = 500;
    bench.end(nextMs, 95, 5);
    near(bench.limit.loadedMs, 300);
  });

  it('takes a cohort as it is after five seconds, though some hang', () => {
    const bench = new Bench(100);
    const beganMs = bench.begin(100);
    bench.nowMs = 150;
    bench.end(beganMs, 50, 50);
    assert.equal(bench.limit.loadedMs, undefined);
    bench.nowMs = 5000;
    bench.end(beganMs, 1, 49);
    assert.equal(bench.limit.loadedMs, undefined);
    bench.nowMs = 5001;
    bench.end(beganMs, 1, 48);
    near(bench.limit.loadedMs, (50 * 150 + 5000 + 5001) / 52);
  });

  it('counts the time of a call that failed only where it is longer than what is known', () => {
    const bench = new Bench(20);
    bench.batch(20, 100);
    near(bench.limit.loadedMs, 100);
    bench.batch(20, 100, 'nothing', 'nothing');
    near(bench.limit.loadedMs, 100);
    const beganMs = bench.begin(20);
    bench.nowMs += 100;
    bench.end(beganMs, 10, 10);
    bench.nowMs += 100;
    bench.end(beganMs, 10, 0, 'nothing');
    // The last of the nine that are counted ends it.
    near(bench.limit.loadedMs, (10 * 100 + 9 * 200) / 19);
    // What says that there is too much to do is quick, or has timed out: that is no measure.
    const busy = new Bench(20);
    busy.batch(20, 100);
    const busyMs = busy.begin(20);
    busy.nowMs += 100;
    busy.end(busyMs, 10, 10);
    busy.nowMs += 100;
    busy.end(busyMs, 10, 0, ...new Array<Said>(10).fill('overload'));
    near(busy.limit.loadedMs, 100);
    const unknown = new Bench(20);
    unknown.batch(20, 100, ...new Array<Said>(20).fill('nothing'));
    assert.equal(unknown.limit.loadedMs, undefined);
  });

  it('stays in its bounds, also new ones', () => {
    const bench = new Bench(100, 90, 101);
    bench.batch(100, 150);
    bench.requireLimit(101);
    bench.limit.setBounds(1, 50);
    bench.requireLimit(50);
    bench.limit.setBounds(60, 100);
    bench.requireLimit(60);
    bench.batch(60, 1500);
    bench.batch(60, 1500, ...new Array<Said>(60).fill('overload'));
    assert.ok(bench.limit.limit >= 60);
  });
});

describe('what calls take without load', () => {
  /** Three cohorts, after which it is looked for; and the end of the calls that still run. */
  function due(tookMs: number, initial = 100): Bench {
    const bench = new Bench(initial);
    for (let i = 0; i < 2; i++) bench.batch(initial, tookMs);
    const beganMs = bench.begin(initial);
    bench.nowMs += tookMs;
    const inTime = Math.ceil(initial * 0.95);
    bench.end(beganMs, inTime, initial - inTime);
    return bench;
  }

  const grown = (limit: number, times: number): number => {
    let now = limit;
    for (let i = 0; i < times; i++) now += Math.sqrt(now) / 2;
    return now;
  };

  it('is looked for with half of the limit, when as few run', () => {
    const bench = due(150);
    const half = Math.ceil(grown(100, 3) / 2);
    assert.equal(bench.limit.limit, half);
    // Draining: more still run than half of it.
    const beganMs = bench.begin(60);
    bench.nowMs += 10;
    bench.end(beganMs, 1, half + 1);
    const tooSoonMs = bench.begin(1);
    bench.nowMs += 1;
    bench.end(beganMs, 1, half);
    bench.nowMs += 10;
    // What began before the probe says nothing.
    bench.end(beganMs, 20, half);
    bench.end(tooSoonMs, 1, half);
    const probedMs = bench.begin(50);
    bench.nowMs += 130;
    bench.end(probedMs, 47, half);
    near(bench.limit.unloadedMs, 150);
    bench.end(probedMs, 1, half);
    near(bench.limit.unloadedMs, 140);
    assert.equal(bench.limit.limit, Math.floor(grown(100, 3)), 'back to all of it');
    near(bench.limit.loadedMs, 150);
  });

  function probe(bench: Bench, tookMs: number, ...first: Said[]): void {
    bench.limit.onEnd('nothing', -1, bench.nowMs, 0);
    bench.nowMs += 1;
    bench.batch(50, tookMs, ...first);
  }

  it('is what was measured where that is far from what was known', () => {
    for (const [tookMs, unloadedMs] of [
      [76, 113],
      [150, 150],
      [224, 187],
      [226, 226],
      [95, 122.5],
    ] as const) {
      const bench = due(150);
      probe(bench, tookMs);
      // Below 0.6 of 150 it waits for each other still.
      near(bench.limit.unloadedMs, tookMs < 90 ? tookMs : unloadedMs);
    }
  });

  it('is still none where half of the calls take much less, and the limit is halved', () => {
    const bench = due(300);
    probe(bench, 179);
    const half = Math.ceil(grown(100, 3) / 2);
    bench.requireLimit(half);
    near(bench.limit.unloadedMs, 179);
    // Again after three cohorts.
    for (let i = 0; i < 2; i++) {
      bench.batch(half, 179);
      assert.ok(bench.limit.limit >= half);
    }
    bench.batch(half, 179);
    assert.equal(bench.limit.limit, Math.ceil(grown(half, 3) / 2));
  });

  it('stays as it was where all calls of the probe failed', () => {
    const bench = due(150);
    probe(bench, 130, ...new Array<Said>(50).fill('overload'));
    near(bench.limit.unloadedMs, 150);
    bench.requireLimit(grown(100, 3));
  });

  it('is looked for again after ten seconds, where there is load', () => {
    for (const [tookMs, isProbed] of [
      [165, false],
      [166, true],
    ] as const) {
      const bench = due(150);
      probe(bench, 150);
      const fromMs = bench.nowMs - 1;
      const isProbing = (): boolean => {
        const before = bench.limit.limit;
        bench.limit.setBounds(1, 100_000);
        return before < 80;
      };
      bench.limit.setBounds(100, 100);
      bench.limit.setBounds(1, 100);
      while (bench.nowMs + tookMs < fromMs + 10_000) {
        bench.batch(100, tookMs);
        assert.equal(isProbing(), false, `${bench.nowMs - fromMs}`);
        bench.limit.setBounds(1, 100);
      }
      bench.batch(100, tookMs);
      assert.equal(isProbing(), isProbed, `${tookMs}`);
    }
  });

  it('is given up where too many run for too long', () => {
    const bench = due(150);
    const beganMs = bench.begin(90);
    const half = bench.limit.limit;
    bench.nowMs += 5000;
    bench.end(beganMs, 1, 80);
    assert.equal(bench.limit.limit, half);
    bench.nowMs += 1;
    bench.end(beganMs, 1, 79);
    bench.requireLimit(grown(100, 3));
  });

  it('is looked for with no less than the least limit', () => {
    const bench = new Bench(100, 80);
    for (let i = 0; i < 3; i++) bench.batch(100, 150);
    assert.equal(bench.limit.limit, 80);
  });
});
