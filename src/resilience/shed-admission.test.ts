import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ShareAdmission } from './shed-admission.ts';

/** Calls at moments that are given, and a delay that is what the test says. Target 20 ms, interval 100 ms. */
class Bench {
  delayMs = 0;
  asked = 0;
  nowMs = 0;
  readonly admission: ShareAdmission;

  constructor(levels = 1) {
    this.admission = new ShareAdmission(
      () => {
        this.asked += 1;
        return this.delayMs;
      },
      levels,
      20,
      100,
    );
  }

  /** So many calls of each level at once; how many of each came in. */
  offer(...calls: number[]): number[] {
    return calls.map((count, level) => {
      let admitted = 0;
      for (let i = 0; i < count; i++) if (this.admission.admits(level, this.nowMs)) admitted += 1;
      return admitted;
    });
  }

  /** From the first interval on: 100 calls in each, of which it learns. */
  warm(): void {
    this.offer(100);
    this.nowMs += 100;
  }
}

describe('the share that comes in', () => {
  it('is all of it while the delay is what it should be', () => {
    const bench = new Bench();
    for (const delayMs of [0, 5, 19, 20, Number.NaN, -3, Number.POSITIVE_INFINITY]) {
      bench.delayMs = delayMs;
      assert.deepEqual(bench.offer(100), [100]);
      assert.equal(bench.admission.isOverloaded, false);
      bench.nowMs += 100;
    }
    bench.delayMs = -3;
    bench.offer(1);
    assert.equal(bench.admission.delayMs, 0);
  });

  it('is what was done while the delay became longer, less what brings that back', () => {
    const bench = new Bench();
    bench.warm();
    bench.delayMs = 70;
    // Of 100 calls in 100 ms the delay became longer by 70 ms: 100 · 100 / 170 were done. Too long by 50 ms of an interval of 100.
    const [admitted] = bench.offer(1000);
    assert.equal(bench.admission.isOverloaded, true);
    assert.equal(bench.admission.delayMs, 70);
    const share = (100 * (100 / 170) * 0.5) / 100;
    assert.ok(Math.abs(admitted! / 1000 - share) < 0.002, `${admitted}`);
    bench.nowMs += 100;
    // Now it is on its target: what was done is the mean of this and that.
    bench.delayMs = 20;
    const perInterval = admitted!;
    const done = (perInterval * 100) / Math.max(50, 100 - 50);
    const allowed = (100 * (100 / 170) + done) / 2;
    const [next] = bench.offer(1000);
    assert.ok(Math.abs(next! - allowed) < 2, `${next}, not ${allowed}`);
  });

  it('is never nothing', () => {
    const bench = new Bench();
    bench.warm();
    bench.delayMs = 1e6;
    const [admitted] = bench.offer(1000);
    // A twentieth of the least that can have been done, and at least one of those that came before.
    assert.equal(admitted, 10);
  });

  it('grows by a quarter where the delay says nothing of what can be done, until all may come', () => {
    const bench = new Bench();
    bench.warm();
    bench.delayMs = 70;
    const shares: number[] = [];
    for (let i = 0; i < 9; i++) {
      shares.push(bench.offer(100)[0]!);
      bench.nowMs += 100;
      bench.delayMs = 5;
    }
    let allowed = 100 * (100 / 170) * 0.5;
    const wanted = shares.map((_, i) => {
      if (i > 0) allowed = allowed * 1.25 + 1;
      return allowed > 120 ? 100 : Math.min(100, Math.floor(allowed));
    });
    for (const [i, share] of shares.entries()) {
      assert.ok(Math.abs(share - wanted[i]!) <= 2, `${shares}, not ${wanted}`);
    }
    assert.equal(shares.at(-1), 100);
    assert.equal(bench.admission.isOverloaded, false);
  });

  it('is given to those that matter most', () => {
    for (const [delayMs, wanted] of [
      [25, [100, 100, 100, 4]],
      [70, [100, 17.6, 0, 0]],
    ] as const) {
      const bench = new Bench(4);
      bench.offer(100, 100, 100, 100);
      bench.nowMs += 100;
      bench.delayMs = delayMs;
      const all = 400 * (100 / (100 + delayMs)) * (1 - (delayMs - 20) / 100);
      const admitted = bench.offer(100, 100, 100, 100);
      const sum = admitted.reduce((a, b) => a + b);
      assert.ok(Math.abs(sum - all) < 2, `${sum}, not ${all}`);
      for (const [level, share] of wanted.entries()) {
        if (share === 0 || share === 100) assert.equal(admitted[level], share);
      }
    }
  });

  it('is spread evenly, not by chance', () => {
    const bench = new Bench();
    bench.warm();
    bench.delayMs = 70;
    bench.offer(1);
    let since = 0;
    for (let i = 0; i < 500; i++) {
      since += 1;
      if (!bench.admission.admits(0, bench.nowMs)) continue;
      assert.ok(since >= 3 && since <= 4, `${since}`);
      since = 0;
    }
  });

  it('is looked at once an interval, and after a quarter of one where many come', () => {
    const bench = new Bench();
    bench.offer(1);
    assert.equal(bench.asked, 1);
    bench.nowMs = 99;
    bench.offer(18);
    assert.equal(bench.asked, 1, 'few calls');
    bench.nowMs = 100;
    bench.offer(1);
    assert.equal(bench.asked, 2);
    bench.nowMs = 124;
    bench.offer(100);
    assert.equal(bench.asked, 2, 'less than a quarter');
    bench.nowMs = 125;
    bench.offer(1);
    assert.equal(bench.asked, 3);
    bench.nowMs = 150;
    bench.offer(18, 0);
    assert.equal(bench.asked, 3);
    bench.offer(1, 0);
    assert.equal(bench.asked, 3, 'nineteen and one are twenty: the next looks');
    bench.offer(1, 0);
    assert.equal(bench.asked, 4);
  });

  it('is all of it again where nobody came for ten intervals', () => {
    for (const [pauseMs, isForgotten] of [
      [1000, false],
      [1001, true],
    ] as const) {
      const bench = new Bench();
      bench.warm();
      bench.delayMs = 70;
      bench.offer(100);
      bench.nowMs += pauseMs;
      bench.offer(1);
      assert.equal(bench.admission.isOverloaded, !isForgotten, `${pauseMs}`);
    }
  });

  it('counts by the time since it was looked at last, however long that is', () => {
    const bench = new Bench();
    bench.offer(1);
    bench.nowMs = 200;
    bench.offer(200);
    bench.nowMs = 400;
    bench.delayMs = 70;
    // 100 an interval; longer by 70 ms in 200.
    const [admitted] = bench.offer(1000);
    const share = ((100 * 200) / 270) * 0.5;
    assert.ok(Math.abs(admitted! / 10 - share) < 1, `${admitted}, not ${share}`);
  });
});
