/** How late the event loop is: how long what is ready to run waits for what runs. */
import { type Cancel, type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid } from '../core/errors.ts';

/** What a measurement of the event loop takes. */
export interface LoopDelayOptions {
  /** How often it is looked at. @defaultValue `'20ms'` */
  readonly every?: Duration | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** A measurement of the event loop. It goes on until it is closed, and keeps no process alive. */
export interface LoopDelay extends Disposable {
  /** Milliseconds by which the event loop is late, now or when it was looked at last; what was fades by half with each look. */
  readonly read: () => number;
  /** Ends the measurement. Idempotent. */
  close(): void;
}

/**
 * Measures how late the event loop is, for `shed`.
 *
 * @throws `ERR_INVALID_ARGUMENT` for what is no duration, or 0.
 * @example
 * ```ts
 * const loop = loopDelay();
 * const shedding = shed({ probe: loop.read, target: '30ms' });
 * ```
 */
export function loopDelay(options: LoopDelayOptions = {}): LoopDelay {
  const { clock = systemClock } = options;
  const everyMs = durationMs(options.every ?? 20, 'every');
  if (everyMs <= 0) {
    throw invalid('every: 0; a time between two looks is needed');
  }
  return new Ticks(clock, everyMs);
}

class Ticks implements LoopDelay {
  readonly #clock: Clock;
  readonly #everyMs: number;
  readonly #cancel: Cancel;
  #dueMs: number;
  #lateMs: number;

  constructor(clock: Clock, everyMs: number) {
    this.#clock = clock;
    this.#everyMs = everyMs;
    this.#dueMs = clock.now() + everyMs;
    this.#lateMs = 0;
    this.#cancel = clock.every(everyMs, () => this.#tick());
  }

  // A function of its own: it is handed on without the object.
  readonly read = (): number => Math.max(this.#lateMs, this.#clock.now() - this.#dueMs);

  close(): void {
    this.#cancel();
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#lateMs = 0;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #tick(): void {
    const nowMs = this.#clock.now();
    // A clock may make up for looks that were missed, all at once.
    if (nowMs < this.#dueMs - this.#everyMs / 2) return;
    this.#lateMs = Math.max(0, nowMs - this.#dueMs, this.#lateMs / 2);
    this.#dueMs = nowMs + this.#everyMs;
  }
}
