/**
 * How much of the applied log stays in memory for followers that are a little late. What is older is
 * dropped there; on the disk it stays until a snapshot covers it. A follower that is further behind
 * gets a snapshot, made when it is needed; what follows that one is kept until the follower has it, or
 * under steady writes each snapshot would come too late and be followed by another.
 */
import { Fifo } from '../../core/fifo.ts';
import type { Core } from '../core.ts';
import type { NodeId } from '../types.ts';
import type { ReplicaSettings } from './settings.ts';

/** Dropping moves what is kept: worth it for this share of it. */
const SLACK = 0.25;

/** What is kept for followers that take a snapshot in, at most, in times of what is kept otherwise. */
const HELD_ENTRIES = 32;
const HELD_BYTES = 4;

export class Retention {
  readonly #maxEntries: number;
  readonly #maxBytes: number;
  /** Of the applied entries that the core still holds, oldest first. */
  readonly #sizes = new Fifo<number>();
  #bytes = 0;
  /** Followers that are sent a snapshot, and its index. */
  readonly #held = new Map<NodeId, number>();

  constructor(settings: ReplicaSettings) {
    this.#maxEntries = settings.keepEntries;
    this.#maxBytes = settings.keepBytes;
  }

  applied(bytes: number): void {
    this.#sizes.push(bytes);
    this.#bytes += bytes;
  }

  /** A snapshot took the place of the log. */
  reset(): void {
    while (this.#sizes.length > 0) this.#sizes.shift();
    this.#bytes = 0;
  }

  /** `peer` is sent the snapshot at `index`: keeps what follows until the core says that it caught up. */
  hold(peer: NodeId, index: number): void {
    this.#held.set(peer, index);
  }

  /** `peer` did not get it. */
  release(peer: NodeId): void {
    this.#held.delete(peer);
  }

  /** The first index to keep, if it is time to drop what is before it; `applied` is the newest. */
  dropBefore(applied: number, core: Pick<Core, 'status'>): number | undefined {
    const isDue =
      this.#sizes.length > this.#maxEntries * (1 + SLACK) + 1 ||
      this.#bytes > this.#maxBytes * (1 + SLACK);
    if (!isDue) return undefined;
    const before = this.#sizes.length;
    const heldFrom = this.#held.size === 0 ? Infinity : this.#heldFrom(core, applied);
    while (this.#sizes.length > this.#maxEntries || this.#bytes > this.#maxBytes) {
      if (applied - this.#sizes.length + 1 >= heldFrom) break;
      this.#bytes -= this.#sizes.shift()!;
    }
    return this.#sizes.length < before ? applied - this.#sizes.length + 1 : undefined;
  }

  /** The first index that a follower needs which takes a snapshot in; gives them up beyond the limit. */
  #heldFrom(core: Pick<Core, 'status'>, applied: number): number {
    const { peers } = core.status();
    for (const [id, index] of this.#held) {
      const match = peers.find((peer) => peer.id === id)?.match ?? Infinity;
      // Near the end what is kept anyway will do; on the way there it needs all after what it has.
      if (match >= applied - this.#maxEntries / 2) this.#held.delete(id);
      else if (match > index) this.#held.set(id, match);
    }
    const isTooMuch =
      this.#sizes.length > this.#maxEntries * HELD_ENTRIES ||
      this.#bytes > this.#maxBytes * HELD_BYTES;
    if (isTooMuch) this.#held.clear();
    return Math.min(Infinity, ...this.#held.values()) + 1;
  }
}
