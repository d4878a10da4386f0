import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Histogram } from './histogram.ts';

describe('a histogram of durations', () => {
  it('counts a duration in the first bucket whose bound it is not above', () => {
    const histogram = new Histogram();
    const { boundsMs } = histogram.read();
    for (const [bucket, bound] of boundsMs.entries()) {
      const before = histogram.read().counts;
      histogram.record(bound);
      histogram.record(bound + 1e-9);
      const { counts } = histogram.read();
      assert.equal(counts[bucket], before[bucket]! + 1);
      assert.equal(counts[bucket + 1], before[bucket + 1]! + 1);
    }
    const { counts } = histogram.read();
    assert.equal(counts.length, boundsMs.length + 1);
    assert.equal(
      counts.reduce((sum, count) => sum + count, 0),
      2 * boundsMs.length,
    );
  });

  it('counts what is no positive number as 0, and what is very long in the last bucket', () => {
    const histogram = new Histogram();
    for (const odd of [0, -5, Number.NaN]) histogram.record(odd);
    histogram.record(1e9);
    const { counts, sumMs } = histogram.read();
    assert.deepEqual([counts[0], counts.at(-1), sumMs], [3, 1, 1e9]);
    histogram.record(Number.POSITIVE_INFINITY);
    assert.equal(histogram.read().counts.at(-1), 2);
  });

  it('gives what was read, not what will be', () => {
    const histogram = new Histogram();
    const { counts } = histogram.read();
    histogram.record(1);
    assert.equal(counts[0], 0);
  });
});
