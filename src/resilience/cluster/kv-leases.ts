/**
 * Leases of a store for keys that are to go when they say nothing any more. A lease is shared by what is written in a while, so it
 * is not granted for each key; there are a few for each order of magnitude of time.
 */
import type { Clock } from '../../core/clock.ts';
import type { Kv } from '../../kv/kv.ts';

const LEAST_TTL_MS = 4000;

interface Granted {
  readonly id: Promise<bigint>;
  isThere: boolean;
  /** Before this what is attached to it stays as long as it must. */
  readonly usableUntilMs: number;
}

export class KvLeases {
  readonly #kv: Kv;
  readonly #clock: Clock;
  readonly #granted: Map<number, Granted>;

  constructor(kv: Kv, clock: Clock) {
    this.#kv = kv;
    this.#clock = clock;
    this.#granted = new Map();
  }

  /** A lease that lasts at least `needMs` more, and not much more than four times that. */
  async lasting(needMs: number): Promise<bigint> {
    // Of 4, 8, 16 … seconds, at least twice what is needed.
    const ttlMs = Math.max(LEAST_TTL_MS, 2 ** Math.ceil(Math.log2((2 * needMs) / 1000)) * 1000);
    const nowMs = this.#clock.now();
    let granted = this.#granted.get(ttlMs);
    if (granted === undefined || nowMs >= granted.usableUntilMs) {
      const id = this.#kv.grantLease(ttlMs).then((lease) => lease.id);
      granted = { id, isThere: false, usableUntilMs: nowMs + ttlMs / 2 };
      this.#granted.set(ttlMs, granted);
    }
    try {
      const id = await granted.id;
      granted.isThere = true;
      return id;
    } catch (error) {
      if (this.#granted.get(ttlMs) === granted) this.#granted.delete(ttlMs);
      throw error;
    }
  }

  /** Nobody waits any more for those that were not granted yet. */
  giveUp(): void {
    for (const [ttlMs, { isThere }] of this.#granted) if (!isThere) this.#granted.delete(ttlMs);
  }

  /** The store does not know one of them any more. */
  forget(): void {
    this.#granted.clear();
  }
}
