/** What pools of workers take, and how it is checked. */
import { type Clock, systemClock } from '../../core/clock.ts';
import { type Duration, durationMs } from '../../core/duration.ts';
import { invalid } from '../../core/errors.ts';
import { wholeNumber } from '../../core/numbers.ts';
import { levelsOf } from '../levels.ts';
import type { Policy } from '../policy.ts';
import { extrasOf, type Task, type TaskExtras, type TaskOptions } from './task.ts';

/**
 * What happens to a task that finds the queue full. `wait`: it waits for room, first come, first served. `reject`: it
 * is refused with `ERR_OVERLOADED`. `drop-oldest`: the one that has been queued longest is refused in its place.
 * `run-in-caller`: it runs at once, without a worker; where it is not its key's turn, or the pool is paused, it is refused.
 */
export type FullRule = 'wait' | 'reject' | 'drop-oldest' | 'run-in-caller';

const FULL_RULES: readonly FullRule[] = ['wait', 'reject', 'drop-oldest', 'run-in-caller'];

/** The queue of a pool. */
export interface PoolQueue {
  /** So many tasks wait for a worker, or for their key's turn, at most; 0 for none. @defaultValue 1,000 */
  readonly max?: number | undefined;
  /** @defaultValue `'wait'` */
  readonly full?: FullRule | undefined;
}

/** What a pool of workers takes. */
export interface WorkerPoolOptions {
  /** So many tasks run at the same time. */
  readonly size: number;
  readonly queue?: PoolQueue | undefined;
  /** How many priorities there are: 0, which matters most, to one less. @defaultValue 4 */
  readonly levels?: number | undefined;
  /**
   * How much later a task may come, for each step that it matters more, and still go first: of two that wait, one of priority 0
   * is begun before one of priority 2 if it came at most twice this time after it. So none waits for ever. 0 for no priorities.
   * @defaultValue `'1s'`
   */
  readonly ageing?: Duration | undefined;
  /** How long a task may run. @defaultValue as long as it takes */
  readonly timeout?: Duration | undefined;
  /** Guards each task: a retry, a breaker, a pipeline. The worker is free when this has ended the call. */
  readonly policy?: Policy | undefined;
  /**
   * Told of tasks given to `go` that failed, or were dropped for newer ones. What it throws is an unhandled rejection.
   * @defaultValue their errors are unhandled rejections
   */
  readonly onError?: ((error: unknown, task: Task<unknown>) => void) | undefined;
  /** What it is called in errors. @defaultValue `'pool'` */
  readonly name?: string | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** Options that were checked. */
export interface PoolRules {
  readonly size: number;
  readonly maxQueued: number;
  readonly full: FullRule;
  readonly levels: number;
  readonly ageingMs: number;
  readonly timeoutMs: number | undefined;
  readonly policy: Policy | undefined;
  readonly onError: ((error: unknown, task: Task<unknown>) => void) | undefined;
  readonly name: string;
  readonly clock: Clock;
}

/** @throws ERR_INVALID_ARGUMENT */
export function poolRules(options: WorkerPoolOptions): PoolRules {
  const { queue = {}, levels = 4, ageing = '1s', policy, onError } = options;
  const { max = 1000, full = 'wait' } = queue;
  if (!FULL_RULES.includes(full)) {
    throw invalid(`queue.full: ${String(full)}; one of ${FULL_RULES.join(', ')} is needed`);
  }
  if (policy !== undefined && typeof policy.run !== 'function') throw invalid('policy: is none');
  if (onError !== undefined && typeof onError !== 'function') {
    throw invalid('onError: a function is needed');
  }
  return {
    size: sizeOf(options.size),
    maxQueued: wholeNumber('queue.max', max, 0),
    full,
    levels: levelsOf(levels),
    ageingMs: durationMs(ageing, 'ageing'),
    timeoutMs: timeoutMsOf(options.timeout),
    policy,
    onError,
    name: options.name ?? 'pool',
    clock: options.clock ?? systemClock,
  };
}

/** @throws ERR_INVALID_ARGUMENT */
export function sizeOf(size: number): number {
  return wholeNumber('size', size, 1);
}

/** What is to be kept of a task's options besides priority and key. @throws ERR_INVALID_ARGUMENT */
export function extrasFrom(
  options: TaskOptions | undefined,
  poolTimeoutMs: number | undefined,
): TaskExtras | undefined {
  if (options === undefined) {
    return poolTimeoutMs === undefined ? undefined : extrasOf({}, poolTimeoutMs);
  }
  const timeoutMs = timeoutMsOf(options.timeout) ?? poolTimeoutMs;
  const { key, signal, label } = options;
  const isPlain = timeoutMs === undefined && key === undefined;
  if (isPlain && signal === undefined && label === undefined) return undefined;
  return extrasOf(options, timeoutMs);
}

function timeoutMsOf(timeout: Duration | undefined): number | undefined {
  if (timeout === undefined) return undefined;
  const timeoutMs = durationMs(timeout, 'timeout');
  if (timeoutMs > 0) return timeoutMs;
  throw invalid('timeout: 0, so that every task would be too late');
}
