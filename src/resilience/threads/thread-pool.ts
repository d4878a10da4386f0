/** A pool of threads: a pool of workers whose work is to have functions of a module run in threads. */
import { invalid } from '../../core/errors.ts';
import type { CallContext } from '../call.ts';
import type { DrainOptions, DrainReport } from '../pools/drain.ts';
import type { PoolStats } from '../pools/pool-meter.ts';
import { poolRules, sizeOf } from '../pools/pool-options.ts';
import { type Task, TaskContext } from '../pools/task.ts';
import { type WorkerPool, workerPool } from '../pools/worker-pool.ts';
import {
  defaultSize,
  type ThreadPoolOptions,
  type ThreadTaskOptions,
  threadPlan,
} from './options.ts';
import { type ThreadCounts, Threads } from './threads.ts';

type AnyFunction = (...args: never[]) => unknown;

/** The functions that a module exports. */
export type ThreadExports<M> = {
  readonly [K in keyof M as M[K] extends AnyFunction ? K : never]: M[K] extends AnyFunction
    ? M[K]
    : never;
};

/** Names of these functions. */
export type ThreadExport<M> = keyof ThreadExports<M> & string;

/** The same functions, each of which submits a task. */
export type ThreadRun<M> = {
  readonly [K in ThreadExport<M>]: (...args: Parameters<ThreadExports<M>[K]>) => ThreadTask<M, K>;
};

/** A task that runs one of these functions. */
export type ThreadTask<M, K extends ThreadExport<M>> = Task<
  Awaited<ReturnType<ThreadExports<M>[K]>>
>;

/** How a pool of threads stands. `running` are tasks; a thread that is not needed yet is not started. */
export interface ThreadPoolStats extends PoolStats, ThreadCounts {}

/** A pool of threads for a module. */
export interface ThreadPool<M> {
  readonly name: string;
  /**
   * The functions of the module: `pool.run.resize(image, 300)` submits a task without options. Not those called `then`, `toJSON`,
   * `toString` or `valueOf`, which others call by themselves; `submit` has them.
   */
  readonly run: ThreadRun<M>;
  /**
   * As a pool of workers does; what is run is this function of the module, with these arguments, in a thread that has no other task
   * meanwhile. They are copied when the task begins, and its result when it ends.
   *
   * Rejects, besides with what that pool says, with what the function threw, copied; with `ERR_UNAVAILABLE` where the thread ended
   * (`outcome` says whether it had begun); with `ERR_INVALID_ARGUMENT` where the module cannot be loaded or has no such function,
   * or where arguments or result cannot be copied.
   *
   * Work in a thread can only be stopped together with its thread: a task that is cancelled or times out while it runs ends its
   * thread. Others are not touched by that.
   *
   * @throws `ERR_INVALID_ARGUMENT` for options that are wrong
   */
  submit<K extends ThreadExport<M>>(
    name: K,
    args: Parameters<ThreadExports<M>[K]>,
    options?: ThreadTaskOptions,
  ): ThreadTask<M, K>;
  /** The same where there is a thread for it or room in the queue. @throws `ERR_INVALID_ARGUMENT` */
  trySubmit<K extends ThreadExport<M>>(
    name: K,
    args: Parameters<ThreadExports<M>[K]>,
    options?: ThreadTaskOptions,
  ): ThreadTask<M, K> | undefined;
  /** For what nobody waits for. @returns whether it was taken. @throws `ERR_INVALID_ARGUMENT` */
  go<K extends ThreadExport<M>>(
    name: K,
    args: Parameters<ThreadExports<M>[K]>,
    options?: ThreadTaskOptions,
  ): boolean;
  /** From now on so many threads at most. Those that have a task end after it. @throws `ERR_INVALID_ARGUMENT` */
  resize(size: number): void;
  /** No task is begun until `resume`. Those that run go on. */
  pause(): void;
  /** Ends a pause. */
  resume(): void;
  /** As that of a pool of workers; then there is no thread any more. @throws `ERR_INVALID_ARGUMENT` */
  drain(options?: DrainOptions): Promise<DrainReport>;
  /** How it stands. */
  stats(): ThreadPoolStats;
  /** Drains it without a deadline. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Makes a pool of threads, for work that keeps a CPU busy: the functions that a module exports run in `node:worker_threads`.
 *
 * A thread that ends by itself takes only the task with it that it had begun, and is replaced; where it had begun none, that is a warning
 * of the process. Threads do not keep the process alive while there is no task.
 *
 * @param module - where it is: a URL or an absolute path
 * @throws ERR_INVALID_ARGUMENT
 * @example
 * ```ts
 * await using images = threadPool<typeof import('./images.ts')>(new URL('./images.ts', import.meta.url), {
 *   size: 4,
 *   timeout: '30s',
 *   recycle: { heapMb: 512 },
 * });
 * const small = await images.run.resize(image, 300);
 * const moved = await images.submit('resize', [image, 300], { transfer: [image.buffer], priority: 0 });
 * ```
 */
export function threadPool<M extends object>(
  module: URL | string,
  options: ThreadPoolOptions = {},
): ThreadPool<M> {
  return new PoolOfThreads<M>(module, options);
}

/** What the language calls by itself: who awaits, prints or serialises a pool submits no task. */
const ASKED_BY_OTHERS: ReadonlySet<string> = new Set(['then', 'toJSON', 'toString', 'valueOf']);

class PoolOfThreads<M> implements ThreadPool<M> {
  readonly name: string;
  readonly run: ThreadRun<M>;
  readonly #pool: WorkerPool;
  readonly #threads: Threads;
  #drained: Promise<DrainReport> | undefined;

  constructor(module: URL | string, options: ThreadPoolOptions) {
    const { size = defaultSize(), name = 'threads' } = options;
    const poolOptions = { ...options, size, name };
    const { clock } = poolRules(poolOptions);
    this.name = name;
    this.#threads = new Threads(name, threadPlan(module, options), sizeOf(size), clock);
    this.#pool = workerPool(poolOptions);
    this.#drained = undefined;
    this.run = new Proxy(Object.create(null), { get: (made, key) => this.#runner(made, key) });
  }

  submit<K extends ThreadExport<M>>(
    name: K,
    args: Parameters<ThreadExports<M>[K]>,
    options?: ThreadTaskOptions,
  ): ThreadTask<M, K> {
    return this.#pool.submit(this.#work(name, args, options), options) as ThreadTask<M, K>;
  }

  trySubmit<K extends ThreadExport<M>>(
    name: K,
    args: Parameters<ThreadExports<M>[K]>,
    options?: ThreadTaskOptions,
  ): ThreadTask<M, K> | undefined {
    const task = this.#pool.trySubmit(this.#work(name, args, options), options);
    return task as ThreadTask<M, K> | undefined;
  }

  go<K extends ThreadExport<M>>(
    name: K,
    args: Parameters<ThreadExports<M>[K]>,
    options?: ThreadTaskOptions,
  ): boolean {
    return this.#pool.go(this.#work(name, args, options), options);
  }

  resize(size: number): void {
    this.#threads.resize(sizeOf(size));
    this.#pool.resize(size);
  }

  pause(): void {
    this.#pool.pause();
  }

  resume(): void {
    this.#pool.resume();
  }

  drain(options?: DrainOptions): Promise<DrainReport> {
    const report = this.#pool.drain(options);
    this.#drained ??= this.#close(report);
    return this.#drained;
  }

  stats(): ThreadPoolStats {
    return { ...this.#pool.stats(), ...this.#threads.counts() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain();
  }

  async #close(report: Promise<DrainReport>): Promise<DrainReport> {
    const told = await report;
    await this.#threads.close();
    return told;
  }

  #work(name: string, args: readonly unknown[], options: ThreadTaskOptions | undefined) {
    if (!Array.isArray(args)) {
      throw invalid(`args: those of '${name}' in an array are needed`);
    }
    const transfer = options?.transfer;
    return (context: CallContext): Promise<unknown> => {
      const call = this.#threads.run(name, args, transfer);
      const giveUp = (reason: unknown) => this.#threads.giveUp(call, reason);
      if (context instanceof TaskContext) context.onAbort(giveUp);
      else return untilAborted(call.result, context.signal, giveUp);
      return call.result;
    };
  }

  /** The function of that name; made when it is first asked for. */
  #runner(made: Record<string, unknown>, key: string | symbol): unknown {
    if (typeof key === 'symbol' || ASKED_BY_OTHERS.has(key)) return undefined;
    made[key] ??= (...args: never[]) =>
      this.submit(key as ThreadExport<M>, args as Parameters<ThreadExports<M>[ThreadExport<M>]>);
    return made[key];
  }
}

async function untilAborted(
  result: Promise<unknown>,
  signal: AbortSignal,
  giveUp: (reason: unknown) => void,
): Promise<unknown> {
  const onAbort = (): void => giveUp(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await result;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
