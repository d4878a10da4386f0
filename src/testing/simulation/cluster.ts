/**
 * Seats with disks, and the nodes that live on them: each the real thing, from its log to its store,
 * with the clock, disk and network of this world beneath.
 */
import type { Core } from '../../consensus/core.ts';
import type { PeerMessage } from '../../consensus/messages.ts';
import type { RecoveredState } from '../../consensus/storage.ts';
import type { NodeId } from '../../consensus/types.ts';
import { assert } from '../../core/assert.ts';
import type { NodeOptions, QuorateNode } from '../../node.ts';
import { AdverseTransport, calmMessages, type MessageWeather } from './adverse-transport.ts';
import { SimulatedDisk } from './disk.ts';
import { between } from './draw.ts';
import { Life, type SimulatedNode } from './life.ts';
import { SimulatedNetwork } from './network.ts';
import { NodeClock } from './node-clock.ts';
import { SimulatedProcess } from './process.ts';
import type { World } from './types.ts';

/** How a life ended. `failed`: the node stopped itself, or could not start. */
export type LifeEnd = 'stopped' | 'killed' | 'power-cut' | 'failed';

/** Sees everything of every life; called within the event in which it happens. */
export interface ClusterObserver<Node extends SimulatedNode = QuorateNode> {
  /** A life begins: from `recovered`, with this core. What is returned takes its place. */
  wrapCore?(life: Life<Node>, core: Core, recovered: RecoveredState): Core;
  /** A node hands a message to its transport: what it promises, it has promised. */
  onSend?(life: Life<Node>, message: PeerMessage): void;
  /** A message reaches a node. */
  onReceive?(life: Life<Node>, message: PeerMessage): void;
  /** The node of this life serves. */
  onStarted?(life: Life<Node>, node: Node): void;
  onEnded?(life: Life<Node>, how: LifeEnd): void;
  /** What a node logs. */
  onLog?(life: Life<Node>, level: string, text: string): void;
}

export interface Seat<Node extends SimulatedNode = QuorateNode> {
  readonly number: number;
  /** `a`, `b`, … */
  readonly name: string;
  /** Its host in the network. */
  readonly host: string;
  readonly peerUrl: string;
  readonly disk: SimulatedDisk;
  readonly driftPpm: number;
  life: Life<Node> | undefined;
  /** Lives so far. */
  lives: number;
  /** Not one of the first members: its node joins the cluster, to which somebody has added it. */
  readonly joins: boolean;
}

export interface ClusterOptions<Node extends SimulatedNode = QuorateNode> {
  readonly world: World;
  /** Opens what is to live on a seat. */
  readonly open: (options: NodeOptions, life: Life<Node>) => Promise<Node>;
  /** First members. */
  readonly nodes: number;
  /** For every node: times and limits. */
  readonly settings: Partial<NodeOptions>;
  /** Clocks run up to so many millionths too fast or too slow. @defaultValue 0 */
  readonly driftPpm?: number;
  /** Monotonic clocks begin, and wall clocks stand, up to so far apart. @defaultValue 0 */
  readonly clockOffsetMs?: number;
  readonly observer?: ClusterObserver<Node>;
}

const PEER_PORT = 2380;
const DATA_FOLDER = '/data';
/** Node counts timers in whole milliseconds. */
const TIMER_LATE_MS = 1;

export class SimulatedCluster<Node extends SimulatedNode = QuorateNode> {
  readonly world: World;
  readonly network: SimulatedNetwork;
  readonly messages: MessageWeather = calmMessages();
  /** By node: when its disk was last lost or damaged. */
  readonly memoryLosses = new Map<NodeId, number>();
  /** Of all seats, those that joined later included. */
  readonly seats: Seat<Node>[] = [];
  readonly #options: ClusterOptions<Node>;
  readonly #founders: Readonly<Record<string, string>>;

  constructor(options: ClusterOptions<Node>) {
    this.world = options.world;
    this.network = new SimulatedNetwork(options.world);
    this.#options = options;
    for (let i = 0; i < options.nodes; i++) this.#addSeat(false);
    this.#founders = peersOf(this.seats);
  }

  /** Lives that run, by seat. */
  get running(): Life<Node>[] {
    return this.seats.flatMap(({ life }) => (life?.state === 'running' ? [life] : []));
  }

  /**
   * A new seat with an empty disk. Its node is started like the others, once it was added to the
   * members under `peerUrl`.
   */
  join(): Seat<Node> {
    return this.#addSeat(true);
  }

  #addSeat(joins: boolean): Seat<Node> {
    const number = this.seats.length;
    const name = String.fromCharCode(97 + number);
    const drift = this.#options.driftPpm ?? 0;
    const seat: Seat<Node> = {
      number,
      name,
      host: `host-${name}`,
      peerUrl: `http://host-${name}:${PEER_PORT}`,
      disk: new SimulatedDisk(this.world, name),
      driftPpm: between(this.world.random(`drift/${name}`), -drift, drift),
      life: undefined,
      lives: 0,
      joins,
    };
    this.seats.push(seat);
    return seat;
  }

  /** Starts a node on a seat that has none. */
  start(seat: Seat<Node>): Life<Node> {
    assert(seat.life === undefined, 'a seat holds one life at a time');
    const { world } = this;
    seat.lives += 1;
    const random = world.random(`clock/${seat.name}/${seat.lives}`);
    const offset = this.#options.clockOffsetMs ?? 0;
    const process = new SimulatedProcess(world);
    const clock = new NodeClock({
      world,
      process,
      offsetMs: between(random, 0, offset),
      driftPpm: seat.driftPpm,
      wallOffsetMs: between(random, -offset, offset),
      lateness: { mostMs: TIMER_LATE_MS, random },
    });
    const disk = seat.disk.mount(process);
    const life = new Life<Node>(seat.number, seat.name, seat.lives, process, clock, disk);
    seat.life = life;
    world.trace('start', seat.name, seat.lives);
    this.network.powerOn(seat.host);
    process.run(() => this.#open(seat, life));
    return life;
  }

  /** Power is cut: what was not synced may be lost, in any part. */
  crash(seat: Seat<Node>): void {
    const { life } = seat;
    life?.process.die();
    this.network.powerCut(seat.host);
    seat.disk.processDied();
    seat.disk.powerCut();
    if (life !== undefined) this.#ended(seat, life, 'power-cut');
  }

  /** The process dies, as by `SIGKILL`; the system and the disk go on. */
  kill(seat: Seat<Node>): void {
    const { life } = seat;
    if (life === undefined) return;
    this.world.fault('kill');
    life.process.die();
    this.network.processDied(seat.host);
    seat.disk.processDied();
    this.#ended(seat, life, 'killed');
  }

  /** A planned stop: begins now, takes its time. Nothing where the node does not run. */
  stop(seat: Seat<Node>): void {
    const { life } = seat;
    if (life?.state !== 'running') return;
    this.world.fault('stop');
    this.#close(seat, life, 'stopped');
  }

  pause(seat: Seat<Node>): void {
    if (seat.life === undefined || seat.life.process.paused) return;
    this.world.fault('pause');
    seat.life.process.pause();
  }

  continue(seat: Seat<Node>): void {
    seat.life?.process.continue();
  }

  /** The disk is lost: the seat must hold no life. */
  wipe(seat: Seat<Node>): void {
    assert(seat.life === undefined, 'a disk is wiped when nobody uses it');
    seat.disk.wipe();
  }

  /** All faults end: ways are open, disks and messages behave, who was paused goes on. Starts nobody. */
  calm(): void {
    this.network.healAll();
    Object.assign(this.messages, calmMessages());
    Object.assign(this.network.weather, { retransmitRate: 0, corruptRate: 0, resetRate: 0 });
    for (const seat of this.seats) {
      seat.disk.calm();
      this.continue(seat);
    }
  }

  #open(seat: Seat<Node>, life: Life<Node>): void {
    const { world } = this;
    const { settings, observer, open } = this.#options;
    const options: NodeOptions = {
      name: seat.name,
      // Whoever joins names all that an operator may think of; some may be gone by now.
      peers: seat.joins ? peersOf(this.seats) : this.#founders,
      join: seat.joins,
      ...settings,
      dataDir: DATA_FOLDER,
      surroundings: {
        ...settings?.surroundings,
        clock: life.clock,
        random: world.random(`node/${seat.name}/${seat.lives}`),
        disk: life.disk,
        sockets: this.network.sockets(seat.host, life.process),
        defer: life.process.defer,
        wrapCore: (core, recovered) => observer?.wrapCore?.(life, core, recovered) ?? core,
        wrapTransport: (transport) =>
          new AdverseTransport(transport, {
            world,
            process: life.process,
            weather: this.messages,
            memoryLosses: this.memoryLosses,
            random: world.random(`messages/${seat.name}/${seat.lives}`),
            onSend: (message) => observer?.onSend?.(life, message),
            onReceive: (message) => observer?.onReceive?.(life, message),
          }),
      },
      log: (level, text) => {
        world.note(`${seat.name} ${level}: ${text}`);
        observer?.onLog?.(life, level, text);
      },
    };
    open(options, life).then(
      (node) => this.#opened(seat, life, node),
      (error) => this.#failed(seat, life, error),
    );
  }

  #opened(seat: Seat<Node>, life: Life<Node>, node: Node): void {
    life.node = node;
    life.state = 'running';
    this.world.trace('running', seat.name, seat.lives);
    node.failed.then((error) => {
      if (life.state !== 'running') return;
      life.failure = error;
      this.world.note(`${seat.name} stopped itself: ${error.stack}`);
      this.#close(seat, life, 'failed');
    });
    this.#options.observer?.onStarted?.(life, node);
  }

  #failed(seat: Seat<Node>, life: Life<Node>, error: Error): void {
    life.failure = error;
    this.world.note(`${seat.name} could not start: ${error.stack}`);
    this.#ended(seat, life, 'failed');
  }

  #close(seat: Seat<Node>, life: Life<Node>, how: LifeEnd): void {
    life.state = 'stopping';
    life.process.run(() => {
      life.node!.close().then(
        () => this.#closed(seat, life, how),
        (error) => this.world.violate('close', `${seat.name} could not be closed: ${error.stack}`),
      );
    });
  }

  #closed(seat: Seat<Node>, life: Life<Node>, how: LifeEnd): void {
    const left = [
      [life.clock.timers, 'timers'],
      [life.disk.openFiles, 'open files'],
      [this.network.openSockets(seat.host), 'open sockets'],
    ] as const;
    for (const [count, what] of left) {
      if (count > 0) this.world.violate('leak', `${seat.name} left ${count} ${what} behind`);
    }
    life.process.die();
    this.#ended(seat, life, how);
  }

  #ended(seat: Seat<Node>, life: Life<Node>, how: LifeEnd): void {
    seat.life = undefined;
    this.world.trace(how, seat.name, seat.lives);
    life.end();
    this.#options.observer?.onEnded?.(life, how);
  }
}

function peersOf(seats: readonly Pick<Seat, 'name' | 'peerUrl'>[]): Record<string, string> {
  return Object.fromEntries(seats.map(({ name, peerUrl }) => [name, peerUrl]));
}
