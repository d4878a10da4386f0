/** A limiter in the way of calls. */
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid, isQuorateError } from '../core/errors.ts';
import type { Call } from './call.ts';
import type { ClusterLimiter, Limiter, LimitRules, LimitWaitOptions } from './limiter.ts';
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

/** What calls got of a limiter. */
export interface LimitStats {
  /** Calls that ran, ever. */
  readonly allowed: number;
  /** Calls refused, ever. */
  readonly refused: number;
  /** Calls that wait now. */
  readonly waiting: number;
}

/** A limiter in the way of calls. */
export interface Limit extends Policy {
  readonly kind: 'limit';
  stats(): LimitStats;
}

/**
 * Takes each call's `cost` of its `key` from a limiter before it runs. A call that may not run now, or not within `maxWait`,
 * is refused with `ERR_RATE_LIMITED`. What was taken is not given back where a policy further in refuses the call. The limiter
 * may be one of this process or of many; with one of many a call is refused with `ERR_UNAVAILABLE` where its store is down and
 * `whenDown` says so.
 *
 * @throws `ERR_INVALID_ARGUMENT`
 * @example
 * ```ts
 * const perTenant = limit(tokenBucket({ rate: '100/s', burst: 20 }));
 * await perTenant.run(() => serve(request), { key: request.tenant });
 * ```
 */
export function limit(limiter: Limiter | ClusterLimiter, options: LimitOptions = {}): Limit {
  if (typeof limiter?.allow !== 'function')
    throw invalid("limiter: a limiter is needed, such as tokenBucket({ rate: '100/s' })");
  return limiter.scope === 'cluster'
    ? new ClusterLimit(limiter, options)
    : new ProcessLimit(limiter, options);
}

/** Counts what became of calls. */
abstract class Counting extends Alone implements Limit {
  override readonly kind = 'limit';
  protected allowed: number;
  protected refused: number;
  protected waiting: number;

  constructor(name: string) {
    super(name);
    this.allowed = 0;
    this.refused = 0;
    this.waiting = 0;
  }

  stats(): LimitStats {
    const { allowed, refused, waiting } = this;
    return { allowed, refused, waiting };
  }
}

class ProcessLimit extends Counting implements Gate, Changeable<LimitRules> {
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
    if (ok) {
      this.allowed += 1;
      return 0;
    }
    if (retryAfterMs <= this.#maxWaitMs) return this.#wait(call);
    this.refused += 1;
    return new Rejection('limited', this.name, retryAfterMs);
  }

  leave(): void {
    // What was taken was used.
  }

  async #wait({ options: { key, cost }, signal }: Call): Promise<number | Rejection> {
    this.waiting += 1;
    try {
      await this.#limiter.wait(key, { cost, signal, maxWait: this.#maxWaitMs });
      this.allowed += 1;
      return 0;
    } catch (error) {
      if (!isQuorateError(error, 'ERR_RATE_LIMITED')) throw error;
      this.refused += 1;
      return new Rejection('limited', this.name, error.retryAfterMs);
    } finally {
      this.waiting -= 1;
    }
  }
}

class ClusterLimit extends Counting implements Gate, Changeable<LimitRules> {
  readonly #limiter: ClusterLimiter;
  readonly #maxWaitMs: number;

  constructor(limiter: ClusterLimiter, { maxWait = 0, name = 'limit' }: LimitOptions) {
    super(name);
    this.#limiter = limiter;
    this.#maxWaitMs = durationMs(maxWait, 'maxWait');
  }

  prepare(rules: LimitRules): () => void {
    return this.#limiter.prepare(rules);
  }

  async enter({ options: { key, cost }, signal }: Call): Promise<number | Rejection> {
    if (this.#maxWaitMs > 0) return this.#wait(key, { cost, signal, maxWait: this.#maxWaitMs });
    const { ok, retryAfterMs, down } = await this.#limiter.allow(key, cost, { signal });
    if (ok) {
      this.allowed += 1;
      return 0;
    }
    this.refused += 1;
    return new Rejection(down === undefined ? 'limited' : 'unavailable', this.name, retryAfterMs);
  }

  leave(): void {
    // What was taken was used.
  }

  async #wait(key: string | undefined, options: LimitWaitOptions): Promise<number | Rejection> {
    this.waiting += 1;
    try {
      await this.#limiter.wait(key, options);
      this.allowed += 1;
      return 0;
    } catch (error) {
      const isDown = isQuorateError(error, 'ERR_UNAVAILABLE');
      if (!isDown && !isQuorateError(error, 'ERR_RATE_LIMITED')) throw error;
      this.refused += 1;
      return new Rejection(isDown ? 'unavailable' : 'limited', this.name, error.retryAfterMs);
    } finally {
      this.waiting -= 1;
    }
  }
}
