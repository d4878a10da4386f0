/**
 * How long something lasts that an engine keeps for us: a lease, a session, a key with a time to live.
 *
 * It is counted from when the last renewal that was confirmed was *sent*, on the monotonic clock: the
 * engine counts from later, so it cannot hand on what this process still counts as its own. Whoever asks
 * compares the clock first; timers only make the end known earlier.
 */
import type { Cancel, Clock } from '../core/clock.ts';
import { type LockLoss, QuorateError } from '../core/errors.ts';
import type { Alarm, SameDelay } from '../core/same-delay.ts';

/** Told once, synchronously, why it ended. */
export type OnEnd = (reason: QuorateError) => void;

/** What a lock lives on. */
export interface Life {
  /** Why it ended; `undefined` while it lasts. Compares the clock. */
  endReason(): QuorateError | undefined;
  remainingMs(): number;
  /** Calls `onEnd` when it ends; the returned function takes that back. */
  join(onEnd: OnEnd): () => void;
}

export interface RenewedLifeOptions {
  readonly clock: Clock;
  /** How it is called in errors: `the session behind it`. */
  readonly what: string;
  readonly ttlMs: number;
  /** When the request was sent that began it. */
  readonly sentMs: number;
  /** How long it lasts before it is renewed for the first time. @defaultValue `ttlMs` */
  readonly firstMs?: number | undefined;
  /** Where many begin and most end before: calls for first renewals, a third of `ttlMs` after they began. */
  readonly renewals?: SameDelay | undefined;
  /**
   * Resolves with how long it lasts, counted from before it was sent, or with why it is gone. Where it
   * rejects it is tried again.
   */
  readonly renew: (signal: AbortSignal) => Promise<number | Gone>;
}

/** Why something cannot be renewed any more. */
export interface Gone {
  readonly why: string;
  readonly loss: LockLoss;
}

/**
 * A life that is renewed every third of it. Most end long before, so that what a renewal or an error needs is
 * made with that, and its end has a timer of its own from the first renewal on.
 */
export class RenewedLife implements Life {
  readonly #clock: Clock;
  readonly #what: string;
  readonly #ttlMs: number;
  readonly #renew: (signal: AbortSignal) => Promise<number | Gone>;
  readonly #users: Set<OnEnd>;
  #deadlineMs: number;
  #cancelDeadline: Cancel | undefined;
  #cancelRenewal: Cancel | undefined;
  readonly #renewals: SameDelay | undefined;
  readonly #first: Alarm | undefined;
  /** Of the renewal that is under way. */
  #attempt: AbortController | undefined;
  #end: Gone | undefined;
  #endReason: QuorateError | undefined;

  constructor(options: RenewedLifeOptions) {
    const { clock, what, ttlMs, sentMs, firstMs = ttlMs, renewals, renew } = options;
    this.#clock = clock;
    this.#what = what;
    this.#ttlMs = ttlMs;
    this.#renew = renew;
    this.#users = new Set();
    this.#deadlineMs = sentMs + firstMs;
    this.#cancelDeadline = undefined;
    this.#cancelRenewal = undefined;
    this.#attempt = undefined;
    this.#end = undefined;
    this.#endReason = undefined;
    const begin = (): void => {
      if (!this.#lasts()) return;
      this.#watchDeadline();
      void this.#renewOnce();
    };
    const dueMs = firstMs / 3;
    const tookMs = clock.now() - sentMs;
    // Where the grant took long the renewal is due sooner than a third from now, or at once.
    this.#renewals = firstMs === ttlMs && tookMs <= dueMs / 4 ? renewals : undefined;
    this.#first = this.#renewals?.start(begin);
    if (this.#first === undefined) {
      this.#cancelRenewal = clock.after(Math.max(1, dueMs - tookMs), begin);
    }
  }

  endReason(): QuorateError | undefined {
    if (this.#lasts()) return undefined;
    const { why, loss } = this.#end!;
    this.#endReason ??= new QuorateError('ERR_LOCK_LOST', `${this.#what} ${why}`, { loss });
    return this.#endReason;
  }

  remainingMs(): number {
    return this.#lasts() ? this.#deadlineMs - this.#clock.now() : 0;
  }

  join(onEnd: OnEnd): () => void {
    this.#users.add(onEnd);
    return () => void this.#users.delete(onEnd);
  }

  /** Ends it here. What the engine keeps is not touched. */
  end(why: string, loss: LockLoss): void {
    if (this.#end !== undefined) return;
    this.stop(why, loss);
    if (this.#users.size === 0) return;
    const reason = this.endReason()!;
    for (const onEnd of [...this.#users]) onEnd(reason);
    this.#users.clear();
  }

  /** As `end`, where all who use it know: nobody is told. */
  stop(why: string, loss: LockLoss): void {
    this.#end ??= { why, loss };
    if (this.#first !== undefined) this.#renewals?.stop(this.#first);
    this.#cancelDeadline?.();
    this.#cancelRenewal?.();
    this.#attempt?.abort();
  }

  /** Ends it where its time is over. */
  #lasts(): boolean {
    if (this.#end === undefined && this.#clock.now() >= this.#deadlineMs) {
      const why = 'was not renewed within its time to live (paused process, or store out of reach)';
      this.end(why, 'expired');
    }
    return this.#end === undefined;
  }

  #watchDeadline(): void {
    // Less than a millisecond may be lost in the clock's fractions.
    const leftMs = Math.max(1, this.#deadlineMs - this.#clock.now());
    this.#cancelDeadline = this.#clock.after(leftMs, () => {
      if (this.#lasts()) this.#watchDeadline();
    });
  }

  #renewAfter(delayMs: number): void {
    this.#cancelRenewal = this.#clock.after(delayMs, () => void this.#renewOnce());
  }

  /** Never rejects. */
  async #renewOnce(): Promise<void> {
    const sentMs = this.#clock.now();
    const limitMs = this.#ttlMs / 3;
    let againMs = limitMs;
    this.#attempt = new AbortController();
    try {
      const stop = this.#attempt.signal;
      const renewed = await withinTime(this.#clock, limitMs, stop, this.#renew);
      if (typeof renewed !== 'number') this.end(renewed.why, renewed.loss);
      else if (this.#lasts()) this.#deadlineMs = sentMs + renewed;
    } catch {
      againMs = Math.min(this.#ttlMs / 12, 500);
    }
    this.#attempt = undefined;
    if (this.#end === undefined) this.#renewAfter(againMs);
  }
}

/** Gives a call that long, less where `stop` comes first. */
export async function withinTime<T>(
  clock: Clock,
  limitMs: number,
  stop: AbortSignal | undefined,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const attempt = new AbortController();
  const giveUp = (): void => {
    attempt.abort(new QuorateError('ERR_TIMEOUT', 'the store did not answer in time'));
  };
  const cancel = clock.after(limitMs, giveUp);
  stop?.addEventListener('abort', giveUp, { once: true });
  try {
    return await call(attempt.signal);
  } finally {
    cancel();
    stop?.removeEventListener('abort', giveUp);
  }
}
