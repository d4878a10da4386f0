/**
 * Those who wait for one key of a limiter. Each has a moment at which its turn comes, as if it had been taken then
 * already; who gives up is taken out, and those behind move up.
 */
import type { Cancel } from '../core/clock.ts';
import type { LimitAlgorithm } from './limit-algorithm.ts';

/** One who waits. */
export interface Waiter {
  readonly cost: number;
  dueMs: number;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: () => void;
  before: Waiter | undefined;
  after: Waiter | undefined;
}

export class WaitingLine {
  #algorithm: LimitAlgorithm;
  /** The key's row without those who wait. */
  #base: Float64Array;
  /** Of the timer for the first. */
  cancelAlarm: Cancel;
  /** Somebody gave up, and those behind have not moved up yet. */
  isStale: boolean;
  #first: Waiter | undefined;
  #last: Waiter | undefined;

  constructor(algorithm: LimitAlgorithm, base: Float64Array) {
    this.#algorithm = algorithm;
    this.#base = base;
    this.cancelAlarm = () => undefined;
    this.isStale = false;
    this.#first = undefined;
    this.#last = undefined;
  }

  get first(): Waiter | undefined {
    return this.#first;
  }

  push(waiter: Waiter): void {
    waiter.before = this.#last;
    if (this.#last === undefined) this.#first = waiter;
    else this.#last.after = waiter;
    this.#last = waiter;
  }

  remove(waiter: Waiter): void {
    waiter.signal?.removeEventListener('abort', waiter.onAbort);
    if (waiter.before === undefined) this.#first = waiter.after;
    else waiter.before.after = waiter.after;
    if (waiter.after === undefined) this.#last = waiter.before;
    else waiter.after.before = waiter.before;
  }

  /** Lets those go whose turn has come; how many. */
  serve(nowMs: number): number {
    let served = 0;
    for (let one = this.#first; one !== undefined && one.dueMs <= nowMs; one = this.#first) {
      this.#algorithm.take(this.#base, 0, one.cost, one.dueMs);
      this.remove(one);
      one.resolve();
      served += 1;
    }
    return served;
  }

  /** The key is as if it was never used. */
  forget(): void {
    this.#base.fill(0);
  }

  /** Counts anew when each has its turn; the row is as it is then. */
  replay(rows: Float64Array, at: number, nowMs: number): void {
    rows.set(this.#base, at);
    for (let one = this.#first; one !== undefined; one = one.after) {
      one.dueMs = this.#algorithm.earliest(rows, at, one.cost, nowMs);
      this.#algorithm.take(rows, at, one.cost, one.dueMs);
    }
  }

  /** Counts by other rules; how many are refused since they wait for more than may be taken at once. */
  change(algorithm: LimitAlgorithm, reason: unknown): number {
    if (algorithm.columns !== this.#algorithm.columns) {
      const base = new Float64Array(algorithm.columns);
      algorithm.carry!(this.#algorithm, this.#base, 0, base, 0);
      this.#base = base;
    }
    this.#algorithm = algorithm;
    let refused = 0;
    for (let one = this.#first; one !== undefined; one = one.after) {
      if (one.cost <= algorithm.limit) continue;
      this.remove(one);
      one.reject(reason);
      refused += 1;
    }
    return refused;
  }

  /** Nobody waits any more. */
  end(reason: unknown): void {
    this.cancelAlarm();
    for (let one = this.#first; one !== undefined; one = this.#first) {
      this.remove(one);
      one.reject(reason);
    }
  }
}
