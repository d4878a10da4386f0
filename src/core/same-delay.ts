/**
 * Many timers with one delay, where most are stopped long before they are due: only the one that is due first has a
 * timer of the clock, and that is left to run when it is stopped.
 */
import type { Cancel, Clock } from './clock.ts';
import { LinkedList, type Place } from './linked-list.ts';

/** One that was started. */
export type Alarm = Place<{ readonly dueMs: number; readonly run: () => void }>;

/** See the head of this file. */
export class SameDelay {
  readonly #clock: Clock;
  readonly #delayMs: number;
  /** In the order in which they were started, in which they are due. */
  #started: LinkedList<Alarm['value']>;
  #cancel: Cancel | undefined;

  constructor(clock: Clock, delayMs: number) {
    this.#clock = clock;
    this.#delayMs = delayMs;
    this.#started = new LinkedList();
    this.#cancel = undefined;
  }

  /** Calls `run` once, after the delay. It must not throw. */
  start(run: () => void): Alarm {
    const alarm = this.#started.push({ dueMs: this.#clock.now() + this.#delayMs, run });
    if (this.#cancel === undefined) this.#wait(this.#delayMs);
    return alarm;
  }

  /** Stops one that may have run, or been stopped, already. */
  stop(alarm: Alarm): void {
    this.#started.remove(alarm);
  }

  /** Stops all. Nothing may be started afterwards. */
  close(): void {
    this.#started = new LinkedList();
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #wait(delayMs: number): void {
    this.#cancel = this.#clock.after(delayMs, () => this.#runDue());
  }

  #runDue(): void {
    const now = this.#clock.now();
    let first = this.#started.first;
    // What these start comes last, and is met here.
    while (first !== undefined && first.value.dueMs <= now) {
      this.#started.remove(first);
      first.value.run();
      first = this.#started.first;
    }
    if (first === undefined) this.#cancel = undefined;
    else this.#wait(first.value.dueMs - now);
  }
}
