/**
 * How long calls took lately: a histogram with log-linear buckets, as HdrHistogram has them (G. Tene), for each slice of a
 * sliding window and for all of them together. To record is O(1), and memory does not grow with the number of calls.
 */
import { type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid } from '../core/errors.ts';
import { numberWithin, wholeNumber } from '../core/numbers.ts';
import { SteadyClock } from './steady-clock.ts';

/** What a latency window takes. */
export interface LatencyOptions {
  /** How far back it looks; the oldest slice leaves as a whole, so it is up to one slice less. @defaultValue `'10s'` */
  readonly window?: Duration | undefined;
  /** Parts of the window, 2 to 1,000. @defaultValue 10 */
  readonly slices?: number | undefined;
  /** @defaultValue the system's */
  readonly clock?: Pick<Clock, 'now'> | undefined;
}

/** Buckets for each power of two: the middle of one is at most 1/64 (1.6 %) from what is in it. */
const BUCKET_BITS = 5;
const BUCKETS_PER_OCTAVE = 1 << BUCKET_BITS;
/** Of all values of 32 bits: up to 71 minutes in microseconds. */
const BUCKETS = (32 - BUCKET_BITS + 1) * BUCKETS_PER_OCTAVE;
const MAX_US = 2 ** 32 - 1;
/** A year: sums of some millions are still exact. */
const MAX_SUM_US = 2 ** 45;

/**
 * How long calls took in a sliding window: number, mean, percentiles.
 *
 * Number and mean are exact (times are rounded to microseconds); a percentile is at most 1.6 % from the exact one, or half a microsecond where
 * that is more. What takes longer than 71 minutes counts as 71 minutes in percentiles. Takes 4 kB a slice.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a window of no length, or a number of slices that is none.
 * @example
 * ```ts
 * const latency = new LatencyWindow({ window: '10s' });
 * latency.record(12.5);
 * console.log(latency.count, latency.meanMs, latency.percentileMs(99));
 * ```
 */
export class LatencyWindow {
  readonly #time: SteadyClock;
  readonly #sliceMs: number;
  readonly #slices: number;
  /** The buckets of each slice, one after the other. */
  readonly #buckets: Uint32Array;
  readonly #counts: Float64Array;
  /** Microseconds are whole numbers, so that sums stay exact while slices come and go. */
  readonly #sumsUs: Float64Array;
  readonly #all: Uint32Array;
  #count: number;
  #sumUs: number;
  /** Number of the slice that is filled, from the beginning of time. */
  #current: number;
  /** When it is over. */
  #untilMs: number;

  constructor(options: LatencyOptions = {}) {
    const { window = '10s', slices = 10, clock = systemClock } = options;
    const windowMs = durationMs(window, 'window');
    if (windowMs <= 0) throw invalid('window: 0, so that nothing would be in it');
    this.#time = new SteadyClock(clock);
    this.#slices = wholeNumber('slices', slices, 2, 1000);
    this.#sliceMs = windowMs / slices;
    this.#buckets = new Uint32Array(slices * BUCKETS);
    this.#counts = new Float64Array(slices);
    this.#sumsUs = new Float64Array(slices);
    this.#all = new Uint32Array(BUCKETS);
    this.#count = 0;
    this.#sumUs = 0;
    this.#current = 0;
    this.#untilMs = this.#sliceMs;
  }

  /** How many calls are in the window. */
  get count(): number {
    this.#advance();
    return this.#count;
  }

  /** Mean in milliseconds; `undefined` where there is no call. */
  get meanMs(): number | undefined {
    this.#advance();
    return this.#count === 0 ? undefined : this.#sumUs / this.#count / 1000;
  }

  /**
   * Adds a call. What is no positive number counts as 0.
   *
   * @param readMs - the time by its clock, where that was read already: it is most of what this costs
   */
  record(tookMs: number, readMs?: number): void {
    this.#advance(readMs);
    const us = tookMs > 0 ? Math.round(Math.min(tookMs * 1000, MAX_SUM_US)) : 0;
    const slot = this.#current % this.#slices;
    const bucket = bucketOf(Math.min(us, MAX_US));
    this.#buckets[slot * BUCKETS + bucket]! += 1;
    this.#all[bucket]! += 1;
    this.#counts[slot]! += 1;
    this.#sumsUs[slot]! += us;
    this.#count += 1;
    this.#sumUs += us;
  }

  /**
   * The time in milliseconds that `percent` of the calls did not exceed; `undefined` where there is no call.
   *
   * @param percent - from 0 (the shortest) to 100 (the longest)
   * @throws `ERR_INVALID_ARGUMENT` for any other.
   */
  percentileMs(percent: number): number | undefined {
    numberWithin('percent', percent, 0, 100);
    this.#advance();
    if (this.#count === 0) return undefined;
    // The nearest rank. Of a product that is a whole number but for rounding the rank is not one more.
    let left = Math.max(1, Math.ceil((percent / 100) * this.#count - 1e-9));
    let bucket = 0;
    for (; bucket < BUCKETS - 1; bucket++) {
      left -= this.#all[bucket]!;
      if (left <= 0) break;
    }
    return middleUs(bucket) / 1000;
  }

  /** Forgets all calls. */
  clear(): void {
    this.#buckets.fill(0);
    this.#counts.fill(0);
    this.#sumsUs.fill(0);
    this.#all.fill(0);
    this.#count = 0;
    this.#sumUs = 0;
  }

  #advance(readMs?: number): void {
    const nowMs = this.#time.now(readMs);
    if (nowMs < this.#untilMs) return;
    const current = Math.floor(nowMs / this.#sliceMs);
    if (current - this.#current >= this.#slices) this.clear();
    else for (let one = this.#current + 1; one <= current; one++) this.#forget(one % this.#slices);
    this.#current = current;
    this.#untilMs = (current + 1) * this.#sliceMs;
  }

  #forget(slot: number): void {
    if (this.#counts[slot] === 0) return;
    const from = slot * BUCKETS;
    for (let bucket = 0; bucket < BUCKETS; bucket++)
      this.#all[bucket]! -= this.#buckets[from + bucket]!;
    this.#buckets.fill(0, from, from + BUCKETS);
    this.#count -= this.#counts[slot]!;
    this.#sumUs -= this.#sumsUs[slot]!;
    this.#counts[slot] = 0;
    this.#sumsUs[slot] = 0;
  }
}

/** Up to 63 each value has its own bucket; from there on the first six bits decide. */
function bucketOf(us: number): number {
  const shift = Math.max(0, 31 - Math.clz32(us) - BUCKET_BITS);
  return shift * BUCKETS_PER_OCTAVE + (us >>> shift);
}

function middleUs(bucket: number): number {
  if (bucket < 2 * BUCKETS_PER_OCTAVE) return bucket;
  const shift = (bucket >> BUCKET_BITS) - 1;
  const lowest = (bucket - shift * BUCKETS_PER_OCTAVE) * 2 ** shift;
  return lowest + (2 ** shift - 1) / 2;
}
