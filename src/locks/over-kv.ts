/**
 * Locks and elections over any `Kv`: the embedded quorum, the in-memory store, etcd. Fair (first
 * come, first served), with fencing tokens, on the keys that etcd's own recipes use, so `etcdctl
 * lock` and `elect` take part in the same queues.
 */
import type { WaitOptions } from '../core/abort.ts';
import { type BytesLike, toBytes } from '../core/bytes.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { isQuorateError, QuorateError } from '../core/errors.ts';
import type { Kv } from '../kv/kv.ts';
import { type Claim, type ClaimRequest, claim, tryClaim } from './claim.ts';
import type { Elections, Leader, Leadership } from './elections.ts';
import type { AcquireOptions, Lock, Locks } from './locks.ts';
import { Sessions } from './session.ts';

/** How locks and elections over a store behave. */
export interface OverKvOptions {
  /**
   * How long what is held outlives its holder: the life of the lease that all locks of one `Locks`
   * share. It is renewed every third of it. @defaultValue `'10s'`
   */
  readonly ttl?: Duration;
  /** @defaultValue the system's */
  readonly clock?: Clock;
}

/** Well below what stores take as a key. */
const MAX_NAME_BYTES = 1024;

/**
 * Locks over a store. `close` gives back what is held and leaves `kv` open.
 *
 * Claims of one `Locks` exclude each other like those of different processes.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a `ttl` below one second.
 */
export function kvLocks(kv: Kv, options: OverKvOptions = {}): Locks {
  return new KvLocks(openSessions(kv, options));
}

/** Elections over a store. `close` resigns what is held and leaves `kv` open. */
export function kvElections(kv: Kv, options: OverKvOptions = {}): Elections {
  return new KvElections(openSessions(kv, options));
}

function openSessions(kv: Kv, options: OverKvOptions): Sessions {
  if (typeof (kv as Partial<Kv> | undefined)?.grantLease !== 'function') {
    throw new QuorateError('ERR_INVALID_ARGUMENT', 'kv: a store is needed, such as node.kv');
  }
  const ttlMs = durationMs(options.ttl ?? '10s', 'ttl');
  if (ttlMs >= 1000) return new Sessions(kv, options.clock ?? systemClock, ttlMs);
  throw new QuorateError('ERR_INVALID_ARGUMENT', `ttl: ${ttlMs} ms; at least one second is needed`);
}

function requireName(name: string): void {
  const bytes = typeof name === 'string' ? Buffer.byteLength(name) : 0;
  if (bytes > 0 && bytes <= MAX_NAME_BYTES) return;
  const given = typeof name === 'string' ? `${bytes} bytes` : `not text but ${typeof name}`;
  throw new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `name: ${given}; text of 1 to ${MAX_NAME_BYTES} bytes is needed`,
  );
}

class KvLocks implements Locks {
  readonly #sessions: Sessions;

  constructor(sessions: Sessions) {
    this.#sessions = sessions;
  }

  async acquire(name: string, options: AcquireOptions = {}): Promise<Lock> {
    return new KvLock(await claim(this.#sessions, lockRequest(name, options)));
  }

  async tryAcquire(name: string, options: WaitOptions = {}): Promise<Lock | undefined> {
    const claimed = await tryClaim(this.#sessions, lockRequest(name, options));
    return claimed === undefined ? undefined : new KvLock(claimed);
  }

  async run<T>(
    name: string,
    work: (lock: Lock) => Promise<T> | T,
    options: AcquireOptions = {},
  ): Promise<T> {
    if (typeof work !== 'function') {
      throw new QuorateError('ERR_INVALID_ARGUMENT', 'run: a function is needed after the name');
    }
    const claimed = await claim(this.#sessions, lockRequest(name, options));
    try {
      const result = await work(new KvLock(claimed));
      if (claimed.remainingMs() > 0 || !claimed.lost.aborted) return result;
      throw new QuorateError(
        'ERR_LOCK_LOST',
        `the work under lock '${name}' has ended, but the lock was lost before: others may have worked at the same time`,
        { outcome: 'unknown', cause: claimed.lost.reason },
      );
    } finally {
      await claimed.dispose();
    }
  }

  close(): Promise<void> {
    return this.#sessions.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function lockRequest(name: string, options: AcquireOptions): ClaimRequest {
  requireName(name);
  const { signal, wait } = options;
  const waitMs = wait === undefined ? undefined : durationMs(wait, 'wait');
  return { name, value: '', what: 'lock', lostCode: 'ERR_LOCK_LOST', signal, waitMs };
}

class KvLock implements Lock {
  readonly name: string;
  readonly fencingToken: bigint;
  readonly holder: string;
  readonly #claim: Claim;

  constructor(claimed: Claim) {
    this.name = claimed.name;
    this.fencingToken = BigInt(claimed.revision);
    this.holder = claimed.key;
    this.#claim = claimed;
  }

  get lost(): AbortSignal {
    return this.#claim.lost;
  }
  assertHeld(): void {
    this.#claim.assertHeld();
  }
  remainingMs(): number {
    return this.#claim.remainingMs();
  }
  release(): Promise<void> {
    return this.#claim.release();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.#claim.dispose();
  }
}

class KvElections implements Elections {
  readonly #sessions: Sessions;

  constructor(sessions: Sessions) {
    this.#sessions = sessions;
  }

  async campaign(name: string, value: BytesLike, options: WaitOptions = {}): Promise<Leadership> {
    requireName(name);
    const claimed = await claim(this.#sessions, {
      name,
      // Taken as it is now: the caller may change its bytes while it waits.
      value: Buffer.from(toBytes(value), 'latin1'),
      what: 'leadership',
      lostCode: 'ERR_NOT_ELECTED',
      signal: options.signal,
      waitMs: undefined,
    });
    return new KvLeadership(claimed, this.#sessions.kv);
  }

  async leader(name: string, options: WaitOptions = {}): Promise<Leader | undefined> {
    requireName(name);
    return (await this.#read(name, options.signal)).leader;
  }

  async *observe(name: string, options: WaitOptions = {}): AsyncGenerator<Leader | undefined> {
    requireName(name);
    const { signal } = options;
    let seen: Leader | undefined | 'nothing' = 'nothing';
    while (true) {
      const { leader, asOf } = await this.#read(name, signal);
      if (seen === 'nothing' || !sameLeader(seen, leader)) yield leader;
      seen = leader;
      await this.#changed(name, leader, asOf + 1, signal);
    }
  }

  close(): Promise<void> {
    return this.#sessions.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #read(
    name: string,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly leader: Leader | undefined; readonly asOf: number }> {
    const { kvs, revision } = await this.#sessions.kv.range(
      { prefix: `${name}/` },
      { sortBy: 'create', order: 'ascend', limit: 1, signal },
    );
    const [first] = kvs;
    if (first === undefined) return { leader: undefined, asOf: revision };
    const leader: Leader = {
      value: first.value,
      fencingToken: BigInt(first.createRevision),
      revision: first.modRevision,
      holder: first.key.toString(),
    };
    return { leader, asOf: revision };
  }

  /** Resolves when another leader, or another value of this one, is possible. */
  async #changed(
    name: string,
    leader: Leader | undefined,
    fromRevision: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    // Who queues up behind a leader changes nothing.
    const range = leader === undefined ? { prefix: `${name}/` } : leader.holder;
    try {
      const watch = this.#sessions.kv.watch(range, { fromRevision, signal });
      for await (const batch of watch) if (batch.events.length > 0) return;
    } catch (error) {
      if (!isQuorateError(error, 'ERR_COMPACTED')) throw error;
    }
  }
}

function sameLeader(one: Leader | undefined, other: Leader | undefined): boolean {
  return one?.holder === other?.holder && one?.revision === other?.revision;
}

class KvLeadership implements Leadership {
  readonly name: string;
  readonly fencingToken: bigint;
  readonly holder: string;
  readonly #claim: Claim;
  readonly #kv: Kv;

  constructor(claimed: Claim, kv: Kv) {
    this.name = claimed.name;
    this.fencingToken = BigInt(claimed.revision);
    this.holder = claimed.key;
    this.#claim = claimed;
    this.#kv = kv;
  }

  get lost(): AbortSignal {
    return this.#claim.lost;
  }
  assertHeld(): void {
    this.#claim.assertHeld();
  }
  remainingMs(): number {
    return this.#claim.remainingMs();
  }

  async proclaim(value: BytesLike, options: WaitOptions = {}): Promise<void> {
    this.assertHeld();
    const { key, revision, lease } = this.#claim;
    const result = await this.#kv.txn(
      {
        if: [{ key, target: 'create', is: '=', to: revision }],
        then: [{ op: 'put', key, value, lease }],
      },
      options,
    );
    if (result.succeeded) return;
    throw new QuorateError('ERR_NOT_ELECTED', `'${this.name}' is led by another by now`);
  }

  resign(): Promise<void> {
    return this.#claim.release();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.#claim.dispose();
  }
}
