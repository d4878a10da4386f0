/** Calls that wait for a place, by how much they matter. */
import type { Call } from './call.ts';
import type { Rejection } from './outcome.ts';
import type { Ticket } from './section.ts';

/** One that waits. */
export class WaitingCall {
  readonly call: Call;
  /** 0 matters most. */
  readonly level: number;
  readonly sinceMs: number;
  readonly resolve: (end: Ticket | Rejection) => void;
  before: WaitingCall | undefined;
  after: WaitingCall | undefined;
  /** Called once, in whatever way it leaves. */
  onGone: (() => void) | undefined;

  constructor(
    call: Call,
    level: number,
    sinceMs: number,
    resolve: (end: Ticket | Rejection) => void,
  ) {
    this.call = call;
    this.level = level;
    this.sinceMs = sinceMs;
    this.resolve = resolve;
    this.before = undefined;
    this.after = undefined;
    this.onGone = undefined;
  }
}

/** A line for each level. Whoever gives up leaves at once, and none is looked through. */
export class WaitingCalls {
  readonly levels: number;
  readonly #first: (WaitingCall | undefined)[];
  readonly #last: (WaitingCall | undefined)[];
  #length: number;

  constructor(levels: number) {
    this.levels = levels;
    this.#first = new Array(levels).fill(undefined);
    this.#last = new Array(levels).fill(undefined);
    this.#length = 0;
  }

  get length(): number {
    return this.#length;
  }

  /** Rejects where the call is aborted. @param onIn - it waits now */
  wait(
    call: Call,
    level: number,
    nowMs: number,
    onIn?: (waiting: WaitingCall) => void,
  ): Promise<Ticket | Rejection> {
    return new Promise((resolve, reject) => {
      const waiting = new WaitingCall(call, level, nowMs, resolve);
      this.#push(waiting);
      onIn?.(waiting);
      call.onAbort(() => {
        this.remove(waiting);
        reject(call.abortReason);
      });
    });
  }

  /** The one of a level that has waited longest. */
  oldest(level: number): WaitingCall | undefined {
    return this.#first[level];
  }

  /** The next to go, of those that matter most. It stays until it is removed. */
  next(newestFirst: boolean): WaitingCall | undefined {
    const ends = newestFirst ? this.#last : this.#first;
    for (let level = 0; level < this.levels; level++) {
      const waiting = ends[level];
      if (waiting !== undefined) return waiting;
    }
    return undefined;
  }

  /** Of those that matter least, and less than `level`, the one that has waited longest. */
  leastBelow(level: number): WaitingCall | undefined {
    for (let one = this.levels - 1; one > level; one--) {
      const waiting = this.#first[one];
      if (waiting !== undefined) return waiting;
    }
    return undefined;
  }

  remove(waiting: WaitingCall): void {
    waiting.call.onAbort(undefined);
    const { level, before, after } = waiting;
    if (before === undefined) this.#first[level] = after;
    else before.after = after;
    if (after === undefined) this.#last[level] = before;
    else after.before = before;
    this.#length -= 1;
    waiting.onGone?.();
  }

  #push(waiting: WaitingCall): void {
    const { level } = waiting;
    const last = this.#last[level];
    waiting.before = last;
    if (last === undefined) this.#first[level] = waiting;
    else last.after = waiting;
    this.#last[level] = waiting;
    this.#length += 1;
  }
}
