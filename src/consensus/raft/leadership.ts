/**
 * What only a leader does with the log: takes proposals within bounds, counts what a majority holds
 * (Raft §5.3, §5.4.2) and hands leadership over (thesis §3.10).
 */
import { assert } from '../../core/assert.ts';
import type { Appended, Refusal } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { EntryType, NO_NODE, type NodeId } from '../types.ts';
import { draft } from './draft.ts';
import type { Durability } from './durability.ts';
import type { Lease } from './lease.ts';
import type { RaftLog } from './log.ts';
import type { Outbox } from './outbox.ts';
import type { Progress } from './progress.ts';
import type { Replication } from './replication.ts';
import type { RaftSettings } from './settings.ts';

const NO_DATA = new Uint8Array(0);

/** A removed leader that found no successor for so many election timeouts stops leading all the same. */
const LEAVING_ELECTIONS = 10;

export class Leadership {
  readonly #id: NodeId;
  readonly #settings: RaftSettings;
  readonly #log: RaftLog;
  readonly #durability: Durability;
  readonly #outbox: Outbox;
  readonly #replication: Replication;
  readonly #lease: Lease;
  #term: number;
  /** The first entry of the term: until it is committed, what older terms committed is not known. */
  #termStart: number;
  /** Payload of the entries after `commit`. */
  #uncommittedBytes: number;
  /** To whom leadership is being handed. */
  #transferee: NodeId;
  /** Ticks since this leader was removed, from 1; 0: it was not. */
  #leavingTicks: number;
  /** To whom a removed leader handed over last. */
  #lastTried: NodeId;

  constructor(
    id: NodeId,
    settings: RaftSettings,
    log: RaftLog,
    durability: Durability,
    outbox: Outbox,
    replication: Replication,
    lease: Lease,
  ) {
    this.#id = id;
    this.#settings = settings;
    this.#log = log;
    this.#durability = durability;
    this.#outbox = outbox;
    this.#replication = replication;
    this.#lease = lease;
    this.#term = 0;
    this.#termStart = 0;
    this.#uncommittedBytes = 0;
    this.#transferee = NO_NODE;
    this.#leavingTicks = 0;
    this.#lastTried = NO_NODE;
  }

  begin(term: number): void {
    assert(term > this.#term, 'a node leads a term once');
    this.#term = term;
    this.#transferee = NO_NODE;
    this.#leavingTicks = 0;
    this.#lastTried = NO_NODE;
    this.#replication.reset();
    this.#uncommittedBytes = this.#log.payloadBytes(this.#log.commit, this.#log.lastIndex);
    this.#lease.begin(this.#log.lastIndex, this.#log.lastTerm);
    // An entry of its own term lets a leader find out what is committed (Raft §5.4.2, §8).
    this.#termStart = this.#log.lastIndex + 1;
    this.#append(EntryType.normal, NO_DATA);
  }

  /** Whether the commit index is as new as that of any earlier leader (Raft §8). */
  get hasCommitted(): boolean {
    return this.#log.commit >= this.#termStart;
  }

  propose(data: readonly Uint8Array[]): Appended | Refusal {
    if (this.#transferee !== NO_NODE || this.#leavingTicks > 0) return 'transferring';
    let bytes = 0;
    for (let at = 0; at < data.length; at++) bytes += data[at]!.length;
    const { commit, lastIndex } = this.#log;
    // With nothing else under way even a proposal over the limit passes: it could never otherwise.
    if (lastIndex > Math.max(commit, this.#termStart) || this.#uncommittedBytes > 0) {
      const { maxUncommittedBytes, maxUncommittedEntries } = this.#settings;
      if (this.#uncommittedBytes + bytes > maxUncommittedBytes) return 'busy';
      if (lastIndex - commit + data.length > maxUncommittedEntries) return 'busy';
    }
    this.#uncommittedBytes += bytes;
    for (let at = 0; at < data.length; at++) this.#append(EntryType.normal, data[at]!);
    return { index: lastIndex + 1, term: this.#term };
  }

  #append(type: EntryType, data: Uint8Array): void {
    const index = this.#log.lastIndex + 1;
    this.#lease.appending(index);
    this.#log.append({ type, term: this.#term, index, data });
    this.#replication.isDue = true;
  }

  // Changes of the configuration (Raft §6)

  /**
   * One change at a time, from the log to its application; and none before this leader has applied an
   * entry of its own term: else two leaders could take two changes of the same configuration, with
   * majorities that do not meet (the flaw found in single-server changes in 2015).
   */
  proposeChange(type: EntryType, data: Uint8Array, isJoint: boolean): Appended | Refusal {
    if (this.#transferee !== NO_NODE || this.#leavingTicks > 0) return 'transferring';
    if (this.#log.hasChange || this.#log.applied < this.#termStart) return 'changing';
    // An empty change ends a joint configuration, and no other one may come before it.
    if (isJoint !== (type === EntryType.configChangeV2 && data.length === 0)) return 'changing';
    this.#uncommittedBytes += data.length;
    this.#append(type, data);
    return { index: this.#log.lastIndex, term: this.#term };
  }

  /** This node is no voter any more: it leads until another one can, and takes nothing new. */
  leave(): void {
    if (this.#leavingTicks === 0) this.#leavingTicks = 1;
  }

  /** The leader is a voter again: the configuration came from a snapshot or was changed back. */
  stay(): void {
    this.#leavingTicks = 0;
  }

  /**
   * Where the leader was removed: hands over to the best voter, one after the other. It leaves its
   * followers an interval to hear that the removal is committed. `false` when that took too long.
   */
  tickLeaving(): boolean {
    if (this.#leavingTicks === 0) return true;
    this.#leavingTicks += 1;
    if (this.#leavingTicks > LEAVING_ELECTIONS * this.#settings.electionTicks) return false;
    if (this.#transferee !== NO_NODE) return true;
    const successor = this.#replication.successor(this.#lastTried);
    if (successor === NO_NODE) return true;
    this.#lastTried = successor;
    this.transfer(successor);
    return true;
  }

  /** Only an entry of the own term is committed by counting; it commits all before it (Raft §5.4.2). */
  advanceCommit(): void {
    const before = this.#log.commit;
    const index = this.#replication.matchedByQuorum(this.#durability.durableIndex);
    if (index <= before || this.#log.termAt(index) !== this.#term) return;
    if (this.#lease.isGuarding) return;
    this.#lease.committed(index);
    this.#log.commitTo(index);
    this.#uncommittedBytes -= this.#log.payloadBytes(before, index);
    assert(this.#uncommittedBytes >= 0, 'uncommitted bytes are counted once');
    this.#replication.isDue = true;
  }

  onAppendReply(peer: Progress, reply: PeerMessage): void {
    if (this.#replication.onAppendReply(peer, reply)) this.advanceCommit();
    if (peer.id === this.#transferee && peer.match === this.#log.lastIndex) this.#sendTimeoutNow();
  }

  /** Begins to hand over, unless `to` is no other voter. Proposals are refused meanwhile. */
  transfer(to: NodeId): boolean {
    const peer = this.#replication.progressOf(to);
    if (peer === undefined || !peer.isVoter) return false;
    this.#transferee = to;
    if (peer.match === this.#log.lastIndex) this.#sendTimeoutNow();
    return true;
  }

  get transferee(): NodeId {
    return this.#transferee;
  }

  abortTransfer(): void {
    this.#transferee = NO_NODE;
  }

  /** The members changed: a smaller quorum may hold more than the larger one did. */
  onConfigured(): void {
    if (this.#replication.progressOf(this.#transferee)?.isVoter !== true) this.abortTransfer();
    this.advanceCommit();
  }

  #sendTimeoutNow(): void {
    const request = draft(MessageType.timeoutNow, this.#id, this.#transferee, this.#term);
    const given = this.#lease.relinquish(this.#log.lastIndex);
    // Before its first commit a leader does not know that the leases before its own are over.
    if (this.hasCommitted) request.index = given;
    this.#outbox.send(request);
  }

  // Lease reads

  /** Whether this leader may answer reads by itself at this moment. */
  get mayReadByLease(): boolean {
    const isHandingOver = this.#transferee !== NO_NODE || this.#leavingTicks > 0;
    return !isHandingOver && this.hasCommitted && this.#lease.isHeld;
  }

  /** There are reads: an entry without data renews the lease where no other does. */
  renewLease(): void {
    const isHandingOver = this.#transferee !== NO_NODE || this.#leavingTicks > 0;
    if (isHandingOver || !this.hasCommitted || !this.#lease.isRenewalDue) return;
    this.#append(EntryType.normal, NO_DATA);
  }
}
