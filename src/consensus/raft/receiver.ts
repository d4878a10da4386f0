/**
 * A follower's side of log replication: appends (Raft §5.3), commit indexes and snapshots (§7) of
 * the leader, and what is promised in return.
 */
import { assert } from '../../core/assert.ts';
import { QuorateError } from '../../core/errors.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import type { Configuration, Entry, NodeId, SnapshotMetadata } from '../types.ts';
import { draft } from './draft.ts';
import type { Durability } from './durability.ts';
import type { RaftLog } from './log.ts';
import type { Outbox } from './outbox.ts';

export class Receiver {
  readonly #id: NodeId;
  readonly #log: RaftLog;
  readonly #durability: Durability;
  readonly #outbox: Outbox;
  /** A received snapshot that is not installed yet, and whether it was handed out. */
  #installing: SnapshotMetadata | undefined;
  #isHandedOut: boolean;

  constructor(id: NodeId, log: RaftLog, durability: Durability, outbox: Outbox) {
    this.#id = id;
    this.#log = log;
    this.#durability = durability;
    this.#outbox = outbox;
    this.#installing = undefined;
    this.#isHandedOut = false;
  }

  /** The log is about to be replaced: until then it takes nothing, and the node does not campaign. */
  get isInstalling(): boolean {
    return this.#installing !== undefined;
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

  onAppend(append: PeerMessage): void {
    // The leader will send again what is needed after the snapshot.
    if (this.#installing !== undefined) return;
    const log = this.#log;
    if (append.index < log.commit) {
      this.acknowledge(append.from, log.commit, append.term);
      return;
    }
    if (!log.matches(append.index, append.logTerm)) {
      this.#refuse(append);
      return;
    }
    if (!isWellFormed(append)) return;
    this.#store(append.entries);
    // Beyond the last new entry our log may differ from the leader's, whatever is committed there.
    const lastNew = append.index + append.entries.length;
    log.commitTo(Math.min(append.commit, lastNew));
    this.acknowledge(append.from, lastNew, append.term);
  }

  #refuse(append: PeerMessage): void {
    const reply = draft(MessageType.appendReply, this.#id, append.from, append.term);
    reply.reject = true;
    reply.index = append.index;
    reply.hintIndex = this.#log.newestNotAfter(append.index, append.logTerm);
    reply.hintTerm = this.#log.termAt(reply.hintIndex);
    this.#outbox.send(reply);
  }

  /** Skips what is there already; from the first difference on, the leader's entries replace ours. */
  #store(entries: readonly Entry[]): void {
    const log = this.#log;
    let at = 0;
    while (at < entries.length) {
      const entry = entries[at]!;
      if (entry.index > log.lastIndex) break;
      if (log.termAt(entry.index) !== entry.term) {
        log.truncateAfter(entry.index - 1);
        this.#durability.truncateAfter(entry.index - 1);
        break;
      }
      at += 1;
    }
    for (; at < entries.length; at++) log.append(entries[at]!);
  }

  /** Promises the log up to `index`: leaves when that is durable. */
  acknowledge(to: NodeId, index: number, term: number): void {
    const reply = draft(MessageType.appendReply, this.#id, to, term);
    reply.index = index;
    this.#outbox.sendDurable(reply, index);
  }

  onHeartbeat(heartbeat: PeerMessage): void {
    if (this.#installing === undefined) {
      // A leader tells us only of commits that we have acknowledged.
      if (heartbeat.commit > this.#log.lastIndex) {
        throw new QuorateError(
          'ERR_CORRUPT',
          `the leader holds our promise of entry ${heartbeat.commit}, but our log ends at ${this.#log.lastIndex}: ` +
            'the data directory was lost or replaced; remove this node and add it anew',
        );
      }
      this.#log.commitTo(heartbeat.commit);
    }
    const reply = draft(MessageType.heartbeatReply, this.#id, heartbeat.from, heartbeat.term);
    reply.context = heartbeat.context;
    this.#outbox.send(reply);
  }

  /**
   * The whole of a snapshot has arrived. Where our log agrees with it, it only says what is
   * committed. `configuration` stands in `install` until the snapshot's own is read.
   */
  onSnapshot(message: PeerMessage, configuration: Configuration): void {
    if (this.#installing !== undefined) return;
    const log = this.#log;
    const { index, logTerm } = message;
    if (index <= log.commit || log.matches(index, logTerm)) {
      log.commitTo(index);
      this.acknowledge(message.from, log.commit, message.term);
      return;
    }
    this.#installing = { index, term: logTerm, configuration };
    this.#isHandedOut = false;
  }

  onInstalled(index: number, term: number): void {
    assert(this.#isHandedOut, 'only a snapshot that was handed out is installed');
    assert(this.#installing?.index === index, 'the snapshot handed out is the one installed');
    assert(this.#installing.term === term, 'the snapshot handed out is the one installed');
    this.#installing = undefined;
    this.#isHandedOut = false;
    this.#log.reset(index, term);
    this.#durability.reset(index);
  }
}

/** Never trust the wire: entries follow each other and none is of a term that has not begun. */
function isWellFormed(append: PeerMessage): boolean {
  let index = append.index;
  let term = append.logTerm;
  for (const entry of append.entries) {
    index += 1;
    if (entry.index !== index || entry.term < term || entry.term > append.term) return false;
    term = entry.term;
  }
  return true;
}
