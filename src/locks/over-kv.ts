/**
 * Locks and elections over any `Kv`: the embedded quorum, the in-memory store, etcd. Fair (first
 * come, first served), with fencing tokens, on the keys that etcd's own recipes use, so `etcdctl
 * lock` and `elect` take part in the same queues.
 */
import type { WaitOptions } from '../core/abort.ts';
import type { BytesLike } from '../core/bytes.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid } from '../core/errors.ts';
import type { KeyValue, Kv } from '../kv/kv.ts';
import { claim, holdsBehind, permitsOf, tryClaim } from './claim.ts';
import type { Elections, Leader } from './elections.ts';
import { electionsOver } from './elections-over.ts';
import type { ClaimRequest, ElectionEngine, LeaderView } from './engine.ts';
import type { KvClaim } from './kv-claim.ts';
import type { LockGuarantees, LockHolder, Locks } from './locks.ts';
import { locksOver } from './locks-over.ts';
import { requireEncodable } from './names.ts';
import { ownerName } from './owner.ts';
import { Sessions } from './session.ts';
import { isChange, watchUntil } from './watch-until.ts';

/** How locks and elections over a store behave. */
export interface OverKvOptions {
  /**
   * How long what is held outlives its holder: the life of the lease that all locks of one `Locks`
   * share. It is renewed every third of it. @defaultValue `'10s'`
   */
  readonly ttl?: Duration;
  /** What others see of who holds, in `holders`. @defaultValue host name and process id */
  readonly owner?: string;
  /** @defaultValue the system's */
  readonly clock?: Clock;
}

/**
 * Locks over a store. `close` gives back what is held and leaves `kv` open.
 *
 * Claims of one `Locks` exclude each other like those of different processes.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a `ttl` below one second.
 */
export function kvLocks(kv: Kv, options: OverKvOptions = {}): Locks<'monotonic'> {
  return locksOver(new KvEngine(openSessions(kv, options)), ownerName(options.owner));
}

/** Elections over a store. `close` resigns what is held and leaves `kv` open. */
export function kvElections(kv: Kv, options: OverKvOptions = {}): Elections {
  return electionsOver(new KvEngine(openSessions(kv, options)));
}

/** The sessions of what was asked for. @throws ERR_INVALID_ARGUMENT */
export function openSessions(kv: Kv, options: OverKvOptions): Sessions {
  return new Sessions(kv, options.clock ?? systemClock, ttlOf(kv, options));
}

/** The time to live that was asked for, of something over this store. @throws ERR_INVALID_ARGUMENT */
export function ttlOf(kv: Kv, { ttl = '10s' }: OverKvOptions): number {
  if (typeof (kv as Partial<Kv> | undefined)?.grantLease !== 'function') {
    throw invalid('kv: a store is needed, such as node.kv');
  }
  const ttlMs = durationMs(ttl, 'ttl');
  if (ttlMs >= 1000) return ttlMs;
  throw invalid(`ttl: ${ttlMs} ms; at least one second is needed`);
}

class KvEngine implements ElectionEngine {
  readonly guarantees: LockGuarantees<'monotonic'> = {
    fencing: 'monotonic',
    waiters: 'fifo',
    expiry: 'engine-clock',
    shared: true,
    permits: true,
  };
  readonly clock: Clock;
  readonly #sessions: Sessions;
  readonly #kv: Kv;

  constructor(sessions: Sessions) {
    this.#sessions = sessions;
    this.#kv = sessions.kv;
    this.clock = sessions.clock;
  }

  requireName(name: string): void {
    requireEncodable(name);
  }

  claim(request: ClaimRequest): Promise<KvClaim> {
    return claim(this.#sessions, request);
  }

  tryClaim(request: ClaimRequest): Promise<KvClaim | undefined> {
    return tryClaim(this.#sessions, request);
  }

  async holders(name: string, options: WaitOptions): Promise<readonly LockHolder[]> {
    const queue = await this.#queue(name, options);
    return queue.map(({ kv, holds }) => holderOf(kv, !holds));
  }

  async evict(name: string, options: WaitOptions): Promise<readonly LockHolder[]> {
    const evicted: LockHolder[] = [];
    for (const { kv, holds } of await this.#queue(name, options)) {
      if (!holds) continue;
      const key = kv.key.toString();
      const gone = await this.#kv.txn(
        {
          if: [{ key, target: 'create', is: '=', to: kv.createRevision }],
          then: [{ op: 'delete', key }],
        },
        options,
      );
      if (gone.succeeded) evicted.push(holderOf(kv, false));
    }
    return evicted;
  }

  close(): Promise<void> {
    return this.#sessions.close();
  }

  async setValue(claim: KvClaim, value: BytesLike, options: WaitOptions): Promise<boolean> {
    const { holder: key, revision, lease } = claim;
    const result = await this.#kv.txn(
      {
        if: [{ key, target: 'create', is: '=', to: revision }],
        then: [{ op: 'put', key, value, lease }],
      },
      options,
    );
    return result.succeeded;
  }

  async leader(name: string, options: WaitOptions): Promise<LeaderView> {
    const { kvs, revision } = await this.#kv.range(
      { prefix: `${name}/` },
      { sortBy: 'create', order: 'ascend', limit: 1, ...options },
    );
    const [first] = kvs;
    const leader = first && leaderOf(first);
    const fromRevision = revision + 1;
    // Who queues up behind a leader changes nothing.
    const range = leader === undefined ? { prefix: `${name}/` } : leader.holder;
    return {
      leader,
      changed: (signal) => watchUntil(this.#kv, range, { fromRevision, signal }, isChange),
    };
  }

  /** All claims, in order, with whether they hold. */
  async #queue(
    name: string,
    options: WaitOptions,
  ): Promise<readonly { readonly kv: KeyValue; readonly holds: boolean }[]> {
    const order = { sortBy: 'create', order: 'ascend' } as const;
    const { kvs } = await this.#kv.range({ prefix: `${name}/` }, { ...order, ...options });
    const before: string[] = [];
    return kvs.map((kv) => {
      const key = kv.key.toString();
      const holds = holdsBehind(before, permitsOf(key));
      before.push(key);
      return { kv, holds };
    });
  }
}

function holderOf(kv: KeyValue, waiting: boolean): LockHolder {
  return {
    holder: kv.key.toString(),
    fencingToken: BigInt(kv.createRevision),
    owner: kv.value.toString(),
    waiting,
  };
}

function leaderOf(kv: KeyValue): Leader {
  return {
    value: kv.value,
    fencingToken: BigInt(kv.createRevision),
    revision: kv.modRevision,
    holder: kv.key.toString(),
  };
}
