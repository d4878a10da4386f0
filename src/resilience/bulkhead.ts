/** A limit for how many calls run at the same time, with a queue for some more. */

import { wholeNumber } from '../core/numbers.ts';
import type { Call } from './call.ts';
import { Rejection } from './outcome.ts';
import { Alone, type Changeable, type Policy } from './policy.ts';
import type { Gate } from './section.ts';

/** What can be changed of a bulkhead while it is used. */
export interface BulkheadRules {
  /** So many run at the same time. */
  readonly max: number;
  /** So many more wait for a place, first come, first served. @defaultValue 0 */
  readonly queue?: number | undefined;
}

/** What a bulkhead takes. */
export interface BulkheadOptions extends BulkheadRules {
  /** @defaultValue `'bulkhead'` */
  readonly name?: string | undefined;
}

/** How a bulkhead stands. */
export interface BulkheadStats {
  /** So many may run at the same time. */
  readonly max: number;
  readonly running: number;
  readonly queued: number;
  /** Calls refused, ever. */
  readonly refused: number;
}

/** A bulkhead: a limit for calls at the same time. */
export interface Bulkhead extends Policy {
  readonly kind: 'bulkhead';
  /** So many run. */
  readonly running: number;
  /** So many wait. */
  readonly queued: number;
  stats(): BulkheadStats;
  /**
   * From now on by these rules. Calls that run or wait already are left alone, also where they are more than may.
   *
   * @throws `ERR_INVALID_ARGUMENT`; the old rules stay then.
   */
  reconfigure(rules: BulkheadRules): void;
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

class Places extends Alone implements Gate, Bulkhead, Changeable<BulkheadRules> {
  override readonly kind = 'bulkhead';
  #max: number;
  #maxQueued: number;
  readonly #full: Rejection;
  #running: number;
  #queued: number;
  #refused: number;
  #first: Waiting | undefined;
  #last: Waiting | undefined;

  constructor({ name = 'bulkhead', ...rules }: BulkheadOptions) {
    super(name);
    const { max, queue } = checked(rules);
    this.#max = max;
    this.#maxQueued = queue;
    this.#full = new Rejection('full', name);
    this.#running = 0;
    this.#queued = 0;
    this.#refused = 0;
    this.#first = undefined;
    this.#last = undefined;
  }

  get running(): number {
    return this.#running;
  }

  get queued(): number {
    return this.#queued;
  }

  stats(): BulkheadStats {
    const { running, queued } = this;
    return { max: this.#max, running, queued, refused: this.#refused };
  }

  reconfigure(rules: BulkheadRules): void {
    this.prepare(rules)();
  }

  prepare(rules: BulkheadRules): () => void {
    const { max, queue } = checked(rules);
    return () => {
      this.#max = max;
      this.#maxQueued = queue;
      while (this.#running < max && this.#first !== undefined) {
        this.#running += 1;
        this.#letIn(this.#first);
      }
    };
  }

  enter(call: Call): number | Rejection | Promise<number> {
    if (this.#running < this.#max) {
      this.#running += 1;
      return 0;
    }
    if (this.#queued < this.#maxQueued) return this.#wait(call);
    this.#refused += 1;
    return this.#full;
  }

  leave(): void {
    const next = this.#first;
    // The place is handed on: nobody who comes now gets ahead.
    if (next !== undefined && this.#running <= this.#max) this.#letIn(next);
    else this.#running -= 1;
  }

  #letIn(next: Waiting): void {
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

function checked({ max, queue = 0 }: BulkheadRules): { max: number; queue: number } {
  return { max: wholeNumber('max', max, 1), queue: wholeNumber('queue', queue, 0) };
}
