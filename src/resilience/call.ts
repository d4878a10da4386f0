/** One guarded call, as its policies and its work see it. */
import type { Clock } from '../core/clock.ts';
import { invalid, type QuorateError } from '../core/errors.ts';

/** What the work is given. */
export interface CallContext {
  /**
   * Aborted when nobody waits for the result any more: the caller gave up, a timeout is over, another attempt was quicker.
   * Made when it is first looked at.
   */
  readonly signal: AbortSignal;
  /** 1 for the first attempt, and one more for each retry. */
  readonly attempt: number;
  /** Milliseconds until its deadline, at least 0; `undefined` where no `deadline` is around it. */
  readonly remainingMs: number | undefined;
}

/** What is guarded. */
export type Work<T> = (context: CallContext) => PromiseLike<T> | T;

/** The mistake of everybody's first day: `run(fetch(url))`, which has begun before anybody could say no. */
export function noFunction(given: unknown): QuorateError {
  const isThenable = typeof (given as { then?: unknown } | undefined | null)?.then === 'function';
  const what = isThenable ? 'a promise, so that it has begun already' : typeof given;
  return invalid(`work: ${what}; a function is needed, such as () => fetch(url)`);
}

/** What a caller says of one call. */
export interface CallOptions {
  /** Ends the call wherever it waits; it then rejects with `signal.reason` unchanged. */
  readonly signal?: AbortSignal | undefined;
  /** Whose call it is, for limits by key. @defaultValue one for all */
  readonly key?: string | undefined;
  /** What it takes of limits. @defaultValue 1 */
  readonly cost?: number | undefined;
  /** How much it matters where load is shed: 0 matters most. @defaultValue 1 */
  readonly priority?: number | undefined;
}

/**
 * How a call ended, for gates. `ignored`: neither well nor badly; a policy further in refused it, or nobody waited for it
 * any more.
 */
export type End = 'success' | 'failure' | 'ignored';

/** The moment by which somebody needs the result. */
export interface CallDeadline {
  readonly dueMs: number;
  /** What `dueMs` was read from. */
  readonly clock: Clock;
  /** The request that all this is for, where a server knows one. */
  readonly request?: object | undefined;
}

/** Has gates that are left as soon as a call has failed for who waits for it, not when its work ends. */
export interface LeavesEarly {
  leaveEarly(call: Call): void;
}

/** Looks on at a call, and at its attempts. */
export interface CallWatcher {
  retries(policy: string, attempt: number, pauseMs: number, reason: string, error: unknown): void;
  hedges(policy: string, attempt: number): void;
}

const NO_OPTIONS: CallOptions = {};

export class Call implements CallContext {
  readonly work: Work<unknown>;
  readonly options: CallOptions;
  readonly attempt: number;
  /** What each gate of the section that runs gave on entry. */
  tickets: unknown[] | undefined;
  /** Attempts of the call have it too. */
  deadline: CallDeadline | undefined;
  /** The budget for further attempts by which it was counted, so that no other policy does that again. */
  countedBy: object | undefined;
  /** The outermost section that this call is in and that has, or has inside it, gates to be left early. */
  outermost: LeavesEarly | undefined;
  /** Attempts of the call have it too. */
  watcher: CallWatcher | undefined;
  /** Attempts of this call, the latest first. */
  #attempts: Call | undefined;
  #nextAttempt: Call | undefined;
  #controller: AbortController | undefined;
  #isAborted: boolean;
  #reason: unknown;
  #abortedAs: Exclude<End, 'success'>;
  /** Who waits for this call to be aborted; one at a time. */
  #onAbort: (() => void) | undefined;

  constructor(work: Work<unknown>, options: CallOptions = NO_OPTIONS, attempt = 1) {
    this.work = work;
    this.options = options;
    this.attempt = attempt;
    this.tickets = undefined;
    this.deadline = undefined;
    this.countedBy = undefined;
    this.outermost = undefined;
    this.watcher = undefined;
    this.#attempts = undefined;
    this.#nextAttempt = undefined;
    this.#controller = undefined;
    this.#isAborted = false;
    this.#reason = undefined;
    this.#abortedAs = 'ignored';
    this.#onAbort = undefined;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#isAborted) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  get remainingMs(): number | undefined {
    const { deadline } = this;
    return deadline && Math.max(0, deadline.dueMs - deadline.clock.now());
  }

  get isAborted(): boolean {
    return this.#isAborted;
  }

  get abortReason(): unknown {
    return this.#reason;
  }

  /** What the end of an aborted call that fails says about its work. */
  get abortedAs(): Exclude<End, 'success'> {
    return this.#abortedAs;
  }

  abort(reason: unknown, as: Exclude<End, 'success'> = 'ignored'): void {
    if (this.#isAborted) return;
    this.#isAborted = true;
    this.#reason = reason;
    this.#abortedAs = as;
    this.#controller?.abort(reason);
    this.#onAbort?.();
    if (as === 'failure') this.outermost?.leaveEarly(this);
    for (let one = this.#attempts; one !== undefined; one = one.#nextAttempt) one.abort(reason, as);
  }

  /** Calls `listener` when it is aborted; nobody else may listen until that is taken back with `undefined`. */
  onAbort(listener: (() => void) | undefined): void {
    this.#onAbort = listener;
  }

  /** An attempt: a call of its own, which ends with this one. */
  fork(attempt: number): Call {
    const fork = new Call(this.work, this.options, attempt);
    fork.deadline = this.deadline;
    fork.countedBy = this.countedBy;
    fork.watcher = this.watcher;
    if (this.#isAborted) fork.abort(this.#reason, this.#abortedAs);
    fork.#nextAttempt = this.#attempts;
    this.#attempts = fork;
    return fork;
  }

  /** Attempts that have ended are forgotten. */
  forgetAttempts(): void {
    this.#attempts = undefined;
  }
}
