/** What pools of threads take, and how it is checked. */
import { availableParallelism } from 'node:os';
import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Transferable } from 'node:worker_threads';
import { type Duration, durationMs } from '../../core/duration.ts';
import { invalid } from '../../core/errors.ts';
import { numberAbove, wholeNumber } from '../../core/numbers.ts';
import type { FullRule, PoolQueue, WorkerPoolOptions } from '../pools/pool-options.ts';
import type { TaskOptions } from '../pools/task.ts';
import type { ThreadPlan } from './thread.ts';

/** When a thread has been used enough: it is then replaced between two tasks. */
export interface RecycleRules {
  /**
   * Its heap, with buffers outside of it and with what waits for the garbage collector, has more than so many megabytes (2^20 bytes)
   * after a task.
   * @defaultValue it may grow
   */
  readonly heapMb?: number | undefined;
  /** It has done so many tasks. @defaultValue any number */
  readonly tasks?: number | undefined;
}

/** The queue of a pool of threads. */
export interface ThreadPoolQueue extends PoolQueue {
  /** @defaultValue `'wait'` */
  readonly full?: Exclude<FullRule, 'run-in-caller'> | undefined;
}

/** What a pool of threads takes: what a pool of workers does, and more. */
export interface ThreadPoolOptions extends Omit<WorkerPoolOptions, 'size' | 'queue'> {
  /** Threads at most; one is started when a task needs it and none is free. @defaultValue one fewer than there are CPUs, and at least one */
  readonly size?: number | undefined;
  /** What is not begun waits here. Nothing but threads runs the module, so there is no `run-in-caller`. */
  readonly queue?: ThreadPoolQueue | undefined;
  /** A thread whose heap needs more megabytes ends, and with it the task that it has. @defaultValue Node's limit */
  readonly maxHeapMb?: number | undefined;
  /** @defaultValue threads are kept */
  readonly recycle?: RecycleRules | undefined;
  /** How long a thread may take to load the module before it is ended. @defaultValue `'1m'` */
  readonly loadTimeout?: Duration | undefined;
  /** What the module finds as `workerData` of `node:worker_threads`; copied for each thread. */
  readonly workerData?: unknown;
}

/** What may be said of a task for a thread. */
export interface ThreadTaskOptions extends TaskOptions {
  /** Buffers, ports and the like in the arguments that are moved to the thread instead of copied: who submitted has them no more once the task begins. */
  readonly transfer?: readonly Transferable[] | undefined;
}

/** @throws ERR_INVALID_ARGUMENT */
export function threadPlan(module: URL | string, options: ThreadPoolOptions): ThreadPlan {
  const { maxHeapMb, recycle = {}, loadTimeout = '1m', workerData } = options;
  if ((options.queue as PoolQueue | undefined)?.full === 'run-in-caller') {
    throw invalid('queue.full: run-in-caller; a caller cannot run what threads are for');
  }
  const { heapMb, tasks } = recycle;
  return {
    url: urlOf(module),
    workerData: copyOf(workerData),
    loadMs: numberAbove('loadTimeout', durationMs(loadTimeout, 'loadTimeout'), 0),
    maxHeapMb: maxHeapMb === undefined ? undefined : wholeNumber('maxHeapMb', maxHeapMb, 1),
    recycleBytes:
      heapMb === undefined
        ? Number.POSITIVE_INFINITY
        : wholeNumber('recycle.heapMb', heapMb, 1) * 2 ** 20,
    recycleTasks:
      tasks === undefined ? Number.POSITIVE_INFINITY : wholeNumber('recycle.tasks', tasks, 1),
  };
}

/** Of the main thread one CPU is left. */
export function defaultSize(): number {
  return Math.max(1, availableParallelism() - 1);
}

/** Each thread gets a copy of this copy: what becomes of the original later makes no difference. */
function copyOf(workerData: unknown): unknown {
  try {
    return structuredClone(workerData);
  } catch (error) {
    throw invalid(`workerData: it cannot be copied: ${String(error)}`);
  }
}

/** A thread would look for a relative path beside its own file. */
function urlOf(module: URL | string): string {
  if (module instanceof URL) return module.href;
  if (typeof module === 'string') {
    if (isAbsolute(module)) return pathToFileURL(module).href;
    if (URL.canParse(module)) return module;
  }
  const needed =
    "a URL or an absolute path is needed, such as new URL('./work.js', import.meta.url)";
  throw invalid(`module: ${String(module)}; ${needed}`);
}
