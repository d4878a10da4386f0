/**
 * The transaction lock over any `Kv`: the name is a key, whose value says who holds it and which lives on a lease. It is
 * created in a transaction that asks whether it is there, and deleted in one that asks whether it still is
 * the same. Who finds it there watches for its deletion and tries again after a random pause: no queue, no order.
 *
 * The layout is the one that clients of etcd use which know no queue, npm's `etcd3` among them: they and these
 * exclude each other. Locks of `kvLocks`, which have queues, do not take part.
 */
import { orAborted, sleep, throwIfAborted, type WaitOptions } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { isQuorateError, QuorateError } from '../core/errors.ts';
import { type Random, systemRandom } from '../core/random.ts';
import type { KeyValue, Kv } from '../kv/kv.ts';
import type { ClaimRequest, LockEngine } from './engine.ts';
import { KvClaim } from './kv-claim.ts';
import type { AcquireOptionsWithout, LockGuarantees, LockHolder, Locks } from './locks.ts';
import { locksOver } from './locks-over.ts';
import { requireEncodable } from './names.ts';
import { type OverKvOptions, openSessions } from './over-kv.ts';
import { ownerName } from './owner.ts';
import type { Session, Sessions } from './session.ts';
import { settle, withLiveLease } from './settle.ts';
import { closedError, Gate } from './signals.ts';
import { isChange, watchUntil } from './watch-until.ts';

/** How transaction locks behave. */
export interface KvTxnOptions extends OverKvOptions {
  /**
   * Who waits is woken when the lock is free and tries within so long, at a moment drawn evenly: not all at
   * once. @defaultValue `'10ms'`
   */
  readonly jitter?: Duration;
  /** For the jitter. @defaultValue the system's */
  readonly random?: Random;
}

/** The number of a claim at the end of a value. */
const CLAIM_NUMBER = / [0-9a-f]+-\d+$/;

/**
 * Plain locks over a store with one key for each: the key is the name itself. `close` gives back what is held and
 * leaves `kv` open. `shared` and `permits` are refused with `ERR_UNSUPPORTED`.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a `ttl` below one second.
 */
export function kvTxnLocks(
  kv: Kv,
  options: KvTxnOptions = {},
): Locks<'monotonic', AcquireOptionsWithout<'shared' | 'permits'>> {
  const jitterMs = durationMs(options.jitter ?? 10, 'jitter');
  const sessions = openSessions(kv, options);
  const engine = new KvTxnEngine(sessions, jitterMs, options.random ?? systemRandom);
  return locksOver(engine, ownerName(options.owner));
}

class KvTxnEngine implements LockEngine<'monotonic'> {
  readonly guarantees: LockGuarantees<'monotonic'> = {
    fencing: 'monotonic',
    waiters: 'barging',
    expiry: 'engine-clock',
    shared: false,
    permits: false,
  };
  readonly clock: Clock;
  readonly #sessions: Sessions;
  readonly #kv: Kv;
  readonly #jitterMs: number;
  readonly #random: Random;
  readonly #waits: Set<Gate>;
  #attempts: number;

  constructor(sessions: Sessions, jitterMs: number, random: Random) {
    this.clock = sessions.clock;
    this.#sessions = sessions;
    this.#kv = sessions.kv;
    this.#jitterMs = jitterMs;
    this.#random = random;
    this.#waits = new Set();
    this.#attempts = 0;
  }

  requireName(name: string): void {
    requireEncodable(name);
  }

  async claim(request: ClaimRequest): Promise<KvClaim> {
    throwIfAborted(request.signal);
    const gate = new Gate(this.clock, request);
    this.#waits.add(gate);
    try {
      while (true) {
        const made = await this.#attempt(request, gate.signal);
        if (made instanceof KvClaim) return made;
        await this.#freed(request.name, made.asOf, gate.signal);
        const pauseMs = (this.#random.below(2 ** 32) / 2 ** 32) * this.#jitterMs;
        await sleep(this.clock, pauseMs, gate.signal);
      }
    } finally {
      this.#waits.delete(gate);
      gate.close();
    }
  }

  async tryClaim(request: ClaimRequest): Promise<KvClaim | undefined> {
    throwIfAborted(request.signal);
    const made = await this.#attempt(request, request.signal);
    return made instanceof KvClaim ? made : undefined;
  }

  async holders(name: string, options: WaitOptions): Promise<readonly LockHolder[]> {
    const kv = await this.#kv.get(name, options);
    return kv === undefined ? [] : [holderOf(kv)];
  }

  async evict(name: string, options: WaitOptions): Promise<readonly LockHolder[]> {
    const kv = await this.#kv.get(name, options);
    if (kv === undefined) return [];
    const { succeeded } = await this.#kv.txn(
      {
        if: [{ key: name, target: 'create', is: '=', to: kv.createRevision }],
        then: [{ op: 'delete', key: name }],
      },
      options,
    );
    return succeeded ? [holderOf(kv)] : [];
  }

  async close(): Promise<void> {
    const closed = this.#sessions.close();
    for (const gate of this.#waits) gate.abort(closedError());
    await closed;
  }

  #attempt(request: ClaimRequest, signal: AbortSignal | undefined): Promise<KvClaim | Busy> {
    return withLiveLease(async () => {
      const session = await orAborted(this.#sessions.current(), signal);
      const attempt = new Attempt(this.#sessions, session, request, ++this.#attempts);
      return attempt.make(signal);
    });
  }

  /** Resolves when the key has been deleted since `asOf`, or when that cannot be told. */
  #freed(name: string, asOf: number, signal: AbortSignal): Promise<void> {
    const later = { fromRevision: asOf + 1, without: 'put', signal } as const;
    return watchUntil(this.#kv, name, later, isChange);
  }
}

/** Somebody had the lock as of this revision. */
interface Busy {
  readonly asOf: number;
}

/** One try to create the key, under a value that no other try has. */
class Attempt {
  readonly #sessions: Sessions;
  readonly #session: Session;
  readonly #request: ClaimRequest;
  readonly #value: string;
  /** The key was written, or perhaps. */
  #mayExist: boolean;
  /** A write had no answer: it may come at any time. */
  #mayCome: boolean;

  constructor(sessions: Sessions, session: Session, request: ClaimRequest, number: number) {
    this.#sessions = sessions;
    this.#session = session;
    this.#request = request;
    const lease = BigInt.asUintN(64, session.lease).toString(16);
    this.#value = `${request.value} ${lease}-${number}`;
    this.#mayExist = false;
    this.#mayCome = false;
  }

  async make(outer: AbortSignal | undefined): Promise<KvClaim | Busy> {
    const { name } = this.#request;
    const gate = new Gate(this.#sessions.clock, { name, signal: outer, waitMs: undefined });
    const leave = this.#session.join((reason) => gate.abort(this.#lost(reason)));
    const written = this.#write(gate.signal);
    try {
      const made = await orAborted(written, gate.signal);
      throwIfAborted(gate.signal);
      const after = this.#mayCome ? () => this.#keepAway() : undefined;
      if ('asOf' in made) {
        after?.();
        return made;
      }
      const ended = this.#session.endReason();
      if (ended !== undefined) throw this.#lost(ended);
      const { revision } = made;
      return new KvClaim(this.#sessions, this.#session, this.#request, name, revision, after);
    } catch (error) {
      this.#sessions.inBackground(this.#remove(written));
      if (isQuorateError(error, 'ERR_LEASE_NOT_FOUND')) void this.#session.close();
      throw error;
    } finally {
      leave();
      gate.close();
    }
  }

  async #write(signal: AbortSignal): Promise<{ readonly revision: number } | Busy> {
    const key = this.#request.name;
    const isUnknown = (): boolean => {
      if (this.#session.endReason() !== undefined) return false;
      this.#mayExist = true;
      this.#mayCome = true;
      // What comes late ends with the session, and that with its last user; until then it is kept away.
      this.#session.retire();
      return true;
    };
    const { lease } = this.#session;
    const result = await settle({ clock: this.#sessions.clock, signal, isUnknown }, () =>
      this.#sessions.kv.txn({
        if: [{ key, target: 'create', is: '=', to: 0 }],
        then: [{ op: 'put', key, value: this.#value, lease }],
        else: [{ op: 'range', key }],
      }),
    );
    this.#mayExist ||= result.succeeded;
    if (result.succeeded) return { revision: result.revision };
    const [there] = result.results[0]?.op === 'range' ? result.results[0].kvs : [];
    // Ours where a first try, whose reply was lost, had put it.
    const isOurs = there?.value.toString() === this.#value;
    return isOurs ? { revision: there!.createRevision } : { asOf: result.revision };
  }

  /** Deletes the key, if it is ours, once `written` has settled, however. Never rejects. */
  async #remove(written: Promise<unknown>): Promise<void> {
    const leave = this.#session.join(() => undefined);
    try {
      await written.catch(() => undefined);
      if (!this.#mayExist || this.#session.endReason() !== undefined) return;
      await this.#sessions.takeAway(this.#session, () => this.#delete());
    } catch {
      // It goes on in the background.
    } finally {
      if (this.#mayCome) this.#keepAway();
      leave();
    }
  }

  #delete(): Promise<unknown> {
    const key = this.#request.name;
    return this.#sessions.kv.txn({
      if: [{ key, target: 'value', is: '=', to: this.#value }],
      then: [{ op: 'delete', key }],
    });
  }

  #keepAway(): void {
    const kept = this.#session.keepAway(this.#request.name, () => this.#delete());
    this.#sessions.inBackground(kept);
  }

  #lost(reason: QuorateError): QuorateError {
    if (this.#sessions.isClosed) return closedError();
    const { what, name } = this.#request;
    return new QuorateError(
      'ERR_LOCK_LOST',
      `the ${what} '${name}' was lost before it was held: ${reason.message}`,
      { retryable: true, cause: reason },
    );
  }
}

function holderOf(kv: KeyValue): LockHolder {
  return {
    holder: kv.key.toString(),
    fencingToken: BigInt(kv.createRevision),
    owner: kv.value.toString().replace(CLAIM_NUMBER, ''),
    waiting: false,
  };
}
