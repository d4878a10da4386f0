/** A claim that waits in the queue of a name: keeps itself alive there, and hears of its turn. */
import type { Cancel, Clock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import type { Random } from '../../core/random.ts';
import type { Queue, Standing, Wanted } from './queue.ts';

/** What a claim gets when its turn has come. */
export interface Grant {
  readonly token: bigint;
  /** It was not granted before something was sent at this moment. */
  readonly sentMs: number;
  /** How long it lasts from then on. */
  readonly firstMs: number;
}

/** Of those before this one perhaps nobody is there any more: a first look soon. */
const FIRST_LOOK_MS = 250;
/** Who is near the front looks this often: a grant of which it was not told must not run out. */
const LOOK_MS = 1000;
/** After the moment at which a holder's time ends by the server's clock. */
const SLACK_MS = 2;

/** See the head of this file. Where a message is missed the next look at the queue makes that good. */
export class Waiter {
  /** Resolves when its turn has come; rejects when its place is lost. */
  readonly turn: Promise<Grant>;
  readonly #queue: Queue;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #wanted: Wanted;
  readonly #what: string;
  #resolve!: (grant: Grant) => void;
  #reject!: (error: QuorateError) => void;
  /** When the last request was sent whose reply said that it waits: it has not held before. */
  #sentMs: number;
  /** The reply that says that it waits is still to come. */
  #starting: boolean;
  /** Its turn came before that reply. */
  #early: bigint | undefined;
  #cancelLook: Cancel;
  #looking: boolean;
  #settled: boolean;

  /** To be made before its claim is sent: its turn may come before the reply. */
  constructor(
    parts: { readonly queue: Queue; readonly clock: Clock; readonly random: Random },
    wanted: Wanted,
    what: string,
  ) {
    this.#queue = parts.queue;
    this.#clock = parts.clock;
    this.#random = parts.random;
    this.#wanted = wanted;
    this.#what = what;
    this.#sentMs = this.#clock.now();
    this.#starting = true;
    this.#early = undefined;
    this.#looking = false;
    this.#settled = false;
    this.#cancelLook = () => undefined;
    this.turn = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Who gave up does not look at it any more.
    this.turn.catch(() => undefined);
  }

  /** The reply has come. */
  start({ status, token, leftMs }: Standing): void {
    this.#starting = false;
    if (status === 'holds') {
      const firstMs = this.#queue.settings.ttlMs;
      this.#settle({ token, sentMs: this.#sentMs, firstMs });
    } else if (this.#early !== undefined) this.served(this.#early);
    else this.#lookLater(leftMs === undefined ? FIRST_LOOK_MS : leftMs + SLACK_MS);
  }

  /** Its turn came with another's release. */
  served(token: bigint): void {
    // It was granted after the last look, so that it lasts at least from then on. Where that is long ago
    // one more look tells how long it lasts, or that it was too late.
    const { firstMs } = this.#queue;
    if (this.#starting) this.#early = token;
    else if (this.#clock.now() - this.#sentMs < firstMs / 3) {
      this.#settle({ token, sentMs: this.#sentMs, firstMs });
    } else this.look();
  }

  /** Looks where it stands, now. */
  look(): void {
    if (this.#settled || this.#looking || this.#starting) return;
    this.#cancelLook();
    void this.#look();
  }

  /** It waits no longer. */
  stop(): void {
    this.#settled = true;
    this.#cancelLook();
  }

  async #look(): Promise<void> {
    const { ttlMs } = this.#queue.settings;
    const sentMs = this.#clock.now();
    this.#looking = true;
    try {
      const { id, name } = this.#wanted;
      const { status, token, leftMs, near } = await this.#queue.touch(id, name);
      this.#looking = false;
      if (status === 'holds') this.#settle({ token, sentMs, firstMs: ttlMs });
      else if (status === 'gone') this.#lose('it is not in Redis any more');
      else {
        this.#sentMs = sentMs;
        const usualMs = near ? LOOK_MS : ttlMs;
        this.#lookLater(leftMs === undefined ? usualMs : Math.min(usualMs, leftMs + SLACK_MS));
      }
    } catch (error) {
      this.#looking = false;
      const keptMs = this.#sentMs + ttlMs - this.#clock.now();
      if (keptMs > 0) this.#lookLater(Math.min(ttlMs / 12, 500));
      else this.#lose('Redis was out of reach for longer than it keeps it', error);
    }
  }

  /** At least three times within the time for which the place is kept, and not all at once. */
  #lookLater(dueMs: number): void {
    if (this.#settled) return;
    const mostMs = this.#queue.settings.ttlMs / 3;
    const jittered = Math.min(mostMs, LOOK_MS) * (this.#random.below(200) / 1000);
    this.#cancelLook = this.#clock.after(Math.min(dueMs, mostMs - jittered), () => this.look());
  }

  #settle(grant: Grant): void {
    if (this.#settled) return;
    this.stop();
    this.#resolve(grant);
  }

  #lose(why: string, cause?: unknown): void {
    if (this.#settled) return;
    this.stop();
    const message = `the place in the queue for ${this.#what} was lost: ${why}`;
    this.#reject(new QuorateError('ERR_LOCK_LOST', message, { retryable: true, cause }));
  }
}
