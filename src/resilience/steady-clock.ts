/**
 * Time that starts at 0 and never goes back, whatever the clock of a user does: where that jumps back time stands still
 * for a moment and goes on from there. From 0, because limits count in fractions of a millisecond, which large
 * numbers have no room for.
 */
import type { Clock } from '../core/clock.ts';

export class SteadyClock {
  readonly #clock: Pick<Clock, 'now'>;
  #lastMs: number;
  #nowMs: number;

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
    this.#lastMs = clock.now();
    this.#nowMs = 0;
  }

  /** @param readMs - a reading of its clock, where there is one of now */
  now(readMs = this.#clock.now()): number {
    const passedMs = readMs - this.#lastMs;
    this.#lastMs = readMs;
    if (passedMs > 0) this.#nowMs += passedMs;
    return this.#nowMs;
  }
}
