/**
 * What of a node's state is on its disk. Writes are numbered, several may be under way, and they
 * become durable in order; the log may be cut and grow again meanwhile.
 *
 * The trap is ABA: a write of index 10 completes after index 10 was cut and replaced. So each write
 * remembers how far it reaches, a cut lowers that mark, and completion only counts what is left of it.
 */
import { assert } from '../../core/assert.ts';

interface Write {
  readonly sequence: number;
  /** The log up to here, as it is now, is on the disk once this write is. */
  lastIndex: number;
}

/** The marks at `#writes` are never falling: a cut lowers all later ones to the same index. */
export class Durability {
  /** The log is durable up to here. */
  durableIndex: number;
  /** The log was handed out to be persisted up to here. */
  offeredIndex: number;
  /** Term or vote changed and was not handed out yet. */
  stateDirty: boolean;
  /** The newest write and the newest durable one. */
  #sequence: number;
  #durableSequence: number;
  /** The write that holds the newest term and vote. */
  #stateSequence: number;
  /** Queue with a moving head, so that nothing is shifted. */
  #writes: Write[];
  #head: number;

  constructor(lastIndex: number) {
    this.durableIndex = lastIndex;
    this.offeredIndex = lastIndex;
    this.stateDirty = false;
    this.#sequence = 0;
    this.#durableSequence = 0;
    this.#stateSequence = 0;
    this.#writes = [];
    this.#head = 0;
  }

  /** The current term and vote are on the disk. */
  get stateDurable(): boolean {
    return !this.stateDirty && this.#stateSequence <= this.#durableSequence;
  }

  /** A write is under way. */
  get hasPending(): boolean {
    return this.#durableSequence < this.#sequence;
  }

  get durableSequence(): number {
    return this.#durableSequence;
  }

  /** Numbers the write that makes all up to `lastIndex`, and term and vote, durable. */
  begin(lastIndex: number): number {
    this.#sequence += 1;
    if (this.stateDirty) {
      this.stateDirty = false;
      this.#stateSequence = this.#sequence;
    }
    this.offeredIndex = lastIndex;
    this.#writes.push({ sequence: this.#sequence, lastIndex });
    return this.#sequence;
  }

  /** The write `sequence` and all before it are durable. */
  complete(sequence: number): void {
    assert(sequence <= this.#sequence, 'only a write that was asked for can be durable');
    if (sequence <= this.#durableSequence) return;
    this.#durableSequence = sequence;
    while (this.#head < this.#writes.length) {
      const write = this.#writes[this.#head]!;
      if (write.sequence > sequence) break;
      if (write.lastIndex > this.durableIndex) this.durableIndex = write.lastIndex;
      this.#head += 1;
    }
    if (this.#head === this.#writes.length) {
      this.#writes.length = 0;
      this.#head = 0;
    } else if (this.#head >= 64 && this.#head * 2 > this.#writes.length) {
      this.#writes = this.#writes.slice(this.#head);
      this.#head = 0;
    }
  }

  /** The log was cut after `index`: nothing beyond it counts, whatever completes later. */
  truncateAfter(index: number): void {
    if (this.durableIndex > index) this.durableIndex = index;
    if (this.offeredIndex > index) this.offeredIndex = index;
    for (let at = this.#writes.length - 1; at >= this.#head; at--) {
      const write = this.#writes[at]!;
      if (write.lastIndex <= index) break;
      write.lastIndex = index;
    }
  }

  /** A received snapshot at `index` is durable and takes the place of the whole log. */
  reset(index: number): void {
    this.truncateAfter(index);
    this.durableIndex = index;
    this.offeredIndex = index;
    for (let at = this.#head; at < this.#writes.length; at++) this.#writes[at]!.lastIndex = index;
  }

  /**
   * The write that a message must wait for that promises the log up to `index` (0: only term and
   * vote): 0 if none, `NEXT_WRITE` if it is not yet handed out.
   */
  dependency(index: number): number {
    if (this.stateDirty || index > this.offeredIndex) return NEXT_WRITE;
    const state = this.#stateSequence > this.#durableSequence ? this.#stateSequence : 0;
    if (index <= this.durableIndex) return state;
    let at = this.#writes.length - 1;
    while (at > this.#head && this.#writes[at - 1]!.lastIndex >= index) at -= 1;
    const write = this.#writes[at];
    assert(write !== undefined, 'what was handed out is durable or under way');
    return Math.max(state, write.sequence);
  }
}

/** The write that the next `take` hands out. */
export const NEXT_WRITE = Number.MAX_SAFE_INTEGER;
