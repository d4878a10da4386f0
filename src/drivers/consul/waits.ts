/** Waiting for a key to change: Consul answers when it has, on a connection that is kept for that. */
import { sleep } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { Random } from '../../core/random.ts';
import type { ConsulApi, Seen } from './api.ts';

/** So late at the most somebody hears of a change whose answer was lost. */
const WAIT_MS = 10_000;
/** Where there is no connection to spare. */
const LOOK_MS = 500;
/** Between answers that say nothing new. */
const LEAST_MS = 20;

/** See the head of this file. */
export class Waits {
  readonly #api: ConsulApi;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #most: number;
  #count: number;

  /** @param most - how many may wait at a time; the others look now and then */
  constructor(
    parts: { readonly api: ConsulApi; readonly clock: Clock; readonly random: Random },
    most: number,
  ) {
    this.#api = parts.api;
    this.#clock = parts.clock;
    this.#random = parts.random;
    this.#most = most;
    this.#count = 0;
  }

  /**
   * The key when it may have changed since `index`. It may also be as it was. 0: the key as it is.
   * @param lookMs - about how long to wait before a look where there is no connection to spare
   * @throws as the API, and the reason of the signal
   */
  async next(key: string, index: number, signal: AbortSignal, lookMs = LOOK_MS): Promise<Seen> {
    if (index === 0) return this.#api.look(key, signal);
    if (this.#count >= this.#most) {
      const jitter = this.#random.below(1000) / 2000;
      await sleep(this.#clock, lookMs * (0.75 + jitter), signal);
      return this.#api.look(key, signal);
    }
    this.#count += 1;
    const sentMs = this.#clock.now();
    try {
      const seen = await this.#api.next(key, index, WAIT_MS, signal);
      // Not where the index goes back: behind one address there may be several clusters.
      const isNew = seen.index > 0 && seen.entry?.modifyIndex !== index && seen.index !== index;
      // Other keys may wake those who wait for one that is not there.
      const tookMs = this.#clock.now() - sentMs;
      if (!isNew && tookMs < LEAST_MS) await sleep(this.#clock, LEAST_MS, signal);
      return seen;
    } finally {
      this.#count -= 1;
    }
  }
}
