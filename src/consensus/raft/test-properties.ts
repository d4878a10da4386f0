/**
 * What must hold at every moment of a simulation: the properties of Raft (figure 3), persist before
 * promise, and that nothing a node knew durably is ever taken back.
 */
import assert from 'node:assert/strict';
import { MessageType, type PeerMessage } from '../messages.ts';
import type {
  Configuration,
  Entry,
  HardState,
  NodeId,
  Persist,
  SnapshotMetadata,
} from '../types.ts';
import { votersOf } from './membership.ts';
import type { RaftCore } from './raft.ts';
import { checkQuorumsMeet, hasQuorum, isChange } from './test-changes.ts';

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** A snapshot of the state machine, whose state is the hash of all it applied. */
export interface Snapshot {
  readonly metadata: SnapshotMetadata;
  readonly hash: number;
}

export interface Disk {
  hardState: HardState;
  entries: Entry[];
  snapshot: Snapshot;
}

export interface PendingWrite {
  readonly write: Persist;
  readonly sequence: number;
  readonly messages: readonly PeerMessage[];
}

export interface Transfer {
  readonly message: PeerMessage;
  readonly snapshot: Snapshot;
}

export interface SimulatedNode {
  readonly id: NodeId;
  readonly disk: Disk;
  /** As of `applied`. */
  configuration: Configuration;
  core: RaftCore | undefined;
  writes: PendingWrite[];
  applied: number;
  hash: number;
  /** A snapshot stream that has arrived, and the one being installed. */
  offered: Transfer | undefined;
  installing: Transfer | undefined;
  /** Reads asked here: by context, the index that the answer must reach. */
  reads: Map<number, number>;
  lastCommit: number;
  lastTerm: number;
}

export class Properties {
  readonly #diskOf: (id: NodeId) => Disk;
  // What every node that ever lived must agree on.
  readonly leaders: Map<number, NodeId>;
  readonly votes: Map<string, NodeId>;
  readonly entries: Map<string, string>;
  readonly committed: { readonly term: number; readonly text: string; readonly hash: number }[];
  maxCommit: number;
  /** Terms of the changes that were ever written, by index. */
  readonly changes: Map<number, Set<number>>;
  /** In force from the entry at the index on; the last one is the newest. */
  readonly configurations: Map<number, Configuration>;

  constructor(configuration: Configuration, diskOf: (id: NodeId) => Disk) {
    this.changes = new Map();
    this.configurations = new Map([[0, configuration]]);
    this.#diskOf = diskOf;
    this.leaders = new Map();
    this.votes = new Map();
    this.entries = new Map();
    this.committed = [{ term: 0, text: '', hash: 0 }];
    this.maxCommit = 0;
  }

  check(node: SimulatedNode): void {
    const { core } = node;
    if (core === undefined) return;
    const { role, term, commit, lastIndex, firstIndex, handedOut } = core.status();
    assert.ok(term >= node.lastTerm, 'terms never fall');
    assert.ok(commit >= node.lastCommit, 'the commit index never falls');
    assert.ok(firstIndex - 1 <= handedOut && handedOut <= commit && commit <= lastIndex);
    if (role === 'leader') this.#checkLeader(node, core, term, commit > node.lastCommit);
    node.lastTerm = term;
    node.lastCommit = commit;
    if (commit > this.maxCommit) this.maxCommit = commit;
  }

  #checkLeader(node: SimulatedNode, core: RaftCore, term: number, hasCommitted: boolean): void {
    const known = this.leaders.get(term);
    if (known === undefined) {
      this.leaders.set(term, node.id);
      for (let index = core.status().firstIndex; index < this.committed.length; index++) {
        assert.equal(core.termAt(index), this.committed[index]!.term, 'leader completeness');
      }
    } else {
      assert.equal(known, node.id, 'election safety: one leader a term');
    }
    if (!hasCommitted) return;
    const { commit } = core.status();
    const holders = [...votersOf(node.configuration)].filter((id) =>
      holds(this.#diskOf(id), commit, core.termAt(commit)),
    );
    assert.ok(
      hasQuorum(node.configuration, holders),
      `entry ${commit} is on the disks of a quorum when it counts as committed`,
    );
  }

  /** Log matching, by induction: an entry's index and term determine it and the term before it. */
  checkWrite(node: SimulatedNode, write: Persist): void {
    for (const entry of write.entries) {
      const key = `${entry.index}@${entry.term}`;
      if (isChange(entry)) this.#checkAlone(entry);
      const text = `${textOf(entry)} after term ${node.core!.termAt(entry.index - 1)}`;
      const known = this.entries.get(key);
      if (known === undefined) this.entries.set(key, text);
      else assert.equal(text, known, `log matching at ${key}`);
    }
    if (write.hardState !== undefined) {
      assert.equal(write.hardState.term, node.core!.status().term, 'the newest term is written');
    }
  }

  /** One change at a time: what came before this one is committed. */
  #checkAlone(entry: Entry): void {
    const known = this.changes.get(entry.index) ?? new Set();
    this.changes.set(entry.index, known.add(entry.term));
    for (const [index, terms] of this.changes) {
      if (index >= entry.index) continue;
      const committed = this.committed[index];
      // Of another branch of the log, or applied before this one was proposed.
      const isOpen = committed === undefined && [...terms].some((term) => term === entry.term);
      assert.ok(!isOpen, `the change at ${entry.index} follows another one that is not committed`);
    }
  }

  /** The configuration after the entry at `index` is the same everywhere, and its quorums meet those before. */
  checkConfiguration(index: number, configuration: Configuration): void {
    const known = this.configurations.get(index);
    if (known !== undefined) {
      assert.deepEqual(configuration, known, `one configuration after entry ${index}`);
      return;
    }
    const [newest] = [...this.configurations.values()].slice(-1);
    checkQuorumsMeet(newest!, configuration);
    this.configurations.set(index, configuration);
  }

  /** Persist before promise. */
  checkPromise(node: SimulatedNode, message: PeerMessage): void {
    const { hardState } = node.disk;
    const { type, term, reject } = message;
    if (type === MessageType.preVote) return;
    if (type === MessageType.preVoteReply && !reject) return;
    assert.ok(term <= hardState.term, 'no message of a term that is not durable');
    if (type === MessageType.voteReply && !reject) {
      const key = `${node.id} in ${term}`;
      const vote = this.votes.get(key);
      assert.ok(vote === undefined || vote === message.to, 'one vote a term, across restarts');
      this.votes.set(key, message.to);
      if (term === hardState.term) assert.equal(hardState.vote, message.to, 'a vote is durable');
    }
    if (type === MessageType.appendReply && !reject && term === hardState.term) {
      assert.ok(lastIndexOf(node.disk) >= message.index, 'what is acknowledged is durable');
    }
  }

  checkCommitted(entry: Entry, hash: number): void {
    const known = this.committed[entry.index];
    if (known === undefined) {
      assert.equal(entry.index, this.committed.length, 'commits have no gaps');
      this.committed.push({ term: entry.term, text: textOf(entry), hash });
    } else {
      assert.equal(entry.term, known.term, 'state machine safety: term');
      assert.equal(textOf(entry), known.text, 'state machine safety: data');
      assert.equal(hash, known.hash, 'state machine safety: state');
    }
  }
}

function textOf(entry: Entry): string {
  return Buffer.from(entry.data).toString('latin1');
}

export function mix(hash: number, entry: Entry): number {
  let mixed = Math.imul(hash ^ entry.index, 0x9e3779b1) ^ entry.term;
  for (const byte of entry.data) mixed = Math.imul(mixed ^ byte, 0x01000193);
  return mixed | 0;
}

export function writeTo(disk: Disk, write: Persist): void {
  if (write.hardState !== undefined) {
    const hardState: Mutable<HardState> = { ...write.hardState };
    disk.hardState = hardState;
  }
  const first = write.entries[0];
  if (first === undefined) return;
  disk.entries = disk.entries.filter((entry) => entry.index < first.index);
  disk.entries.push(...write.entries);
}

function lastIndexOf(disk: Disk): number {
  return Math.max(disk.entries.at(-1)?.index ?? 0, disk.snapshot.metadata.index);
}

function holds(disk: Disk, index: number, term: number): boolean {
  if (disk.snapshot.metadata.index >= index) return true;
  return disk.entries.some((entry) => entry.index === index && entry.term === term);
}
