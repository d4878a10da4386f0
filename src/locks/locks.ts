/** The contract of locks. Every engine's driver implements it. */
import type { WaitOptions } from '../core/abort.ts';
import type { Duration } from '../core/duration.ts';

/** How to wait for a lock. */
export interface AcquireOptions extends WaitOptions {
  /** Give up after this long, with `ERR_LOCK_BUSY`. @defaultValue waits as long as it takes */
  readonly wait?: Duration | undefined;
}

/**
 * A lock that is held, until it is released or lost.
 *
 * Holding a lock in a distributed system is always a belief: the process may be stopped past the
 * lock's life between the check and the deed. Hand `fencingToken` to what you change, and let it
 * refuse tokens below the highest it has seen; hand `lost` to what you call.
 */
export interface Lock extends AsyncDisposable {
  readonly name: string;
  /** Grows with every grant of this name: a later holder's is higher. */
  readonly fencingToken: bigint;
  /** How the engine names this grant, for people and tools: with etcd and the quorum its key. */
  readonly holder: string;
  /**
   * Aborted, with an `ERR_LOCK_LOST` error as reason, when the lock can no longer be trusted. Its
   * `aborted` compares the clock: after a pause of the process past the lock's life it is `true` at
   * the first look, before any timer ran. Not aborted by `release`.
   */
  readonly lost: AbortSignal;
  /** Throws `ERR_LOCK_LOST` unless the lock is held now. No I/O. */
  assertHeld(): void;
  /** How long it would last without another renewal; 0 once it is lost or released. */
  remainingMs(): number;
  /**
   * Gives the lock back, in one round trip; again, or after a loss, it does nothing. Rejects where
   * the engine did not confirm; the lock then ends by itself with its time to live.
   */
  release(): Promise<void>;
  /** As `release`, but never throws: an error of yours stays the one that is seen. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Locks by name.
 *
 * @example
 * ```ts
 * await using lock = await locks.acquire('orders/42', { wait: '5s' });
 * await ship(order, { fencingToken: lock.fencingToken, signal: lock.lost });
 * ```
 */
export interface Locks extends AsyncDisposable {
  /**
   * Waits for the lock. Rejects with the signal's reason when aborted, `ERR_LOCK_BUSY` after `wait`,
   * `ERR_LOCK_LOST` where its place in the queue was lost. Nothing stays acquired then.
   */
  acquire(name: string, options?: AcquireOptions): Promise<Lock>;
  /** The lock if it is free now, `undefined` if it is busy. */
  tryAcquire(name: string, options?: WaitOptions): Promise<Lock | undefined>;
  /**
   * Runs `work` under the lock and gives it back. Rejects with `ERR_LOCK_LOST` (outcome `unknown`)
   * where the lock was lost before `work` ended; an error of `work` goes first.
   */
  run<T>(name: string, work: (lock: Lock) => Promise<T> | T, options?: AcquireOptions): Promise<T>;
  /** Gives back everything that is held and ends every wait. Idempotent. */
  close(): Promise<void>;
}
