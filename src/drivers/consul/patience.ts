/** How long who waits bears with a Consul that is out of reach: not at all before it was heard of once. */
import type { Clock } from '../../core/clock.ts';
import { isQuorateError } from '../../core/errors.ts';

/** See the head of this file. */
export class Patience {
  readonly #clock: Clock;
  readonly #limitMs: number;
  #wasHeard: boolean;
  /** When it failed first since. */
  #failedMs: number | undefined;

  constructor(clock: Clock, limitMs: number) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#wasHeard = false;
    this.#failedMs = undefined;
  }

  heard(): void {
    this.#wasHeard = true;
    this.#failedMs = undefined;
  }

  isOver(error: unknown): boolean {
    if (!this.#wasHeard || !isQuorateError(error) || !error.retryable) return true;
    const nowMs = this.#clock.now();
    this.#failedMs ??= nowMs;
    return nowMs - this.#failedMs > this.#limitMs;
  }
}
