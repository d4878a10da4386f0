/**
 * What a node with a full disk does (`Storage.space`): it takes nothing into its log that it may have no
 * room for, and goes on with everything else. As a leader it hands over, once, to a node that may have
 * space; as a follower it does not acknowledge what it did not take, so the others carry on without it.
 * Votes, terms and reads need no room worth mentioning. It ends by itself when space returns.
 */
import { QuorateError } from '../../core/errors.ts';
import type { PeerMessage } from '../messages.ts';
import type { Storage } from '../storage.ts';

/** Ticks between two attempts of a leader with a full disk to find a successor. */
const OFFER_TICKS = 20;

/** The error of a proposal that found the disk of this node, or of the leader, full. */
export function noSpace(whose: 'this' | 'the leading'): QuorateError {
  return new QuorateError(
    'ERR_NO_SPACE',
    `the disk of ${whose} node is full: nothing was written. Free space on it, or add some; writes are ` +
      'taken again by themselves then, and reads go on meanwhile',
    { retryable: true },
  );
}

export class FullDisk {
  readonly #storage: Storage;
  readonly #handOver: () => Promise<void>;
  /** Since the disk became full: whether leadership was offered, and whether somebody took it. */
  #hasOffered = false;
  #hasHandedOver = false;
  /** Ticks until it is offered again. */
  #wait = 0;

  constructor(storage: Storage, handOver: () => Promise<void>) {
    this.#storage = storage;
    this.#handOver = handOver;
  }

  /** A heartbeat interval has passed. Handed over only once in a time of need: all others may be full as well. */
  tick(isLeading: boolean): void {
    this.#storage.tick();
    if (this.#storage.space === 'ample') {
      this.#hasOffered = false;
      this.#hasHandedOver = false;
      this.#wait = 0;
    } else if (!isLeading) {
      this.#hasHandedOver ||= this.#hasOffered;
    } else if (!this.#hasHandedOver && --this.#wait < 0) {
      this.#wait = OFFER_TICKS;
      this.#hasOffered = true;
      this.#handOver().catch(() => undefined);
    }
  }

  /**
   * Entries for which there is no room: as if lost on the way, they come again. Those without data, with
   * which a term begins, need next to none.
   */
  refuses(message: PeerMessage): boolean {
    if (message.entries.length === 0 || this.#storage.space !== 'none') return false;
    return message.entries.some(({ data }) => data.length > 0);
  }
}
