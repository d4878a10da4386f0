/**
 * A double barrier over any `Kv`: so many parties begin together and end together.
 *
 * Under `name/` every party has a key on its own lease. A party that waits has a key of version 1; when enough
 * of them wait and nobody is inside, one transaction puts the first of them a second time: these are inside, all
 * at once, and that revision is the number of their round. Nothing else is kept, so nothing is left of parties
 * that are gone, and no two rounds are inside together.
 */
import { orAborted, throwIfAborted } from '../core/abort.ts';
import type { Cancel } from '../core/clock.ts';
import { invalid, isQuorateError, QuorateError } from '../core/errors.ts';
import { wholeNumber } from '../core/numbers.ts';
import type { KeyValue, Kv } from '../kv/kv.ts';
import { KvClaim } from './kv-claim.ts';
import type { Held } from './locks.ts';
import { type MeetingWait, rangeOf, Waits } from './meeting.ts';
import { requireEncodable } from './names.ts';
import { type OverKvOptions, openSessions } from './over-kv.ts';
import { ownerName } from './owner.ts';
import type { Session, Sessions } from './session.ts';
import { settle, withLiveLease } from './settle.ts';
import { closedError, type Gate } from './signals.ts';
import { watchUntil } from './watch-until.ts';

/** How a barrier behaves. */
export interface BarrierOptions extends OverKvOptions {
  /** So many begin together: 1 to 100, the same for all. */
  readonly parties: number;
}

/**
 * One party of a barrier. Each party, also of the same process, opens its own.
 *
 * @example
 * ```ts
 * await barrier.enter({ wait: '1m' }); // all are here
 * await work();
 * await barrier.leave(); // all are done
 * ```
 */
export interface Barrier extends AsyncDisposable {
  /**
   * Waits until as many as needed have entered and those of the round before have left. What it resolves with
   * is the place inside: its `lost` tells that the others may no longer wait for this party, its `release`
   * leaves without waiting for them.
   *
   * Rejects with `ERR_TIMEOUT` after `wait`, with the signal's reason when aborted, with `ERR_LOCK_LOST` where
   * the place was lost before, with `ERR_INVALID_ARGUMENT` where this party is inside or enters already.
   */
  enter(options?: MeetingWait): Promise<Held>;
  /**
   * Leaves, and waits until all others of the round have left or are gone. Where it gave up to wait this party
   * has left all the same, and it can be called again to go on waiting.
   *
   * Rejects as `enter` does; with `ERR_LOCK_LOST` where the place was lost while inside: the others may have
   * gone on without this party.
   */
  leave(options?: MeetingWait): Promise<void>;
  /** Leaves without waiting, and ends every wait with `ERR_CLOSED`. Idempotent. */
  close(): Promise<void>;
}

/** One transaction takes them all: stores allow 128 conditions. */
const MAX_PARTIES = 100;
/** Who came last lets all in; if he is gone the others do after this long. */
const START_AFTER_MS = 500;

/**
 * A double barrier over a store. `close` leaves `kv` open. A name is for one barrier, and for no lock.
 *
 * A party that dies while it waits is counted no more once its lease has ended (`ttl`), and another can come in its
 * place; one that dies inside holds up those who leave until then, and no longer.
 *
 * @throws `ERR_INVALID_ARGUMENT` for parties other than 1 to 100, a name of other than 1 to 1024 bytes, a `ttl`
 * below one second.
 */
export function kvBarrier(kv: Kv, name: string, options: BarrierOptions): Barrier {
  requireEncodable(name);
  wholeNumber('parties', options?.parties, 1, MAX_PARTIES);
  return new KvBarrier(openSessions(kv, options), name, options);
}

/** A party's key, as far as it matters. */
type Member = Pick<KeyValue, 'createRevision' | 'modRevision' | 'version'>;

/** All parties as of a revision. */
interface View {
  readonly members: Map<string, Member>;
  readonly asOf: number;
}

class KvBarrier implements Barrier {
  readonly #sessions: Sessions;
  readonly #kv: Kv;
  readonly #name: string;
  readonly #parties: number;
  readonly #owner: string;
  readonly #waits: Waits;
  #inside: { readonly place: KvClaim; readonly round: number } | undefined;
  #isEntering: boolean;

  constructor(sessions: Sessions, name: string, { parties, owner }: BarrierOptions) {
    this.#sessions = sessions;
    this.#kv = sessions.kv;
    this.#name = name;
    this.#parties = parties;
    this.#owner = ownerName(owner);
    this.#waits = new Waits(sessions.clock);
    this.#inside = undefined;
    this.#isEntering = false;
  }

  async enter(options: MeetingWait = {}): Promise<Held> {
    if (this.#isEntering || this.#inside?.place.isHeld()) {
      throw this.#misuse('this party has entered already; it has to leave first');
    }
    this.#isEntering = true;
    try {
      return await this.#waits.during(`barrier '${this.#name}'`, options, (gate) =>
        withLiveLease(() => this.#enter(gate)),
      );
    } finally {
      this.#isEntering = false;
    }
  }

  async leave(options: MeetingWait = {}): Promise<void> {
    const inside = this.#inside;
    if (inside === undefined) throw this.#misuse('this party is not inside; it has to enter first');
    // Who gives up to wait has left all the same, also where that was so before: the others may not wait for it.
    if (options.signal?.aborted) this.#sessions.inBackground(inside.place.release());
    await this.#waits.during(`barrier '${this.#name}'`, options, async ({ signal }) => {
      const { place, round } = inside;
      if (place.lost.aborted) {
        this.#inside = undefined;
        throw place.lost.reason;
      }
      // Where the reply is lost the session ends, and the key with it.
      await orAborted(place.release(), signal).catch((error: unknown) => {
        throwIfAborted(signal);
        if (!isQuorateError(error) || error.outcome !== 'unknown') throw error;
      });
      await this.#allGone(round, signal);
      if (this.#inside === inside) this.#inside = undefined;
    });
  }

  async close(): Promise<void> {
    const closed = this.#sessions.close();
    this.#waits.close();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #enter(gate: Gate): Promise<Held> {
    const session = await orAborted(this.#sessions.current(), gate.signal);
    const key = session.reserveKey(this.#name, '');
    const leave = session.join((reason) => gate.abort(this.#lost(reason)));
    const written = this.#put(session, key, gate.signal);
    try {
      const view = await orAborted(written, gate.signal);
      const { createRevision, modRevision } = await this.#begin(key, view, gate.signal);
      throwIfAborted(gate.signal);
      const ended = session.endReason();
      if (ended !== undefined) throw this.#lost(ended);
      const place = new KvClaim(this.#sessions, session, this.#request(), key, createRevision);
      this.#inside = { place, round: modRevision };
      return place;
    } catch (error) {
      this.#sessions.inBackground(this.#remove(session, key, written));
      if (isQuorateError(error, 'ERR_LEASE_NOT_FOUND')) void session.close();
      throw error;
    } finally {
      leave();
    }
  }

  #request() {
    const [name, value] = [this.#name, this.#owner];
    const what = 'place in the barrier' as const;
    const lostCode = 'ERR_LOCK_LOST' as const;
    return { name, permits: 1, value, what, lostCode, signal: undefined, waitMs: undefined };
  }

  /** Puts the key unless it is there, and looks who else is. */
  async #put(session: Session, key: string, signal: AbortSignal): Promise<View> {
    const isUnknown = (): boolean => {
      // What comes late ends with the session, and that with its last user.
      session.retire();
      return session.endReason() === undefined;
    };
    const { lease } = session;
    const all = { op: 'range', key: { prefix: `${this.#name}/` }, keysOnly: true } as const;
    const result = await settle({ clock: this.#sessions.clock, signal, isUnknown }, () =>
      this.#kv.txn({
        if: [{ key, target: 'create', is: '=', to: 0 }],
        then: [{ op: 'put', key, value: this.#owner, lease }, all],
        else: [all],
      }),
    );
    return viewOf(rangeOf(result.results.at(-1)).kvs, result.revision);
  }

  /** Waits until the key is inside. */
  async #begin(key: string, first: View, signal: AbortSignal): Promise<Member> {
    let view = first;
    let isPatient = true;
    while (true) {
      const own = view.members.get(key);
      if (own === undefined) throw this.#lost('its key was deleted');
      if (isInside(own)) return own;
      const round = this.#nextRound(view);
      if (round !== undefined && (round.at(-1)![0] === key || !isPatient)) {
        await this.#start(round, signal);
        view = await this.#look(signal);
        isPatient = true;
        continue;
      }
      view = await this.#changed(view, key, round !== undefined, signal);
      isPatient = round === undefined;
    }
  }

  /** Those who may go in now: the first to come, when nobody is inside. */
  #nextRound({ members }: View): readonly (readonly [string, Member])[] | undefined {
    if (members.size < this.#parties) return undefined;
    const all = [...members];
    if (all.some(([, member]) => isInside(member))) return undefined;
    all.sort(([, one], [, other]) => one.createRevision - other.createRevision);
    return all.slice(0, this.#parties);
  }

  /** Lets them in, all or none. A second time it does nothing. */
  async #start(round: readonly (readonly [string, Member])[], signal: AbortSignal): Promise<void> {
    const kept = { value: '', ignoreValue: true, ignoreLease: true } as const;
    await settle({ clock: this.#sessions.clock, signal, isUnknown: () => true }, () =>
      this.#kv.txn(
        {
          if: [
            { key: { prefix: `${this.#name}/` }, target: 'version', is: '<', to: 2 },
            ...round.map(([key, { createRevision: to }]) => {
              return { key, target: 'create', is: '=', to } as const;
            }),
          ],
          then: round.map(([key]) => ({ op: 'put', key, ...kept }) as const),
        },
        { signal },
      ),
    );
  }

  /** Follows the changes until there is something to do for the party of this key. */
  async #changed(view: View, key: string, wasReady: boolean, signal: AbortSignal): Promise<View> {
    const { members } = view;
    const prefix = `${this.#name}/`;
    let cancel: Cancel | undefined;
    try {
      const watch = this.#kv.watch({ prefix }, { fromRevision: view.asOf + 1, signal });
      if (wasReady) cancel = this.#sessions.clock.after(START_AFTER_MS, () => void watch.close());
      for await (const { events, revision } of watch) {
        for (const { type, kv } of events) {
          if (type === 'put') members.set(kv.key.toString(), memberOf(kv));
          else members.delete(kv.key.toString());
        }
        const now = { members, asOf: revision };
        const own = members.get(key);
        if (own === undefined || isInside(own)) return now;
        if ((this.#nextRound(now) !== undefined) !== wasReady) return now;
      }
    } catch (error) {
      // The history is gone; what there is now says it all.
      if (!isQuorateError(error, 'ERR_COMPACTED')) throw error;
    } finally {
      cancel?.();
    }
    return this.#look(signal);
  }

  async #look(signal: AbortSignal): Promise<View> {
    const prefix = `${this.#name}/`;
    const { kvs, revision } = await this.#kv.range({ prefix }, { keysOnly: true, signal });
    return viewOf(kvs, revision);
  }

  /** Resolves when none of a round is there. */
  async #allGone(round: number, signal: AbortSignal): Promise<void> {
    const prefix = `${this.#name}/`;
    while (true) {
      const { members, asOf } = await this.#look(signal);
      const left = new Set<string>();
      for (const [key, { modRevision }] of members) if (modRevision === round) left.add(key);
      if (left.size === 0) return;
      const later = { fromRevision: asOf + 1, without: 'put', signal } as const;
      await watchUntil(this.#kv, { prefix }, later, (events) => {
        for (const { kv } of events) left.delete(kv.key.toString());
        return left.size === 0;
      });
    }
  }

  /** Takes the key away once `written` has settled, however. Never rejects. */
  async #remove(session: Session, key: string, written: Promise<unknown>): Promise<void> {
    const leave = session.join(() => undefined);
    try {
      await written.catch(() => undefined);
      if (session.endReason() !== undefined) return;
      await this.#sessions.takeAway(session, () => this.#kv.delete(key));
    } catch {
      // It goes on in the background.
    } finally {
      session.freeKey(key);
      leave();
    }
  }

  #lost(why: QuorateError | string): QuorateError {
    if (this.#sessions.isClosed) return closedError();
    const [text, cause] = typeof why === 'string' ? [why, undefined] : [why.message, why];
    return new QuorateError(
      'ERR_LOCK_LOST',
      `the place before the barrier '${this.#name}' was lost: ${text}`,
      { retryable: true, cause },
    );
  }

  #misuse(what: string): QuorateError {
    return invalid(`barrier '${this.#name}': ${what}`);
  }
}

function isInside({ version }: Member): boolean {
  return version > 1;
}

function memberOf({ createRevision, modRevision, version }: KeyValue): Member {
  return { createRevision, modRevision, version };
}

function viewOf(kvs: readonly KeyValue[], asOf: number): View {
  return { members: new Map(kvs.map((kv) => [kv.key.toString(), memberOf(kv)])), asOf };
}
