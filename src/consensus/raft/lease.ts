/**
 * Reads without a round of messages: the log is the lease, after Davis, Demirbas and Deng, "LeaseGuard:
 * Raft Leases Done Right" (2025). No clocks are synchronised: each node uses its own monotonic clock,
 * and all that is assumed is that clocks run at the same rate, give or take `maxClockDrift`.
 *
 * - *The lease.* A leader that appended an entry of its own term at time t, and has seen it committed,
 *   may answer reads by itself until t + D. Time is read at the very moment of the answer: a process
 *   that was stopped in between finds the lease expired.
 * - *The guard.* A new leader commits nothing of its term before D' has passed since it got the newest
 *   entry of older terms. Whatever entry an older leader's lease rests on is committed, so it is in the
 *   new leader's log (leader completeness), where it came later than it was appended. With clocks
 *   between 1 - r and 1 + r of the true rate, D' = D (1 + r) / (1 - r) on the new leader's clock is no
 *   shorter than D on the old leader's: that lease is over before anything new is committed.
 * - *Restart.* Of what a node finds in its log it cannot know when it came: it counts from the start.
 * - *Hand-over.* The old leader gives up all leases on entries up to the end of its log, for good, and says so
 *   with the request to campaign. If the new leader's log ends there, it need not wait: leases of still older
 *   leaders were over before the old one committed, and of those between the two it would have an entry.
 *
 * All members must use the same D and r: see `openReplica`, which refuses peers with others.
 */
import { invalid } from '../../core/errors.ts';

/** What makes lease reads possible. The same on every node of a cluster, but for the functions. */
export interface LeaseOptions {
  /** This node's monotonic clock, in milliseconds; it is read at the moment of each decision. */
  readonly now: () => number;
  /** How long a lease lasts from the moment at which its entry was appended, by the leader's clock. */
  readonly durationMs: number;
  /** How far the rate of any clock may be off, as a fraction: 0.05 is five seconds in a hundred. */
  readonly maxClockDrift: number;
  /** Whether the log has room for an entry without data that renews the lease. @defaultValue always */
  readonly mayRenew?: () => boolean;
}

/** How long a new leader waits for leases of `durationMs`, by its own clock. */
export function guardMs(durationMs: number, maxClockDrift: number): number {
  return (durationMs * (1 + maxClockDrift)) / (1 - maxClockDrift);
}

/** @throws QuorateError `ERR_INVALID_ARGUMENT` naming the option, its value and what is allowed */
function validateLease(options: LeaseOptions): void {
  const { durationMs, maxClockDrift } = options;
  if (!(durationMs > 0 && durationMs < Infinity)) {
    throw invalid(`the lease's duration must be a time above 0, but is ${durationMs} ms`);
  }
  if (!(maxClockDrift >= 0 && maxClockDrift < 1)) {
    throw invalid(`maxClockDrift must be a fraction from 0 to below 1, but is ${maxClockDrift}`);
  }
}

/** One node's side of all leases. Without options it holds none, and waits for none. */
export class Lease {
  readonly #options: LeaseOptions | undefined;
  readonly #guardMs: number;
  /** When the newest entry of another leader came, at the latest. */
  #receivedAt: number;
  /** The leader of that term gave up its leases on entries up to that index. */
  #waivedTerm: number;
  #waivedIndex: number;

  // As leader

  /** Until then nothing of this term is committed. */
  #guardedUntil: number;
  /** An entry appended and not yet committed, 0 for none, and the time before it was. */
  #pendingIndex: number;
  #pendingAt: number;
  /** The time before the newest entry was appended that is known to be committed. */
  #startedAt: number;
  /** Entries up to here carry no lease. */
  #relinquishedIndex: number;

  constructor(options: LeaseOptions | undefined) {
    if (options !== undefined) validateLease(options);
    this.#options = options;
    this.#guardMs = options === undefined ? 0 : guardMs(options.durationMs, options.maxClockDrift);
    this.#receivedAt = options === undefined ? 0 : options.now();
    this.#waivedTerm = 0;
    this.#waivedIndex = 0;
    this.#guardedUntil = -Infinity;
    this.#pendingIndex = 0;
    this.#pendingAt = 0;
    this.#startedAt = -Infinity;
    this.#relinquishedIndex = 0;
  }

  // As follower

  /** Entries or a snapshot came from a leader. */
  received(): void {
    if (this.#options !== undefined) this.#receivedAt = this.#options.now();
  }

  /** The leader of `term` holds no lease any more on entries up to `index`, and never will. */
  waived(term: number, index: number): void {
    this.#waivedTerm = term;
    this.#waivedIndex = index;
  }

  // As leader

  /** Leadership begins; the newest entry of older terms is at `index` and of `term`, 0 for none. */
  begin(index: number, term: number): void {
    const isWaived = term === this.#waivedTerm && index <= this.#waivedIndex;
    this.#guardedUntil = isWaived || index === 0 ? -Infinity : this.#receivedAt + this.#guardMs;
    this.#pendingIndex = 0;
    this.#startedAt = -Infinity;
    this.#relinquishedIndex = 0;
  }

  /** An older leader may still answer reads: nothing of this term may be committed. */
  get isGuarding(): boolean {
    if (this.#options === undefined || this.#guardedUntil === -Infinity) return false;
    if (this.#options.now() < this.#guardedUntil) return true;
    this.#guardedUntil = -Infinity;
    return false;
  }

  /** To be called before the entry at `index` is appended. */
  appending(index: number): void {
    if (this.#options === undefined || this.#pendingIndex > 0) return;
    this.#pendingIndex = index;
    this.#pendingAt = this.#options.now();
  }

  /** All up to `index`, an entry of this term, is committed. */
  committed(index: number): void {
    if (this.#pendingIndex === 0 || index < this.#pendingIndex) return;
    if (this.#pendingIndex > this.#relinquishedIndex) this.#startedAt = this.#pendingAt;
    this.#pendingIndex = 0;
  }

  /** Whether reads may be answered, at this moment and without another. */
  get isHeld(): boolean {
    if (this.#options === undefined) return false;
    return this.#options.now() < this.#startedAt + this.#options.durationMs;
  }

  /** Half of it is over and no entry is on its way that would renew it. */
  get isRenewalDue(): boolean {
    if (this.#options === undefined || this.#pendingIndex > 0) return false;
    const { now, durationMs, mayRenew } = this.#options;
    return now() >= this.#startedAt + durationMs / 2 && (mayRenew === undefined || mayRenew());
  }

  /** No entry up to `lastIndex` carries a lease from now on. Returns what the next leader may be told. */
  relinquish(lastIndex: number): number {
    if (this.#options === undefined) return 0;
    this.#relinquishedIndex = lastIndex;
    this.#startedAt = -Infinity;
    return lastIndex;
  }
}
