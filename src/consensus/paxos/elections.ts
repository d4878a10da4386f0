/**
 * Phase one and the roles that follow from it: when to campaign, asking before a prepare, preparing one
 * ballot for all slots, promising, and who leads. Times and politeness are those of `RaftCore`.
 */
import { assert } from '../../core/assert.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { draft } from '../raft/draft.ts';
import type { Outbox } from '../raft/outbox.ts';
import type { Verdict } from '../raft/quorum.ts';
import type { RaftSettings } from '../raft/settings.ts';
import type { Stall } from '../raft/stall.ts';
import { type Configuration, NO_NODE, type NodeId } from '../types.ts';
import type { Acceptor } from './acceptor.ts';
import { nextBallot, ordinals, ownerOf } from './ballot.ts';
import type { Candidacy } from './candidacy.ts';
import type { PaxosDurability } from './durability.ts';
import type { Leadership } from './leadership.ts';
import type { Standing } from './standing.ts';

/** What an election works with. */
export interface ElectionParts {
  readonly id: NodeId;
  readonly settings: RaftSettings;
  readonly durability: PaxosDurability;
  readonly outbox: Outbox;
  readonly acceptor: Acceptor;
  readonly self: Standing;
  readonly candidacy: Candidacy;
  readonly leadership: Leadership;
  readonly stall: Stall;
  readonly configuration: Configuration;
}

export class Elections {
  readonly #id: NodeId;
  readonly #settings: RaftSettings;
  readonly #durability: PaxosDurability;
  readonly #outbox: Outbox;
  readonly #acceptor: Acceptor;
  readonly #self: Standing;
  readonly #candidacy: Candidacy;
  readonly #leadership: Leadership;
  readonly #stall: Stall;
  #voters: readonly NodeId[];
  #ordinals: ReadonlyMap<NodeId, number>;
  isVoter: boolean;
  /** Ticks since: contact with a leader or a promise given; as leader, since the last quorum check. */
  elapsed: number;

  constructor(parts: ElectionParts) {
    this.#id = parts.id;
    this.#settings = parts.settings;
    this.#durability = parts.durability;
    this.#outbox = parts.outbox;
    this.#acceptor = parts.acceptor;
    this.#self = parts.self;
    this.#candidacy = parts.candidacy;
    this.#leadership = parts.leadership;
    this.#stall = parts.stall;
    this.#voters = [];
    this.#ordinals = new Map();
    this.isVoter = false;
    this.elapsed = 0;
    this.configure(parts.configuration);
  }

  configure(configuration: Configuration): void {
    this.#voters = configuration.voters;
    this.#ordinals = ordinals(configuration);
    this.isVoter = configuration.voters.includes(this.#id);
  }

  /** One tick of a node that does not lead. Returns whether it began to campaign. */
  tick(): boolean {
    if (this.elapsed >= this.#candidacy.timeout.ticks && this.#mayCampaign()) {
      this.campaign();
      return true;
    }
    this.#candidacy.tick();
    return false;
  }

  /** Never trust the wire: only the owner of a ballot leads in it, or asks for promises. */
  isForged({ type, from, term }: PeerMessage): boolean {
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
  meetNewerBallot(message: PeerMessage): boolean {
    const { type, from, term, reject } = message;
    if (type === MessageType.prepare || type === MessageType.preVote) {
      if (this.#isUndisturbed(message)) return false;
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
    this.becomeFollower(isFromLeader ? from : NO_NODE);
    return true;
  }

  /** Whoever hears a leader is not to be disturbed, unless that leader asked for it. */
  #isUndisturbed(request: PeerMessage): boolean {
    return (
      this.#settings.checkQuorum &&
      !request.force &&
      this.#self.leader !== NO_NODE &&
      !this.#candidacy.timeout.isHasty &&
      this.elapsed < this.#settings.electionTicks
    );
  }

  /**
   * The connection to the leader broke. Who still hears it promises nothing: so only where one asks before a
   * prepare, and where that is refused to those who disturb.
   */
  doubtLeader(peer: NodeId): void {
    const { preVote, checkQuorum, heartbeatTicks } = this.#settings;
    if (!preVote || !checkQuorum || peer !== this.#self.leader) return;
    this.#candidacy.timeout.hurry(heartbeatTicks, this.elapsed);
  }

  /** Who is behind is told: a deposed leader hears it from the first that it asks to accept. */
  answerStale(message: PeerMessage): void {
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

  campaign(): void {
    if (!this.#mayCampaign()) return;
    if (this.#settings.preVote) this.#askBefore();
    else this.#prepare(false);
  }

  #mayCampaign(): boolean {
    if (!this.isVoter || this.#self.role === 'leader' || this.#acceptor.isInstalling) return false;
    if (this.#stall.isStalled) return false;
    // A majority of the first few members, before the others are read from the log, is none.
    return !this.#acceptor.hasOpenChange;
  }

  #nextBallot(): number {
    return nextBallot(this.#self.term, this.#ordinals.get(this.#id) ?? -1);
  }

  /** Asks who would promise, and changes nothing: who returns does not depose a working leader. */
  #askBefore(): void {
    // No leader is known from here on: others that lost it as well must get our promise.
    this.#self.setLeader(NO_NODE);
    this.#self.setRole('pre-candidate');
    this.elapsed = 0;
    const ballot = this.#nextBallot();
    this.#candidacy.begin(MessageType.preVote, ballot, this.#voters, false);
    this.#onVerdict(this.#candidacy.record(this.#id, true));
  }

  #prepare(force: boolean): void {
    this.#self.setLeader(NO_NODE);
    this.#self.setRole('candidate');
    // Our own promise: it counts when it is on the disk (see `persisted`), and nothing leaves before.
    this.#self.promise(this.#nextBallot(), this.#id);
    this.elapsed = 0;
    this.#candidacy.begin(MessageType.prepare, this.#self.term, this.#voters, force);
  }

  onPreVote(request: PeerMessage): void {
    const { from, term, index } = request;
    if (term <= this.#self.term || !this.#acceptor.canReportFrom(index)) {
      this.#refuse(MessageType.preVoteReply, from, this.#self.term);
    } else this.#outbox.send(draft(MessageType.preVoteReply, this.#id, from, term));
  }

  onPrepare(prepare: PeerMessage): void {
    const { from, term, index } = prepare;
    if (!this.#acceptor.canReportFrom(index)) {
      // It must catch up first. Nothing is promised: that would only stop who leads.
      this.#refuse(MessageType.promise, from, term, index);
      return;
    }
    if (term > this.#self.term) {
      this.#self.promise(term, from);
      this.becomeFollower(NO_NODE);
    }
    // Also while it is still asking: no other candidate is needed.
    this.elapsed = 0;
    const { maxAppendBytes, maxInflightBytes } = this.#settings;
    this.#acceptor.promise(prepare, maxAppendBytes, maxInflightBytes);
  }

  onPreVoteReply(reply: PeerMessage): void {
    if (this.#self.role !== 'pre-candidate') return;
    if (reply.reject) this.#onVerdict(this.#candidacy.record(reply.from, false));
    else if (reply.term === this.#candidacy.ballot) {
      this.#onVerdict(this.#candidacy.record(reply.from, true));
    }
  }

  onPromise(promise: PeerMessage): void {
    if (this.#self.role !== 'candidate') return;
    const { progress } = this.#candidacy;
    const verdict = this.#candidacy.onPromise(promise);
    // Large reports take their time.
    if (this.#candidacy.progress > progress) this.elapsed = 0;
    this.#onVerdict(verdict);
  }

  #onVerdict(verdict: Verdict): void {
    if (verdict === 'lost') this.becomeFollower(NO_NODE);
    if (verdict !== 'won') return;
    if (this.#self.role === 'pre-candidate') this.#prepare(false);
    // Without its own promise a majority of others is enough, but it must be known here to be led.
    else if (this.#durability.stateDurable) this.#becomeLeader();
  }

  becomeFollower(leader: NodeId): void {
    // The timer runs on unless there is a leader to wait for.
    if (this.#self.role === 'leader' || leader !== NO_NODE) this.elapsed = 0;
    this.#candidacy.end();
    this.#self.setRole(this.isVoter ? 'follower' : 'learner');
    this.#self.setLeader(leader);
  }

  #becomeLeader(): void {
    assert(this.#self.role === 'candidate', 'only a candidate becomes leader');
    const values = this.#candidacy.values();
    this.#candidacy.end();
    this.#candidacy.timeout.calm();
    this.#self.setRole('leader');
    this.#self.setLeader(this.#id);
    this.elapsed = 0;
    this.#leadership.begin(this.#self.term, values);
  }

  followLeader(message: PeerMessage): void {
    assert(this.#self.role !== 'leader', 'a ballot has one leader');
    assert(
      this.#self.leader === NO_NODE || this.#self.leader === message.from,
      'a ballot has one leader, and it does not change',
    );
    if (this.#self.leader === NO_NODE) this.becomeFollower(message.from);
    this.#candidacy.timeout.calm();
    this.elapsed = 0;
  }

  onTimeoutNow(message: PeerMessage): void {
    if (message.from === this.#self.leader && this.#mayCampaign()) this.#prepare(true);
  }

  /** A write is durable: perhaps our own promise with it. */
  onPersisted(): void {
    if (this.#self.role !== 'candidate' || !this.#durability.stateDurable) return;
    this.#onVerdict(this.#candidacy.recordOwn());
  }
}
