/**
 * A claim: a key in the queue of a name, and what it becomes when its turn comes. Locks and
 * leaderships are both this.
 *
 * The layout and the rules are those of etcd's `client/v3/concurrency`, so that its programs and
 * these exclude each other: under `name/` every key is one claim, the one created first holds, and
 * each waits for the deletion of the one created just before it (first come, first served, and no
 * herd). A name is also waited for by names above it: `a` queues behind the keys of `a/b`.
 */
import { orAborted, sleep, throwIfAborted } from '../core/abort.ts';
import type { BytesLike } from '../core/bytes.ts';
import type { Cancel } from '../core/clock.ts';
import { type ErrorCode, isQuorateError, QuorateError } from '../core/errors.ts';
import type { KeyValue, Kv, OpResult } from '../kv/kv.ts';
import type { Session, Sessions } from './session.ts';
import { checkedSignal, Gate } from './signals.ts';

/** A short critical section is over before a watch for theft of its key would pay. */
const GUARD_AFTER_MS = 20;
/** Between attempts to learn what became of a write whose reply was lost. */
const ASK_AGAIN_MS = 50;
const GUARD_AGAIN_MS = 500;

/** What is claimed, and how it is called in errors. */
export interface ClaimRequest {
  readonly name: string;
  readonly value: BytesLike;
  readonly what: 'lock' | 'leadership';
  readonly lostCode: ErrorCode;
  readonly signal: AbortSignal | undefined;
  readonly waitMs: number | undefined;
}

/** Waits for the turn of a new claim. Whatever ends it otherwise, its key is removed. */
export async function claim(sessions: Sessions, request: ClaimRequest): Promise<Claim> {
  throwIfAborted(request.signal);
  const gate = new Gate(sessions.clock, request);
  try {
    return await withLiveLease(() => claimOnce(sessions, request, gate));
  } finally {
    gate.close();
  }
}

/** Claims where nobody else does; `undefined` where somebody does, and then nothing is left behind. */
export async function tryClaim(
  sessions: Sessions,
  request: ClaimRequest,
): Promise<Claim | undefined> {
  throwIfAborted(request.signal);
  return withLiveLease(() => tryClaimOnce(sessions, request));
}

/** Once more where somebody revoked our lease: nothing was queued, and a new session will do. */
async function withLiveLease<T>(attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt();
  } catch (error) {
    if (!isQuorateError(error, 'ERR_LEASE_NOT_FOUND')) throw error;
    return attempt();
  }
}

async function claimOnce(sessions: Sessions, request: ClaimRequest, gate: Gate): Promise<Claim> {
  const session = await orAborted(sessions.current(), gate.signal);
  const entry = new Entry(sessions, session, request);
  const leave = session.join((reason) => gate.abort(entry.lostPlace(reason)));
  const queued = entry.enqueue(gate.signal);
  try {
    const place = await orAborted(queued, gate.signal);
    await entry.waitTurn(place, gate.signal);
    throwIfAborted(gate.signal);
    return entry.held(place);
  } catch (error) {
    sessions.inBackground(entry.remove(queued));
    leave();
    if (isQuorateError(error, 'ERR_LEASE_NOT_FOUND')) void session.close();
    throw error;
  } finally {
    leave();
  }
}

async function tryClaimOnce(sessions: Sessions, request: ClaimRequest): Promise<Claim | undefined> {
  const session = await orAborted(sessions.current(), request.signal);
  const entry = new Entry(sessions, session, request);
  const leave = session.join(() => undefined);
  const placed = entry.enqueueIfFree();
  try {
    const place = await orAborted(placed, request.signal);
    if (place !== undefined) return entry.held(place);
    session.freeKey(entry.key);
    return undefined;
  } catch (error) {
    sessions.inBackground(entry.remove(placed));
    if (isQuorateError(error, 'ERR_LEASE_NOT_FOUND')) void session.close();
    throw error;
  } finally {
    leave();
  }
}

/** Where an entry stands: its revision, and who was before it as of `asOf`. */
interface Place {
  readonly revision: number;
  readonly asOf: number;
  /** `undefined`: nobody. */
  readonly before: KeyValue | undefined;
}

/** A key in the queue. */
class Entry {
  readonly key: string;
  readonly #sessions: Sessions;
  readonly #session: Session;
  readonly #request: ClaimRequest;
  readonly #kv: Kv;
  readonly #prefix: string;
  /** The key was written, or perhaps. */
  #mayExist: boolean;

  constructor(sessions: Sessions, session: Session, request: ClaimRequest) {
    this.key = session.reserveKey(request.name);
    this.#sessions = sessions;
    this.#session = session;
    this.#request = request;
    this.#kv = sessions.kv;
    this.#prefix = `${request.name}/`;
    this.#mayExist = false;
  }

  lostPlace(reason: QuorateError): QuorateError {
    const { what, name } = this.#request;
    return new QuorateError(
      'ERR_LOCK_LOST',
      `the place in the queue for the ${what} '${name}' was lost: ${reason.message}`,
      { retryable: true, cause: reason },
    );
  }

  /** Its turn has come: what it becomes. */
  held(place: Place): Claim {
    const ended = this.#session.endReason();
    if (ended !== undefined) throw this.lostPlace(ended);
    return new Claim(this.#sessions, this.#session, this.#request, this.key, place.revision);
  }

  /** Puts the key unless it is there, and says who is before it: one round trip. */
  async enqueue(signal: AbortSignal): Promise<Place> {
    while (true) {
      const result = await this.#settle(signal, () =>
        this.#kv.txn({
          if: [{ key: this.key, target: 'create', is: '=', to: 0 }],
          then: [
            this.#put(),
            { op: 'range', key: { prefix: this.#prefix }, ...NEWEST, limit: 2, keysOnly: true },
          ],
          else: [{ op: 'range', key: this.key, keysOnly: true }],
        }),
      );
      // Our own key is the newest of all; what comes after it in this order was there before.
      this.#mayExist = true;
      if (result.succeeded) {
        const before = kvsOf(result.results[1])[1];
        return { revision: result.revision, asOf: result.revision, before };
      }
      const [own] = kvsOf(result.results[0]);
      if (own !== undefined) return this.#look(own.createRevision);
    }
  }

  /** Puts the key where there is none under the name. */
  async enqueueIfFree(): Promise<Place | undefined> {
    const result = await this.#settle(undefined, () =>
      this.#kv.txn({
        if: [{ key: { prefix: this.#prefix }, target: 'create', is: '=', to: 0 }],
        then: [this.#put()],
        else: [{ op: 'range', key: this.key, keysOnly: true }],
      }),
    );
    const asOf = result.revision;
    this.#mayExist ||= result.succeeded;
    if (result.succeeded) return { revision: asOf, asOf, before: undefined };
    // There only where a first attempt, whose reply was lost, had put it.
    const [own] = kvsOf(result.results[0]);
    return own === undefined
      ? undefined
      : { revision: own.createRevision, asOf, before: undefined };
  }

  async waitTurn(place: Place, signal: AbortSignal): Promise<void> {
    let { before, asOf } = place;
    while (before !== undefined) {
      await this.#deleted(before.key, asOf + 1, signal);
      ({ before, asOf } = await orAborted(this.#look(place.revision), signal));
    }
  }

  /** Takes the key out of the queue once `written` has settled, however. Never rejects. */
  async remove(written: Promise<unknown>): Promise<void> {
    const leave = this.#session.join(() => undefined);
    try {
      await written.catch(() => undefined);
      const needed = this.#mayExist && this.#session.endReason() === undefined;
      if (needed) await this.#kv.delete(this.key);
    } catch {
      this.#session.retire();
    } finally {
      this.#session.freeKey(this.key);
      leave();
    }
  }

  #put() {
    const { value } = this.#request;
    return { op: 'put', key: this.key, value, lease: this.#session.lease } as const;
  }

  /**
   * Runs `write`, which does nothing the second time, until its outcome is known. The lost attempt
   * may still be on its way: the session ends with its last user, and with it what comes late.
   */
  async #settle<T>(signal: AbortSignal | undefined, write: () => Promise<T>): Promise<T> {
    while (true) {
      try {
        return await write();
      } catch (error) {
        const unknown = isQuorateError(error) && error.outcome === 'unknown';
        if (!unknown || this.#session.endReason() !== undefined) throw error;
        this.#mayExist = true;
        this.#session.retire();
        await sleep(this.#sessions.clock, ASK_AGAIN_MS, signal);
      }
    }
  }

  /** Who is right before the entry of `revision` now, and whether that is still there. */
  async #look(revision: number): Promise<Place> {
    const { results, revision: asOf } = await this.#kv.txn({
      then: [
        {
          op: 'range',
          key: { prefix: this.#prefix },
          ...NEWEST,
          maxCreateRevision: revision - 1,
          limit: 1,
          keysOnly: true,
        },
        { op: 'range', key: this.key, keysOnly: true },
      ],
    });
    const [before] = kvsOf(results[0]);
    const [own] = kvsOf(results[1]);
    if (own?.createRevision !== revision) {
      throw this.lostPlace(new QuorateError('ERR_LOCK_LOST', 'its key was deleted'));
    }
    return { revision, asOf, before };
  }

  async #deleted(key: Buffer, fromRevision: number, signal: AbortSignal): Promise<void> {
    try {
      const watch = this.#kv.watch(key, { fromRevision, without: 'put', signal });
      for await (const batch of watch) if (batch.events.length > 0) return;
    } catch (error) {
      // The history is gone; whoever asks next sees whether the key is.
      if (!isQuorateError(error, 'ERR_COMPACTED')) throw error;
    }
  }
}

const NEWEST = { sortBy: 'create', order: 'descend' } as const;

function kvsOf(result: OpResult | undefined): readonly KeyValue[] {
  return result?.op === 'range' ? result.kvs : [];
}

/** A claim whose turn it is. */
export class Claim {
  readonly name: string;
  readonly key: string;
  /** Revision at which the key was created: grows with every claim. */
  readonly revision: number;
  readonly #sessions: Sessions;
  readonly #session: Session;
  readonly #request: ClaimRequest;
  readonly #leave: () => void;
  readonly #cancelGuard: Cancel;
  #state: 'held' | 'lost' | 'released';
  #reason: QuorateError | undefined;
  /** Made when first looked at: most claims end without. */
  #controller: AbortController | undefined;
  #guardStop: AbortController | undefined;
  #released: Promise<void> | undefined;

  constructor(
    sessions: Sessions,
    session: Session,
    request: ClaimRequest,
    key: string,
    revision: number,
  ) {
    this.name = request.name;
    this.key = key;
    this.revision = revision;
    this.#sessions = sessions;
    this.#session = session;
    this.#request = request;
    this.#leave = session.join((reason) => this.#lose(reason.message));
    this.#cancelGuard = sessions.clock.after(GUARD_AFTER_MS, () => void this.#guard());
    this.#state = 'held';
    this.#reason = undefined;
    this.#controller = undefined;
    this.#guardStop = undefined;
    this.#released = undefined;
  }

  get lost(): AbortSignal {
    this.#check();
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#state === 'lost') this.#controller.abort(this.#reason);
      else checkedSignal(this.#controller.signal, () => void this.#check());
    }
    return this.#controller.signal;
  }

  get lease(): bigint {
    return this.#session.lease;
  }

  assertHeld(): void {
    if (this.#check()) return;
    if (this.#reason !== undefined) throw this.#reason;
    const { what, name, lostCode } = this.#request;
    throw new QuorateError(lostCode, `the ${what} '${name}' was given back`);
  }

  remainingMs(): number {
    return this.#check() ? this.#session.remainingMs() : 0;
  }

  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  /** For `finally` and `await using`: the error of the work must stay the one that is seen. */
  async dispose(): Promise<void> {
    await this.release().catch(() => undefined);
  }

  async #release(): Promise<void> {
    if (!this.#check()) return;
    this.#state = 'released';
    this.#stopGuard();
    try {
      await this.#sessions.kv.txn({
        if: [{ key: this.key, target: 'create', is: '=', to: this.revision }],
        then: [{ op: 'delete', key: this.key }],
      });
    } catch (error) {
      this.#session.retire();
      throw error;
    } finally {
      this.#session.freeKey(this.key);
      this.#leave();
    }
  }

  /** Whether it is held, as far as the clock and the watch can tell. */
  #check(): boolean {
    // Ends the session where its time is over, which calls `#lose`.
    this.#session.endReason();
    return this.#state === 'held';
  }

  #lose(why: string): void {
    if (this.#state !== 'held') return;
    const { what, name, lostCode } = this.#request;
    this.#state = 'lost';
    this.#stopGuard();
    this.#leave();
    this.#reason = new QuorateError(lostCode, `the ${what} '${name}' was lost: ${why}`);
    this.#controller?.abort(this.#reason);
  }

  #stopGuard(): void {
    this.#cancelGuard();
    this.#guardStop?.abort();
  }

  /** Notices when somebody deletes the key. */
  async #guard(): Promise<void> {
    this.#guardStop = new AbortController();
    const { signal } = this.#guardStop;
    const kv = this.#sessions.kv;
    let fromRevision = this.revision + 1;
    while (this.#state === 'held') {
      try {
        const watch = kv.watch(this.key, { fromRevision, without: 'put', signal });
        for await (const batch of watch) if (batch.events.length > 0) return this.#stolen();
      } catch {
        // Ended, compacted or out of reach: the state below decides, the session bounds it.
      }
      try {
        const { kvs, revision } = await kv.range(this.key, { keysOnly: true, signal });
        if (kvs[0]?.createRevision !== this.revision) return this.#stolen();
        fromRevision = revision + 1;
        await sleep(this.#sessions.clock, GUARD_AGAIN_MS, signal);
      } catch {
        await sleep(this.#sessions.clock, GUARD_AGAIN_MS, signal).catch(() => undefined);
      }
    }
  }

  #stolen(): void {
    // The end of the lease deletes the key as well, and says better why.
    if (this.#check())
      this.#lose('its key was deleted in the store (by an operator, or with its lease)');
  }
}
