/**
 * Claims over a store: a key in the queue of a name, and its wait for its turn.
 *
 * The layout and the rules are those of etcd's `client/v3/concurrency`, so that its programs and
 * these exclude each other: under `name/` every key is one claim, the one created first holds, and
 * each waits for the deletion of the one created just before it (first come, first served, and no
 * herd). A name is also waited for by names above it: `a` queues behind the keys of `a/b`.
 *
 * A claim with more than one permit says so at the end of its key, and counts all that are before it. Keys
 * that say nothing, those of etcd's own programs among them, are exclusive.
 */
import { orAborted, throwIfAborted } from '../core/abort.ts';
import { isQuorateError, QuorateError } from '../core/errors.ts';
import type { KeyValue, Kv, OpResult } from '../kv/kv.ts';
import type { ClaimRequest } from './engine.ts';
import { KvClaim } from './kv-claim.ts';
import type { Session, Sessions } from './session.ts';
import { settle, withLiveLease } from './settle.ts';
import { closedError, Gate } from './signals.ts';
import { watchUntil } from './watch-until.ts';

/** How many may hold together with the claim of this key. */
export function permitsOf(key: string): number {
  const [, permits] = /~(\d{1,15}|shared)$/.exec(key) ?? [];
  if (permits === undefined) return 1;
  return permits === 'shared' ? Number.POSITIVE_INFINITY : Math.max(1, Number(permits));
}

/** Whether a claim holds that has those before it. */
export function holdsBehind(before: readonly string[], permits: number): boolean {
  return before.length < before.reduce((least, key) => Math.min(least, permitsOf(key)), permits);
}

/** Waits for the turn of a new claim. Whatever ends it otherwise, its key is removed. */
export async function claim(sessions: Sessions, request: ClaimRequest): Promise<KvClaim> {
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
): Promise<KvClaim | undefined> {
  throwIfAborted(request.signal);
  return withLiveLease(() => tryClaimOnce(sessions, request));
}

async function claimOnce(sessions: Sessions, request: ClaimRequest, gate: Gate): Promise<KvClaim> {
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

async function tryClaimOnce(
  sessions: Sessions,
  request: ClaimRequest,
): Promise<KvClaim | undefined> {
  const session = await orAborted(sessions.current(), request.signal);
  const entry = new Entry(sessions, session, request);
  const leave = session.join(() => undefined);
  const placed = request.permits === 1 ? entry.enqueueIfFree() : entry.enqueue(request.signal);
  try {
    const place = await orAborted(placed, request.signal);
    if (place !== undefined && entry.hasTurn(place)) return entry.held(place);
    await entry.remove(placed);
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
  /** Newest first. Of those before an exclusive claim only the newest: when it goes one looks again. */
  readonly before: readonly string[];
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
  /** A write had no answer: it may come at any time. */
  #mayCome: boolean;

  constructor(sessions: Sessions, session: Session, request: ClaimRequest) {
    this.key = session.reserveKey(request.name, keySuffix(request.permits));
    this.#sessions = sessions;
    this.#session = session;
    this.#request = request;
    this.#kv = sessions.kv;
    this.#prefix = `${request.name}/`;
    this.#mayExist = false;
    this.#mayCome = false;
  }

  lostPlace(reason: QuorateError): QuorateError {
    if (this.#sessions.isClosed) return closedError();
    const { what, name } = this.#request;
    return new QuorateError(
      'ERR_LOCK_LOST',
      `the place in the queue for the ${what} '${name}' was lost: ${reason.message}`,
      { retryable: true, cause: reason },
    );
  }

  /** Its turn has come: what it becomes. */
  held(place: Place): KvClaim {
    const ended = this.#session.endReason();
    if (ended !== undefined) throw this.lostPlace(ended);
    const after = this.#mayCome ? () => this.#keepAway() : undefined;
    const { key } = this;
    return new KvClaim(this.#sessions, this.#session, this.#request, key, place.revision, after);
  }

  /** Puts the key unless it is there, and says who is before it: one round trip. */
  async enqueue(signal: AbortSignal | undefined): Promise<Place> {
    while (true) {
      const result = await this.#settle(signal, () =>
        this.#kv.txn({
          if: [{ key: this.key, target: 'create', is: '=', to: 0 }],
          then: [
            this.#put(),
            { op: 'range', key: { prefix: this.#prefix }, ...NEWEST, limit: this.#most(2) },
          ],
          else: [{ op: 'range', key: this.key, keysOnly: true }],
        }),
      );
      // Our own key is the newest of all; what comes after it in this order was there before.
      this.#mayExist = true;
      if (result.succeeded) {
        const before = keysOf(kvsOf(result.results[1]).slice(1));
        return { revision: result.revision, asOf: result.revision, before };
      }
      const [own] = kvsOf(result.results[0]);
      if (own !== undefined) return this.#look(own.createRevision);
    }
  }

  hasTurn({ before }: Place): boolean {
    return holdsBehind(before, this.#request.permits);
  }

  /** A limit for ranges of those before: an exclusive claim needs the newest alone. */
  #most(limit: number): number {
    return this.#request.permits === 1 ? limit : 0;
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
    if (result.succeeded) return { revision: asOf, asOf, before: [] };
    // There only where a first attempt, whose reply was lost, had put it.
    const [own] = kvsOf(result.results[0]);
    return own === undefined ? undefined : { revision: own.createRevision, asOf, before: [] };
  }

  async waitTurn(place: Place, signal: AbortSignal): Promise<void> {
    let now = place;
    while (!this.hasTurn(now)) {
      await this.#thinned(now, signal);
      now = await orAborted(this.#look(place.revision), signal);
    }
  }

  /** Takes the key out of the queue once `written` has settled, however. Never rejects. */
  async remove(written: Promise<unknown>): Promise<void> {
    const leave = this.#session.join(() => undefined);
    try {
      await written.catch(() => undefined);
      const needed = this.#mayExist && this.#session.endReason() === undefined;
      if (needed) await this.#sessions.takeAway(this.#session, () => this.#kv.delete(this.key));
    } catch {
      // It goes on in the background.
    } finally {
      if (this.#mayCome) this.#keepAway();
      else this.#session.freeKey(this.key);
      leave();
    }
  }

  #keepAway(): void {
    const remove = (): Promise<unknown> => this.#kv.delete(this.key);
    this.#sessions.inBackground(this.#session.keepAway(this.key, remove));
  }

  #put() {
    const { value } = this.#request;
    return { op: 'put', key: this.key, value, lease: this.#session.lease } as const;
  }

  /**
   * Runs `write`, which does nothing the second time, until its outcome is known. The lost attempt
   * may still be on its way: the session ends with its last user, and with it what comes late; until then
   * the key is kept away once it is not wanted any more.
   */
  #settle<T>(signal: AbortSignal | undefined, write: () => Promise<T>): Promise<T> {
    const isUnknown = (): boolean => {
      if (this.#session.endReason() !== undefined) return false;
      this.#mayExist = true;
      this.#mayCome = true;
      this.#session.retire();
      return true;
    };
    return settle({ clock: this.#sessions.clock, signal, isUnknown }, write);
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
          limit: this.#most(1),
        },
        { op: 'range', key: this.key, keysOnly: true },
      ],
    });
    const before = keysOf(kvsOf(results[0]));
    const [own] = kvsOf(results[1]);
    if (own?.createRevision !== revision) {
      throw this.lostPlace(new QuorateError('ERR_LOCK_LOST', 'its key was deleted'));
    }
    return { revision, asOf, before };
  }

  /** Resolves when so many of those before it are gone that its turn may have come. */
  async #thinned({ before, asOf }: Place, signal: AbortSignal): Promise<void> {
    const { permits } = this.#request;
    const left = new Set(before);
    const range = permits === 1 ? before[0]! : { prefix: this.#prefix };
    const later = { fromRevision: asOf + 1, without: 'put', signal } as const;
    await watchUntil(this.#kv, range, later, (events) => {
      for (const { kv } of events) left.delete(kv.key.toString());
      return holdsBehind([...left], permits);
    });
  }
}

const NEWEST = { sortBy: 'create', order: 'descend', keysOnly: true } as const;

function keySuffix(permits: number): string {
  if (permits === 1) return '';
  return permits === Number.POSITIVE_INFINITY ? '~shared' : `~${permits}`;
}

function kvsOf(result: OpResult | undefined): readonly KeyValue[] {
  return result?.op === 'range' ? result.kvs : [];
}

function keysOf(kvs: readonly KeyValue[]): string[] {
  return kvs.map(({ key }) => key.toString());
}
