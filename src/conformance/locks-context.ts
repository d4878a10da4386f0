/** What every case of the suites of locks and elections is given, and the helpers the cases share. */
import assert from 'node:assert/strict';
import { type Clock, systemClock } from '../core/clock.ts';
import type { Duration } from '../core/duration.ts';
import { type ErrorCode, isQuorateError, type QuorateError } from '../core/errors.ts';
import { type Random, systemRandom } from '../core/random.ts';
import type { Elections } from '../locks/elections.ts';
import type { AcquireOptions, Fencing, Lock, LockHolder, Locks } from '../locks/locks.ts';
import type { Case } from './case.ts';
import { CaseContext, errorOf } from './case-context.ts';
import type { LockCapability, LockLacks } from './locks-lacks.ts';

/** A case of the suite of locks or of that of elections. */
export type LockCase = Case<LockContext, LockCapability>;

/** Locks of an engine that promises anything. */
export type AnyLocks = Locks<Fencing>;

/** What one process has of the engine. */
export interface LockClient {
  readonly locks: Locks<Fencing>;
  /** @defaultValue none: lacks `elections` */
  readonly elections?: Elections | undefined;
  /**
   * As if the process was killed, or cut off for good: from now on it sends nothing, nothing is given back.
   * What this leaves open in the test's own process may be closed by it. @defaultValue none: lacks `abandon`
   */
  abandon?(): void | Promise<void>;
  /** Called when locks and elections are closed: for connections of this client alone. */
  close?(): void | Promise<void>;
}

/** The engine under test. */
export interface LocksTarget {
  /**
   * Opens locks as an independent process would, with connections and sessions of its own. Passes
   * both options on as they are: a `ttl` that is none must be refused.
   */
  open(options: {
    readonly ttl: Duration;
    readonly owner: string;
  }): LockClient | Promise<LockClient>;
  /**
   * What there is in the engine of locks and elections whose names begin with `prefix`, and of sessions and
   * connections of the clients of this target: keys, leases. Must be empty after every case. May leave out
   * what ends by itself and holds nobody up, such as the last token of a name.
   */
  leftovers(prefix: string): Promise<readonly string[]>;
  /** The `ttl` of cases that wait for its end, in milliseconds: the shorter, the quicker they are. */
  readonly ttlMs: number;
  /**
   * How long after its time to live, in milliseconds, something of a process that is gone may still hold up
   * others. @defaultValue 1000
   */
  readonly expiryMs?: number;
  /** How long something may take that is said to happen at once, in milliseconds. @defaultValue 3000 */
  readonly promptMs?: number;
  /** The one that the locks go by. @defaultValue the system's */
  readonly clock?: Clock;
  /** Picks the prefix of a case's names. @defaultValue the system's */
  readonly random?: Random;
  /** Lets that much time pass before anything else can run. @defaultValue none: lacks `stall` */
  stall?(delayMs: number): void;
  /** Takes the leadership of an election from who has it, in the engine. @defaultValue none: lacks `depose` */
  depose?(name: string): Promise<void>;
}

/** For cases in which nothing is to end by time. */
const LONG_TTL_MS = 10_000;
/** After so long somebody who asked for a lock is taken to stand in the queue. */
const QUEUED_MS = 200;

/**
 * One case's view of the engine. Its names begin with `prefix`, which no other case has.
 */
export class LockContext extends CaseContext {
  readonly prefix: string;
  /** The time to live of clients that `openShort` gives. */
  readonly ttlMs: number;
  /** By then what a process held that is gone is free. */
  readonly freedMs: number;
  readonly promptMs: number;
  /** By then a client of `ttlMs` knows that a lock was taken from it. */
  readonly noticedMs: number;
  readonly #target: LocksTarget;
  readonly #lacks: LockLacks;
  readonly #clients: LockClient[];
  readonly #cleanups: (() => unknown)[];
  #abandoned: number;

  constructor(target: LocksTarget, lacks: LockLacks) {
    super(target.clock ?? systemClock);
    this.prefix = `lock-conformance/${(target.random ?? systemRandom).id63().toString(36)}/`;
    this.ttlMs = target.ttlMs;
    this.promptMs = target.promptMs ?? 3000;
    this.noticedMs = target.ttlMs / 3 + this.promptMs;
    this.freedMs = target.ttlMs + (target.expiryMs ?? 1000);
    this.#target = target;
    this.#lacks = lacks;
    this.#clients = [];
    this.#cleanups = [];
    this.#abandoned = 0;
  }

  /** What whoever runs the suite says is missing. */
  get lacks(): LockLacks {
    return this.#lacks;
  }

  /** The engine offers it. */
  readonly has = (capability: LockCapability): boolean => {
    return this.#lacks[capability] === undefined;
  };

  readonly name = (label = 'n'): string => {
    return this.prefix + label;
  };

  /** So many clients, as different processes where the engine has more than one. */
  readonly clients = async (count: number, ttl: Duration = this.#longMs): Promise<LockClient[]> => {
    const clients: LockClient[] = [];
    for (let i = 0; i < count; i++) {
      const [only] = clients;
      if (only !== undefined && !this.has('twoClients')) clients.push(only);
      else clients.push(await this.openClient(ttl));
    }
    return clients;
  };

  readonly openClient = async (ttl: Duration): Promise<LockClient> => {
    const owner = `client-${this.#clients.length}`;
    const client = await this.#target.open({ ttl, owner });
    this.#clients.push(client);
    return client;
  };

  /** The locks of two clients. */
  readonly two = async (ttl?: Duration): Promise<[AnyLocks, AnyLocks]> => {
    const [one, other] = await this.clients(2, ttl);
    return [one!.locks, other!.locks];
  };

  readonly one = async (ttl?: Duration): Promise<AnyLocks> => {
    return (await this.two(ttl))[0];
  };

  /** The elections of two clients. */
  readonly twoElections = async (ttl?: Duration): Promise<[Elections, Elections]> => {
    const [one, other] = await this.clients(2, ttl);
    return [electionsOf(one!), electionsOf(other!)];
  };

  /** As if the client's process was killed. */
  readonly abandon = async (client: LockClient): Promise<void> => {
    assert.ok(client.abandon, 'a case that abandons a client needs the capability "abandon"');
    this.#abandoned += 1;
    this.#clients.splice(this.#clients.indexOf(client), 1);
    await client.abandon();
  };

  /** Lets that much time pass before anything else can run. */
  readonly stall = (delayMs: number): void => {
    assert.ok(this.#target.stall, 'a case that stalls needs the capability "stall"');
    this.#target.stall(delayMs);
  };

  /** Takes leadership away in the engine. */
  readonly depose = async (name: string): Promise<void> => {
    assert.ok(this.#target.depose, 'a case that deposes needs the capability "depose"');
    await this.#target.depose(name);
  };

  /** Runs at the end of the case, however it ends, before the clients are closed. */
  readonly defer = (cleanup: () => unknown): void => {
    this.#cleanups.push(cleanup);
  };

  /** Asks for a lock and returns when that stands in the queue, behind those that asked before. */
  readonly queueUp = async (
    locks: AnyLocks,
    name: string,
    options?: AcquireOptions,
  ): Promise<{ readonly lock: Promise<Lock<Fencing>> }> => {
    const before = this.has('waiters') ? (await this.waiting(name)).length : 0;
    const lock = this.later(locks.acquire(name, options));
    if (!this.has('waiters')) await this.sleep(QUEUED_MS);
    else {
      const stands = async () => (await this.waiting(name)).length > before;
      await this.eventually(stands, 'holders() shows who waits');
    }
    return { lock };
  };

  /** Those that wait for a name. */
  readonly waiting = async (name: string): Promise<readonly LockHolder[]> => {
    const holders = await this.#clients[0]!.locks.holders(name);
    return holders.filter(({ waiting }) => waiting);
  };

  /** Checks that it rejects with `code`; the error. */
  readonly refuses = async (work: Promise<unknown>, code: ErrorCode): Promise<QuorateError> => {
    const error = await errorOf(work, code);
    assert.ok(isQuorateError(error), `a Quorate error of code ${code}, not ${String(error)}`);
    assert.equal(error.code, code, error.message);
    return error;
  };

  /** Checks that it is refused as an error of the caller, with nothing done. */
  readonly refusesArgument = async (what: string, ask: () => unknown): Promise<void> => {
    // A door that throws instead of rejecting would be another contract.
    const error = await errorOf(
      this.within(this.#started(what, ask), `${what} to be refused`),
      `ERR_INVALID_ARGUMENT for ${what}`,
    );
    assert.ok(isQuorateError(error), `${what}: ERR_INVALID_ARGUMENT, not ${String(error)}`);
    assert.equal(error.code, 'ERR_INVALID_ARGUMENT', `${what}: ${error.message}`);
    assert.equal(error.outcome, 'not-applied', what);
  };

  /** Checks that it rejects with exactly `reason`, at once. */
  readonly rejectsWith = async (work: Promise<unknown>, reason: unknown): Promise<void> => {
    const prompt = this.within(work, 'an aborted wait to end', this.promptMs);
    assert.equal(await errorOf(prompt, 'the reason of the signal'), reason);
  };

  /**
   * Checks that the lock is free, now, or as soon as those who gave up their waits have left the queue: one of them may be
   * handed the lock at that moment, and gives it back.
   */
  readonly isFree = async (locks: AnyLocks, name: string): Promise<void> => {
    const nobodyWaits = async () => !(await locks.holders(name)).some(({ waiting }) => waiting);
    await this.eventually(nobodyWaits, `nobody waits for '${name}'`, this.promptMs);
    let lock: Lock | undefined;
    const isTaken = async () => {
      lock = await this.promptly(locks.tryAcquire(name), 'an answer of tryAcquire');
      return lock !== undefined;
    };
    // Sooner than what was not released would run out.
    await this.eventually(isTaken, `'${name}' is free`, Math.min(this.promptMs, this.ttlMs / 2));
    await lock?.release();
  };

  /** Checks that the lock is not free. */
  readonly isBusy = async (locks: AnyLocks, name: string): Promise<void> => {
    const lock = await this.promptly(locks.tryAcquire(name), 'an answer of tryAcquire');
    assert.equal(lock, undefined, `'${name}' should be busy`);
  };

  /** Waits for what is said to happen at once. */
  readonly promptly = <T>(work: Promise<T>, what: string): Promise<T> => {
    return this.within(work, what, this.promptMs);
  };

  /** Notes what is in the engine; the returned function checks that it is so again, soon. */
  readonly leavesNothing = async (): Promise<() => Promise<void>> => {
    const before = await this.#leftovers();
    return async () => {
      let now: readonly string[] = [];
      const same = async () => (now = await this.#leftovers()).join('\n') === before.join('\n');
      try {
        await this.eventually(same, 'the engine is as before', this.promptMs);
      } catch {
        assert.deepEqual(now, before, 'something was left behind in the engine');
      }
    };
  };

  /** Closes all clients, and checks that nothing stays in the engine. */
  async end(): Promise<void> {
    await this.#closeAll();
    const ms = this.#abandoned > 0 ? this.freedMs + this.promptMs : this.promptMs;
    let left: readonly string[] = [];
    const isEmpty = async () => (left = await this.#leftovers()).length === 0;
    try {
      await this.eventually(isEmpty, 'nothing is left behind', ms);
    } catch {
      assert.deepEqual(left, [], 'something was left behind in the engine after close');
    }
  }

  /** After a failure: closes what can be closed, and hides no error behind another. */
  async giveUp(): Promise<void> {
    await this.#closeAll().catch(() => undefined);
  }

  get #longMs(): number {
    return Math.max(LONG_TTL_MS, this.ttlMs);
  }

  async #closeAll(): Promise<void> {
    for (const cleanup of this.#cleanups.splice(0).reverse()) await cleanup();
    const closing = this.#clients.splice(0).map(async (client) => {
      await Promise.all([client.locks.close(), client.elections?.close()]);
      await client.close?.();
    });
    const ends = await this.within(Promise.allSettled(closing), 'the clients to close');
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  async #leftovers(): Promise<readonly string[]> {
    return [...(await this.#target.leftovers(this.prefix))].sort();
  }

  async #started(what: string, ask: () => unknown): Promise<unknown> {
    let asked: unknown;
    try {
      asked = ask();
    } catch (error) {
      assert.fail(`${what}: threw ${String(error)} instead of rejecting`);
    }
    return asked;
  }
}

function electionsOf(client: LockClient): Elections {
  assert.ok(client.elections, 'a case of elections needs the capability "elections"');
  return client.elections;
}
