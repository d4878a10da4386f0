/**
 * What must hold at every moment of a simulation of Raft: the properties of figure 3, and that a change
 * of the configuration comes alone and keeps quorums together.
 */
import assert from 'node:assert/strict';
import type { Core, CoreStatus } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { Disk, type SimulatedNode, type Snapshot, textOf } from '../test-core-node.ts';
import { CoreProperties } from '../test-core-properties.ts';
import type { Configuration, Entry, NodeId, Persist } from '../types.ts';
import { votersOf } from './membership.ts';
import { checkQuorumsMeet, hasQuorum, isChange } from './test-changes.ts';

/** A log: a write cuts off what is behind its first entry. */
export class LogDisk extends Disk {
  #entries: Entry[] = [];

  protected override writeEntries(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    this.#entries = this.#entries.filter((entry) => entry.index < first.index);
    this.#entries.push(...entries);
  }

  override readEntries(): readonly Entry[] {
    return this.#entries.filter((entry) => entry.index > this.snapshot.metadata.index);
  }

  override install(snapshot: Snapshot): void {
    this.save(snapshot);
    this.#entries = [];
  }

  get lastIndex(): number {
    return Math.max(this.#entries.at(-1)?.index ?? 0, this.snapshot.metadata.index);
  }

  holds(index: number, term: number): boolean {
    if (this.snapshot.metadata.index >= index) return true;
    return this.#entries.some((entry) => entry.index === index && entry.term === term);
  }
}

export class Properties extends CoreProperties<LogDisk> {
  readonly #diskOf: (id: NodeId) => LogDisk;
  readonly votes: Map<string, NodeId>;
  readonly entries: Map<string, string>;
  /** Terms of the changes that were ever written, by index. */
  readonly changes: Map<number, Set<number>>;
  /** In force from the entry at the index on; the last one is the newest. */
  readonly configurations: Map<number, Configuration>;

  constructor(configuration: Configuration, diskOf: (id: NodeId) => LogDisk) {
    super();
    this.#diskOf = diskOf;
    this.votes = new Map();
    this.entries = new Map();
    this.changes = new Map();
    this.configurations = new Map([[0, configuration]]);
  }

  protected override checkElected(core: Core, { firstIndex }: CoreStatus): void {
    for (let index = firstIndex; index < this.committed.length; index++) {
      assert.equal(core.termAt(index), this.committed[index]!.term, 'leader completeness');
    }
  }

  protected override checkCommit(
    { configuration, lastCommit }: SimulatedNode<LogDisk>,
    core: Core,
    { role, commit }: CoreStatus,
  ): void {
    if (role !== 'leader' || commit <= lastCommit) return;
    const term = core.termAt(commit);
    const holders = [...votersOf(configuration)].filter((id) =>
      this.#diskOf(id).holds(commit, term),
    );
    assert.ok(
      hasQuorum(configuration, holders),
      `entry ${commit} is on the disks of a quorum when it counts as committed`,
    );
  }

  /** Log matching, by induction: an entry's index and term determine it and the term before it. */
  override checkWrite(node: SimulatedNode<LogDisk>, write: Persist): void {
    super.checkWrite(node, write);
    for (const entry of write.entries) {
      const key = `${entry.index}@${entry.term}`;
      if (isChange(entry)) this.#checkAlone(entry);
      const text = `${textOf(entry)} after term ${node.core!.termAt(entry.index - 1)}`;
      const known = this.entries.get(key);
      if (known === undefined) this.entries.set(key, text);
      else assert.equal(text, known, `log matching at ${key}`);
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
    checkQuorumsMeet(this.newestConfiguration, configuration);
    this.configurations.set(index, configuration);
  }

  get newestConfiguration(): Configuration {
    return [...this.configurations.values()].at(-1)!;
  }

  protected override checkPromise(node: SimulatedNode<LogDisk>, message: PeerMessage): void {
    const { hardState } = node.disk;
    const { type, term, reject } = message;
    if (type === MessageType.voteReply && !reject) {
      const key = `${node.id} in ${term}`;
      const vote = this.votes.get(key);
      assert.ok(vote === undefined || vote === message.to, 'one vote a term, across restarts');
      this.votes.set(key, message.to);
      if (term === hardState.term) assert.equal(hardState.vote, message.to, 'a vote is durable');
    }
    if (type === MessageType.appendReply && !reject && term === hardState.term) {
      assert.ok(node.disk.lastIndex >= message.index, 'what is acknowledged is durable');
    }
  }
}
