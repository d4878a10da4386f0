/**
 * How much of the applied log stays in memory for followers that are a little late. What is older is
 * dropped there; on the disk it stays until a snapshot covers it. A follower that is further behind
 * gets a snapshot, made when it is needed.
 */
import { Fifo } from '../../core/fifo.ts';
import type { ReplicaSettings } from './settings.ts';

/** Dropping moves what is kept: worth it for this share of it. */
const SLACK = 0.25;

export class Retention {
  readonly #maxEntries: number;
  readonly #maxBytes: number;
  /** Of the applied entries that the core still holds, oldest first. */
  readonly #sizes = new Fifo<number>();
  #bytes = 0;

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

  /** The first index to keep, if it is time to drop what is before it; `applied` is the newest. */
  dropBefore(applied: number): number | undefined {
    const isDue =
      this.#sizes.length > this.#maxEntries * (1 + SLACK) + 1 ||
      this.#bytes > this.#maxBytes * (1 + SLACK);
    if (!isDue) return undefined;
    while (this.#sizes.length > this.#maxEntries || this.#bytes > this.#maxBytes) {
      this.#bytes -= this.#sizes.shift()!;
    }
    return applied - this.#sizes.length + 1;
  }
}
