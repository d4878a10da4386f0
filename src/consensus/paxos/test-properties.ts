/**
 * What must hold at every moment of a simulation of Multi-Paxos. The observer sees all disks: a value is
 * chosen as soon as a majority of them holds its acceptance in one ballot, whether anybody knows or not.
 */
import assert from 'node:assert/strict';
import { MessageType, type PeerMessage } from '../messages.ts';
import type { Configuration, Entry, HardState, NodeId, SnapshotMetadata } from '../types.ts';
import type { PaxosCore } from './paxos.ts';
import { fromRecord } from './slot.ts';

/** A snapshot of the state machine, whose state is the hash of all it applied. */
export interface Snapshot {
  readonly metadata: SnapshotMetadata;
  readonly hash: number;
}

/** Slots by index: a write replaces those that it names, and no others. */
export interface Disk {
  hardState: HardState;
  readonly slots: Map<number, Entry>;
  snapshot: Snapshot;
}

export interface SimulatedWrite {
  readonly sequence: number;
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
  readonly messages: readonly PeerMessage[];
}

export interface Transfer {
  readonly message: PeerMessage;
  readonly snapshot: Snapshot;
}

export interface SimulatedNode {
  readonly id: NodeId;
  readonly disk: Disk;
  core: PaxosCore | undefined;
  life: number;
  writes: SimulatedWrite[];
  applied: number;
  hash: number;
  offered: Transfer | undefined;
  installing: Transfer | undefined;
  /** Reads asked here: by context, the index that the answer must reach. */
  reads: Map<number, number>;
  lastCommit: number;
  lastTerm: number;
}

interface Committed {
  readonly text: string;
  readonly hash: number;
  /** Origin of the newest value so far that has one. */
  readonly term: number;
}

export class Properties {
  readonly #configuration: Configuration;
  /** Who began each ballot, and in which life. */
  readonly ballots: Map<number, string>;
  readonly leaders: Map<number, NodeId>;
  /** By ballot and slot: what was proposed. By origin and slot: what it is. */
  readonly #proposed: Map<string, string>;
  readonly #origins: Map<string, string>;
  /** By slot and ballot: the voters whose disks hold it. */
  readonly #accepted: Map<string, Set<NodeId>>;
  readonly #chosen: Map<number, { readonly text: string; readonly ballot: number }>;
  readonly committed: Committed[];
  maxCommit: number;
  /** How often a slot was filled with nothing: the rare path. */
  fillers: number;
  /** And how often a value was proposed again by a later leader. */
  adopted: number;

  constructor(configuration: Configuration) {
    this.#configuration = configuration;
    this.ballots = new Map();
    this.leaders = new Map();
    this.#proposed = new Map();
    this.#origins = new Map();
    this.#accepted = new Map();
    this.#chosen = new Map();
    this.committed = [{ text: '', hash: 0, term: 0 }];
    this.maxCommit = 0;
    this.fillers = 0;
    this.adopted = 0;
  }

  check(node: SimulatedNode): void {
    const { core } = node;
    if (core === undefined) return;
    const { role, term, commit, lastIndex, firstIndex, handedOut } = core.status();
    assert.ok(term >= node.lastTerm, 'promises never fall');
    assert.ok(commit >= node.lastCommit, 'the commit index never falls');
    assert.ok(firstIndex - 1 <= handedOut && handedOut <= commit && commit <= lastIndex);
    if (role === 'leader') {
      assert.equal(this.leaders.get(term) ?? node.id, node.id, 'a ballot has one leader');
      this.leaders.set(term, node.id);
    }
    node.lastTerm = term;
    node.lastCommit = commit;
    for (let index = this.maxCommit + 1; index <= commit; index++) {
      assert.ok(this.#chosen.has(index), `slot ${index} counts as committed, but is not chosen`);
    }
    if (commit > this.maxCommit) this.maxCommit = commit;
  }

  /** A message leaves: persist before promise, and one value a ballot and slot. */
  checkSent(node: SimulatedNode, message: PeerMessage): void {
    const { hardState } = node.disk;
    const { type, term, reject } = message;
    if (type === MessageType.preVote) return;
    if (type === MessageType.preVoteReply && !reject) return;
    if (type === MessageType.promise && reject) return;
    assert.ok(term <= hardState.term, 'no message of a ballot that is not promised durably');
    if (type === MessageType.prepare) {
      const life = `${node.id} in life ${node.life}`;
      assert.equal(this.ballots.get(term) ?? life, life, 'a ballot is used once, by one node');
      this.ballots.set(term, life);
    }
    if (type === MessageType.promise) {
      const last = message.entries.at(-1)?.index ?? 0;
      for (const record of node.disk.slots.values()) {
        if (record.index < message.index || record.index > last || record.term >= term) continue;
        assert.ok(
          message.entries.some((entry) => entry.index === record.index),
          'every durable acceptance of an older ballot is reported',
        );
      }
    }
    if (type === MessageType.accept) {
      for (const value of message.entries) this.#checkProposed(term, value);
    }
    if (type === MessageType.accepted && !reject) this.#checkAccepted(node, message);
  }

  #checkProposed(ballot: number, value: Entry): void {
    const key = `${value.index}@${ballot}`;
    const text = textOf(value);
    assert.equal(this.#proposed.get(key) ?? text, text, `one value in slot and ballot ${key}`);
    if (!this.#proposed.has(key) && value.term > 0 && value.term < ballot) this.adopted += 1;
    this.#proposed.set(key, text);
    const chosen = this.#chosen.get(value.index);
    if (chosen !== undefined && ballot > chosen.ballot) {
      assert.equal(
        text,
        chosen.text,
        `P2b: slot ${value.index} is chosen, nothing else is proposed`,
      );
    }
    if (value.term === 0) return;
    const origin = `${value.index} from ${value.term}`;
    assert.equal(this.#origins.get(origin) ?? text, text, 'origin and slot name a value');
    this.#origins.set(origin, text);
  }

  #checkAccepted(node: SimulatedNode, { index, term }: PeerMessage): void {
    for (let at = node.disk.snapshot.metadata.index + 1; at <= index; at++) {
      const record = node.disk.slots.get(at);
      assert.ok(record !== undefined, `slot ${at} is durable when it is acknowledged`);
      const isSame = textOf(fromRecord(record)!.value) === this.#chosen.get(at)?.text;
      assert.ok(record.term >= term || isSame, `slot ${at} is accepted in the ballot, or chosen`);
    }
  }

  /** A write reached the disk of `id`. */
  written(id: NodeId, disk: Disk, write: SimulatedWrite): void {
    if (write.hardState !== undefined) {
      assert.ok(write.hardState.term >= disk.hardState.term, 'a promise is never taken back');
      disk.hardState = { ...write.hardState };
    }
    for (const record of write.entries) {
      const before = disk.slots.get(record.index);
      assert.ok(record.term >= (before?.term ?? 0), 'the ballots of a slot never fall');
      assert.ok(record.term <= disk.hardState.term, 'nothing is accepted that was not promised');
      disk.slots.set(record.index, record);
      this.#countAccepted(id, record);
    }
  }

  #countAccepted(id: NodeId, record: Entry): void {
    const { index, term: ballot } = record;
    const { voters } = this.#configuration;
    if (!voters.includes(id)) return;
    const key = `${index}@${ballot}`;
    const holders = (this.#accepted.get(key) ?? new Set()).add(id);
    this.#accepted.set(key, holders);
    if (holders.size <= voters.length / 2) return;
    const text = textOf(fromRecord(record)!.value);
    const before = this.#chosen.get(index);
    assert.equal(before?.text ?? text, text, `one value is chosen in slot ${index}`);
    this.#chosen.set(index, { text, ballot: Math.min(before?.ballot ?? ballot, ballot) });
  }

  checkCommitted(value: Entry, hash: number): void {
    const known = this.committed[value.index];
    const text = textOf(value);
    const chosen = this.#chosen.get(value.index)?.text;
    assert.equal(text, chosen, `what is applied at ${value.index} is chosen`);
    if (known !== undefined) {
      assert.equal(text, known.text, 'all nodes apply the same');
      assert.equal(hash, known.hash, 'all nodes reach the same state');
      return;
    }
    assert.equal(value.index, this.committed.length, 'commits have no gaps');
    const before = this.committed.at(-1)!.term;
    if (value.term === 0) this.fillers += 1;
    else assert.ok(value.term >= before, 'origins never fall along what is chosen');
    this.committed.push({ text, hash, term: Math.max(before, value.term) });
  }
}

/** What makes a value this one: origin, type and data. */
function textOf({ term, type, data }: Entry): string {
  return `${term} ${type} ${Buffer.from(data).toString('latin1')}`;
}

export function mix(hash: number, entry: Entry): number {
  let mixed = Math.imul(hash ^ entry.index, 0x9e3779b1) ^ entry.term;
  for (const byte of entry.data) mixed = Math.imul(mixed ^ byte, 0x01000193);
  return mixed | 0;
}
