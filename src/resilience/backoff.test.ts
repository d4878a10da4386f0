import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Random, seededRandom } from '../core/random.ts';
import {
  type Backoff,
  backoffOf,
  constantBackoff,
  decorrelatedBackoff,
  exponentialBackoff,
} from './backoff.ts';

/** Draws these shares of the range, over and over. */
function drawing(...shares: number[]): Random {
  let i = 0;
  return { below: (bound) => Math.floor(shares[i++ % shares.length]! * bound), id63: () => 1n };
}

/** The pauses of a call that fails on and on. */
function pauses(backoff: Backoff, count: number, random: Random): number[] {
  const all: number[] = [];
  for (let failed = 1; failed <= count; failed++)
    all.push(backoff(failed, all.at(-1) ?? 0, random));
  return all;
}

const RUNS = 200;

describe('backoff', () => {
  it('constant: is the delay, give or take the jitter, drawn evenly', () => {
    assert.deepEqual(pauses(constantBackoff('50ms'), 3, drawing(0.9)), [50, 50, 50]);
    const backoff = constantBackoff(100, { jitter: '20ms' });
    assert.deepEqual(pauses(backoff, 3, drawing(0, 0.5, 0.75)), [80, 100, 110]);
    const drawn = pauses(backoff, 5000, seededRandom(1));
    assert.ok(drawn.every((ms) => ms >= 80 && ms < 120));
    const mean = drawn.reduce((sum, ms) => sum + ms, 0) / drawn.length;
    assert.ok(Math.abs(mean - 100) < 1, `${mean}`);
  });

  it('constant: is never below nothing where the jitter is more than the delay', () => {
    assert.deepEqual(pauses(constantBackoff(10, { jitter: 40 }), 2, drawing(0, 1)), [0, 50]);
  });

  it('exponential: is drawn from nothing to what has grown by the factor, and never more than the maximum', () => {
    for (let seed = 0; seed < RUNS; seed++) {
      const random = seededRandom(seed);
      const base = 1 + random.below(500);
      const max = base + random.below(20_000);
      const factor = 1 + random.below(300) / 100;
      const drawn = pauses(exponentialBackoff({ base, max, factor }), 2000, random);
      drawn.forEach((ms, i) => {
        const most = Math.min(max, base * factor ** i);
        assert.ok(ms >= 0 && ms <= most, `seed ${seed}: pause ${i} is ${ms}, more than ${most}`);
      });
      const late = drawn.slice(1000);
      const mean = late.reduce((sum, ms) => sum + ms, 0) / late.length;
      if (factor > 1.1) assert.ok(Math.abs(mean / max - 0.5) < 0.06, `seed ${seed}: ${mean / max}`);
    }
  });

  it('exponential: without jitter it is just that', () => {
    const backoff = exponentialBackoff({ base: '10ms', max: '65ms', jitter: 'none' });
    assert.deepEqual(pauses(backoff, 5, drawing(0.1)), [10, 20, 40, 65, 65]);
    assert.equal(backoff(5000, 65, drawing(0)), 65, 'where the power is infinite');
    assert.equal(exponentialBackoff({ base: 0, jitter: 'none' })(5000, 0, drawing(0)), 0);
  });

  it('decorrelated: is drawn from the base to three times the one before, and never more than the maximum', () => {
    for (let seed = 0; seed < RUNS; seed++) {
      const random = seededRandom(seed);
      const base = 1 + random.below(500);
      const max = base + random.below(20_000);
      const drawn = pauses(decorrelatedBackoff({ base, max }), 1000, random);
      drawn.forEach((ms, i) => {
        const most = Math.min(max, 3 * Math.max(base, drawn[i - 1] ?? 0));
        assert.ok(
          ms >= base && ms <= most,
          `seed ${seed}: pause ${i} is ${ms}, not ${base} to ${most}`,
        );
      });
    }
    const ends = pauses(decorrelatedBackoff({ base: 10, max: 500 }), 4, drawing(0.999999999));
    assert.deepEqual(ends.map(Math.round), [30, 90, 270, 500]);
  });

  it('may be a range of one', () => {
    const even = exponentialBackoff({ base: 50, max: 50, factor: 1, jitter: 'none' });
    assert.deepEqual(pauses(even, 3, drawing(0.5)), [50, 50, 50]);
    const drawn = pauses(decorrelatedBackoff({ base: 50, max: 50 }), 3, drawing(0.5));
    assert.deepEqual(drawn, [50, 50, 50]);
  });

  it('is the same again with the same seed', () => {
    for (const backoff of [exponentialBackoff(), decorrelatedBackoff()]) {
      const once = pauses(backoff, 20, seededRandom(7));
      assert.deepEqual(pauses(backoff, 20, seededRandom(7)), once);
      assert.notDeepEqual(pauses(backoff, 20, seededRandom(8)), once);
    }
  });

  it('is made of rules as a file holds them', () => {
    const once = (backoff: Backoff) => pauses(backoff, 5, seededRandom(3));
    for (const [rules, backoff] of [
      [{ kind: 'constant', delay: '1s', jitter: 100 }, constantBackoff('1s', { jitter: 100 })],
      [{ kind: 'exponential', base: 7, factor: 3 }, exponentialBackoff({ base: 7, factor: 3 })],
      [{ kind: 'decorrelated', base: 7, max: 99 }, decorrelatedBackoff({ base: 7, max: 99 })],
    ] as const)
      assert.deepEqual(once(backoffOf(rules)), once(backoff));
    for (const wrong of [{ kind: 'linear' }, {}, 5, 'constant', { kind: 'constant' }])
      assert.throws(() => backoffOf(wrong as never), { code: 'ERR_INVALID_ARGUMENT' });
    const own = (): number => 5;
    assert.equal(backoffOf(own), own);
  });

  it('refuses what makes no sense', () => {
    const code = { code: 'ERR_INVALID_ARGUMENT' };
    for (const factor of [0.9, 0, -1, Number.NaN, Number.POSITIVE_INFINITY])
      assert.throws(() => exponentialBackoff({ factor }), code);
    assert.throws(() => exponentialBackoff({ base: '2s', max: '1s' }), code);
    assert.throws(() => exponentialBackoff({ jitter: 'some' as 'full' }), code);
    assert.throws(() => decorrelatedBackoff({ base: -1 }), code);
    assert.throws(() => decorrelatedBackoff({ max: 50 }), code, 'below the default of base');
    assert.throws(() => constantBackoff(Number.NaN), code);
    assert.throws(() => constantBackoff(1, { jitter: 'much' }), code);
  });
});
