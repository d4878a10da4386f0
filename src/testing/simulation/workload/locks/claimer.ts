/** Clients of locks, read-write locks and semaphores, of queues and of the transaction lock; and their operator. */
import { isQuorateError } from '../../../../core/errors.ts';
import type { Txn } from '../../../../kv/kv.ts';
import { kvTxnLocks } from '../../../../locks/kv-txn.ts';
import type { AcquireOptions, Lock, LockSet, Locks } from '../../../../locks/locks.ts';
import { kvLocks } from '../../../../locks/over-kv.ts';
import { exponential, pick } from '../../draw.ts';
import { type Entry, LEADER, QUEUE, TXN } from './lock-book.ts';
import { LockClient, type Stay } from './lock-client.ts';

const MUTEXES = [`${QUEUE}m0`, `${QUEUE}m1`] as const;
const READ_WRITE = `${QUEUE}rw`;
const SEMAPHORE = `${QUEUE}sem`;
const MIXED = `${QUEUE}mix`;
const FINAL = `${QUEUE}final`;
const TXN_LOCKS = [`${TXN}0`, `${TXN}1`] as const;
const TXN_FINAL = `${TXN}final`;

/** Of a wait that was to end: beyond it something has forgotten it. */
const WAIT_SLACK_MS = 1000;
const WAIT_MEAN_MS = 700;
const EVICTION_MEAN_MS = 1500;
const THEFT_SEEN_MS = 5000;

/** What is asked for. */
interface Wish {
  readonly names: readonly string[];
  readonly options: AcquireOptions;
}

function permitsOf({ shared, permits }: AcquireOptions): number {
  return shared === true ? Number.POSITIVE_INFINITY : (permits ?? 1);
}

/** Takes locks, in every way there is. */
export class Claimer extends LockClient {
  protected locks: Locks | undefined;
  readonly #enough = new Error('the client has waited long enough');

  protected override open(stay: Stay): void {
    this.locks = this.connect(stay);
  }

  protected connect({ host, ttlMs }: Stay): Locks {
    const owner = `claimer ${this.number}`;
    return kvLocks(host.kv, { ttl: ttlMs, clock: host.clock, owner });
  }

  protected override async shut(): Promise<void> {
    await this.locks?.close();
  }

  protected override async round(stay: Stay): Promise<void> {
    const wish = this.wish();
    const got = await this.#take(stay, wish);
    if (got === undefined || stay.isOver) return;
    if ('locks' in got) await this.#holdAll(stay, wish, got);
    else await this.hold(stay, got.name, permitsOf(wish.options), got);
    if (stay.isOver || this.random.below(12) > 0) return;
    // Everything of it ends with it; the next one begins anew.
    const { locks } = this;
    this.locks = this.connect(stay);
    await locks!.close();
  }

  protected override async finalRound(stay: Stay): Promise<void> {
    const lock = await this.locks!.acquire(this.final);
    await this.hold(stay, this.final, 1, lock);
  }

  protected get final(): string {
    return FINAL;
  }

  protected wish(): Wish {
    switch (this.random.below(8)) {
      case 0:
      case 1:
        return { names: [pick(this.random, MUTEXES)], options: {} };
      case 2:
      case 3:
        return { names: [READ_WRITE], options: this.random.below(3) > 0 ? { shared: true } : {} };
      case 4:
      case 5:
        return { names: [SEMAPHORE], options: { permits: 2 + this.random.below(2) } };
      case 6:
        return {
          names: [MIXED],
          options: pick(this.random, [{}, { permits: 2 }, { shared: true }]),
        };
      default:
        return {
          names: pick(this.random, [MUTEXES, MUTEXES.toReversed(), [MUTEXES[1], READ_WRITE]]),
          options: {},
        };
    }
  }

  /** One of the ways to ask; `undefined` where it was not to be had. */
  async #take(stay: Stay, { names, options }: Wish): Promise<Lock | LockSet | undefined> {
    const [name] = names;
    const how = this.random.below(6);
    if (how === 0 && names.length === 1) return this.locks!.tryAcquire(name!, options);
    const waitMs = Math.ceil(exponential(this.random, WAIT_MEAN_MS)) + 1;
    const limit: AcquireOptions =
      how <= 2 ? { wait: waitMs } : how === 3 ? { signal: this.#signal(stay, waitMs) } : {};
    const askedAtMs = this.world.nowMs;
    try {
      if (names.length > 1) return await this.locks!.acquireAll(names, { ...options, ...limit });
      return await this.locks!.acquire(name!, { ...options, ...limit });
    } catch (error) {
      if (error !== this.#enough && !isQuorateError(error, 'ERR_LOCK_BUSY')) throw error;
      this.world.reach('locks-gave-up');
      return undefined;
    } finally {
      if (how <= 3 && names.length === 1) this.#requireInTime(stay, name!, askedAtMs, waitMs);
    }
  }

  #signal(stay: Stay, waitMs: number): AbortSignal {
    const controller = new AbortController();
    void this.sleep(stay, waitMs).then(() => controller.abort(this.#enough));
    return controller.signal;
  }

  #requireInTime({ host, isOver }: Stay, name: string, askedAtMs: number, waitMs: number): void {
    const tookMs = this.world.nowMs - askedAtMs;
    if (isOver || tookMs <= waitMs + WAIT_SLACK_MS || host.wasPausedSince(askedAtMs)) return;
    this.world.violate(
      'lock-wait',
      `${name}: a wait of at most ${waitMs} ms ended after ${Math.round(tookMs)} ms`,
    );
  }

  /** Several as one: lost with the first of them. */
  async #holdAll(stay: Stay, { options }: Wish, set: LockSet): Promise<void> {
    this.world.reach('locks-together');
    const permits = permitsOf(options);
    const [first, ...others] = set.locks;
    const grants = others.flatMap((lock) => this.granted(stay, lock.name, permits, lock) ?? []);
    const claim = {
      fencingToken: first!.fencingToken,
      holder: first!.holder,
      remainingMs: () => set.remainingMs(),
      lost: set.lost,
      assertHeld: () => set.assertHeld(),
      release: () => set.release(),
    };
    await this.hold(stay, first!.name, permits, claim, () => {
      for (const grant of grants) this.gaveUp(stay, grant);
      return set.release();
    });
  }
}

/** The same with the transaction lock: no queue, so no order, and nothing that is shared. */
export class TxnClaimer extends Claimer {
  protected override connect({ host, ttlMs }: Stay): Locks {
    const owner = `claimer ${this.number}`;
    const { random } = this;
    return kvTxnLocks(host.kv, { ttl: ttlMs, clock: host.clock, owner, random });
  }

  protected override get final(): string {
    return TXN_FINAL;
  }

  protected override wish(): Wish {
    const names = this.random.below(6) === 0 ? TXN_LOCKS : [pick(this.random, TXN_LOCKS)];
    return { names, options: {} };
  }
}

/** Elections stand in queues like those of locks. */
const ALL = [...MUTEXES, READ_WRITE, SEMAPHORE, MIXED, LEADER, ...TXN_LOCKS] as const;

/** Takes locks away from those who hold them. */
export class Operator extends LockClient {
  #locks: Locks | undefined;
  #txnLocks: Locks | undefined;

  protected override open({ host, ttlMs }: Stay): void {
    const options = { ttl: ttlMs, clock: host.clock, owner: `operator ${this.number}` };
    this.#locks = kvLocks(host.kv, options);
    this.#txnLocks = kvTxnLocks(host.kv, { ...options, random: this.random });
  }

  protected override async shut(): Promise<void> {
    await this.#locks?.close();
    await this.#txnLocks?.close();
  }

  protected override async round(stay: Stay): Promise<void> {
    await this.sleep(stay, exponential(this.random, EVICTION_MEAN_MS));
    if (stay.isOver) return;
    const { book } = this.scene;
    const how = this.random.below(4);
    const queues = how === 1 ? ALL.filter((name) => book.waiting(name).length > 0) : [];
    const name = pick(this.random, queues.length > 0 ? queues : ALL);
    const [waiting] = how === 1 ? book.waiting(name) : [];
    if (how === 0) await this.#compact(stay);
    else if (waiting !== undefined) await this.#displace(stay, name, waiting);
    else await this.#evict(stay, name);
  }

  /** Whoever is robbed hears of it soon. */
  protected override async finalRound(stay: Stay): Promise<void> {
    const isTxn = this.number % 2 === 1;
    const name = `${isTxn ? TXN : QUEUE}theft${this.number}`;
    const lock = await (isTxn ? this.#txnLocks! : this.#locks!).acquire(name);
    const grant = this.granted(stay, name, 1, lock);
    if (grant === undefined) return;
    try {
      // Long enough that it watches.
      await this.sleep(stay, 100);
      await this.#evict(stay, name);
      const untilMs = this.world.nowMs + THEFT_SEEN_MS;
      while (!lock.lost.aborted && !stay.isOver) {
        if (this.world.nowMs > untilMs) {
          this.world.violate(
            'lock-theft',
            `${name}: its holder was told nothing for ${THEFT_SEEN_MS} ms`,
          );
          return;
        }
        await this.sleep(stay, 50);
      }
    } finally {
      this.gaveUp(stay, grant);
      await lock.release().catch(() => undefined);
    }
  }

  /** Whoever watches from further back has to look anew. */
  async #compact({ host }: Stay): Promise<void> {
    const { revision } = await host.kv.range('nothing');
    await host.kv.compact(revision);
    this.world.reach('locks-history-compacted');
  }

  async #evict(stay: Stay, name: string): Promise<void> {
    const locks = name.startsWith(TXN) ? this.#txnLocks! : this.#locks!;
    const robbed = await this.#take(stay, name, () => locks.forceRelease(name));
    if (robbed.length > 0) this.world.reach('locks-evicted');
  }

  /** Somebody who waits loses its place: its turn never comes. */
  async #displace(stay: Stay, name: string, { key, token }: Entry): Promise<void> {
    const removal: Txn = {
      if: [{ key, target: 'create', is: '=', to: token }],
      then: [{ op: 'delete', key }],
    };
    await this.#take(stay, name, () => stay.host.kv.txn(removal));
    this.world.reach('locks-displaced');
  }

  /** As long as it goes on, whoever holds the name may be robbed. */
  async #take<T>({ host }: Stay, name: string, work: () => Promise<T>): Promise<T> {
    const end = this.scene.book.evicts(name);
    let isOver = false;
    const over = (): void => {
      if (isOver) return;
      isOver = true;
      end();
    };
    host.onEnd(over);
    try {
      return await work();
    } finally {
      over();
    }
  }
}
