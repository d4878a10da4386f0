/**
 * Redlock: a lock on a majority of several independent Redis masters
 * (https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/).
 *
 * What it does not protect from is said in docs/redlock.md; in short, it needs clocks that run at about
 * the same rate, masters that forget nothing, and it has no fencing tokens.
 */
import { orAborted, sleep, throwIfAborted, type WaitOptions } from '../../core/abort.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { type Duration, durationMs } from '../../core/duration.ts';
import { invalid } from '../../core/errors.ts';
import { type Random, systemRandom } from '../../core/random.ts';
import type { Claim, ClaimRequest, LockEngine } from '../../locks/engine.ts';
import { Hold } from '../../locks/hold.ts';
import { Ledger } from '../../locks/ledger.ts';
import { type Gone, RenewedLife } from '../../locks/life.ts';
import type {
  AcquireOptionsWithout,
  LockGuarantees,
  LockHolder,
  Locks,
} from '../../locks/locks.ts';
import { locksOver } from '../../locks/locks-over.ts';
import { requireBytes } from '../../locks/names.ts';
import { ownerName } from '../../locks/owner.ts';
import { type Connection, connectionOf, type RedisClient } from './clients.ts';
import { ttlOf } from './locks.ts';
import { fromWord, prefixOf, toWord } from './names.ts';
import { mayHaveDone, RedlockNodes, tooFew } from './redlock-nodes.ts';

/** How a Redlock behaves. */
export interface RedlockOptions {
  /**
   * How long what is held outlives its holder, from 100 ms to a day. It is renewed every third of it.
   * @defaultValue `'10s'`
   */
  readonly ttl?: Duration | undefined;
  /** What keys begin with. All who share locks need the same. @defaultValue `'quorate:redlock:'` */
  readonly prefix?: string | undefined;
  /** What others see of who holds, in `holders`. @defaultValue host name and process id */
  readonly owner?: string | undefined;
  /** About how long to wait before a busy lock is tried again: half of it to one and a half. @defaultValue `'50ms'` */
  readonly retryDelay?: Duration | undefined;
  /** How much a clock may run faster than another, as part of the time. @defaultValue `0.01` */
  readonly drift?: number | undefined;
  /** How long a master may take to answer before it is not counted. @defaultValue a tenth of `ttl`, 50 ms to 1 s */
  readonly nodeTimeout?: Duration | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
  /** For ids, and to spread what many do at a time. @defaultValue the system's */
  readonly random?: Random | undefined;
}

/** Redis counts whole milliseconds. */
const GRAIN_MS = 2;
const GONE: Gone = { why: 'is gone on too many masters (taken, deleted, or lost)', loss: 'stolen' };

/**
 * Locks on a majority of independent Redis masters, over clients that you made and connected, one a master.
 * It outlives the loss of a minority of them. No tokens, no order among those who wait, no read locks or
 * semaphores: read docs/redlock.md before you choose it.
 *
 * `close` gives back what is held and leaves your clients open.
 *
 * @throws `ERR_INVALID_ARGUMENT` unless there are an odd number of clients, at least three, all different.
 */
export function redlock(
  clients: readonly RedisClient[],
  options: RedlockOptions = {},
): Locks<'none', AcquireOptionsWithout<'shared' | 'permits'>> {
  return locksOver(new RedlockEngine(clients, options), ownerName(options.owner));
}

class RedlockClaim extends Hold implements Claim<'none'> {
  readonly name: string;
  readonly holder: string;
  readonly fencingToken: undefined;
  readonly #life: RenewedLife;
  readonly #onEnd: () => void;

  constructor(
    request: ClaimRequest,
    id: string,
    life: RenewedLife,
    on: { readonly end: () => void; readonly giveBack: () => Promise<void> },
  ) {
    super(request, life, on.giveBack);
    this.name = request.name;
    this.holder = id;
    this.fencingToken = undefined;
    this.#life = life;
    this.#onEnd = on.end;
  }

  protected override ended(): void {
    this.#life.stop('was given back', 'session');
    this.#onEnd();
  }
}

class RedlockEngine implements LockEngine<'none'> {
  readonly guarantees: LockGuarantees<'none'> = {
    fencing: 'none',
    waiters: 'barging',
    expiry: 'both-clocks',
    shared: false,
    permits: false,
  };
  readonly clock: Clock;
  readonly #random: Random;
  readonly #nodes: RedlockNodes;
  readonly #ledger: Ledger<RedlockClaim>;
  readonly #ttlMs: number;
  /** How long a grant is worth anything, from when it was asked for. */
  readonly #validMs: number;
  readonly #retryMs: number;

  constructor(clients: readonly RedisClient[], options: RedlockOptions) {
    this.clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#ttlMs = ttlOf(options.ttl);
    this.#validMs = this.#ttlMs - this.#ttlMs * driftOf(options.drift) - GRAIN_MS;
    this.#retryMs = Math.max(1, durationMs(options.retryDelay ?? '50ms', 'retryDelay'));
    this.#ledger = new Ledger(this.clock);
    this.#nodes = new RedlockNodes(connectionsOf(clients), this.clock, {
      prefix: prefixOf(options.prefix, 'quorate:redlock:'),
      ttlMs: this.#ttlMs,
      nodeTimeoutMs: nodeTimeoutOf(options.nodeTimeout, this.#ttlMs),
    });
  }

  requireName(name: string): void {
    requireBytes(name);
  }

  async claim(request: ClaimRequest): Promise<RedlockClaim> {
    return this.#ledger.ask(request, async ({ signal }) => {
      while (true) {
        const claim = await this.#attempt(request, signal);
        if (claim !== undefined) return claim;
        const part = 0.5 + this.#random.below(1000) / 1000;
        await sleep(this.clock, this.#retryMs * part, signal);
      }
    });
  }

  async tryClaim(request: ClaimRequest): Promise<RedlockClaim | undefined> {
    return this.#ledger.ask(request, ({ signal }) => this.#attempt(request, signal));
  }

  async holders(name: string, { signal }: WaitOptions): Promise<readonly LockHolder[]> {
    this.#ledger.assertOpen();
    const grant = await orAborted(this.#nodes.grantOf(name), signal);
    return grant === undefined ? [] : [holderOf(grant)];
  }

  async evict(name: string, { signal }: WaitOptions): Promise<readonly LockHolder[]> {
    this.#ledger.assertOpen();
    const grant = await orAborted(this.#nodes.grantOf(name), signal);
    if (grant === undefined) return [];
    await orAborted(this.#release(name, grant), signal);
    return [holderOf(grant)];
  }

  close(): Promise<void> {
    return this.#ledger.close();
  }

  /** All masters at once; where that is no majority in time, nothing stays on any. */
  async #attempt(request: ClaimRequest, signal: AbortSignal): Promise<RedlockClaim | undefined> {
    const { name } = request;
    const id = this.#random.id63().toString(36);
    const grant = `${id} ${toWord(Buffer.from(request.value as string))}`;
    const sentMs = this.clock.now();
    const { decided, answers } = this.#nodes.take(name, grant);
    try {
      const { won, errors } = await orAborted(decided, signal);
      throwIfAborted(signal);
      const isValid = won && this.clock.now() < sentMs + this.#validMs;
      if (isValid) return this.#held(request, id, grant, sentMs);
      // Too few are there, whatever the others say.
      if (errors.length >= this.#nodes.quorum) throw tooFew(errors);
    } catch (error) {
      this.#ledger.inBackground(this.#cleanUp(name, grant, answers));
      throw error;
    }
    // The next attempt, of whomever, should not meet what this one left behind.
    const cleaned = this.#cleanUp(name, grant, answers);
    this.#ledger.inBackground(cleaned);
    await orAborted(cleaned, signal);
    return undefined;
  }

  #held(request: ClaimRequest, id: string, grant: string, sentMs: number): RedlockClaim {
    const { name } = request;
    const life = new RenewedLife({
      clock: this.clock,
      what: 'its hold on a majority',
      ttlMs: this.#validMs,
      sentMs,
      renew: () => this.#renew(name, grant),
    });
    const claim = new RedlockClaim(request, id, life, {
      end: () => this.#ledger.letGo(place),
      giveBack: () => this.#release(name, grant),
    });
    const place = this.#ledger.hold(claim);
    return claim;
  }

  async #renew(name: string, grant: string): Promise<number | Gone> {
    const { won, refused, errors } = await this.#nodes.extend(name, grant).decided;
    if (won) return this.#validMs;
    if (refused > this.#nodes.count - this.#nodes.quorum) return GONE;
    // Those who did not answer may still have it: tried again until its time is over.
    throw tooFew(errors);
  }

  /** Resolves when a majority has it no more; the others are asked until they have it no more either. */
  async #release(name: string, grant: string): Promise<void> {
    const { decided, answers } = this.#nodes.release(name, grant);
    this.#ledger.inBackground(
      Promise.all(answers.map((answer, node) => this.#orLater(answer, node, name, grant))),
    );
    const { won, errors } = await decided;
    if (!won) throw tooFew(errors);
  }

  /** Takes back what an attempt put, or perhaps put, also where the answer came late. Never rejects. */
  async #cleanUp(name: string, grant: string, answers: readonly Promise<boolean>[]): Promise<void> {
    const nodes = await mayHaveDone(answers);
    await Promise.all(
      nodes.map((node) =>
        this.#orLater(this.#nodes.releaseOn(node, name, grant), node, name, grant),
      ),
    );
  }

  /** Where a release failed it is tried again in the background, until it has ended by itself. */
  async #orLater(done: Promise<unknown>, node: number, name: string, grant: string): Promise<void> {
    try {
      await done;
    } catch {
      if (this.#ledger.ending.aborted) return;
      const again = (): Promise<void> => this.#nodes.releaseOn(node, name, grant);
      this.#ledger.inBackground(this.#ledger.keepTrying(again, this.#ttlMs));
    }
  }
}

function connectionsOf(clients: readonly RedisClient[]): Connection[] {
  const given = Array.isArray(clients) ? clients : [];
  if (new Set(given).size < given.length) {
    throw invalid('clients: one is given twice; each is of a master of its own');
  }
  if (given.length >= 3 && given.length % 2 === 1) return given.map(connectionOf);
  throw invalid(
    'clients: one for each master is needed, an odd number of them, at least three: of two a majority is both',
  );
}

function driftOf(drift = 0.01): number {
  if (typeof drift === 'number' && drift >= 0 && drift < 0.5) return drift;
  throw invalid(`drift: ${drift}; a number from 0 to 0.5 is needed`);
}

function nodeTimeoutOf(given: Duration | undefined, ttlMs: number): number {
  if (given === undefined) return Math.min(Math.max(ttlMs / 10, 50), 1000);
  const timeoutMs = durationMs(given, 'nodeTimeout');
  if (timeoutMs >= 1 && timeoutMs < ttlMs / 2) return timeoutMs;
  throw invalid(`nodeTimeout: ${timeoutMs} ms; 1 ms to half of the ttl are possible`);
}

function holderOf(grant: string): LockHolder {
  const [holder = '', owner] = grant.split(' ');
  return { holder, owner: fromWord(owner).toString(), fencingToken: undefined, waiting: false };
}
