/**
 * What only a leader does with the log: proposes again what older ballots left open, takes proposals
 * within bounds, counts what a majority accepted, and hands leadership over.
 */
import { assert } from '../../core/assert.ts';
import type { Appended, Refusal } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { draft } from '../raft/draft.ts';
import type { Outbox } from '../raft/outbox.ts';
import type { RaftSettings } from '../raft/settings.ts';
import { type Entry, EntryType, NO_NODE, type NodeId } from '../types.ts';
import type { Acceptor } from './acceptor.ts';
import type { PaxosDurability } from './durability.ts';
import type { PaxosLog } from './log.ts';
import type { PaxosProgress } from './progress.ts';
import type { PaxosReplication } from './replication.ts';

const NO_DATA = new Uint8Array(0);

export class Leadership {
  readonly #id: NodeId;
  readonly #settings: RaftSettings;
  readonly #log: PaxosLog;
  readonly #durability: PaxosDurability;
  readonly #outbox: Outbox;
  readonly #acceptor: Acceptor;
  readonly #replication: PaxosReplication;
  #ballot: number;
  /** The first slot with a value of our own: until it is chosen, what older ballots chose is not known. */
  #start: number;
  /** Payload of the slots after `commit`. */
  #openBytes: number;
  #transferee: NodeId;

  constructor(
    id: NodeId,
    settings: RaftSettings,
    log: PaxosLog,
    durability: PaxosDurability,
    outbox: Outbox,
    acceptor: Acceptor,
    replication: PaxosReplication,
  ) {
    this.#id = id;
    this.#settings = settings;
    this.#log = log;
    this.#durability = durability;
    this.#outbox = outbox;
    this.#acceptor = acceptor;
    this.#replication = replication;
    this.#ballot = 0;
    this.#start = 0;
    this.#openBytes = 0;
    this.#transferee = NO_NODE;
  }

  /** Phase one is over for all slots: `values` are what it left no choice in, from `commit + 1` on. */
  begin(ballot: number, values: readonly Entry[]): void {
    assert(ballot > this.#ballot, 'a ballot is led once');
    this.#ballot = ballot;
    this.#transferee = NO_NODE;
    this.#replication.reset();
    for (const value of values) this.#acceptor.acceptOwn(ballot, value);
    this.#start = this.#log.lastIndex + 1;
    // A value of its own tells everybody, when it is chosen, that all before it is.
    this.#append(NO_DATA);
    this.#openBytes = this.#log.payloadBytes(this.#log.commit, this.#log.lastIndex);
  }

  /** Whether the commit index is as new as that of any earlier leader. */
  get hasCommitted(): boolean {
    return this.#log.commit >= this.#start;
  }

  propose(data: readonly Uint8Array[]): Appended | Refusal {
    if (this.#transferee !== NO_NODE) return 'transferring';
    let bytes = 0;
    for (let at = 0; at < data.length; at++) bytes += data[at]!.length;
    const { commit, lastIndex } = this.#log;
    // With nothing else under way even a proposal over the limit passes: it could never otherwise.
    if (lastIndex > Math.max(commit, this.#start) || this.#openBytes > 0) {
      const { maxUncommittedBytes, maxUncommittedEntries } = this.#settings;
      if (this.#openBytes + bytes > maxUncommittedBytes) return 'busy';
      if (lastIndex - commit + data.length > maxUncommittedEntries) return 'busy';
    }
    this.#openBytes += bytes;
    for (let at = 0; at < data.length; at++) this.#append(data[at]!);
    return { index: lastIndex + 1, term: this.#ballot };
  }

  #append(data: Uint8Array): void {
    const index = this.#log.lastIndex + 1;
    const value = { type: EntryType.normal, term: this.#ballot, index, data };
    this.#acceptor.acceptOwn(this.#ballot, value);
    this.#replication.isDue = true;
  }

  /** What a majority accepted in this ballot is chosen. Every open slot is proposed in it. */
  advanceCommit(): void {
    const before = this.#log.commit;
    const index = this.#replication.matchedByMajority(this.#durability.durableMatch);
    if (index <= before) return;
    this.#log.commitTo(index);
    this.#openBytes -= this.#log.payloadBytes(before, index);
    assert(this.#openBytes >= 0, 'open bytes are counted once');
    this.#replication.isDue = true;
  }

  onAccepted(peer: PaxosProgress, reply: PeerMessage): void {
    if (this.#replication.onAccepted(peer, reply)) this.advanceCommit();
    if (peer.id === this.#transferee && peer.match === this.#log.lastIndex) this.#sendTimeoutNow();
  }

  /** Begins to hand over, unless `to` is no other voter. Proposals are refused meanwhile. */
  transfer(to: NodeId): boolean {
    const peer = this.#replication.progressOf(to);
    if (peer === undefined || !peer.isVoter) return false;
    this.#transferee = to;
    if (peer.match === this.#log.lastIndex) this.#sendTimeoutNow();
    return true;
  }

  get transferee(): NodeId {
    return this.#transferee;
  }

  abortTransfer(): void {
    this.#transferee = NO_NODE;
  }

  #sendTimeoutNow(): void {
    this.#outbox.send(draft(MessageType.timeoutNow, this.#id, this.#transferee, this.#ballot));
  }
}
