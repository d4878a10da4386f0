/** Linearizable reads of one node, in whichever role it is: where they wait and what answers them. */
import type { Random } from '../../core/random.ts';
import type { ReadState } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { NO_NODE, type NodeId } from '../types.ts';
import { draft } from './draft.ts';
import type { Outbox } from './outbox.ts';
import { ForwardedReads, type ReadBatch, ReadRounds } from './read-index.ts';
import type { Replication } from './replication.ts';
import type { RaftSettings } from './settings.ts';

/** How a read round reaches a majority. */
export type ReadQuorum = Pick<Replication, 'readByMajority' | 'sendHeartbeats'>;

const NOTHING: readonly never[] = Object.freeze([]);

export class Reads {
  readonly #id: NodeId;
  readonly #outbox: Outbox;
  readonly #replication: ReadQuorum;
  readonly #rounds: ReadRounds;
  readonly #forwarded: ForwardedReads;
  #answered: ReadState[];
  #dropped: number[];

  constructor(
    id: NodeId,
    settings: RaftSettings,
    random: Random,
    outbox: Outbox,
    replication: ReadQuorum,
  ) {
    const { maxPendingReads, electionTicks } = settings;
    this.#id = id;
    this.#outbox = outbox;
    this.#replication = replication;
    this.#rounds = new ReadRounds(maxPendingReads);
    this.#forwarded = new ForwardedReads(maxPendingReads, electionTicks, random);
    this.#answered = [];
    this.#dropped = [];
  }

  get hasResults(): boolean {
    return this.#answered.length > 0 || this.#dropped.length > 0;
  }

  takeAnswered(): readonly ReadState[] {
    if (this.#answered.length === 0) return NOTHING;
    const answered = this.#answered;
    this.#answered = [];
    return answered;
  }

  takeDropped(): readonly number[] {
    if (this.#dropped.length === 0) return NOTHING;
    const dropped = this.#dropped;
    this.#dropped = [];
    return dropped;
  }

  drop(context: number): void {
    this.#dropped.push(context);
  }

  /** Leader or term changed: nobody is left to answer what waits. */
  abandon(): void {
    this.#rounds.abandon(this.#dropped);
    this.#forwarded.abandon(this.#dropped);
  }

  // As leader

  /** What heartbeats carry: the newest round begun. */
  get round(): number {
    return this.#rounds.newest;
  }

  get isRoundDue(): boolean {
    return this.#rounds.isDue;
  }

  /** A read of this node (`NO_NODE`) or a batch of a follower. A follower gets no refusal: it asks again. */
  lead(context: number, origin: NodeId): void {
    if (!this.#rounds.add(context, origin) && origin === NO_NODE) this.#dropped.push(context);
  }

  /** Begins a round with read index `commit`. Returns whether it needs the answers of others. */
  beginRound(commit: number, term: number): boolean {
    this.#rounds.begin(commit);
    this.completeRound(term);
    if (this.#rounds.isFlying) this.#replication.sendHeartbeats(term, this.#rounds.newest);
    return this.#rounds.isFlying;
  }

  /** Answers the reads of the round under way if a quorum has answered it. */
  completeRound(term: number): void {
    if (!this.#rounds.isFlying) return;
    const batch = this.#rounds.complete(this.#replication.readByMajority(this.#rounds.newest));
    if (batch !== undefined) this.#answer(batch, this.#rounds.flyingIndex, term);
  }

  #answer(batch: ReadBatch, index: number, term: number): void {
    for (let at = 0; at < batch.contexts.length; at++) {
      this.answer(batch.contexts[at]!, batch.origins[at]!, index, term);
    }
  }

  /** Answers a read of this node (`NO_NODE`) or a batch of a follower with the read index. */
  answer(context: number, origin: NodeId, index: number, term: number): void {
    if (origin === NO_NODE) {
      this.#answered.push({ context, index });
      return;
    }
    const reply = draft(MessageType.readIndexReply, this.#id, origin, term);
    reply.context = context;
    reply.index = index;
    this.#outbox.send(reply);
  }

  // As follower

  get isForwardDue(): boolean {
    return this.#forwarded.isDue;
  }

  /** A read of this node, for the leader to answer. */
  follow(context: number): void {
    if (!this.#forwarded.add(context)) this.#dropped.push(context);
  }

  /** Asks the leader for all that gathered. */
  forward(leader: NodeId, term: number): void {
    this.#ask(this.#forwarded.begin(), leader, term);
  }

  tick(leader: NodeId, term: number): void {
    const again: number[] = [];
    this.#forwarded.tick(again, this.#dropped);
    for (const batch of again) this.#ask(batch, leader, term);
  }

  #ask(batch: number, leader: NodeId, term: number): void {
    const request = draft(MessageType.readIndex, this.#id, leader, term);
    request.context = batch;
    this.#outbox.send(request);
  }

  onReply(reply: PeerMessage): void {
    const contexts = this.#forwarded.complete(reply.context);
    if (contexts === undefined) return;
    for (const context of contexts) this.#answered.push({ context, index: reply.index });
  }
}
