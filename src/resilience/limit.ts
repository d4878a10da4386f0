/** A limiter in the way of calls. */
import { type Duration, durationMs } from '../core/duration.ts';
import { isQuorateError } from '../core/errors.ts';
import type { Call } from './call.ts';
import type { Limiter, LimitRules } from './limiter.ts';
import { Rejection } from './outcome.ts';
import { Alone, type Changeable, type Policy } from './policy.ts';
import type { Gate } from './section.ts';

/** How calls use a limiter. */
export interface LimitOptions {
  /** Wait this long for the limit rather than be refused at once. @defaultValue 0 */
  readonly maxWait?: Duration | undefined;
  /** @defaultValue `'limit'` */
  readonly name?: string | undefined;
}

/**
 * Takes each call's `cost` of its `key` from a limiter before it runs. A call that may not run now, or not within `maxWait`,
 * is refused with `ERR_RATE_LIMITED`. What was taken is not given back where a policy further in refuses the call.
 *
 * @example
 * ```ts
 * const perTenant = limit(tokenBucket({ rate: '100/s', burst: 20 }));
 * await perTenant.run(() => serve(request), { key: request.tenant });
 * ```
 */
export function limit(limiter: Limiter, options: LimitOptions = {}): Policy {
  return new Limit(limiter, options);
}

class Limit extends Alone implements Gate, Changeable<LimitRules> {
  readonly #limiter: Limiter;
  readonly #maxWaitMs: number;

  constructor(limiter: Limiter, { maxWait = 0, name = 'limit' }: LimitOptions) {
    super(name);
    this.#limiter = limiter;
    this.#maxWaitMs = durationMs(maxWait, 'maxWait');
  }

  prepare(rules: LimitRules): () => void {
    return this.#limiter.prepare(rules);
  }

  enter(call: Call): number | Rejection | Promise<number | Rejection> {
    const { key, cost } = call.options;
    const { ok, retryAfterMs } = this.#limiter.allow(key, cost);
    if (ok) return 0;
    if (retryAfterMs > this.#maxWaitMs) return new Rejection('limited', this.name, retryAfterMs);
    return this.#wait(call);
  }

  leave(): void {
    // What was taken was used.
  }

  async #wait({ options: { key, cost }, signal }: Call): Promise<number | Rejection> {
    try {
      await this.#limiter.wait(key, { cost, signal, maxWait: this.#maxWaitMs });
      return 0;
    } catch (error) {
      if (!isQuorateError(error, 'ERR_RATE_LIMITED')) throw error;
      return new Rejection('limited', this.name, error.retryAfterMs);
    }
  }
}
