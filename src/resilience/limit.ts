/** A limiter in the way of calls. */
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid, isQuorateError } from '../core/errors.ts';
import type { Call } from './call.ts';
import type { ClusterLimiter, Limiter, LimitRules } from './limiter.ts';
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

/** What both have: counters, and how to wait. */
abstract class InTheWay<L extends Limiter | ClusterLimiter> extends Alone implements Limit {
  override readonly kind = 'limit';
  protected readonly limiter: L;
  protected readonly maxWaitMs: number;
  protected allowed: number;
  protected refused: number;
  #waiting: number;

  constructor(limiter: L, { maxWait = 0, name = 'limit' }: LimitOptions) {
    super(name);
    this.limiter = limiter;
    this.maxWaitMs = durationMs(maxWait, 'maxWait');
    this.allowed = 0;
    this.refused = 0;
    this.#waiting = 0;
  }

  stats(): LimitStats {
    return { allowed: this.allowed, refused: this.refused, waiting: this.#waiting };
  }

  prepare(rules: LimitRules): () => void {
    return this.limiter.prepare(rules);
  }

  leave(): void {
    // What was taken was used.
  }

  protected async wait({ options: { key, cost }, signal }: Call): Promise<number | Rejection> {
    this.#waiting += 1;
    try {
      await this.limiter.wait(key, { cost, signal, maxWait: this.maxWaitMs });
      this.allowed += 1;
      return 0;
    } catch (error) {
      const isDown = isQuorateError(error, 'ERR_UNAVAILABLE');
      if (!isDown && !isQuorateError(error, 'ERR_RATE_LIMITED')) throw error;
      this.refused += 1;
      return new Rejection(isDown ? 'unavailable' : 'limited', this.name, error.retryAfterMs);
    } finally {
      this.#waiting -= 1;
    }
  }
}

class ProcessLimit extends InTheWay<Limiter> implements Gate, Changeable<LimitRules> {
  enter(call: Call): number | Rejection | Promise<number | Rejection> {
    const { key, cost } = call.options;
    const { ok, retryAfterMs } = this.limiter.allow(key, cost);
    if (ok) {
      this.allowed += 1;
      return 0;
    }
    if (retryAfterMs <= this.maxWaitMs) return this.wait(call);
    this.refused += 1;
    return new Rejection('limited', this.name, retryAfterMs);
  }
}

class ClusterLimit extends InTheWay<ClusterLimiter> implements Gate, Changeable<LimitRules> {
  async enter(call: Call): Promise<number | Rejection> {
    if (this.maxWaitMs > 0) return this.wait(call);
    const { key, cost } = call.options;
    const { signal } = call;
    const { ok, retryAfterMs, down } = await this.limiter.allow(key, cost, { signal });
    if (ok) {
      this.allowed += 1;
      return 0;
    }
    this.refused += 1;
    return new Rejection(down === undefined ? 'limited' : 'unavailable', this.name, retryAfterMs);
  }
}
