/**
 * The latest calls as a circuit breaker counts them. To record is O(1) (amortised for slices of time), however many
 * calls the window holds: what leaves a ring is subtracted from the sums.
 */

/** A window of results. Its sums are plain fields: the breaker looks at them after each call. */
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

/** Numbers of a slice: calls, failures, slow calls, microseconds. */
const COLUMNS = 4;

/** The calls of the last while, in slices: the oldest leaves as a whole. */
export class TimeWindow implements ResultWindow {
  readonly #rows: Float64Array;
  readonly #slices: number;
  readonly #sliceMs: number;
  /** Number of the slice that is filled, from the beginning of time. */
  #current: number;
  calls: number;
  failures: number;
  slow: number;
  totalUs: number;

  constructor(lengthMs: number, slices: number) {
    this.#rows = new Float64Array(slices * COLUMNS);
    this.#slices = slices;
    this.#sliceMs = lengthMs / slices;
    this.#current = 0;
    this.calls = 0;
    this.failures = 0;
    this.slow = 0;
    this.totalUs = 0;
  }

  record(nowMs: number, isFailure: boolean, isSlow: boolean, tookMs: number): void {
    this.advance(nowMs);
    const at = (this.#current % this.#slices) * COLUMNS;
    const rows = this.#rows;
    const us = microseconds(tookMs);
    rows[at]! += 1;
    this.calls += 1;
    if (isFailure) {
      rows[at + 1]! += 1;
      this.failures += 1;
    }
    if (isSlow) {
      rows[at + 2]! += 1;
      this.slow += 1;
    }
    rows[at + 3]! += us;
    this.totalUs += us;
  }

  advance(nowMs: number): void {
    const current = Math.floor(nowMs / this.#sliceMs);
    if (current === this.#current) return;
    if (current - this.#current >= this.#slices) this.clear();
    else for (let one = this.#current + 1; one <= current; one++) this.#forget(one % this.#slices);
    this.#current = current;
  }

  clear(): void {
    this.#rows.fill(0);
    this.calls = 0;
    this.failures = 0;
    this.slow = 0;
    this.totalUs = 0;
  }

  #forget(slot: number): void {
    const rows = this.#rows;
    const at = slot * COLUMNS;
    this.calls -= rows[at]!;
    this.failures -= rows[at + 1]!;
    this.slow -= rows[at + 2]!;
    this.totalUs -= rows[at + 3]!;
    rows.fill(0, at, at + COLUMNS);
  }
}

function microseconds(ms: number): number {
  return Math.round(Math.min(ms * 1000, MAX_US));
}
