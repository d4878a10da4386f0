/**
 * Claims on Consul: one key a name, made for a session. Whoever waits is told when it is gone, and then the
 * quickest has it.
 */
import { orAborted, sleep, throwIfAborted, type WaitOptions } from '../../core/abort.ts';
import type { BytesLike } from '../../core/bytes.ts';
import type { Clock } from '../../core/clock.ts';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import type { Place } from '../../core/linked-list.ts';
import type { Random } from '../../core/random.ts';
import type { ClaimRequest, ElectionEngine, LeaderView } from '../../locks/engine.ts';
import { Ledger } from '../../locks/ledger.ts';
import type { LockGuarantees, LockHolder } from '../../locks/locks.ts';
import { requireEncodable } from '../../locks/names.ts';
import { valueBytes } from '../../locks/values.ts';
import { ConsulApi, type Entry, type NewSession } from './api.ts';
import { ConsulClaim, holderName } from './claim.ts';
import type { ConsulClient } from './client.ts';
import { keyOf } from './keys.ts';
import { Patience } from './patience.ts';
import { type Session, Sessions } from './sessions.ts';
import { Turns } from './turns.ts';
import { Waits } from './waits.ts';

export interface ConsulEngineOptions extends NewSession {
  readonly prefix: string;
  readonly maxWaits: number;
}

/** Consul takes requests of half a megabyte, with values in base64. */
const MAX_VALUE_BYTES = 128 * 1024;
/** Between attempts to learn what became of a request whose reply was lost. */
const ASK_AGAIN_MS = 50;
/** While a lock delay lasts, which ends without a word: from the first to the longest pause. */
const DELAY_FIRST_MS = 50;
const DELAY_MOST_MS = 500;
/** Between attempts while Consul is out of reach. */
const UNREACHABLE_MS = 250;
/** Between looks at what is the same. */
const QUIET_MS = 20;
/** A key that changes hands that often while we look is busy. */
const MOST_LOOKS = 3;

/** What an attempt came to. */
interface Grant {
  readonly session: Session;
  readonly token: number;
  /** Another request to take it had no answer: it may come at any time. */
  readonly mayCome: boolean;
  /** A session that is retired ends with its last user: to be called once another stands in. */
  readonly leave: () => void;
}

/** A grant, or why there is none. */
type Attempt =
  | { readonly held: Grant }
  | { readonly held: undefined; readonly status: 'busy' | 'delayed' | 'no-session' };

/** What is claimed, while it is. */
class Entrant {
  readonly request: ClaimRequest;
  readonly key: string;
  readonly value: Uint8Array;
  /** The last attempt: settles before what it did is taken back. */
  pending: Promise<Attempt> | undefined;
  /** What the last attempt was made with. */
  session: Session | undefined;

  constructor(request: ClaimRequest, key: string) {
    this.request = request;
    this.key = key;
    this.value = valueBytes(request.value, MAX_VALUE_BYTES);
    this.pending = undefined;
    this.session = undefined;
  }
}

/** See the head of this file. */
export class ConsulEngine implements ElectionEngine {
  readonly guarantees: LockGuarantees<'monotonic'> = {
    fencing: 'monotonic',
    waiters: 'barging',
    expiry: 'engine-clock',
    shared: false,
    permits: false,
  };
  readonly clock: Clock;
  readonly #random: Random;
  readonly #client: ConsulClient;
  readonly #api: ConsulApi;
  readonly #options: ConsulEngineOptions;
  readonly #sessions: Sessions;
  readonly #waits: Waits;
  readonly #turns: Turns;
  readonly #ledger: Ledger<ConsulClaim>;

  constructor(client: ConsulClient, options: ConsulEngineOptions) {
    const { clock, random } = client;
    const api = new ConsulApi(client);
    this.clock = clock;
    this.#random = random;
    this.#client = client;
    this.#api = api;
    this.#options = options;
    this.#ledger = new Ledger(clock);
    this.#sessions = new Sessions(api, clock, options, () => this.#ledger.assertOpen());
    this.#waits = new Waits({ api, clock, random }, options.maxWaits);
    this.#turns = new Turns();
  }

  requireName(name: string): void {
    requireEncodable(name);
  }

  async claim(request: ClaimRequest): Promise<ConsulClaim> {
    const entrant = this.#entrant(request);
    return this.#ledger.ask(request, async ({ signal }) => {
      await this.#turns.enter(request.name, signal);
      return this.#inTurn(entrant, () => this.#takeWhenFree(entrant, signal));
    });
  }

  async tryClaim(request: ClaimRequest): Promise<ConsulClaim | undefined> {
    const entrant = this.#entrant(request);
    return this.#ledger.ask(request, async ({ signal }) => {
      if (!(await this.#turns.tryEnter(request.name, signal))) return undefined;
      return this.#inTurn(entrant, () => this.#takeNow(entrant, signal));
    });
  }

  async holders(name: string, { signal }: WaitOptions): Promise<readonly LockHolder[]> {
    this.#ledger.assertOpen();
    const { entry } = await this.#api.read(this.#keyOf(name), this.#untilEnd(signal));
    return entry?.session === undefined ? [] : [holderOf(entry, entry.session)];
  }

  async evict(name: string, { signal }: WaitOptions): Promise<readonly LockHolder[]> {
    this.#ledger.assertOpen();
    const key = this.#keyOf(name);
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      const { entry } = await this.#api.read(key, this.#untilEnd(signal));
      if (entry?.session === undefined) return [];
      if (!(await orAborted(this.#api.remove(key, entry.modifyIndex), signal))) continue;
      const evicted = holderOf(entry, entry.session);
      [...this.#ledger.held].find(({ holder }) => holder === evicted.holder)?.taken();
      return [evicted];
    }
    throw new QuorateError('ERR_BUSY', `'${name}' changes hands too quickly to be taken away`, {
      retryable: true,
    });
  }

  async setValue(claim: ConsulClaim, value: BytesLike, options: WaitOptions): Promise<boolean> {
    this.#ledger.assertOpen();
    const { key, session } = claim;
    const set = this.#api
      .setValue(key, session.id, valueBytes(value, MAX_VALUE_BYTES))
      .catch((error: unknown) => {
        // It may come late: not over what the next term of this session says.
        if (isQuorateError(error) && error.outcome === 'unknown') session.retire();
        throw error;
      })
      .finally(() => {
        claim.writes -= 1;
      });
    claim.writes += 1;
    return orAborted(set, options.signal);
  }

  async leader(name: string, { signal }: WaitOptions): Promise<LeaderView> {
    this.#ledger.assertOpen();
    const key = this.#keyOf(name);
    const { entry, index } = await this.#api.read(key, this.#untilEnd(signal));
    const { session } = entry ?? {};
    const leads = entry !== undefined && session !== undefined;
    return {
      leader: leads
        ? {
            value: entry.value,
            fencingToken: BigInt(entry.createIndex),
            revision: entry.modifyIndex,
            holder: holderName(session, entry.createIndex),
          }
        : undefined,
      changed: (stop) => this.#changed(key, leads ? entry : undefined, index, stop),
    };
  }

  async close(): Promise<void> {
    await this.#ledger.close();
    await this.#sessions.close();
    this.#client.close();
  }

  /** Takes it, and leaves the turn where that comes to nothing. */
  async #inTurn<T extends ConsulClaim | undefined>(
    entrant: Entrant,
    take: () => Promise<T>,
  ): Promise<T> {
    const { name } = entrant.request;
    try {
      const claim = await take();
      if (claim === undefined) this.#turns.leave(name);
      return claim;
    } catch (error) {
      const removed = this.#remove(entrant);
      this.#ledger.inBackground(removed);
      // What comes late ends with a session that is retired: nobody has to wait for it.
      if (entrant.session?.usable === true) this.#turns.leaveAfter(name, removed);
      else this.#turns.leave(name);
      throw error;
    }
  }

  /** Takes it where it is free now. */
  async #takeNow(entrant: Entrant, signal: AbortSignal): Promise<ConsulClaim | undefined> {
    let free: number | undefined;
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      const attempt = await this.#attempt(entrant, free, signal);
      if (attempt.held !== undefined) return this.#hold(entrant, attempt.held, signal);
      if (attempt.status === 'delayed') return undefined;
      if (attempt.status === 'no-session') continue;
      const { entry } = await this.#api.read(entrant.key, signal);
      if (entry?.session !== undefined) return undefined;
      free = entry?.modifyIndex;
    }
    return undefined;
  }

  /** Waits until it is free, as often as another is quicker. */
  async #takeWhenFree(entrant: Entrant, signal: AbortSignal): Promise<ConsulClaim> {
    let free: number | undefined;
    let delayMs = DELAY_FIRST_MS;
    const patience = new Patience(this.clock, this.#options.ttlMs);
    while (true) {
      try {
        const attempt = await this.#attempt(entrant, free, signal);
        if (attempt.held !== undefined) return this.#hold(entrant, attempt.held, signal);
        patience.heard();
        if (attempt.status === 'delayed') {
          await sleep(this.clock, delayMs + this.#random.below(delayMs), signal);
          delayMs = Math.min(delayMs * 2, DELAY_MOST_MS);
        } else if (attempt.status === 'no-session') {
          // A session that is none at once every time must not make us run in circles.
          await sleep(this.clock, this.#random.below(UNREACHABLE_MS), signal);
        } else {
          free = await this.#freed(entrant.key, signal, patience);
          delayMs = DELAY_FIRST_MS;
        }
      } catch (error) {
        throwIfAborted(signal);
        if (patience.isOver(error)) throw error;
        await sleep(this.clock, UNREACHABLE_MS + this.#random.below(UNREACHABLE_MS), signal);
      }
    }
  }

  /** Resolves when nobody holds the key; with its `modifyIndex` where it is there nevertheless. */
  async #freed(key: string, signal: AbortSignal, patience: Patience): Promise<number | undefined> {
    let index = 0;
    while (true) {
      const seen = await this.#waits.next(key, index, signal);
      patience.heard();
      if (seen.entry?.session === undefined) return seen.entry?.modifyIndex;
      index = seen.index;
    }
  }

  async #attempt(
    entrant: Entrant,
    free: number | undefined,
    signal: AbortSignal,
  ): Promise<Attempt> {
    const session = await orAborted(this.#sessions.current(), signal);
    throwIfAborted(signal);
    entrant.session = session;
    entrant.pending = this.#take(session, entrant, free);
    return orAborted(entrant.pending, signal);
  }

  /** One attempt, until it is known what became of it; for so long as the session would last. */
  async #take(session: Session, entrant: Entrant, free: number | undefined): Promise<Attempt> {
    const { key, value } = entrant;
    const leave = session.join(() => undefined);
    const giveUpMs = this.clock.now() + this.#options.ttlMs;
    let lost: QuorateError | undefined;
    const held = (token: number): Attempt => {
      return { held: { session, token, mayCome: lost !== undefined, leave } };
    };
    while (true) {
      try {
        const taken = await this.#api.take(key, session.id, value, free);
        if (taken.status === 'held') return held(taken.token);
        if (lost !== undefined && taken.status === 'busy') {
          // The attempt whose reply was lost may have done it: of a session one claim at a time asks for a name.
          const { entry } = await this.#api.read(key, undefined);
          if (entry?.session === session.id) return held(entry.createIndex);
        }
        if (lost !== undefined) this.#keepAway(session, key);
        leave();
        if (taken.status === 'no-session') session.gone();
        return { held: undefined, status: taken.status };
      } catch (error) {
        if (isQuorateError(error) && error.outcome === 'unknown') lost ??= error;
        if (lost !== undefined) session.retire();
        const isOver = session.endReason() !== undefined || this.clock.now() >= giveUpMs;
        if (lost?.retryable !== true || isOver || this.#ledger.ending.aborted) {
          // It may have been done, or may yet be.
          if (lost !== undefined) {
            this.#ledger.inBackground(this.#takeAway(session, key));
            this.#keepAway(session, key);
          }
          leave();
          throw lost ?? error;
        }
        await sleep(this.clock, ASK_AGAIN_MS, this.#ledger.ending).catch(() => undefined);
      }
    }
  }

  #hold(entrant: Entrant, held: Grant, signal: AbortSignal): ConsulClaim {
    throwIfAborted(signal);
    const ended = held.session.endReason();
    if (ended !== undefined) {
      held.leave();
      const { what, name } = entrant.request;
      const message = `the ${what} '${name}' was lost while it was taken: ${ended.message}`;
      throw new QuorateError('ERR_LOCK_LOST', message, { retryable: true, cause: ended });
    }
    const guardMs = this.#options.ttlMs / 3;
    const parts = { api: this.#api, clock: this.clock, waits: this.#waits, guardMs };
    const claim = new ConsulClaim(
      parts,
      entrant.request,
      { key: entrant.key, ...held },
      {
        lost: () => this.#leave(claim, place),
        giveBack: () => this.#giveBack(claim, place),
      },
    );
    const place = this.#ledger.hold(claim);
    held.leave();
    return claim;
  }

  async #giveBack(claim: ConsulClaim, place: Place<ConsulClaim>): Promise<void> {
    try {
      await this.#api.giveBack(claim.key, claim.session.id);
    } catch (error) {
      // The next claim of the name is another session's: what is sent again cannot take its key away.
      claim.session.retire();
      // At the end nobody waits for a second time: it goes with its session.
      if (!this.#ledger.ending.aborted) {
        this.#ledger.inBackground(this.#takeAway(claim.session, claim.key));
      }
      throw error;
    } finally {
      this.#leave(claim, place);
    }
  }

  #leave(claim: ConsulClaim, place: Place<ConsulClaim>): void {
    // A value that is on its way must not come over what the next term says.
    if (claim.writes > 0) claim.session.retire();
    if (claim.mayCome) this.#keepAway(claim.session, claim.key);
    this.#ledger.letGo(place);
    this.#turns.leave(claim.name);
  }

  /** Takes back what the last attempt did, if that came to something. Never rejects. */
  async #remove(entrant: Entrant): Promise<void> {
    const attempt = await entrant.pending?.catch(() => undefined);
    const { key, session } = entrant;
    if (attempt?.held === undefined) return;
    const { leave, mayCome } = attempt.held;
    await this.#api.giveBack(key, session!.id).catch(() => {
      session!.retire();
      return this.#takeAway(session!, key);
    });
    if (mayCome) this.#keepAway(session!, key);
    leave();
  }

  /** Tries until the key is given back, or gone with its session. Never rejects. */
  async #takeAway(session: Session, key: string): Promise<void> {
    const leave = session.join(() => undefined);
    const giveBack = (): Promise<unknown> => this.#api.giveBack(key, session.id);
    await this.#ledger.keepTrying(giveBack, this.#options.ttlMs);
    leave();
  }

  /**
   * For a key of a session that is retired: a request to take it may still be on its way, and others may keep the
   * session for long. Takes it away whenever it is there, until the session ends.
   */
  #keepAway(session: Session, key: string): void {
    const ended = new AbortController();
    const leave = session.onEnd((reason) => ended.abort(reason));
    const signal = this.#untilEnd(ended.signal);
    const keep = async (): Promise<void> => {
      let index = 0;
      while (session.endReason() === undefined && !signal.aborted) {
        try {
          const seen = await this.#waits.next(key, index, signal, this.#options.ttlMs / 3);
          index = seen.index;
          if (seen.entry?.session === session.id) await this.#api.giveBack(key, session.id);
          await sleep(this.clock, QUIET_MS, signal);
        } catch {
          await sleep(this.clock, UNREACHABLE_MS, signal).catch(() => undefined);
        }
      }
      leave();
    };
    this.#ledger.inBackground(keep());
  }

  async #changed(
    key: string,
    seen: Entry | undefined,
    index: number,
    stop: AbortSignal | undefined,
  ): Promise<void> {
    const signal = this.#untilEnd(stop);
    let at = index;
    const patience = new Patience(this.clock, this.#options.ttlMs);
    patience.heard();
    while (true) {
      try {
        const next = await this.#waits.next(key, at, signal);
        const leader = next.entry?.session === undefined ? undefined : next.entry;
        if (leader?.createIndex !== seen?.createIndex) return;
        if (leader?.modifyIndex !== seen?.modifyIndex) return;
        at = next.index;
        patience.heard();
        // Where there is no key other keys may have woken us.
        await sleep(this.clock, QUIET_MS, signal);
      } catch (error) {
        throwIfAborted(signal);
        if (patience.isOver(error)) throw error;
        await sleep(this.clock, UNREACHABLE_MS + this.#random.below(UNREACHABLE_MS), signal);
      }
    }
  }

  #entrant(request: ClaimRequest): Entrant {
    return new Entrant(request, this.#keyOf(request.name));
  }

  #keyOf(name: string): string {
    return keyOf(this.#options.prefix, name);
  }

  #untilEnd(signal: AbortSignal | undefined): AbortSignal {
    const { ending } = this.#ledger;
    return signal === undefined ? ending : AbortSignal.any([signal, ending]);
  }
}

function holderOf(entry: Entry, session: string): LockHolder {
  return {
    holder: holderName(session, entry.createIndex),
    fencingToken: BigInt(entry.createIndex),
    owner: entry.value.toString(),
    waiting: false,
  };
}
