/** Ids of requests: those that clients send, where they are harmless, or our own. */
import type { Random } from '../../core/random.ts';

/** An id goes into logs and headers of other services: no spaces, quotes, commas or controls, and no more than fits a line. */
const HARMLESS = /^[\w.:+/=@~-]{1,128}$/;

/** Whether an id may be used as it came. */
export function isRequestId(given: unknown): given is string {
  return typeof given === 'string' && HARMLESS.test(given);
}

/** Ids that no other has: of this process by a counter, of all by its random beginning. They can be guessed. */
export class RequestIds {
  readonly #prefix: string;
  #count: number;

  constructor(random: Random) {
    this.#prefix = `${random.id63().toString(36).padStart(13, '0')}-`;
    this.#count = 0;
  }

  next(): string {
    this.#count += 1;
    return this.#prefix + this.#count.toString(36);
  }
}
