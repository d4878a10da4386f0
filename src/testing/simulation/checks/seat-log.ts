/**
 * What one seat's log and hard state are, as told by what its core asked to be written and by what
 * its storage said is durable. It outlives the processes: a restart must find what was promised.
 *
 * Kept as terms by index: an index and a term name an entry (Raft §5.3, checked by `EntryNames`).
 */
import type { RecoveredState } from '../../../consensus/storage.ts';
import type { Entry, HardState, NodeId, Persist } from '../../../consensus/types.ts';
import type { Chosen } from './chosen.ts';

interface PendingWrite {
  readonly sequence: number;
  readonly hardState: HardState | undefined;
  /** Index of the first of `terms`; 0 where there are none. */
  readonly first: number;
  readonly terms: readonly number[];
  /** Where each of `terms` is; under Raft they follow each other. */
  readonly indexes: readonly number[];
}

export class SeatLog {
  readonly id: NodeId;
  /** The log as its core has it. Index 0 is before the first entry. */
  terms: number[];
  /** The log as its storage said that it is durable. */
  durable: number[];
  /** The durable hard state; `undefined` before the first start. */
  hardState: HardState | undefined;
  /** Durable votes by term, of all lives. */
  readonly votes: Map<number, NodeId>;
  /** Some of `votes` were given before the disk was lost or damaged. */
  hasLostVotes: boolean;
  /** What was durable each time that the disk was lost or damaged: nobody can be blamed for counting on it. */
  readonly #lost: (readonly number[])[];
  /** The disk was lost or damaged since the last start: what is found cannot be held against the node. */
  isDamaged: boolean;
  /** Indexes up to here are covered by a snapshot that is, or may be, on the disk. */
  snapshotIndex: number;
  /** The newest change of the configuration that was appended and not known to be chosen then. */
  openChange: number;
  /** A write replaces the slots that it names and nothing else (Paxos); terms are ballots then. */
  readonly #bySlot: boolean;
  #pending: PendingWrite[];
  /** Where the durable log ended at most, by the term that the hard state had then. */
  readonly #ends: Map<number, number>;

  constructor(id: NodeId, consensus: 'raft' | 'paxos' = 'raft') {
    this.id = id;
    this.#bySlot = consensus === 'paxos';
    this.terms = [0];
    this.durable = [0];
    this.hardState = undefined;
    this.votes = new Map();
    this.hasLostVotes = false;
    this.#lost = [];
    this.isDamaged = false;
    this.snapshotIndex = 0;
    this.openChange = 0;
    this.#pending = [];
    this.#ends = new Map();
  }

  /** The last index that was durable at some time of a term: a newer leader may have replaced it since. */
  endIn(term: number): number {
    return this.#ends.get(term) ?? 0;
  }

  /** Whether the entry is, or was before its disk was damaged, durable here. */
  holds(index: number, term: number): boolean {
    return this.durable[index] === term || this.#lost.some((log) => log[index] === term);
  }

  /** Whether the slot is, or was before its disk was damaged, durably accepted in `ballot` or a later one. */
  acceptedSince(index: number, ballot: number): boolean {
    return [this.durable, ...this.#lost].some((log) => (log[index] ?? 0) >= ballot);
  }

  /** The core asks for a write. Returns what is wrong with it. */
  ask(write: Persist & { readonly sequence: number }): string | undefined {
    const { entries, hardState, sequence } = write;
    const first = entries[0]?.index ?? 0;
    const terms = entries.map((entry) => entry.term);
    const asked = { sequence, hardState, first, terms, indexes: entries.map(({ index }) => index) };
    this.#pending.push(asked);
    if (!this.#bySlot && first > this.terms.length) {
      return `writes entry ${first} after a log that ends at ${this.terms.length - 1}`;
    }
    return this.#write(this.terms, asked);
  }

  #write(log: number[], { first, terms, indexes }: PendingWrite): string | undefined {
    if (!this.#bySlot) {
      replaceFrom(log, first, terms);
      return undefined;
    }
    for (const [at, index] of indexes.entries()) {
      const ballot = terms[at]!;
      while (log.length < index) log.push(0);
      const before = log[index] ?? 0;
      if (ballot < before)
        return `slot ${index} of ballot ${before} is written in ballot ${ballot}`;
      log[index] = ballot;
    }
    return undefined;
  }

  /** The storage says that all writes up to `sequence` are durable. */
  complete(sequence: number): void {
    let done = 0;
    for (const write of this.#pending) {
      if (write.sequence > sequence) break;
      done += 1;
      this.#settle(write);
    }
    if (done > 0) this.#pending.splice(0, done);
  }

  #settle(write: PendingWrite): void {
    const { hardState } = write;
    if (hardState !== undefined) {
      this.hardState = hardState;
      if (hardState.vote !== '') this.votes.set(hardState.term, hardState.vote);
    }
    this.#write(this.durable, write);
    this.#noteEnd();
  }

  #noteEnd(): void {
    const { term } = this.hardState ?? { term: 0 };
    this.#ends.set(term, Math.max(this.endIn(term), this.durable.length - 1));
  }

  /** A snapshot takes the place of the log up to `index`, and of all of it where they disagree. */
  install(index: number, term: number, chosen: Chosen): void {
    this.snapshotIndex = Math.max(this.snapshotIndex, index);
    // What was accepted behind it stays promised.
    if (this.#bySlot) return;
    for (const log of [this.terms, this.durable]) {
      if (log[index] === term) continue;
      log.length = 0;
      for (let i = 0; i <= index; i++) log.push(chosen.terms[i] ?? term);
    }
    this.#noteEnd();
    if (this.#pending.length > 0) {
      this.#pending = this.#pending.map((write) => ({
        ...write,
        first: 0,
        terms: [],
        indexes: [],
      }));
    }
  }

  /** The disk was wiped or damaged: what was durable may be gone. */
  damage(): void {
    this.isDamaged = true;
    this.hasLostVotes = true;
    this.#lost.push(this.durable.slice());
  }

  /** What was found on the disk, held against what was said to be durable. Returns what is missing. */
  verify(found: RecoveredState, chosen: Chosen): string | undefined {
    if (this.isDamaged || this.hardState === undefined) return undefined;
    return (
      this.#verifyHardState(found.hardState) ??
      this.#verifySnapshot(found, chosen) ??
      this.#verifyEntries(found.entries, found.snapshot?.index ?? 0)
    );
  }

  /** A process starts from what was found. */
  start(found: RecoveredState, chosen: Chosen): void {
    const snapshotIndex = found.snapshot?.index ?? 0;
    const terms: number[] = [0];
    const first = found.entries[0]?.index ?? snapshotIndex + 1;
    for (let index = 1; index < first; index++) {
      // Behind the snapshot a slot may be missing.
      const isHeld = index <= snapshotIndex || !this.#bySlot;
      terms.push(isHeld ? (chosen.terms[index] ?? 0) : 0);
    }
    for (const entry of found.entries) {
      while (terms.length < entry.index) terms.push(0);
      terms.push(entry.term);
    }
    if (this.isDamaged) this.#forgetCandidacies(found.hardState);
    this.terms = terms;
    this.durable = terms.slice();
    this.hardState = found.hardState;
    this.#noteEnd();
    this.#pending = [];
    this.isDamaged = false;
    this.snapshotIndex = snapshotIndex;
    this.openChange = 0;
  }

  /**
   * A vote for itself that is lost with the disk binds nobody: the candidate that it was for ended with its
   * life, and counts no votes any more. A vote for another may still be counted.
   */
  #forgetCandidacies(found: HardState): void {
    for (const [term, vote] of this.votes) {
      const isKept = term === found.term && vote === found.vote;
      if (vote === this.id && !isKept) this.votes.delete(term);
    }
  }

  #verifyHardState(found: HardState): string | undefined {
    const isSame = (one: HardState | undefined): boolean =>
      one?.term === found.term && (this.#bySlot || one.vote === found.vote);
    if (isSame(this.hardState)) return undefined;
    if (this.#pending.some((write) => isSame(write.hardState))) return undefined;
    const { term, vote } = this.hardState!;
    // After a probation a node gives itself the vote of the term in which it may have voted before.
    const isLost = vote === '' || this.hasLostVotes;
    if (found.term === term && isLost && found.vote === this.id) return undefined;
    return (
      `term ${term} with vote '${vote}' was durable, ` +
      `but term ${found.term} with vote '${found.vote}' was found`
    );
  }

  #verifySnapshot({ snapshot, entries }: RecoveredState, chosen: Chosen): string | undefined {
    if (snapshot === undefined) return undefined;
    if (chosen.terms[snapshot.index] !== snapshot.term) {
      return `a snapshot at ${snapshot.index} of term ${snapshot.term} was found, which was not chosen`;
    }
    const first = entries[0]?.index ?? snapshot.index + 1;
    if (this.#bySlot || first <= snapshot.index + 1) return undefined;
    return `nothing was found between the snapshot at ${snapshot.index} and entry ${first}`;
  }

  /** Each slot that was durable is there, in that ballot or in one that was being written. */
  #verifySlots(entries: readonly Entry[], snapshotIndex: number): string | undefined {
    const found = new Map(entries.map(({ index, term }) => [index, term]));
    for (let index = snapshotIndex + 1; index < this.durable.length; index++) {
      const ballot = this.durable[index] ?? 0;
      const there = found.get(index) ?? 0;
      if (there < ballot) return `slot ${index} was durable in ballot ${ballot}, found is ${there}`;
    }
    for (const [index, ballot] of found) {
      if (index <= snapshotIndex || (this.durable[index] ?? 0) === ballot) continue;
      const isPending = this.#pending.some(({ indexes, terms }) =>
        indexes.some((at, i) => at === index && terms[i] === ballot),
      );
      if (!isPending) return `slot ${index} was found in ballot ${ballot}, which was not written`;
    }
    return undefined;
  }

  #verifyEntries(entries: readonly Entry[], snapshotIndex: number): string | undefined {
    if (this.#bySlot) return this.#verifySlots(entries, snapshotIndex);
    // A write that was not said to be durable may have replaced what was, or not.
    let cutFrom = Number.POSITIVE_INFINITY;
    for (const { first } of this.#pending) if (first > 0) cutFrom = Math.min(cutFrom, first);
    const first = entries[0]?.index ?? snapshotIndex + 1;
    const last = first + entries.length - 1;
    const mustReach = Math.min(this.durable.length, cutFrom) - 1;
    if (Math.max(last, snapshotIndex) < mustReach) {
      return `the log was durable up to ${mustReach}, but ends at ${last}`;
    }
    for (const { index, term } of entries) {
      if (index <= snapshotIndex || this.durable[index] === term) continue;
      if (index < cutFrom && index < this.durable.length) {
        return `entry ${index} of term ${this.durable[index]} was durable, one of term ${term} was found`;
      }
      if (!this.#isPending(index, term)) {
        return `entry ${index} of term ${term} was found, which should not be there any more`;
      }
    }
    return undefined;
  }

  #isPending(index: number, term: number): boolean {
    return this.#pending.some(({ first, terms }) => first > 0 && terms[index - first] === term);
  }
}

function replaceFrom(log: number[], first: number, terms: readonly number[]): void {
  if (first === 0) return;
  if (log.length > first) log.length = first;
  for (const term of terms) log.push(term);
}
