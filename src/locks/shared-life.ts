/**
 * A life that claims share: the session of an engine. It is renewed for as long as it is open; once retired
 * it ends with its last user, and what ends it here ends it in the engine.
 */
import type { Clock } from '../core/clock.ts';
import type { LockLoss, QuorateError } from '../core/errors.ts';
import { type Gone, type Life, type OnEnd, RenewedLife, withinTime } from './life.ts';

/** What a session of an engine is made of. */
export interface SharedLifeParts {
  readonly clock: Clock;
  /** How long it lasts in the engine without a renewal. */
  readonly ttlMs: number;
  /** When the request was sent that began it. */
  readonly sentMs: number;
  /** As in `RenewedLifeOptions`. */
  readonly renew: (signal: AbortSignal) => Promise<number | Gone>;
  /** Ends it in the engine. Called once; where it rejects it runs out there by itself. */
  readonly endThere: (signal: AbortSignal) => Promise<unknown>;
}

/** See the head of this file. */
export class SharedLife implements Life {
  readonly #life: RenewedLife;
  #users: number;
  #retired: boolean;
  #ended: Promise<void> | undefined;

  constructor({ clock, ttlMs, sentMs, renew, endThere }: SharedLifeParts) {
    this.#users = 0;
    this.#retired = false;
    this.#ended = undefined;
    this.#life = new RenewedLife({ clock, what: 'the session behind it', ttlMs, sentMs, renew });
    this.#life.join(() => {
      this.#retired = true;
      // The engine may count it alive for a while yet: nobody should have to wait for that. As patient as a
      // renewal: one that is out of reach holds up no shutdown for longer.
      this.#ended = withinTime(clock, ttlMs / 3, undefined, endThere).then(
        () => undefined,
        () => undefined,
      );
    });
  }

  /** Whether new users are welcome. */
  get usable(): boolean {
    return !this.#retired && this.endReason() === undefined;
  }

  endReason(): QuorateError | undefined {
    return this.#life.endReason();
  }

  remainingMs(): number {
    return this.#life.remainingMs();
  }

  /** Calls `onEnd` when it ends, and does not keep it: `join` is for those for whom it lasts. */
  onEnd(onEnd: OnEnd): () => void {
    return this.#life.join(onEnd);
  }

  join(onEnd: OnEnd): () => void {
    const leaveLife = this.#life.join(onEnd);
    let isIn = true;
    this.#users += 1;
    return () => {
      leaveLife();
      if (!isIn) return;
      isIn = false;
      this.#users -= 1;
      if (this.#retired && this.#users === 0) void this.close();
    };
  }

  /**
   * Takes no new users, and ends with its last one. After a write whose outcome is unknown: it may
   * still arrive, and only the end of the session makes sure that it leaves nothing behind.
   */
  retire(): void {
    this.#retired = true;
    if (this.#users === 0) void this.close();
  }

  /** Ends it here and in the engine. Never rejects: one that cannot be ended there runs out. */
  close(): Promise<void> {
    this.end('was closed', 'session');
    return this.#ended!;
  }

  protected end(why: string, loss: LockLoss): void {
    this.#life.end(why, loss);
  }
}
