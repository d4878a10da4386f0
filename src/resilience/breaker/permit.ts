/** A call that a circuit breaker let in and that tells it by itself how it ended. */
import type { Gate, Ticket } from '../section.ts';

/** Leave to do what a circuit breaker guards, once: the first that is told of its end counts. */
export class Permit {
  readonly ok = true;
  readonly #breaker: Gate;
  readonly #ticket: Ticket;
  #isUsed: boolean;

  constructor(breaker: Gate, ticket: Ticket) {
    this.#breaker = breaker;
    this.#ticket = ticket;
    this.#isUsed = false;
  }

  /** It went well, with this value. */
  success(value?: unknown): void {
    if (this.#use()) this.#breaker.leave(this.#ticket, 'success', value);
  }

  /** It failed, with this error. */
  failure(error?: unknown): void {
    if (this.#use()) this.#breaker.leave(this.#ticket, 'failure', error);
  }

  /** Nobody knows, or it was not done: it says nothing, and a trial call's place is free. */
  cancel(): void {
    if (this.#use()) this.#breaker.leave(this.#ticket, 'ignored', undefined);
  }

  #use(): boolean {
    const isFirst = !this.#isUsed;
    this.#isUsed = true;
    return isFirst;
  }
}
