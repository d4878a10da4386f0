/** A clock that moves only when it is told to: for tests of everything that measures or waits. */
import type { Cancel, Clock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';

interface Timer {
  dueMs: number;
  readonly order: number;
  readonly intervalMs: number | undefined;
  readonly run: () => void;
}

/** Time in a test's hands. Timers run in the order in which they are due. */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #order = 0;
  readonly #timers = new Set<Timer>();

  now(): number {
    return this.#nowMs;
  }

  wallNow(): number {
    return Math.floor(this.#nowMs);
  }

  after(delayMs: number, run: () => void): Cancel {
    return this.#add(delayMs, undefined, run);
  }

  every(intervalMs: number, run: () => void): Cancel {
    return this.#add(intervalMs, intervalMs, run);
  }

  /** Timers that wait. */
  get pending(): number {
    return this.#timers.size;
  }

  /**
   * Moves time on, running what is due on the way; after each timer everything that it
   * set going is given a chance to happen.
   *
   * @param by - milliseconds, or text such as `'30s'`
   * @throws `ERR_INVALID_ARGUMENT`
   */
  async advance(by: Duration): Promise<void> {
    const untilMs = this.#nowMs + durationMs(by, 'by');
    await settled();
    for (let timer = this.#first(untilMs); timer !== undefined; timer = this.#first(untilMs)) {
      this.#nowMs = Math.max(this.#nowMs, timer.dueMs);
      if (timer.intervalMs === undefined) this.#timers.delete(timer);
      else timer.dueMs += timer.intervalMs;
      timer.run();
      await settled();
    }
    this.#nowMs = untilMs;
  }

  /**
   * Time passes and no timer runs: what a blocked event loop or a stopped process sees on waking. Of a negative number: the
   * clock jumps back.
   */
  stall(by: Duration): void {
    this.#nowMs += Number.isFinite(by) ? (by as number) : durationMs(by, 'by');
  }

  #add(delayMs: number, intervalMs: number | undefined, run: () => void): Cancel {
    const nowMs = this.#nowMs;
    let dueMs = nowMs + delayMs;
    // Time passes also by what gets lost in rounding: who waits for the rest of a delay would wait for ever.
    if (delayMs > 0 && dueMs === nowMs) dueMs += Math.abs(nowMs) * Number.EPSILON;
    const timer: Timer = { dueMs, order: this.#order++, intervalMs, run };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  #first(untilMs: number): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueMs > untilMs) continue;
      const earlier = first === undefined || timer.dueMs < first.dueMs;
      if (earlier || (timer.dueMs === first!.dueMs && timer.order < first!.order)) first = timer;
    }
    return first;
  }
}

/** Lets promises and events that are ready run. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 4; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}
