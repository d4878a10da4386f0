/**
 * Many timers with one delay, where most are stopped long before they are due: only the one that is due first has a
 * timer of the clock, and that is left to run when it is stopped.
 */
import type { Cancel, Clock } from './clock.ts';

/** One that was started. */
export interface Alarm {
  readonly dueMs: number;
  readonly run: () => void;
}

/** See the head of this file. */
export class SameDelay {
  readonly #clock: Clock;
  readonly #delayMs: number;
  /** In the order in which they were started, in which they are due. */
  readonly #started: Set<Alarm>;
  #cancel: Cancel | undefined;

  constructor(clock: Clock, delayMs: number) {
    this.#clock = clock;
    this.#delayMs = delayMs;
    this.#started = new Set();
    this.#cancel = undefined;
  }

  /** Calls `run` once, after the delay. It must not throw. */
  start(run: () => void): Alarm {
    const alarm = { dueMs: this.#clock.now() + this.#delayMs, run };
    this.#started.add(alarm);
    if (this.#cancel === undefined) this.#wait(this.#delayMs);
    return alarm;
  }

  /** Stops one that may have run, or been stopped, already. */
  stop(alarm: Alarm): void {
    this.#started.delete(alarm);
  }

  /** Stops all. */
  close(): void {
    this.#started.clear();
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #wait(delayMs: number): void {
    this.#cancel = this.#clock.after(delayMs, () => this.#runDue());
  }

  #runDue(): void {
    const now = this.#clock.now();
    // What these start comes last in the set, and is met below.
    for (const alarm of this.#started) {
      if (alarm.dueMs > now) {
        this.#wait(alarm.dueMs - now);
        return;
      }
      this.#started.delete(alarm);
      alarm.run();
    }
    this.#cancel = undefined;
  }
}
