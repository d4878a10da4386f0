/**
 * What of a node's state is on its disk. Writes are numbered, several may be under way, and they become
 * durable in order. A slot may be written again in a newer ballot, so what counts is not how long the
 * log is but how far the row of acceptances *in the present ballot* reached when a write was made.
 */
import { assert } from '../../core/assert.ts';
import { Fifo } from '../../core/fifo.ts';
import { NEXT_WRITE } from '../raft/durability.ts';

interface Write {
  readonly sequence: number;
  readonly ballot: number;
  /** All up to here was chosen, or accepted in `ballot`, and is durable with this write. */
  readonly match: number;
}

export class PaxosDurability {
  /** Promise changed and was not handed out yet. */
  stateDirty: boolean;
  /** Slots were accepted and not handed out yet. */
  slotsDirty: boolean;
  /** All up to here is chosen or accepted in the present ballot, durably. */
  durableMatch: number;
  #sequence: number;
  #durableSequence: number;
  /** The writes that hold the newest promise, and the newest slot. */
  #stateSequence: number;
  #slotsSequence: number;
  readonly #writes: Fifo<Write>;

  constructor(durableMatch: number) {
    this.stateDirty = false;
    this.slotsDirty = false;
    this.durableMatch = durableMatch;
    this.#sequence = 0;
    this.#durableSequence = 0;
    this.#stateSequence = 0;
    this.#slotsSequence = 0;
    this.#writes = new Fifo();
  }

  /** The present promise is on the disk. */
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

  get isDirty(): boolean {
    return this.stateDirty || this.slotsDirty;
  }

  /** Another ballot begins: of what is durable, only what is chosen still counts. */
  beginBallot(commit: number): void {
    this.durableMatch = Math.min(this.durableMatch, commit);
    this.stateDirty = true;
  }

  /** Numbers the write of all that is dirty; `match` is how far `ballot` has come in memory. */
  begin(ballot: number, match: number): number {
    this.#sequence += 1;
    if (this.stateDirty) this.#stateSequence = this.#sequence;
    if (this.slotsDirty) this.#slotsSequence = this.#sequence;
    this.stateDirty = false;
    this.slotsDirty = false;
    this.#writes.push({ sequence: this.#sequence, ballot, match });
    return this.#sequence;
  }

  /** The write `sequence` and all before it are durable; `ballot` is the present one. */
  complete(sequence: number, ballot: number): void {
    assert(sequence <= this.#sequence, 'only a write that was asked for can be durable');
    if (sequence > this.#durableSequence) this.#durableSequence = sequence;
    for (;;) {
      const write = this.#writes.peek();
      if (write === undefined || write.sequence > sequence) return;
      this.#writes.shift();
      if (write.ballot === ballot && write.match > this.durableMatch) {
        this.durableMatch = write.match;
      }
    }
  }

  /** A snapshot at `index` is durable. */
  installed(index: number): void {
    if (index > this.durableMatch) this.durableMatch = index;
  }

  /** The write that a message has to wait for: 0 if none. `slots`: whether it promises slots too. */
  dependency(slots: number): number {
    if (this.stateDirty || (slots > 0 && this.slotsDirty)) return NEXT_WRITE;
    const newest = slots > 0 ? this.#slotsSequence : 0;
    const waitsFor = Math.max(this.#stateSequence, newest);
    return waitsFor > this.#durableSequence ? waitsFor : 0;
  }
}
