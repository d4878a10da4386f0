/**
 * A cluster of replicas with everything that can go wrong between and under them, for tests: late and
 * lost messages, calls whose replies are lost, slow disks, power cuts, stopped processes. Time is
 * virtual and every choice comes from one seed, so that a run can be repeated.
 */
import assert from 'node:assert/strict';
import type { Disk, DiskFile } from '../../core/disk.ts';
import { QuorateError } from '../../core/errors.ts';
import { type Random, seededRandom } from '../../core/random.ts';
import { CrashDisk } from '../../testing/crash-disk.ts';
import { type MemoryNetwork, memoryNetwork } from '../../testing/memory-network.ts';
import { VirtualClock } from '../../testing/virtual-clock.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { PaxosCore } from '../paxos/paxos.ts';
import { RaftCore } from '../raft/raft.ts';
import type { StateMachine } from '../state-machine.ts';
import type { Storage } from '../storage.ts';
import type { PeerStatus, Transport, TransportHandlers } from '../transport.ts';
import type { Consensus, NodeId, SnapshotMetadata } from '../types.ts';
import { openDiskStorage } from '../wal/storage.ts';
import type { MemberInfo } from './member-change.ts';
import { bootstrapEntries, clusterIdOf, Members, memberId } from './members.ts';
import { Replica } from './replica.ts';
import { replicaSettings } from './settings.ts';
import { Process } from './test-process.ts';

const FOLDER = '/data';
const COMMANDS_PER_CHUNK = 7;

/** How bad it is. Chances are one in so many; 0 is never. */
export interface Weather {
  readonly maxDelayMs: number;
  readonly lossOneIn: number;
  readonly lostReplyOneIn: number;
  readonly slowDiskOneIn: number;
  readonly slowDiskMs: number;
}

/** Keeps every command, and tells `observe` of each with its place. */
export class Journal implements StateMachine<number> {
  commands: string[] = [];
  readonly #observe: (place: number, command: string) => void;

  constructor(observe: (place: number, command: string) => void) {
    this.#observe = observe;
  }

  apply(data: Uint8Array): number {
    const command = Buffer.from(data).toString().trimEnd();
    this.#observe(this.commands.length, command);
    return this.commands.push(command);
  }

  *snapshot(): Generator<Uint8Array> {
    const pinned = this.commands.slice();
    for (let from = 0; from < pinned.length; from += COMMANDS_PER_CHUNK) {
      yield Buffer.from(JSON.stringify(pinned.slice(from, from + COMMANDS_PER_CHUNK)));
    }
    yield Buffer.alloc(0);
  }

  async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const commands: string[] = [];
    let whole = false;
    for await (const chunk of chunks) {
      if (chunk.length === 0) whole = true;
      else commands.push(...(JSON.parse(Buffer.from(chunk).toString()) as string[]));
    }
    assert.ok(whole, 'a snapshot is restored only as a whole');
    for (const [place, command] of commands.entries()) this.#observe(place, command);
    this.commands = commands;
  }
}

/** A disk that takes its time, and notices a file that is closed while it is being written. */
class SlowDisk implements Disk {
  readonly #disk: CrashDisk;
  readonly #pause: () => Promise<void>;
  readonly #onMisuse: (text: string) => void;

  constructor(disk: CrashDisk, pause: () => Promise<void>, onMisuse: (text: string) => void) {
    this.#disk = disk;
    this.#pause = pause;
    this.#onMisuse = onMisuse;
  }

  async open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
    await this.#pause();
    const file = await this.#disk.open(path, mode);
    let busy = 0;
    let closed = false;
    const guarded = async <T>(run: () => Promise<T>): Promise<T> => {
      if (closed) this.#onMisuse(`${path} is used after it was closed`);
      busy += 1;
      try {
        await this.#pause();
        return await run();
      } finally {
        busy -= 1;
      }
    };
    return {
      path,
      write: (data, offset) => guarded(() => file.write(data, offset)),
      read: (offset, length) => guarded(() => file.read(offset, length)),
      sync: () => guarded(() => file.sync()),
      size: () => file.size(),
      close: async () => {
        // The descriptor may belong to another file before the write reaches the kernel.
        if (busy > 0) this.#onMisuse(`${path} is closed while it is being used`);
        closed = true;
        await file.close();
      },
    };
  }

  list(folder: string): Promise<string[]> {
    return this.#disk.list(folder);
  }
  exists(path: string): Promise<boolean> {
    return this.#disk.exists(path);
  }
  makeFolder(path: string): Promise<void> {
    return this.#disk.makeFolder(path);
  }
  async rename(from: string, to: string): Promise<void> {
    await this.#pause();
    await this.#disk.rename(from, to);
  }
  async remove(path: string): Promise<void> {
    await this.#pause();
    await this.#disk.remove(path);
  }
  async syncFolder(path: string): Promise<void> {
    await this.#pause();
    await this.#disk.syncFolder(path);
  }
  lock(folder: string): Promise<() => Promise<void>> {
    return this.#disk.lock(folder);
  }
}

/** Delays what arrives, keeping the order of each channel, and loses some of it. */
class LateTransport implements Transport {
  readonly #inner: Transport;
  readonly #cluster: FaultCluster;
  readonly #process: Process;
  readonly #due = new Map<string, number>();
  #handlers: TransportHandlers | undefined;

  constructor(inner: Transport, cluster: FaultCluster, process: Process) {
    this.#inner = inner;
    this.#cluster = cluster;
    this.#process = process;
  }

  async start(handlers: TransportHandlers): Promise<void> {
    this.#handlers = handlers;
    await this.#inner.start({
      onMessage: (message) => this.#arrive(message),
      onCall: async (from, method, payload) => {
        await this.#cluster.delay();
        await this.#process.runs();
        if (this.#handlers === undefined) throw new QuorateError('ERR_CLOSED', 'gone');
        return handlers.onCall(from, method, payload);
      },
      onSnapshot: (message, metadata, chunks) =>
        handlers.onSnapshot(message, metadata, this.#slowly(chunks)),
      onUnreachable: (peer) => this.#process.run(() => this.#handlers?.onUnreachable(peer)),
    });
  }

  #arrive(message: PeerMessage): void {
    const { clock, random, weather } = this.#cluster;
    if (weather.lossOneIn > 0 && random.below(weather.lossOneIn) === 0) return;
    const channel = `${message.from}/${message.type === MessageType.append}`;
    const dueMs = Math.max(
      this.#due.get(channel) ?? 0,
      clock.now() + random.below(weather.maxDelayMs + 1),
    );
    this.#due.set(channel, dueMs);
    clock.after(dueMs - clock.now(), () =>
      this.#process.run(() => this.#handlers?.onMessage(message)),
    );
  }

  async *#slowly(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      await this.#cluster.delay();
      await this.#process.runs();
      yield chunk;
    }
    await this.#cluster.delay();
    await this.#process.runs();
  }

  send(message: PeerMessage): void {
    this.#inner.send(message);
  }

  flush(): void {
    this.#inner.flush();
  }

  async call(
    to: NodeId,
    method: string,
    payload: Uint8Array,
    timeoutMs: number,
  ): Promise<Uint8Array> {
    const { random, weather } = this.#cluster;
    const reply = await this.#inner.call(to, method, payload, timeoutMs);
    await this.#cluster.delay();
    await this.#process.runs();
    if (weather.lostReplyOneIn > 0 && random.below(weather.lostReplyOneIn) === 0) {
      throw new QuorateError('ERR_UNAVAILABLE', 'the connection broke', { outcome: 'unknown' });
    }
    return reply;
  }

  sendSnapshot(
    message: PeerMessage,
    metadata: SnapshotMetadata,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    return this.#inner.sendSnapshot(message, metadata, chunks);
  }

  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>, removed?: ReadonlySet<NodeId>): void {
    this.#inner.setPeers(peers, removed);
  }

  peers(): readonly PeerStatus[] {
    return this.#inner.peers();
  }

  close(): Promise<void> {
    this.#handlers = undefined;
    return this.#inner.close();
  }
}

/** One life of a node, from start to stop or crash. */
export interface Life {
  readonly id: NodeId;
  readonly journal: Journal;
  readonly replica: Replica<number>;
  readonly transport: Transport;
  readonly disk: CrashDisk;
  readonly process: Process;
  /** Set at a crash: whatever it still says, nobody hears. */
  dead: boolean;
  /** It noticed that it is no member any more. */
  removed: boolean;
}

/** A place for a node: its disk, and the life that it lives now. */
export interface Seat {
  readonly id: NodeId;
  readonly member: MemberInfo;
  disk: CrashDisk;
  life: Life | undefined;
  /** Being started or stopped. */
  busy: boolean;
}

const memberOf = (name: string): MemberInfo => {
  const peerUrls = [`http://${name}:2380`];
  return { id: memberId(peerUrls, 'faults'), name, peerUrls, learner: false };
};
const members = ['a', 'b', 'c'].map(memberOf);
const clusterId = clusterIdOf(members.map((member) => member.id));

export class FaultCluster {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly network: MemoryNetwork;
  readonly seats: readonly Seat[];
  /** The one order of all commands, as the first node to apply each saw it. */
  readonly order: string[] = [];
  /** What must not happen and did. */
  readonly violations: string[] = [];
  readonly #places = new Map<string, number>();
  readonly #background = new Set<Promise<void>>();
  readonly #keepEntries: number;
  /** Which core the nodes run. Set before any starts. */
  consensus: Consensus = 'raft';
  weather: Weather;

  /** `spares` nodes are no members at first: they start with an empty log, and wait. */
  constructor(seed: number, weather: Weather, keepEntries = 5, spares = 0) {
    this.#keepEntries = keepEntries;
    this.random = seededRandom(seed);
    this.weather = weather;
    this.network = memoryNetwork({ clock: this.clock });
    const waiting = Array.from({ length: spares }, (_, i) => memberOf(`s${i}`));
    this.seats = [...members, ...waiting].map((member) => {
      return { id: member.id, member, disk: new CrashDisk(), life: undefined, busy: false };
    });
  }

  get lives(): Life[] {
    return this.seats.flatMap(({ life, busy }) => (life === undefined || busy ? [] : [life]));
  }

  /** Nothing is being started, stopped or cleaned up. */
  get quiet(): boolean {
    return this.#background.size === 0;
  }

  delay(): Promise<void> {
    const delayMs = this.random.below(this.weather.maxDelayMs + 1);
    return new Promise((resolve) => this.clock.after(delayMs, resolve));
  }

  place(command: string): number | undefined {
    return this.#places.get(command);
  }

  start(seat: Seat): void {
    assert.ok(seat.life === undefined && !seat.busy);
    const { disk } = seat;
    seat.busy = true;
    this.#run(async () => {
      const life = await this.#open(seat).catch((error) => {
        if (seat.disk === disk) throw error;
        return undefined;
      });
      if (seat.disk === disk) {
        seat.life = life;
        seat.busy = false;
      } else if (life !== undefined) {
        life.dead = true;
        await life.replica.close();
      }
    });
  }

  /** Power is cut, be it during a start or a stop: what was not synced may be lost, what was sent may still arrive. */
  crash(seat: Seat): void {
    const { life, disk, busy } = seat;
    if (life === undefined && !busy) return;
    disk.operationLimit = disk.operations;
    seat.disk = disk.afterCrash(this.random);
    seat.life = undefined;
    seat.busy = false;
    if (life === undefined) return;
    life.dead = true;
    void life.transport.close();
    life.process.go();
    this.#run(() => life.replica.close());
  }

  /** A planned stop. */
  stop(seat: Seat): void {
    const life = seat.life;
    if (life === undefined || seat.busy || life.process.stopped) return;
    seat.busy = true;
    this.#run(async () => {
      await life.replica.close();
      if (life.dead) return;
      seat.disk = life.disk.afterKill();
      seat.life = undefined;
      seat.busy = false;
    });
  }

  #run(task: () => Promise<void>): void {
    const running = task()
      .catch((error) => void this.violations.push(`a start or stop failed: ${error.stack}`))
      .then(() => void this.#background.delete(running));
    this.#background.add(running);
  }

  #observe(place: number, command: string): void {
    const expected = this.order[place];
    if (expected === undefined) {
      if (place !== this.order.length) this.violations.push(`place ${place} before its time`);
      const before = this.#places.get(command);
      if (before !== undefined) {
        this.violations.push(`${command} was applied at ${before} and again at ${place}`);
      }
      this.order.push(command);
      this.#places.set(command, place);
    } else if (expected !== command) {
      this.violations.push(`at ${place} there is ${command} on one node, ${expected} on another`);
    }
  }

  #pause(): Promise<void> {
    const { slowDiskOneIn, slowDiskMs } = this.weather;
    if (slowDiskOneIn === 0 || this.random.below(slowDiskOneIn) > 0) return Promise.resolve();
    const delayMs = this.random.below(slowDiskMs + 1);
    return new Promise((resolve) => this.clock.after(delayMs, resolve));
  }

  async #storage(seat: Seat, process: Process): Promise<Storage> {
    const entries = members.includes(seat.member) ? bootstrapEntries(members) : [];
    const term = entries.length > 0 ? 1 : 0;
    const onMisuse = (text: string): void => void this.violations.push(text);
    return openDiskStorage({
      disk: new SlowDisk(seat.disk, () => this.#pause().then(() => process.runs()), onMisuse),
      folder: FOLDER,
      identity: { clusterId, nodeId: seat.id, consensus: this.consensus },
      bootstrap: { entries, hardState: { term, vote: '', commit: entries.length } },
      settings: { segmentBytes: 16 * 1024 },
    });
  }

  async #open(seat: Seat): Promise<Life> {
    const { id, disk } = seat;
    const process = new Process();
    const storage = await this.#storage(seat, process);
    const { hardState, snapshot, entries } = storage.recovered;
    const journal = new Journal((place, command) => this.#observe(place, command));
    const transport = new LateTransport(this.network.transport(id), this, process);
    // A node is reached by those that know it, which in this network needs both sides.
    const others = this.seats.filter((other) => other.id !== id);
    transport.setPeers(new Map(others.map((other) => [other.id, other.member.peerUrls])));
    const replica: Replica<number> = new Replica<number>({
      id,
      core: new (this.consensus === 'paxos' ? PaxosCore : RaftCore)({
        id,
        settings: { electionTicks: 6 },
        random: this.random,
        hardState,
        configuration: snapshot?.configuration ?? { voters: [], learners: [] },
        snapshot: { index: snapshot?.index ?? 0, term: snapshot?.term ?? 0 },
        entries,
        applied: snapshot?.index ?? 0,
      }),
      storage,
      transport,
      machine: journal,
      members: new Members(),
      settings: replicaSettings({
        heartbeatMs: 10,
        electionMs: 60,
        requestTimeoutMs: 1000,
        snapshotEntries: 20,
        keepEntries: this.#keepEntries,
      }),
      clock: process.clock(this.clock),
      defer: (run) => process.soon(run),
      events: {
        onFailed: (error) => {
          if (life.dead || seat.disk !== disk) return;
          this.violations.push(`node ${id} stopped itself: ${error.stack}`);
        },
        onRemoved: () => {
          life.removed = true;
        },
      },
    });
    const life: Life = {
      id,
      journal,
      replica,
      transport,
      disk,
      process,
      dead: false,
      removed: false,
    };
    await replica.start();
    return life;
  }
}
