/**
 * What a leader knows of one peer, and how it sends to it.
 *
 * - `probe`: the match is not known; one append at a time, until it is answered.
 * - `replicate`: the match is known; appends are pipelined and `next` runs ahead of the answers,
 *   within a window of messages and bytes.
 * - `snapshot`: the entries it needs are gone; nothing is sent until the snapshot has arrived.
 *
 * Invariant: `match < next`. `match` never falls within a term: it is a promise of the peer.
 */
import { assert } from '../../core/assert.ts';
import type { NodeId } from '../types.ts';

/** Appends on their way, oldest first: a ring of their last indexes and sizes. */
export class InflightWindow {
  readonly #capacity: number;
  readonly #maxBytes: number;
  readonly #lastIndexes: Float64Array;
  readonly #sizes: Float64Array;
  #start: number;
  #count: number;
  #bytes: number;

  constructor(maxMessages: number, maxBytes: number) {
    this.#capacity = maxMessages;
    this.#maxBytes = maxBytes;
    this.#lastIndexes = new Float64Array(maxMessages);
    this.#sizes = new Float64Array(maxMessages);
    this.#start = 0;
    this.#count = 0;
    this.#bytes = 0;
  }

  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count === this.#capacity || this.#bytes >= this.#maxBytes;
  }

  add(lastIndex: number, bytes: number): void {
    assert(!this.isFull, 'an append is sent only while the window is open');
    let at = this.#start + this.#count;
    if (at >= this.#capacity) at -= this.#capacity;
    this.#lastIndexes[at] = lastIndex;
    this.#sizes[at] = bytes;
    this.#count += 1;
    this.#bytes += bytes;
  }

  /** Frees the messages whose entries are all at or before `index`. */
  freeTo(index: number): void {
    while (this.#count > 0 && this.#lastIndexes[this.#start]! <= index) {
      this.#bytes -= this.#sizes[this.#start]!;
      this.#start = this.#start + 1 === this.#capacity ? 0 : this.#start + 1;
      this.#count -= 1;
    }
  }

  clear(): void {
    this.#start = 0;
    this.#count = 0;
    this.#bytes = 0;
  }
}

export class Progress {
  readonly id: NodeId;
  /** Of the voters; of those that a joint configuration leaves. */
  isVoter: boolean;
  isOutgoing: boolean;
  /** No longer a member: told so for this many ticks more, unless it knows before. 0: a member. */
  departingTicks: number;
  /** The log up to here, as committed, holds its removal. */
  departureIndex: number;
  state: 'probe' | 'replicate' | 'snapshot';
  /** Newest entry the peer is known to hold durably. */
  match: number;
  /** The next entry to send. */
  next: number;
  /** Heard from since the last quorum check. */
  active: boolean;
  /** In `probe`: wait for an answer (or a heartbeat's) before the next append. */
  waiting: boolean;
  /** In `replicate`: send an append even if it is empty, to find out whether one was lost. */
  verify: boolean;
  /** Newest commit index that an append told the peer. */
  sentCommit: number;
  /** In `snapshot`: its index, and for how many ticks it has been under way. */
  snapshotIndex: number;
  snapshotTicks: number;
  /** Newest read round that the peer has answered in this term. */
  readRound: number;
  readonly window: InflightWindow;

  constructor(id: NodeId, window: InflightWindow) {
    this.id = id;
    this.isVoter = false;
    this.isOutgoing = false;
    this.departingTicks = 0;
    this.departureIndex = 0;
    this.state = 'probe';
    this.match = 0;
    this.next = 1;
    this.active = false;
    this.waiting = false;
    this.verify = false;
    this.sentCommit = 0;
    this.snapshotIndex = 0;
    this.snapshotTicks = 0;
    this.readRound = 0;
    this.window = window;
  }

  /** A new term of leadership: nothing is known (Raft §5.3: `nextIndex` starts after our last). */
  reset(next: number): void {
    this.state = 'probe';
    this.match = 0;
    this.next = next;
    this.active = false;
    this.waiting = false;
    this.verify = false;
    this.sentCommit = 0;
    this.snapshotIndex = 0;
    this.snapshotTicks = 0;
    this.readRound = 0;
    this.window.clear();
  }

  /** Removed from the configuration by what is committed up to `index`. */
  depart(index: number, ticks: number): void {
    if (this.departingTicks > 0) return;
    this.departingTicks = ticks;
    this.departureIndex = index;
  }

  /** Falls back to sending one append at a time, from `next`. */
  probeFrom(next: number): void {
    this.state = 'probe';
    this.next = Math.max(next, this.match + 1);
    this.waiting = false;
    this.verify = false;
    this.sentCommit = Math.min(this.sentCommit, this.match);
    this.snapshotIndex = 0;
    this.snapshotTicks = 0;
    this.window.clear();
  }

  replicate(): void {
    this.probeFrom(this.match + 1);
    this.state = 'replicate';
  }

  sendSnapshot(index: number): void {
    this.probeFrom(this.match + 1);
    this.state = 'snapshot';
    this.snapshotIndex = index;
  }

  /**
   * The peer holds the log up to `index`. `firstIndex` is the first one that we still hold.
   * Returns whether that was news.
   */
  acknowledge(index: number, firstIndex: number): boolean {
    const isNews = index > this.match;
    if (isNews) {
      this.match = index;
      if (this.next <= index) this.next = index + 1;
    }
    if (this.state === 'replicate') this.window.freeTo(index);
    else if (this.state === 'probe' && index === this.match) this.replicate();
    else if (this.state === 'snapshot' && isNews && this.match + 1 >= firstIndex) this.replicate();
    return isNews;
  }

  /**
   * The peer refused an append that followed `index`; the logs may agree up to `hint`. Returns
   * whether there is something to send, or the refusal is old.
   */
  refuse(index: number, hint: number): boolean {
    if (index <= this.match) return false;
    if (this.state === 'replicate') {
      this.probeFrom(this.match + 1);
      return true;
    }
    if (this.state === 'snapshot' || index !== this.next - 1) return false;
    this.probeFrom(Math.min(index, hint + 1));
    return true;
  }
}
