/** What the `Locks` of a driver has under way: what is asked for, what is held, what is cleaned up. Its end leaves nothing. */
import { sleep, throwIfAborted } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { LinkedList, type Place } from '../core/linked-list.ts';
import type { ClaimRequest } from './engine.ts';
import { closedError, Gate } from './signals.ts';

const TRY_AGAIN_MS = 200;

export class Ledger<T extends AsyncDisposable> {
  readonly #clock: Clock;
  /** Of what is asked for: what ends the wait. */
  readonly #asked: LinkedList<Gate>;
  readonly #held: LinkedList<T>;
  readonly #background: Set<Promise<unknown>>;
  readonly #ending: AbortController;
  /** Called when nothing is asked for any more. */
  #onAnswered: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#asked = new LinkedList();
    this.#held = new LinkedList();
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
  async ask<R>(request: ClaimRequest, take: (gate: Gate) => Promise<R>): Promise<R> {
    this.assertOpen();
    throwIfAborted(request.signal);
    const gate = new Gate(this.#clock, request);
    const asked = this.#asked.push(gate);
    try {
      return await take(gate);
    } finally {
      gate.close();
      this.#asked.remove(asked);
      if (this.#asked.first === undefined) this.#onAnswered?.();
    }
  }

  get held(): Iterable<T> {
    return this.#held;
  }

  /** To be given to `letGo`. */
  hold(claim: T): Place<T> {
    return this.#held.push(claim);
  }

  letGo(place: Place<T>): void {
    this.#held.remove(place);
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
    const closed = closedError();
    this.#ending.abort(closed);
    for (const gate of [...this.#asked]) gate.abort(closed);
    if (this.#asked.first !== undefined) {
      await new Promise<void>((resolve) => {
        this.#onAnswered = resolve;
      });
    }
    await Promise.all([...this.#held].map((claim) => claim[Symbol.asyncDispose]()));
    // What is cleaned up may need more of it.
    while (this.#background.size > 0) await Promise.all(this.#background);
  }
}
