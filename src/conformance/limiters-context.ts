/** What every case of the suite of limiters is given, and the helpers that the cases share. */
import assert from 'node:assert/strict';
import { type Clock, systemClock } from '../core/clock.ts';
import type { Duration } from '../core/duration.ts';
import { type ErrorCode, isQuorateError, type QuorateError } from '../core/errors.ts';
import { type Random, systemRandom } from '../core/random.ts';
import type { ClusterAlgorithm, ClusterLimiter, LimitRules } from '../resilience/limiter.ts';
import type { Case } from './case.ts';
import { CaseContext, errorOf } from './case-context.ts';

/**
 * What a limiter may lack. `twoClients`: several processes can use it; without it all clients of a case are the same.
 * `lease`: it can take tokens ahead of need. `leftovers`: what it keeps can be looked at (`LimitersTarget.leftovers`).
 */
export type LimiterCapability = 'twoClients' | 'lease' | 'leftovers';

/** Capabilities that are missing, each with the reason that is shown for the skipped cases. */
export type LimiterLacks = Partial<Readonly<Record<LimiterCapability, string>>>;

/** A case of the suite of limiters. */
export type LimiterCase = Case<LimiterContext, LimiterCapability>;

/** What cases open limiters with; passed on as it is. */
export interface LimiterRequest extends LimitRules {
  readonly algorithm: ClusterAlgorithm;
  readonly prefix: string;
  readonly maxWaiting?: number;
  readonly lease?: { readonly tokens: number; readonly for: Duration };
}

/** The limiters under test. A limiter of one process takes part behind a thin asynchronous wrapper. */
export interface LimitersTarget {
  /** Opens a limiter as an independent process would. */
  open(request: LimiterRequest): ClusterLimiter | Promise<ClusterLimiter>;
  /** The names of what the store keeps of limits with this prefix. @defaultValue none: lacks `leftovers` */
  leftovers?(prefix: string): Promise<readonly string[]>;
  /** So long after a key is as if it was never used it may still be there, in milliseconds. @defaultValue 20,000 */
  readonly expiryMs?: number;
  /** The one that the limiters go by. @defaultValue the system's */
  readonly clock?: Clock;
  /** Picks the prefix of a case's keys. @defaultValue the system's */
  readonly random?: Random;
}

/** Something that was allowed, somewhere between two moments. */
export interface Admission {
  readonly fromMs: number;
  readonly toMs: number;
  readonly cost: number;
}

/** One case's view of the limiters. */
export class LimiterContext extends CaseContext {
  readonly random: Random;
  readonly prefix: string;
  readonly expiryMs: number;
  readonly #target: LimitersTarget;
  readonly #lacks: LimiterLacks;
  readonly #open: ClusterLimiter[];

  constructor(target: LimitersTarget, lacks: LimiterLacks) {
    super(target.clock ?? systemClock, 30);
    this.random = target.random ?? systemRandom;
    this.prefix = `limit-conformance/${this.random.id63().toString(36)}/`;
    this.expiryMs = target.expiryMs ?? 20_000;
    this.#target = target;
    this.#lacks = lacks;
    this.#open = [];
  }

  readonly one = async (
    rules: Partial<LimiterRequest> & LimitRules,
    algorithm: ClusterAlgorithm = 'token-bucket',
  ): Promise<ClusterLimiter> => {
    const limiter = await this.#target.open({ prefix: this.prefix, algorithm, ...rules });
    this.#open.push(limiter);
    return limiter;
  };

  /** As two processes have it, where there can be two. */
  readonly two = async (
    rules: Partial<LimiterRequest> & LimitRules,
    algorithm: ClusterAlgorithm = 'token-bucket',
  ): Promise<[ClusterLimiter, ClusterLimiter]> => {
    const one = await this.one(rules, algorithm);
    return [one, this.#lacks.twoClients === undefined ? await this.one(rules, algorithm) : one];
  };

  /** What the store keeps of this case. */
  readonly leftovers = async (): Promise<readonly string[]> => {
    assert.ok(this.#target.leftovers, 'a case that looks at the store needs "leftovers"');
    return this.#target.leftovers(this.prefix);
  };

  /** Lets time pass until that many milliseconds are over for sure. */
  readonly pass = async (delayMs: number): Promise<void> => {
    const untilMs = this.clock.now() + delayMs;
    // Half a tick more: limits count in fractions.
    while (this.clock.now() <= untilMs + 1)
      await this.sleep(Math.max(1, untilMs - this.clock.now()));
  };

  /** Checks that it rejects with `code`; the error. */
  readonly refuses = async (work: Promise<unknown>, code: ErrorCode): Promise<QuorateError> => {
    const error = await this.within(errorOf(work, code), `an error of code ${code}`);
    assert.ok(isQuorateError(error), `a Quorate error of code ${code}, not ${String(error)}`);
    assert.equal(error.code, code, error.message);
    return error;
  };

  /** Checks that it rejects with exactly `reason`. */
  readonly rejectsWith = async (work: Promise<unknown>, reason: unknown): Promise<void> => {
    const error = errorOf(work, 'the reason of the signal');
    assert.equal(await this.within(error, 'an aborted call to end', 5000), reason);
  };

  /** Takes so much of a key that nothing is left of it. */
  readonly useUp = async (limiter: ClusterLimiter, key: string): Promise<void> => {
    const { limit } = await limiter.usage(key);
    assert.equal((await limiter.allow(key, limit)).ok, true, 'a key that was never used has all');
  };

  /** Asks once; what was allowed, if it was, and when. */
  readonly admission = async (
    limiter: ClusterLimiter,
    key: string,
    cost = 1,
  ): Promise<Admission | undefined> => {
    const fromMs = this.clock.now();
    const { ok } = await limiter.allow(key, cost);
    return ok ? { fromMs, toMs: this.clock.now(), cost } : undefined;
  };

  /**
   * Checks that in no interval more was allowed than `atOnce + perMs·t`: of all that was asked and answered within
   * it, for each beginning and each end.
   */
  readonly isWithin = (admissions: readonly Admission[], atOnce: number, perMs: number): void => {
    const byEnd = [...admissions].sort((a, b) => a.toMs - b.toMs);
    for (const { fromMs } of admissions) {
      let sum = 0;
      for (const one of byEnd) {
        if (one.fromMs < fromMs) continue;
        sum += one.cost;
        // Clocks of whole milliseconds are compared with others.
        const most = atOnce + perMs * (one.toMs - fromMs + 1);
        const t = (one.toMs - fromMs).toFixed(3);
        assert.ok(sum <= most + 1e-6, `${sum} were allowed within ${t} ms, ${most} are the limit`);
      }
    }
  };

  /** Closes all limiters. */
  async end(): Promise<void> {
    const closing = this.#open.splice(0).map((limiter) => limiter.close());
    await this.within(Promise.all(closing), 'the limiters to close');
  }
}
