/** Locks and elections on one Redis: the claims of one client, its waits, and the messages that it gets. */
import { orAborted, throwIfAborted, type WaitOptions } from '../../core/abort.ts';
import type { BytesLike } from '../../core/bytes.ts';
import type { Cancel, Clock } from '../../core/clock.ts';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import type { Random } from '../../core/random.ts';
import type { ClaimRequest, ElectionEngine, LeaderView } from '../../locks/engine.ts';
import type { LockGuarantees, LockHolder } from '../../locks/locks.ts';
import { requireBytes } from '../../locks/names.ts';
import { RedisClaim } from './claim.ts';
import type { Connection } from './clients.ts';
import { Commands } from './commands.ts';
import { Ledger } from './ledger.ts';
import { toWord } from './names.ts';
import { Queue, type QueueEntry, type QueueSettings, type Standing, type Wanted } from './queue.ts';
import { Subscriptions } from './subscriptions.ts';
import { type Grant, Waiter } from './waiter.ts';

const MAX_NAME_BYTES = 1024;
/** It stands in the queue, which every change of that writes anew. */
const MAX_VALUE_BYTES = 16 * 1024;
/** A short critical section is over before a connection for messages would pay. */
const GUARD_AFTER_MS = 20;
/** Names that were busy when last asked for; where there are more the oldest knowledge goes. */
const MAX_BUSY_NAMES = 1000;
/** Who observes looks by itself this often, and when the leader's time is over. */
const OBSERVE_AGAIN_MS = 5000;

export interface RedisEngineOptions extends QueueSettings {
  readonly clock: Clock;
  readonly random: Random;
}

/** What a claim in Redis is, before its turn. */
class Entry implements Wanted {
  readonly id: string;
  readonly name: string;
  readonly permits: number;
  readonly value: string;
  /** What was asked last; settles before its removal is asked for. */
  pending: Promise<unknown>;
  /** It stands in the queue, or perhaps. */
  mayExist: boolean;

  constructor(id: string, request: ClaimRequest) {
    this.id = id;
    this.name = request.name;
    this.permits = request.permits;
    this.value = toWord(bytesOf(request.value));
    this.pending = Promise.resolve();
    this.mayExist = false;
  }
}

/** See the head of this file. */
export class RedisEngine implements ElectionEngine {
  readonly guarantees: LockGuarantees<'best-effort'>;
  readonly clock: Clock;
  readonly #random: Random;
  readonly #queue: Queue;
  readonly #subscriptions: Subscriptions;
  readonly #clientId: string;
  readonly #waiting: Map<string, Waiter>;
  readonly #held: Map<string, RedisClaim>;
  /** How many of ours have to do with a name, or that it was busy. */
  readonly #interest: Map<string, number>;
  readonly #busy: Set<string>;
  readonly #ledger: Ledger;
  #listening: Promise<unknown> | undefined;
  /** Messages reach us. */
  #hears: boolean;
  #number: number;

  constructor(connection: Connection, { clock, random, ...settings }: RedisEngineOptions) {
    // As patient as a renewal.
    const limitMs = Math.min(settings.ttlMs / 3, 5000);
    this.guarantees = {
      fencing: settings.fenced ? 'best-effort' : ('none' as never),
      waiters: 'fifo',
      expiry: 'engine-clock',
      shared: true,
      permits: true,
    };
    this.clock = clock;
    this.#random = random;
    this.#queue = new Queue(new Commands(connection, clock, limitMs), settings, (id, token) =>
      this.#served(id, token),
    );
    this.#subscriptions = new Subscriptions(connection, clock, limitMs);
    this.#subscriptions.onReconnect(() => this.#lookAtAll());
    this.#clientId = random.id63().toString(36);
    this.#waiting = new Map();
    this.#held = new Map();
    this.#interest = new Map();
    this.#busy = new Set();
    this.#ledger = new Ledger(clock);
    this.#listening = undefined;
    this.#hears = false;
    this.#number = 0;
  }

  requireName(name: string): void {
    requireBytes(name, MAX_NAME_BYTES);
  }

  async claim(request: ClaimRequest): Promise<RedisClaim> {
    const claim = await this.#claim(request, (entry, signal) => this.#take(entry, request, signal));
    return claim!;
  }

  async tryClaim(request: ClaimRequest): Promise<RedisClaim | undefined> {
    return this.#claim(request, (entry, signal) => this.#takeNow(entry, signal));
  }

  async holders(name: string, options: WaitOptions): Promise<readonly LockHolder[]> {
    const entries = await this.#ask(this.#queue.inspect(name), options);
    return entries.map((entry) => this.#holderOf(entry));
  }

  async evict(name: string, options: WaitOptions): Promise<readonly LockHolder[]> {
    const taken = await this.#ask(this.#queue.evict(this.#clientId, name), options);
    return taken.map((entry) => this.#holderOf(entry));
  }

  async setValue(claim: RedisClaim, value: BytesLike, options: WaitOptions): Promise<boolean> {
    const word = toWord(bytesOf(value));
    const done = this.#queue.proclaim(claim.holder, claim.name, word);
    return (await this.#ask(done, options)).status === 'holds';
  }

  async leader(name: string, options: WaitOptions): Promise<LeaderView> {
    const [first] = await this.#ask(this.#queue.inspect(name), options);
    const leads = first !== undefined && !first.waiting;
    return {
      leader: leads ? leaderOf(first) : undefined,
      changed: (signal) => this.#changed(name, leads ? first : undefined, signal),
    };
  }

  async close(): Promise<void> {
    await this.#ledger.close();
    this.#subscriptions.close();
  }

  #claim(
    request: ClaimRequest,
    take: (entry: Entry, signal: AbortSignal) => Promise<Grant | undefined>,
  ): Promise<RedisClaim | undefined> {
    const entry = new Entry(`${this.#clientId}.${(++this.#number).toString(36)}`, request);
    return this.#ledger.ask(request, async (signal) => {
      let claim: RedisClaim | undefined;
      this.#interest.set(entry.name, (this.#interest.get(entry.name) ?? 0) + 1);
      try {
        const grant = await take(entry, signal);
        throwIfAborted(signal);
        if (grant !== undefined) claim = this.#holds(entry, request, grant);
        return claim;
      } catch (error) {
        this.#ledger.inBackground(this.#remove(entry));
        throw error;
      } finally {
        if (claim === undefined) this.#loseInterest(entry.name);
      }
    });
  }

  /** Waits for its turn. */
  async #take(entry: Entry, request: ClaimRequest, signal: AbortSignal): Promise<Grant> {
    if (!this.#hears) {
      const grant = await this.#takeNow(entry, signal);
      if (grant !== undefined) return grant;
      await orAborted(this.#hear(), signal);
    } else if (this.#mayBeFree(entry.name)) {
      const grant = await this.#takeFree(entry, signal);
      if (grant !== undefined) return grant;
    }
    const parts = { queue: this.#queue, clock: this.clock, random: this.#random };
    const waiter = new Waiter(parts, entry, `the ${request.what} '${request.name}'`);
    this.#waiting.set(entry.id, waiter);
    try {
      const asked = this.#queue.claim(entry, 'wait');
      const standing = await this.#sent(entry, asked, () => true, signal);
      if (standing.status === 'holds') this.#busy.delete(entry.name);
      waiter.start(standing);
      return await orAborted(waiter.turn, signal);
    } finally {
      waiter.stop();
      this.#waiting.delete(entry.id);
    }
  }

  /** Takes it where it is free now. */
  async #takeNow(entry: Entry, signal: AbortSignal): Promise<Grant | undefined> {
    if (this.#mayBeFree(entry.name)) {
      const grant = await this.#takeFree(entry, signal);
      if (grant !== undefined) return grant;
    }
    const sentMs = this.clock.now();
    const asked = this.#queue.claim(entry, 'try');
    const { status, token } = await this.#sent(entry, asked, holds, signal);
    if (status !== 'holds') return undefined;
    this.#busy.delete(entry.name);
    return { token, sentMs, firstMs: this.#queue.settings.ttlMs };
  }

  /** Where grants have no numbers: takes it where nobody has it, for one command. */
  async #takeFree(entry: Entry, signal: AbortSignal): Promise<Grant | undefined> {
    const sentMs = this.clock.now();
    if (await this.#sent(entry, this.#queue.claimFree(entry), Boolean, signal)) {
      return { token: 0n, sentMs, firstMs: this.#queue.settings.ttlMs };
    }
    if (this.#busy.size >= MAX_BUSY_NAMES) this.#busy.clear();
    this.#busy.add(entry.name);
    return undefined;
  }

  #mayBeFree(name: string): boolean {
    if (!this.#queue.mayClaimFree || this.#busy.has(name)) return false;
    // Not if others of ours hold it or wait.
    return this.#interest.get(name) === 1;
  }

  /** Waits for a request; what stays in Redis of it is known later even where nobody waits any more. */
  #sent<T>(
    entry: Entry,
    work: Promise<T>,
    stays: (result: T) => boolean,
    signal: AbortSignal,
  ): Promise<T> {
    entry.pending = work.then(
      (result) => {
        entry.mayExist = stays(result);
      },
      (error: unknown) => {
        entry.mayExist = isQuorateError(error) && error.outcome === 'unknown';
      },
    );
    return orAborted(work, signal);
  }

  #holds(entry: Entry, request: ClaimRequest, grant: Grant): RedisClaim {
    const parts = { queue: this.#queue, clock: this.clock };
    let cancelGuard: Cancel | undefined;
    const claim = new RedisClaim(parts, request, entry.id, grant, {
      end: (ended) => {
        const { holder, name } = ended;
        cancelGuard?.();
        this.#held.delete(holder);
        this.#ledger.letGo(ended);
        this.#loseInterest(name);
      },
      giveBack: () => this.#giveBack(entry),
    });
    this.#held.set(entry.id, claim);
    this.#ledger.hold(claim);
    if (!this.#hears) cancelGuard = this.#guardSoon(claim);
    return claim;
  }

  async #giveBack(entry: Entry): Promise<void> {
    const done = this.#queue.release(entry.id, entry.name);
    entry.pending = done.catch(() => undefined);
    try {
      await done;
    } catch (error) {
      // At the end nobody waits for a second time: it ends by itself.
      if (!this.#ledger.ending.aborted) this.#ledger.inBackground(this.#remove(entry));
      throw error;
    }
  }

  /** To hear of it where somebody takes it, and not only with the next renewal. */
  #guardSoon(claim: RedisClaim): Cancel {
    return this.clock.after(GUARD_AFTER_MS, () => {
      if (this.#ledger.ending.aborted) return;
      const guarded = this.#hear().then(() => claim.check());
      // Renewals notice it without.
      guarded.catch(() => undefined);
    });
  }

  #hear(): Promise<unknown> {
    this.#listening ??= this.#subscriptions
      .listen(this.#queue.channelOf(this.#clientId), (message) => this.#told(message))
      .then(
        () => {
          this.#hears = true;
        },
        (error: unknown) => {
          this.#listening = undefined;
          throw error;
        },
      );
    return this.#listening;
  }

  #told(message: string): void {
    const [kind, id = '', token = ''] = message.split(' ');
    if (kind === 'x') this.#held.get(id)?.taken();
    else if (kind === 'g' && /^\d{1,20}$/.test(token)) this.#served(id, BigInt(token));
  }

  #served(id: string, token: bigint): void {
    this.#waiting.get(id)?.served(token);
  }

  /** Messages may have been missed. */
  #lookAtAll(): void {
    for (const waiter of this.#waiting.values()) waiter.look();
    for (const claim of this.#held.values()) void claim.check().catch(() => undefined);
  }

  /** Takes an entry out of the queue, or gives it back, whatever became of it. Never rejects. */
  async #remove(entry: Entry): Promise<void> {
    await entry.pending;
    if (!entry.mayExist) return;
    const { ttlMs } = this.#queue.settings;
    // After that it has ended by itself.
    await this.#ledger.keepTrying(() => this.#queue.release(entry.id, entry.name), ttlMs);
  }

  async #changed(
    name: string,
    seen: QueueEntry | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const any = new AbortController();
    const told = new Promise<void>((resolve) => {
      any.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    const observers = this.#queue.observersOf(name);
    const wake = (): void => any.abort();
    this.#ledger.ending.addEventListener('abort', wake, { once: true });
    const end = await orAborted(this.#subscriptions.listen(observers, wake), signal, (late) =>
      late(),
    );
    try {
      // It may have changed before we listened.
      const [first] = await this.#ask(this.#queue.inspect(name), { signal });
      const now = first?.waiting ? undefined : first;
      if (now?.id !== seen?.id || now?.revision !== seen?.revision) return;
      const dueMs = Math.min(now?.leftMs ?? OBSERVE_AGAIN_MS, OBSERVE_AGAIN_MS);
      const cancel = this.clock.after(dueMs + 5, wake);
      await orAborted(told, signal).finally(cancel);
      this.#ledger.assertOpen();
    } finally {
      this.#ledger.ending.removeEventListener('abort', wake);
      end();
    }
  }

  #ask<T>(work: Promise<T>, { signal }: WaitOptions): Promise<T> {
    this.#ledger.assertOpen();
    return orAborted(work, signal);
  }

  #holderOf({ id, token, value, waiting }: QueueEntry): LockHolder {
    const fencingToken = waiting || token === 0n ? undefined : token;
    return { holder: id, fencingToken, owner: value.toString(), waiting };
  }

  #loseInterest(name: string): void {
    const left = (this.#interest.get(name) ?? 1) - 1;
    if (left > 0) this.#interest.set(name, left);
    else this.#interest.delete(name);
  }
}

const holds = ({ status }: Standing): boolean => status === 'holds';

function bytesOf(value: BytesLike): Uint8Array {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  if (bytes.byteLength <= MAX_VALUE_BYTES) return bytes;
  throw new QuorateError(
    'ERR_REQUEST_TOO_LARGE',
    `value: ${bytes.byteLength} bytes, more than ${MAX_VALUE_BYTES}; store it elsewhere and say where`,
  );
}

function leaderOf({ id, token, revision, value }: QueueEntry) {
  return { value, fencingToken: token, revision, holder: id };
}
