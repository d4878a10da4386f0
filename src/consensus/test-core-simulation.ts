/**
 * A cluster of cores on a bad day, for tests: a seed decides what is sent late, twice, out of order
 * or never, when disks finish, who crashes. Disks are modelled: a crash loses every write that had
 * not completed (some complete without having been reported, or in part). After every event the
 * properties are checked. Each core extends this with its disk, its properties, and the events that
 * only it knows.
 */
import assert from 'node:assert/strict';
import { type Random, seededRandom } from '../core/random.ts';
import type { Core, Effects } from './core.ts';
import type { PeerMessage } from './messages.ts';
import type { RaftOptions, RaftSettings } from './raft/settings.ts';
import {
  type Disk,
  mix,
  newNode,
  type PendingWrite,
  type SimulatedNode,
  type Transfer,
} from './test-core-node.ts';
import { drawSettings, drawWeights, type Weights } from './test-core-odds.ts';
import type { CoreProperties } from './test-core-properties.ts';
import type { Configuration, Entry, NodeId } from './types.ts';

const MAX_ON_THE_WIRE = 300;

export abstract class CoreSimulation<D extends Disk, P extends CoreProperties<D>> {
  readonly seed: number;
  readonly random: Random;
  readonly settings: Partial<RaftSettings>;
  readonly configuration: Configuration;
  readonly nodes: SimulatedNode<D>[];
  readonly weights: Weights;
  readonly properties: P;
  wire: PeerMessage[] = [];
  streams: Transfer[] = [];
  /** Pairs `from>to` that lose everything: partitions may be one-way. */
  readonly cut = new Set<string>();
  step = 0;
  nextContext = 0;
  nextValue = 0;
  // How much of the work was done, so that tests can see that something happened.
  answered = 0;
  installs = 0;
  crashes = 0;

  constructor(seed: number) {
    this.seed = seed;
    this.random = seededRandom(seed);
    const voters = [1, 3, 3, 3, 4, 5][this.random.below(6)]!;
    const learners = this.random.below(3) === 0 ? 1 : 0;
    this.settings = drawSettings(this.random);
    this.weights = this.drawWeights();
    const known = voters + learners;
    const ids = Array.from({ length: this.countNodes(known) }, (_, at) =>
      `${at + 1}`.padStart(16, '0'),
    );
    this.configuration = { voters: ids.slice(0, voters), learners: ids.slice(voters, known) };
    this.properties = this.newProperties();
    this.nodes = ids.map((id) => newNode(id, this.newDisk()));
    for (const node of this.nodes) this.start(node);
  }

  // What a core says of itself. The constructor calls these: no field of a subclass is there yet.

  protected abstract openCore(options: RaftOptions): Core;
  protected abstract newDisk(): D;
  protected abstract newProperties(): P;

  /** As many as are `known` at first, or with others that may be added. */
  protected countNodes(known: number): number {
    return known;
  }

  /** What this day is like. */
  protected drawWeights(): Weights {
    return drawWeights(this.random);
  }

  // Life and death of a node

  start(node: SimulatedNode<D>): void {
    const { disk } = node;
    const { index, term, configuration } = disk.snapshot.metadata;
    node.applied = index;
    node.configuration = configuration;
    node.hash = disk.snapshot.hash;
    node.life += 1;
    node.core = this.openCore({
      id: node.id,
      settings: this.settings,
      random: seededRandom(this.random.below(2 ** 32)),
      hardState: disk.hardState,
      configuration,
      snapshot: { index, term },
      entries: disk.readEntries(),
      applied: index,
    });
    node.lastCommit = node.core.status().commit;
    this.properties.checkStarted(node);
  }

  crash(node: SimulatedNode<D>): void {
    const completed = this.random.below(node.writes.length + 1);
    for (const write of node.writes.slice(0, completed)) this.#reachDisk(node, write);
    // Of the write under way the entries may be there, and the state that comes after them not.
    const torn = node.writes[completed];
    if (torn !== undefined && this.random.below(2) === 0) this.#reachDisk(node, torn, true);
    // What the disk has not seen, the node has not known.
    node.lastTerm = node.disk.hardState.term;
    node.core = undefined;
    node.writes = [];
    node.offered = undefined;
    node.installing = undefined;
    node.reads.clear();
    this.crashes += 1;
  }

  #reachDisk(node: SimulatedNode<D>, write: PendingWrite, isTorn = false): void {
    this.properties.checkWritten(node, write);
    node.disk.write(isTorn ? { ...write, hardState: undefined } : write);
  }

  // One event

  run(steps: number): void {
    const names = Object.keys(this.weights) as (keyof Weights)[];
    const total = names.reduce((sum, name) => sum + this.weights[name], 0);
    for (let count = 0; count < steps; count++) {
      this.step += 1;
      let draw = this.random.below(total);
      let chosen = 0;
      while (draw >= this.weights[names[chosen]!]) draw -= this.weights[names[chosen++]!];
      this.#happen(names[chosen]!, this.nodes[this.random.below(this.nodes.length)]!);
    }
  }

  #happen(event: keyof Weights, node: SimulatedNode<D>): void {
    const { core } = node;
    if (event === 'deliver') this.#deliver(true);
    else if (event === 'drop') this.#takeFromWire();
    else if (event === 'duplicate') this.#deliver(false);
    else if (event === 'stream') this.#deliverStream(this.random.below(5) > 0);
    else if (event === 'partition') this.#partition();
    else if (event === 'restart') {
      if (core === undefined) this.start(node);
    } else if (core === undefined) return;
    else if (event === 'crash') this.crash(node);
    else if (event === 'tick') this.#tick(node, core);
    else if (event === 'write') this.completeWrites(node, 1 + this.random.below(3));
    else if (event === 'take') this.take(node);
    else if (event === 'propose') this.propose(node);
    else if (event === 'read') this.read(node);
    else if (event === 'compact') this.#compact(node);
    else if (event === 'install') this.install(node);
    else if (event === 'campaign') core.campaign();
    else if (event === 'change') this.change(node);
    else {
      const other = this.nodes[this.random.below(this.nodes.length)]!.id;
      if (event === 'transfer') core.transferLeadership(other);
      else core.unreachable(other);
    }
    this.properties.check(node);
  }

  /** Clocks differ: every other seed has a node that is ten times as slow. */
  #tick(node: SimulatedNode<D>, core: Core): void {
    const isSlow = this.seed % 2 === 0 && node === this.nodes[0];
    if (!isSlow || this.random.below(10) === 0) core.tick();
  }

  #takeFromWire(): PeerMessage | undefined {
    if (this.wire.length === 0) return undefined;
    // Mostly in order, sometimes not.
    const near = Math.min(this.wire.length, this.random.below(8) === 0 ? MAX_ON_THE_WIRE : 4);
    return this.wire.splice(this.random.below(near), 1)[0];
  }

  #deliver(once: boolean): void {
    const message = this.#takeFromWire();
    if (message === undefined) return;
    if (!once) this.wire.push(message);
    if (this.cut.has(`${message.from}>${message.to}`)) return;
    const node = this.nodeOf(message.to);
    node.core?.step(message);
    this.properties.check(node);
  }

  nodeOf(id: NodeId): SimulatedNode<D> {
    const node = this.nodes.find((candidate) => candidate.id === id);
    assert.ok(node !== undefined);
    return node;
  }

  propose(node: SimulatedNode<D>): boolean {
    const data = Array.from({ length: 1 + this.random.below(4) }, () =>
      new TextEncoder().encode(`value ${this.nextValue++}`),
    );
    return typeof node.core!.propose(data) === 'object';
  }

  /** Whoever leads; of leaders of different terms, any. */
  protected leader(): SimulatedNode<D> | undefined {
    return this.nodes.find((node) => node.core?.status().role === 'leader');
  }

  /** Proposes a change of the members. */
  protected change(_node: SimulatedNode<D>): void {
    // They are fixed, unless a core says otherwise.
  }

  read(node: SimulatedNode<D>): void {
    const context = this.nextContext++;
    node.reads.set(context, this.properties.maxCommit);
    node.core!.readIndex(context);
  }

  #compact(node: SimulatedNode<D>): void {
    if (node.applied <= node.disk.snapshot.metadata.index || node.installing !== undefined) return;
    const index = node.applied;
    const term = node.core!.termAt(index);
    assert.equal(
      term,
      this.properties.committed[index]!.term,
      'a core knows the term of its snapshot',
    );
    const metadata = { index, term, configuration: node.configuration };
    node.disk.save({ metadata, hash: node.hash });
    node.core!.compact(index, Math.max(1, index + 1 - this.random.below(5)));
  }

  /** Cuts some ways at random, or one node (a leader, if there is one) off from all others. */
  #partition(): void {
    this.cut.clear();
    const kind = this.random.below(4);
    if (kind === 0) return;
    const alone = this.leader() ?? this.nodes[this.random.below(this.nodes.length)]!;
    for (const from of this.nodes) {
      for (const to of this.nodes) {
        const isCut = kind === 1 ? this.random.below(4) === 0 : (from === alone) !== (to === alone);
        if (isCut) this.cut.add(`${from.id}>${to.id}`);
      }
    }
  }

  // What a replica does

  take(node: SimulatedNode<D>): void {
    if (!node.core!.hasEffects()) return;
    const effects = node.core!.take();
    this.#send(node, effects.messages);
    if (effects.persist !== undefined) {
      this.properties.checkWrite(node, effects.persist);
      node.writes.push({ ...effects.persist, messages: effects.messagesAfterPersist });
    } else {
      assert.equal(effects.messagesAfterPersist.length, 0, 'nothing waits for no write');
    }
    this.#apply(node, effects);
    this.#answer(node, effects);
    for (const message of effects.snapshotsWanted) {
      this.streams.push({ message, snapshot: node.disk.snapshot });
      assert.equal(message.index, node.disk.snapshot.metadata.index, 'the newest snapshot is sent');
    }
    if (effects.install !== undefined) {
      assert.ok(node.offered !== undefined, 'only a snapshot that came is installed');
      node.installing = node.offered;
    }
    node.offered = undefined;
    this.properties.check(node);
  }

  completeWrites(node: SimulatedNode<D>, count: number): void {
    const done = node.writes.splice(0, count);
    if (done.length === 0) return;
    for (const write of done) this.#reachDisk(node, write);
    for (const { messages } of done) this.#send(node, messages);
    node.core!.persisted(done.at(-1)!.sequence);
    this.properties.check(node);
  }

  #send(node: SimulatedNode<D>, messages: readonly PeerMessage[]): void {
    for (const message of messages) {
      this.properties.checkSent(node, message);
      if (this.wire.length < MAX_ON_THE_WIRE) this.wire.push(message);
    }
  }

  #apply(node: SimulatedNode<D>, effects: Effects): void {
    for (const entry of effects.committed) {
      assert.equal(entry.index, node.applied + 1, 'entries are applied in order');
      node.applied = entry.index;
      node.hash = mix(node.hash, entry);
      this.properties.checkApplied(entry, node.hash);
      this.onApplied(node, entry);
    }
    if (effects.committed.length > 0) node.core!.applied(node.applied);
  }

  /** `entry` was applied: the core has to be told if it changed the members. */
  protected onApplied(_node: SimulatedNode<D>, _entry: Entry): void {
    // No entry changes fixed members.
  }

  #answer(node: SimulatedNode<D>, effects: Effects): void {
    for (const { context, index } of effects.reads) {
      const least = node.reads.get(context);
      assert.ok(least !== undefined, 'a read is answered once');
      assert.ok(index >= least, `read ${context} is not stale: ${index} >= ${least}`);
      node.reads.delete(context);
      this.answered += 1;
    }
    for (const context of effects.droppedReads) {
      assert.ok(node.reads.delete(context), 'a read is dropped once');
    }
  }

  #deliverStream(arrives: boolean): void {
    if (this.streams.length === 0) return;
    const at = this.random.below(this.streams.length);
    const stream = this.streams.splice(at, 1)[0]!;
    this.arrive(stream, arrives);
  }

  /** A snapshot stream ends. A node takes one at a time, and refuses while it has one in hand. */
  arrive(stream: Transfer, arrives: boolean): void {
    const { message } = stream;
    const node = this.nodeOf(message.to);
    const ok = arrives && node.core !== undefined && node.installing === undefined;
    if (ok) {
      this.take(node);
      node.offered = stream;
      node.core!.step(message);
      this.take(node);
    }
    this.nodeOf(message.from).core?.snapshotSent(message.to, ok);
  }

  install(node: SimulatedNode<D>): void {
    const { installing } = node;
    if (installing === undefined) return;
    // Storage orders a snapshot after the writes queued before it.
    this.completeWrites(node, node.writes.length);
    const { metadata, hash } = installing.snapshot;
    node.disk.install(installing.snapshot);
    node.applied = metadata.index;
    node.configuration = metadata.configuration;
    node.hash = hash;
    node.installing = undefined;
    this.installs += 1;
    node.core!.snapshotInstalled(metadata);
    this.properties.check(node);
  }

  // The day gets better

  /** Heals everything and demands progress of the members. */
  recover(): void {
    this.cut.clear();
    for (const node of this.nodes) if (node.core === undefined) this.start(node);
    const isSettled = (): boolean =>
      this.members().every((node) => node.applied === this.properties.maxCommit);
    let isProposed = false;
    for (let round = 0; round < 400; round++) {
      this.#calmRound();
      const leader = this.leader();
      if (leader !== undefined && !isProposed && round > 100) isProposed = this.propose(leader);
      if (isProposed && round > 200 && isSettled()) break;
    }
    assert.ok(isProposed, 'a healthy cluster elects a leader that takes proposals');
    for (const node of this.members()) {
      assert.equal(node.applied, this.properties.maxCommit, `${node.id} catches up`);
      assert.equal(node.hash, this.properties.committed[this.properties.maxCommit]!.hash);
      assert.equal(node.reads.size, 0, 'no read hangs');
    }
  }

  /** Those of the newest configuration. */
  protected members(): SimulatedNode<D>[] {
    return this.nodes;
  }

  #calmRound(): void {
    for (const node of this.nodes) node.core!.tick();
    for (let turn = 0; turn < 30; turn++) {
      for (const stream of this.streams.splice(0)) this.arrive(stream, true);
      for (const node of this.nodes) {
        this.install(node);
        this.take(node);
        this.completeWrites(node, node.writes.length);
      }
      const messages = this.wire;
      this.wire = [];
      for (const message of messages) {
        this.nodeOf(message.to).core!.step(message);
        this.properties.check(this.nodeOf(message.to));
      }
    }
  }
}

interface Days<S> {
  readonly seeds: number;
  readonly steps: number;
  readonly open: (seed: number) => S;
  /** Looks at what was done on a day that went well. */
  readonly onEvening: (day: S) => void;
}

/**
 * Lives through one day for each seed from 1 on. A failing seed is in the message; it replays exactly.
 * The days were bad enough, and work was done all the same.
 */
export function liveThrough<S extends CoreSimulation<Disk, CoreProperties<Disk>>>(
  days: Days<S>,
): void {
  const { seeds, steps, open, onEvening } = days;
  const sum = { commits: 0, leaders: 0, reads: 0, installs: 0, crashes: 0 };
  for (let seed = 1; seed <= seeds; seed++) {
    const day = open(seed);
    try {
      day.run(steps);
      day.recover();
    } catch (error) {
      throw new Error(`seed ${seed}, step ${day.step}: ${String(error)}`, { cause: error });
    }
    sum.commits += day.properties.maxCommit;
    sum.leaders += day.properties.leaders.size;
    sum.reads += day.answered;
    sum.installs += day.installs;
    sum.crashes += day.crashes;
    onEvening(day);
  }
  assert.ok(sum.commits > seeds * 20, `${sum.commits} entries were committed`);
  assert.ok(sum.leaders > seeds * 3, `${sum.leaders} leaders were elected`);
  assert.ok(sum.reads > seeds * 5, `${sum.reads} reads were answered`);
  assert.ok(sum.installs > seeds / 4, `${sum.installs} snapshots were installed`);
  assert.ok(sum.crashes > seeds, `${sum.crashes} nodes crashed`);
}
