/**
 * The threads of a pool: started when a task needs one and none is free, and again when one has ended.
 *
 * A thread that ends by itself takes with it the task that it had begun, and no other. Where threads end one after the other and
 * no task is ever done, the next ones are started later and later, so that this does not take up the machine.
 */
import type { Transferable } from 'node:worker_threads';
import type { Cancel, Clock } from '../../core/clock.ts';
import { invalid, isQuorateError, QuorateError } from '../../core/errors.ts';
import { Thread, type ThreadCall, type ThreadOwner, type ThreadPlan } from './thread.ts';

/** So many may end by themselves in a row before it is time to wait. */
const FREE_LOSSES = 8;
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 10_000;

/** How threads stand. */
export interface ThreadCounts {
  /** That there are now; also those that load the module still. */
  readonly threads: number;
  /** Started so far. */
  readonly started: number;
  /** Ended by themselves: an error outside of a task's call, an exit, no memory. */
  readonly crashed: number;
  /** Ended as they had been used enough. */
  readonly recycled: number;
}

/** A call, and the promise of its result. */
export class PromisedCall implements ThreadCall {
  readonly name: string;
  readonly args: readonly unknown[];
  readonly transfer: readonly Transferable[] | undefined;
  readonly result: Promise<unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  thread: Thread | undefined;

  constructor(
    name: string,
    args: readonly unknown[],
    transfer: readonly Transferable[] | undefined,
  ) {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.name = name;
    this.args = args;
    this.transfer = transfer;
    this.result = promise;
    this.resolve = resolve;
    this.reject = reject;
    this.thread = undefined;
  }
}

export class Threads implements ThreadOwner {
  readonly #name: string;
  readonly #plan: ThreadPlan;
  readonly #clock: Clock;
  #size: number;
  /** That there are and that are not to end. */
  readonly #all: Set<Thread>;
  readonly #ending: Set<Thread>;
  readonly #idle: Thread[];
  /** Calls for which there is no thread yet. */
  readonly #waiting: Set<ThreadCall>;
  /** Threads that load the module. */
  #loading: number;
  #started: number;
  #crashed: number;
  #recycled: number;
  /** Threads that ended by themselves since a task was done. */
  #losses: number;
  /** None is started before. */
  #notBeforeMs: number;
  #cancelTimer: Cancel | undefined;
  /** Why the last one could not be used at all. */
  #unable: QuorateError | undefined;
  #isClosed: boolean;

  constructor(name: string, plan: ThreadPlan, size: number, clock: Clock) {
    this.#name = name;
    this.#plan = plan;
    this.#clock = clock;
    this.#size = size;
    this.#all = new Set();
    this.#ending = new Set();
    this.#idle = [];
    this.#waiting = new Set();
    this.#loading = 0;
    this.#started = 0;
    this.#crashed = 0;
    this.#recycled = 0;
    this.#losses = 0;
    this.#notBeforeMs = Number.NEGATIVE_INFINITY;
    this.#cancelTimer = undefined;
    this.#unable = undefined;
    this.#isClosed = false;
  }

  counts(): ThreadCounts {
    return {
      threads: this.#all.size,
      started: this.#started,
      crashed: this.#crashed,
      recycled: this.#recycled,
    };
  }

  run(
    name: string,
    args: readonly unknown[],
    transfer: readonly Transferable[] | undefined,
  ): PromisedCall {
    const call = new PromisedCall(name, args, transfer);
    this.#place(call);
    return call;
  }

  /** Its thread has to end, which is the only way to stop it. */
  giveUp(call: ThreadCall, reason: unknown): void {
    if (this.#waiting.delete(call)) {
      call.reject(reason);
      this.#forgetTimer();
      if (this.#waiting.size === 0) this.#keepProcessForLoading(false);
    } else if (call.thread !== undefined) {
      void this.#end(call.thread);
    }
  }

  resize(size: number): void {
    this.#size = size;
    while (this.#all.size > size) {
      const thread = this.#idle.pop();
      if (thread === undefined) break;
      void this.#end(thread);
    }
    this.#startSome();
  }

  /** Ends all threads; nobody may ask for one any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#size = 0;
    for (const thread of this.#all) void this.#end(thread);
    await Promise.all([...this.#ending].map(({ gone }) => gone));
  }

  isReady(thread: Thread): void {
    this.#loading -= 1;
    this.#unable = undefined;
    this.#use(thread);
  }

  isFree(thread: Thread): void {
    this.#losses = 0;
    if (thread.isWorn && !thread.isEnding) {
      this.#recycled += 1;
      void this.#end(thread);
    }
    this.#use(thread);
  }

  isGone(thread: Thread, call: ThreadCall | undefined): void {
    const wasWanted = this.#ending.delete(thread);
    this.#all.delete(thread);
    const at = this.#idle.indexOf(thread);
    if (at >= 0) this.#idle.splice(at, 1);
    const wasLoading = thread.exports === undefined;
    if (wasLoading) this.#loading -= 1;
    if (!wasWanted) this.#lost(thread, wasLoading);
    if (call !== undefined) this.#bury(call, thread, wasWanted);
    if (!wasWanted && !wasLoading && !(call !== undefined && thread.hadBegun)) this.#warn(thread);
    if (wasLoading && !wasWanted) this.#refuseWaiting(this.#unableError(thread));
    this.#startSome();
  }

  #place(call: ThreadCall): void {
    const thread = this.#idle.pop();
    if (thread !== undefined) {
      if (!this.#give(thread, call)) this.#idle.push(thread);
      return;
    }
    if (this.#isClosed) {
      call.reject(
        new QuorateError('ERR_CLOSED', `${this.#name}: closed; '${call.name}' was not begun`),
      );
      return;
    }
    this.#waiting.add(call);
    if (this.#waiting.size === 1) this.#keepProcessForLoading(true);
    if (this.#unable !== undefined && this.#isTooEarly()) this.#refuseWaiting(this.#unable);
    this.#startSome();
  }

  #use(thread: Thread): void {
    if (thread.isEnding) {
      this.#startSome();
      return;
    }
    if (this.#waiting.size > 0 && this.#giveToFirst(thread)) return;
    if (this.#all.size > this.#size) void this.#end(thread);
    else this.#idle.push(thread);
  }

  #giveToFirst(thread: Thread): boolean {
    for (const call of this.#waiting) {
      this.#waiting.delete(call);
      this.#forgetTimer();
      if (this.#give(thread, call)) return true;
    }
    return false;
  }

  /** @returns whether the thread has it; else it is free still. */
  #give(thread: Thread, call: ThreadCall): boolean {
    try {
      if (!thread.exports!.has(call.name)) throw this.#noSuchExport(thread, call.name);
      thread.give(call);
      return true;
    } catch (error) {
      call.reject(isQuorateError(error) ? error : this.#cannotBeSent(call.name, error));
      return false;
    }
  }

  #startSome(): void {
    while (this.#waiting.size > this.#loading && this.#all.size < this.#size) {
      if (this.#isTooEarly()) {
        this.#startLater();
        return;
      }
      try {
        this.#all.add(new Thread(this, this.#plan, this.#clock));
      } catch (cause) {
        this.#cannotStart(cause);
        continue;
      }
      this.#loading += 1;
      this.#started += 1;
    }
  }

  /** The system gives no more threads. */
  #cannotStart(cause: unknown): void {
    const message = `${this.#name}: no thread can be started: ${String(cause)}`;
    this.#unable = new QuorateError('ERR_UNAVAILABLE', message, { retryable: true, cause });
    this.#slowDown(true);
    this.#refuseWaiting(this.#unable);
  }

  #isTooEarly(): boolean {
    return this.#clock.now() < this.#notBeforeMs;
  }

  #startLater(): void {
    this.#cancelTimer ??= this.#clock.after(
      this.#notBeforeMs - this.#clock.now(),
      () => {
        this.#cancelTimer = undefined;
        this.#startSome();
      },
      true,
    );
  }

  #end(thread: Thread): Promise<void> {
    this.#all.delete(thread);
    this.#ending.add(thread);
    return thread.end();
  }

  #lost(thread: Thread, wasLoading: boolean): void {
    this.#crashed += 1;
    this.#slowDown(wasLoading);
    if (wasLoading) this.#unable = this.#unableError(thread);
  }

  /** @param isVain - it could not even begin, so that it is not tried again at once */
  #slowDown(isVain: boolean): void {
    this.#losses = isVain ? Math.max(this.#losses, FREE_LOSSES) + 1 : this.#losses + 1;
    if (this.#losses <= FREE_LOSSES) return;
    const waitMs = FIRST_WAIT_MS * 2 ** Math.min(this.#losses - FREE_LOSSES - 1, 10);
    this.#notBeforeMs = this.#clock.now() + Math.min(waitMs, LONGEST_WAIT_MS);
  }

  /** What becomes of the call of a thread that is there no more. */
  #bury(call: ThreadCall, thread: Thread, wasWanted: boolean): void {
    const { name, transfer } = call;
    call.thread = undefined;
    if (!thread.hadBegun && transfer === undefined && !wasWanted) {
      this.#place(call);
      return;
    }
    const why = wasWanted ? 'was ended' : `ended (${causeOf(thread)})`;
    const what = thread.hadBegun
      ? `while it ran '${name}'; what that had done until then may have taken effect`
      : `before it began '${name}', whose arguments were moved to it`;
    const outcome = thread.hadBegun ? 'unknown' : 'not-applied';
    const options = { outcome, cause: thread.error } as const;
    call.reject(
      new QuorateError('ERR_UNAVAILABLE', `${this.#name}: the thread ${why} ${what}`, options),
    );
  }

  /** Nobody else hears of it. */
  #warn(thread: Thread): void {
    const { error } = thread;
    const detail = error instanceof Error ? error.stack : undefined;
    process.emitWarning(`${this.#name}: a thread ended between two tasks (${causeOf(thread)})`, {
      type: 'QuorateWarning',
      ...(detail === undefined ? undefined : { detail }),
    });
  }

  /** Where no thread can be had those that wait hear why. */
  #refuseWaiting(error: QuorateError): void {
    if (this.#all.size > 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const call of waiting) call.reject(error);
    this.#forgetTimer();
  }

  /** Nobody may wait any more for what they load, which may take for ever. */
  #keepProcessForLoading(isNeeded: boolean): void {
    if (this.#loading === 0) return;
    for (const thread of this.#all) if (thread.exports === undefined) thread.keepsProcess(isNeeded);
  }

  /** Nobody needs it where nobody waits, and it would keep the process alive. */
  #forgetTimer(): void {
    if (this.#waiting.size > 0) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #unableError(thread: Thread): QuorateError {
    const { url } = this.#plan;
    if (thread.unable === undefined) {
      const message = `${this.#name}: a thread ended (${causeOf(thread)}) while it loaded ${url}`;
      return new QuorateError('ERR_UNAVAILABLE', message, { retryable: true, cause: thread.error });
    }
    const message = `${this.#name}: ${url} cannot be loaded: ${String(thread.unable)}`;
    return new QuorateError('ERR_INVALID_ARGUMENT', message, { cause: thread.unable });
  }

  #noSuchExport(thread: Thread, name: string): QuorateError {
    const names = [...thread.exports!].join(', ') || 'none';
    const message = `${this.#name}: ${this.#plan.url} exports no function '${name}'; it has ${names}`;
    return invalid(message);
  }

  #cannotBeSent(name: string, cause: unknown): QuorateError {
    const message = `${this.#name}: the arguments of '${name}' cannot be sent to a thread: ${String(cause)}`;
    return new QuorateError('ERR_INVALID_ARGUMENT', message, { cause });
  }
}

function causeOf({ error, exitCode }: Thread): string {
  return error === undefined ? `exit code ${exitCode}` : String(error);
}
