/**
 * A small cluster for tests that tell a story: nothing happens by itself. `settle` delivers all
 * messages and completes all writes; ways can be cut, disks stalled, nodes restarted.
 */
import assert from 'node:assert/strict';
import { seededRandom } from '../../core/random.ts';
import type { Effects } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import {
  type Configuration,
  type Entry,
  EntryType,
  type HardState,
  type NodeId,
  type Persist,
  type SnapshotMetadata,
} from '../types.ts';
import { type Draft, draft } from './draft.ts';
import type { LeaseOptions } from './lease.ts';
import { RaftCore } from './raft.ts';
import type { RaftSettings } from './settings.ts';

/** What a node starts from: a log given by the terms of its entries. */
export interface Start {
  readonly term?: number;
  readonly vote?: NodeId;
  readonly commit?: number;
  readonly logTerms?: readonly number[];
  readonly settings?: Partial<RaftSettings>;
  readonly voters?: readonly NodeId[];
  readonly learners?: readonly NodeId[];
  readonly lease?: LeaseOptions;
}

/** Entries from index 1 on, of the given terms. The data says where it is from. */
export function entriesOf(terms: readonly number[]): Entry[] {
  return terms.map((term, at) => entryAt(at + 1, term));
}

export function entryAt(index: number, term: number): Entry {
  return { type: EntryType.normal, term, index, data: bytes(`${index}@${term}`) };
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function message(
  type: MessageType,
  from: NodeId,
  to: NodeId,
  term: number,
  fields: Partial<Draft> = {},
): PeerMessage {
  return Object.assign(draft(type, from, to, term), fields);
}

/** Lets `node` win: the others' votes are invented. */
export function win(node: Node, voters: readonly string[]): PeerMessage[] {
  node.core.campaign();
  node.run();
  const { term } = node.status;
  for (const voter of voters) node.core.step(message(MessageType.voteReply, voter, node.id, term));
  assert.equal(node.status.role, 'leader');
  return node.run();
}

/** The messages of one kind. */
export function only(messages: readonly PeerMessage[], type: number): PeerMessage[] {
  return messages.filter((sent) => sent.type === type);
}

/** A node that leads a cluster of three in term 1, its first entry committed with node 2. */
export function leading(start: Start = {}): Node {
  const node = new Node('1', { ...start, settings: { preVote: false, ...start.settings } });
  node.core.campaign();
  node.run();
  const { term } = node.status;
  node.core.step(message(MessageType.voteReply, '2', '1', term));
  node.run();
  node.core.step(
    message(MessageType.appendReply, '2', '1', term, { index: node.status.lastIndex }),
  );
  node.run();
  assert.equal(node.status.role, 'leader');
  return node;
}

/** One core, with the disk beside it. */
export class Node {
  readonly id: NodeId;
  core: RaftCore;
  /** Writes wait here while the disk is stalled. */
  isStalled: boolean;
  readonly #start: Start;
  #waiting: Effects[];
  #hardState: HardState;
  #disk: Entry[];
  #snapshot: { index: number; term: number };
  readonly applied: string[];
  reads: { context: number; index: number }[];
  droppedReads: number[];
  snapshotsWanted: PeerMessage[];
  install: SnapshotMetadata | undefined;
  persists: Persist[];

  constructor(id: NodeId, start: Start) {
    this.id = id;
    this.#start = start;
    this.isStalled = false;
    this.#waiting = [];
    this.#disk = entriesOf(start.logTerms ?? []);
    const term = start.term ?? start.logTerms?.at(-1) ?? 0;
    this.#hardState = { term, vote: start.vote ?? '', commit: start.commit ?? 0 };
    this.#snapshot = { index: 0, term: 0 };
    this.applied = [];
    this.reads = [];
    this.droppedReads = [];
    this.snapshotsWanted = [];
    this.install = undefined;
    this.persists = [];
    this.core = this.#newCore();
  }

  get configuration(): Configuration {
    return { voters: this.#start.voters ?? ['1', '2', '3'], learners: this.#start.learners ?? [] };
  }

  #newCore(): RaftCore {
    const { index, term } = this.#snapshot;
    return new RaftCore({
      id: this.id,
      settings: this.#start.settings ?? {},
      lease: this.#start.lease,
      random: seededRandom(this.id.charCodeAt(0)),
      hardState: this.#hardState,
      configuration: this.configuration,
      snapshot: { index, term },
      entries: this.#disk.filter((entry) => entry.index > index),
      applied: index,
    });
  }

  /** Crashes and starts again from the disk: writes that did not complete are lost. */
  restart(): void {
    this.#waiting = [];
    this.applied.length = 0;
    this.isStalled = false;
    this.core = this.#newCore();
  }

  /** The terms of the log on disk. */
  get diskTerms(): number[] {
    return this.#disk.map((entry) => entry.term);
  }

  get hardState(): HardState {
    return this.#hardState;
  }

  get status() {
    return this.core.status();
  }

  /** Takes all effects. Returns what may be sent now. */
  run(): PeerMessage[] {
    const sent: PeerMessage[] = [];
    while (this.core.hasEffects()) {
      const effects = this.core.take();
      sent.push(...effects.messages);
      this.#collect(effects);
      this.#waiting.push(effects);
      if (!this.isStalled) sent.push(...this.completeWrites());
    }
    return sent;
  }

  #collect(effects: Effects): void {
    for (const entry of effects.committed) {
      if (entry.data.length > 0) this.applied.push(Buffer.from(entry.data).toString());
      this.core.applied(entry.index);
    }
    this.reads.push(...effects.reads);
    this.droppedReads.push(...effects.droppedReads);
    this.snapshotsWanted.push(...effects.snapshotsWanted);
    if (effects.install !== undefined) this.install = effects.install;
    if (effects.persist !== undefined) this.persists.push(effects.persist);
  }

  /** The disk finishes its oldest writes. Returns the messages that had waited for them. */
  completeWrites(count = this.#waiting.length): PeerMessage[] {
    const sent: PeerMessage[] = [];
    for (const { persist, messagesAfterPersist } of this.#waiting.splice(0, count)) {
      if (persist !== undefined) {
        this.#write(persist);
        this.core.persisted(persist.sequence);
      }
      sent.push(...messagesAfterPersist);
    }
    return sent;
  }

  #write(persist: Persist): void {
    if (persist.hardState !== undefined) this.#hardState = persist.hardState;
    const first = persist.entries[0];
    if (first === undefined) return;
    this.#disk = this.#disk.filter((entry) => entry.index < first.index);
    this.#disk.push(...persist.entries);
  }

  /** The replica has taken a snapshot of its own. */
  compact(index: number, keepFrom: number): void {
    this.#snapshot = { index, term: this.core.termAt(index) };
    this.core.compact(index, keepFrom);
  }

  /** The replica has installed the snapshot that it was told to. */
  finishInstall(): void {
    assert.ok(this.install !== undefined);
    this.#snapshot = this.install;
    this.#disk = [];
    this.core.snapshotInstalled(this.install);
    this.install = undefined;
  }

  /** One message in, everything that may leave at once out. */
  answer(input: PeerMessage): PeerMessage[] {
    this.core.step(input);
    return this.run();
  }

  tick(ticks: number): void {
    for (let count = 0; count < ticks; count++) this.core.tick();
  }
}

/** Nodes `1`, `2`, … and the network between them. */
export class Cluster {
  readonly nodes: Node[];
  /** Ways, as `from>to`, on which everything is lost. */
  readonly cut: Set<string>;
  /** Everything that was delivered since it was last emptied. */
  delivered: PeerMessage[];

  constructor(starts: readonly Start[]) {
    const voters = starts.map((_, at) => String(at + 1));
    this.nodes = starts.map((start, at) => new Node(String(at + 1), { voters, ...start }));
    this.cut = new Set();
    this.delivered = [];
  }

  static of(size: number, settings: Partial<RaftSettings> = {}): Cluster {
    return new Cluster(Array.from({ length: size }, () => ({ settings })));
  }

  node(id: NodeId): Node {
    return this.nodes[Number(id) - 1]!;
  }

  get leader(): Node | undefined {
    return this.nodes.find((node) => node.status.role === 'leader');
  }

  /** Cuts `id` off in both directions. */
  isolate(id: NodeId): void {
    for (const { id: other } of this.nodes) {
      if (other === id) continue;
      this.cut.add(`${id}>${other}`);
      this.cut.add(`${other}>${id}`);
    }
  }

  /** Runs until nothing moves any more. */
  settle(): void {
    for (let turn = 0; turn < 1000; turn++) {
      const messages = this.nodes.flatMap((node) => node.run());
      if (messages.length === 0) return;
      for (const sent of messages) this.deliver(sent);
    }
    assert.fail('the cluster does not come to rest');
  }

  deliver(sent: PeerMessage): void {
    if (this.cut.has(`${sent.from}>${sent.to}`)) return;
    this.delivered.push(sent);
    this.node(sent.to).core.step(sent);
  }

  /** One tick everywhere (or on `ids`), all that follows from it, `count` times. */
  tick(count: number, ids = this.nodes.map((node) => node.id)): void {
    for (let ticks = 0; ticks < count; ticks++) {
      for (const id of ids) this.node(id).core.tick();
      this.settle();
    }
  }

  /** Makes `id` leader. */
  elect(id: NodeId): Node {
    const node = this.node(id);
    node.core.campaign();
    this.settle();
    assert.equal(node.status.role, 'leader');
    return node;
  }

  propose(id: NodeId, ...texts: string[]): void {
    assert.equal(typeof this.node(id).core.propose(texts.map(bytes)), 'object');
  }
}
