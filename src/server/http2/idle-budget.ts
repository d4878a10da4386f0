/** Counts frames that ask for nothing but cost us something, and ends connections that live on them. */
import type { Clock } from '../../core/clock.ts';
import { enhanceYourCalm } from './errors.ts';

const WINDOW_MS = 1000;

export class IdleBudget {
  readonly #clock: Clock;
  readonly #perSecond: number;
  #spent: number;
  #since: number;

  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#spent = 0;
    this.#since = clock.now();
  }

  /** The clock is asked only when the budget is used up, so that counting is all it costs. */
  spend(cost: number): void {
    this.#spent += cost;
    if (this.#spent < this.#perSecond) return;
    const now = this.#clock.now();
    if (now - this.#since < WINDOW_MS) {
      throw enhanceYourCalm('too many frames that ask for nothing');
    }
    this.#spent = 0;
    this.#since = now;
  }
}
