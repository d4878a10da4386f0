/**
 * The time that processes share where the store has none to give: each takes its own wall clock. It is read with fractions and
 * never goes back here; where the clock is set back it stands still until that is made up.
 */
import type { Clock } from '../../core/clock.ts';

export class SharedTime {
  readonly #clock: Clock;
  /** From the clock that does not jump to the wall's. */
  #offsetMs: number;
  #lastUs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#offsetMs = clock.wallNow() - clock.now();
    this.#lastUs = 0;
  }

  /** Whole microseconds since the Unix epoch. */
  nowUs(): number {
    const steadyMs = this.#clock.now();
    const wallMs = this.#clock.wallNow();
    // The wall's has whole milliseconds: it is right as long as it is in the present one.
    const leadMs = this.#offsetMs + steadyMs - wallMs;
    if (leadMs < 0 || leadMs >= 1) this.#offsetMs = wallMs - steadyMs;
    const nowUs = Math.floor((this.#offsetMs + steadyMs) * 1000);
    this.#lastUs = Math.max(this.#lastUs, nowUs);
    return this.#lastUs;
  }
}
