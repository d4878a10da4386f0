/**
 * What the records of a log add up to: the newest hard state, the entries after a base, the snapshots
 * noted. Pure: fed record by record, says what contradicts Raft (a gap, a term that goes back).
 */
import type { Entry, HardState } from '../types.ts';

/** What a log adds up to, whichever core wrote it. */
export interface RecordImage {
  readonly hardState: HardState;
  /** What follows `base`, by index. */
  readonly entries: readonly Entry[];
  readonly base: number;
  /** Index of the last entry or snapshot. */
  readonly last: number;
  /** Newest snapshot noted in the log; index 0 where there is none. */
  readonly snapshot: { readonly index: number; readonly term: number };
  /** Returns what is wrong, if anything. */
  addEntry(entry: Entry): string | undefined;
  /** Returns what is wrong, if anything. */
  setState(state: HardState): string | undefined;
  addSnapshot(index: number, term: number): void;
  agreesWithBase(term: number): boolean;
}

export class LogImage implements RecordImage {
  hardState: HardState;
  /** Entries `base + 1` to `base + entries.length`. Those at or below `base` are only checked. */
  readonly entries: Entry[];
  /** The entry that `entries` follow. Moves up where the log below is missing or was replaced. */
  base: number;
  #baseTerm: number;
  /** Index of the last entry or snapshot. */
  last: number;
  /** Newest snapshot noted in the log; index 0 where there is none. */
  snapshot: { index: number; term: number };

  /**
   * @param start - index of the snapshot to start from, 0 for none.
   * @param firstIndex - what the first segment's name says it starts with.
   */
  constructor(start: number, firstIndex: number) {
    this.hardState = { term: 0, vote: '', commit: 0 };
    this.entries = [];
    this.last = Math.max(firstIndex - 1, 0);
    this.base = Math.max(start, this.last);
    this.#baseTerm = 0;
    this.snapshot = { index: 0, term: 0 };
  }

  /** Appends `entry`, after cutting the log to before it. Returns what is wrong, if anything. */
  addEntry(entry: Entry): string | undefined {
    const { index, term } = entry;
    if (index > this.last + 1) return `entry ${index} follows entry ${this.last}`;
    this.last = index;
    if (index <= this.base) {
      this.entries.length = 0;
      this.#baseTerm = index === this.base ? term : 0;
      return undefined;
    }
    const position = index - this.base - 1;
    if (position < this.entries.length) this.entries.length = position;
    const before = position === 0 ? this.#baseTerm : this.entries[position - 1]!.term;
    if (term < before) return `entry ${index} of term ${term} follows one of term ${before}`;
    this.entries.push(entry);
    return undefined;
  }

  setState(state: HardState): string | undefined {
    if (state.term < this.hardState.term) {
      return `term ${state.term} follows term ${this.hardState.term}`;
    }
    const commit = Math.max(state.commit, this.hardState.commit);
    this.hardState = { term: state.term, vote: state.vote, commit };
    return undefined;
  }

  /**
   * A snapshot became current. Entries after it stay only if the log agrees with it; else it came
   * from a leader and replaces the whole log (Raft §7).
   */
  addSnapshot(index: number, term: number): void {
    if (index >= this.snapshot.index) this.snapshot = { index, term };
    const agrees = index <= this.last && this.#agreesAt(index, term);
    if (agrees) return;
    this.entries.length = 0;
    this.last = index;
    if (index < this.base) return;
    this.base = index;
    this.#baseTerm = term;
  }

  /** Whether the entry that `entries` follow is of `term`, as far as is known. */
  agreesWithBase(term: number): boolean {
    return this.#baseTerm === 0 || this.#baseTerm === term;
  }

  #agreesAt(index: number, term: number): boolean {
    if (index < this.base) return true;
    if (index > this.base) return this.entries[index - this.base - 1]!.term === term;
    return this.agreesWithBase(term);
  }
}
