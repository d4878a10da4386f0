/**
 * Deadlines of calls without a timer each: calls are kept by the tick in which they are due, and
 * one timer, which runs only while there are any, looks at what has come due.
 */
import type { Cancel, Clock } from '../../core/clock.ts';

/** Deadlines are kept to this; a call never ends early. */
const TICK_MS = 50;

export interface Expiring {
  /** The tick it is kept under; only for `Deadlines`. */
  dueTick: number;
  expired(): void;
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #due: Map<number, Set<Expiring>>;
  #stopTimer: Cancel | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#due = new Map();
    this.#stopTimer = undefined;
  }

  add(call: Expiring, timeoutMs: number): void {
    if (this.#stopTimer === undefined) {
      this.#stopTimer = this.#clock.every(TICK_MS, () => this.#sweep());
    }
    const tick = Math.floor((this.#clock.now() + timeoutMs) / TICK_MS) + 1;
    call.dueTick = tick;
    const calls = this.#due.get(tick);
    if (calls === undefined) this.#due.set(tick, new Set([call]));
    else calls.add(call);
  }

  remove(call: Expiring): void {
    this.#due.get(call.dueTick)?.delete(call);
  }

  close(): void {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    this.#due.clear();
  }

  #sweep(): void {
    const tick = Math.floor(this.#clock.now() / TICK_MS);
    // The map holds few ticks: real timeouts are a handful of values, some seconds long.
    for (const [due, calls] of this.#due) {
      if (due > tick) continue;
      this.#due.delete(due);
      for (const call of calls) call.expired();
    }
    if (this.#due.size === 0) this.close();
  }
}

/** Milliseconds of a `grpc-timeout` value; `undefined` where it is malformed. */
export function parseTimeout(value: string): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(value);
  if (match === null) return undefined;
  const unit = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 }[match[2]!]!;
  return Number(match[1]) * unit;
}
