/**
 * What the records of a Paxos log add up to. Slots are written one by one, in any order, each again when
 * it is accepted in a newer ballot: the newest record of a slot counts, nothing is ever cut off, and
 * slots may be missing behind what is known to be chosen. An entry's term is the ballot.
 */
import type { Entry, HardState } from '../types.ts';
import type { RecordImage } from './log-image.ts';

export class SlotImage implements RecordImage {
  hardState: HardState;
  base: number;
  /** Index of the newest slot or snapshot. */
  last: number;
  snapshot: { index: number; term: number };
  readonly #slots: Map<number, Entry>;

  /** As of `LogImage`. */
  constructor(start: number, firstIndex: number) {
    this.hardState = { term: 0, vote: '', commit: 0 };
    this.last = Math.max(firstIndex - 1, 0);
    this.base = Math.max(start, this.last);
    this.snapshot = { index: 0, term: 0 };
    this.#slots = new Map();
  }

  /** By index; some may be missing. */
  get entries(): readonly Entry[] {
    return [...this.#slots.values()].sort((a, b) => a.index - b.index);
  }

  addEntry(entry: Entry): string | undefined {
    const { index, term } = entry;
    if (index > this.last) this.last = index;
    if (index <= this.base) return undefined;
    const before = this.#slots.get(index)?.term ?? 0;
    if (term < before) return `slot ${index} of ballot ${term} follows one of ballot ${before}`;
    this.#slots.set(index, entry);
    return undefined;
  }

  setState(state: HardState): string | undefined {
    if (state.term < this.hardState.term) {
      return `ballot ${state.term} follows ballot ${this.hardState.term}`;
    }
    const commit = Math.max(state.commit, this.hardState.commit);
    this.hardState = { term: state.term, vote: state.vote, commit };
    return undefined;
  }

  /**
   * A snapshot became current. Up to what was known to be chosen the slots hold what it holds; beyond,
   * it came from a leader, and what was accepted there may be something else than was chosen.
   */
  addSnapshot(index: number, term: number): void {
    if (index >= this.snapshot.index) this.snapshot = { index, term };
    if (index > this.last) this.last = index;
    if (index <= this.base || index <= this.hardState.commit) return;
    this.base = index;
    for (const slot of this.#slots.keys()) if (slot <= index) this.#slots.delete(slot);
  }

  /** Slots do not depend on what is before them. */
  agreesWithBase(_term: number): boolean {
    return true;
  }
}

/** The newest slot of a Paxos log, for naming segments: see `TermRuns`. */
export class NewestSlot {
  last: number;

  constructor(index: number) {
    this.last = index;
  }

  append(index: number, _term: number): void {
    if (index > this.last) this.last = index;
  }

  snapshot(index: number, _term: number): void {
    if (index > this.last) this.last = index;
  }
}
