/** Elections (Raft §5.2, §5.4.1): asking for votes, giving them, and the vote before the vote (thesis §9.6). */
import { MessageType, type PeerMessage } from '../messages.ts';
import { NO_NODE, type NodeId } from '../types.ts';
import type { Ballot } from './ballot.ts';
import { type Draft, draft, refusal } from './draft.ts';
import type { Durability } from './durability.ts';
import type { Lease } from './lease.ts';
import type { RaftLog } from './log.ts';
import type { Membership } from './membership.ts';
import type { Outbox } from './outbox.ts';
import type { Receiver } from './receiver.ts';
import type { Roles } from './roles.ts';
import type { RaftSettings } from './settings.ts';
import type { Stall } from './stall.ts';
import type { Standing } from './standing.ts';

/** The parts of a node that an election concerns. */
export interface ElectionParts {
  readonly id: NodeId;
  readonly settings: RaftSettings;
  readonly log: RaftLog;
  readonly durability: Durability;
  readonly outbox: Outbox;
  readonly self: Standing;
  readonly ballot: Ballot;
  readonly roles: Roles;
  readonly membership: Membership;
  readonly receiver: Receiver;
  readonly stall: Stall;
  readonly lease: Lease;
}

export class Elections {
  readonly #id: NodeId;
  readonly #settings: RaftSettings;
  readonly #log: RaftLog;
  readonly #durability: Durability;
  readonly #outbox: Outbox;
  readonly #self: Standing;
  readonly #ballot: Ballot;
  readonly #roles: Roles;
  readonly #membership: Membership;
  readonly #receiver: Receiver;
  readonly #stall: Stall;
  readonly #lease: Lease;
  /** The term whose leader told us to campaign, while we could not yet. */
  #askedInTerm: number;

  constructor(parts: ElectionParts) {
    this.#id = parts.id;
    this.#settings = parts.settings;
    this.#log = parts.log;
    this.#durability = parts.durability;
    this.#outbox = parts.outbox;
    this.#self = parts.self;
    this.#ballot = parts.ballot;
    this.#roles = parts.roles;
    this.#membership = parts.membership;
    this.#receiver = parts.receiver;
    this.#stall = parts.stall;
    this.#lease = parts.lease;
    this.#askedInTerm = 0;
  }

  // As candidate

  /** Campaigns if no leader was heard for long enough. Returns whether it did. */
  tick(): boolean {
    if (this.#roles.electionElapsed < this.#ballot.timeout.ticks || !this.#mayCampaign())
      return false;
    this.#start();
    return true;
  }

  campaign(): void {
    if (this.#mayCampaign()) this.#start();
  }

  /**
   * A configuration is in force once it is applied: who has a change still to apply may not know who
   * votes, and could win with a majority that no longer counts.
   */
  #mayCampaign(): boolean {
    return (
      this.#membership.isVoter &&
      this.#self.role !== 'leader' &&
      !this.#receiver.isInstalling &&
      !this.#stall.isStalled &&
      !this.#log.isBehindInChanges
    );
  }

  #start(): void {
    if (this.#settings.preVote) this.#preCampaign();
    else this.#campaign(false);
  }

  /** Asks who would vote, and changes nothing (thesis §9.6). */
  #preCampaign(): void {
    // No leader is known from here on: others that lost it as well must get our vote.
    this.#self.setLeader(NO_NODE);
    this.#self.setRole('pre-candidate');
    this.#roles.electionElapsed = 0;
    this.#ballot.begin();
    // A learner's answer does not count, but it may be the last that knows of a removal: see `#learn`.
    const { voters, configuration } = this.#membership;
    const asked = [...voters, ...configuration.learners];
    this.#ballot.request(MessageType.preVote, asked, this.#self.term + 1, false);
    this.#onVote(this.#id, true);
  }

  #campaign(force: boolean): void {
    this.#self.setLeader(NO_NODE);
    this.#self.setRole('candidate');
    this.#self.setTerm(this.#self.term + 1, this.#id);
    this.#roles.electionElapsed = 0;
    this.#ballot.begin();
    // Our own vote counts when it is on the disk: see `onPersisted`.
    this.#ballot.request(MessageType.vote, this.#membership.voters, this.#self.term, force);
  }

  /** The leader hands over to us. */
  onTimeoutNow(message: PeerMessage): void {
    if (message.from !== this.#self.leader) return;
    this.#lease.waived(message.term, message.index);
    if (this.#mayCampaign()) this.#campaign(true);
    else this.#askedInTerm = this.#self.term;
  }

  /** More of the log was applied: what we were told to do may be possible now. */
  onApplied(): void {
    if (this.#askedInTerm === 0) return;
    if (this.#askedInTerm !== this.#self.term || this.#self.leader === NO_NODE) {
      this.#askedInTerm = 0;
    } else if (this.#mayCampaign()) {
      this.#askedInTerm = 0;
      this.#campaign(true);
    }
  }

  onVoteReply(reply: PeerMessage): void {
    this.#learnFromReply(reply);
    if (this.#self.role === 'candidate') this.#onVote(reply.from, !reply.reject);
  }

  onPreVoteReply(reply: PeerMessage): void {
    this.#learnFromReply(reply);
    if (this.#self.role !== 'pre-candidate') return;
    // A grant of an earlier attempt names an earlier term.
    if (reply.reject) this.#onVote(reply.from, false);
    else if (reply.term === this.#self.term + 1) this.#onVote(reply.from, true);
  }

  /** Of an older term: no vote any more, but what was committed then still is. */
  onStaleReply(reply: PeerMessage): void {
    this.#learnFromReply(reply);
  }

  /** A voter's grant is all that is needed of it: what it knows comes with the leader that it helps to elect. */
  #learnFromReply(reply: PeerMessage): void {
    if (reply.reject || !this.#membership.voters.includes(reply.from)) this.#learn(reply);
  }

  /** A write is durable: our own vote may be. */
  onPersisted(): void {
    if (this.#self.role === 'candidate' && this.#durability.stateDurable) {
      this.#onVote(this.#id, true);
    }
  }

  #onVote(from: NodeId, isGranted: boolean): void {
    const result = this.#ballot.record(this.#membership, from, isGranted);
    if (result === 'lost') this.#roles.becomeFollower(this.#self.term, NO_NODE);
    if (result !== 'won') return;
    if (this.#self.role === 'pre-candidate') this.#campaign(false);
    else if (this.#durability.stateDurable) this.#roles.becomeLeader();
  }

  /**
   * The connection to the leader broke. Who still hears it grants nothing: so only with the vote before the
   * vote, and where it is refused to those who disturb.
   */
  doubtLeader(peer: NodeId): void {
    const { preVote, checkQuorum, heartbeatTicks } = this.#settings;
    if (!preVote || !checkQuorum || peer !== this.#self.leader) return;
    this.#ballot.timeout.hurry(heartbeatTicks, this.#roles.electionElapsed);
  }

  /** A leader was heard. */
  trustLeader(): void {
    this.#ballot.timeout.calm();
  }

  // As voter

  /**
   * Thesis §4.2.3: whoever hears a leader is not to be disturbed, by a node that was removed or cut off,
   * unless the leader asked for it.
   */
  isUndisturbed(request: PeerMessage): boolean {
    return (
      this.#settings.checkQuorum &&
      !request.force &&
      this.#self.leader !== NO_NODE &&
      !this.#ballot.timeout.isHasty &&
      this.#roles.electionElapsed < this.#settings.electionTicks
    );
  }

  /** Also of a node that is no voter as far as we know: its change may not have reached us yet. */
  onVoteRequest(request: PeerMessage): void {
    this.#learn(request);
    const isPre = request.type === MessageType.preVote;
    const { term, vote, leader } = this.#self;
    const isFree =
      vote === request.from ||
      (vote === NO_NODE && leader === NO_NODE) ||
      (isPre && request.term > term);
    const replyType = isPre ? MessageType.preVoteReply : MessageType.voteReply;
    if (!isFree || !this.#log.isUpToDate(request.index, request.logTerm)) {
      this.refuse(replyType, request.from);
      return;
    }
    if (!isPre) {
      this.#self.setTerm(term, request.from);
      this.#roles.electionElapsed = 0;
    }
    // A grant names the term it is for, which for a pre-vote is not ours.
    this.#reply(draft(replyType, this.#id, request.from, request.term));
  }

  refuse(type: MessageType, to: NodeId): void {
    this.#reply(refusal(type, this.#id, to, this.#self.term));
  }

  /** Says with it what is committed as far as known here. */
  #reply(reply: Draft): void {
    reply.hintIndex = this.#log.commit;
    reply.hintTerm = this.#log.termAt(reply.hintIndex);
    this.#outbox.send(reply);
  }

  /**
   * Takes over what is committed from a message about votes. Else those that are left after a removal
   * could be stuck: without the commit index they ask for the vote of one that has applied its own removal,
   * and whose longer log lets it refuse for ever; or that is gone, and of those left only a learner knows why.
   */
  #learn({ hintIndex, hintTerm }: PeerMessage): void {
    const { role, term } = this.#self;
    if (role === 'leader' || hintIndex <= this.#log.commit || this.#receiver.isInstalling) return;
    if (!this.#log.matches(hintIndex, hintTerm)) return;
    this.#log.commitTo(hintIndex);
    const isCandidate = role === 'candidate' || role === 'pre-candidate';
    if (isCandidate && this.#log.isBehindInChanges) this.#roles.becomeFollower(term, NO_NODE);
  }
}
