/**
 * Locks and elections inside one process: among tasks that wait for each other, no process or machine else.
 * There is nothing that could fail: no time to live, no connection. A lock is held until it is given
 * back, taken by force, or its `Locks` are closed.
 */
import { orAborted, throwIfAborted } from '../core/abort.ts';
import { type BytesLike, toBytes } from '../core/bytes.ts';
import { type Cancel, type Clock, systemClock } from '../core/clock.ts';
import { invalid, QuorateError } from '../core/errors.ts';
import { wholeNumber } from '../core/numbers.ts';
import type { Elections, Leader } from './elections.ts';
import { electionsOver } from './elections-over.ts';
import type { Claim, ClaimRequest, ElectionEngine, LeaderView } from './engine.ts';
import { Hold } from './hold.ts';
import type { Life } from './life.ts';
import { type Place, Space } from './local-space.ts';
import type { LockGuarantees, LockHolder, Locks } from './locks.ts';
import { locksOver } from './locks-over.ts';
import { requireBytes } from './names.ts';
import { ownerName } from './owner.ts';
import { busy, closedError } from './signals.ts';

/** What several `localLocks` and `localElections` of one process may share: who holds what. */
export interface LocalSpace {
  /** Names that are held now. The others take no memory. */
  readonly size: number;
}

/** How locks and elections inside a process behave. */
export interface LocalOptions {
  /** Whose names these are: with the same space they exclude each other. @defaultValue one of its own */
  readonly space?: LocalSpace;
  /**
   * So many may wait for a name; one more is refused with `ERR_BUSY`. Who observes an election counts
   * apart, in the same number. @defaultValue `10_000`
   */
  readonly maxWaiting?: number;
  /** What others see of who holds, in `holders`. @defaultValue host name and process id */
  readonly owner?: string;
  /** For `wait`. @defaultValue the system's */
  readonly clock?: Clock;
}

/** A space that nothing is held in, for `LocalOptions`. */
export function localSpace(): LocalSpace {
  return new Space();
}

/**
 * Locks inside this process (and thread): first come, first served, shared ones and semaphores too.
 *
 * They are lost by `forceRelease` and `close` only; `remainingMs` is `Infinity` while one is held. Fencing tokens
 * grow as long as the space lives and begin at 1 with the next: they are for what lives no longer than it.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a `maxWaiting` that is no whole number, or a `space` of somebody else.
 */
export function localLocks(options: LocalOptions = {}): Locks<'monotonic'> {
  return locksOver(new LocalEngine(options), ownerName(options.owner));
}

/** Elections among the tasks of this process; as `localLocks`. */
export function localElections(options: LocalOptions = {}): Elections {
  return electionsOver(new LocalEngine(options));
}

class LocalEngine implements ElectionEngine {
  readonly guarantees: LockGuarantees<'monotonic'> = {
    fencing: 'monotonic',
    waiters: 'fifo',
    expiry: 'process',
    shared: true,
    permits: true,
  };
  readonly clock: Clock;
  readonly space: Space;
  readonly #maxWaiting: number;
  #watching: number;
  #isClosed: boolean;

  constructor({ space = new Space(), maxWaiting = 10_000, clock = systemClock }: LocalOptions) {
    if (!(space instanceof Space)) {
      throw invalid('space: one of localSpace() is needed');
    }
    this.clock = clock;
    this.space = space;
    this.#maxWaiting = wholeNumber('maxWaiting', maxWaiting, 0);
    this.#watching = 0;
    this.#isClosed = false;
  }

  requireName(name: string): void {
    requireBytes(name);
  }

  claim(request: ClaimRequest): Promise<LocalClaim> {
    const { name, signal } = request;
    if (this.#isClosed) return Promise.reject(closedError());
    if (signal?.aborted) return Promise.reject(signal.reason);
    const place = this.space.enter(request, this, this.#maxWaiting);
    if (place === undefined) return Promise.reject(full(name, this.#maxWaiting));
    if (place.holds) return Promise.resolve(new LocalClaim(this.space, place));
    return new Waiter(this, place).turn;
  }

  tryClaim(request: ClaimRequest): Promise<LocalClaim | undefined> {
    const { signal } = request;
    if (this.#isClosed) return Promise.reject(closedError());
    if (signal?.aborted) return Promise.reject(signal.reason);
    const place = this.space.enter(request, this, 0);
    return Promise.resolve(place && new LocalClaim(this.space, place));
  }

  async holders(name: string): Promise<readonly LockHolder[]> {
    return [...this.space.places(name)].map(holderOf);
  }

  async evict(name: string): Promise<readonly LockHolder[]> {
    const evicted: LockHolder[] = [];
    // All first: those who are served meanwhile keep what they get.
    for (const place of [...this.space.places(name)].filter(({ holds }) => holds)) {
      evicted.push(holderOf(place));
      place.claim!.lose('it was taken by force', 'stolen');
    }
    return evicted;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const places = this.space.of(this);
    // Those who wait first: none of them is to be served now.
    for (const { waiter } of places) waiter?.refuse(closedError());
    for (const { claim } of places) claim?.lose('these locks were closed', 'session');
  }

  async setValue({ place }: LocalClaim, value: BytesLike): Promise<boolean> {
    if (!place.holds) return false;
    // As it is now: the caller may change its bytes later.
    this.space.setValue(place, Buffer.from(toBytes(value), 'latin1'));
    return true;
  }

  async leader(name: string): Promise<LeaderView> {
    const leader = this.#leaderNow(name);
    return { leader, changed: (signal) => this.#changed(name, leader, signal) };
  }

  #leaderNow(name: string): Leader | undefined {
    const [first] = this.space.places(name);
    if (first === undefined) return undefined;
    return {
      value: Buffer.from(toBytes(first.value), 'latin1'),
      fencingToken: BigInt(first.token),
      revision: first.revision,
      holder: holderName(first),
    };
  }

  async #changed(
    name: string,
    seen: Leader | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    throwIfAborted(signal);
    if (this.#leaderNow(name)?.revision !== seen?.revision) return;
    if (this.#watching >= this.#maxWaiting) throw full(name, this.#maxWaiting);
    let unwatch!: () => void;
    const changed = new Promise<void>((resolve) => {
      unwatch = this.space.watch(name, resolve);
    });
    this.#watching += 1;
    try {
      await orAborted(changed, signal);
    } finally {
      unwatch();
      this.#watching -= 1;
    }
  }
}

/** Nothing ends it but force. */
const FOREVER: Life = {
  endReason: () => undefined,
  remainingMs: () => Number.POSITIVE_INFINITY,
  join: () => nothing,
};

const GIVEN_BACK = Promise.resolve();

function nothing(): void {
  // There is nothing to take back.
}

class LocalClaim extends Hold implements Claim<'monotonic'> {
  readonly place: Place;
  readonly #space: Space;

  constructor(space: Space, place: Place) {
    super(place.request, FOREVER, () => GIVEN_BACK);
    this.#space = space;
    this.place = place;
    place.claim = this;
  }

  get name(): string {
    return this.place.request.name;
  }

  get holder(): string {
    return holderName(this.place);
  }

  get fencingToken(): bigint {
    return BigInt(this.place.token);
  }

  protected override ended(): void {
    this.#space.leave(this.place);
  }
}

/** One who waits for his turn, until the time or the signal ends that. */
class Waiter {
  readonly turn: Promise<LocalClaim>;
  readonly #space: Space;
  readonly #place: Place;
  readonly #cancelWait: Cancel | undefined;
  readonly #onAbort: (() => void) | undefined;
  #resolve!: (claim: LocalClaim) => void;
  #reject!: (reason: unknown) => void;

  constructor({ space, clock }: LocalEngine, place: Place) {
    const { name, signal, waitMs } = place.request;
    this.turn = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#space = space;
    this.#place = place;
    this.#cancelWait =
      waitMs === undefined ? undefined : clock.after(waitMs, () => this.refuse(busy(name, waitMs)));
    this.#onAbort = signal && (() => this.refuse(signal.reason));
    if (this.#onAbort !== undefined) signal?.addEventListener('abort', this.#onAbort);
    place.waiter = this;
  }

  granted(): void {
    this.#end();
    this.#resolve(new LocalClaim(this.#space, this.#place));
  }

  /** Leaves the queue without having had its turn. */
  refuse(reason: unknown): void {
    this.#end();
    this.#space.leave(this.#place);
    this.#reject(reason);
  }

  #end(): void {
    this.#place.waiter = undefined;
    this.#cancelWait?.();
    if (this.#onAbort === undefined) return;
    this.#place.request.signal?.removeEventListener('abort', this.#onAbort);
  }
}

function holderName({ request, token }: Place): string {
  return `${request.name}/${token}`;
}

function holderOf(place: Place): LockHolder {
  const { value, token, holds } = place;
  return {
    holder: holderName(place),
    fencingToken: BigInt(token),
    owner: typeof value === 'string' ? value : Buffer.from(value).toString(),
    waiting: !holds,
  };
}

function full(name: string, most: number): QuorateError {
  return new QuorateError(
    'ERR_BUSY',
    `${most} wait for '${name}' already, as many as may; try again later, or raise maxWaiting`,
    { retryable: true },
  );
}
