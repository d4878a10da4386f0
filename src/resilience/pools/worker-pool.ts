/** A pool of workers: so many asynchronous tasks at the same time, and a queue for the others. */
import type { Work } from '../call.ts';
import type { DrainOptions, DrainReport } from './drain.ts';
import { Pool } from './pool.ts';
import type { PoolStats } from './pool-meter.ts';
import { poolRules, type WorkerPoolOptions } from './pool-options.ts';
import type { Task, TaskOptions } from './task.ts';

/** A pool of workers. */
export interface WorkerPool {
  readonly name: string;
  /**
   * Runs a task as soon as there is a worker: at once, before this returns, where there is one now. What is kept in
   * `AsyncLocalStorage` here is there for the task.
   *
   * A worker takes, of the tasks that wait, the one that came first; one that matters more goes first if it did not come too
   * much later (`ageing`). Of a key only the first counts, from when the one before it has ended.
   *
   * @throws `ERR_INVALID_ARGUMENT` for options that are wrong; all else rejects the task.
   */
  submit<T>(work: Work<T>, options?: TaskOptions): Task<T>;
  /**
   * The same where there is a worker for it or room in the queue; else it does nothing, whatever the rule for a full queue.
   *
   * @throws `ERR_INVALID_ARGUMENT`
   */
  trySubmit<T>(work: Work<T>, options?: TaskOptions): Task<T> | undefined;
  /**
   * For what nobody waits for: where it fails `onError` is told.
   *
   * @returns whether it was taken: not where the pool is closed or the queue is full, also where the rule for that is to wait.
   * @throws `ERR_INVALID_ARGUMENT`
   */
  go(work: Work<unknown>, options?: TaskOptions): boolean;
  /** From now on so many at the same time. Those that run are left alone. @throws `ERR_INVALID_ARGUMENT` */
  resize(size: number): void;
  /** No task is begun until `resume`. Those that run go on. */
  pause(): void;
  /** Ends a pause. */
  resume(): void;
  /**
   * Closes the pool: takes no more tasks, ends a pause, and waits until those that it has have ended, or the time is over. Then
   * those that were not begun are cancelled, and the others too, with their signals aborted.
   *
   * Asked for again it is the same one, of which the earliest deadline counts.
   *
   * @throws `ERR_INVALID_ARGUMENT`
   */
  drain(options?: DrainOptions): Promise<DrainReport>;
  /** How it stands. */
  stats(): PoolStats;
  /** Drains it without a deadline. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Makes a pool of workers. Every task ends exactly once; what a task throws is its own and touches neither the pool nor other tasks.
 *
 * To submit, to cancel and to end a task takes the same time however many wait.
 *
 * @throws `ERR_INVALID_ARGUMENT`
 * @example
 * ```ts
 * const pool = workerPool({ size: 8, queue: { max: 1000 }, onError: (error) => console.error(error) });
 * const sent = pool.submit(({ signal }) => fetch(url, { signal }), { key: order.id, timeout: '5s' });
 * pool.go(() => cache.refresh(), { priority: 3 });
 * await sent;
 * const { finished, cancelled, abandoned } = await pool.drain({ deadline: '20s' });
 * ```
 */
export function workerPool(options: WorkerPoolOptions): WorkerPool {
  return new Pool(poolRules({ ...options }));
}
