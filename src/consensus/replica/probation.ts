/**
 * A node that starts with an empty folder may have been here before and have lost its disk: it has
 * forgotten what it voted for and what it acknowledged (Raft §5: both are durable, or nothing holds).
 * So it takes no part until one of two things is certain:
 *
 * - the cluster is new: a majority, itself included, has nothing in its log but the first members;
 * - it has caught up with a leader that the others confirmed without it.
 *
 * The second goes in steps. *Silent*: it hears the leader and answers nothing that counts, since it may
 * have promised a later term, and a deposed leader must not find a quorum with its help. A read index
 * granted now was confirmed by a majority of others. *Confirmed*: it acknowledges, like a learner, and
 * gives no vote yet. When it holds all that the read index stands for it votes again, in later terms
 * only, since it may have voted in this one.
 *
 * With too few of the others up there is no leader: no answer rather than a wrong one.
 */
import { isQuorateError } from '../../core/errors.ts';
import type { Core, CoreStatus, Effects, Refusal } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import type { Configuration, EntryType, NodeId, SnapshotMetadata } from '../types.ts';

/**
 * The call that asks a peer whether its log is new: the asking node's id, after a `!` where the leader
 * counts on entries that this node had and lost. The answer is one byte, 1 for new.
 */
export const IS_NEW = 'is-new';

/** What a leader or a candidate counts. */
function isCounted({ type }: PeerMessage): boolean {
  return (
    type === MessageType.appendReply ||
    type === MessageType.heartbeatReply ||
    type === MessageType.voteReply ||
    type === MessageType.preVoteReply
  );
}

function withoutCounted(messages: readonly PeerMessage[]): readonly PeerMessage[] {
  return messages.filter((message) => !isCounted(message));
}

/** A core whose node answers nothing that counts until a leader is confirmed, and gives no vote until `end`. */
export class ProbationCore implements Core {
  readonly #core: Core;
  readonly #id: NodeId;
  #configuration: Configuration | undefined;
  #isOver = false;
  /** A majority of others confirmed the leader since this node came back. */
  #isConfirmed = false;
  /** No vote in terms up to this. */
  #silentUpTo = 0;
  /** The leader counts on entries that this node had in an earlier life. */
  #isMissed = false;

  constructor(core: Core, id: NodeId) {
    this.#core = core;
    this.#id = id;
  }

  /** From now on this node votes, in terms that begin later. */
  end(): void {
    this.#isOver = true;
    this.#silentUpTo = this.#core.status().term;
    if (this.#configuration !== undefined) this.#core.configure(this.#configuration);
  }

  step(message: PeerMessage): void {
    const isVote = message.type === MessageType.vote || message.type === MessageType.preVote;
    if (isVote && (!this.#isOver || message.term <= this.#silentUpTo)) return;
    if (message.type === MessageType.heartbeat && !this.#isOver) {
      this.#core.step(this.#withinOurLog(message));
    } else this.#core.step(message);
  }

  /** Whether the leader is to be told that it counts on what is gone. */
  get isMissed(): boolean {
    return this.#isConfirmed && this.#isMissed;
  }

  /** A leader that has not noticed yet takes what was lost for ours, and for committed here. */
  #withinOurLog(heartbeat: PeerMessage): PeerMessage {
    const { lastIndex } = this.#core.status();
    this.#isMissed = heartbeat.commit > lastIndex;
    return this.#isMissed ? { ...heartbeat, commit: lastIndex } : heartbeat;
  }

  configure(configuration: Configuration): void {
    this.#configuration = configuration;
    this.#core.configure(this.#isOver ? configuration : this.#asLearner(configuration));
  }

  #asLearner({ voters, learners }: Configuration): Configuration {
    if (!voters.includes(this.#id)) return { voters, learners };
    return {
      voters: voters.filter((voter) => voter !== this.#id),
      learners: [...learners, this.#id].sort(),
    };
  }

  tick(): void {
    this.#core.tick();
  }
  propose(
    data: readonly Uint8Array[],
  ): { readonly index: number; readonly term: number } | Refusal {
    return this.#core.propose(data);
  }
  proposeChange(
    type: EntryType,
    data: Uint8Array,
  ): { readonly index: number; readonly term: number } | Refusal {
    return this.#core.proposeChange(type, data);
  }
  readIndex(context: number): void {
    this.#core.readIndex(context);
  }
  persisted(sequence: number): void {
    this.#core.persisted(sequence);
  }
  applied(index: number): void {
    this.#core.applied(index);
  }
  transferLeadership(to: NodeId): boolean {
    return this.#core.transferLeadership(to);
  }
  campaign(): void {
    this.#core.campaign();
  }
  unreachable(peer: NodeId): void {
    this.#core.unreachable(peer);
  }
  lost(peer: NodeId): void {
    this.#core.lost(peer);
  }
  snapshotSent(peer: NodeId, ok: boolean): void {
    this.#core.snapshotSent(peer, ok);
  }
  snapshotInstalled(metadata: SnapshotMetadata): void {
    this.#core.snapshotInstalled(metadata);
  }
  compact(index: number, keepFrom: number): void {
    this.#core.compact(index, keepFrom);
  }
  termAt(index: number): number {
    return this.#core.termAt(index);
  }
  hasEffects(): boolean {
    return this.#core.hasEffects();
  }
  take(): Effects {
    const effects = this.#core.take();
    if (this.#isOver || this.#isConfirmed) return effects;
    // What this node said so far had no part in it: nothing of it was sent.
    this.#isConfirmed = effects.reads.length > 0;
    return {
      ...effects,
      messages: withoutCounted(effects.messages),
      messagesAfterPersist: withoutCounted(effects.messagesAfterPersist),
    };
  }
  status(): CoreStatus {
    return this.#core.status();
  }
}

export interface ProbationContext {
  readonly peers: readonly NodeId[];
  /** Whether `peer` says that its log is new; rejects where it does not answer. */
  readonly ask: (peer: NodeId) => Promise<boolean>;
  /** Resolves when this node holds all that was committed before. */
  readonly caughtUp: () => Promise<void>;
  /** Resolves after a short while. */
  readonly pause: () => Promise<void>;
}

/** Resolves with why the probation is over; `'closed'` where the node is. */
export async function probation(
  context: ProbationContext,
): Promise<'new' | 'caught-up' | 'closed'> {
  const fresh = new Set<NodeId>();
  let outcome: 'caught-up' | 'closed' | undefined;
  const catchUp = async (): Promise<void> => {
    try {
      await context.caughtUp();
      outcome = 'caught-up';
    } catch (error) {
      // No leader yet: asked again. A node that stopped gives no other answer any more.
      if (isQuorateError(error, 'ERR_CLOSED')) outcome = 'closed';
      else isAsking = false;
    }
  };
  let isAsking = false;
  for (;;) {
    if (!isAsking) {
      isAsking = true;
      void catchUp();
    }
    const answers = context.peers.map(async (peer) => {
      if (await context.ask(peer)) fresh.add(peer);
      else fresh.delete(peer);
    });
    await Promise.allSettled(answers);
    if (outcome !== undefined) return outcome;
    if (2 * (fresh.size + 1) > context.peers.length + 1) return 'new';
    await context.pause();
  }
}
