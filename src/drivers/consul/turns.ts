/**
 * Whose turn it is among the claims of one `Locks`: a session may take a lock again that it has, so that one
 * claim of a name at a time may ask Consul. The others wait here, first come, first served.
 */
import { orAborted } from '../../core/abort.ts';

interface Line {
  readonly waiting: Set<() => void>;
  /** Of one who has left: what it wrote is being taken away. */
  leaving: Promise<void> | undefined;
}

/** See the head of this file. */
export class Turns {
  readonly #lines: Map<string, Line>;

  constructor() {
    this.#lines = new Map();
  }

  /** Waits until it is the only one of a name. */
  async enter(name: string, signal: AbortSignal): Promise<void> {
    const line = this.#lines.get(name);
    if (line === undefined) {
      this.#lines.set(name, { waiting: new Set(), leaving: undefined });
      return;
    }
    let come!: () => void;
    const turn = new Promise<void>((resolve) => {
      come = resolve;
    });
    line.waiting.add(come);
    try {
      await orAborted(turn, signal);
    } catch (error) {
      // Its turn came at the moment at which it gave up: the next.
      if (!line.waiting.delete(come)) this.leave(name);
      throw error;
    }
  }

  /** Enters where nobody is in it or waits. */
  async tryEnter(name: string, signal: AbortSignal): Promise<boolean> {
    await orAborted(this.#lines.get(name)?.leaving ?? Promise.resolve(), signal);
    if (this.#lines.has(name)) return false;
    await this.enter(name, signal);
    return true;
  }

  /** Ends the turn. */
  leave(name: string): void {
    const line = this.#lines.get(name);
    if (line === undefined) return;
    line.leaving = undefined;
    const [next] = line.waiting;
    if (next === undefined) {
      this.#lines.delete(name);
      return;
    }
    line.waiting.delete(next);
    next();
  }

  /** Ends the turn when `done` has settled. */
  leaveAfter(name: string, done: Promise<unknown>): void {
    const line = this.#lines.get(name);
    const leave = (): void => this.leave(name);
    const leaving = done.then(leave, leave);
    if (line !== undefined) line.leaving = leaving;
  }
}
