/** A limit for how long a call may take. */
import { type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { QuorateError } from '../core/errors.ts';
import type { Call } from './call.ts';
import { Deadlines } from './deadlines.ts';
import { Rejection } from './outcome.ts';
import { Alone, type Policy } from './policy.ts';
import type { Section, Wrap } from './section.ts';

/** What a timeout takes, besides how long. */
export interface TimeoutOptions {
  /** @defaultValue `'timeout'` */
  readonly name?: string | undefined;
  /**
   * Whether the caller waits for work that does not end although its signal was aborted. @defaultValue `false`: the call
   * ends in time, and what the work still does is on its own
   */
  readonly cooperative?: boolean | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/**
 * Ends calls that take longer with `ERR_TIMEOUT` of `outcome: 'unknown'`, and aborts the signal of their work. What is
 * inside it is told that the work failed; a bulkhead inside keeps the place until the work has ended.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a time that is none, or 0.
 * @example
 * ```ts
 * const body = await timeout('2s').run(({ signal }) => fetch(url, { signal }));
 * ```
 */
export function timeout(after: Duration, options: TimeoutOptions = {}): Policy {
  return new Timeout(durationMs(after, 'timeout'), options);
}

class Timeout extends Alone implements Wrap {
  readonly #deadlines: Deadlines;
  readonly #isCooperative: boolean;

  constructor(afterMs: number, options: TimeoutOptions) {
    super(options.name ?? 'timeout');
    if (afterMs <= 0)
      throw new QuorateError(
        'ERR_INVALID_ARGUMENT',
        'timeout: 0, so that every call would be too late',
      );
    this.#deadlines = new Deadlines(options.clock ?? systemClock, afterMs);
    this.#isCooperative = options.cooperative === true;
  }

  around(call: Call, inner: Section): Promise<unknown> {
    return new Promise((resolve, reject) => {
      let late: Rejection | undefined;
      const attempt = call.fork(call.attempt);
      const deadline = this.#deadlines.begin(() => {
        late = new Rejection('timeout', this.name, undefined, true);
        attempt.abort(late.error, 'failure');
        if (!this.#isCooperative) resolve(late);
      });
      inner.result(attempt).then(
        (result) => {
          this.#deadlines.end(deadline);
          resolve(result);
        },
        (error: unknown) => {
          this.#deadlines.end(deadline);
          // That the work failed is what it was asked for then.
          if (late === undefined) reject(error);
          else resolve(late);
        },
      );
    });
  }
}
