/** Who waits for the work of a task to end. Used for one task after the other, so that none needs closures of its own. */
import type { PoolTask } from './task.ts';

/** The pool, as its runners know it. */
export interface RunnerOwner {
  workEnded(runner: Runner, hasFailed: boolean, result: unknown): void;
}

export class Runner {
  task: PoolTask<unknown> | undefined;
  /** When that began. */
  sinceMs: number;
  readonly #onValue: (value: unknown) => void;
  readonly #onError: (error: unknown) => void;

  constructor(owner: RunnerOwner) {
    this.task = undefined;
    this.sinceMs = 0;
    this.#onValue = (value) => owner.workEnded(this, false, value);
    this.#onError = (error) => owner.workEnded(this, true, error);
  }

  wait(task: PoolTask<unknown>, work: Promise<unknown>, sinceMs: number): void {
    this.task = task;
    this.sinceMs = sinceMs;
    work.then(this.#onValue, this.#onError);
  }
}

const { then: plainThen } = Promise.prototype;

/** What is no plain promise may call back twice, or at once, or throw. */
export function plainPromise(work: PromiseLike<unknown>): Promise<unknown> {
  if (work instanceof Promise && work.then === plainThen) return work;
  return new Promise((resolve) => resolve(work));
}

/** @throws what its `then` throws, where it has a getter */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (value instanceof Promise) return true;
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  return typeof (value as Partial<PromiseLike<unknown>>).then === 'function';
}
