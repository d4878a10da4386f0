/** Several locks that are held as one. */
import type { Fencing, Lock, LockSet } from './locks.ts';

export class HeldTogether<F extends Fencing> implements LockSet<F> {
  readonly locks: readonly Lock<F>[];
  #lost: AbortSignal | undefined;

  constructor(locks: readonly Lock<F>[]) {
    this.locks = locks;
    this.#lost = undefined;
  }

  get lost(): AbortSignal {
    // A look at each: it compares the clock, and with it this signal does.
    const signals = this.locks.map((lock) => lock.lost);
    for (const signal of signals) void signal.aborted;
    this.#lost ??= AbortSignal.any(signals);
    return this.#lost;
  }

  assertHeld(): void {
    for (const lock of this.locks) lock.assertHeld();
  }

  remainingMs(): number {
    return Math.min(...this.locks.map((lock) => lock.remainingMs()));
  }

  async release(): Promise<void> {
    const ends = await Promise.allSettled(this.locks.map((lock) => lock.release()));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release().catch(() => undefined);
  }
}
