/**
 * The fault atlas: which seats may be hurt now. Consensus promises nothing once a majority has lost
 * what it acknowledged, so never more than a minority is without its data at one time; a seat counts
 * until it holds again all that had been chosen when it was hurt, and runs.
 *
 * Loss of power, of processes and of ways hurts no data: those may strike everyone at once.
 */
import type { SeatLog } from './checks/seat-log.ts';
import type { World } from './types.ts';

interface Hurt {
  /** Newest entry chosen when it was hurt. */
  readonly chosen: number;
}

/** What the atlas must know of a seat. */
export interface SeatView {
  readonly log: SeatLog | undefined;
  readonly isRunning: boolean;
  /** Newest entry that was chosen. */
  readonly chosen: number;
}

export class Atlas {
  readonly #world: World;
  readonly #seats: number;
  readonly #view: (seat: number) => SeatView;
  readonly #hurt: Map<number, Hurt>;
  /** Seats whose node may stop itself, since their disk failed it. */
  readonly mayFail: Set<number>;
  /** Seats whose node joins, or was removed: it may find nobody who knows it, and stop. */
  readonly mayStop: Set<number>;
  /** By seat: until when its process is, or was, paused. */
  readonly #pausedUntilMs: Map<number, number>;

  /** @param seats how many seats vote */
  constructor(world: World, seats: number, view: (seat: number) => SeatView) {
    this.#world = world;
    this.#seats = seats;
    this.#view = view;
    this.#hurt = new Map();
    this.mayFail = new Set();
    this.mayStop = new Set();
    this.#pausedUntilMs = new Map();
  }

  /** Whether the data of `seat` may be hurt now; if so, it counts as hurt from here on. */
  mayHurt(seat: number): boolean {
    for (const [each, { chosen }] of this.#hurt) {
      const { log, isRunning } = this.#view(each);
      const isWhole = isRunning && log !== undefined && !log.isDamaged;
      if (isWhole && log.durable.length > chosen) this.#hurt.delete(each);
    }
    this.#hurt.delete(seat);
    if (2 * (this.#hurt.size + 1) >= this.#seats) return false;
    this.#hurt.set(seat, { chosen: this.#view(seat).chosen });
    this.mayFail.add(seat);
    return true;
  }

  paused(seat: number): void {
    this.#pausedUntilMs.set(seat, Number.POSITIVE_INFINITY);
  }

  continued(seat: number): void {
    if (this.#pausedUntilMs.has(seat)) this.#pausedUntilMs.set(seat, this.#world.nowMs);
  }

  wasPausedSince(seat: number, sinceMs: number): boolean {
    return (this.#pausedUntilMs.get(seat) ?? -1) >= sinceMs;
  }
}
