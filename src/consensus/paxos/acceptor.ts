/**
 * The acceptor and learner of every slot: what it accepts of a leader (phase 2b), what it reports to a
 * candidate (phase 1b), how it finds out what is chosen, and snapshots.
 *
 * Accepts may come in any order within a window: a lost one leaves a hole, which the leader is told of.
 * What is chosen is learned from the leader's commit index: up to there, a slot that was accepted in that
 * leader's own ballot holds what is chosen, since a leader proposes nothing else where a value is chosen.
 */
import { assert } from '../../core/assert.ts';
import { QuorateError } from '../../core/errors.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { draft } from '../raft/draft.ts';
import type { Outbox } from '../raft/outbox.ts';
import type { Configuration, Entry, NodeId, SnapshotMetadata } from '../types.ts';
import type { PaxosDurability } from './durability.ts';
import type { PaxosLog } from './log.ts';
import { isValue, slotBytes, toRecord } from './slot.ts';

export class Acceptor {
  readonly #id: NodeId;
  readonly #log: PaxosLog;
  readonly #durability: PaxosDurability;
  readonly #outbox: Outbox;
  /** Slots that may be accepted ahead of what is chosen. Beyond, accepts are dropped and asked for again. */
  readonly #maxAhead: number;
  /** All up to here is chosen, or accepted in the present ballot. */
  #match: number;
  #installing: SnapshotMetadata | undefined;
  #isHandedOut: boolean;

  constructor(
    id: NodeId,
    log: PaxosLog,
    durability: PaxosDurability,
    outbox: Outbox,
    maxAhead: number,
  ) {
    this.#id = id;
    this.#log = log;
    this.#durability = durability;
    this.#outbox = outbox;
    this.#maxAhead = maxAhead;
    this.#match = log.commit;
    this.#installing = undefined;
    this.#isHandedOut = false;
  }

  get match(): number {
    return this.#match;
  }

  /** The log is about to be replaced: until then it accepts nothing, and the node does not campaign. */
  get isInstalling(): boolean {
    return this.#installing !== undefined;
  }

  get hasOpenChange(): boolean {
    return this.#log.hasOpenChange;
  }

  get isInstallDue(): boolean {
    return this.#installing !== undefined && !this.#isHandedOut;
  }

  /** The snapshot to install, once. */
  takeInstall(): SnapshotMetadata | undefined {
    if (this.#isHandedOut) return undefined;
    this.#isHandedOut = this.#installing !== undefined;
    return this.#installing;
  }

  /** Another ballot was promised: what was accepted in older ones counts only where it is chosen. */
  beginBallot(ballot: number): void {
    this.#match = this.#log.commit;
    this.#durability.beginBallot(this.#log.commit);
    this.#advance(ballot);
  }

  /** After a restart: `ballot` was promised before, and part of it accepted. All of it is durable. */
  resume(ballot: number): void {
    this.#advance(ballot);
    this.#durability.installed(this.#match);
  }

  #advance(ballot: number): void {
    // Before the first ballot nothing is accepted; a hole has none either.
    if (ballot === 0) return;
    while (this.#log.ballotAt(this.#match + 1) === ballot) this.#match += 1;
  }

  // Phase one

  /**
   * The promise, with what was accepted from the asked slot on, in pages of at most `pageBytes`. Beyond
   * `maxBytes` the last page says `force`: the candidate asks for the rest, by preparing again from behind it.
   * Nothing older than what is still in the log can be reported: a candidate that lacks it must catch up first.
   */
  promise(prepare: PeerMessage, pageBytes: number, maxBytes: number): void {
    let from = prepare.index;
    for (let bytes = 0; ; ) {
      const reply = draft(MessageType.promise, this.#id, prepare.from, prepare.term);
      const slots = this.#log.slice(from, this.#log.lastIndex, pageBytes);
      reply.index = from;
      reply.hintIndex = this.#log.lastIndex;
      reply.commit = this.#log.commit;
      reply.entries = slots.map(toRecord);
      for (const slot of slots) bytes += slotBytes(slot);
      from = (slots.at(-1)?.value.index ?? this.#log.lastIndex) + 1;
      const isLast = from > this.#log.lastIndex;
      reply.force = !isLast && bytes >= maxBytes;
      this.#outbox.send(reply);
      if (isLast || reply.force) return;
    }
  }

  /** Whether a candidate that knows all before `index` to be chosen can be told of all the rest. */
  canReportFrom(index: number): boolean {
    return index > this.#log.offset;
  }

  // Phase two

  /** A value that this node proposes itself, in `ballot`. */
  acceptOwn(ballot: number, value: Entry): void {
    this.#log.accept(ballot, value);
    this.#durability.slotsDirty = true;
    this.#advance(ballot);
  }

  onAccept(accept: PeerMessage): void {
    // The leader will send again what is needed after the snapshot.
    if (this.#installing !== undefined || !isWellFormed(accept)) return;
    const { term: ballot, entries } = accept;
    const log = this.#log;
    const furthest = log.commit + this.#maxAhead;
    for (const value of entries) {
      const { index } = value;
      if (index <= log.commit || index > furthest || log.ballotAt(index) === ballot) continue;
      log.accept(ballot, value);
      this.#durability.slotsDirty = true;
    }
    this.#advance(ballot);
    log.commitTo(Math.min(accept.commit, this.#match));
    // Also with a hole behind it the row counts: else a leader with more open than we hold would wait for ever.
    this.acknowledge(accept.from, ballot);
    if (this.#match < accept.index + entries.length) this.#reportHole(accept);
  }

  /** Promises all up to the match: leaves when that is durable. */
  acknowledge(to: NodeId, ballot: number): void {
    const reply = draft(MessageType.accepted, this.#id, to, ballot);
    reply.index = this.#match;
    this.#outbox.sendDurable(reply, this.#match);
  }

  #reportHole(accept: PeerMessage): void {
    const reply = draft(MessageType.accepted, this.#id, accept.from, accept.term);
    reply.reject = true;
    reply.index = this.#match;
    let end = this.#match + 1;
    const sent = accept.index + accept.entries.length;
    while (end < sent && this.#log.ballotAt(end + 1) !== accept.term) end += 1;
    reply.hintIndex = end;
    this.#outbox.send(reply);
  }

  onHeartbeat(heartbeat: PeerMessage): void {
    if (this.#installing === undefined) {
      // A leader tells us only of what we have promised to hold.
      if (heartbeat.commit > this.#log.lastIndex) {
        throw new QuorateError(
          'ERR_CORRUPT',
          `the leader holds our promise of slot ${heartbeat.commit}, but our log ends at ${this.#log.lastIndex}: ` +
            'the data directory was lost or replaced; start this node with an empty one',
        );
      }
      this.#log.commitTo(Math.min(heartbeat.commit, this.#match));
    }
    const reply = draft(MessageType.heartbeatReply, this.#id, heartbeat.from, heartbeat.term);
    reply.context = heartbeat.context;
    this.#outbox.send(reply);
  }

  // Snapshots

  /** The whole of a snapshot has arrived; `configuration` stands in until the snapshot's own is read. */
  onSnapshot(message: PeerMessage, configuration: Configuration): void {
    if (this.#installing !== undefined) return;
    const { index, logTerm: term } = message;
    if (index <= this.#log.commit) {
      this.acknowledge(message.from, message.term);
      return;
    }
    this.#installing = { index, term, configuration };
    this.#isHandedOut = false;
  }

  onInstalled(index: number, term: number, ballot: number): void {
    assert(this.#isHandedOut, 'only a snapshot that was handed out is installed');
    assert(this.#installing?.index === index, 'the snapshot handed out is the one installed');
    assert(this.#installing.term === term, 'the snapshot handed out is the one installed');
    this.#installing = undefined;
    this.#isHandedOut = false;
    this.#log.reset(index, term);
    this.#match = Math.max(this.#match, index);
    this.#advance(ballot);
    this.#durability.installed(index);
  }
}

/** Never trust the wire: slots follow each other and no value is of a ballot that has not begun. */
function isWellFormed(accept: PeerMessage): boolean {
  let index = accept.index;
  for (const value of accept.entries) {
    index += 1;
    if (value.index !== index || value.term > accept.term || !isValue(value)) return false;
  }
  return true;
}
