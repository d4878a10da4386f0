/**
 * The latest calls as a circuit breaker counts them. To record is O(1) (amortised over slices of time), however many
 * calls the window holds: what leaves it is subtracted from the sums.
 */

import { SlidingSums } from '../sliding-sums.ts';

/** A window of results. The breaker looks at its sums after each call. */
export interface ResultWindow {
  readonly calls: number;
  readonly failures: number;
  /** Calls that took too long, whether they failed or not. */
  readonly slow: number;
  /** How long all of them took, in microseconds: whole numbers, so that the sum stays exact. */
  readonly totalUs: number;
  record(nowMs: number, isFailure: boolean, isSlow: boolean, tookMs: number): void;
  /** Forgets what is too old. */
  advance(nowMs: number): void;
  clear(): void;
}

const FAILED = 1;
const SLOW = 2;
/** A call that takes longer counts as a year: sums of some millions are still exact. */
const MAX_US = 2 ** 45;

/** The last `size` calls. */
export class CountWindow implements ResultWindow {
  readonly #flags: Uint8Array;
  readonly #tookUs: Float64Array;
  readonly #size: number;
  #next: number;
  calls: number;
  failures: number;
  slow: number;
  totalUs: number;

  constructor(size: number) {
    this.#flags = new Uint8Array(size);
    this.#tookUs = new Float64Array(size);
    this.#size = size;
    this.#next = 0;
    this.calls = 0;
    this.failures = 0;
    this.slow = 0;
    this.totalUs = 0;
  }

  record(_nowMs: number, isFailure: boolean, isSlow: boolean, tookMs: number): void {
    const at = this.#next;
    this.#next = at + 1 === this.#size ? 0 : at + 1;
    // A place that was never used holds zeros.
    const old = this.#flags[at]!;
    if (this.calls < this.#size) this.calls += 1;
    const flags = (isFailure ? FAILED : 0) | (isSlow ? SLOW : 0);
    this.failures += (flags & FAILED) - (old & FAILED);
    this.slow += ((flags & SLOW) - (old & SLOW)) / SLOW;
    this.#flags[at] = flags;
    const us = microseconds(tookMs);
    this.totalUs += us - this.#tookUs[at]!;
    this.#tookUs[at] = us;
  }

  advance(): void {
    // Time alone does not make calls old here.
  }

  clear(): void {
    this.#flags.fill(0);
    this.#tookUs.fill(0);
    this.#next = 0;
    this.calls = 0;
    this.failures = 0;
    this.slow = 0;
    this.totalUs = 0;
  }
}

/** Columns of the sums. */
const CALLS = 0;
const FAILURES = 1;
const SLOW_CALLS = 2;
const TOTAL_US = 3;

/** The calls of the last while, in slices: the oldest leaves as a whole. */
export class TimeWindow implements ResultWindow {
  readonly #sums: SlidingSums;

  constructor(lengthMs: number, slices: number) {
    this.#sums = new SlidingSums(4, lengthMs, slices);
  }

  get calls(): number {
    return this.#sums.totals[CALLS]!;
  }

  get failures(): number {
    return this.#sums.totals[FAILURES]!;
  }

  get slow(): number {
    return this.#sums.totals[SLOW_CALLS]!;
  }

  get totalUs(): number {
    return this.#sums.totals[TOTAL_US]!;
  }

  record(nowMs: number, isFailure: boolean, isSlow: boolean, tookMs: number): void {
    const sums = this.#sums;
    sums.advance(nowMs);
    sums.add(CALLS, 1);
    if (isFailure) sums.add(FAILURES, 1);
    if (isSlow) sums.add(SLOW_CALLS, 1);
    if (tookMs > 0) sums.add(TOTAL_US, microseconds(tookMs));
  }

  advance(nowMs: number): void {
    this.#sums.advance(nowMs);
  }

  clear(): void {
    this.#sums.clear();
  }
}

function microseconds(ms: number): number {
  return Math.round(Math.min(ms * 1000, MAX_US));
}
