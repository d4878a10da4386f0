/**
 * One process life: it can be paused, as by `SIGSTOP` or a virtual machine that is moved, and it
 * dies. What happens to a paused process waits for it; to a dead one nothing happens any more.
 */
import type { Cancel } from '../../core/clock.ts';
import { Fifo } from '../../core/fifo.ts';
import type { World } from './types.ts';

export class SimulatedProcess {
  readonly #world: World;
  /** What came from outside while it was paused, in order. */
  #waiting = new Fifo<() => void>();
  /** What the process itself had put off: it runs before anything from outside. */
  #own = new Fifo<() => void>();
  #paused = false;
  #dead = false;
  #catchingUp = false;

  constructor(world: World) {
    this.#world = world;
  }

  get paused(): boolean {
    return this.#paused;
  }

  get dead(): boolean {
    return this.#dead;
  }

  pause(): void {
    this.#paused = true;
  }

  /** Goes on: what waited happens, one after the other. */
  continue(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#catchUp();
  }

  /** From now on nothing happens to it. */
  die(): void {
    this.#dead = true;
    this.#own = new Fifo();
    this.#waiting = new Fifo();
  }

  /** Something from outside: data, a timer, an operation that the system has finished. To be called as an event. */
  run(what: () => void): void {
    if (this.#dead) return;
    if (this.#paused || this.#catchingUp) this.#waiting.push(what);
    else what();
  }

  /** Runs `what` after what is ready now, as `setImmediate` does. */
  readonly defer = (what: () => void): void => {
    if (this.#dead) return;
    this.#world.after(0, () => {
      if (this.#dead) return;
      if (this.#paused) this.#own.push(what);
      else what();
    });
  };

  /** Something from outside, `delayMs` of true time from now. */
  after(delayMs: number, what: () => void): Cancel {
    return this.#world.after(delayMs, () => this.run(what));
  }

  #catchUp(): void {
    this.#catchingUp = true;
    this.#world.after(0, () => {
      if (this.#dead || this.#paused) {
        this.#catchingUp = false;
        return;
      }
      const next = this.#own.shift() ?? this.#waiting.shift();
      next?.();
      if (this.#own.length + this.#waiting.length > 0) this.#catchUp();
      else this.#catchingUp = false;
    });
  }
}
