/**
 * Multi-Paxos, as a pure state machine: messages, ticks and requests in; messages, writes and chosen
 * values out. No I/O, no clock; randomness is passed in. A second core beside `RaftCore`.
 *
 * Follows Lamport, "Paxos Made Simple" §3 (one phase one for all slots), van Renesse and Altinbuken,
 * "Paxos Made Moderately Complex" (roles, `pmax`), and Chandra, Griesemer and Redstone, "Paxos Made Live"
 * (snapshots, catch-up, a stable leader). What is not agreement is as in `RaftCore`, with its settings: ticks, asking
 * before a prepare, check of the quorum, ReadIndex, hand-over, flow control.
 *
 * The ballot stands in `term` (see `ballot.ts`), the acceptances in the log (see `slot.ts`). Anybody may
 * become leader, whatever its log holds: it learns from the promises what may have been chosen.
 */
import { assert } from '../../core/assert.ts';
import type { Appended, Core, CoreStatus, Effects, Refusal } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { Outbox } from '../raft/outbox.ts';
import { Reads } from '../raft/reads.ts';
import { type RaftOptions, type RaftSettings, validateSettings } from '../raft/settings.ts';
import { Stall } from '../raft/stall.ts';
import {
  type Configuration,
  type Entry,
  NO_NODE,
  type NodeId,
  type SnapshotMetadata,
} from '../types.ts';
import { Acceptor } from './acceptor.ts';
import { Candidacy } from './candidacy.ts';
import { PaxosDurability } from './durability.ts';
import { Elections } from './elections.ts';
import { Leadership } from './leadership.ts';
import { PaxosLog } from './log.ts';
import { PaxosReplication } from './replication.ts';
import { Standing } from './standing.ts';

const NOTHING: readonly never[] = Object.freeze([]);

/** Slots that a follower accepts ahead of what is chosen, in times of what a leader leaves open. */
const AHEAD = 2;

/**
 * One node's Multi-Paxos: acceptor, learner and, when it leads, proposer.
 *
 * @throws QuorateError `ERR_INVALID_ARGUMENT` for bad settings, `ERR_CORRUPT` where the recovered
 * state contradicts itself, `ERR_INTERNAL` from any method that finds an invariant broken: the node
 * must stop then.
 */
export class PaxosCore implements Core {
  readonly #id: NodeId;
  readonly #settings: RaftSettings;
  readonly #log: PaxosLog;
  readonly #durability: PaxosDurability;
  readonly #outbox: Outbox;
  readonly #replication: PaxosReplication;
  readonly #acceptor: Acceptor;
  readonly #leadership: Leadership;
  readonly #reads: Reads;
  readonly #self: Standing;
  readonly #elections: Elections;
  readonly #stall: Stall;
  #configuration: Configuration;
  #heartbeatElapsed: number;

  constructor(options: RaftOptions) {
    const { id, random, hardState, snapshot, entries, applied, configuration } = options;
    const settings = validateSettings(options.settings);
    const log = new PaxosLog({ snapshot, entries, applied, commit: hardState.commit });
    const durability = new PaxosDurability(log.commit);
    const outbox = new Outbox(durability);
    const replication = new PaxosReplication(id, settings, log, outbox);
    const maxAhead = AHEAD * settings.maxUncommittedEntries;
    const acceptor = new Acceptor(id, log, durability, outbox, maxAhead);
    this.#id = id;
    this.#settings = settings;
    this.#log = log;
    this.#durability = durability;
    this.#outbox = outbox;
    this.#replication = replication;
    this.#acceptor = acceptor;
    this.#leadership = new Leadership(id, settings, log, durability, outbox, acceptor, replication);
    this.#reads = new Reads(id, settings, random, outbox, replication);
    this.#self = new Standing(hardState, log, durability, acceptor, this.#reads);
    this.#stall = new Stall(durability, settings.electionTicks);
    this.#elections = new Elections({
      ...{ id, settings, durability, outbox, acceptor, configuration },
      stall: this.#stall,
      self: this.#self,
      candidacy: new Candidacy(id, settings.electionTicks, random, log, outbox),
      leadership: this.#leadership,
    });
    this.#configuration = configuration;
    this.#heartbeatElapsed = 0;
    replication.configure(configuration);
    this.#self.setRole(this.#elections.isVoter ? 'follower' : 'learner');
  }

  // Time

  tick(): void {
    this.#elections.elapsed += 1;
    this.#stall.tick();
    if (this.#self.role === 'leader') this.#tickLeader();
    else this.#tickFollower();
  }

  #tickFollower(): void {
    if (!this.#elections.tick()) this.#reads.tick(this.#self.leader, this.#self.term);
  }

  #tickLeader(): void {
    this.#replication.tick();
    this.#heartbeatElapsed += 1;
    if (this.#elections.elapsed >= this.#settings.electionTicks) {
      this.#elections.elapsed = 0;
      this.#leadership.abortTransfer();
      if (this.#settings.checkQuorum && !this.#replication.checkQuorum()) {
        this.#elections.becomeFollower(NO_NODE);
        return;
      }
    }
    if (!this.#giveWayIfStalled()) {
      this.#elections.becomeFollower(NO_NODE);
      return;
    }
    if (this.#heartbeatElapsed >= this.#settings.heartbeatTicks) {
      this.#heartbeatElapsed = 0;
      this.#replication.sendHeartbeats(this.#self.term, this.#reads.round);
    }
  }

  /** `false` where the disk stands still and nobody took over. */
  #giveWayIfStalled(): boolean {
    if (!this.#stall.isStalled || this.#configuration.voters.length === 1) return true;
    const successor = this.#stall.begins ? this.#replication.successor() : NO_NODE;
    if (successor !== NO_NODE) this.#leadership.transfer(successor);
    return !this.#stall.isOver;
  }

  // Messages

  step(message: PeerMessage): void {
    if (message.to !== this.#id || message.from === this.#id || this.#elections.isForged(message))
      return;
    if (message.term < this.#self.term) {
      this.#elections.answerStale(message);
      return;
    }
    if (message.term > this.#self.term && !this.#elections.meetNewerBallot(message)) return;
    switch (message.type) {
      case MessageType.accept:
        this.#elections.followLeader(message);
        this.#acceptor.onAccept(message);
        return;
      case MessageType.heartbeat:
        this.#elections.followLeader(message);
        this.#acceptor.onHeartbeat(message);
        return;
      case MessageType.snapshot:
        this.#elections.followLeader(message);
        this.#acceptor.onSnapshot(message, this.#configuration);
        return;
      case MessageType.preVote:
        this.#elections.onPreVote(message);
        return;
      case MessageType.prepare:
        this.#elections.onPrepare(message);
        return;
      case MessageType.preVoteReply:
        this.#elections.onPreVoteReply(message);
        return;
      case MessageType.promise:
        this.#elections.onPromise(message);
        return;
      case MessageType.accepted:
      case MessageType.heartbeatReply:
        if (this.#self.role === 'leader') this.#onFollowerReply(message);
        return;
      case MessageType.readIndex:
        if (this.#self.role === 'leader') this.#reads.lead(message.context, message.from);
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

  campaign(): void {
    this.#elections.campaign();
  }

  // Following a leader

  snapshotInstalled(metadata: SnapshotMetadata): void {
    this.#acceptor.onInstalled(metadata.index, metadata.term, this.#self.term);
    this.configure(metadata.configuration);
    if (this.#self.leader !== NO_NODE) {
      this.#acceptor.acknowledge(this.#self.leader, this.#self.term);
    }
  }

  // Phase two

  propose(data: readonly Uint8Array[]): Appended | Refusal {
    const { role, leader } = this.#self;
    if (role !== 'leader') return leader === NO_NODE ? 'no-leader' : 'not-leader';
    return this.#leadership.propose(data);
  }

  /** The members are fixed: a ballot's owner is known by its place among them. */
  proposeChange(): Refusal {
    return 'changing';
  }

  #onFollowerReply(reply: PeerMessage): void {
    const peer = this.#replication.progressOf(reply.from);
    if (peer === undefined) return;
    if (reply.type === MessageType.heartbeatReply) {
      this.#replication.onHeartbeatReply(peer, reply);
      this.#reads.completeRound(this.#self.term);
      return;
    }
    this.#leadership.onAccepted(peer, reply);
  }

  transferLeadership(to: NodeId): boolean {
    if (this.#self.role !== 'leader') return false;
    if (this.#leadership.transferee === to) return true;
    if (!this.#leadership.transfer(to)) return false;
    this.#elections.elapsed = 0;
    return true;
  }

  // Reads

  readIndex(context: number): void {
    if (this.#self.role === 'leader') this.#reads.lead(context, NO_NODE);
    else if (this.#self.leader !== NO_NODE) this.#reads.follow(context);
    else this.#reads.drop(context);
  }

  /** Before its first own value is chosen a leader's commit index may be old. */
  #mayBeginRound(): boolean {
    return this.#reads.isRoundDue && this.#leadership.hasCommitted;
  }

  // What the replica reports

  persisted(sequence: number): void {
    this.#durability.complete(sequence, this.#self.term);
    this.#outbox.release(this.#durability.durableSequence);
    if (this.#self.role === 'leader') this.#leadership.advanceCommit();
    else this.#elections.onPersisted();
  }

  applied(index: number): void {
    assert(index <= this.#log.handedOut, 'only what was handed out is applied');
    if (index > this.#log.applied) this.#log.applied = index;
  }

  configure(configuration: Configuration): void {
    this.#configuration = configuration;
    this.#elections.configure(configuration);
    this.#replication.configure(configuration);
    const { role, term } = this.#self;
    if (role === 'leader' && !this.#elections.isVoter) this.#elections.becomeFollower(NO_NODE);
    else if (role === 'leader') {
      this.#leadership.advanceCommit();
      this.#reads.completeRound(term);
    } else if (!this.#elections.isVoter || role === 'learner') {
      this.#self.setRole(this.#elections.isVoter ? 'follower' : 'learner');
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

  compact(index: number, keepFrom: number): void {
    this.#log.compact(index, keepFrom);
  }

  termAt(index: number): number {
    return this.#log.termAt(index);
  }

  // Effects

  hasEffects(): boolean {
    return (
      !this.#outbox.isEmpty ||
      this.#durability.isDirty ||
      (this.#log.commit > this.#log.handedOut && !this.#acceptor.isInstalling) ||
      this.#reads.hasResults ||
      this.#acceptor.isInstallDue ||
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
        this.#heartbeatElapsed = 0;
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
      install: this.#acceptor.takeInstall(),
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
    if (this.#log.handedOut >= this.#log.commit || this.#acceptor.isInstalling) return NOTHING;
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
      peers: this.#self.role === 'leader' ? this.#replication.status() : NOTHING,
      hasFixedMembers: true,
    };
  }
}
