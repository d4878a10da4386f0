/**
 * Back-pressure between a connection and a slow receiver. After the receiver said "slow", what
 * comes is held here, up to a bound, and then the connection is not read until it goes on; HTTP/2's
 * flow control holds up the server. Created replies overtake: they belong to no event before them.
 */
import type { WatchSink } from '../../kv/service.ts';
import type * as pb from '../../proto/messages.ts';

/** Held before reading stops. Some room, so that created replies still get through. */
const MOST_RESPONSES = 256;
const MOST_BYTES = 1024 * 1024;

interface Held {
  readonly response: pb.WatchResponse;
  readonly bytes: number;
}

export class HeldResponses {
  readonly #sink: WatchSink;
  readonly #read: (reading: boolean) => void;
  #queue: Held[];
  #head: number;
  #bytes: number;
  #slow: boolean;
  #flushing: boolean;

  /** @param read told when reading must stop or go on */
  constructor(sink: WatchSink, read: (reading: boolean) => void) {
    this.#sink = sink;
    this.#read = read;
    this.#queue = [];
    this.#head = 0;
    this.#bytes = 0;
    this.#slow = false;
    this.#flushing = false;
  }

  /** Whether nothing more may be read. */
  get full(): boolean {
    return this.#queue.length - this.#head >= MOST_RESPONSES || this.#bytes >= MOST_BYTES;
  }

  surface(response: pb.WatchResponse, bytes: number): void {
    const waiting = this.#slow || this.#queue.length > this.#head;
    if (waiting && !response.created) {
      this.#queue.push({ response, bytes });
      this.#bytes += bytes;
      if (this.full) this.#read(false);
    } else if (!this.#sink.response(response)) {
      this.#slow = true;
    }
  }

  /** The receiver takes more. */
  resume(): void {
    this.#slow = false;
    if (this.#flushing) return;
    const wasFull = this.full;
    this.#flushing = true;
    while (!this.#slow && this.#head < this.#queue.length) {
      const { response, bytes } = this.#queue[this.#head++]!;
      this.#bytes -= bytes;
      if (!this.#sink.response(response)) this.#slow = true;
    }
    this.#flushing = false;
    if (this.#head === this.#queue.length) this.clear();
    if (wasFull && !this.full) this.#read(true);
  }

  /** Forgets what is held for a watch that the user ended. */
  drop(watchId: number): void {
    const wasFull = this.full;
    const kept = this.#queue
      .slice(this.#head)
      .filter(({ response }) => response.watchId !== watchId);
    this.#queue = kept;
    this.#head = 0;
    this.#bytes = kept.reduce((sum, { bytes }) => sum + bytes, 0);
    if (wasFull && !this.full) this.#read(true);
  }

  clear(): void {
    this.#queue = [];
    this.#head = 0;
    this.#bytes = 0;
  }
}
