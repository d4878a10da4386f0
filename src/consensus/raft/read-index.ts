/**
 * Linearizable reads without writing to the log: ReadIndex (Raft §8, thesis §6.4).
 *
 * A leader proves with one round of heartbeats that nobody deposed it before the read began. Reads
 * gather while a round is under way and share the next one, so the cost per read falls with load.
 * A follower asks the leader, one message for all that gathered.
 */
import { assert } from '../../core/assert.ts';
import type { Random } from '../../core/random.ts';
import { NO_NODE, type NodeId } from '../types.ts';

/** Reads with the node that asks for each: `NO_NODE` is this one. */
export interface ReadBatch {
  readonly contexts: readonly number[];
  readonly origins: readonly NodeId[];
}

/** The leader's side. Rounds are numbered for the life of the process: no number is ever used again. */
export class ReadRounds {
  readonly #limit: number;
  #contexts: number[];
  #origins: NodeId[];
  #flying: ReadBatch | undefined;
  #flyingIndex: number;
  #newest: number;

  constructor(limit: number) {
    this.#limit = limit;
    this.#contexts = [];
    this.#origins = [];
    this.#flying = undefined;
    this.#flyingIndex = 0;
    this.#newest = 0;
  }

  /** The newest round begun: what heartbeats carry. */
  get newest(): number {
    return this.#newest;
  }

  /** Reads have gathered and no round is under way. */
  get isDue(): boolean {
    return this.#contexts.length > 0 && this.#flying === undefined;
  }

  get isFlying(): boolean {
    return this.#flying !== undefined;
  }

  /** The read index of the round under way. */
  get flyingIndex(): number {
    return this.#flyingIndex;
  }

  /** Lets a read wait for the next round. `false` if too many wait. */
  add(context: number, origin: NodeId): boolean {
    const flying = this.#flying === undefined ? 0 : this.#flying.contexts.length;
    if (this.#contexts.length + flying >= this.#limit) return false;
    this.#contexts.push(context);
    this.#origins.push(origin);
    return true;
  }

  /**
   * Begins a round. `commit` is the read index for all of it: it was reached after every one of
   * these reads had begun to wait, and before the first heartbeat of the round leaves.
   */
  begin(commit: number): void {
    assert(this.isDue, 'a round begins when reads wait and none is under way');
    this.#newest += 1;
    this.#flyingIndex = commit;
    this.#flying = this.takeGathered();
  }

  /** A quorum answered round `round`: the reads that are proven by it. */
  complete(round: number): ReadBatch | undefined {
    const batch = this.#flying;
    if (batch === undefined || round < this.#newest) return undefined;
    this.#flying = undefined;
    return batch;
  }

  takeGathered(): ReadBatch {
    const batch = { contexts: this.#contexts, origins: this.#origins };
    this.#contexts = [];
    this.#origins = [];
    return batch;
  }

  /** Leadership ended: our own reads go to `dropped`; other nodes notice by themselves. */
  abandon(dropped: number[]): void {
    if (this.#flying !== undefined) collectOwn(this.#flying, dropped);
    this.#flying = undefined;
    collectOwn(this.takeGathered(), dropped);
  }
}

function collectOwn(batch: ReadBatch, dropped: number[]): void {
  for (let at = 0; at < batch.contexts.length; at++) {
    if (batch.origins[at] === NO_NODE) dropped.push(batch.contexts[at]!);
  }
}

interface Forwarded {
  readonly contexts: readonly number[];
  ticks: number;
}

/**
 * The follower's side. A batch that stays unanswered is asked again after half an election timeout
 * and dropped after two: a read never hangs.
 *
 * A restarted node must not take an answer to its former self for its own (the leader's term may be
 * the same), so batch numbers start at a random place.
 */
export class ForwardedReads {
  readonly #limit: number;
  readonly #retryTicks: number;
  readonly #dropTicks: number;
  readonly #batches: Map<number, Forwarded>;
  #gathered: number[];
  #pending: number;
  #newest: number;

  constructor(limit: number, electionTicks: number, random: Random) {
    this.#limit = limit;
    this.#retryTicks = Math.max(1, electionTicks >> 1);
    this.#dropTicks = 2 * electionTicks;
    this.#batches = new Map();
    this.#gathered = [];
    this.#pending = 0;
    this.#newest = random.below(2 ** 31) * 2 ** 20;
  }

  get isDue(): boolean {
    return this.#gathered.length > 0;
  }

  /** `false` if too many wait. */
  add(context: number): boolean {
    if (this.#pending >= this.#limit) return false;
    this.#pending += 1;
    this.#gathered.push(context);
    return true;
  }

  /** Makes what gathered one batch. Returns its number. */
  begin(): number {
    this.#newest += 1;
    this.#batches.set(this.#newest, { contexts: this.#gathered, ticks: 0 });
    this.#gathered = [];
    return this.#newest;
  }

  /** The leader answered: the reads of that batch, none if it is no longer waited for. */
  complete(batch: number): readonly number[] | undefined {
    const forwarded = this.#batches.get(batch);
    if (forwarded === undefined) return undefined;
    this.#batches.delete(batch);
    this.#pending -= forwarded.contexts.length;
    return forwarded.contexts;
  }

  /** Ages the batches: pushes the numbers to ask again to `again`, overdue reads to `dropped`. */
  tick(again: number[], dropped: number[]): void {
    for (const [batch, forwarded] of this.#batches) {
      forwarded.ticks += 1;
      if (forwarded.ticks >= this.#dropTicks) {
        this.complete(batch);
        for (const context of forwarded.contexts) dropped.push(context);
      } else if (forwarded.ticks % this.#retryTicks === 0) {
        again.push(batch);
      }
    }
  }

  /** The leader changed. */
  abandon(dropped: number[]): void {
    for (const forwarded of this.#batches.values()) {
      for (const context of forwarded.contexts) dropped.push(context);
    }
    this.#batches.clear();
    for (const context of this.#gathered) dropped.push(context);
    this.#gathered = [];
    this.#pending = 0;
  }
}
