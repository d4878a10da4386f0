/**
 * Phase one from the candidate's side, once for all slots that are not known to be chosen: who was asked,
 * who promised, and what was reported. An acceptor reports in pages of bounded size; it has promised when
 * the last page is here. What is lost is asked for again.
 */
import { assert } from '../../core/assert.ts';
import type { Random } from '../../core/random.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { draft } from '../raft/draft.ts';
import { ElectionTimeout } from '../raft/election-timeout.ts';
import type { Outbox } from '../raft/outbox.ts';
import { type Verdict, verdict } from '../raft/quorum.ts';
import type { Entry, NodeId } from '../types.ts';
import type { PaxosLog } from './log.ts';
import { valuesToPropose } from './recovery.ts';
import { fromRecord, type Slot } from './slot.ts';

/** How far one voter's answer has come. */
interface Answer {
  /** The slot from which the next page is wanted. */
  next: number;
  state: 'asked' | 'granted' | 'refused';
  /** Ticks since it was asked last. */
  ticks: number;
}

/** No leader has as many slots open: what is reported beyond is not believed. */
const MAX_OPEN_SLOTS = 1 << 24;

export class Candidacy {
  readonly #id: NodeId;
  /** An unanswered request is sent again after so many ticks. */
  readonly #retryTicks: number;
  readonly #log: PaxosLog;
  readonly #outbox: Outbox;
  readonly #answers: Map<NodeId, Answer>;
  #voters: readonly NodeId[];
  /** What is being asked: a pre-vote or a prepare, in which ballot, in a hand-over or not. */
  #type: MessageType;
  #force: boolean;
  ballot: number;
  /** The first slot that is not known to be chosen, and the newest report of each from there on. */
  #first: number;
  #reported: (Slot | undefined)[];
  /** Pages that came so far. */
  progress: number;
  readonly timeout: ElectionTimeout;

  constructor(id: NodeId, electionTicks: number, random: Random, log: PaxosLog, outbox: Outbox) {
    this.#id = id;
    this.#retryTicks = Math.max(2, electionTicks >> 1);
    this.#log = log;
    this.#outbox = outbox;
    this.#answers = new Map();
    this.#voters = [];
    this.#type = MessageType.preVote;
    this.#force = false;
    this.ballot = 0;
    this.#first = 0;
    this.#reported = [];
    this.progress = 0;
    this.timeout = new ElectionTimeout(electionTicks, random);
  }

  /** Forgets what was asked and draws a new timeout. */
  end(): void {
    this.#answers.clear();
    this.#reported = [];
    this.ballot = 0;
    this.timeout.draw();
  }

  begin(type: MessageType, ballot: number, voters: readonly NodeId[], force: boolean): void {
    this.end();
    this.#type = type;
    this.#force = force;
    this.#voters = voters;
    this.ballot = ballot;
    this.#first = this.#log.commit + 1;
    for (const voter of voters) {
      const answer: Answer = { next: this.#first, state: 'asked', ticks: 0 };
      this.#answers.set(voter, answer);
      if (voter !== this.#id) this.#ask(voter, answer);
    }
  }

  #ask(voter: NodeId, answer: Answer): void {
    const request = draft(this.#type, this.#id, voter, this.ballot);
    request.index = answer.next;
    request.force = this.#force;
    answer.ticks = 0;
    this.#outbox.send(request);
  }

  tick(): void {
    for (const [voter, answer] of this.#answers) {
      if (answer.state !== 'asked' || voter === this.#id) continue;
      answer.ticks += 1;
      if (answer.ticks >= this.#retryTicks) this.#ask(voter, answer);
    }
  }

  /** Counts a plain yes or no; only the first of each voter counts. */
  record(from: NodeId, isGranted: boolean): Verdict {
    const answer = this.#answers.get(from);
    if (answer?.state === 'asked') answer.state = isGranted ? 'granted' : 'refused';
    return this.#verdict();
  }

  /** This node's own promise is durable: its own acceptances count as reported. */
  recordOwn(): Verdict {
    assert(this.#log.commit + 1 === this.#first, 'nothing is learned while a ballot is prepared');
    for (let index = this.#first; index <= this.#log.lastIndex; index++) {
      this.#report(this.#log.at(index), index);
    }
    return this.record(this.#id, true);
  }

  /** A page of a promise. A page that was not asked for, or came twice, counts for nothing. */
  onPromise(promise: PeerMessage): Verdict {
    const answer = this.#answers.get(promise.from);
    if (answer?.state !== 'asked' || promise.index !== answer.next) return this.#verdict();
    if (promise.reject) return this.record(promise.from, false);
    const slots = this.#readPage(promise.entries, answer.next);
    if (slots === undefined) return this.#verdict();
    for (const slot of slots) this.#report(slot, slot.value.index);
    const last = slots.at(-1)?.value.index;
    if (last === undefined || last >= promise.hintIndex) return this.record(promise.from, true);
    answer.next = last + 1;
    answer.ticks = 0;
    this.progress += 1;
    if (promise.force) this.#ask(promise.from, answer);
    return this.#verdict();
  }

  /** Never trust the wire: slots rise from `from` on, and what they hold are values. */
  #readPage(records: readonly Entry[], from: number): Slot[] | undefined {
    const slots: Slot[] = [];
    let least = from;
    for (const record of records) {
      const slot = fromRecord(record);
      if (slot === undefined || slot.ballot >= this.ballot) return undefined;
      if (record.index < least || record.index - from > MAX_OPEN_SLOTS) return undefined;
      slots.push(slot);
      least = record.index + 1;
    }
    return slots;
  }

  #report(slot: Slot | undefined, index: number): void {
    const at = index - this.#first;
    while (this.#reported.length <= at) this.#reported.push(undefined);
    if (slot !== undefined && slot.ballot > (this.#reported[at]?.ballot ?? 0)) {
      this.#reported[at] = slot;
    }
  }

  #verdict(): Verdict {
    let granted = 0;
    let refused = 0;
    for (const { state } of this.#answers.values()) {
      if (state === 'granted') granted += 1;
      else if (state === 'refused') refused += 1;
    }
    return verdict(this.#voters.length, granted, refused);
  }

  /** A majority has promised: what to propose first, from the first open slot on. */
  values(): Entry[] {
    return valuesToPropose(this.#first, this.#reported, this.#log.termAt(this.#log.commit));
  }
}
