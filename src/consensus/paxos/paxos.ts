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
import type { Core, CoreStatus, Effects, Refusal } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { draft } from '../raft/draft.ts';
import { Outbox } from '../raft/outbox.ts';
import { Reads } from '../raft/reads.ts';
import { type RaftOptions, type RaftSettings, validateSettings } from '../raft/settings.ts';
import {
  type Configuration,
  type Entry,
  NO_NODE,
  type NodeId,
  type SnapshotMetadata,
} from '../types.ts';
import { Acceptor } from './acceptor.ts';
import { nextBallot, ordinals, ownerOf } from './ballot.ts';
import { Candidacy } from './candidacy.ts';
import { PaxosDurability } from './durability.ts';
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
  readonly #candidacy: Candidacy;
  #configuration: Configuration;
  #ordinals: ReadonlyMap<NodeId, number>;
  #isVoter: boolean;

  /** Ticks since: contact with a leader or a promise given; as leader, since the last quorum check. */
  #electionElapsed: number;
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
    this.#candidacy = new Candidacy(id, settings.electionTicks, random, log, outbox);
    this.#configuration = configuration;
    this.#ordinals = ordinals(configuration);
    this.#isVoter = configuration.voters.includes(id);
    this.#electionElapsed = 0;
    this.#heartbeatElapsed = 0;
    replication.configure(configuration);
    this.#self.setRole(this.#isVoter ? 'follower' : 'learner');
  }

  // Time

  tick(): void {
    this.#electionElapsed += 1;
    if (this.#self.role === 'leader') this.#tickLeader();
    else this.#tickFollower();
  }

  #tickFollower(): void {
    if (this.#electionElapsed >= this.#candidacy.timeout && this.#mayCampaign()) {
      this.campaign();
      return;
    }
    this.#candidacy.tick();
    this.#reads.tick(this.#self.leader, this.#self.term);
  }

  #tickLeader(): void {
    this.#replication.tick();
    this.#heartbeatElapsed += 1;
    if (this.#electionElapsed >= this.#settings.electionTicks) {
      this.#electionElapsed = 0;
      this.#leadership.abortTransfer();
      if (this.#settings.checkQuorum && !this.#replication.checkQuorum()) {
        this.#becomeFollower(NO_NODE);
        return;
      }
    }
    if (this.#heartbeatElapsed >= this.#settings.heartbeatTicks) {
      this.#heartbeatElapsed = 0;
      this.#replication.sendHeartbeats(this.#self.term, this.#reads.round);
    }
  }

  // Messages

  step(message: PeerMessage): void {
    if (message.to !== this.#id || message.from === this.#id || this.#isForged(message)) return;
    if (message.term < this.#self.term) {
      this.#answerStale(message);
      return;
    }
    if (message.term > this.#self.term && !this.#meetNewerBallot(message)) return;
    switch (message.type) {
      case MessageType.accept:
        this.#followLeader(message);
        this.#acceptor.onAccept(message);
        return;
      case MessageType.heartbeat:
        this.#followLeader(message);
        this.#acceptor.onHeartbeat(message);
        return;
      case MessageType.snapshot:
        this.#followLeader(message);
        this.#acceptor.onSnapshot(message, this.#configuration);
        return;
      case MessageType.preVote:
        this.#onPreVote(message);
        return;
      case MessageType.prepare:
        this.#onPrepare(message);
        return;
      case MessageType.preVoteReply:
        this.#onPreVoteReply(message);
        return;
      case MessageType.promise:
        this.#onPromise(message);
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
        if (message.from === this.#self.leader && this.#mayCampaign()) this.#prepare(true);
        return;
      default:
        // Another core's kinds: its nodes are refused when they connect.
        return;
    }
  }

  /** Never trust the wire: only the owner of a ballot leads in it, or asks for promises. */
  #isForged({ type, from, term }: PeerMessage): boolean {
    const isOwners =
      type === MessageType.accept ||
      type === MessageType.heartbeat ||
      type === MessageType.snapshot ||
      type === MessageType.prepare ||
      type === MessageType.preVote;
    const ordinal = this.#ordinals.get(from);
    return isOwners && ordinal !== undefined && ordinal !== ownerOf(term);
  }

  /** A newer ballot makes a follower of anyone. Returns whether the message still matters. */
  #meetNewerBallot(message: PeerMessage): boolean {
    const { type, from, term, reject } = message;
    if (type === MessageType.prepare || type === MessageType.preVote) {
      // Whoever hears a leader is not to be disturbed, unless that leader asked for it.
      const hearsLeader =
        this.#self.leader !== NO_NODE && this.#electionElapsed < this.#settings.electionTicks;
      if (this.#settings.checkQuorum && hearsLeader && !message.force) return false;
      // These two decide for themselves whether they promise.
      return true;
    }
    // The grant of a pre-vote names a ballot that nobody has begun.
    if (type === MessageType.preVoteReply && !reject) return true;
    const isFromLeader =
      type === MessageType.accept ||
      type === MessageType.heartbeat ||
      type === MessageType.snapshot;
    this.#self.promise(term, isFromLeader ? from : NO_NODE);
    this.#becomeFollower(isFromLeader ? from : NO_NODE);
    return true;
  }

  /** Who is behind is told: a deposed leader hears it from the first that it asks to accept. */
  #answerStale(message: PeerMessage): void {
    switch (message.type) {
      case MessageType.accept:
      case MessageType.heartbeat:
      case MessageType.snapshot:
        this.#refuse(MessageType.accepted, message.from, this.#self.term);
        return;
      case MessageType.prepare:
        this.#refuse(MessageType.promise, message.from, this.#self.term);
        return;
      case MessageType.preVote:
        this.#refuse(MessageType.preVoteReply, message.from, this.#self.term);
        return;
      default:
        // An answer to what we asked in an older ballot, or a request that its sender will repeat.
        return;
    }
  }

  #refuse(type: MessageType, to: NodeId, term: number, index = 0): void {
    const reply = draft(type, this.#id, to, term);
    reply.reject = true;
    reply.index = index;
    this.#outbox.send(reply);
  }

  // Phase one

  campaign(): void {
    if (!this.#mayCampaign()) return;
    if (this.#settings.preVote) this.#askBefore();
    else this.#prepare(false);
  }

  #mayCampaign(): boolean {
    return this.#isVoter && this.#self.role !== 'leader' && !this.#acceptor.isInstalling;
  }

  #nextBallot(): number {
    return nextBallot(this.#self.term, this.#ordinals.get(this.#id) ?? -1);
  }

  /** Asks who would promise, and changes nothing: who returns does not depose a working leader. */
  #askBefore(): void {
    // No leader is known from here on: others that lost it as well must get our promise.
    this.#self.setLeader(NO_NODE);
    this.#self.setRole('pre-candidate');
    this.#electionElapsed = 0;
    const ballot = this.#nextBallot();
    this.#candidacy.begin(MessageType.preVote, ballot, this.#configuration.voters, false);
    this.#onVerdict(this.#candidacy.record(this.#id, true));
  }

  #prepare(force: boolean): void {
    this.#self.setLeader(NO_NODE);
    this.#self.setRole('candidate');
    // Our own promise: it counts when it is on the disk (see `persisted`), and nothing leaves before.
    this.#self.promise(this.#nextBallot(), this.#id);
    this.#electionElapsed = 0;
    const { voters } = this.#configuration;
    this.#candidacy.begin(MessageType.prepare, this.#self.term, voters, force);
  }

  #onPreVote(request: PeerMessage): void {
    const { from, term, index } = request;
    if (term <= this.#self.term || !this.#acceptor.canReportFrom(index)) {
      this.#refuse(MessageType.preVoteReply, from, this.#self.term);
    } else this.#outbox.send(draft(MessageType.preVoteReply, this.#id, from, term));
  }

  #onPrepare(prepare: PeerMessage): void {
    const { from, term, index } = prepare;
    if (!this.#acceptor.canReportFrom(index)) {
      // It must catch up first. Nothing is promised: that would only stop who leads.
      this.#refuse(MessageType.promise, from, term, index);
      return;
    }
    if (term > this.#self.term) {
      this.#self.promise(term, from);
      this.#becomeFollower(NO_NODE);
      this.#electionElapsed = 0;
    }
    this.#acceptor.promise(prepare, this.#settings.maxAppendBytes);
  }

  #onPreVoteReply(reply: PeerMessage): void {
    if (this.#self.role !== 'pre-candidate') return;
    if (reply.reject) this.#onVerdict(this.#candidacy.record(reply.from, false));
    else if (reply.term === this.#candidacy.ballot) {
      this.#onVerdict(this.#candidacy.record(reply.from, true));
    }
  }

  #onPromise(promise: PeerMessage): void {
    if (this.#self.role !== 'candidate') return;
    this.#onVerdict(this.#candidacy.onPromise(promise));
  }

  #onVerdict(verdict: 'won' | 'lost' | 'open'): void {
    if (verdict === 'lost') this.#becomeFollower(NO_NODE);
    if (verdict !== 'won') return;
    if (this.#self.role === 'pre-candidate') this.#prepare(false);
    // Without its own promise a majority of others is enough, but it must be known here to be led.
    else if (this.#durability.stateDurable) this.#becomeLeader();
  }

  // Roles

  #becomeFollower(leader: NodeId): void {
    // The timer runs on unless there is a leader to wait for.
    if (this.#self.role === 'leader' || leader !== NO_NODE) this.#electionElapsed = 0;
    this.#candidacy.end();
    this.#self.setRole(this.#isVoter ? 'follower' : 'learner');
    this.#self.setLeader(leader);
  }

  #becomeLeader(): void {
    assert(this.#self.role === 'candidate', 'only a candidate becomes leader');
    const values = this.#candidacy.values();
    this.#candidacy.end();
    this.#self.setRole('leader');
    this.#self.setLeader(this.#id);
    this.#electionElapsed = 0;
    this.#heartbeatElapsed = 0;
    this.#leadership.begin(this.#self.term, values);
  }

  // Following a leader

  #followLeader(message: PeerMessage): void {
    assert(this.#self.role !== 'leader', 'a ballot has one leader');
    assert(
      this.#self.leader === NO_NODE || this.#self.leader === message.from,
      'a ballot has one leader, and it does not change',
    );
    if (this.#self.leader === NO_NODE) this.#becomeFollower(message.from);
    this.#electionElapsed = 0;
  }

  snapshotInstalled(metadata: SnapshotMetadata): void {
    this.#acceptor.onInstalled(metadata.index, metadata.term, this.#self.term);
    this.configure(metadata.configuration);
    if (this.#self.leader !== NO_NODE) {
      this.#acceptor.acknowledge(this.#self.leader, this.#self.term);
    }
  }

  // Phase two

  propose(
    data: readonly Uint8Array[],
  ): { readonly index: number; readonly term: number } | Refusal {
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
    this.#electionElapsed = 0;
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
    else if (this.#self.role === 'candidate' && this.#durability.stateDurable) {
      this.#onVerdict(this.#candidacy.recordOwn());
    }
  }

  applied(index: number): void {
    assert(index <= this.#log.handedOut, 'only what was handed out is applied');
    if (index > this.#log.applied) this.#log.applied = index;
  }

  configure(configuration: Configuration): void {
    this.#configuration = configuration;
    this.#ordinals = ordinals(configuration);
    this.#isVoter = configuration.voters.includes(this.#id);
    this.#replication.configure(configuration);
    const { role, term } = this.#self;
    if (role === 'leader' && !this.#isVoter) this.#becomeFollower(NO_NODE);
    else if (role === 'leader') {
      this.#leadership.advanceCommit();
      this.#reads.completeRound(term);
    } else if (!this.#isVoter || role === 'learner') {
      this.#self.setRole(this.#isVoter ? 'follower' : 'learner');
    }
  }

  unreachable(peer: NodeId): void {
    if (this.#self.role === 'leader') this.#replication.onUnreachable(peer);
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
