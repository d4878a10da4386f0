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
 * A commit index alone is no reason to write: it rides along with the next entries. What that
 * loses in a crash is learned again from the leader.
 */
import { assert, unreachable } from '../../core/assert.ts';
import { QuorateError } from '../../core/errors.ts';
import type { Random } from '../../core/random.ts';
import type { Core, CoreStatus, Effects, Refusal } from '../core.ts';
import {
  type Configuration,
  type Entry,
  EntryType,
  type HardState,
  NO_NODE,
  type NodeId,
  type Role,
  type SnapshotMetadata,
} from '../types.ts';
import { Ballot } from './ballot.ts';
import { draft } from './draft.ts';
import { Durability } from './durability.ts';
import { RaftLog } from './log.ts';
import { MessageType, type RaftMessage } from './messages.ts';
import { Outbox } from './outbox.ts';
import { Reads } from './reads.ts';
import { Receiver } from './receiver.ts';
import { Replication } from './replication.ts';
import { type RaftSettings, validateSettings } from './settings.ts';

export interface RaftOptions {
  readonly id: NodeId;
  /** What is absent has its default. */
  readonly settings?: Partial<RaftSettings>;
  readonly random: Random;
  readonly hardState: HardState;
  readonly configuration: Configuration;
  /** The newest snapshot of the state machine; `{ index: 0, term: 0 }` where there is none. */
  readonly snapshot: { readonly index: number; readonly term: number };
  /** The log after the snapshot; all of it is durable. */
  readonly entries: readonly Entry[];
  /** What the state machine has applied already: later entries are handed out. */
  readonly applied: number;
}

const NOTHING: readonly never[] = Object.freeze([]);
const NO_DATA = new Uint8Array(0);

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
  readonly #reads: Reads;
  readonly #receiver: Receiver;
  readonly #ballot: Ballot;
  #configuration: Configuration;
  #isVoter: boolean;

  #role: Role;
  #term: number;
  #vote: NodeId;
  #leader: NodeId;
  /** Ticks since: contact with a leader or a vote given; as leader, since the last quorum check. */
  #electionElapsed: number;
  #heartbeatElapsed: number;
  /** As leader: to whom leadership is being handed. */
  #transferee: NodeId;
  /** As leader: its first entry. Until that is committed nothing of older terms counts as committed. */
  #termStart: number;
  /** As leader: payload of the entries after `commit`. */
  #uncommittedBytes: number;

  #stateChanged: boolean;
  /** The commit index that the newest write holds. */
  #offeredCommit: number;

  constructor(options: RaftOptions) {
    const { id, random, hardState, snapshot, entries, applied } = options;
    this.#id = id;
    this.#settings = validateSettings(options.settings);
    this.#log = new RaftLog({ snapshot, entries, applied, commit: hardState.commit });
    this.#durability = new Durability(this.#log.lastIndex);
    this.#outbox = new Outbox(this.#durability);
    this.#replication = new Replication(id, this.#settings, this.#log, this.#outbox);
    this.#reads = new Reads(id, this.#settings, random, this.#outbox, this.#replication);
    this.#receiver = new Receiver(id, this.#log, this.#durability, this.#outbox);
    const { electionTicks } = this.#settings;
    this.#ballot = new Ballot(id, electionTicks, random, this.#log, this.#outbox);
    this.#configuration = options.configuration;
    this.#isVoter = options.configuration.voters.includes(id);
    this.#replication.configure(options.configuration);
    this.#role = this.#isVoter ? 'follower' : 'learner';
    this.#term = hardState.term;
    this.#vote = hardState.vote;
    this.#leader = NO_NODE;
    this.#electionElapsed = 0;
    this.#heartbeatElapsed = 0;
    this.#transferee = NO_NODE;
    this.#termStart = 0;
    this.#uncommittedBytes = 0;
    this.#stateChanged = true;
    this.#offeredCommit = hardState.commit;
    if (hardState.term < this.#log.lastTerm) {
      throw new QuorateError(
        'ERR_CORRUPT',
        `the log holds term ${this.#log.lastTerm}, but the recorded term is ${hardState.term}: ` +
          'the data directory is damaged; restore it, or remove the node and add it anew',
      );
    }
  }

  // Time

  tick(): void {
    this.#electionElapsed += 1;
    if (this.#role === 'leader') this.#tickLeader();
    else this.#tickFollower();
  }

  #tickFollower(): void {
    if (this.#electionElapsed >= this.#ballot.timeout && this.#mayCampaign()) {
      this.#startCampaign();
      return;
    }
    this.#reads.tick(this.#leader, this.#term);
  }

  #tickLeader(): void {
    this.#replication.tick();
    this.#heartbeatElapsed += 1;
    if (this.#electionElapsed >= this.#settings.electionTicks) {
      this.#electionElapsed = 0;
      // A transfer that took this long has failed: serve again (thesis §3.10).
      this.#transferee = NO_NODE;
      if (this.#settings.checkQuorum && !this.#replication.checkQuorum()) {
        this.#becomeFollower(this.#term, NO_NODE);
        return;
      }
    }
    if (this.#heartbeatElapsed >= this.#settings.heartbeatTicks) {
      this.#heartbeatElapsed = 0;
      this.#replication.sendHeartbeats(this.#term, this.#reads.round);
    }
  }

  // Messages

  step(message: RaftMessage): void {
    if (message.to !== this.#id || message.from === this.#id) return;
    if (message.term < this.#term) {
      this.#answerStale(message);
      return;
    }
    if (message.term > this.#term && !this.#meetNewerTerm(message)) return;
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
        if (this.#role === 'candidate') this.#onVote(message.from, !message.reject);
        return;
      case MessageType.preVoteReply:
        this.#onPreVoteReply(message);
        return;
      case MessageType.appendReply:
      case MessageType.heartbeatReply:
        if (this.#role === 'leader') this.#onFollowerReply(message);
        return;
      case MessageType.readIndex:
        if (this.#role === 'leader') this.#reads.lead(message.context, message.from);
        return;
      case MessageType.readIndexReply:
        this.#reads.onReply(message);
        return;
      case MessageType.timeoutNow:
        if (message.from === this.#leader && this.#mayCampaign()) this.#campaign(true);
        return;
      default:
        unreachable(message.type);
    }
  }

  /** Raft §5.1: a newer term makes a follower of anyone. Returns whether the message still matters. */
  #meetNewerTerm(message: RaftMessage): boolean {
    const { type } = message;
    if (type === MessageType.vote || type === MessageType.preVote) {
      // Thesis §4.2.3: whoever hears a leader is not to be disturbed, unless the leader asked for it.
      const hearsLeader =
        this.#leader !== NO_NODE && this.#electionElapsed < this.#settings.electionTicks;
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
  #answerStale(message: RaftMessage): void {
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
    const reply = draft(type, this.#id, to, this.#term);
    reply.reject = true;
    this.#outbox.send(reply);
  }

  // Elections (Raft §5.2, §5.4.1)

  campaign(): void {
    if (this.#mayCampaign()) this.#startCampaign();
  }

  #mayCampaign(): boolean {
    return this.#isVoter && this.#role !== 'leader' && !this.#receiver.isInstalling;
  }

  #startCampaign(): void {
    if (this.#settings.preVote) this.#preCampaign();
    else this.#campaign(false);
  }

  /** Asks who would vote, and changes nothing (thesis §9.6). */
  #preCampaign(): void {
    // No leader is known from here on: others that lost it as well must get our vote.
    this.#setLeader(NO_NODE);
    this.#setRole('pre-candidate');
    this.#electionElapsed = 0;
    this.#ballot.begin();
    this.#ballot.request(MessageType.preVote, this.#configuration.voters, this.#term + 1, false);
    this.#onVote(this.#id, true);
  }

  #campaign(force: boolean): void {
    this.#setLeader(NO_NODE);
    this.#setRole('candidate');
    this.#setTerm(this.#term + 1, this.#id);
    this.#electionElapsed = 0;
    this.#ballot.begin();
    // Our own vote counts when it is on the disk: see `persisted`.
    this.#ballot.request(MessageType.vote, this.#configuration.voters, this.#term, force);
  }

  #onVoteRequest(request: RaftMessage): void {
    const isPre = request.type === MessageType.preVote;
    const isFree =
      this.#vote === request.from ||
      (this.#vote === NO_NODE && this.#leader === NO_NODE) ||
      (isPre && request.term > this.#term);
    const replyType = isPre ? MessageType.preVoteReply : MessageType.voteReply;
    if (!isFree || !this.#log.isUpToDate(request.index, request.logTerm)) {
      this.#refuse(replyType, request.from);
      return;
    }
    if (!isPre) {
      this.#setTerm(this.#term, request.from);
      this.#electionElapsed = 0;
    }
    // A grant names the term it is for, which for a pre-vote is not ours.
    this.#outbox.send(draft(replyType, this.#id, request.from, request.term));
  }

  #onPreVoteReply(reply: RaftMessage): void {
    if (this.#role !== 'pre-candidate') return;
    // A grant of an earlier attempt names an earlier term.
    if (reply.reject) this.#onVote(reply.from, false);
    else if (reply.term === this.#term + 1) this.#onVote(reply.from, true);
  }

  #onVote(from: NodeId, isGranted: boolean): void {
    const result = this.#ballot.record(this.#configuration.voters, from, isGranted);
    if (result === 'lost') this.#becomeFollower(this.#term, NO_NODE);
    if (result !== 'won') return;
    if (this.#role === 'pre-candidate') this.#campaign(false);
    else this.#becomeLeader();
  }

  // Roles

  #becomeFollower(term: number, leader: NodeId): void {
    assert(term >= this.#term, 'terms never fall');
    if (term > this.#term) this.#setTerm(term, NO_NODE);
    // The timer runs on unless there is a leader to wait for: a candidate whose log is behind must
    // not keep the others from campaigning.
    if (this.#role === 'leader' || leader !== NO_NODE) this.#electionElapsed = 0;
    this.#ballot.begin();
    this.#transferee = NO_NODE;
    this.#setRole(this.#isVoter ? 'follower' : 'learner');
    this.#setLeader(leader);
  }

  #becomeLeader(): void {
    assert(this.#role === 'candidate', 'only a candidate becomes leader');
    assert(this.#durability.stateDurable, "a leader's own vote is durable");
    this.#setRole('leader');
    this.#setLeader(this.#id);
    this.#transferee = NO_NODE;
    this.#electionElapsed = 0;
    this.#heartbeatElapsed = 0;
    this.#replication.reset();
    const { commit, lastIndex } = this.#log;
    this.#uncommittedBytes = this.#log.payloadBytes(commit, lastIndex);
    // An entry of its own term lets a leader find out what is committed (Raft §5.4.2, §8).
    this.#termStart = this.#append(NO_DATA);
  }

  #setRole(role: Role): void {
    if (role === this.#role) return;
    this.#role = role;
    this.#stateChanged = true;
  }

  #setTerm(term: number, vote: NodeId): void {
    if (term === this.#term && vote === this.#vote) return;
    if (term !== this.#term) {
      this.#reads.abandon();
      this.#stateChanged = true;
    } else {
      assert(this.#vote === NO_NODE, 'one vote a term');
    }
    this.#term = term;
    this.#vote = vote;
    this.#durability.stateDirty = true;
  }

  #setLeader(leader: NodeId): void {
    if (leader === this.#leader) return;
    this.#reads.abandon();
    this.#leader = leader;
    this.#stateChanged = true;
  }

  // Following a leader (Raft §5.3, §7)

  #followLeader(message: RaftMessage): void {
    assert(this.#role !== 'leader', 'a term has one leader');
    assert(
      this.#leader === NO_NODE || this.#leader === message.from,
      'a term has one leader, and it does not change',
    );
    if (this.#leader === NO_NODE) this.#becomeFollower(this.#term, message.from);
    this.#electionElapsed = 0;
  }

  snapshotInstalled(metadata: SnapshotMetadata): void {
    this.#receiver.onInstalled(metadata.index, metadata.term);
    this.configure(metadata.configuration);
    if (this.#leader !== NO_NODE) {
      this.#receiver.acknowledge(this.#leader, metadata.index, this.#term);
    }
  }

  // Leading (Raft §5.3)

  propose(
    data: readonly Uint8Array[],
  ): { readonly index: number; readonly term: number } | Refusal {
    if (this.#role !== 'leader') return this.#leader === NO_NODE ? 'no-leader' : 'not-leader';
    if (this.#transferee !== NO_NODE) return 'transferring';
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
    for (let at = 0; at < data.length; at++) this.#append(data[at]!);
    return { index: lastIndex + 1, term: this.#term };
  }

  #append(data: Uint8Array): number {
    const index = this.#log.lastIndex + 1;
    this.#log.append({ type: EntryType.normal, term: this.#term, index, data });
    this.#replication.isDue = true;
    return index;
  }

  #onFollowerReply(reply: RaftMessage): void {
    const peer = this.#replication.progressOf(reply.from);
    if (peer === undefined) return;
    if (reply.type === MessageType.heartbeatReply) {
      this.#replication.onHeartbeatReply(peer, reply);
      this.#reads.completeRound(this.#term);
      return;
    }
    if (this.#replication.onAppendReply(peer, reply)) this.#advanceCommit();
    if (peer.id === this.#transferee && peer.match === this.#log.lastIndex) {
      this.#sendTimeoutNow(peer.id);
    }
  }

  /** Raft §5.4.2: only an entry of the own term is committed by counting; it commits all before it. */
  #advanceCommit(): void {
    const index = this.#replication.matchedByMajority(this.#durability.durableIndex);
    if (index <= this.#log.commit || this.#log.termAt(index) !== this.#term) return;
    this.#commitTo(index);
    this.#replication.isDue = true;
  }

  #commitTo(index: number): void {
    const before = this.#log.commit;
    this.#log.commitTo(index);
    if (this.#role !== 'leader') return;
    this.#uncommittedBytes -= this.#log.payloadBytes(before, this.#log.commit);
    assert(this.#uncommittedBytes >= 0, 'uncommitted bytes are counted once');
  }

  transferLeadership(to: NodeId): boolean {
    if (this.#role !== 'leader' || to === this.#id) return false;
    const peer = this.#replication.progressOf(to);
    if (peer === undefined || !peer.isVoter) return false;
    if (this.#transferee === to) return true;
    this.#transferee = to;
    this.#electionElapsed = 0;
    if (peer.match === this.#log.lastIndex) this.#sendTimeoutNow(to);
    return true;
  }

  #sendTimeoutNow(to: NodeId): void {
    this.#outbox.send(draft(MessageType.timeoutNow, this.#id, to, this.#term));
  }

  // Reads

  readIndex(context: number): void {
    if (this.#role === 'leader') this.#reads.lead(context, NO_NODE);
    else if (this.#leader !== NO_NODE) this.#reads.follow(context);
    else this.#reads.drop(context);
  }

  /** Before the first commit of its term a leader's commit index may be old (Raft §8). */
  #mayBeginRound(): boolean {
    return this.#reads.isRoundDue && this.#log.commit >= this.#termStart;
  }

  // What the replica reports

  persisted(sequence: number): void {
    this.#durability.complete(sequence);
    this.#outbox.release(this.#durability.durableSequence);
    if (this.#role === 'leader') this.#advanceCommit();
    else if (this.#role === 'candidate' && this.#durability.stateDurable) {
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
    if (this.#role === 'leader') {
      if (!this.#isVoter) {
        this.#becomeFollower(this.#term, NO_NODE);
        return;
      }
      if (this.#replication.progressOf(this.#transferee)?.isVoter !== true) {
        this.#transferee = NO_NODE;
      }
      // A smaller quorum may hold more than the larger one did.
      this.#advanceCommit();
      this.#reads.completeRound(this.#term);
    } else if (!this.#isVoter || this.#role === 'learner') {
      this.#setRole(this.#isVoter ? 'follower' : 'learner');
    }
  }

  unreachable(peer: NodeId): void {
    const progress = this.#role === 'leader' ? this.#replication.progressOf(peer) : undefined;
    if (progress !== undefined) this.#replication.onUnreachable(progress);
  }

  snapshotSent(peer: NodeId, ok: boolean): void {
    const progress = this.#role === 'leader' ? this.#replication.progressOf(peer) : undefined;
    if (progress !== undefined) this.#replication.onSnapshotSent(progress, ok);
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
      (this.#role === 'leader'
        ? this.#replication.isDue || this.#replication.hasSnapshotsWanted || this.#mayBeginRound()
        : this.#reads.isForwardDue) ||
      this.#stateChanged
    );
  }

  take(): Effects {
    let snapshotsWanted: readonly RaftMessage[] = NOTHING;
    if (this.#role === 'leader') {
      if (this.#mayBeginRound() && this.#reads.beginRound(this.#log.commit, this.#term)) {
        this.#heartbeatElapsed = 0;
      }
      if (this.#replication.isDue) this.#replication.sendAll(this.#term);
      if (this.#replication.hasSnapshotsWanted) {
        snapshotsWanted = this.#replication.takeSnapshotsWanted();
      }
    } else if (this.#reads.isForwardDue) {
      this.#reads.forward(this.#leader, this.#term);
    }
    const effects: Effects = {
      persist: this.#takePersist(),
      messages: this.#outbox.takeReady(),
      messagesAfterPersist: this.#outbox.takeAfterWrite(),
      committed: this.#takeCommitted(),
      reads: this.#reads.takeAnswered(),
      droppedReads: this.#reads.takeDropped(),
      install: this.#receiver.takeInstall(),
      snapshotsWanted,
      stateChanged: this.#stateChanged,
    };
    assert(
      effects.messagesAfterPersist.length === 0 || effects.persist !== undefined,
      'a message that waits for a write has one to wait for',
    );
    this.#stateChanged = false;
    return effects;
  }

  #takePersist(): Effects['persist'] {
    const { offeredIndex, stateDirty } = this.#durability;
    const { commit, lastIndex } = this.#log;
    const hasEntries = lastIndex > offeredIndex;
    if (!hasEntries && !stateDirty) return undefined;
    const withState = stateDirty || commit > this.#offeredCommit;
    const sequence = this.#durability.begin(lastIndex);
    if (withState) this.#offeredCommit = commit;
    return {
      sequence,
      hardState: withState ? { term: this.#term, vote: this.#vote, commit } : undefined,
      entries: hasEntries ? this.#log.slice(offeredIndex + 1, lastIndex, Infinity) : NOTHING,
    };
  }

  #takeCommitted(): readonly Entry[] {
    const log = this.#log;
    if (log.handedOut >= log.commit || this.#receiver.isInstalling) return NOTHING;
    const { maxCommittedBytesPerTake, maxCommittedEntriesPerTake } = this.#settings;
    const to = Math.min(log.commit, log.handedOut + maxCommittedEntriesPerTake);
    const entries = log.slice(log.handedOut + 1, to, maxCommittedBytesPerTake);
    log.handedOut = entries[entries.length - 1]!.index;
    return entries;
  }

  status(): CoreStatus {
    return {
      id: this.#id,
      role: this.#role,
      term: this.#term,
      leader: this.#leader,
      commit: this.#log.commit,
      handedOut: this.#log.handedOut,
      lastIndex: this.#log.lastIndex,
      firstIndex: this.#log.firstIndex,
      peers: this.#role === 'leader' ? this.#replication.status() : NOTHING,
    };
  }
}
