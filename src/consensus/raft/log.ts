/**
 * The log in memory: the entries after the last compacted one, with the marks that move over them
 * (Raft figure 2). What of it is on the disk is the business of `durability.ts`.
 *
 * Invariant: `firstIndex - 1 <= applied <= handedOut <= commit <= lastIndex`.
 */
import { assert } from '../../core/assert.ts';
import { QuorateError } from '../../core/errors.ts';
import { type Entry, EntryType } from '../types.ts';

/** What an entry costs beside its payload, in memory and in a message. Keeps empty entries bounded. */
const ENTRY_OVERHEAD_BYTES = 32;

/** An entry's size for every limit that counts bytes on the move. */
export function entryBytes(entry: Entry): number {
  return entry.data.length + ENTRY_OVERHEAD_BYTES;
}

export interface LogStart {
  readonly snapshot: { readonly index: number; readonly term: number };
  readonly entries: readonly Entry[];
  readonly commit: number;
  readonly applied: number;
}

const NO_ENTRIES: readonly Entry[] = Object.freeze([]);

export class RaftLog {
  /** `#entries[0].index` is `#offset + 1`. */
  #entries: Entry[];
  /** Index and term of the newest entry no longer held. The term is kept: matching needs it. */
  #offset: number;
  #offsetTerm: number;
  /** Our newest snapshot; never before `#offset`. */
  snapshotIndex: number;
  snapshotTerm: number;
  /** Newest entry known to be committed. */
  commit: number;
  /** Newest committed entry handed out to be applied. */
  handedOut: number;
  /** Newest entry that the state machine has applied. */
  applied: number;
  /** Indexes of the changes of the configuration that are not applied yet: one, but while catching up. */
  #changes: number[];

  constructor(start: LogStart) {
    const { index, term } = start.snapshot;
    this.#entries = followingEntries(start);
    this.#offset = index;
    this.#offsetTerm = term;
    this.snapshotIndex = index;
    this.snapshotTerm = term;
    this.commit = Math.max(start.commit, index);
    this.handedOut = Math.max(start.applied, index);
    this.applied = this.handedOut;
    this.#changes = changesIn(this.#entries, this.applied);
    // A change is proposed only when the one before it was applied, so that one is committed, even where
    // the crash took the commit index that was written with it.
    const settled = this.#changes[this.#changes.length - 2] ?? 0;
    if (settled > this.commit) this.commit = settled;
    if (this.commit > this.lastIndex || this.applied > this.commit) {
      throw new QuorateError(
        'ERR_CORRUPT',
        `the log ends at ${this.lastIndex}, but ${this.commit} was committed and ${this.applied} applied: ` +
          'entries are missing from the data directory; restore it, or remove the node and add it anew',
      );
    }
  }

  get firstIndex(): number {
    return this.#offset + 1;
  }

  get lastIndex(): number {
    return this.#offset + this.#entries.length;
  }

  get lastTerm(): number {
    return this.termAt(this.lastIndex);
  }

  /** The entry before `firstIndex`: its term is still known. */
  get offset(): number {
    return this.#offset;
  }

  /** The term of the entry at `index`, or 0 where it is not known. */
  termAt(index: number): number {
    if (index === this.#offset) return this.#offsetTerm;
    if (index < this.#offset) return 0;
    return this.#entries[index - this.#offset - 1]?.term ?? 0;
  }

  /** The consistency check of AppendEntries (Raft §5.3). Index 0 matches everywhere. */
  matches(index: number, term: number): boolean {
    if (index < this.#offset || index > this.lastIndex) return false;
    return this.termAt(index) === term;
  }

  /** Whether a log that ends in (`index`, `term`) is at least as up to date as this (Raft §5.4.1). */
  isUpToDate(index: number, term: number): boolean {
    const lastTerm = this.lastTerm;
    return term > lastTerm || (term === lastTerm && index >= this.lastIndex);
  }

  append(entry: Entry): void {
    assert(entry.index === this.lastIndex + 1, 'an entry follows the last one');
    assert(entry.term >= this.lastTerm, 'terms never fall along the log');
    this.#entries.push(entry);
    if (isChange(entry)) this.#changes.push(entry.index);
  }

  /** Drops the entries after `index`, which must not be committed. */
  truncateAfter(index: number): void {
    assert(index >= this.commit, 'a committed entry is never dropped');
    this.#entries.length = index - this.#offset;
    while (this.#changes.length > 0 && this.#changes[this.#changes.length - 1]! > index) {
      this.#changes.pop();
    }
  }

  /** A change of the configuration is in the log and not applied: it may yet come into force. */
  get hasChange(): boolean {
    return this.#changes.length > 0;
  }

  /** Those changes. */
  changes(): readonly Entry[] {
    if (this.#changes.length === 0) return NO_ENTRIES;
    return this.#changes.map((index) => this.#entries[index - this.#offset - 1]!);
  }

  /** A change is known to be committed and is not applied: the configuration in use is old. */
  get isBehindInChanges(): boolean {
    const { length } = this.#changes;
    return length > 1 || (length === 1 && this.#changes[0]! <= this.commit);
  }

  /** The state machine has applied up to `index`. */
  applyTo(index: number): void {
    if (index <= this.applied) return;
    this.applied = index;
    if (this.#changes.length > 0 && this.#changes[0]! <= index) {
      this.#changes = this.#changes.filter((change) => change > index);
    }
  }

  /**
   * Where a log that holds `term` at `index` may still agree with this one: the newest index, at
   * most `index`, whose term is at most `term`. Lets a search skip whole terms (Raft §5.3).
   */
  newestNotAfter(index: number, term: number): number {
    let candidate = Math.min(index, this.lastIndex);
    while (candidate > this.#offset && this.termAt(candidate) > term) candidate -= 1;
    return candidate;
  }

  /** Copies entries from `from` to at most `to`, at most `maxBytes` of them, but at least one. */
  slice(from: number, to: number, maxBytes: number): Entry[] {
    assert(from > this.#offset, 'entries asked for are in the log');
    assert(to <= this.lastIndex, 'entries asked for exist');
    const start = from - this.#offset - 1;
    const stop = to - this.#offset;
    let end = start;
    let bytes = 0;
    while (end < stop) {
      bytes += entryBytes(this.#entries[end]!);
      if (bytes > maxBytes && end > start) break;
      end += 1;
    }
    return this.#entries.slice(start, end);
  }

  /** Payload bytes of the entries in `(after, to]`. */
  payloadBytes(after: number, to: number): number {
    let bytes = 0;
    for (let index = after + 1; index <= to; index++) {
      bytes += this.#entries[index - this.#offset - 1]!.data.length;
    }
    return bytes;
  }

  commitTo(index: number): void {
    if (index <= this.commit) return;
    assert(index <= this.lastIndex, 'what is committed is in the log');
    this.commit = index;
  }

  /** The next committed entries to apply. */
  handOut(maxEntries: number, maxBytes: number): readonly Entry[] {
    const to = Math.min(this.commit, this.handedOut + maxEntries);
    const entries = this.slice(this.handedOut + 1, to, maxBytes);
    this.handedOut += entries.length;
    return entries;
  }

  /** Notes a snapshot at `index` and forgets the entries before `keepFrom`. */
  compact(index: number, keepFrom: number): void {
    assert(index <= this.applied, 'a snapshot holds only applied entries');
    if (index > this.snapshotIndex) {
      const term = this.termAt(index);
      assert(term > 0, 'the term of a new snapshot is known');
      this.snapshotIndex = index;
      this.snapshotTerm = term;
    }
    const offset = Math.min(keepFrom - 1, this.snapshotIndex);
    if (offset <= this.#offset) return;
    const term = this.termAt(offset);
    this.#entries = this.#entries.slice(offset - this.#offset);
    this.#offset = offset;
    this.#offsetTerm = term;
  }

  /** Replaces everything by a snapshot received from the leader. */
  reset(index: number, term: number): void {
    assert(index > this.commit, 'a snapshot never takes back what was committed');
    this.#entries = [];
    this.#offset = index;
    this.#offsetTerm = term;
    this.snapshotIndex = index;
    this.snapshotTerm = term;
    this.commit = index;
    this.handedOut = index;
    this.applied = index;
    this.#changes = [];
  }
}

function changesIn(entries: readonly Entry[], after: number): number[] {
  const changes: number[] = [];
  for (const entry of entries) {
    if (entry.index > after && isChange(entry)) changes.push(entry.index);
  }
  return changes;
}

function isChange({ type }: Entry): boolean {
  return type === EntryType.configChange || type === EntryType.configChangeV2;
}

/**
 * What was found on the disk after the snapshot. Entries of a term older than the snapshot's are
 * left from before that snapshot was received: they conflict with it and were never committed.
 */
function followingEntries(start: LogStart): Entry[] {
  const entries: Entry[] = [];
  let { index, term } = start.snapshot;
  for (const entry of start.entries) {
    if (entry.index <= start.snapshot.index) continue;
    if (entries.length === 0 && entry.index === index + 1 && entry.term < term) break;
    if (entry.index !== index + 1 || entry.term < term) {
      throw new QuorateError(
        'ERR_CORRUPT',
        `the log holds entry ${entry.index} of term ${entry.term} after entry ${index} of term ${term}: ` +
          'the data directory is damaged; restore it, or remove the node and add it anew',
      );
    }
    index = entry.index;
    term = entry.term;
    entries.push(entry);
  }
  return entries;
}
