/** A task of a pool, as who submitted it sees it and as the pool keeps it. */
import { AsyncResource } from 'node:async_hooks';
import type { Cancel } from '../../core/clock.ts';
import type { Duration } from '../../core/duration.ts';
import type { CallContext, Work } from '../call.ts';
import type { AgeLinks, Lane, Listed, TaskList } from './task-lists.ts';

/**
 * Where a task is. `blocked`: the queue is full, and it waits for room. `queued`: it waits for a worker, or for its key's turn.
 * Then it is `running`. At the end it is `done`; or `failed`: it threw, or took too long; `cancelled`; or `refused`: the pool
 * had no room, or was closed, and it was never begun.
 */
export type TaskState =
  | 'blocked'
  | 'queued'
  | 'running'
  | 'done'
  | 'failed'
  | 'cancelled'
  | 'refused';

/** What may be said of a task. */
export interface TaskOptions {
  /** How much it matters: 0 matters most; what is above the pool's `levels` counts as the last. @defaultValue 1 */
  readonly priority?: number | undefined;
  /**
   * Tasks of one key run one after the other, in the order in which they were submitted, whatever their priorities; those
   * of other keys meanwhile. At most 1,024 characters.
   */
  readonly key?: string | undefined;
  /** How long it may run, waiting not included. @defaultValue the pool's `timeout` */
  readonly timeout?: Duration | undefined;
  /** Cancels it when it is aborted. */
  readonly signal?: AbortSignal | undefined;
  /** What it is called in reports. */
  readonly label?: string | undefined;
}

/**
 * A task that was submitted: a promise of its result that can be looked at and cancelled.
 *
 * Rejects with what the task threw, unchanged; with the reason for which it was cancelled; with `ERR_TIMEOUT`;
 * with `ERR_OVERLOADED` or `ERR_CLOSED` where the pool did not run it.
 */
export interface Task<T> extends Promise<T> {
  readonly state: TaskState;
  readonly key: string | undefined;
  readonly label: string | undefined;
  /**
   * Resolves when the pool has taken it: what a producer waits for before it submits the next. Where the rule of the pool is
   * `run-in-caller` and the queue was full, that is when it has ended. `false` where it never was taken. Does not reject.
   */
  readonly accepted: Promise<boolean>;
  /**
   * Ends it, if it has not ended yet. One that waits is never begun; the signal of one that runs is aborted, and what its work
   * still does is on its own, but keeps its worker, and its key, until that has ended.
   *
   * @param reason - what it rejects with @defaultValue an `AbortError`
   * @returns whether it had not ended.
   */
  cancel(reason?: unknown): boolean;
}

/** The pool, as its tasks know it. */
export interface TaskOwner {
  cancel(task: PoolTask<unknown>, reason: unknown): boolean;
  remainingMs(task: PoolTask<unknown>): number | undefined;
}

type Executor = ConstructorParameters<typeof Promise<unknown>>[0];
type Resolve = Parameters<Executor>[0];

/** What only some tasks have: with most of a million that wait it need not be there. */
export interface TaskExtras extends AgeLinks<PoolTask<unknown>> {
  readonly options: TaskOptions;
  readonly key: string | undefined;
  timeoutMs: number | undefined;
  /** Of the timer. */
  cancelTimeout: Cancel | undefined;
  dueMs: number;
  /** Its turn came at another time than it. */
  readyMs: number | undefined;
  lane: Lane<PoolTask<unknown>> | undefined;
  controller: AbortController | undefined;
  /** Told when it is aborted, before its signal: for work of our own that needs no signal. */
  onAbort: ((reason: unknown) => void) | undefined;
  onSignal: (() => void) | undefined;
  onAccepted: ((isAccepted: boolean) => void) | undefined;
}

/** When tasks came; one for all that came together. */
export interface Moment {
  readonly ms: number;
}

// One function for all promises, so that none needs a closure of its own.
let newResolve: Resolve;
const takeResolve: Executor = (resolve) => {
  newResolve = resolve;
};

/** A promise itself, not an object that has one: a million may wait. */
export class PoolTask<T> extends Promise<T> implements Task<T>, Listed<PoolTask<unknown>> {
  readonly owner: TaskOwner;
  /** Forgotten when it ends. */
  resolve: (value: T | PromiseLike<T>) => void;
  /** Forgotten when it begins. */
  work: Work<T>;
  state: TaskState;
  readonly level: number;
  /** Nobody waits for the result. */
  readonly isQuiet: boolean;
  /** It got a worker, or a place in the queue. */
  wasTaken: boolean;
  /** Takes a worker; not so what is run in the caller. */
  isCounted: boolean;
  extras: TaskExtras | undefined;
  /** Where it was submitted from: what is kept for the caller in `AsyncLocalStorage` is there for the work. */
  scope: AsyncResource | undefined;
  /** When it was submitted. */
  readonly came: Moment;
  list: TaskList<PoolTask<unknown>> | undefined;
  before: PoolTask<unknown> | undefined;
  after: PoolTask<unknown> | undefined;

  constructor(
    owner: TaskOwner,
    work: Work<T>,
    level: number,
    isQuiet: boolean,
    extras: TaskExtras | undefined,
    came: Moment,
  ) {
    super(takeResolve as ConstructorParameters<typeof Promise<T>>[0]);
    this.owner = owner;
    this.resolve = newResolve;
    this.work = work;
    this.state = 'blocked';
    this.level = level;
    this.isQuiet = isQuiet;
    this.wasTaken = false;
    this.isCounted = true;
    this.extras = extras;
    this.scope = undefined;
    this.came = came;
    this.list = undefined;
    this.before = undefined;
    this.after = undefined;
  }

  get key(): string | undefined {
    return this.extras?.key;
  }

  get label(): string | undefined {
    return this.extras?.options.label;
  }

  get isOpen(): boolean {
    const { state } = this;
    return state === 'running' || state === 'queued' || state === 'blocked';
  }

  /** One function fewer to keep for each that waits: most are never rejected. */
  reject(reason: unknown): void {
    this.resolve(Promise.reject(reason));
  }

  /** The extras, also where it had none. */
  get more(): TaskExtras {
    this.extras ??= extrasOf(NO_OPTIONS, undefined);
    return this.extras;
  }

  /** Who has a smaller one goes first. */
  turnMs(ageingMs: number): number {
    return (this.extras?.readyMs ?? this.came.ms) + this.level * ageingMs;
  }

  /** Made when it is first looked at. */
  get signal(): AbortSignal {
    const { more } = this;
    more.controller ??= new AbortController();
    return more.controller.signal;
  }

  get accepted(): Promise<boolean> {
    const { state } = this;
    const isInCaller = state === 'running' && !this.isCounted;
    if (state !== 'blocked' && !isInCaller) return Promise.resolve(this.wasTaken);
    const { more } = this;
    const earlier = more.onAccepted;
    return new Promise((resolve) => {
      more.onAccepted = (isAccepted) => {
        earlier?.(isAccepted);
        resolve(isAccepted);
      };
    });
  }

  /** Tells who waits for it to be taken. */
  tellAccepted(): void {
    const { extras } = this;
    if (extras?.onAccepted === undefined) return;
    const { onAccepted } = extras;
    extras.onAccepted = undefined;
    onAccepted(this.wasTaken);
  }

  /** Also for work that has not looked at its signal yet. */
  abort(reason: unknown): void {
    const { more } = this;
    more.onAbort?.(reason);
    more.controller ??= new AbortController();
    more.controller.abort(reason);
  }

  /** What is submitted from now on is begun in the context of now. */
  keepScope(): void {
    this.scope = new AsyncResource('QuorateTask');
  }

  cancel(reason: unknown = AbortSignal.abort().reason): boolean {
    if (!this.isOpen) return false;
    // Who cancels knows how it ends.
    this.then(undefined, ignore);
    return this.owner.cancel(this as PoolTask<unknown>, reason);
  }
}

// To `await` and `Promise.all` it is a plain promise, which they take as it is: else each would wrap it, and wait three turns more.
Object.defineProperty(PoolTask.prototype, 'constructor', { value: Promise, configurable: true });

/** What the work of a task is given; not the task, for a promise that gives itself back waits for ever. */
export class TaskContext implements CallContext {
  readonly #task: PoolTask<unknown>;

  constructor(task: PoolTask<unknown>) {
    this.#task = task;
  }

  /** Cheaper than the signal, which then need not be made; one listener. */
  onAbort(listener: (reason: unknown) => void): void {
    this.#task.more.onAbort = listener;
  }

  get attempt(): 1 {
    return 1;
  }

  get signal(): AbortSignal {
    return this.#task.signal;
  }

  get remainingMs(): number | undefined {
    return this.#task.owner.remainingMs(this.#task);
  }
}

const NO_OPTIONS: TaskOptions = {};

export function extrasOf(options: TaskOptions, timeoutMs: number | undefined): TaskExtras {
  return {
    options,
    key: options.key,
    timeoutMs,
    cancelTimeout: undefined,
    dueMs: 0,
    readyMs: undefined,
    lane: undefined,
    controller: undefined,
    older: undefined,
    newer: undefined,
    onAbort: undefined,
    onSignal: undefined,
    onAccepted: undefined,
  };
}

function ignore(): void {
  // It ended as its owner wished.
}
