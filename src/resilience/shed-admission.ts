/**
 * Which share of the calls may come in while something that is measured elsewhere, such as the delay of the event loop, is
 * longer than it should be; those that matter most first. Like WeChat's DAGOR (SoCC 2018) it counts the calls of each
 * level in an interval, which makes of a number of calls that may come in a share for each level.
 *
 * That number is what can be done in an interval: what was let in, less what of it made the delay longer. A little more or
 * less than that keeps the delay around its target, rather than at nothing, where time would be lost.
 */

/** Where there is no delay to tell what can be done: so many times as many. */
const GROWTH = 1.25;
/** The way back to the target takes so many intervals. */
const WAY_BACK = 1;
/** Of so many calls it can be told after a quarter of an interval what there is to do. */
const ENOUGH_CALLS = 20;
/** Some always come in, or nobody would see that it is over. */
const LEAST_SHARE = 0.05;

export class ShareAdmission {
  readonly #probe: () => number;
  readonly #targetMs: number;
  readonly #intervalMs: number;
  readonly #soonMs: number;
  /** Calls since it was last asked. */
  #calls: number;
  /** Those of each level in this interval. */
  readonly #offered: Float64Array;
  /** Which share of each level is let in, and what is left over of the last one. */
  readonly #shares: Float64Array;
  readonly #rests: Float64Array;
  #admitted: number;
  /** May be let in in an interval; infinite where there is no overload. */
  #allowed: number;
  /** What can be done in an interval, as far as it is known. */
  #capacity: number | undefined;
  #begunMs: number;
  #delayMs: number;

  constructor(probe: () => number, levels: number, targetMs: number, intervalMs: number) {
    this.#probe = probe;
    this.#targetMs = targetMs;
    this.#intervalMs = intervalMs;
    this.#soonMs = intervalMs / 4;
    this.#calls = 0;
    this.#offered = new Float64Array(levels);
    this.#shares = new Float64Array(levels).fill(1);
    this.#rests = new Float64Array(levels);
    this.#admitted = 0;
    this.#allowed = Number.POSITIVE_INFINITY;
    this.#capacity = undefined;
    this.#begunMs = Number.NEGATIVE_INFINITY;
    this.#delayMs = 0;
  }

  get isOverloaded(): boolean {
    return this.#allowed !== Number.POSITIVE_INFINITY;
  }

  /** What the probe said last. */
  get delayMs(): number {
    return this.#delayMs;
  }

  admits(level: number, nowMs: number): boolean {
    const tookMs = nowMs - this.#begunMs;
    if (tookMs >= this.#intervalMs || (this.#calls >= ENOUGH_CALLS && tookMs >= this.#soonMs))
      this.#turn(nowMs);
    this.#calls += 1;
    this.#offered[level]! += 1;
    const share = this.#shares[level]!;
    if (share < 1) {
      // Evenly, not by chance: every third of a share of a third.
      const rest = this.#rests[level]! + share;
      if (rest < 1) {
        this.#rests[level] = rest;
        return false;
      }
      this.#rests[level] = rest - 1;
    }
    this.#admitted += 1;
    return true;
  }

  #turn(nowMs: number): void {
    const tookMs = nowMs - this.#begunMs;
    const beforeMs = this.#delayMs;
    const readMs = this.#probe();
    this.#delayMs = Number.isFinite(readMs) ? Math.max(0, readMs) : 0;
    // Where nobody came for long what was is no measure any more.
    if (tookMs > 10 * this.#intervalMs) {
      this.#capacity = undefined;
      this.#allowed = Number.POSITIVE_INFINITY;
    } else this.#adjust(tookMs, this.#delayMs - beforeMs);
    this.#share(this.#intervalMs / tookMs);
    this.#offered.fill(0);
    this.#calls = 0;
    this.#admitted = 0;
    this.#begunMs = nowMs;
  }

  #adjust(tookMs: number, longerByMs: number): void {
    const delayMs = this.#delayMs;
    const isFree = this.#allowed === Number.POSITIVE_INFINITY;
    if (isFree && delayMs <= this.#targetMs) return;
    const perInterval = (this.#admitted * this.#intervalMs) / tookMs;
    if (delayMs <= this.#targetMs / 4) {
      this.#capacity = undefined;
      this.#allowed = Math.max(this.#allowed, perInterval) * GROWTH + 1;
    } else {
      // Of what came in while the delay became longer by all of the time, half was done.
      const done = (perInterval * tookMs) / Math.max(tookMs / 2, tookMs + longerByMs);
      this.#capacity = this.#capacity === undefined ? done : (this.#capacity + done) / 2;
      const correction = (this.#targetMs - delayMs) / (WAY_BACK * this.#intervalMs);
      this.#allowed = Math.max(1, this.#capacity * Math.max(LEAST_SHARE, 1 + correction));
    }
    const offered = (this.#calls * this.#intervalMs) / tookMs;
    if (delayMs <= this.#targetMs && this.#allowed > 1.2 * offered)
      this.#allowed = Number.POSITIVE_INFINITY;
  }

  /** @param perInterval - of what is counted */
  #share(perInterval: number): void {
    let left = this.#allowed;
    for (let level = 0; level < this.#shares.length; level++) {
      const offered = this.#offered[level]! * perInterval;
      this.#shares[level] = left >= offered ? (left > 0 ? 1 : 0) : left / offered;
      left = Math.max(0, left - offered);
    }
  }
}
