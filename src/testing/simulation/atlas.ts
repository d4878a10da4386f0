/**
 * The fault atlas: which seats may be hurt now. Consensus promises nothing once a majority has lost
 * what it acknowledged, so never more than a minority is without its data at one time; a seat counts
 * until it holds again all that had been chosen when it was hurt, knows of the term it was in, and runs.
 *
 * Loss of power, of processes and of ways hurts no data: those may strike everyone at once.
 */
import type { SeatLog } from './checks/seat-log.ts';
import type { World } from './types.ts';

/** Nothing was chosen when the first members had yet to start. */
const NOTHING = -1;

interface Hurt {
  /** Newest entry chosen when it was hurt; `NOTHING` for a first member that has not been hurt yet. */
  readonly chosen: number;
  /** Its term then: below it, it may have voted. */
  readonly term: number;
}

/** What the atlas must know of a seat. */
export interface SeatView {
  readonly log: SeatLog | undefined;
  readonly isRunning: boolean;
  /** Newest entry that was chosen. */
  readonly chosen: number;
  /** Its disk says that its node gives no vote yet, since it lost what it promised, or may have. */
  readonly isOnProbation: boolean;
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
  #mayBeStuck: boolean;
  /** By seat: until when its process is, or was, paused. */
  readonly #pausedUntilMs: Map<number, number>;

  /** @param seats how many seats vote */
  constructor(world: World, seats: number, view: (seat: number) => SeatView) {
    this.#world = world;
    this.#seats = seats;
    this.#view = view;
    // A node that never heard of a leader is as good as one that lost its disk: together with one that did
    // it takes itself for a new cluster (decision 7).
    this.#hurt = new Map();
    for (let seat = 0; seat < seats; seat++) this.#hurt.set(seat, { chosen: NOTHING, term: 0 });
    this.mayFail = new Set();
    this.mayStop = new Set();
    this.#mayBeStuck = false;
    this.#pausedUntilMs = new Map();
  }

  /** Whether the data of `seat` may be hurt now; if so, it counts as hurt from here on. */
  mayHurt(seat: number): boolean {
    for (const [each, { chosen, term }] of this.#hurt) {
      const { log, isRunning } = this.#view(each);
      if (!isRunning || log === undefined || log.isDamaged) continue;
      const hasHeard = chosen === NOTHING && termOf(log) > 1;
      const isWhole = chosen !== NOTHING && log.durable.length > chosen && termOf(log) >= term;
      if (hasHeard || isWhole) this.#hurt.delete(each);
    }
    const others = this.#hurt.size - (this.#hurt.has(seat) ? 1 : 0);
    if (2 * (others + 1) >= this.#seats) return false;
    const { chosen, log } = this.#view(seat);
    const term = Math.max(termOf(log), this.#hurt.get(seat)?.term ?? 0);
    this.#hurt.set(seat, { chosen, term });
    this.mayFail.add(seat);
    let voting = 0;
    for (let each = 0; each < this.#seats; each++) {
      if (!this.#hurt.has(each) && !this.#view(each).isOnProbation) voting += 1;
    }
    if (2 * voting <= this.#seats) this.#mayBeStuck = true;
    return true;
  }

  /**
   * No leader can be expected: a disk was hurt while a node that had caught up with the log was still on
   * probation, and so many are now that the others are no majority (decision 7: no answer rather than a
   * wrong one). Nothing is lost, and what must be safe is checked all the same.
   */
  get isStuck(): boolean {
    if (!this.#mayBeStuck) return false;
    let voting = 0;
    for (let seat = 0; seat < this.#seats; seat++) {
      if (!this.#view(seat).isOnProbation) voting += 1;
    }
    return 2 * voting <= this.#seats;
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

function termOf(log: SeatLog | undefined): number {
  return log?.hardState?.term ?? 0;
}
