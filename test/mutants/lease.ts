/** Bugs of lease reads (`raft/lease.ts`). */
import type { Mutant } from './mutant.ts';

const file = 'src/consensus/raft/lease.ts';

export const leaseMutants: readonly Mutant[] = [
  {
    id: 'lease-not-waited-for',
    bug: 'a new leader commits although an older one may still answer reads by its lease',
    source: 'LeaseGuard: deferred commit',
    file,
    find: 'if (this.#options.now() < this.#guardedUntil) return true;',
    replace: '',
    having: 'leaseMs,pause',
    consensus: 'raft',
  },
  {
    id: 'lease-from-commit',
    bug: 'a lease counts from when its entry was committed, not from when it was appended',
    source: 'Raft thesis §6.4.1: from the time the heartbeats were sent',
    file,
    find: 'this.#startedAt = this.#pendingAt;',
    replace: 'this.#startedAt = this.#options!.now();',
    having: 'leaseMs,pause',
    consensus: 'raft',
  },
  {
    id: 'lease-forgotten-at-restart',
    bug: 'a node that restarts, and then leads, does not count from its start',
    source: 'LeaseGuard: a restarted node must assume that its newest entry is new',
    file,
    find: 'this.#receivedAt = options === undefined ? 0 : options.now();',
    replace: 'this.#receivedAt = -Infinity;',
    having: 'leaseMs,pause-leader,crash,isolate',
    consensus: 'raft',
  },
  {
    id: 'lease-waived-for-ever',
    bug: 'what a leader gave up for a hand-over is taken to hold for entries that came after it',
    source: 'etcd-io/raft: leadership transfer under leases',
    file,
    find: 'term === this.#waivedTerm && index <= this.#waivedIndex',
    replace: 'term === this.#waivedTerm',
    having: 'leaseMs,pause,transfer',
    consensus: 'raft',
  },
];
