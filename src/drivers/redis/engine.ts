/** Locks and elections on one Redis: the claims of one client, its waits, and the messages that it gets. */
import { orAborted, type WaitOptions } from '../../core/abort.ts';
import type { BytesLike } from '../../core/bytes.ts';
import type { Clock } from '../../core/clock.ts';
import { isQuorateError } from '../../core/errors.ts';
import type { Random } from '../../core/random.ts';
import { SameDelay } from '../../core/same-delay.ts';
import type { ClaimRequest, ElectionEngine, LeaderView } from '../../locks/engine.ts';
import { Ledger } from '../../locks/ledger.ts';
import type { LockGuarantees, LockHolder } from '../../locks/locks.ts';
import { requireBytes } from '../../locks/names.ts';
import type { Gate } from '../../locks/signals.ts';
import { valueBytes } from '../../locks/values.ts';
import { type ClaimHost, RedisClaim } from './claim.ts';
import type { Connection } from './clients.ts';
import { Commands } from './commands.ts';
import { toWord } from './names.ts';
import { Queue, type QueueEntry, type QueueSettings, type Standing, type Wanted } from './queue.ts';
import { Subscriptions } from './subscriptions.ts';
import { type Grant, Waiter } from './waiter.ts';

/** It stands in the queue, which every change of that writes anew. */
const MAX_VALUE_BYTES = 16 * 1024;
/** A short critical section is over before a connection for messages would pay. */
const GUARD_AFTER_MS = 20;
/** So many names are known, or twice as many as are of interest. */
const MOST_NAMES = 1000;
/** Who observes looks by itself this often, and when the leader's time is over. */
const OBSERVE_AGAIN_MS = 5000;

export interface RedisEngineOptions extends QueueSettings {
  readonly clock: Clock;
  readonly random: Random;
}

/** What is known of a name. */
interface Known {
  /** How many of ours hold it or want it. */
  interest: number;
  /** It was, when last asked for. */
  isBusy: boolean;
}

/** What a claim in Redis is, before its turn. */
class Entry implements Wanted {
  readonly id: string;
  readonly name: string;
  readonly permits: number;
  readonly value: string;
  readonly known: Known;
  /** Whether it stands in the queue, or perhaps; known when what was asked last has settled. */
  mayExist: () => Promise<boolean>;

  constructor(id: string, { name, permits }: ClaimRequest, value: string, known: Known) {
    this.id = id;
    this.name = name;
    this.permits = permits;
    this.value = value;
    this.known = known;
    this.mayExist = notAsked;
  }
}

const notAsked = (): Promise<boolean> => Promise.resolve(false);

/** See the head of this file. */
export class RedisEngine implements ElectionEngine {
  readonly guarantees: LockGuarantees<'best-effort'>;
  readonly clock: Clock;
  readonly #random: Random;
  readonly #queue: Queue;
  readonly #subscriptions: Subscriptions;
  readonly #clientId: string;
  readonly #waiting: Map<string, Waiter>;
  readonly #known: Map<string, Known>;
  #mostKnown: number;
  readonly #ledger: Ledger<RedisClaim>;
  readonly #host: ClaimHost;
  /** Of what is held while messages do not reach us. */
  readonly #guards: SameDelay;
  /** The value that was asked for last: most ask with the same. */
  #lastValue: string;
  #lastWord: string;
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
    this.#known = new Map();
    this.#mostKnown = MOST_NAMES;
    this.#ledger = new Ledger(clock);
    this.#host = {
      queue: this.#queue,
      clock,
      renewals: new SameDelay(clock, settings.ttlMs / 3),
      giveBack: (claim) => this.#giveBack(claim),
    };
    this.#guards = new SameDelay(clock, GUARD_AFTER_MS);
    this.#lastValue = '';
    this.#lastWord = '';
    this.#listening = undefined;
    this.#hears = false;
    this.#number = 0;
  }

  requireName(name: string): void {
    requireBytes(name);
  }

  claim(request: ClaimRequest): Promise<RedisClaim> {
    return this.#claim(request, 'wait') as Promise<RedisClaim>;
  }

  tryClaim(request: ClaimRequest): Promise<RedisClaim | undefined> {
    return this.#claim(request, 'try');
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
    const word = toWord(valueBytes(value, MAX_VALUE_BYTES));
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
    this.#host.renewals.close();
    this.#guards.close();
    this.#subscriptions.close();
  }

  #claim(request: ClaimRequest, mode: 'wait' | 'try'): Promise<RedisClaim | undefined> {
    return this.#ledger.ask(request, async (gate) => {
      const id = `${this.#clientId}.${(++this.#number).toString(36)}`;
      const known = this.#knownOf(request.name);
      const entry = new Entry(id, request, this.#wordOf(request.value), known);
      let claim: RedisClaim | undefined;
      known.interest += 1;
      try {
        let grant = this.#mayBeFree(known) ? await this.#takeFree(entry, gate) : undefined;
        // Most are free: it costs a connection for messages to wait.
        if (mode === 'try' || !this.#hears) grant ??= await this.#takeNow(entry, gate);
        if (mode === 'wait') grant ??= await this.#takeInTurn(entry, request.what, gate);
        gate.throwIfAborted();
        if (grant !== undefined) claim = this.#holds(entry, request, grant);
        return claim;
      } catch (error) {
        this.#ledger.inBackground(this.#remove(entry));
        throw error;
      } finally {
        if (claim === undefined) known.interest -= 1;
      }
    });
  }

  /** Waits for its turn. */
  async #takeInTurn(entry: Entry, what: string, gate: Gate): Promise<Grant> {
    if (!this.#hears) await gate.orAborted(this.#hear());
    const parts = { queue: this.#queue, clock: this.clock, random: this.#random };
    const waiter = new Waiter(parts, entry, `the ${what} '${entry.name}'`);
    this.#waiting.set(entry.id, waiter);
    try {
      const asked = this.#queue.claim(entry, 'wait');
      const standing = await this.#sent(entry, asked, () => true, gate);
      if (standing.status === 'holds') entry.known.isBusy = false;
      waiter.start(standing);
      return await gate.orAborted(waiter.turn);
    } finally {
      waiter.stop();
      this.#waiting.delete(entry.id);
    }
  }

  /** Takes it where it is free now. */
  async #takeNow(entry: Entry, gate: Gate): Promise<Grant | undefined> {
    const sentMs = this.clock.now();
    const asked = this.#queue.claim(entry, 'try');
    const { status, token } = await this.#sent(entry, asked, holds, gate);
    if (status !== 'holds') return undefined;
    entry.known.isBusy = false;
    return { token, sentMs, firstMs: this.#queue.settings.ttlMs };
  }

  /** Where grants have no numbers: takes it where nobody has it, for one command. */
  async #takeFree(entry: Entry, gate: Gate): Promise<Grant | undefined> {
    const sentMs = this.clock.now();
    if (await this.#sent(entry, this.#queue.claimFree(entry), Boolean, gate)) {
      return { token: 0n, sentMs, firstMs: this.#queue.settings.ttlMs };
    }
    entry.known.isBusy = true;
    return undefined;
  }

  #mayBeFree({ interest, isBusy }: Known): boolean {
    // Not if others of ours hold it or wait.
    return this.#queue.mayClaimFree && !isBusy && interest === 1;
  }

  #knownOf(name: string): Known {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    if (this.#known.size >= this.#mostKnown) {
      for (const [each, { interest }] of this.#known) if (interest === 0) this.#known.delete(each);
      this.#mostKnown = Math.max(MOST_NAMES, 2 * this.#known.size);
    }
    const made = { interest: 0, isBusy: false };
    this.#known.set(name, made);
    return made;
  }

  /** Waits for a request; what stays in Redis of it is known later even where nobody waits any more. */
  #sent<T>(entry: Entry, work: Promise<T>, stays: (result: T) => boolean, gate: Gate): Promise<T> {
    entry.mayExist = () => work.then(stays, isUnknown);
    return gate.orAborted(work);
  }

  #holds({ id, known }: Entry, request: ClaimRequest, grant: Grant): RedisClaim {
    const claim = new RedisClaim(this.#host, request, id, grant);
    const place = this.#ledger.hold(claim);
    const guard = this.#hears ? undefined : this.#guards.start(() => this.#guard(claim));
    claim.onEnd = () => {
      if (guard !== undefined) this.#guards.stop(guard);
      this.#ledger.letGo(place);
      known.interest -= 1;
    };
    return claim;
  }

  async #giveBack({ holder, name }: RedisClaim): Promise<void> {
    try {
      await this.#queue.release(holder, name);
    } catch (error) {
      // At the end nobody waits for a second time: it ends by itself.
      if (!this.#ledger.ending.aborted) {
        this.#ledger.inBackground(this.#keepReleasing(holder, name));
      }
      throw error;
    }
  }

  /** To hear of it where somebody takes it, and not only with the next renewal. */
  #guard(claim: RedisClaim): void {
    if (this.#ledger.ending.aborted) return;
    const guarded = this.#hear().then(() => claim.check());
    // Renewals notice it without.
    guarded.catch(() => undefined);
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
    if (kind === 'x') [...this.#ledger.held].find(({ holder }) => holder === id)?.taken();
    else if (kind === 'g' && /^\d{1,20}$/.test(token)) this.#served(id, BigInt(token));
  }

  #served(id: string, token: bigint): void {
    this.#waiting.get(id)?.served(token);
  }

  /** Messages may have been missed. */
  #lookAtAll(): void {
    for (const waiter of this.#waiting.values()) waiter.look();
    for (const claim of [...this.#ledger.held]) void claim.check().catch(() => undefined);
  }

  /** Takes an entry out of the queue, or gives it back, whatever became of it. Never rejects. */
  async #remove(entry: Entry): Promise<void> {
    if (await entry.mayExist()) await this.#keepReleasing(entry.id, entry.name);
  }

  /** Never rejects. */
  #keepReleasing(id: string, name: string): Promise<void> {
    // After that it has ended by itself.
    return this.#ledger.keepTrying(() => this.#queue.release(id, name), this.#queue.settings.ttlMs);
  }

  #wordOf(value: BytesLike): string {
    if (typeof value !== 'string') return toWord(valueBytes(value, MAX_VALUE_BYTES));
    if (value !== this.#lastValue) {
      this.#lastWord = toWord(valueBytes(value, MAX_VALUE_BYTES));
      this.#lastValue = value;
    }
    return this.#lastWord;
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
}

const holds = ({ status }: Standing): boolean => status === 'holds';
const isUnknown = (error: unknown): boolean => isQuorateError(error) && error.outcome === 'unknown';

function leaderOf({ id, token, revision, value }: QueueEntry) {
  return { value, fencingToken: token, revision, holder: id };
}
