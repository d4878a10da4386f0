/** What one `Locks` has under way: what is asked for, what is held, what is cleaned up. Its end leaves nothing. */
import { sleep, throwIfAborted } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import type { ClaimRequest } from '../../locks/engine.ts';
import { Gate } from '../../locks/signals.ts';

const TRY_AGAIN_MS = 200;

export class Ledger {
  readonly #clock: Clock;
  /** Of what is asked for: what ends the wait. */
  readonly #asked: Set<Gate>;
  readonly #held: Set<AsyncDisposable>;
  readonly #background: Set<Promise<unknown>>;
  readonly #ending: AbortController;
  /** Called when nothing is asked for any more. */
  #onAnswered: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#asked = new Set();
    this.#held = new Set();
    this.#background = new Set();
    this.#ending = new AbortController();
    this.#onAnswered = undefined;
    this.#closed = undefined;
  }

  /** Aborted when the end begins. */
  get ending(): AbortSignal {
    return this.#ending.signal;
  }

  assertOpen(): void {
    throwIfAborted(this.#ending.signal);
  }

  /** Runs a claim behind a gate, which is aborted by the caller's signal, after its wait, at the end. */
  async ask<T>(request: ClaimRequest, take: (gate: Gate) => Promise<T>): Promise<T> {
    this.assertOpen();
    throwIfAborted(request.signal);
    const gate = new Gate(this.#clock, request);
    this.#asked.add(gate);
    try {
      return await take(gate);
    } finally {
      gate.close();
      this.#asked.delete(gate);
      if (this.#asked.size === 0) this.#onAnswered?.();
    }
  }

  hold(claim: AsyncDisposable): void {
    this.#held.add(claim);
  }

  letGo(claim: AsyncDisposable): void {
    this.#held.delete(claim);
  }

  /** Work that nobody waits for but the end. It must not reject. */
  inBackground(work: Promise<unknown>): void {
    this.#background.add(work);
    void work.then(() => this.#background.delete(work));
  }

  /** Tries until it succeeds; gives up after so long, or when the end has begun. Never rejects. */
  async keepTrying(work: () => Promise<unknown>, forMs: number): Promise<void> {
    const untilMs = this.#clock.now() + forMs;
    while (true) {
      try {
        await work();
        return;
      } catch {
        if (this.ending.aborted || this.#clock.now() > untilMs) return;
        await sleep(this.#clock, TRY_AGAIN_MS, this.ending).catch(() => undefined);
      }
    }
  }

  /** Ends all waits, gives back what is held, waits for what is cleaned up. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const closed = new QuorateError('ERR_CLOSED', 'these locks were closed');
    this.#ending.abort(closed);
    for (const gate of this.#asked) gate.abort(closed);
    if (this.#asked.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onAnswered = resolve;
      });
    }
    await Promise.all([...this.#held].map((claim) => claim[Symbol.asyncDispose]()));
    // What is cleaned up may need more of it.
    while (this.#background.size > 0) await Promise.all(this.#background);
  }
}
