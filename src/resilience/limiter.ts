/** The contract of limiters: how often something may happen. */
import type { WaitOptions } from '../core/abort.ts';
import type { Duration } from '../core/duration.ts';
import type { QuorateError } from '../core/errors.ts';

/** What a limiter says to one question. */
export interface Decision {
  readonly ok: boolean;
  /**
   * 0 where it is allowed. Else milliseconds until the same would be, if nobody else asked meanwhile and those who wait
   * were served.
   */
  readonly retryAfterMs: number;
}

/** How to wait for a limiter. */
export interface LimitWaitOptions extends WaitOptions {
  /** How much it takes: a positive number, at most what may be taken at once. @defaultValue 1 */
  readonly cost?: number | undefined;
  /** Refused at once where it would take longer. @defaultValue as long as it takes */
  readonly maxWait?: Duration | undefined;
}

/** A place in time that was taken, now or later. */
export interface Reservation {
  /** To wait for so many milliseconds before the deed is up to the caller. */
  readonly delayMs: number;
  /**
   * Gives it back: whether somebody else can use it. That is so before its time has come, as long as nobody
   * reserved after it.
   */
  cancel(): boolean;
}

/** How often: `'100/s'`, `'5000/h'`, `'10/30s'`, or the same in two parts. */
export type Rate = string | { readonly limit: number; readonly period: Duration };

/** What can be changed of a limiter while it is used. */
export interface LimitRules {
  /** So much in a time. */
  readonly rate: Rate;
  /** What may be taken at once; for token buckets alone. @defaultValue what comes in one period of the rate */
  readonly burst?: number | undefined;
}

/** How far a key has used its limit, for headers. */
export interface Usage {
  /** What may be taken at once by a key that was never used. */
  readonly limit: number;
  /** What may be taken now. */
  readonly remaining: number;
  /** Milliseconds until it is as if it was never used. */
  readonly resetMs: number;
}

/**
 * How often something may happen, in all or for each key.
 *
 * Keys are independent. Who waits is served first come, first served for each key, and while somebody waits for a key
 * nobody else gets ahead with `allow`.
 *
 * Errors by code: `ERR_INVALID_ARGUMENT` for a cost that is no positive number or more than may ever be taken at once,
 * and for a key longer than 1,024 characters; nothing was taken then.
 */
export interface Limiter {
  /** What it counts: what this process does. */
  readonly scope: 'process';
  /** Takes `cost` if that is allowed now. */
  allow(key?: string, cost?: number): Decision;
  /**
   * Waits until it is allowed, and takes it. Rejects with `ERR_RATE_LIMITED` where that would take longer than `maxWait`
   * or too many wait already, with the signal's reason when aborted, with `ERR_CLOSED` after `close`; nothing was taken then.
   */
  wait(key?: string, options?: LimitWaitOptions): Promise<void>;
  /**
   * Takes it now or later, and says when. `undefined` where that is later than `maxWait`, or others wait for the key:
   * nothing was taken.
   */
  reserve(key?: string, options?: Omit<LimitWaitOptions, 'signal'>): Reservation | undefined;
  /** How far a key has used its limit. Takes nothing. */
  usage(key?: string): Usage;
  /** Forgets a key: it is as if it was never used. */
  reset(key?: string): void;
  /**
   * From now on by this rate, with what was taken before. Who waits moves up or back; who waits for more than may be taken
   * at once now is refused.
   *
   * @throws `ERR_INVALID_ARGUMENT`; the old rate stays then.
   */
  reconfigure(rules: LimitRules): void;
  /** Checks what `reconfigure` takes; what is returned does it, and cannot fail. */
  prepare(rules: LimitRules): () => void;
  /** Ends every wait with `ERR_CLOSED`. Idempotent. */
  close(): void;
}

/** Ways to count: see the limiters of a process with these names. */
export type ClusterAlgorithm =
  | 'token-bucket'
  | 'sliding-window'
  | 'sliding-counter'
  | 'fixed-window';

/** What a limiter of many processes says to one question. */
export interface ClusterDecision extends Decision {
  /** Absent where the store decided. Else why it did not, and `whenDown` has decided: what was asked may be taken there or not. */
  readonly down?: QuorateError | undefined;
}

/** A place in time that was taken, now or later, among many processes. */
export interface ClusterReservation {
  /** To wait for so many milliseconds before the deed is up to the caller. */
  readonly delayMs: number;
  /**
   * Gives it back: whether somebody else can use it. That is so before its time has come, as long as nobody reserved
   * after it, and the store answers. Never rejects.
   */
  cancel(): Promise<boolean>;
}

/**
 * How often something may happen in all processes that share a store, in all or for each key: `Limiter`, with a store
 * between the question and the answer.
 *
 * Every answer comes within the time limit of the limiter: where the store does not answer, `whenDown` decides. What is taken
 * by a command whose answer was lost counts as taken. Who waits has a place in time that the store gave, first come, first served
 * among all processes; it keeps it when another gives up or the rules change.
 *
 * Errors by code, besides those of `Limiter`: `ERR_UNAVAILABLE` where the store is down and `whenDown` is `'refuse'`;
 * `ERR_CLOSED` after `close`. What the store says of the configuration (`ERR_UNAUTHENTICATED`, `ERR_PERMISSION_DENIED`,
 * `ERR_UNSUPPORTED`) comes through as it is.
 */
export interface ClusterLimiter extends AsyncDisposable {
  /** What it counts: what all processes do that share the store and the prefix. */
  readonly scope: 'cluster';
  /** Takes `cost` if that is allowed now. Refuses with `down` set, rather than reject, where the store is down. */
  allow(key?: string, cost?: number, options?: WaitOptions): Promise<ClusterDecision>;
  /**
   * Takes it now or later, and waits for that. Rejects with `ERR_RATE_LIMITED` where that would take longer than `maxWait` or too
   * many wait in this process; nothing was taken then. With the signal's reason when aborted: it is given back as by `cancel`.
   */
  wait(key?: string, options?: LimitWaitOptions): Promise<void>;
  /** Takes it now or later, and says when. `undefined` where that is later than `maxWait`: nothing was taken. */
  reserve(key?: string, options?: LimitWaitOptions): Promise<ClusterReservation | undefined>;
  /** How far a key has used its limit. Takes nothing. Rejects with `ERR_UNAVAILABLE` where the store is down. */
  usage(key?: string, options?: WaitOptions): Promise<Usage>;
  /** Forgets a key for all processes. Who waits keeps the time it was given. Rejects with `ERR_UNAVAILABLE` where the store is down. */
  reset(key?: string, options?: WaitOptions): Promise<void>;
  /**
   * From now on this process asks by this rate, with what was taken before: each process has to be told.
   *
   * @throws `ERR_INVALID_ARGUMENT`; the old rate stays then.
   */
  reconfigure(rules: LimitRules): void;
  /** Checks what `reconfigure` takes; what is returned does it, and cannot fail. */
  prepare(rules: LimitRules): () => void;
  /** Ends every wait with `ERR_CLOSED`, and gives back what was taken for them as well as can be. The store stays open. Idempotent. */
  close(): Promise<void>;
}
