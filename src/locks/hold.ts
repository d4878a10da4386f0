/** What every engine's claim is when its turn has come: held, and then lost or released. */
import { type ErrorCode, type LockLoss, QuorateError } from '../core/errors.ts';
import {
  electionElected,
  electionLost,
  electionResigned,
  lockAcquired,
  lockLost,
  lockReleased,
} from '../telemetry/channels.ts';
import type { Life } from './life.ts';
import type { Held } from './locks.ts';
import { checkedSignal } from './signals.ts';

/** How it is called in errors. */
export interface Subject {
  readonly what: 'lock' | 'leadership' | 'place in the barrier';
  readonly name: string;
  readonly lostCode: ErrorCode;
}

export class Hold implements Held {
  readonly #subject: Subject;
  readonly #life: Life;
  readonly #giveBack: () => Promise<void>;
  readonly #leave: () => void;
  #state: 'held' | 'lost' | 'released';
  #reason: QuorateError | undefined;
  /** Made when first looked at: most locks are released without. */
  #controller: AbortController | undefined;
  #released: Promise<void> | undefined;

  /** @param giveBack - called once, unless it is lost before */
  constructor(subject: Subject, life: Life, giveBack: () => Promise<void>) {
    this.#subject = subject;
    this.#life = life;
    this.#giveBack = giveBack;
    this.#state = 'held';
    this.#reason = undefined;
    this.#controller = undefined;
    this.#released = undefined;
    this.#leave = life.join((reason) => this.lose(reason.message, reason.loss ?? 'session'));
    const begun = subject.what === 'leadership' ? electionElected : lockAcquired;
    if (begun.hasSubscribers) begun.publish({ what: subject.what, name: subject.name });
  }

  get lost(): AbortSignal {
    this.isHeld();
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#state === 'lost') this.#controller.abort(this.#reason);
      else checkedSignal(this.#controller.signal, () => void this.isHeld());
    }
    return this.#controller.signal;
  }

  /** Whether it is held, as far as the clock can tell. */
  isHeld(): boolean {
    // Ends the life where its time is over, which calls `lose`.
    this.#life.endReason();
    return this.#state === 'held';
  }

  assertHeld(): void {
    if (this.isHeld()) return;
    if (this.#reason !== undefined) throw this.#reason;
    const { what, name, lostCode } = this.#subject;
    throw new QuorateError(lostCode, `the ${what} '${name}' was given back`);
  }

  remainingMs(): number {
    return this.isHeld() ? this.#life.remainingMs() : 0;
  }

  /** It is gone in the engine: whoever holds it hears of it at once. */
  lose(why: string, loss: LockLoss): void {
    if (this.#state !== 'held') return;
    const { what, name, lostCode } = this.#subject;
    this.#state = 'lost';
    this.ended();
    this.#leave();
    this.#reason = new QuorateError(lostCode, `the ${what} '${name}' was lost: ${why}`, { loss });
    this.#controller?.abort(this.#reason);
    const end = what === 'leadership' ? electionLost : lockLost;
    if (end.hasSubscribers) end.publish({ what, name, loss });
  }

  /** Somebody took it by force, and said so. */
  taken(): void {
    this.lose('it was taken by force', 'stolen');
  }

  /** Called when it is lost or given back. */
  protected ended(): void {
    // Nothing more to stop here.
  }

  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    if (!this.isHeld()) return;
    this.#state = 'released';
    this.ended();
    const { what, name } = this.#subject;
    const end = what === 'leadership' ? electionResigned : lockReleased;
    if (end.hasSubscribers) end.publish({ what, name });
    try {
      await this.#giveBack();
    } finally {
      this.#leave();
    }
  }

  /** For `finally` and `await using`: the error of the work must stay the one that is seen. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release().catch(() => undefined);
  }
}
