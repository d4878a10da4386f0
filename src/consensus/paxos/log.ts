/**
 * The log in memory: the slots after the last compacted one, some of which may be empty still (holes),
 * with the marks that move over them.
 *
 * Invariant: `firstIndex - 1 <= applied <= handedOut <= commit <= lastIndex`; there is no hole up to
 * `commit`, and what is there is what was chosen. A chosen slot never changes again.
 */
import { assert } from '../../core/assert.ts';
import { QuorateError } from '../../core/errors.ts';
import { type Entry, EntryType } from '../types.ts';
import { fromRecord, type Slot, slotBytes, toRecord } from './slot.ts';

/** What a node found on its disk. */
export interface PaxosLogStart {
  readonly snapshot: { readonly index: number; readonly term: number };
  /** By index; there may be holes behind `commit`. */
  readonly entries: readonly Entry[];
  readonly commit: number;
  readonly applied: number;
}

const NOTHING: readonly never[] = Object.freeze([]);

export class PaxosLog {
  /** `#slots[0]` is that of `#offset + 1`. The last one is not empty. */
  #slots: (Slot | undefined)[];
  #offset: number;
  /** Origin of the newest value up to `#offset` that has one. */
  #offsetTerm: number;
  /** Accepted and not yet handed out to be written. May hold an index twice. */
  #unwritten: number[];
  snapshotIndex: number;
  snapshotTerm: number;
  /** All up to here is chosen, and known here. */
  commit: number;
  handedOut: number;
  applied: number;

  constructor(start: PaxosLogStart) {
    const { index, term } = start.snapshot;
    this.#slots = [];
    this.#offset = index;
    this.#offsetTerm = term;
    this.#unwritten = [];
    this.snapshotIndex = index;
    this.snapshotTerm = term;
    this.commit = Math.max(start.commit, index);
    this.handedOut = Math.max(start.applied, index);
    this.applied = this.handedOut;
    for (const record of start.entries) if (record.index > index) this.#restore(record);
    for (let at = index + 1; at <= this.commit; at++) {
      if (this.at(at) === undefined) throw damaged(at, `${this.commit} were chosen`);
    }
  }

  #restore(record: Entry): void {
    const slot = fromRecord(record);
    if (slot === undefined) throw damaged(record.index, 'what it holds is no value');
    this.#put(record.index, slot);
  }

  get firstIndex(): number {
    return this.#offset + 1;
  }

  /** The newest slot that holds anything. */
  get lastIndex(): number {
    return this.#offset + this.#slots.length;
  }

  get offset(): number {
    return this.#offset;
  }

  at(index: number): Slot | undefined {
    return this.#slots[index - this.#offset - 1];
  }

  /** The ballot in which `index` was accepted, 0 for a hole. */
  ballotAt(index: number): number {
    return this.at(index)?.ballot ?? 0;
  }

  /**
   * The origin of the value at `index`; of a gap filler, that of the newest value before it. Along what
   * is chosen it never falls (see `recovery.ts`). 0 where it is not known.
   */
  termAt(index: number): number {
    if (index < this.#offset || index > this.lastIndex) return 0;
    for (let at = index; at > this.#offset; at--) {
      const origin = this.at(at)?.value.term ?? 0;
      if (origin > 0) return origin;
    }
    return this.#offsetTerm;
  }

  /** Accepts `value` in `ballot`, in the place of what was accepted in an older one. */
  accept(ballot: number, value: Entry): void {
    const { index } = value;
    assert(index > this.commit, 'a chosen slot is not accepted again');
    assert(ballot >= this.ballotAt(index), 'the ballots of a slot never fall');
    this.#put(index, { ballot, value });
    this.#unwritten.push(index);
  }

  #put(index: number, slot: Slot): void {
    const position = index - this.#offset - 1;
    while (this.#slots.length < position) this.#slots.push(undefined);
    this.#slots[position] = slot;
  }

  commitTo(index: number): void {
    if (index <= this.commit) return;
    assert(index <= this.lastIndex, 'what is chosen is in the log');
    this.commit = index;
  }

  /** What to write, by index, each slot once, as it is now. */
  takeUnwritten(): readonly Entry[] {
    if (this.#unwritten.length === 0) return NOTHING;
    const indexes = this.#unwritten;
    this.#unwritten = [];
    if (indexes.some((index, at) => at > 0 && index <= indexes[at - 1]!)) {
      indexes.sort((a, b) => a - b);
    }
    const records: Entry[] = [];
    let before = this.#offset;
    for (const index of indexes) {
      // Twice, or replaced by a snapshot meanwhile.
      if (index <= before) continue;
      records.push(toRecord(this.at(index)!));
      before = index;
    }
    return records;
  }

  /** Copies slots from `from` to at most `to`, leaving holes out, at most `maxBytes` of them, but one. */
  slice(from: number, to: number, maxBytes: number): Slot[] {
    assert(from > this.#offset, 'slots asked for are in the log');
    const slots: Slot[] = [];
    let bytes = 0;
    for (let index = from; index <= Math.min(to, this.lastIndex); index++) {
      const slot = this.at(index);
      if (slot === undefined) continue;
      bytes += slotBytes(slot);
      if (bytes > maxBytes && slots.length > 0) break;
      slots.push(slot);
    }
    return slots;
  }

  /** Payload bytes of the slots in `(after, to]`. */
  payloadBytes(after: number, to: number): number {
    let bytes = 0;
    for (let index = after + 1; index <= to; index++) {
      bytes += this.at(index)?.value.data.length ?? 0;
    }
    return bytes;
  }

  /** Whether a change of the members is chosen and not applied: who votes is not known yet. */
  get hasOpenChange(): boolean {
    for (let index = this.applied + 1; index <= this.commit; index++) {
      if (this.at(index)?.value.type !== EntryType.normal) return true;
    }
    return false;
  }

  /** The next chosen values to apply. */
  handOut(maxEntries: number, maxBytes: number): readonly Entry[] {
    const to = Math.min(this.commit, this.handedOut + maxEntries);
    const values: Entry[] = [];
    let bytes = 0;
    for (let index = this.handedOut + 1; index <= to; index++) {
      const slot = this.at(index)!;
      bytes += slotBytes(slot);
      if (bytes > maxBytes && values.length > 0) break;
      values.push(slot.value);
    }
    this.handedOut += values.length;
    return values;
  }

  /** Notes a snapshot at `index` and forgets the slots before `keepFrom`. */
  compact(index: number, keepFrom: number): void {
    assert(index <= this.applied, 'a snapshot holds only applied values');
    if (index > this.snapshotIndex) {
      this.snapshotTerm = this.termAt(index);
      this.snapshotIndex = index;
    }
    const offset = Math.min(keepFrom - 1, this.snapshotIndex);
    if (offset <= this.#offset) return;
    this.#offsetTerm = this.termAt(offset);
    this.#slots = this.#slots.slice(offset - this.#offset);
    this.#offset = offset;
  }

  /** A snapshot takes the place of all up to `index`. What was accepted behind it stays promised. */
  reset(index: number, term: number): void {
    assert(index > this.commit, 'a snapshot never takes back what was chosen');
    this.#slots = this.#slots.slice(index - this.#offset);
    this.#offset = index;
    this.#offsetTerm = term;
    this.snapshotIndex = index;
    this.snapshotTerm = term;
    this.commit = index;
    this.handedOut = index;
    this.applied = index;
  }
}

function damaged(index: number, why: string): QuorateError {
  return new QuorateError(
    'ERR_CORRUPT',
    `slot ${index} of the log is damaged or missing (${why}): entries are missing from the data directory; ` +
      'restore it from a copy',
  );
}
