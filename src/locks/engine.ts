/**
 * What an engine does for locks and elections. The rest of both contracts is built on it once, in
 * `locks-over.ts` and `elections-over.ts`.
 *
 * All that a lock can be is a *claim* with a number of `permits`: 1 is a plain lock, k a semaphore of k,
 * `Infinity` a read lock. The claims of a name stand in one queue. One holds when the claims before it are
 * fewer than the smallest number of permits among it and them. So a writer waits for the readers before it,
 * later readers wait for the writer, and whatever is mixed under one name stays safe.
 */
import type { WaitOptions } from '../core/abort.ts';
import type { BytesLike } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import type { ErrorCode } from '../core/errors.ts';
import type { Leader } from './elections.ts';
import type { Fencing, Held, Lock, LockGuarantees, LockHolder } from './locks.ts';

/** What is claimed, and how it is called in errors. */
export interface ClaimRequest {
  readonly name: string;
  readonly permits: number;
  /** What others see: who it is, or what a leader says. */
  readonly value: BytesLike;
  readonly what: 'lock' | 'leadership' | 'place in the barrier';
  readonly lostCode: ErrorCode;
  readonly signal: AbortSignal | undefined;
  /** `undefined`: as long as it takes. */
  readonly waitMs: number | undefined;
}

/** A claim that holds. */
export interface Claim<F extends Fencing = Fencing> extends Held {
  readonly name: string;
  readonly holder: string;
  readonly fencingToken: Lock<F>['fencingToken'];
}

export interface LockEngine<F extends Fencing = Fencing> {
  readonly guarantees: LockGuarantees<F>;
  readonly clock: Clock;
  /**
   * The longest name, in bytes of UTF-8, and the form that the engine's keys allow.
   * @throws `ERR_INVALID_ARGUMENT`
   */
  requireName(name: string): void;
  /** Waits for its turn. Whatever ends it otherwise, nothing stays in the engine. */
  claim(request: ClaimRequest): Promise<Claim<F>>;
  /** Claims where that holds at once; else `undefined`, and nothing stays in the engine. */
  tryClaim(request: ClaimRequest): Promise<Claim<F> | undefined>;
  holders(name: string, options: WaitOptions): Promise<readonly LockHolder[]>;
  /** Takes the claims that hold away from their holders. */
  evict(name: string, options: WaitOptions): Promise<readonly LockHolder[]>;
  /** Ends every claim and every wait. Idempotent. */
  close(): Promise<void>;
}

/** Who leads at a moment, and how to wait for the next. */
export interface LeaderView {
  readonly leader: Leader | undefined;
  /** Resolves when another leader, or another value of this one, is possible. */
  changed(signal: AbortSignal | undefined): Promise<void>;
}

/** An engine whose claims carry values that others see. */
export interface ElectionEngine extends LockEngine<'monotonic' | 'best-effort'> {
  /** @returns `false` where the claim is gone */
  setValue(claim: Claim, value: BytesLike, options: WaitOptions): Promise<boolean>;
  leader(name: string, options: WaitOptions): Promise<LeaderView>;
}
