/**
 * A cluster of bare cores in virtual time, with what the tests of the MIT 6.5840 labs ask of one:
 * disconnect, crash, restart, an unreliable network, checks of everything that is applied. A link
 * takes 1 ms; an unreliable one loses one message in ten and takes up to 27 ms; with long reordering
 * one message in three comes 0.2 to 2.2 s late.
 *
 * Every message passes the real codec. It is encoded when it is handed out and again when it arrives:
 * what changes on its way, since it shares memory with the log, is found. A crash loses the writes
 * that were not durable.
 */
import assert from 'node:assert/strict';
import type { Core, Effects } from '../../src/consensus/core.ts';
import type { PeerMessage } from '../../src/consensus/messages.ts';
import { messageBytes, readMessage, writeMessage } from '../../src/consensus/transport/codec.ts';
import type { Entry, HardState, NodeId, SnapshotMetadata } from '../../src/consensus/types.ts';
import { type Random, seededRandom } from '../../src/core/random.ts';
import type { CoreUnderTest } from './cores.ts';

const TICK_MS = 10;
/** Longer than any election takes on a network that works. */
export const ELECTION_MS = 1000;

export interface ClusterOptions {
  readonly seed: number;
  readonly nodes: number;
  /** @defaultValue a reliable network */
  readonly unreliable?: boolean;
  /** A snapshot whenever so many entries were applied. @defaultValue none */
  readonly snapshotEvery?: number;
  /** At most so much in one message. @defaultValue 1 MiB */
  readonly maxAppendBytes?: number;
}

interface Disk {
  hardState: HardState;
  entries: Entry[];
  snapshot: { readonly metadata: SnapshotMetadata; readonly applied: readonly string[] };
}

/** One life of a node, from start to crash. */
class Life {
  readonly core: Core;
  /** What it applied, by index; a no-op is empty text. */
  applied: string[];
  writesPending = 0;
  /** A snapshot that has arrived, until it is taken or refused; and the one being installed. */
  offered: Disk['snapshot'] | undefined;
  installing = false;
  readonly reads = new Map<number, (index: number | undefined) => void>();

  constructor(core: Core, applied: string[]) {
    this.core = core;
    this.applied = applied;
  }
}

export class Seat {
  readonly id: NodeId;
  readonly disk: Disk;
  life: Life | undefined;
  connected = true;
  /** Writes take as long as this; `Infinity`: the disk hangs. */
  diskMs = 1;
  diskFreeMs = 0;
  /** Its clock against true time: how fast it runs, and where this life's began. */
  clockRate = 1;
  clockOffsetMs = 0;
  /** The process stands still: what happens to it waits. */
  paused = false;
  readonly waiting: (() => void)[] = [];

  constructor(id: NodeId, disk: Disk) {
    this.id = id;
    this.disk = disk;
  }

  get core(): Core {
    assert.ok(this.life !== undefined, `node ${this.id} runs`);
    return this.life.core;
  }
}

export class CoreCluster {
  readonly random: Random;
  readonly seats: readonly Seat[];
  readonly voters: readonly NodeId[];
  /** Everything any node ever applied, by index. */
  readonly chosen: string[] = [''];
  unreliable: boolean;
  longReordering = false;
  /** What was handed to the network. */
  messagesSent = 0;
  bytesSent = 0;
  nowMs = 0;
  /** Every message passes here first; `false` loses it. */
  filter: (message: PeerMessage) => boolean = () => true;
  /** By term, whoever led it. */
  readonly #leaders = new Map<number, NodeId>();
  readonly #options: ClusterOptions;
  readonly #core: CoreUnderTest;
  readonly #agenda = new Map<number, (() => void)[]>();
  #context = 0;

  constructor(core: CoreUnderTest, options: ClusterOptions) {
    this.#core = core;
    this.#options = options;
    this.random = seededRandom(options.seed);
    this.unreliable = options.unreliable ?? false;
    this.voters = Array.from({ length: options.nodes }, (_, at) => `${at + 1}`.padStart(16, '0'));
    const configuration = { voters: this.voters, learners: [] };
    this.seats = this.voters.map((id) => {
      const metadata = { index: 0, term: 0, configuration };
      const hardState = { term: 0, vote: '', commit: 0 };
      return new Seat(id, { hardState, entries: [], snapshot: { metadata, applied: [''] } });
    });
    for (const seat of this.seats) this.start(seat);
  }

  get consensus(): string {
    return this.#core.consensus;
  }

  seat(at: number): Seat {
    return this.seats[at % this.seats.length]!;
  }

  // Life and death

  start(seat: Seat): void {
    assert.equal(seat.life, undefined);
    const { hardState, entries, snapshot } = seat.disk;
    const { index, term, configuration } = snapshot.metadata;
    seat.clockOffsetMs = this.random.below(1_000_000);
    const core = this.#core.create({
      id: seat.id,
      now: () => seat.clockOffsetMs + seat.clockRate * this.nowMs,
      random: seededRandom(this.random.below(2 ** 32)),
      hardState,
      configuration,
      snapshot: { index, term },
      entries: entries.filter((entry) => entry.index > index),
      maxAppendBytes: this.#options.maxAppendBytes ?? 1024 * 1024,
    });
    const life = new Life(core, snapshot.applied.slice());
    seat.life = life;
    seat.diskFreeMs = this.nowMs;
    const tick = (): void => {
      if (seat.life !== life) return;
      core.tick();
      this.#run(seat);
      this.after(TICK_MS / seat.clockRate, () => this.#awake(seat, tick));
    };
    this.after(1 + this.random.below(TICK_MS), () => this.#awake(seat, tick));
    this.#run(seat);
  }

  /** Its memory is gone, and every write that was not durable. */
  crash(seat: Seat): void {
    const { life } = seat;
    seat.life = undefined;
    seat.paused = false;
    seat.waiting.length = 0;
    for (const settle of life?.reads.values() ?? []) settle(undefined);
  }

  restart(seat: Seat): void {
    this.crash(seat);
    this.start(seat);
  }

  pause(seat: Seat): void {
    if (seat.life !== undefined) seat.paused = true;
  }

  /** It goes on, with what waited for it. */
  unpause(seat: Seat): void {
    seat.paused = false;
    for (const run of seat.waiting.splice(0)) run();
  }

  #awake(seat: Seat, run: () => void): void {
    if (seat.paused) seat.waiting.push(run);
    else run();
  }

  disconnect(...seats: readonly Seat[]): void {
    for (const seat of seats) seat.connected = false;
  }

  connect(...seats: readonly Seat[]): void {
    for (const seat of seats) seat.connected = true;
  }

  // Time

  after(delayMs: number, run: () => void): void {
    if (delayMs === Infinity) return;
    const dueMs = this.nowMs + Math.max(1, Math.round(delayMs));
    const due = this.#agenda.get(dueMs);
    if (due === undefined) this.#agenda.set(dueMs, [run]);
    else due.push(run);
  }

  /** Lets time pass. */
  wait(ms: number): void {
    const untilMs = this.nowMs + ms;
    while (this.nowMs < untilMs) {
      this.nowMs += 1;
      const due = this.#agenda.get(this.nowMs);
      if (due === undefined) continue;
      this.#agenda.delete(this.nowMs);
      for (const run of due) run();
    }
  }

  /** Lets time pass until `holds`. */
  until(what: string, holds: () => boolean, timeoutMs = 10_000): void {
    const deadlineMs = this.nowMs + timeoutMs;
    while (!holds()) {
      assert.ok(this.nowMs < deadlineMs, `${this}: not within ${timeoutMs} ms: ${what}`);
      this.wait(5);
    }
  }

  // What a replica does

  #run(seat: Seat): void {
    const { life } = seat;
    while (life?.core.hasEffects()) {
      const effects = life.core.take();
      if (effects.stateChanged) this.#checkLeader(seat, life);
      this.#send(effects.messages);
      this.#persist(seat, life, effects);
      if (effects.install !== undefined) this.#install(seat, life, effects.install);
      this.#apply(seat, life, effects.committed);
      for (const { context, index } of effects.reads) this.#answer(life, context, index);
      for (const context of effects.droppedReads) this.#answer(life, context, undefined);
      for (const wanted of effects.snapshotsWanted) this.#stream(seat, life, wanted);
    }
  }

  /** Election safety, at every change. */
  #checkLeader(seat: Seat, life: Life): void {
    const { role, term } = life.core.status();
    if (role !== 'leader') return;
    const known = this.#leaders.get(term);
    assert.ok(known === undefined || known === seat.id, `${this}: term ${term} has one leader`);
    this.#leaders.set(term, seat.id);
  }

  get leadersSeen(): number {
    return this.#leaders.size;
  }

  #persist(seat: Seat, life: Life, { persist, messagesAfterPersist }: Effects): void {
    if (persist === undefined && messagesAfterPersist.length === 0) return;
    if (persist === undefined && life.writesPending === 0) {
      this.#send(messagesAfterPersist);
      return;
    }
    life.writesPending += 1;
    this.#onDisk(seat, life, () => {
      life.writesPending -= 1;
      if (persist?.hardState !== undefined) seat.disk.hardState = persist.hardState;
      if (persist !== undefined) this.#write(seat.disk, persist.entries);
      if (persist !== undefined) life.core.persisted(persist.sequence);
      this.#send(messagesAfterPersist);
    });
  }

  #write(disk: Disk, entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    const written = new Set(entries.map(({ index }) => index));
    const kept = disk.entries.filter(({ index }) => {
      return this.#core.cutsLog ? index < first.index : !written.has(index);
    });
    disk.entries = [...kept, ...entries].sort((a, b) => a.index - b.index);
  }

  /** One write after the other; none of a life that has ended. */
  #onDisk(seat: Seat, life: Life, done: () => void): void {
    seat.diskFreeMs = Math.max(seat.diskFreeMs, this.nowMs) + seat.diskMs;
    const arrive = (): void => {
      if (seat.life !== life) return;
      done();
      this.#run(seat);
    };
    this.after(seat.diskFreeMs - this.nowMs, () => this.#awake(seat, arrive));
  }

  #apply(seat: Seat, life: Life, committed: readonly Entry[]): void {
    for (const { index, data } of committed) {
      const text = Buffer.from(data).toString();
      assert.equal(index, life.applied.length, `${this}: entries are applied in order`);
      life.applied.push(text);
      if (index === this.chosen.length) this.chosen.push(text);
      assert.equal(text, this.chosen[index], `${this}: all nodes apply the same at ${index}`);
      life.core.applied(index);
      if (index % (this.#options.snapshotEvery ?? Infinity) === 0)
        this.#snapshot(seat, life, index);
    }
  }

  #snapshot(seat: Seat, life: Life, index: number): void {
    const term = life.core.termAt(index);
    const { configuration } = seat.disk.snapshot.metadata;
    const applied = life.applied.slice(0, index + 1);
    life.core.compact(index, index + 1);
    this.#onDisk(seat, life, () => {
      if (seat.disk.snapshot.metadata.index > index) return;
      seat.disk.snapshot = { metadata: { index, term, configuration }, applied };
      seat.disk.entries = seat.disk.entries.filter((entry) => entry.index > index);
    });
  }

  #install(seat: Seat, life: Life, metadata: SnapshotMetadata): void {
    const snapshot = life.offered;
    assert.ok(snapshot !== undefined && snapshot.metadata.index === metadata.index);
    life.installing = true;
    this.#onDisk(seat, life, () => {
      life.installing = false;
      seat.disk.snapshot = snapshot;
      seat.disk.entries = seat.disk.entries.filter(({ index }) => {
        return !this.#core.cutsLog && index > metadata.index;
      });
      life.applied = snapshot.applied.slice();
      life.core.snapshotInstalled(metadata);
    });
  }

  /** A snapshot travels: it arrives as a whole, or not at all. */
  #stream(seat: Seat, life: Life, wanted: PeerMessage): void {
    const peer = this.seats.find(({ id }) => id === wanted.to)!;
    const snapshot = {
      metadata: {
        ...seat.disk.snapshot.metadata,
        index: wanted.index,
        term: wanted.logTerm,
      },
      applied: life.applied.slice(0, wanted.index + 1),
    };
    this.bytesSent += snapshot.applied.join('').length;
    const delayMs = this.#delay();
    this.after(delayMs ?? 50, () => {
      const there = peer.life;
      const arrives =
        delayMs !== undefined &&
        seat.connected &&
        peer.connected &&
        !peer.paused &&
        there?.installing === false;
      if (arrives) {
        there.offered = snapshot;
        there.core.step(wanted);
        this.#run(peer);
        there.offered = undefined;
      }
      if (seat.life !== life) return;
      life.core.snapshotSent(wanted.to, arrives);
      this.#run(seat);
    });
  }

  // The network

  #send(messages: readonly PeerMessage[]): void {
    for (const message of messages) {
      this.messagesSent += 1;
      const bytes = encoded(message);
      this.bytesSent += bytes.length;
      const delayMs = this.#delay();
      if (delayMs === undefined || !this.filter(message)) continue;
      this.after(delayMs, () => this.#arrive(message, bytes));
    }
  }

  #delay(): number | undefined {
    if (!this.unreliable) return 1;
    if (this.random.below(10) === 0) return undefined;
    if (this.longReordering && this.random.below(3) === 0) return 200 + this.random.below(2000);
    return 1 + this.random.below(27);
  }

  #arrive(message: PeerMessage, bytes: Buffer): void {
    assert.deepEqual(encoded(message), bytes, `${this}: a message does not change on its way`);
    this.deliver(readMessage(bytes, 0, message.from, message.to));
  }

  /** A message comes in, if its way is open. */
  deliver(message: PeerMessage): void {
    const from = this.seats.find(({ id }) => id === message.from)!;
    const to = this.seats.find(({ id }) => id === message.to)!;
    if (!from.connected || !to.connected) return;
    this.#awake(to, () => {
      to.life?.core.step(message);
      this.#run(to);
    });
  }

  // What the tests ask

  /** The index under which the text would be applied if it is; `undefined` where `seat` does not lead. */
  propose(seat: Seat, ...texts: readonly string[]): number | undefined {
    if (seat.life === undefined) return undefined;
    const placed = seat.core.propose(texts.map((text) => Buffer.from(text)));
    this.#run(seat);
    return typeof placed === 'object' ? placed.index : undefined;
  }

  /** `done` gets the read index, or `undefined` where the read was given up. */
  read(seat: Seat, done: (index: number | undefined) => void): void {
    this.#context += 1;
    seat.life!.reads.set(this.#context, done);
    seat.core.readIndex(this.#context);
    this.#run(seat);
  }

  #answer(life: Life, context: number, index: number | undefined): void {
    const done = life.reads.get(context);
    assert.ok(done !== undefined, 'a read is answered once');
    life.reads.delete(context);
    done(index);
  }

  /** How many running nodes have applied `index`. */
  appliedBy(index: number): number {
    return this.seats.filter(({ life }) => life !== undefined && life.applied.length > index)
      .length;
  }

  isLeader({ life }: Seat): boolean {
    return life?.core.status().role === 'leader';
  }

  /** Within some elections' time there is a leader among the connected, one a term: the newest. */
  checkOneLeader(): Seat {
    for (let attempt = 0; attempt < 10; attempt++) {
      this.wait(450 + this.random.below(100));
      const leaders = new Map<number, Seat>();
      for (const seat of this.seats) {
        if (!seat.connected || !this.isLeader(seat)) continue;
        const { term } = seat.core.status();
        assert.equal(leaders.get(term), undefined, `${this}: term ${term} has one leader`);
        leaders.set(term, seat);
      }
      if (leaders.size > 0) return leaders.get(Math.max(...leaders.keys()))!;
    }
    return assert.fail(`${this}: no leader was elected`);
  }

  checkNoLeader(): void {
    const leaders = this.seats.filter((seat) => seat.connected && this.isLeader(seat));
    assert.deepEqual(leaders, [], `${this}: nobody leads without a majority`);
  }

  /**
   * Gets `text` chosen by asking one node after the other, and applied by `expected` nodes.
   * @returns its index
   */
  one(text: string, expected: number, retry = true): number {
    const deadlineMs = this.nowMs + 20_000;
    for (let at = 0; this.nowMs < deadlineMs; at++) {
      const seat = this.seat(at);
      const index = seat.connected ? this.propose(seat, text) : undefined;
      const giveUpMs = this.nowMs + 2000;
      while (index !== undefined && this.nowMs < giveUpMs) {
        if (this.appliedBy(index) >= expected && this.chosen[index] === text) return index;
        if (this.chosen[index] !== undefined && this.chosen[index] !== text) break;
        this.wait(5);
      }
      if (index !== undefined && !retry) break;
      const hasAskedAll = at % this.seats.length === this.seats.length - 1;
      if (index === undefined && hasAskedAll) this.wait(20);
    }
    return assert.fail(`${this}: ${text.slice(0, 20)} was not agreed on by ${expected} nodes`);
  }

  /** Everybody is well again and has applied the same. */
  checkAllAgree(): void {
    this.one('the end', this.seats.length);
    this.until('all have everything', () =>
      this.seats.every(({ life }) => life?.applied.length === this.chosen.length),
    );
  }

  toString(): string {
    return `${this.#core.consensus}, seed ${this.#options.seed}, ${this.nowMs} ms`;
  }
}

function encoded(message: PeerMessage): Buffer {
  const bytes = Buffer.alloc(messageBytes(message));
  writeMessage(bytes, 0, message);
  return bytes;
}
