/** How limits count, apart from keys, waiting and clocks. */

/**
 * A way to count. What it knows of a key is a row of numbers in a table; a row of zeros is a key that was never used.
 * Times are milliseconds that start at 0 and never go back; what was taken may lie in the future.
 */
export interface LimitAlgorithm {
  /** Numbers in a row. */
  readonly columns: number;
  /** What may be taken at once by a key that was never used. */
  readonly limit: number;
  /** Whether only whole numbers can be taken. */
  readonly whole: boolean;
  /** The first moment from `nowMs` on at which `cost`, at most `limit`, may be taken after all that was. */
  earliest(rows: Float64Array, at: number, cost: number, nowMs: number): number;
  /** Takes `cost` at a moment that `earliest` gave, or later. */
  take(rows: Float64Array, at: number, cost: number, whenMs: number): void;
  /** What may be taken at `nowMs`. */
  remaining(rows: Float64Array, at: number, nowMs: number): number;
  /** From this moment on it is as if it was never used. */
  idleAt(rows: Float64Array, at: number): number;
  /** Time begins so much later: for windows of the clock a whole number of periods. Where a row is kept for years its numbers stay small, and so exact. */
  shift(rows: Float64Array, at: number, byMs: number): void;
  /** Fills a row of zeros with what a row of the same way to count, with other rules and more or fewer columns, tells. */
  carry?(
    old: Pick<LimitAlgorithm, 'limit'>,
    from: Float64Array,
    at: number,
    to: Float64Array,
    toAt: number,
  ): void;
}

/**
 * Rounding is against the caller: times are fractions of up to a nanosecond or two after three months of uptime, so each
 * interval is that much longer, and what looks full by less than half of it is not. Intervals of months have fewer places for
 * fractions: a share of them is added.
 */
const SLOWER_MS = 2 ** -18;
const SLOWER = 1 + 2 ** -48;
const SLACK_MS = 2 ** -19;
const SLACK = 1 + 2 ** -50;

/**
 * The token bucket, as the generic cell rate algorithm (GCRA; ATM Forum TM 4.0 §4.4.2) keeps it: the one number of
 * a key is the moment at which its bucket is full again. In any interval of length t at most `burst + rate·t` is taken.
 */
export class BucketAlgorithm implements LimitAlgorithm {
  readonly columns = 1;
  readonly limit: number;
  readonly whole = false;
  /** Between two tokens. */
  readonly #intervalMs: number;
  /** So far ahead of now the bucket may be full again: the burst. */
  readonly #aheadMs: number;

  constructor(perMs: number, burst: number) {
    this.limit = burst;
    this.#intervalMs = SLOWER / perMs + SLOWER_MS;
    this.#aheadMs = burst * this.#intervalMs * SLACK + SLACK_MS;
  }

  earliest(rows: Float64Array, at: number, cost: number, nowMs: number): number {
    const fullMs = Math.max(rows[at]!, nowMs) + cost * this.#intervalMs;
    return Math.max(nowMs, fullMs - this.#aheadMs);
  }

  take(rows: Float64Array, at: number, cost: number, whenMs: number): void {
    rows[at] = Math.max(rows[at]!, whenMs) + cost * this.#intervalMs;
  }

  remaining(rows: Float64Array, at: number, nowMs: number): number {
    const usedMs = Math.max(0, rows[at]! - nowMs - SLACK_MS);
    return Math.max(0, this.limit - usedMs / this.#intervalMs);
  }

  idleAt(rows: Float64Array, at: number): number {
    return rows[at]!;
  }

  shift(rows: Float64Array, at: number, byMs: number): void {
    rows[at] = Math.max(0, rows[at]! - byMs);
  }
}

/**
 * The true sliding window: in no window of the period, wherever it begins, is more than `limit` taken. A row is a ring of
 * the last `limit` units, each with the moment until which it counts, after the place of the oldest.
 */
export class SlidingWindowAlgorithm implements LimitAlgorithm {
  readonly columns: number;
  readonly limit: number;
  readonly whole = true;
  readonly #periodMs: number;

  constructor(limit: number, periodMs: number) {
    this.limit = limit;
    this.columns = limit + 1;
    this.#periodMs = periodMs + SLOWER_MS;
  }

  earliest(rows: Float64Array, at: number, cost: number, nowMs: number): number {
    // They leave in the order in which they came: when this one has left there is room for all of the cost.
    return Math.max(nowMs, rows[at + 1 + ((rows[at]! + cost - 1) % this.limit)]!);
  }

  take(rows: Float64Array, at: number, cost: number, whenMs: number): void {
    let oldest = rows[at]!;
    for (let taken = 0; taken < cost; taken++) {
      rows[at + 1 + oldest] = whenMs + this.#periodMs;
      oldest = oldest + 1 === this.limit ? 0 : oldest + 1;
    }
    rows[at] = oldest;
  }

  remaining(rows: Float64Array, at: number, nowMs: number): number {
    // By halves: from the oldest on they are in order.
    const oldest = rows[at]!;
    let [low, high] = [0, this.limit];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[at + 1 + ((oldest + middle) % this.limit)]! <= nowMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  carry(
    old: Pick<LimitAlgorithm, 'limit'>,
    from: Float64Array,
    at: number,
    to: Float64Array,
    toAt: number,
  ): void {
    // The newest that there is room for, the oldest of them first.
    const count = Math.min(old.limit, this.limit);
    for (let i = 0; i < count; i++) {
      const newer = from[at]! + old.limit - count + i;
      to[toAt + 1 + this.limit - count + i] = from[at + 1 + (newer % old.limit)]!;
    }
  }

  idleAt(rows: Float64Array, at: number): number {
    const newest = rows[at] === 0 ? this.limit : rows[at]!;
    return rows[at + newest]!;
  }

  shift(rows: Float64Array, at: number, byMs: number): void {
    for (let i = 1; i < this.columns; i++) rows[at + i] = Math.max(0, rows[at + i]! - byMs);
  }
}

/**
 * The number of the window of the clock in which a moment is. One that was counted as the beginning of a window is in it, however
 * it was rounded.
 */
function windowOf(ms: number, periodMs: number): number {
  return Math.floor((ms / periodMs) * (1 + 2 ** -51) + 1e-9);
}

/**
 * The fixed window: at most `limit` in each period of the clock; so up to twice that around the edge of two. A row is the
 * beginning of a window, and what was taken in it; more than `limit` reaches into the windows after it. (Its beginning, not its
 * number: that would be another time after the period was changed.)
 */
export class FixedWindowAlgorithm implements LimitAlgorithm {
  readonly columns = 2;
  readonly limit: number;
  readonly whole = false;
  readonly #periodMs: number;

  constructor(limit: number, periodMs: number) {
    this.limit = limit;
    this.#periodMs = periodMs;
  }

  earliest(rows: Float64Array, at: number, cost: number, nowMs: number): number {
    const window = this.#windowOf(nowMs);
    const used = this.#used(rows, at, window);
    if (used + cost <= this.limit) return nowMs;
    return Math.max(nowMs, (window + this.#ahead(used, cost)) * this.#periodMs);
  }

  take(rows: Float64Array, at: number, cost: number, whenMs: number): void {
    const window = this.#windowOf(whenMs);
    // What the last window had left is not carried into a later one.
    rows[at + 1] = this.#used(rows, at, window) + cost;
    rows[at] = window * this.#periodMs;
  }

  remaining(rows: Float64Array, at: number, nowMs: number): number {
    return Math.max(0, this.limit - this.#used(rows, at, this.#windowOf(nowMs)));
  }

  idleAt(rows: Float64Array, at: number): number {
    if (rows[at + 1] === 0) return 0;
    const window = this.#windowOf(rows[at]!);
    return (window + Math.ceil(rows[at + 1]! / this.limit)) * this.#periodMs;
  }

  shift(rows: Float64Array, at: number, byMs: number): void {
    rows[at]! -= byMs;
  }

  /** What is taken in a window, and after it. */
  #used(rows: Float64Array, at: number, window: number): number {
    return Math.max(0, rows[at + 1]! - this.limit * (window - this.#windowOf(rows[at]!)));
  }

  /** How many windows on there is room: what is taken at once is taken in one. */
  #ahead(used: number, cost: number): number {
    const full = Math.floor(used / this.limit);
    return used - full * this.limit + cost <= this.limit ? full : full + 1;
  }

  #windowOf(ms: number): number {
    return windowOf(ms, this.#periodMs);
  }
}

/**
 * The sliding window, approximated by two counters for many keys with large limits: what was taken in the window before
 * counts as if it had been spread evenly over it, so more than `limit` is possible where it was not. A row is the beginning of
 * a window, what was taken in it and in the one before.
 */
export class SlidingCounterAlgorithm implements LimitAlgorithm {
  readonly columns = 3;
  readonly limit: number;
  readonly whole = false;
  readonly #periodMs: number;

  constructor(limit: number, periodMs: number) {
    this.limit = limit;
    this.#periodMs = periodMs;
  }

  earliest(rows: Float64Array, at: number, cost: number, nowMs: number): number {
    const last = windowOf(rows[at]!, this.#periodMs);
    const window = Math.max(last, Math.floor(nowMs / this.#periodMs));
    const age = window - last;
    const used = age === 0 ? rows[at + 1]! : 0;
    const before = age === 0 ? rows[at + 2]! : age === 1 ? rows[at + 1]! : 0;
    const room = this.limit - used - cost;
    // So much of the window must be over that the one before counts for less; or, where this one is full, of the next.
    const beginsIn = room >= 0 ? window : window + 1;
    const [free, counted] = room >= 0 ? [room, before] : [this.limit - cost, used];
    const part = counted > free ? 1 - free / counted : 0;
    return Math.max(nowMs, (beginsIn + part) * this.#periodMs);
  }

  take(rows: Float64Array, at: number, cost: number, whenMs: number): void {
    const last = windowOf(rows[at]!, this.#periodMs);
    const window = Math.max(last, windowOf(whenMs, this.#periodMs));
    const age = window - last;
    if (age > 0) {
      rows[at + 2] = age === 1 ? rows[at + 1]! : 0;
      rows[at + 1] = 0;
    }
    rows[at] = window * this.#periodMs;
    rows[at + 1]! += cost;
  }

  remaining(rows: Float64Array, at: number, nowMs: number): number {
    const windows = nowMs / this.#periodMs;
    const age = Math.floor(windows) - windowOf(rows[at]!, this.#periodMs);
    if (age < 0) return 0;
    const used = age === 0 ? rows[at + 1]! : 0;
    const before = age === 0 ? rows[at + 2]! : age === 1 ? rows[at + 1]! : 0;
    return Math.max(0, this.limit - used - before * (1 - (windows - Math.floor(windows))));
  }

  idleAt(rows: Float64Array, at: number): number {
    if (rows[at + 1] === 0 && rows[at + 2] === 0) return 0;
    return (windowOf(rows[at]!, this.#periodMs) + 2) * this.#periodMs;
  }

  shift(rows: Float64Array, at: number, byMs: number): void {
    rows[at]! -= byMs;
  }
}
