/**
 * What must hold at every moment of a simulation of Multi-Paxos. The observer sees all disks: a value is
 * chosen as soon as a majority of them holds its acceptance in one ballot, whether anybody knows or not.
 */
import assert from 'node:assert/strict';
import type { Core, CoreStatus } from '../core.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { Disk, type SimulatedNode, type Snapshot, textOf } from '../test-core-node.ts';
import { CoreProperties } from '../test-core-properties.ts';
import type { Configuration, Entry, NodeId, Persist } from '../types.ts';
import { fromRecord } from './slot.ts';

/** Slots by index: a write replaces those that it names, and no others. */
export class SlotDisk extends Disk {
  readonly slots = new Map<number, Entry>();

  protected override writeEntries(entries: readonly Entry[]): void {
    for (const record of entries) this.slots.set(record.index, record);
  }

  override readEntries(): readonly Entry[] {
    return [...this.slots.values()].sort((a, b) => a.index - b.index);
  }

  /** What it covers goes; what was accepted behind it stays promised. */
  override save(snapshot: Snapshot): void {
    super.save(snapshot);
    for (const index of this.slots.keys()) {
      if (index <= snapshot.metadata.index) this.slots.delete(index);
    }
  }
}

type Node = SimulatedNode<SlotDisk>;

export class Properties extends CoreProperties<SlotDisk> {
  readonly #configuration: Configuration;
  /** Who began each ballot, and in which life. */
  readonly ballots: Map<number, string>;
  /** By ballot and slot: what was proposed. By origin and slot: what it is. */
  readonly #proposed: Map<string, string>;
  readonly #origins: Map<string, string>;
  /** By slot and ballot: the voters whose disks hold it. */
  readonly #accepted: Map<string, Set<NodeId>>;
  readonly #chosen: Map<number, { readonly text: string; readonly ballot: number }>;
  /** How often a slot was filled with nothing: the rare path. */
  fillers: number;
  /** And how often a value was proposed again by a later leader. */
  adopted: number;

  constructor(configuration: Configuration) {
    super();
    this.#configuration = configuration;
    this.ballots = new Map();
    this.#proposed = new Map();
    this.#origins = new Map();
    this.#accepted = new Map();
    this.#chosen = new Map();
    this.fillers = 0;
    this.adopted = 0;
  }

  protected override checkCommit(_node: Node, _core: Core, { commit }: CoreStatus): void {
    for (let index = this.maxCommit + 1; index <= commit; index++) {
      assert.ok(this.#chosen.has(index), `slot ${index} counts as committed, but is not chosen`);
    }
  }

  /** Who refuses only tells which ballot it knows of. */
  protected override isFree(message: PeerMessage): boolean {
    return super.isFree(message) || (message.type === MessageType.promise && message.reject);
  }

  protected override checkPromise(node: Node, message: PeerMessage): void {
    const { type, term, reject } = message;
    if (type === MessageType.prepare) {
      const life = `${node.id} in life ${node.life}`;
      assert.equal(this.ballots.get(term) ?? life, life, 'a ballot is used once, by one node');
      this.ballots.set(term, life);
    }
    if (type === MessageType.promise) this.#checkReported(node, message);
    if (type === MessageType.accept) {
      for (const value of message.entries) this.#checkProposed(term, value);
    }
    if (type === MessageType.accepted && !reject) this.#checkAccepted(node, message);
  }

  #checkReported({ disk }: Node, { term, index, entries }: PeerMessage): void {
    const last = entries.at(-1)?.index ?? 0;
    for (const record of disk.slots.values()) {
      if (record.index < index || record.index > last || record.term >= term) continue;
      assert.ok(
        entries.some((entry) => entry.index === record.index),
        'every durable acceptance of an older ballot is reported',
      );
    }
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

  #checkAccepted({ disk }: Node, { index, term }: PeerMessage): void {
    for (let at = disk.snapshot.metadata.index + 1; at <= index; at++) {
      const record = disk.slots.get(at);
      assert.ok(record !== undefined, `slot ${at} is durable when it is acknowledged`);
      const isSame = textOf(fromRecord(record)!.value) === this.#chosen.get(at)?.text;
      assert.ok(record.term >= term || isSame, `slot ${at} is accepted in the ballot, or chosen`);
    }
  }

  override checkWritten(node: Node, write: Persist): void {
    super.checkWritten(node, write);
    const { disk } = node;
    const promised = write.hardState?.term ?? disk.hardState.term;
    for (const record of write.entries) {
      const before = disk.slots.get(record.index);
      assert.ok(record.term >= (before?.term ?? 0), 'the ballots of a slot never fall');
      assert.ok(record.term <= promised, 'nothing is accepted that was not promised');
      this.#countAccepted(node.id, record);
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

  override checkApplied(value: Entry, hash: number): void {
    const chosen = this.#chosen.get(value.index)?.text;
    assert.equal(textOf(value), chosen, `what is applied at ${value.index} is chosen`);
    const isNew = value.index === this.committed.length;
    super.checkApplied(value, hash);
    if (isNew && value.term === 0) this.fillers += 1;
  }
}
