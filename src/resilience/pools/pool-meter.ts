/** What became of the tasks of a pool: counters, how long they waited, and how long they ran. */
import { type DurationHistogram, Histogram } from '../histogram.ts';
import { LatencyWindow } from '../latency.ts';

/** Of the last ten seconds, but for `durations`; `undefined` where there was none. */
export interface TaskTimes {
  readonly count: number;
  readonly meanMs: number | undefined;
  readonly p50Ms: number | undefined;
  readonly p95Ms: number | undefined;
  readonly p99Ms: number | undefined;
  /** Of all, ever. */
  readonly durations: DurationHistogram;
}

/**
 * How a pool stands. Counters only grow; each task ends in exactly one of `done`, `failed`, `timedOut`, `cancelled` and `refused`.
 */
export interface PoolStats {
  /** Tasks that run at the same time at most. */
  readonly size: number;
  /** Workers that are taken, also by `overdue` work. */
  readonly running: number;
  /** In the queue. */
  readonly queued: number;
  /** Tasks that wait for room in it. */
  readonly blocked: number;
  /** Tasks that run in who submitted them, without a worker. */
  readonly inCaller: number;
  /** Tasks that timed out or were cancelled while their work goes on. */
  readonly overdue: number;
  /** Tasks that came. */
  readonly submitted: number;
  readonly done: number;
  /** Threw. */
  readonly failed: number;
  readonly timedOut: number;
  readonly cancelled: number;
  /** No room for them, dropped for newer ones, or submitted to a closed pool. */
  readonly refused: number;
  /** From when they were submitted to when they began. */
  readonly waitTime: TaskTimes;
  /** From when they began to when their work ended. */
  readonly runTime: TaskTimes;
}

/** How a task can end, as it is counted. */
export type TaskEnd = 'done' | 'failed' | 'timedOut' | 'cancelled' | 'refused';

export class PoolMeter {
  /** As of the last look at the clock, so that a task does not cost a look for each figure. */
  nowMs: number;
  submitted: number;
  readonly #ends: Record<TaskEnd, number>;
  readonly #waits: LatencyWindow;
  readonly #runs: LatencyWindow;
  readonly #allWaits: Histogram;
  readonly #allRuns: Histogram;

  constructor(nowMs: number) {
    this.nowMs = nowMs;
    this.submitted = 0;
    this.#ends = { done: 0, failed: 0, timedOut: 0, cancelled: 0, refused: 0 };
    const clock = { now: () => this.nowMs };
    this.#waits = new LatencyWindow({ clock });
    this.#runs = new LatencyWindow({ clock });
    this.#allWaits = new Histogram();
    this.#allRuns = new Histogram();
  }

  begun(waitedMs: number): void {
    this.#waits.record(waitedMs);
    this.#allWaits.record(waitedMs);
  }

  ranFor(tookMs: number): void {
    this.#runs.record(tookMs);
    this.#allRuns.record(tookMs);
  }

  ended(end: TaskEnd): void {
    this.#ends[end] += 1;
  }

  stats() {
    return {
      submitted: this.submitted,
      ...this.#ends,
      waitTime: timesOf(this.#waits, this.#allWaits),
      runTime: timesOf(this.#runs, this.#allRuns),
    };
  }
}

function timesOf(window: LatencyWindow, all: Histogram): TaskTimes {
  return {
    count: window.count,
    meanMs: window.meanMs,
    p50Ms: window.percentileMs(50),
    p95Ms: window.percentileMs(95),
    p99Ms: window.percentileMs(99),
    durations: all.read(),
  };
}
