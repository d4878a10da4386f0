/**
 * Leases (etcd api: Lease). Which leases exist, their granted life and their keys is replicated
 * state. When one runs out is not: only the leader's clock counts, and it lets a lease go by
 * proposing its revocation. A new leader gives every lease its full life again, or what the last
 * checkpoint said is left, plus one election timeout.
 */
import { assert } from '../core/assert.ts';
import type { Bytes } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import { QuorateError } from '../core/errors.ts';
import type { LeaseTimeToLiveResponse } from '../proto/messages.ts';
import { Attempt } from './attempt.ts';
import { type Timed, TimeHeap } from './lease-heap.ts';
import { NO_LEASE } from './record.ts';
import { MAX_LEASE_TTL_SECONDS } from './validate.ts';

/** Leases that one scan lets go at most, so that a flood of expiries does not stop all else. */
const MAX_EXPIRED_PER_SCAN = 500;
/** A lease with more life left than this has it noted in the log this often. */
const CHECKPOINT_INTERVAL_MS = 5 * 60_000;
const MAX_CHECKPOINTS = 1000;
/** A revocation or checkpoints that the log did not take, or without effect, are proposed again after this. */
const RETRY_MS = 3000;

/** A lease as snapshots carry it. */
export interface LeaseRecord {
  readonly id: bigint;
  readonly ttlSeconds: number;
  /** What the last checkpoint said is left; 0 where there was none since the last renewal. */
  readonly remainingSeconds: number;
}

export interface LeaseCheckpoint {
  id: bigint;
  remainingTtl: number;
}

interface Lease {
  readonly id: bigint;
  readonly ttlSeconds: number;
  remainingSeconds: number;
  keys: Set<Bytes> | undefined;
  readonly expiry: Timed<Lease>;
  readonly checkpoint: Timed<Lease>;
  /** Made when the lease first runs out here. */
  revocation: Attempt | undefined;
}

export class Lessor {
  readonly #clock: Clock;
  readonly #leases = new Map<bigint, Lease>();
  /** Filled on the leader only. */
  readonly #expiries = new TimeHeap<Lease>();
  readonly #checkpoints = new TimeHeap<Lease>();
  readonly #noting = new Attempt();
  #leading = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  // ---- replicated state: changed by applied entries only -------------------------------------

  get count(): number {
    return this.#leases.size;
  }

  has(id: bigint): boolean {
    return this.#leases.has(id);
  }

  /** @throws QuorateError `ERR_LEASE_NOT_FOUND`, `ERR_LEASE_TTL_TOO_LARGE`, `ERR_LEASE_EXISTS` */
  checkGrant(id: bigint, ttlSeconds: number): void {
    if (id === NO_LEASE) {
      throw new QuorateError('ERR_LEASE_NOT_FOUND', 'a lease with id 0 cannot be granted');
    }
    if (ttlSeconds > MAX_LEASE_TTL_SECONDS) {
      throw new QuorateError(
        'ERR_LEASE_TTL_TOO_LARGE',
        `a lease of ${ttlSeconds} s is too long; at most ${MAX_LEASE_TTL_SECONDS} s are granted`,
      );
    }
    if (this.#leases.has(id)) {
      throw new QuorateError(
        'ERR_LEASE_EXISTS',
        `lease ${id.toString(16)} exists already; take another id, or 0 for any`,
      );
    }
  }

  grant(id: bigint, ttlSeconds: number, remainingSeconds = 0): void {
    const lease = newLease(id, ttlSeconds, remainingSeconds);
    this.#leases.set(id, lease);
    if (this.#leading) this.#start(lease, 0);
  }

  /** The lease's keys in order. */
  keysOf(id: bigint): Bytes[] {
    const keys = this.#leases.get(id)?.keys;
    return keys === undefined ? [] : [...keys].sort();
  }

  /** A revocation of the lease is applied, whatever comes of it: that one is no longer in the way of another. */
  revocationApplied(id: bigint): void {
    this.#leases.get(id)?.revocation?.applied(this.#clock.now() + RETRY_MS);
  }

  /** Forgets the lease; its keys are deleted by the caller, in the same applied entry. */
  revoke(id: bigint): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    this.#leases.delete(id);
    this.#expiries.remove(lease.expiry);
    this.#checkpoints.remove(lease.checkpoint);
  }

  attach(id: bigint, key: Bytes): void {
    const lease = this.#leases.get(id);
    assert(lease !== undefined, 'keys are attached to leases that exist');
    lease.keys ??= new Set();
    lease.keys.add(key);
  }

  detach(id: bigint, key: Bytes): void {
    this.#leases.get(id)?.keys?.delete(key);
  }

  /** Takes over what the leader found to be left; unknown leases are passed over. */
  applyCheckpoints(checkpoints: readonly LeaseCheckpoint[]): void {
    this.#noting.applied(0);
    for (const { id, remainingTtl } of checkpoints) {
      const lease = this.#leases.get(id);
      if (lease === undefined) continue;
      lease.remainingSeconds = remainingTtl;
      if (this.#leading) this.#planCheckpoint(lease);
    }
  }

  records(): LeaseRecord[] {
    return [...this.#leases.values()].map(({ id, ttlSeconds, remainingSeconds }) => {
      return { id, ttlSeconds, remainingSeconds };
    });
  }

  /** Takes over all leases of `other`, for the installation of a snapshot. */
  replaceBy(other: Lessor): void {
    this.#expiries.clear();
    this.#checkpoints.clear();
    this.#leases.clear();
    for (const [id, lease] of other.#leases) {
      this.#leases.set(id, lease);
      if (this.#leading) this.#start(lease, 0);
    }
  }

  // ---- the leader's clock ----------------------------------------------------------------------

  /** This node leads from now on: every lease lives anew, and `extendMs` longer. */
  promote(extendMs: number): void {
    this.#leading = true;
    for (const lease of this.#leases.values()) this.#start(lease, extendMs);
  }

  /** This node leads no more: no lease runs out here. */
  demote(): void {
    this.#leading = false;
    this.#expiries.clear();
    this.#checkpoints.clear();
  }

  /** At most 500 leases that ran out. They are told again until they are revoked. */
  expired(): bigint[] {
    const due = this.#expiries.due(this.#clock.now(), MAX_EXPIRED_PER_SCAN);
    return due.map((lease) => lease.id);
  }

  /** As `expired`, but only those whose revocation the leader of `term` is to propose now: each is told once. */
  takeExpired(term: number): bigint[] {
    const now = this.#clock.now();
    const taken: bigint[] = [];
    for (const lease of this.#expiries.due(now, MAX_EXPIRED_PER_SCAN)) {
      lease.revocation ??= new Attempt();
      if (!lease.revocation.isDue(term, now)) continue;
      lease.revocation.begin(term);
      taken.push(lease.id);
    }
    return taken;
  }

  /** The revocation did not get into the log of `term`: the lease is told again in 3 s. */
  revocationRefused(id: bigint, term: number): void {
    this.#leases.get(id)?.revocation?.refused(term, this.#clock.now() + RETRY_MS);
  }

  /** Starts the lease's life anew; returns it in seconds, 0 where the lease is gone or ran out. */
  keepAlive(id: bigint): number {
    this.#requireLeading();
    const lease = this.#leases.get(id);
    const now = this.#clock.now();
    if (lease === undefined || lease.expiry.atMs <= now) return 0;
    this.#expiries.schedule(lease.expiry, now + lease.ttlSeconds * 1000);
    // What was noted is void: note at once that the whole life is left.
    if (lease.remainingSeconds > 0) this.#checkpoints.schedule(lease.checkpoint, now);
    else this.#planCheckpoint(lease);
    return lease.ttlSeconds;
  }

  /** Remaining life; `ttl` is -1 where there is no such lease. */
  timeToLive(id: bigint, withKeys: boolean): LeaseTimeToLiveResponse {
    this.#requireLeading();
    const lease = this.#leases.get(id);
    if (lease === undefined) return { header: undefined, id, ttl: -1, grantedTtl: 0, keys: [] };
    const remainingMs = lease.expiry.atMs - this.#clock.now();
    return {
      header: undefined,
      id,
      ttl: Math.trunc(remainingMs / 1000) + 0,
      grantedTtl: lease.ttlSeconds,
      keys: withKeys ? this.keysOf(id) : [],
    };
  }

  /** All lease ids, the first to run out first; by id on a follower, which cannot know. */
  ids(): bigint[] {
    const leases = [...this.#leases.values()];
    leases.sort((a, b) => a.expiry.atMs - b.expiry.atMs || (a.id < b.id ? -1 : 1));
    return leases.map((lease) => lease.id);
  }

  /** At most 1000 leases whose remaining life should be noted in the log now. */
  dueCheckpoints(): LeaseCheckpoint[] {
    const now = this.#clock.now();
    return this.#checkpoints.due(now, MAX_CHECKPOINTS).map((lease) => {
      const leftMs = lease.expiry.atMs - now;
      // A life begun anew is noted as 0: none is noted.
      const renewed = leftMs >= lease.ttlSeconds * 1000 - CHECKPOINT_INTERVAL_MS / 2;
      this.#planCheckpoint(lease);
      return { id: lease.id, remainingTtl: renewed ? 0 : Math.ceil(leftMs / 1000) };
    });
  }

  /** As `dueCheckpoints`, but none while some that the leader of `term` took are not decided. */
  takeCheckpoints(term: number): LeaseCheckpoint[] {
    if (!this.#noting.isDue(term, this.#clock.now())) return [];
    const due = this.dueCheckpoints();
    if (due.length > 0) this.#noting.begin(term);
    return due;
  }

  /** The checkpoints did not get into the log of `term`. */
  checkpointsRefused(term: number): void {
    this.#noting.refused(term, this.#clock.now() + RETRY_MS);
  }

  #start(lease: Lease, extendMs: number): void {
    const seconds = lease.remainingSeconds > 0 ? lease.remainingSeconds : lease.ttlSeconds;
    this.#expiries.schedule(lease.expiry, this.#clock.now() + extendMs + seconds * 1000);
    this.#planCheckpoint(lease);
  }

  #planCheckpoint(lease: Lease): void {
    const now = this.#clock.now();
    if (lease.expiry.atMs - now > CHECKPOINT_INTERVAL_MS) {
      this.#checkpoints.schedule(lease.checkpoint, now + CHECKPOINT_INTERVAL_MS);
    } else {
      this.#checkpoints.remove(lease.checkpoint);
    }
  }

  #requireLeading(): void {
    if (this.#leading) return;
    throw new QuorateError('ERR_NOT_LEADER', 'only the leader knows how long a lease lives', {
      retryable: true,
    });
  }
}

function newLease(id: bigint, ttlSeconds: number, remainingSeconds: number): Lease {
  const expiry = { subject: undefined as unknown as Lease, atMs: 0, position: -1 };
  const checkpoint = { subject: undefined as unknown as Lease, atMs: 0, position: -1 };
  const lease: Lease = {
    id,
    ttlSeconds,
    remainingSeconds,
    keys: undefined,
    expiry,
    checkpoint,
    revocation: undefined,
  };
  expiry.subject = lease;
  checkpoint.subject = lease;
  return lease;
}
