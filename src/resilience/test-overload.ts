/** A server that can do so much, and those who want more of it, in virtual time. */
import type { Cancel, Clock } from '../core/clock.ts';
import { Fifo } from '../core/fifo.ts';
import { type Random, seededRandom } from '../core/random.ts';
import { Call } from './call.ts';
import { Rejection } from './outcome.ts';
import type { Policy } from './policy.ts';
import type { Gate, Ticket } from './section.ts';

interface Event {
  readonly dueMs: number;
  readonly order: number;
  run: (() => void) | undefined;
}

/** Time for many thousands of events: those due are found in a heap, and where somebody waits promises settle in between. */
export class SimulatedTime implements Clock {
  /** So many wait for a promise. */
  waiting = 0;
  readonly #heap: Event[] = [];
  #nowMs = 0;
  #order = 0;

  now(): number {
    return this.#nowMs;
  }

  wallNow(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void): Cancel {
    const event: Event = { dueMs: this.#nowMs + delayMs, order: this.#order++, run };
    this.#push(event);
    return () => {
      event.run = undefined;
    };
  }

  every(intervalMs: number, run: () => void): Cancel {
    let cancel: Cancel;
    const again = (): void => {
      cancel = this.after(intervalMs, again);
      run();
    };
    cancel = this.after(intervalMs, again);
    return () => cancel();
  }

  async pass(forMs: number): Promise<void> {
    const untilMs = this.#nowMs + forMs;
    for (
      let next = this.#heap[0];
      next !== undefined && next.dueMs <= untilMs;
      next = this.#heap[0]
    ) {
      this.#pop();
      this.#nowMs = next.dueMs;
      if (next.run === undefined) continue;
      next.run();
      if (this.waiting > 0) for (let i = 0; i < 3; i++) await undefined;
    }
    this.#nowMs = untilMs;
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isSooner(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isSooner(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isSooner(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

function isSooner(one: Event, other: Event): boolean {
  return one.dueMs < other.dueMs || (one.dueMs === other.dueMs && one.order < other.order);
}

/** Does `places` things at the same time, first come, first served, each in about so long; who else comes waits, however many. */
export class SimulatedServer {
  readonly #clock: Clock;
  readonly #waiting = new Fifo<() => void>();
  places: number;
  takesMs: () => number;
  #running = 0;

  constructor(clock: Clock, places: number, takesMs: () => number) {
    this.#clock = clock;
    this.places = places;
    this.takesMs = takesMs;
  }

  get queued(): number {
    return this.#waiting.length;
  }

  serve(onDone: () => void): void {
    if (this.#running < this.places) this.#begin(onDone);
    else this.#waiting.push(onDone);
  }

  #begin(onDone: () => void): void {
    this.#running += 1;
    this.#clock.after(this.takesMs(), () => {
      this.#running -= 1;
      onDone();
      while (this.#running < this.places && this.#waiting.length > 0)
        this.#begin(this.#waiting.shift()!);
    });
  }
}

/** What became of the calls of some time. */
export class Tally {
  readonly latenciesMs: number[] = [];
  offered = 0;
  refused = 0;

  get done(): number {
    return this.latenciesMs.length;
  }

  /** The time that so many percent did not exceed. */
  percentileMs(percent: number): number {
    const sorted = this.latenciesMs.toSorted((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor((percent / 100) * sorted.length))] ?? 0;
  }

  /** Those that took no longer. */
  within(ms: number): number {
    return this.latenciesMs.filter((one) => one <= ms).length;
  }
}

/**
 * Offers calls at random moments, so many a second on average. They go through the gate as they would in a section, but
 * without promises where nobody waits: under the test runner those are most of the time.
 */
export class Load {
  readonly #time: SimulatedTime;
  readonly #gate: Gate;
  readonly #server: SimulatedServer;
  readonly #random: Random;

  constructor(time: SimulatedTime, policy: Policy, server: SimulatedServer, seed: number) {
    this.#time = time;
    this.#gate = policy as unknown as Gate;
    this.#server = server;
    this.#random = seededRandom(seed);
  }

  /** @returns by priority what became of those that were offered in this time */
  async offer(
    perSecond: number,
    forMs: number,
    priorities: readonly number[] = [1],
  ): Promise<Tally[]> {
    const tallies = priorities.map(() => new Tally());
    const endMs = this.#time.now() + forMs;
    const next = (): void => {
      const delayMs = exponential(this.#random, 1000 / perSecond);
      this.#time.after(delayMs, () => {
        if (this.#time.now() > endMs) return;
        const at = this.#random.below(priorities.length);
        this.#call(tallies[at]!, priorities[at]!);
        next();
      });
    };
    next();
    await this.#time.pass(forMs);
    return tallies;
  }

  #call(tally: Tally, priority: number): void {
    const beganMs = this.#time.now();
    tally.offered += 1;
    const onEntered = (ticket: Ticket | Rejection): void => {
      if (ticket instanceof Rejection) {
        tally.refused += 1;
        return;
      }
      this.#server.serve(() => {
        tally.latenciesMs.push(this.#time.now() - beganMs);
        this.#gate.leave(ticket, 'success', undefined);
      });
    };
    const entered = this.#gate.enter(new Call(() => undefined, { priority }));
    if (!(entered instanceof Promise)) {
      onEntered(entered);
      return;
    }
    this.#time.waiting += 1;
    void entered.then((ticket) => {
      this.#time.waiting -= 1;
      onEntered(ticket);
    });
  }
}

export function exponential(random: Random, meanMs: number): number {
  return -Math.log(1 - random.below(2 ** 32) / 2 ** 32) * meanMs;
}
