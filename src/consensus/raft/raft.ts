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
 * A commit index alone is not written: it rides along with entries, and is learned again after a crash.
 */
import { assert, unreachable } from '../../core/assert.ts';
import type { Core, CoreStatus, Effects, Refusal } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import {
  type Configuration,
  type Entry,
  NO_NODE,
  type NodeId,
  type SnapshotMetadata,
} from '../types.ts';
import { Ballot } from './ballot.ts';
import { draft } from './draft.ts';
import { Durability } from './durability.ts';
import { Leadership } from './leadership.ts';
import { RaftLog } from './log.ts';
import { Outbox } from './outbox.ts';
import { Reads } from './reads.ts';
import { Receiver } from './receiver.ts';
import { Replication } from './replication.ts';
import { type RaftOptions, type RaftSettings, validateSettings } from './settings.ts';
import { Standing } from './standing.ts';

const NOTHING: readonly never[] = Object.freeze([]);

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
  readonly #ballot: Ballot;
  #configuration: Configuration;
  #isVoter: boolean;

  /** Ticks since: contact with a leader or a vote given; as leader, since the last quorum check. */
  #electionElapsed: number;
  #heartbeatElapsed: number;

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
    this.#leadership = new Leadership(id, settings, log, durability, outbox, replication);
    this.#reads = new Reads(id, settings, random, outbox, replication);
    this.#self = new Standing(hardState, log, durability, this.#reads);
    this.#receiver = new Receiver(id, log, durability, outbox);
    this.#ballot = new Ballot(id, settings.electionTicks, random, log, outbox);
    this.#configuration = options.configuration;
    this.#isVoter = options.configuration.voters.includes(id);
    this.#electionElapsed = 0;
    this.#heartbeatElapsed = 0;
    replication.configure(options.configuration);
    this.#self.setRole(this.#isVoter ? 'follower' : 'learner');
  }

  // Time

  tick(): void {
    this.#electionElapsed += 1;
    if (this.#self.role === 'leader') this.#tickLeader();
    else this.#tickFollower();
  }

  #tickFollower(): void {
    if (this.#electionElapsed >= this.#ballot.timeout && this.#mayCampaign()) {
      this.#startCampaign();
      return;
    }
    this.#reads.tick(this.#self.leader, this.#self.term);
  }

  #tickLeader(): void {
    this.#replication.tick();
    this.#heartbeatElapsed += 1;
    if (this.#electionElapsed >= this.#settings.electionTicks) {
      this.#electionElapsed = 0;
      // A transfer that took this long has failed: serve again (thesis §3.10).
      this.#leadership.abortTransfer();
      if (this.#settings.checkQuorum && !this.#replication.checkQuorum()) {
        this.#becomeFollower(this.#self.term, NO_NODE);
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
    if (message.to !== this.#id || message.from === this.#id) return;
    if (message.term < this.#self.term) {
      this.#answerStale(message);
      return;
    }
    if (message.term > this.#self.term && !this.#meetNewerTerm(message)) return;
    switch (message.type) {
      case MessageType.append:
        this.#followLeader(message);
        this.#receiver.onAppend(message);
        return;
      case MessageType.heartbeat:
        this.#followLeader(message);
        this.#receiver.onHeartbeat(message);
        return;
      case MessageType.snapshot:
        this.#followLeader(message);
        this.#receiver.onSnapshot(message, this.#configuration);
        return;
      case MessageType.vote:
      case MessageType.preVote:
        this.#onVoteRequest(message);
        return;
      case MessageType.voteReply:
        if (this.#self.role === 'candidate') this.#onVote(message.from, !message.reject);
        return;
      case MessageType.preVoteReply:
        this.#onPreVoteReply(message);
        return;
      case MessageType.appendReply:
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
        if (message.from === this.#self.leader && this.#mayCampaign()) this.#campaign(true);
        return;
      default:
        unreachable(message.type);
    }
  }

  /** Raft §5.1: a newer term makes a follower of anyone. Returns whether the message still matters. */
  #meetNewerTerm(message: PeerMessage): boolean {
    const { type } = message;
    if (type === MessageType.vote || type === MessageType.preVote) {
      // Thesis §4.2.3: whoever hears a leader is not to be disturbed, unless the leader asked for it.
      const hearsLeader =
        this.#self.leader !== NO_NODE && this.#electionElapsed < this.#settings.electionTicks;
      if (this.#settings.checkQuorum && hearsLeader && !message.force) return false;
    }
    // A pre-vote, and its grant, name a term that nobody has begun.
    if (type === MessageType.preVote) return true;
    if (type === MessageType.preVoteReply && !message.reject) return true;
    const isFromLeader =
      type === MessageType.append ||
      type === MessageType.heartbeat ||
      type === MessageType.snapshot;
    this.#becomeFollower(message.term, isFromLeader ? message.from : NO_NODE);
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
        this.#refuse(MessageType.appendReply, message.from);
        return;
      case MessageType.vote:
        this.#refuse(MessageType.voteReply, message.from);
        return;
      case MessageType.preVote:
        this.#refuse(MessageType.preVoteReply, message.from);
        return;
      default:
        // An answer to what we asked in an older term, or a request that its sender will repeat.
        return;
    }
  }

  #refuse(type: MessageType, to: NodeId): void {
    const reply = draft(type, this.#id, to, this.#self.term);
    reply.reject = true;
    this.#outbox.send(reply);
  }

  // Elections (Raft §5.2, §5.4.1)

  campaign(): void {
    if (this.#mayCampaign()) this.#startCampaign();
  }

  #mayCampaign(): boolean {
    return this.#isVoter && this.#self.role !== 'leader' && !this.#receiver.isInstalling;
  }

  #startCampaign(): void {
    if (this.#settings.preVote) this.#preCampaign();
    else this.#campaign(false);
  }

  /** Asks who would vote, and changes nothing (thesis §9.6). */
  #preCampaign(): void {
    // No leader is known from here on: others that lost it as well must get our vote.
    this.#self.setLeader(NO_NODE);
    this.#self.setRole('pre-candidate');
    this.#electionElapsed = 0;
    this.#ballot.begin();
    this.#ballot.request(
      MessageType.preVote,
      this.#configuration.voters,
      this.#self.term + 1,
      false,
    );
    this.#onVote(this.#id, true);
  }

  #campaign(force: boolean): void {
    this.#self.setLeader(NO_NODE);
    this.#self.setRole('candidate');
    this.#self.setTerm(this.#self.term + 1, this.#id);
    this.#electionElapsed = 0;
    this.#ballot.begin();
    // Our own vote counts when it is on the disk: see `persisted`.
    this.#ballot.request(MessageType.vote, this.#configuration.voters, this.#self.term, force);
  }

  #onVoteRequest(request: PeerMessage): void {
    const isPre = request.type === MessageType.preVote;
    const isFree =
      this.#self.vote === request.from ||
      (this.#self.vote === NO_NODE && this.#self.leader === NO_NODE) ||
      (isPre && request.term > this.#self.term);
    const replyType = isPre ? MessageType.preVoteReply : MessageType.voteReply;
    if (!isFree || !this.#log.isUpToDate(request.index, request.logTerm)) {
      this.#refuse(replyType, request.from);
      return;
    }
    if (!isPre) {
      this.#self.setTerm(this.#self.term, request.from);
      this.#electionElapsed = 0;
    }
    // A grant names the term it is for, which for a pre-vote is not ours.
    this.#outbox.send(draft(replyType, this.#id, request.from, request.term));
  }

  #onPreVoteReply(reply: PeerMessage): void {
    if (this.#self.role !== 'pre-candidate') return;
    // A grant of an earlier attempt names an earlier term.
    if (reply.reject) this.#onVote(reply.from, false);
    else if (reply.term === this.#self.term + 1) this.#onVote(reply.from, true);
  }

  #onVote(from: NodeId, isGranted: boolean): void {
    const result = this.#ballot.record(this.#configuration.voters, from, isGranted);
    if (result === 'lost') this.#becomeFollower(this.#self.term, NO_NODE);
    if (result !== 'won') return;
    if (this.#self.role === 'pre-candidate') this.#campaign(false);
    else if (this.#durability.stateDurable) this.#becomeLeader();
  }

  // Roles

  #becomeFollower(term: number, leader: NodeId): void {
    assert(term >= this.#self.term, 'terms never fall');
    if (term > this.#self.term) this.#self.setTerm(term, NO_NODE);
    // The timer runs on unless there is a leader to wait for: a candidate whose log is behind must
    // not keep the others from campaigning.
    if (this.#self.role === 'leader' || leader !== NO_NODE) this.#electionElapsed = 0;
    this.#ballot.begin();
    this.#self.setRole(this.#isVoter ? 'follower' : 'learner');
    this.#self.setLeader(leader);
  }

  #becomeLeader(): void {
    assert(this.#self.role === 'candidate', 'only a candidate becomes leader');
    assert(this.#durability.stateDurable, "a leader's own vote is durable");
    this.#self.setRole('leader');
    this.#self.setLeader(this.#id);
    this.#electionElapsed = 0;
    this.#heartbeatElapsed = 0;
    this.#leadership.begin(this.#self.term);
  }

  // Following a leader (Raft §5.3, §7)

  #followLeader(message: PeerMessage): void {
    assert(this.#self.role !== 'leader', 'a term has one leader');
    assert(
      this.#self.leader === NO_NODE || this.#self.leader === message.from,
      'a term has one leader, and it does not change',
    );
    if (this.#self.leader === NO_NODE) this.#becomeFollower(this.#self.term, message.from);
    this.#electionElapsed = 0;
  }

  snapshotInstalled(metadata: SnapshotMetadata): void {
    this.#receiver.onInstalled(metadata.index, metadata.term);
    this.configure(metadata.configuration);
    if (this.#self.leader !== NO_NODE) {
      this.#receiver.acknowledge(this.#self.leader, metadata.index, this.#self.term);
    }
  }

  // Leading (Raft §5.3)

  propose(
    data: readonly Uint8Array[],
  ): { readonly index: number; readonly term: number } | Refusal {
    const { role, leader } = this.#self;
    if (role !== 'leader') return leader === NO_NODE ? 'no-leader' : 'not-leader';
    return this.#leadership.propose(data);
  }

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
    this.#leadership.onAppendReply(peer, reply);
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

  /** Before the first commit of its term a leader's commit index may be old (Raft §8). */
  #mayBeginRound(): boolean {
    return this.#reads.isRoundDue && this.#leadership.hasCommitted;
  }

  // What the replica reports

  persisted(sequence: number): void {
    this.#durability.complete(sequence);
    this.#outbox.release(this.#durability.durableSequence);
    if (this.#self.role === 'leader') this.#leadership.advanceCommit();
    else if (this.#self.role === 'candidate' && this.#durability.stateDurable) {
      this.#onVote(this.#id, true);
    }
  }

  applied(index: number): void {
    assert(index <= this.#log.handedOut, 'only what was handed out is applied');
    if (index > this.#log.applied) this.#log.applied = index;
  }

  configure(configuration: Configuration): void {
    this.#configuration = configuration;
    this.#isVoter = configuration.voters.includes(this.#id);
    this.#replication.configure(configuration);
    const { role, term } = this.#self;
    if (role === 'leader' && !this.#isVoter) this.#becomeFollower(term, NO_NODE);
    else if (role === 'leader') {
      this.#leadership.onConfigured();
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
      peers: this.#self.role === 'leader' ? this.#replication.status() : NOTHING,
    };
  }
}
