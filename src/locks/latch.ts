/**
 * A count-down latch over any `Kv`: it opens when so many have counted down, and stays open.
 *
 * The key `name` holds the count; under `name/` every count-down is a key with a number of its own, so that one
 * whose reply was lost can be made again and counts once. All of them hang on one lease, which everybody who has
 * the latch open keeps alive: the latch ends when nobody has it open any more for the time to live.
 */
import { orAborted, sleep, throwIfAborted, type WaitOptions } from '../core/abort.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { invalid, isQuorateError, type QuorateError } from '../core/errors.ts';
import { wholeNumber } from '../core/numbers.ts';
import { type Random, systemRandom } from '../core/random.ts';
import type { KeyValue, Kv, TxnResult } from '../kv/kv.ts';
import { type Gone, RenewedLife } from './life.ts';
import { type MeetingWait, rangeOf, Waits } from './meeting.ts';
import { requireEncodable } from './names.ts';
import { type OverKvOptions, ttlOf } from './over-kv.ts';
import { settle } from './settle.ts';
import { watchUntil } from './watch-until.ts';

/** How a latch behaves. */
export interface LatchOptions extends Omit<OverKvOptions, 'owner'> {
  /** It opens after so many count-downs: 1 to 10,000, the same for all. */
  readonly count: number;
  /** For the numbers of count-downs. @defaultValue the system's */
  readonly random?: Random;
}

/**
 * A latch, as one process has it open.
 *
 * @example
 * ```ts
 * await latch.countDown(); // in each worker, when it is ready
 * await latch.wait({ wait: '1m' }); // in whoever needs all of them
 * ```
 */
export interface Latch extends AsyncDisposable {
  /**
   * Counts down by one and resolves with what remains. Rejects with `outcome: 'unknown'`, or the reason of your
   * signal, where it may have counted.
   */
  countDown(options?: WaitOptions): Promise<number>;
  /** Waits until nothing remains. Rejects with `ERR_TIMEOUT` after `wait`, with the signal's reason when aborted. */
  wait(options?: MeetingWait): Promise<void>;
  /** How many count-downs are missing. */
  remaining(options?: WaitOptions): Promise<number>;
  /** Lets go of it, and ends every wait with `ERR_CLOSED`. What was counted stays. Idempotent. */
  close(): Promise<void>;
}

const MAX_COUNT = 10_000;
/** Between attempts to open a latch that is just ending. */
const OPEN_AGAIN_MS = 50;

/**
 * A count-down latch over a store. `close` leaves `kv` open. A name is for one latch, and for no lock. It is
 * joined, or begun where there is none, with the first call.
 *
 * What was counted stays counted when its process ends. A party that dies before it has counted leaves the latch
 * shut: give `wait` a limit, or let another count in its place. It ends `ttl` after the last process that had it
 * open is gone; to those it ended for earlier (paused, or out of reach of the store, longer than that) every call rejects
 * with `ERR_LOCK_LOST`.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a count other than 1 to 10,000, a name of other than 1 to 1024 bytes, a
 * `ttl` below one second; as a rejection, where the latch was begun with another count.
 */
export function kvLatch(kv: Kv, name: string, options: LatchOptions): Latch {
  requireEncodable(name);
  wholeNumber('count', options?.count, 1, MAX_COUNT);
  return new KvLatch(kv, name, options);
}

/** A latch that was joined. */
interface Joined {
  readonly lease: bigint;
  /** When its key was created: another one of the name is another latch. */
  readonly revision: number;
  readonly life: RenewedLife;
}

class KvLatch implements Latch {
  readonly #kv: Kv;
  readonly #name: string;
  readonly #count: number;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #ttlMs: number;
  readonly #waits: Waits;
  #joining: Promise<Joined> | undefined;
  /** It was seen open: it stays so. */
  #isOpen: boolean;

  constructor(kv: Kv, name: string, options: LatchOptions) {
    this.#kv = kv;
    this.#name = name;
    this.#count = options.count;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#ttlMs = ttlOf(kv, options);
    this.#waits = new Waits(this.#clock);
    this.#joining = undefined;
    this.#isOpen = false;
  }

  countDown(options: WaitOptions = {}): Promise<number> {
    return this.#during(options, async (joined, signal) => {
      // Keys beyond the count would say nothing.
      if (this.#isOpen) return 0;
      const key = `${this.#name}/${this.#random.id63().toString(16)}`;
      const { lease, revision } = joined;
      const result = await settle({ clock: this.#clock, signal, isUnknown: () => true }, () =>
        this.#kv.txn({
          if: [{ key: this.#name, target: 'create', is: '=', to: revision }],
          then: [{ op: 'put', key, value: '', lease }, ...this.#state()],
          else: [...this.#state()],
        }),
      );
      return this.#remaining(joined, result);
    });
  }

  wait(options: MeetingWait = {}): Promise<void> {
    return this.#during(options, async (joined, signal) => {
      while (!this.#isOpen) {
        const result = await this.#kv.txn({ then: this.#state() }, { signal });
        const remaining = this.#remaining(joined, result);
        if (remaining > 0) await this.#counted(remaining, result.revision + 1, signal);
      }
    });
  }

  remaining(options: WaitOptions = {}): Promise<number> {
    return this.#during(options, async (joined, signal) => {
      return this.#remaining(joined, await this.#kv.txn({ then: this.#state() }, { signal }));
    });
  }

  async close(): Promise<void> {
    this.#waits.close();
    const joined = await this.#joining?.catch(() => undefined);
    joined?.life.end('was closed', 'session');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Runs `work` with the latch, as long as that lasts. */
  #during<T>(
    options: MeetingWait,
    work: (joined: Joined, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    return this.#waits.during(`latch '${this.#name}'`, options, async (gate) => {
      this.#joining ??= this.#join().catch((error: unknown) => {
        this.#joining = undefined;
        throw error;
      });
      const joined = await orAborted(this.#joining, gate.signal);
      const ended = joined.life.endReason();
      if (ended !== undefined) throw ended;
      const leave = joined.life.join((reason) => gate.abort(reason));
      try {
        throwIfAborted(gate.signal);
        return await orAborted(work(joined, gate.signal), gate.signal);
      } finally {
        leave();
      }
    });
  }

  /** Joins the latch that is there, or begins one. */
  async #join(): Promise<Joined> {
    while (true) {
      const there = (await this.#kv.get(this.#name)) ?? (await this.#begin());
      if (there !== undefined) {
        if (there.value.toString() !== String(this.#count)) throw this.#otherCount(there);
        const sentMs = this.#clock.now();
        const ttlMs = await this.#renew(there.lease);
        if (typeof ttlMs === 'number') return this.#joined(there, ttlMs, sentMs);
      }
      await sleep(this.#clock, OPEN_AGAIN_MS);
    }
  }

  #joined({ lease, createRevision }: KeyValue, ttlMs: number, sentMs: number): Joined {
    const what = `the latch '${this.#name}'`;
    const renew = (signal: AbortSignal): Promise<number | Gone> => this.#renew(lease, signal);
    const life = new RenewedLife({ clock: this.#clock, what, ttlMs, sentMs, renew });
    return { lease, revision: createRevision, life };
  }

  /** Puts the key unless another is quicker; whichever is there then. */
  async #begin(): Promise<KeyValue | undefined> {
    const key = this.#name;
    const { id: lease } = await this.#kv.grantLease(this.#ttlMs);
    let isOurs = false;
    try {
      const settling = { clock: this.#clock, signal: undefined, isUnknown: () => true };
      const { results } = await settle(settling, () =>
        this.#kv.txn({
          if: [{ key, target: 'create', is: '=', to: 0 }],
          then: [
            { op: 'put', key, value: String(this.#count), lease },
            { op: 'range', key },
          ],
          else: [{ op: 'range', key }],
        }),
      );
      const [there] = rangeOf(results.at(-1)).kvs;
      isOurs = there?.lease === lease;
      return there;
    } finally {
      // Otherwise it runs out, like whatever comes late with it.
      if (!isOurs) await this.#kv.revokeLease(lease).catch(() => undefined);
    }
  }

  async #renew(lease: bigint, signal?: AbortSignal): Promise<number | Gone> {
    const gone: Gone = { why: 'has ended in the store', loss: 'session' };
    try {
      const ttlMs = await this.#kv.keepAlive(lease, { signal });
      return ttlMs > 0 ? ttlMs : gone;
    } catch (error) {
      if (isQuorateError(error, 'ERR_LEASE_NOT_FOUND')) return gone;
      throw error;
    }
  }

  /** Steps that read the latch and how many have counted. */
  #state() {
    const counted = { prefix: `${this.#name}/` };
    return [
      { op: 'range', key: this.#name },
      { op: 'range', key: counted, countOnly: true },
    ] as const;
  }

  #remaining({ revision, life }: Joined, { results }: TxnResult): number {
    const [there] = rangeOf(results.at(-2)).kvs;
    if (there?.createRevision !== revision) {
      life.end('has ended in the store', 'session');
      throw life.endReason()!;
    }
    const remaining = Math.max(0, this.#count - rangeOf(results.at(-1)).count);
    this.#isOpen ||= remaining === 0;
    return remaining;
  }

  /** Resolves when so many more may have counted down, or the latch may be gone. */
  async #counted(remaining: number, fromRevision: number, signal: AbortSignal): Promise<void> {
    // Up to the key after all those under the name: the slash is followed by a zero.
    const range = { from: this.#name, to: `${this.#name}0` };
    let left = remaining;
    await watchUntil(this.#kv, range, { fromRevision, signal }, (events) => {
      for (const { type, kv } of events) {
        const key = kv.key.toString();
        if (key === this.#name && type === 'delete') return true;
        if (key.startsWith(`${this.#name}/`) && type === 'put') left -= 1;
      }
      return left <= 0;
    });
  }

  #otherCount({ value }: KeyValue): QuorateError {
    const given = /^\d+$/.test(value.toString()) ? `a count of ${value}` : 'something else';
    return invalid(
      `latch '${this.#name}': ${given} is under that name, not a count of ${this.#count}`,
    );
  }
}
