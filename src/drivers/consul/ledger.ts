/** What one `Locks` has under way: what is asked for, what is held, what is cleaned up. Its end leaves nothing. */
import { sleep, throwIfAborted } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import type { ClaimRequest } from '../../locks/engine.ts';
import { Gate } from '../../locks/signals.ts';

const TRY_AGAIN_MS = 200;

export class Ledger {
  readonly #clock: Clock;
  /** What is asked for, with what ends the wait. */
  readonly #asked: Map<Gate, Promise<unknown>>;
  readonly #held: Set<AsyncDisposable>;
  readonly #background: Set<Promise<unknown>>;
  readonly #ending: AbortController;
  #closed: Promise<void> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#asked = new Map();
    this.#held = new Set();
    this.#background = new Set();
    this.#ending = new AbortController();
    this.#closed = undefined;
  }

  /** Aborted when the end begins. */
  get ending(): AbortSignal {
    return this.#ending.signal;
  }

  assertOpen(): void {
    throwIfAborted(this.#ending.signal);
  }

  /** Runs a claim, which ends with the signal that it is given: the caller's, after its wait, at the end. */
  ask<T>(request: ClaimRequest, take: (signal: AbortSignal) => Promise<T>): Promise<T> {
    this.assertOpen();
    throwIfAborted(request.signal);
    const gate = new Gate(this.#clock, request);
    const taken = this.#behind(gate, take);
    this.#asked.set(gate, taken);
    return taken;
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

  async #behind<T>(gate: Gate, take: (signal: AbortSignal) => Promise<T>): Promise<T> {
    try {
      return await take(gate.signal);
    } finally {
      this.#asked.delete(gate);
      gate.close();
    }
  }

  async #close(): Promise<void> {
    const closed = new QuorateError('ERR_CLOSED', 'these locks were closed');
    const asked = [...this.#asked];
    this.#ending.abort(closed);
    for (const [gate] of asked) gate.abort(closed);
    await Promise.allSettled(asked.map(([, claim]) => claim));
    await Promise.all([...this.#held].map((claim) => claim[Symbol.asyncDispose]()));
    // What is cleaned up may need more of it.
    while (this.#background.size > 0) await Promise.all(this.#background);
  }
}
