/**
 * The clock of one process life: it began anywhere, runs a little fast or slow, and its wall time
 * jumps. Monotonic time never goes back. Timers are due in the clock's own time; one that is due
 * while the process is paused runs once, late.
 */
import type { Cancel, Clock } from '../../core/clock.ts';
import type { Random } from '../../core/random.ts';
import { between } from './draw.ts';
import type { SimulatedProcess } from './process.ts';
import type { World } from './types.ts';

/** 2026-01-01T00:00:00Z. */
const EPOCH_MS = 1_767_225_600_000;

export interface NodeClockOptions {
  readonly world: World;
  readonly process: SimulatedProcess;
  /** What the monotonic clock shows at true time 0. @defaultValue 0 */
  readonly offsetMs?: number;
  /** How much it runs fast, in millionths. @defaultValue 0 */
  readonly driftPpm?: number;
  /** How far wall time is off at the start. @defaultValue 0 */
  readonly wallOffsetMs?: number;
  /** Timers run up to so much late, as an event loop has other things to do. @defaultValue never */
  readonly lateness?: { readonly mostMs: number; readonly random: Random };
}

export class NodeClock implements Clock {
  readonly #world: World;
  readonly #process: SimulatedProcess;
  readonly #offsetMs: number;
  readonly #rate: number;
  readonly #lateness: NodeClockOptions['lateness'];
  #wallOffsetMs: number;
  #timers = 0;

  constructor(options: NodeClockOptions) {
    this.#world = options.world;
    this.#process = options.process;
    this.#offsetMs = options.offsetMs ?? 0;
    this.#rate = 1 + (options.driftPpm ?? 0) / 1_000_000;
    this.#lateness = options.lateness;
    this.#wallOffsetMs = options.wallOffsetMs ?? 0;
  }

  /** Timers that wait. */
  get timers(): number {
    return this.#timers;
  }

  /** Wall time jumps, as when it is set or a leap second is inserted. */
  jump(deltaMs: number): void {
    this.#wallOffsetMs += deltaMs;
  }

  now(): number {
    return this.#offsetMs + this.#world.nowMs * this.#rate;
  }

  wallNow(): number {
    return Math.floor(EPOCH_MS + this.#wallOffsetMs + this.#world.nowMs * this.#rate);
  }

  after(delayMs: number, run: () => void): Cancel {
    let waits = true;
    this.#timers += 1;
    const end = (): boolean => {
      if (!waits) return false;
      waits = false;
      this.#timers -= 1;
      return true;
    };
    const cancel = this.#process.after(delayMs / this.#rate + this.#lateMs(), () => {
      if (end()) run();
    });
    return () => {
      if (end()) cancel();
    };
  }

  every(intervalMs: number, run: () => void): Cancel {
    let active = true;
    let cancel: Cancel;
    const delayMs = intervalMs / this.#rate;
    const fire = (): void => {
      if (!active) return;
      cancel = this.#process.after(delayMs + this.#lateMs(), fire);
      run();
    };
    cancel = this.#process.after(delayMs + this.#lateMs(), fire);
    this.#timers += 1;
    return () => {
      if (!active) return;
      active = false;
      this.#timers -= 1;
      cancel();
    };
  }

  #lateMs(): number {
    const lateness = this.#lateness;
    return lateness === undefined ? 0 : between(lateness.random, 0, lateness.mostMs);
  }
}
