/** The checks of a cluster, whatever its state machine is: connects what the cluster shows with the properties. */
import type { NodeId } from '../../../consensus/types.ts';
import { openDiskStorage } from '../../../consensus/wal/storage.ts';
import { isQuorateError } from '../../../core/errors.ts';
import { CrashDisk } from '../../crash-disk.ts';
import { Atlas } from '../atlas.ts';
import type { ClusterObserver, LifeEnd, Seat } from '../cluster.ts';
import { exponential } from '../draw.ts';
import type { Life, SimulatedNode } from '../life.ts';
import type { Checks, SimulationContext } from '../parts.ts';
import type { Story } from '../types.ts';
import { weatherValue } from '../weather.ts';
import type { HistoryOracle } from './oracle.ts';
import { Properties } from './properties.ts';

const DATA_FOLDER = '/data';
/** See `consensus/wal/joining.ts`. */
const PROBATION_FILE = `${DATA_FOLDER}/member/joining`;

/** Entries that looks at the worst case may read at the start of a run, and then one for so many events. */
const FREE_ENTRIES = 500;
const EVENTS_PER_ENTRY = 2;
/** What opening costs besides, as if it were so many entries. */
const ENTRIES_PER_OPEN = 40;

interface CheckedStatus {
  readonly clusterId: NodeId;
  readonly lastIndex: number;
  readonly snapshotIndex: number;
}

/** A node that says to which cluster it belongs, and how long its log is. */
export interface CheckedNode extends SimulatedNode {
  status(): CheckedStatus;
}

export class ClusterChecks<Node extends CheckedNode, History extends HistoryOracle>
  implements Checks<Node>
{
  readonly observer: ClusterObserver<Node>;
  readonly oracle: History;
  /** Seats whose node could not start, since what is on its disk is not what it wrote. */
  readonly corrupt: Set<number>;
  readonly #story: Story;
  readonly #ids: Map<number, NodeId>;
  #context: SimulationContext<Node> | undefined;
  #properties: Properties | undefined;
  #atlas: Atlas | undefined;
  #entriesLookedAt: number;

  /** @param hash of the state of a node, to be compared with that of `oracle` */
  constructor(story: Story, oracle: History, hash: (node: Node) => Promise<number>) {
    this.#story = story;
    this.oracle = oracle;
    this.corrupt = new Set();
    this.#ids = new Map();
    this.#context = undefined;
    this.#properties = undefined;
    this.#atlas = undefined;
    this.#entriesLookedAt = 0;
    this.observer = {
      wrapCore: (life, core, recovered) => {
        const { id } = core.status();
        this.#ids.set(life.seat, id);
        this.#lookAtRenames(life.seat);
        return this.properties.started(id, core, recovered);
      },
      onSend: (life, message) => this.properties.sent(this.#ids.get(life.seat)!, message),
      onStarted: (life, node) => {
        this.properties.hashWith(this.#ids.get(life.seat)!, () => hash(node));
      },
      onEnded: (life, how) => this.#ended(life, how),
      onLog: (_life, _level, text) => this.properties.paths.logged(text),
    };
  }

  get properties(): Properties {
    return this.#properties!;
  }

  get atlas(): Atlas {
    return this.#atlas!;
  }

  begin(context: SimulationContext<Node>): void {
    const { world, story, cluster } = context;
    this.#context = context;
    this.#properties = new Properties(world, story.consensus, this.oracle);
    this.#atlas = new Atlas(world, story.nodes, (seat) => {
      const id = this.#ids.get(seat);
      return {
        log: id === undefined ? undefined : this.properties.seat(id),
        isRunning: cluster.seats[seat]?.life?.state === 'running',
        chosen: this.properties.chosen.lastIndex,
        isOnProbation: cluster.seats[seat]?.disk.image.exists(PROBATION_FILE) === true,
      };
    });
    this.#lookAtWorstCase();
  }

  afterEvent(): void {
    // All is checked where it happens.
  }

  end(): void {
    const { world } = this.#context!;
    if (this.properties.chosen.lastIndex === 0)
      world.violate('liveness', 'nothing was ever chosen');
  }

  /** Of the node that runs on `seat`, or ran last. */
  idOf(seat: number): NodeId | undefined {
    return this.#ids.get(seat);
  }

  /** The data of a seat were hurt: what it promised can no longer be expected of it. */
  hurt(seat: number): void {
    const id = this.#ids.get(seat);
    if (id === undefined) return;
    this.properties.damaged(id);
    const { cluster, world } = this.#context!;
    cluster.memoryLosses.set(id, world.nowMs);
  }

  /** The disk of `seat` was emptied, so that its node is another one. */
  forget(seat: number): void {
    this.hurt(seat);
    this.corrupt.delete(seat);
    this.#ids.delete(seat);
  }

  #ended(life: Life<Node>, how: LifeEnd): void {
    const id = this.#ids.get(life.seat);
    if (id !== undefined) this.properties.ended(id);
    if (how === 'failed' && isQuorateError(life.failure, 'ERR_CORRUPT'))
      this.corrupt.add(life.seat);
    const { mayFail, mayStop } = this.atlas;
    if (how !== 'failed' || mayFail.has(life.seat) || mayStop.has(life.seat)) return;
    this.#context!.world.violate(
      'node-failed',
      `${life.name} stopped by itself: ${life.failure?.stack ?? 'nobody knows why'}`,
    );
  }

  /** Now and then: what would a start find, if all that was not synced were lost at this moment? */
  #lookAtWorstCase(): void {
    const { world, cluster } = this.#context!;
    const random = world.random('worst-case');
    const meanMs = weatherValue(this.#story.weather, 'worstCaseMeanMs');
    const look = (): void => {
      const seat = cluster.seats[random.below(cluster.seats.length)]!;
      if (seat.life?.state === 'running') void this.#openWorstCase(seat);
      world.after(exponential(random, meanMs), look);
    };
    world.after(exponential(random, meanMs), look);
  }

  /** A new name is where an order of writes goes wrong, and no time at all in which to be seen by chance. */
  #lookAtRenames(number: number): void {
    const seat = this.#context!.cluster.seats[number]!;
    seat.disk.onRename = () => {
      if (seat.life?.state === 'running') void this.#openWorstCase(seat);
    };
  }

  /** A look reads the snapshot and the log: the longer they are, the fewer looks, or they would take all the time there is. */
  #mayLookAt({ lastIndex, snapshotIndex }: CheckedStatus): boolean {
    const inSnapshot = ENTRIES_PER_OPEN + snapshotIndex / 10;
    const entries = this.#entriesLookedAt + inSnapshot + lastIndex - snapshotIndex;
    if (entries > FREE_ENTRIES + this.#context!.world.events / EVENTS_PER_ENTRY) return false;
    this.#entriesLookedAt = entries;
    return true;
  }

  async #openWorstCase(seat: Seat<Node>): Promise<void> {
    const { world } = this.#context!;
    const id = this.#ids.get(seat.number);
    const status = seat.life?.node?.status();
    if (id === undefined || status === undefined || !this.#mayLookAt(status)) return;
    world.reach('worst-case-looked-at');
    const { clusterId } = status;
    try {
      const storage = await openDiskStorage({
        disk: new CrashDisk(seat.disk.worstCase()),
        folder: DATA_FOLDER,
        identity: { clusterId, nodeId: id, consensus: this.#story.consensus },
        settings: { segmentBytes: weatherValue(this.#story.weather, 'segmentBytes') },
      });
      this.properties.worstCase(id, storage.recovered);
      await storage.close();
    } catch (error) {
      world.violate(
        'durable-before-promise',
        `${seat.name}: nothing could be opened after a power failure now: ${String(error)}`,
      );
    }
  }
}
