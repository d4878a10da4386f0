/** A limit for how many calls run at the same time, with a queue for some more. */
import { QuorateError } from '../core/errors.ts';
import type { Call } from './call.ts';
import { Rejection } from './outcome.ts';
import { Alone, type Policy } from './policy.ts';
import type { Gate } from './section.ts';

/** What a bulkhead takes. */
export interface BulkheadOptions {
  /** So many run at the same time. */
  readonly max: number;
  /** So many more wait for a place, first come, first served. @defaultValue 0 */
  readonly queue?: number | undefined;
  /** @defaultValue `'bulkhead'` */
  readonly name?: string | undefined;
}

/** A bulkhead: a limit for calls at the same time. */
export interface Bulkhead extends Policy {
  /** So many run. */
  readonly running: number;
  /** So many wait. */
  readonly queued: number;
}

/**
 * Refuses calls with `ERR_OVERLOADED` where as many run as may, and as many wait.
 *
 * @throws `ERR_INVALID_ARGUMENT` for numbers that are none.
 * @example
 * ```ts
 * const connections = bulkhead({ max: 10, queue: 100 });
 * await connections.run(() => query());
 * ```
 */
export function bulkhead(options: BulkheadOptions): Bulkhead {
  return new Places(options);
}

/** One who waits for a place. */
interface Waiting {
  readonly call: Call;
  readonly resolve: (ticket: number) => void;
  before: Waiting | undefined;
  after: Waiting | undefined;
}

class Places extends Alone implements Gate, Bulkhead {
  readonly #max: number;
  readonly #maxQueued: number;
  readonly #full: Rejection;
  #running: number;
  #queued: number;
  #first: Waiting | undefined;
  #last: Waiting | undefined;

  constructor({ max, queue = 0, name = 'bulkhead' }: BulkheadOptions) {
    super(name);
    this.#max = wholeNumber('max', max, 1);
    this.#maxQueued = wholeNumber('queue', queue, 0);
    this.#full = new Rejection('full', name);
    this.#running = 0;
    this.#queued = 0;
    this.#first = undefined;
    this.#last = undefined;
  }

  get running(): number {
    return this.#running;
  }

  get queued(): number {
    return this.#queued;
  }

  enter(call: Call): number | Rejection | Promise<number> {
    if (this.#running < this.#max) {
      this.#running += 1;
      return 0;
    }
    return this.#queued < this.#maxQueued ? this.#wait(call) : this.#full;
  }

  leave(): void {
    const next = this.#first;
    if (next === undefined) {
      this.#running -= 1;
      return;
    }
    // The place is handed on: nobody who comes now gets ahead.
    this.#remove(next);
    next.resolve(0);
  }

  #wait(call: Call): Promise<number> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = { call, resolve, before: this.#last, after: undefined };
      if (this.#last === undefined) this.#first = waiting;
      else this.#last.after = waiting;
      this.#last = waiting;
      this.#queued += 1;
      call.onAbort(() => {
        this.#remove(waiting);
        reject(call.abortReason);
      });
    });
  }

  #remove(waiting: Waiting): void {
    waiting.call.onAbort(undefined);
    if (waiting.before === undefined) this.#first = waiting.after;
    else waiting.before.after = waiting.after;
    if (waiting.after === undefined) this.#last = waiting.before;
    else waiting.after.before = waiting.before;
    this.#queued -= 1;
  }
}

function wholeNumber(name: string, given: number, least: number): number {
  if (Number.isSafeInteger(given) && given >= least) return given;
  throw new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `${name}: ${given}; a whole number of at least ${least} is needed`,
  );
}
