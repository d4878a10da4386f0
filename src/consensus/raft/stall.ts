/**
 * Whether this node's own disk stands still. A leader whose disk does keeps its followers content with
 * heartbeats and commits nothing that needs it: the cluster would wait for that disk for ever. So it gives
 * way after an election timeout without progress while a write waits, and does not campaign before its disk
 * moves again.
 */
import type { Durability } from './durability.ts';

/** What tells whether writes wait. */
type WritesUnderWay = Pick<Durability, 'durableSequence' | 'hasPending'>;

export class Stall {
  readonly #durability: WritesUnderWay;
  readonly #electionTicks: number;
  /** The newest write that was durable when last looked at, and for how many ticks it has been that. */
  #seen: number;
  #ticks: number;

  constructor(durability: WritesUnderWay, electionTicks: number) {
    this.#durability = durability;
    this.#electionTicks = electionTicks;
    this.#seen = 0;
    this.#ticks = 0;
  }

  tick(): void {
    const { durableSequence, hasPending } = this.#durability;
    this.#ticks = hasPending && durableSequence === this.#seen ? this.#ticks + 1 : 0;
    this.#seen = durableSequence;
  }

  /** A write has waited for an election timeout, and none before it became durable. */
  get isStalled(): boolean {
    return this.#ticks >= this.#electionTicks;
  }

  /** The moment to look for a successor. */
  get begins(): boolean {
    return this.#ticks === this.#electionTicks;
  }

  /** Nobody took over: time to step down, so that the others elect. */
  get isOver(): boolean {
    return this.#ticks >= 1.5 * this.#electionTicks;
  }
}
