/** When a node that hears no leader campaigns (Raft §5.2), and how much sooner where the leader is seen to be gone. */
import type { Random } from '../../core/random.ts';

export class ElectionTimeout {
  readonly #electionTicks: number;
  readonly #random: Random;
  /** The leader seems to be gone: the next attempts come sooner, `0` for as usual. */
  #hasteTicks: number;
  /** Until the next attempt: drawn from `[electionTicks, 2 * electionTicks)`, so that ties end. */
  ticks: number;

  constructor(electionTicks: number, random: Random) {
    this.#electionTicks = electionTicks;
    this.#random = random;
    this.#hasteTicks = 0;
    this.ticks = 0;
    this.draw();
  }

  draw(): void {
    const least = this.#hasteTicks > 0 ? this.#hasteTicks : this.#electionTicks;
    const spread = this.#hasteTicks > 0 ? Math.ceil(this.#electionTicks / 2) : this.#electionTicks;
    this.ticks = least + this.#random.below(spread);
  }

  get isHasty(): boolean {
    return this.#hasteTicks > 0;
  }

  /**
   * The connection to the leader broke: nearly always its process has ended, and there is no need to wait for a
   * whole election timeout. A leader that lives has time for two heartbeats. Attempts come after that, and up to half
   * an election timeout more, until there is a leader.
   *
   * @param elapsed - ticks without a leader so far
   */
  hurry(heartbeatTicks: number, elapsed: number): void {
    if (this.isHasty) return;
    const usual = this.ticks;
    this.#hasteTicks = 2 * heartbeatTicks;
    this.draw();
    this.ticks = Math.min(usual, this.ticks + elapsed);
  }

  /** A leader was heard. */
  calm(): void {
    if (!this.isHasty) return;
    this.#hasteTicks = 0;
    this.draw();
  }
}
