/**
 * The properties that must hold after every event: Raft's own (figure 3 of the paper), and what a
 * disk, a quorum and a change of members must keep. Observers only: they see what cores take in and
 * put out, what is sent and what a start finds, and never change anything.
 *
 * The cost is that of what is new: a log is never walked but at a start.
 */
import type { Core } from '../../../consensus/core.ts';
import { MessageType, type PeerMessage } from '../../../consensus/messages.ts';
import type { RecoveredState } from '../../../consensus/storage.ts';
import type { Entry, NodeId } from '../../../consensus/types.ts';
import type { World } from '../types.ts';
import { Chosen } from './chosen.ts';
import { EntryNames } from './entry-names.ts';
import { LifeCheck, type SharedChecks } from './life-check.ts';
import { ObservedCore } from './observed-core.ts';
import type { HistoryOracle } from './oracle.ts';
import { RarePaths } from './rare-paths.ts';
import { SeatLog } from './seat-log.ts';

/** States are compared at every so many entries. */
const HASH_EVERY = 32;

export class Properties implements SharedChecks {
  readonly world: World;
  readonly consensus: 'raft' | 'paxos';
  readonly chosen: Chosen;
  readonly names: EntryNames;
  readonly oracle: HistoryOracle;
  readonly paths: RarePaths;
  readonly #seats: Map<NodeId, SeatLog>;
  readonly #lives: Map<NodeId, LifeCheck>;
  readonly #leaders: Map<number, NodeId>;
  /** What the state hashed to at some indexes, for whoever gets there later. */
  readonly #hashes: Map<number, number>;

  constructor(world: World, consensus: 'raft' | 'paxos', oracle: HistoryOracle) {
    this.world = world;
    this.consensus = consensus;
    this.chosen = new Chosen();
    this.names = new EntryNames();
    this.oracle = oracle;
    this.paths = new RarePaths(world);
    this.#seats = new Map();
    this.#lives = new Map();
    this.#leaders = new Map();
    this.#hashes = new Map();
  }

  // ---- what the cluster tells ------------------------------------------------------------------

  /** A process opens its storage: for `wrapCore`. */
  started(id: NodeId, core: Core, found: RecoveredState): Core {
    const seat = this.seat(id);
    this.#require(seat, found, 'a restart');
    this.paths.started(seat, found);
    seat.start(found, this.chosen);
    this.ended(id);
    return new ObservedCore(core, (inner) => {
      const life = new LifeCheck(this, seat, inner, found.snapshot?.index ?? 0);
      this.#lives.set(id, life);
      return life;
    });
  }

  /** The process is gone: what its code still does, nobody sees. */
  ended(id: NodeId): void {
    const life = this.#lives.get(id);
    if (life !== undefined) life.isOver = true;
    this.#lives.delete(id);
  }

  /** The disk of a seat that is down was wiped, or any disk was damaged. */
  damaged(id: NodeId): void {
    this.seat(id).damage();
  }

  /** What would be found if power failed now and all that was not synced were lost. */
  worstCase(id: NodeId, found: RecoveredState): void {
    this.#require(this.seat(id), found, 'a power failure now');
  }

  /** The network takes a message from `from`: from here on it is a promise. */
  sent(from: NodeId, message: PeerMessage): void {
    this.paths.sent(message);
    const life = this.#lives.get(from);
    if (life === undefined) return;
    const { type, term, reject } = message;
    if (type === MessageType.preVote) return;
    if (type === MessageType.preVoteReply && !reject) return;
    // It refuses to promise: the ballot is the candidate's.
    if (type === MessageType.promise && reject) return;
    const { seat } = life;
    const durableTerm = seat.hardState?.term ?? 0;
    if (term > durableTerm) {
      this.violate(
        'durable-before-promise',
        `${from} sent a message of term ${term} to ${message.to}, but only term ${durableTerm} is durable there`,
      );
    }
    if (type === MessageType.voteReply && !reject) this.#checkVote(seat, message);
    if (type === MessageType.appendReply && !reject) this.#checkAcknowledgement(seat, message);
    if (type === MessageType.accepted && !reject) this.#checkAccepted(seat, message);
    if (type === MessageType.promise) this.#checkPromise(seat, message);
  }

  #checkVote(seat: SeatLog, { term, to }: PeerMessage): void {
    const vote = seat.votes.get(term);
    if (vote === to) return;
    if (vote === undefined && (seat.hardState?.term ?? 0) > term) {
      // It went on to a newer term in the same write, and that forbids any other vote in this one.
      seat.votes.set(term, to);
      return;
    }
    this.violate(
      vote === undefined ? 'durable-before-promise' : 'one-vote',
      `${seat.id} granted ${to} its vote in term ${term}, but what is durable is ${vote ?? 'no vote'}`,
    );
  }

  /** Multi-Paxos: all up to `index` is chosen, or durably accepted in the ballot. */
  #checkAccepted(seat: SeatLog, { index, term, to }: PeerMessage): void {
    for (
      let slot = Math.max(seat.snapshotIndex, this.chosen.lastIndex) + 1;
      slot <= index;
      slot++
    ) {
      if (seat.acceptedSince(slot, term)) continue;
      this.violate(
        'durable-before-promise',
        `${seat.id} acknowledged slot ${slot} to ${to} in ballot ${term}, but what is durable is of ballot ${seat.durable[slot]}`,
      );
      return;
    }
  }

  /** Multi-Paxos: a promise tells of all that was durably accepted in older ballots, page by page (P1b). */
  #checkPromise({ id, durable }: SeatLog, promise: PeerMessage): void {
    const { index, hintIndex, entries, term, to } = promise;
    const reported = new Map(entries.map((entry) => [entry.index, entry.term]));
    const last = entries.at(-1)?.index ?? hintIndex;
    const end = last >= hintIndex ? durable.length - 1 : last;
    for (let slot = index; slot <= end; slot++) {
      const ballot = durable[slot] ?? 0;
      if (ballot >= term || (reported.get(slot) ?? 0) >= ballot) continue;
      this.violate(
        'promise-complete',
        `${id} promised ballot ${term} to ${to} and told it of ballot ${reported.get(slot) ?? 0} in slot ${slot}, ` +
          `where it has accepted in ballot ${ballot}`,
      );
      return;
    }
  }

  #checkAcknowledgement(seat: SeatLog, { index, term, to }: PeerMessage): void {
    // What waited for the disk together with a newer term may have been replaced there, or was written with that term at
    // once: that it was durable in its own term or is now is what counts.
    const isOld = term < (seat.hardState?.term ?? 0);
    const last = seat.durable.length - 1;
    const end = isOld ? Math.max(seat.endIn(term), last) : last;
    if (index > end) {
      this.violate(
        'durable-before-promise',
        `${seat.id} acknowledged entry ${index} to ${to} in term ${term}, but its durable log ends at ${end}`,
      );
      return;
    }
    if (isOld) return;
    const leader = this.#lives.get(to);
    if (leader === undefined || leader.leaderTerm !== term) return;
    const expected = leader.seat.terms[index];
    if (expected === seat.durable[index] || index <= leader.seat.snapshotIndex) return;
    this.violate(
      'log-matching',
      `${seat.id} acknowledged entry ${index} to ${to}, where it is of term ${expected}; here it is of term ${seat.durable[index]}`,
    );
  }

  /** The newest leader's log has no change of the members that may still come into force. */
  get areMembersDecided(): boolean {
    let newest: LifeCheck | undefined;
    for (const life of this.#lives.values()) {
      if (life.leaderTerm > (newest?.leaderTerm ?? 0)) newest = life;
    }
    return newest?.hasOpenChange === false;
  }

  // ---- what lives tell -------------------------------------------------------------------------

  seat(id: NodeId): SeatLog {
    let seat = this.#seats.get(id);
    if (seat === undefined) {
      seat = new SeatLog(id, this.consensus);
      this.#seats.set(id, seat);
    }
    return seat;
  }

  violate(property: string, message: string): void {
    this.world.violate(property, message);
  }

  leads(id: NodeId, term: number): void {
    const known = this.#leaders.get(term);
    if (known === undefined) this.#leaders.set(term, id);
    else if (known !== id) {
      this.violate('election-safety', `both ${known} and ${id} lead in term ${term}`);
    }
  }

  handedOut(id: NodeId, entry: Entry): void {
    const added = this.chosen.add(entry);
    if (typeof added === 'string') {
      this.violate('state-machine-safety', `${id}: ${added}`);
      return;
    }
    if (!added) return;
    this.oracle.apply(entry);
    if (entry.index % HASH_EVERY === 0) this.#hashes.set(entry.index, this.oracle.hash());
  }

  counted(log: readonly number[], first: number, last: number, term: number): void {
    for (let index = first; index <= last; index++) {
      if (!this.chosen.count(index, term)) continue;
      for (const life of this.#lives.values()) life.newlyCounted(index, log[index], term);
    }
  }

  applied(id: NodeId, index: number, hash: () => Promise<number>): void {
    const expected = this.#hashes.get(index);
    if (expected === undefined) return;
    // Asked now, and so of the state as it is now; told when this event has settled.
    void hash().then((actual) => {
      if (actual === expected) return;
      this.violate(
        'state-machine-safety',
        `${id} has applied entry ${index} and its state hashes to ${actual}, that of the history to ${expected}`,
      );
    });
  }

  /** Tells how to hash the state of the process that runs on this seat now. */
  hashWith(id: NodeId, hash: () => Promise<number>): void {
    const life = this.#lives.get(id);
    if (life !== undefined) life.hash = hash;
  }

  #require(seat: SeatLog, found: RecoveredState, when: string): void {
    const missing = seat.verify(found, this.chosen);
    if (missing === undefined) return;
    this.violate('durable-before-promise', `${seat.id}, found at ${when}: ${missing}`);
  }
}
