/**
 * Outgoing messages, sorted by what must be durable first. This is the one place that enforces
 * "persist before promise" (Raft §5, figure 2): no message leaves before the term and vote it was
 * made under are on the disk, and no acknowledgement before the entries it acknowledges.
 */

import { MessageType, type PeerMessage } from '../messages.ts';
import { type Durability, NEXT_WRITE } from './durability.ts';

/** Tells which write a promise has to wait for. */
export type WriteOrder = Pick<Durability, 'dependency'>;

/** Held messages beyond this are lost, oldest first: Raft tolerates loss, memory does not. */
const MAX_HELD = 4096;

const NONE: readonly PeerMessage[] = Object.freeze([]);

export class Outbox {
  readonly #durability: WriteOrder;
  /** Wait for nothing. */
  #ready: PeerMessage[];
  /** Wait for the write of the next `take`. */
  #next: PeerMessage[];
  /** Wait for a write under way: message and sequence, side by side. */
  #held: PeerMessage[];
  #heldFor: number[];

  constructor(durability: WriteOrder) {
    this.#durability = durability;
    this.#ready = [];
    this.#next = [];
    this.#held = [];
    this.#heldFor = [];
  }

  get isEmpty(): boolean {
    return this.#ready.length === 0 && this.#next.length === 0;
  }

  /** Queues a message that promises nothing but the term it was made in. */
  send(message: PeerMessage): void {
    this.#queue(message, this.#durability.dependency(0));
  }

  /** Queues a message that promises the log up to `index`. */
  sendDurable(message: PeerMessage, index: number): void {
    this.#queue(message, this.#durability.dependency(index));
  }

  #queue(message: PeerMessage, waitsFor: number): void {
    if (waitsFor === 0) {
      this.#ready.push(message);
    } else if (waitsFor === NEXT_WRITE) {
      const last = this.#next.length - 1;
      if (last >= 0 && supersedes(message, this.#next[last]!)) this.#next[last] = message;
      else this.#next.push(message);
    } else {
      if (this.#held.length >= MAX_HELD) {
        this.#held = this.#held.slice(MAX_HELD / 2);
        this.#heldFor = this.#heldFor.slice(MAX_HELD / 2);
      }
      this.#held.push(message);
      this.#heldFor.push(waitsFor);
    }
  }

  /** Releases what waited for writes up to `sequence`. */
  release(sequence: number): void {
    let kept = 0;
    for (let at = 0; at < this.#held.length; at++) {
      const waitsFor = this.#heldFor[at]!;
      if (waitsFor <= sequence) {
        this.#ready.push(this.#held[at]!);
      } else {
        this.#held[kept] = this.#held[at]!;
        this.#heldFor[kept] = waitsFor;
        kept += 1;
      }
    }
    this.#held.length = kept;
    this.#heldFor.length = kept;
  }

  takeReady(): readonly PeerMessage[] {
    if (this.#ready.length === 0) return NONE;
    const messages = this.#ready;
    this.#ready = [];
    return messages;
  }

  /** What waits for the write of this `take`. */
  takeAfterWrite(): readonly PeerMessage[] {
    if (this.#next.length === 0) return NONE;
    const messages = this.#next;
    this.#next = [];
    return messages;
  }
}

/** An acknowledgement says "up to": a later one to the same leader makes the earlier one needless. */
function supersedes(message: PeerMessage, earlier: PeerMessage): boolean {
  return (
    (message.type === MessageType.appendReply || message.type === MessageType.accepted) &&
    earlier.type === message.type &&
    !message.reject &&
    !earlier.reject &&
    message.to === earlier.to &&
    message.term === earlier.term &&
    message.index >= earlier.index
  );
}
