/**
 * Many timeouts of the same length with one timer: they end in the order in which they began, so a list is enough, and
 * to begin or to end one early costs next to nothing.
 */
import type { Cancel, Clock } from '../core/clock.ts';

/** One that has not come yet. */
export class Deadline {
  readonly dueMs: number;
  readonly onDue: () => void;
  before: Deadline | undefined;
  after: Deadline | undefined;
  isListed: boolean;

  constructor(dueMs: number, onDue: () => void) {
    this.dueMs = dueMs;
    this.onDue = onDue;
    this.before = undefined;
    this.after = undefined;
    this.isListed = true;
  }
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #lengthMs: number;
  #first: Deadline | undefined;
  #last: Deadline | undefined;
  #cancel: Cancel | undefined;

  constructor(clock: Clock, lengthMs: number) {
    this.#clock = clock;
    this.#lengthMs = lengthMs;
    this.#first = undefined;
    this.#last = undefined;
    this.#cancel = undefined;
  }

  /** Calls `onDue` after the length of all of them, unless it is ended before. @param nowMs - where somebody has just asked the clock */
  begin(onDue: () => void, nowMs = this.#clock.now()): Deadline {
    const deadline = new Deadline(nowMs + this.#lengthMs, onDue);
    deadline.before = this.#last;
    if (this.#last === undefined) this.#first = deadline;
    else this.#last.after = deadline;
    this.#last = deadline;
    // The timer stays when its deadline is ended early: it looks at those that are there when it comes.
    this.#cancel ??= this.#clock.after(this.#lengthMs, () => this.#look());
    return deadline;
  }

  end(deadline: Deadline): void {
    if (!deadline.isListed) return;
    deadline.isListed = false;
    if (deadline.before === undefined) this.#first = deadline.after;
    else deadline.before.after = deadline.after;
    if (deadline.after === undefined) this.#last = deadline.before;
    else deadline.after.before = deadline.before;
    // One that has grown old would keep those after it, and all that they know, from being collected while they are young.
    deadline.before = undefined;
    deadline.after = undefined;
  }

  #look(): void {
    this.#cancel = undefined;
    const nowMs = this.#clock.now();
    for (let one = this.#first; one !== undefined && one.dueMs <= nowMs; one = this.#first) {
      this.end(one);
      one.onDue();
    }
    // What has become due may have begun others, and the timer.
    const next = this.#first;
    if (next === undefined) return;
    this.#cancel ??= this.#clock.after(Math.max(1, next.dueMs - nowMs), () => this.#look());
  }
}
