/** The end of a pool: waits for its last tasks, and says what became of them. */
import type { Cancel, Clock } from '../../core/clock.ts';
import type { Duration } from '../../core/duration.ts';
import type { Task } from './task.ts';

/** How to drain a pool. */
export interface DrainOptions {
  /** How long to wait for tasks. @defaultValue as long as they take */
  readonly deadline?: Duration | undefined;
}

/** What became of the tasks that a pool had when it was drained: each is in one of these. */
export interface DrainReport {
  /** So many ended in time, well or not. */
  readonly finished: number;
  /** Had not begun when the time was over, and never will. */
  readonly cancelled: readonly Task<unknown>[];
  /** Had begun, and their work had not ended: their signals were aborted, and nobody waits for them any more. */
  readonly abandoned: readonly Task<unknown>[];
}

export class Drain {
  readonly report: Promise<DrainReport>;
  readonly #clock: Clock;
  readonly #tasks: number;
  #resolve: ((report: DrainReport) => void) | undefined;
  /** Of the timer with the earliest deadline. */
  #cancel: Cancel | undefined;
  #dueMs: number;

  constructor(clock: Clock, tasks: number) {
    const { promise, resolve } = Promise.withResolvers<DrainReport>();
    this.report = promise;
    this.#clock = clock;
    this.#tasks = tasks;
    this.#resolve = resolve;
    this.#cancel = undefined;
    this.#dueMs = Number.POSITIVE_INFINITY;
  }

  endAfter(delayMs: number, onDue: () => void): void {
    const dueMs = this.#clock.now() + delayMs;
    if (dueMs >= this.#dueMs) return;
    this.#cancel?.();
    this.#dueMs = dueMs;
    // Who waits for a pool to end may have nothing else that keeps the process alive.
    this.#cancel = this.#clock.after(delayMs, onDue, true);
  }

  end(cancelled: readonly Task<unknown>[], abandoned: readonly Task<unknown>[]): void {
    this.#cancel?.();
    const finished = this.#tasks - cancelled.length - abandoned.length;
    this.#resolve?.({ finished, cancelled, abandoned });
    this.#resolve = undefined;
  }
}
