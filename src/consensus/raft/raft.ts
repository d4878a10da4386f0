/**
 * Raft, as a pure state machine: messages, ticks and requests in; messages, writes and committed
 * entries out. No I/O, no clock; randomness is passed in.
 *
 * Follows Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (cited as
 * Raft §) and Ongaro's dissertation (thesis §), with what practice added to them: pre-vote, check
 * quorum, ReadIndex, pipelined appends, and disk writes that complete later and out of step with the
 * network (see `durability.ts`, `outbox.ts`).
 *
 * Entries may be handed out as committed before this node's own disk has them: a quorum's disks do.
 * A commit index alone is not written, but for that of a change of the members: it rides along with entries, and
 * is learned again after a crash.
 */
import { assert } from '../../core/assert.ts';
import type { Appended, Core, CoreStatus, Effects, Refusal } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import {
  type Configuration,
  type Entry,
  EntryType,
  NO_NODE,
  type NodeId,
  type SnapshotMetadata,
} from '../types.ts';
import { Ballot } from './ballot.ts';
import { refusal } from './draft.ts';
import { Durability } from './durability.ts';
import { Elections } from './elections.ts';
import { Leadership } from './leadership.ts';
import { Lease } from './lease.ts';
import { RaftLog } from './log.ts';
import { Membership } from './membership.ts';
import { Outbox } from './outbox.ts';
import { Reads } from './reads.ts';
import { Receiver } from './receiver.ts';
import { Replication } from './replication.ts';
import { Roles } from './roles.ts';
import { type RaftOptions, type RaftSettings, validateSettings } from './settings.ts';
import { Stall } from './stall.ts';
import { Standing } from './standing.ts';

const NOTHING: readonly never[] = Object.freeze([]);

/** The change that ends a joint configuration. */
const LEAVE_JOINT = new Uint8Array(0);

/**
 * One node's Raft.
 *
 * @throws QuorateError `ERR_INVALID_ARGUMENT` for bad settings, `ERR_CORRUPT` where the recovered
 * state contradicts itself, `ERR_INTERNAL` from any method that finds an invariant broken: the node
 * must stop then.
 */
export class RaftCore implements Core {
  readonly #id: NodeId;
  readonly #settings: RaftSettings;
  readonly #log: RaftLog;
  readonly #durability: Durability;
  readonly #outbox: Outbox;
  readonly #replication: Replication;
  readonly #leadership: Leadership;
  readonly #reads: Reads;
  readonly #self: Standing;
  readonly #receiver: Receiver;
  readonly #membership: Membership;
  readonly #roles: Roles;
  readonly #elections: Elections;
  readonly #stall: Stall;
  readonly #lease: Lease;

  constructor(options: RaftOptions) {
    const { id, random, hardState, snapshot, entries, applied } = options;
    const settings = validateSettings(options.settings);
    const log = new RaftLog({ snapshot, entries, applied, commit: hardState.commit });
    const durability = new Durability(log.lastIndex);
    const outbox = new Outbox(durability);
    const replication = new Replication(id, settings, log, outbox);
    this.#id = id;
    this.#settings = settings;
    this.#log = log;
    this.#durability = durability;
    this.#outbox = outbox;
    this.#replication = replication;
    const lease = new Lease(options.lease);
    this.#lease = lease;
    this.#leadership = new Leadership(id, settings, log, durability, outbox, replication, lease);
    this.#reads = new Reads(id, settings, random, outbox, replication);
    this.#self = new Standing(hardState, log, durability, this.#reads);
    this.#receiver = new Receiver(id, log, durability, outbox);
    const ballot = new Ballot(id, settings.electionTicks, random, log, outbox);
    const membership = new Membership(id, options.configuration);
    const self = this.#self;
    const receiver = this.#receiver;
    const roles = new Roles(id, self, ballot, this.#leadership, durability, membership);
    this.#membership = membership;
    this.#roles = roles;
    const parts = { id, settings, log, durability, outbox, self, ballot, roles, membership };
    this.#stall = new Stall(durability, settings.electionTicks);
    this.#elections = new Elections({ ...parts, receiver, stall: this.#stall, lease });
    replication.configure(options.configuration, false);
  }

  // Time

  tick(): void {
    this.#roles.electionElapsed += 1;
    this.#stall.tick();
    if (this.#self.role === 'leader') this.#tickLeader();
    else if (!this.#elections.tick()) this.#reads.tick(this.#self.leader, this.#self.term);
  }

  #tickLeader(): void {
    const roles = this.#roles;
    const { electionTicks, heartbeatTicks, checkQuorum } = this.#settings;
    this.#replication.tick();
    roles.heartbeatElapsed += 1;
    if (roles.electionElapsed >= electionTicks) {
      roles.electionElapsed = 0;
      // A transfer that took this long has failed: serve again (thesis §3.10).
      this.#leadership.abortTransfer();
      if (checkQuorum && !this.#replication.checkQuorum()) {
        roles.becomeFollower(this.#self.term, NO_NODE);
        return;
      }
    }
    if (!this.#leadership.tickLeaving() || !this.#giveWayIfStalled()) {
      roles.becomeFollower(this.#self.term, NO_NODE);
      return;
    }
    this.#leaveJointIfDue();
    // What was held back while another leader's lease might last.
    this.#leadership.advanceCommit();
    if (roles.heartbeatElapsed >= heartbeatTicks) {
      roles.heartbeatElapsed = 0;
      this.#replication.sendHeartbeats(this.#self.term, this.#reads.round);
    }
  }

  /** `false` where the disk stands still and nobody took over. */
  #giveWayIfStalled(): boolean {
    if (!this.#stall.isStalled || this.#membership.voters.length === 1) return true;
    if (this.#stall.begins) {
      const successor = this.#replication.successor(NO_NODE);
      if (successor !== NO_NODE) this.#leadership.transfer(successor);
    }
    return !this.#stall.isOver;
  }

  // Messages

  step(message: PeerMessage): void {
    if (message.to !== this.#id || message.from === this.#id) return;
    if (message.term < this.#self.term) {
      this.#answerStale(message);
      return;
    }
    if (message.term > this.#self.term && !this.#meetNewerTerm(message)) return;
    switch (message.type) {
      case MessageType.append:
        this.#followLeader(message);
        if (message.entries.length > 0) this.#lease.received();
        this.#receiver.onAppend(message);
        return;
      case MessageType.heartbeat:
        this.#followLeader(message);
        this.#receiver.onHeartbeat(message);
        return;
      case MessageType.snapshot:
        this.#followLeader(message);
        this.#lease.received();
        this.#receiver.onSnapshot(message, this.#membership.configuration);
        return;
      case MessageType.vote:
      case MessageType.preVote:
        this.#elections.onVoteRequest(message);
        return;
      case MessageType.voteReply:
        this.#elections.onVoteReply(message);
        return;
      case MessageType.preVoteReply:
        this.#elections.onPreVoteReply(message);
        return;
      case MessageType.appendReply:
      case MessageType.heartbeatReply:
        if (this.#self.role === 'leader') this.#onFollowerReply(message);
        return;
      case MessageType.readIndex:
        if (this.#self.role === 'leader') this.#lead(message.context, message.from, message.force);
        return;
      case MessageType.readIndexReply:
        this.#reads.onReply(message);
        return;
      case MessageType.timeoutNow:
        this.#elections.onTimeoutNow(message);
        return;
      default:
        // Another core's kinds: its nodes are refused when they connect.
        return;
    }
  }

  /** Raft §5.1: a newer term makes a follower of anyone. Returns whether the message still matters. */
  #meetNewerTerm(message: PeerMessage): boolean {
    const { type } = message;
    const isVote = type === MessageType.vote || type === MessageType.preVote;
    if (isVote && this.#elections.isUndisturbed(message)) return false;
    // A pre-vote, and its grant, name a term that nobody has begun.
    if (type === MessageType.preVote) return true;
    if (type === MessageType.preVoteReply && !message.reject) return true;
    const isFromLeader =
      type === MessageType.append ||
      type === MessageType.heartbeat ||
      type === MessageType.snapshot;
    this.#roles.becomeFollower(message.term, isFromLeader ? message.from : NO_NODE);
    return true;
  }

  /**
   * Raft §5.1: who is behind is told. A deposed leader must hear it even if this node only ever
   * receives: else a node that came back with a newer term, and whose pre-votes are refused because
   * the leader is well, would never follow it.
   */
  #answerStale(message: PeerMessage): void {
    switch (message.type) {
      case MessageType.append:
      case MessageType.heartbeat:
      case MessageType.snapshot:
        this.#outbox.send(
          refusal(MessageType.appendReply, this.#id, message.from, this.#self.term),
        );
        return;
      case MessageType.vote:
        this.#elections.refuse(MessageType.voteReply, message.from);
        return;
      case MessageType.preVote:
        this.#elections.refuse(MessageType.preVoteReply, message.from);
        return;
      case MessageType.voteReply:
      case MessageType.preVoteReply:
        this.#elections.onStaleReply(message);
        return;
      default:
        // An answer to what we asked in an older term, or a request that its sender will repeat.
        return;
    }
  }

  campaign(): void {
    this.#elections.campaign();
  }

  // Following a leader (Raft §5.3, §7)

  #followLeader(message: PeerMessage): void {
    assert(this.#self.role !== 'leader', 'a term has one leader');
    assert(
      this.#self.leader === NO_NODE || this.#self.leader === message.from,
      'a term has one leader, and it does not change',
    );
    if (this.#self.leader === NO_NODE) this.#roles.becomeFollower(this.#self.term, message.from);
    this.#roles.electionElapsed = 0;
    this.#elections.trustLeader();
  }

  snapshotInstalled(metadata: SnapshotMetadata): void {
    this.#receiver.onInstalled(metadata.index, metadata.term);
    this.configure(metadata.configuration);
    if (this.#self.leader !== NO_NODE) {
      this.#receiver.acknowledge(this.#self.leader, metadata.index, this.#self.term);
    }
  }

  // Leading (Raft §5.3)

  propose(data: readonly Uint8Array[]): Appended | Refusal {
    const { role, leader } = this.#self;
    if (role !== 'leader') return leader === NO_NODE ? 'no-leader' : 'not-leader';
    return this.#leadership.propose(data);
  }

  proposeChange(type: EntryType, data: Uint8Array): Appended | Refusal {
    const { role, leader } = this.#self;
    if (role !== 'leader') return leader === NO_NODE ? 'no-leader' : 'not-leader';
    return this.#leadership.proposeChange(type, data, this.#membership.isJoint);
  }

  /** A joint configuration is left as soon as it is applied, also by a leader that only finds it. */
  #leaveJointIfDue(): void {
    if (this.#self.role !== 'leader' || !this.#membership.configuration.joint?.autoLeave) return;
    this.#leadership.proposeChange(EntryType.configChangeV2, LEAVE_JOINT, true);
  }

  #onFollowerReply(reply: PeerMessage): void {
    const peer = this.#replication.progressOf(reply.from);
    if (peer === undefined) return;
    if (reply.type === MessageType.heartbeatReply) {
      this.#replication.onHeartbeatReply(peer, reply);
      this.#reads.completeRound(this.#self.term);
      return;
    }
    this.#leadership.onAppendReply(peer, reply);
  }

  transferLeadership(to: NodeId): boolean {
    if (this.#self.role !== 'leader') return false;
    if (this.#leadership.transferee === to) return true;
    if (!this.#leadership.transfer(to)) return false;
    this.#roles.electionElapsed = 0;
    return true;
  }

  // Reads

  readIndex(context: number): void {
    if (this.#self.role === 'leader') this.#lead(context, NO_NODE, false);
    else if (this.#self.leader !== NO_NODE) this.#reads.follow(context);
    else this.#reads.drop(context);
  }

  /** A read as leader: answered by the lease, or by the next round, which proves that it leads still. */
  #lead(context: number, origin: NodeId, needsRound: boolean): void {
    if (!needsRound && this.#leadership.mayReadByLease) {
      this.#reads.answer(context, origin, this.#log.commit, this.#self.term);
    } else {
      this.#reads.lead(context, origin);
    }
    this.#leadership.renewLease();
  }

  /** Before the first commit of its term a leader's commit index may be old (Raft §8). */
  #mayBeginRound(): boolean {
    return this.#reads.isRoundDue && this.#leadership.hasCommitted;
  }

  // What the replica reports

  persisted(sequence: number): void {
    this.#durability.complete(sequence);
    this.#outbox.release(this.#durability.durableSequence);
    if (this.#self.role === 'leader') this.#leadership.advanceCommit();
    else this.#elections.onPersisted();
  }

  applied(index: number): void {
    assert(index <= this.#log.handedOut, 'only what was handed out is applied');
    this.#log.applyTo(index);
    this.#elections.onApplied();
    this.#leaveJointIfDue();
  }

  configure(configuration: Configuration): void {
    const { role, term } = this.#self;
    // What a change commits to must not be forgotten: fewer nodes may hold it from now on.
    if (this.#membership.configure(configuration)) this.#self.writeCommit();
    this.#replication.configure(configuration, role === 'leader');
    if (role === 'leader') {
      if (this.#membership.isVoter) this.#leadership.stay();
      else this.#leadership.leave();
      this.#leadership.onConfigured();
      this.#reads.completeRound(term);
    } else if (!this.#membership.isVoter || role === 'learner') {
      this.#roles.rest();
    }
  }

  unreachable(peer: NodeId): void {
    if (this.#self.role === 'leader') this.#replication.onUnreachable(peer);
    else this.#elections.doubtLeader(peer);
  }

  lost(peer: NodeId): void {
    if (this.#self.role === 'leader') this.#replication.onLost(peer);
  }

  snapshotSent(peer: NodeId, ok: boolean): void {
    if (this.#self.role === 'leader') this.#replication.onSnapshotSent(peer, ok);
  }

  /** Keeps at least what is not durable yet, so that every write under way still names known entries. */
  compact(index: number, keepFrom: number): void {
    this.#log.compact(index, Math.min(keepFrom, this.#durability.durableIndex + 1));
  }

  termAt(index: number): number {
    return this.#log.termAt(index);
  }

  // Effects

  hasEffects(): boolean {
    return (
      !this.#outbox.isEmpty ||
      this.#durability.stateDirty ||
      this.#log.lastIndex > this.#durability.offeredIndex ||
      (this.#log.commit > this.#log.handedOut && !this.#receiver.isInstalling) ||
      this.#reads.hasResults ||
      this.#receiver.isInstallDue ||
      (this.#self.role === 'leader'
        ? this.#replication.isDue || this.#replication.hasSnapshotsWanted || this.#mayBeginRound()
        : this.#reads.isForwardDue) ||
      this.#self.isChanged
    );
  }

  take(): Effects {
    let snapshotsWanted: readonly PeerMessage[] = NOTHING;
    if (this.#self.role === 'leader') {
      if (this.#mayBeginRound() && this.#reads.beginRound(this.#log.commit, this.#self.term)) {
        this.#roles.heartbeatElapsed = 0;
      }
      if (this.#replication.isDue) this.#replication.sendAll(this.#self.term);
      snapshotsWanted = this.#replication.takeSnapshotsWanted();
    } else if (this.#reads.isForwardDue) {
      this.#reads.forward(this.#self.leader, this.#self.term);
    }
    const effects: Effects = {
      persist: this.#self.takePersist(),
      messages: this.#outbox.takeReady(),
      messagesAfterPersist: this.#outbox.takeAfterWrite(),
      committed: this.#takeCommitted(),
      reads: this.#reads.takeAnswered(),
      droppedReads: this.#reads.takeDropped(),
      install: this.#receiver.takeInstall(),
      snapshotsWanted,
      stateChanged: this.#self.isChanged,
    };
    assert(
      effects.messagesAfterPersist.length === 0 || effects.persist !== undefined,
      'a message that waits for a write has one to wait for',
    );
    this.#self.isChanged = false;
    return effects;
  }

  #takeCommitted(): readonly Entry[] {
    if (this.#log.handedOut >= this.#log.commit || this.#receiver.isInstalling) return NOTHING;
    const { maxCommittedEntriesPerTake, maxCommittedBytesPerTake } = this.#settings;
    return this.#log.handOut(maxCommittedEntriesPerTake, maxCommittedBytesPerTake);
  }

  status(): CoreStatus {
    return {
      id: this.#id,
      role: this.#self.role,
      term: this.#self.term,
      leader: this.#self.leader,
      commit: this.#log.commit,
      handedOut: this.#log.handedOut,
      lastIndex: this.#log.lastIndex,
      firstIndex: this.#log.firstIndex,
      changes: this.#log.changes(),
      peers: this.#self.role === 'leader' ? this.#replication.status() : NOTHING,
    };
  }
}
