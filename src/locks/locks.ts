/** The contract of locks. Every engine's driver implements it. */
import type { WaitOptions } from '../core/abort.ts';
import type { Duration } from '../core/duration.ts';

/**
 * What fencing tokens of an engine are worth. `monotonic`: a later holder's token is higher, whatever
 * fails. `best-effort`: as long as the engine loses nothing that it acknowledged. `none`: there are none.
 */
export type Fencing = 'monotonic' | 'best-effort' | 'none';

/** What an engine promises. Asking for more does not compile, and fails with `ERR_UNSUPPORTED`. */
export interface LockGuarantees<F extends Fencing = Fencing> {
  readonly fencing: F;
  /** Who waits is served first come, first served; or whoever is quickest when the lock is free. */
  readonly waiters: 'fifo' | 'barging';
  /**
   * What ends the lock of a holder that is gone: the engine's clock; the clocks of engine and holder
   * both, which must run at about the same rate; or the end of the holder's connection or process.
   */
  readonly expiry: 'engine-clock' | 'both-clocks' | 'connection' | 'process';
  /** Whether it has locks that several hold at a time: `shared`, and `permits`. */
  readonly shared: boolean;
  readonly permits: boolean;
}

/** How to ask for a lock. */
export interface AcquireOptions extends WaitOptions {
  /** Give up after this long, with `ERR_LOCK_BUSY`. @defaultValue waits as long as it takes */
  readonly wait?: Duration | undefined;
  /**
   * A semaphore: so many may hold the name together. Where callers differ the smallest counts, of
   * those that hold and those that came before. @defaultValue 1
   */
  readonly permits?: number | undefined;
  /** A read lock: shared with all that ask for the same; who came first and asked otherwise goes first. @defaultValue `false` */
  readonly shared?: boolean | undefined;
  /**
   * Within `run` of the same name and the same `Locks` the lock is had at once, and given back with
   * the outer one. @defaultValue `false`: it waits for the outer one, for ever
   */
  readonly reentrant?: boolean | undefined;
}

/** How to ask for a lock of an engine that has none that are `shared`, or no `permits`: asking for them does not compile. */
export type AcquireOptionsWithout<K extends 'shared' | 'permits'> = Omit<AcquireOptions, K> & {
  readonly [P in K]?: undefined;
};

/**
 * What is held, until it is released or lost.
 *
 * Holding something in a distributed system is always a belief: the process may be stopped past the
 * lock's life between the check and the deed. Hand `fencingToken` to what you change, and let it
 * refuse tokens below the highest it has seen; hand `lost` to what you call.
 */
export interface Held extends AsyncDisposable {
  /**
   * Aborted, with an `ERR_LOCK_LOST` error as reason, when the lock can no longer be trusted. Its
   * `aborted` compares the clock: after a pause of the process past the lock's life it is `true` at
   * the first look, before any timer ran. Not aborted by `release`.
   */
  readonly lost: AbortSignal;
  /** Throws `ERR_LOCK_LOST` unless it is held now. No I/O. */
  assertHeld(): void;
  /** How long it would last without another renewal; 0 once it is lost or released. */
  remainingMs(): number;
  /**
   * Gives it back, in one round trip; again, or after a loss, it does nothing. Rejects where the
   * engine did not confirm; the lock then ends by itself with its time to live.
   */
  release(): Promise<void>;
  /** As `release`, but never throws: an error of yours stays the one that is seen. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** A lock that is held. */
export interface Lock<F extends Fencing = 'monotonic' | 'best-effort'> extends Held {
  readonly name: string;
  /** Grows with every grant of this name: a later holder's is higher. `undefined` where the engine has none. */
  readonly fencingToken: F extends 'none' ? undefined : bigint;
  /** How the engine names this grant, for people and tools: with etcd and the quorum its key. */
  readonly holder: string;
}

/** Several locks, held together: lost as soon as one of them is. */
export interface LockSet<F extends Fencing = 'monotonic' | 'best-effort'> extends Held {
  /** In the order in which the names were given. */
  readonly locks: readonly Lock<F>[];
}

/** Who holds a name, or waits for it. */
export interface LockHolder {
  readonly holder: string;
  readonly fencingToken: bigint | undefined;
  /** What it says of itself. @defaultValue host name and process id */
  readonly owner: string;
  /** It is still in the queue; engines that do not know who waits leave these out. */
  readonly waiting: boolean;
}

/**
 * Locks by name. `F` is what their tokens are worth, `O` what may be asked for.
 *
 * @example
 * ```ts
 * await using lock = await locks.acquire('orders/42', { wait: '5s' });
 * await ship(order, { fencingToken: lock.fencingToken, signal: lock.lost });
 * ```
 */
export interface Locks<
  F extends Fencing = 'monotonic' | 'best-effort',
  O extends AcquireOptions = AcquireOptions,
> extends AsyncDisposable {
  readonly guarantees: LockGuarantees<F>;
  /**
   * Waits for the lock. Rejects with the signal's reason when aborted, `ERR_LOCK_BUSY` after `wait`,
   * `ERR_LOCK_LOST` where its place in the queue was lost. Nothing stays acquired then.
   */
  acquire(name: string, options?: O): Promise<Lock<F>>;
  /** The lock if it is free now, `undefined` if it is busy. */
  tryAcquire(name: string, options?: Omit<O, 'wait'>): Promise<Lock<F> | undefined>;
  /** All of them or none. Callers that name the same ones in another order do not block each other for ever. */
  acquireAll(names: readonly string[], options?: O): Promise<LockSet<F>>;
  /**
   * Runs `work` under the lock and gives it back. Rejects with `ERR_LOCK_LOST` (outcome `unknown`)
   * where the lock was lost before `work` ended; an error of `work` goes first.
   */
  run<T>(name: string, work: (lock: Lock<F>) => Promise<T> | T, options?: O): Promise<T>;
  /** Who holds the name and who waits for it, in order. */
  holders(name: string, options?: WaitOptions): Promise<readonly LockHolder[]>;
  /**
   * Takes the lock from its holders, for operators: they see it as lost, soon. Those who wait are
   * served. Resolves with whom it was taken from.
   */
  forceRelease(name: string, options?: WaitOptions): Promise<readonly LockHolder[]>;
  /** Gives back everything that is held and ends every wait, with `ERR_CLOSED`. Idempotent. */
  close(): Promise<void>;
}
