/**
 * A node that may have lost what it promised: it started with an empty folder and may have been here
 * before, or it found its log damaged and kept the sound part. It has forgotten what it voted for or what
 * it acknowledged (Raft §5: both are durable, or nothing holds). So it takes no part until one of two
 * things is certain:
 *
 * - the cluster is new: a majority, itself included, has nothing in its log but the first members and heard
 *   of no election, and of the others none that answers has more;
 * - it has caught up with a leader that the others confirmed without it.
 *
 * The second goes in steps. *Silent*: it hears the leader and answers nothing that counts, since it may
 * have promised a later term, and a deposed leader must not find a quorum with its help. It tells the
 * leader, which forgets what this node acknowledged before. A read index granted after that was confirmed
 * by a majority of others, and stands for all that was ever committed with this node's help. *Confirmed*:
 * it acknowledges, like a learner, and gives no vote yet. When it holds all that the read index stands for
 * it votes again, in later terms only, since it may have voted in this one.
 *
 * Of five voters or more a majority of the others leaves some out, and one of those may be a candidate of a
 * later term that has this node's vote already. So there all others have to be heard first, and none may
 * be in a later term than the leader; but for a node that has been nothing but a learner.
 *
 * Of two voters no majority is without this one. Where it was added to a node that was alone, the other has
 * been in every majority since: it has forgotten nothing, and this one may take part at once.
 *
 * With too few of the others up there is no leader: no answer rather than a wrong one.
 */
import type { Core, Effects } from '../core.ts';
import { DelegatingCore } from '../delegating-core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import {
  type Configuration,
  type Consensus,
  type HardState,
  NO_NODE,
  type NodeId,
} from '../types.ts';

/** From so many voters on a majority of the others may leave one of them out. */
const ALL_HEARD_FROM = 5;

/** What a leader or a candidate counts. */
function isCounted({ type }: PeerMessage): boolean {
  return (
    type === MessageType.appendReply ||
    type === MessageType.heartbeatReply ||
    type === MessageType.voteReply ||
    type === MessageType.preVoteReply ||
    type === MessageType.promise ||
    type === MessageType.accepted
  );
}

function withoutCounted(messages: readonly PeerMessage[]): readonly PeerMessage[] {
  return messages.filter((message) => !isCounted(message));
}

/** By its lease a leader may answer reads that is deposed already: here it has to prove that it leads. */
function withoutLease(message: PeerMessage): PeerMessage {
  return message.type === MessageType.readIndex ? { ...message, force: true } : message;
}

/** A core whose node answers nothing that counts until a leader is confirmed, and gives no vote until `end`. */
export class ProbationCore extends DelegatingCore {
  readonly #id: NodeId;
  readonly #consensus: Consensus;
  #configuration: Configuration | undefined;
  #isOver = false;
  /** A majority of others confirmed the leader since this node came back. */
  #isConfirmed = false;
  /** The leader of this term has forgotten what this node acknowledged in an earlier life. */
  #informedTerm = 0;
  /** No vote in terms up to this. */
  #silentUpTo = 0;
  /** Up to here the log is the same as that of the leader of `#agreedTerm`. */
  #agreedIndex = 0;
  #agreedTerm = 0;

  constructor(core: Core, id: NodeId, consensus: Consensus) {
    super(core);
    this.#id = id;
    this.#consensus = consensus;
  }

  /** It takes part like any other node. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** The leader of `term` counts on nothing that is lost: once it is confirmed this node may acknowledge. */
  leaderKnows(term: number): void {
    this.#informedTerm = term;
  }

  /**
   * The probation is about to end.
   * @returns what must be durable before it is forgotten: a vote that was given to nobody else.
   */
  abstain(): HardState {
    this.#silentUpTo = this.status().term;
    return { term: this.#silentUpTo, vote: this.#id, commit: 0 };
  }

  /** From now on this node votes, in terms later than that in which it abstained. */
  end(): void {
    this.#isOver = true;
    if (this.#configuration !== undefined) super.configure(this.#configuration);
  }

  override step(message: PeerMessage): void {
    const { type } = message;
    const isVote =
      type === MessageType.vote || type === MessageType.preVote || type === MessageType.prepare;
    if (isVote && (!this.#isOver || message.term <= this.#silentUpTo)) return;
    // Also after the end the leader of that term may still have heartbeats on their way that it sent before it knew.
    if (this.#isOver && message.term > this.#silentUpTo) super.step(message);
    else if (type === MessageType.heartbeat) super.step(this.#withinWhatAgrees(message));
    else {
      if (type === MessageType.append) this.#noteAgreement(message);
      super.step(message);
    }
  }

  /** An append that fits proves the log up to its end; what is behind may have been replaced once, and forgotten. */
  #noteAgreement({ term, index, logTerm, entries }: PeerMessage): void {
    const status = this.status();
    if (term < status.term) return;
    if (index > status.commit && this.termAt(index) !== logTerm) return;
    const end = index + entries.length;
    this.#agreedIndex = term === this.#agreedTerm ? Math.max(this.#agreedIndex, end) : end;
    this.#agreedTerm = term;
  }

  /**
   * A leader that has not noticed yet takes what was lost for ours, and for committed here. Multi-Paxos takes for
   * chosen what it accepted in that ballot since it started, and nothing else: there it must only not be told of more.
   */
  #withinWhatAgrees(heartbeat: PeerMessage): PeerMessage {
    const { commit, lastIndex } = this.status();
    const isOfAgreed = heartbeat.term === this.#agreedTerm;
    const agreed = this.#consensus === 'paxos' ? lastIndex : isOfAgreed ? this.#agreedIndex : 0;
    const limit = Math.max(agreed, commit);
    return heartbeat.commit > limit ? { ...heartbeat, commit: limit } : heartbeat;
  }

  override configure(configuration: Configuration): void {
    this.#configuration = configuration;
    super.configure(this.#isOver ? configuration : this.#asLearner(configuration));
  }

  #asLearner(configuration: Configuration): Configuration {
    const { voters, learners, joint } = configuration;
    const isVoter = voters.includes(this.#id) || joint?.outgoing.includes(this.#id);
    if (isVoter !== true) return configuration;
    const others = (ids: readonly NodeId[]): NodeId[] => ids.filter((id) => id !== this.#id);
    return {
      voters: others(voters),
      learners: [...others(learners), this.#id].sort(),
      ...(joint === undefined ? {} : { joint: { ...joint, outgoing: others(joint.outgoing) } }),
    };
  }

  override take(): Effects {
    const taken = this.#withAbstention(super.take());
    if (this.#isOver) return taken;
    const effects = {
      ...taken,
      messages: taken.messages.map(withoutLease),
      messagesAfterPersist: taken.messagesAfterPersist.map(withoutLease),
    };
    if (this.#isConfirmed) return effects;
    // What this node said so far had no part in it: nothing of it was sent.
    const { term } = this.status();
    this.#isConfirmed = effects.reads.length > 0 && term === this.#informedTerm;
    return {
      ...effects,
      messages: withoutCounted(effects.messages),
      messagesAfterPersist: withoutCounted(effects.messagesAfterPersist),
    };
  }

  /** The core knows nothing of the vote that `abstain` gave away. */
  #withAbstention(effects: Effects): Effects {
    const { persist } = effects;
    if (this.#silentUpTo === 0 || persist?.hardState?.term !== this.#silentUpTo) return effects;
    const hardState = { ...persist.hardState, vote: this.#id };
    return { ...effects, persist: { ...persist, hardState } };
  }
}

/** What a peer says of itself. */
export interface Standing {
  /** Its log holds nothing but the first members, and it never heard that somebody was elected. */
  readonly isNew: boolean;
  readonly term: number;
  /** It leads that term, and has forgotten what this node acknowledged in an earlier life. */
  readonly leads: boolean;
  /**
   * There are two voters, it and the one that asks, and that was never otherwise since the one that asks is
   * a voter: every majority had it in it, so that nothing is lost with what the other forgot.
   */
  readonly holdsAll: boolean;
  /** The one that asks has been nothing but a learner: nobody ever asked for its vote. */
  readonly neverVoted: boolean;
  readonly voters: readonly NodeId[];
  /** Up to here the log was applied when those were the voters. */
  readonly applied: number;
}

export interface ProbationContext {
  readonly id: NodeId;
  /** The other voters, as far as this node knows them, and up to where it has applied its log. */
  readonly peers: () => readonly NodeId[];
  readonly applied: () => number;
  /**
   * Whether this node can be new: not where its log was damaged, or holds more than the first members, and
   * not once it heard of an election: who leads may count on one that came with an empty folder since.
   */
  readonly mayBeNew: boolean;
  /** How `peer` stands. The leader of a term other than `informedTerm` forgets this node's acknowledgements. */
  readonly ask: (peer: NodeId, informedTerm: number) => Promise<Standing>;
  /** Called with the term whose leader did, before it is asked for a read index. */
  readonly leaderKnows: (term: number) => void;
  /** Resolves when this node holds all that was committed before. */
  readonly caughtUp: () => Promise<void>;
  readonly term: () => number;
  /** Whom it hears as leader: perhaps a voter of whom its own log knows nothing yet. `''`: nobody. */
  readonly leader: () => NodeId;
  /** After so many pauses who has not answered is not there. */
  readonly patience: number;
  /** Resolves after a short while with whether the node still runs. */
  readonly pause: () => Promise<boolean>;
}

/** How a probation ended. */
export type ProbationEnd = 'new' | 'one-of-two' | 'caught-up' | 'closed';

/** Resolves with why the probation is over; `'closed'` where the node is. */
export function probation(context: ProbationContext): Promise<ProbationEnd> {
  return new Probation(context).run();
}

class Probation {
  readonly #context: ProbationContext;
  /** The last answer of each peer. */
  readonly #answers = new Map<NodeId, Standing>();
  readonly #asking = new Set<NodeId>();
  /** Pauses so far. */
  #pauses = 0;
  /** Some log holds more than the first members: this cluster has run before, whatever others say. */
  #hasRun = false;
  #informedTerm = 0;
  #isCatchingUp = false;
  #end: ProbationEnd | undefined;

  constructor(context: ProbationContext) {
    this.#context = context;
  }

  async run(): Promise<ProbationEnd> {
    for (;;) {
      const peers = this.#voters();
      const leader = this.#context.leader();
      if (leader !== NO_NODE && leader !== this.#context.id) peers.add(leader);
      for (const peer of peers) if (!this.#asking.has(peer)) void this.#ask(peer);
      if (!(await this.#context.pause())) return 'closed';
      this.#pauses += 1;
      if (this.#end !== undefined) return this.#end;
    }
  }

  /**
   * All that may vote, without this node: as the newest leader knows them, and as we do, unless the
   * leader has applied as much. Whoever was removed by then lacks that entry, or knows of it: no majority
   * elects it any more, with our forgotten vote or without; and it may be gone for good.
   */
  #voters(): Set<NodeId> {
    const voters = new Set<NodeId>();
    let isKnown = false;
    for (const { leads, term, voters: known, applied } of this.#answers.values()) {
      if (!leads || term < this.#informedTerm) continue;
      for (const id of known) voters.add(id);
      if (applied >= this.#context.applied()) isKnown = true;
    }
    if (!isKnown) for (const id of this.#context.peers()) voters.add(id);
    voters.delete(this.#context.id);
    return voters;
  }

  async #ask(peer: NodeId): Promise<void> {
    this.#asking.add(peer);
    try {
      const standing = await this.#context.ask(peer, this.#informedTerm);
      this.#hasRun ||= !standing.isNew;
      this.#answers.set(peer, standing);
    } catch {
      // Not there. What it said before still holds of its term, and no longer of its log.
      const before = this.#answers.get(peer);
      if (before !== undefined) this.#answers.set(peer, { ...before, isNew: false, leads: false });
    }
    this.#asking.delete(peer);
    this.#consider();
  }

  #consider(): void {
    const voters = this.#voters();
    const answers = [...this.#answers].filter(([peer]) => voters.has(peer)).map(([, said]) => said);
    if (this.#isNewCluster(voters, answers)) this.#end ??= 'new';
    if (answers.some(({ holdsAll }) => holdsAll)) this.#end ??= 'one-of-two';
    const newest = Math.max(0, ...answers.map(({ term }) => term));
    const leader = answers.find(({ leads, term }) => leads && term === newest);
    const isLed = leader !== undefined;
    const isHeard =
      voters.size + 1 < ALL_HEARD_FROM ||
      answers.length === voters.size ||
      leader?.neverVoted === true;
    if (!isLed || !isHeard || newest < this.#informedTerm) return;
    this.#informedTerm = newest;
    this.#context.leaderKnows(newest);
    if (!this.#isCatchingUp) void this.#catchUp(newest);
  }

  /** All have had time to say otherwise: a majority may have heard nothing of what the rest decided with us. */
  #isNewCluster(voters: ReadonlySet<NodeId>, answers: readonly Standing[]): boolean {
    if (!this.#context.mayBeNew || this.#hasRun) return false;
    const isHeard = answers.length === voters.size;
    if (!isHeard && this.#pauses < this.#context.patience) return false;
    const fresh = answers.filter(({ isNew }) => isNew).length;
    return 2 * (fresh + 1) > voters.size + 1;
  }

  async #catchUp(term: number): Promise<void> {
    this.#isCatchingUp = true;
    try {
      await this.#context.caughtUp();
      // Of a later term: that leader may still count on what is lost.
      if (this.#context.term() === term) this.#end ??= 'caught-up';
    } catch {
      // No leader any more: begun again with the next one.
    }
    this.#isCatchingUp = false;
  }
}
