import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../../core/random.ts';
import { CountWindow, type ResultWindow, TimeWindow } from './window.ts';

interface Result {
  readonly atMs: number;
  readonly isFailure: boolean;
  readonly isSlow: boolean;
  readonly tookMs: number;
}

function requireSums(window: ResultWindow, results: readonly Result[]): void {
  assert.equal(window.calls, results.length);
  assert.equal(window.failures, results.filter(({ isFailure }) => isFailure).length);
  assert.equal(window.slow, results.filter(({ isSlow }) => isSlow).length);
  const totalUs = results.reduce((sum, { tookMs }) => sum + Math.round(tookMs * 1000), 0);
  assert.equal(window.totalUs, totalUs);
}

/** Records at random, and compares with what `inWindow` keeps of all results. */
function play(
  seed: number,
  window: ResultWindow,
  inWindow: (results: readonly Result[], nowMs: number) => Result[],
): void {
  const random = seededRandom(seed);
  let results: Result[] = [];
  let nowMs = 0;
  for (let step = 0; step < 1500; step++) {
    const result = {
      atMs: nowMs,
      isFailure: random.below(2) === 0,
      isSlow: random.below(3) === 0,
      tookMs: random.below(1e6) / 777,
    };
    results.push(result);
    window.record(nowMs, result.isFailure, result.isSlow, result.tookMs);
    results = inWindow(results, nowMs);
    requireSums(window, results);
    nowMs += random.below(30) === 0 ? random.below(3000) : random.below(40);
    // To record moves on by itself.
    if (random.below(2) === 0) continue;
    window.advance(nowMs);
    results = inWindow(results, nowMs);
    requireSums(window, results);
    if (random.below(400) > 0) continue;
    window.clear();
    results = [];
    requireSums(window, results);
  }
}

describe('windows of results', () => {
  it('hold the last calls, with sums that stay exact', () => {
    for (const size of [1, 2, 7, 100]) {
      play(size, new CountWindow(size), (results) => results.slice(-size));
    }
  });

  it('hold the calls of the last slices of time, with sums that stay exact', () => {
    for (const [seed, slices] of [2, 3, 10, 50].entries()) {
      const sliceMs = 1000 / slices;
      play(seed, new TimeWindow(1000, slices), (results, nowMs) => {
        const oldest = Math.floor(nowMs / sliceMs) - slices + 1;
        return results.filter(({ atMs }) => Math.floor(atMs / sliceMs) >= oldest);
      });
    }
  });

  it('count a call that took for ever as a year, and stay exact', () => {
    const window = new CountWindow(2);
    window.record(0, false, true, Number.POSITIVE_INFINITY);
    assert.equal(window.totalUs, 2 ** 45);
    window.record(0, false, false, 1.5);
    window.record(0, false, false, 2);
    assert.equal(window.totalUs, 3500);
  });
});
