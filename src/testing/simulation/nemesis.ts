/**
 * The hand that plays faults on a cluster: what it breaks it mends when its time is over, and it is
 * the one who starts nodes again, as a service manager does; where a node cannot start since its disk
 * is damaged, it gives it an empty one, as an operator would.
 */
import type { Seat } from './cluster.ts';
import { between, pick } from './draw.ts';
import { Membership, type MembershipView } from './membership.ts';
import type { SimulationContext } from './parts.ts';
import type { PlannedFault, World } from './types.ts';
import { weatherValue } from './weather.ts';

/** How often a node that went down by itself is looked for. */
const SUPERVISION_MS = 250;
/** A crash aimed at a write waits so long for one, and looks so often. */
const WRITE_AIM_MS = 1000;
const WRITE_LOOK_MS = 0.3;
/** A leader whose voters are to forget it sleeps so many election timeouts at most: until another one is seen. */
const SLEEP_ELECTIONS = 5;
const SUCCESSOR_LOOK_MS = 25;
/** How long voters are down that are to forget: the first leader still takes itself for one when they are back. */
const FORGETFUL_DOWN_MS = 50;

/** What faults that hurt data are agreed with. */
export interface NemesisChecks extends MembershipView {
  /** Seats whose node could not start on its disk. */
  readonly corrupt: Set<number>;
  hurt(seat: number): void;
}

/** What faults do with clients. */
export interface NemesisWorkload {
  burst(count: number, seat?: number): void;
  readonly lockClients?: {
    pause(client: number, forMs: number): void;
    kill(client: number): void;
    cut(client: number, forMs: number): void;
  };
}

export class Nemesis {
  readonly context: SimulationContext;
  readonly world: World;
  readonly membership: Membership;
  workload: NemesisWorkload | undefined;
  readonly #checks: NemesisChecks;
  readonly #electionMs: number;
  /** Seats that are down on purpose. */
  readonly #down: Set<number>;
  /** How many faults cut each way now. */
  readonly #cuts: Map<string, number>;
  #isCalm: boolean;
  #isRetired: boolean;

  constructor(context: SimulationContext, checks: NemesisChecks) {
    this.context = context;
    this.world = context.world;
    this.membership = new Membership(context, checks, () => this.leader());
    this.workload = undefined;
    this.#checks = checks;
    this.#electionMs = weatherValue(context.story.weather, 'electionMs');
    this.#down = new Set();
    this.#cuts = new Map();
    this.#isCalm = false;
    this.#isRetired = false;
    this.world.after(SUPERVISION_MS, () => this.#supervise());
  }

  get seats(): readonly Seat[] {
    return this.context.cluster.seats;
  }

  /** The other end of a way from `seat`. A story's numbers may be beyond the seats that there are. */
  peerOf(seat: Seat, { peer = 0 }: PlannedFault): Seat {
    const { seats } = this;
    const found = seats[peer % seats.length]!;
    return found === seat ? seats[(peer + 1) % seats.length]! : found;
  }

  /** The seat that leads in the newest term; `undefined` where none does. */
  leader(): Seat | undefined {
    let leader: Seat | undefined;
    let newest = 0;
    for (const { node, seat } of this.context.cluster.running) {
      const { role, term } = node!.status();
      if (role !== 'leader' || term <= newest) continue;
      newest = term;
      leader = this.seats[seat];
    }
    return leader;
  }

  /** All faults end, and all seats are to run. */
  calm(): void {
    const { cluster } = this.context;
    this.#isCalm = true;
    cluster.calm();
    this.#cuts.clear();
    this.#down.clear();
    for (const seat of this.seats) {
      this.#checks.atlas.continued(seat.number);
      this.#revive(seat);
    }
  }

  /** Starts nobody any more: the nodes are to be stopped for good. */
  retire(): void {
    this.#isRetired = true;
  }

  // ---- processes -------------------------------------------------------------------------------

  crash(seat: Seat, forMs: number): void {
    if (this.#isCalm || seat.life === undefined) return;
    this.context.cluster.crash(seat);
    this.#keepDown(seat, forMs);
  }

  crashInWrite(seat: Seat, forMs: number): void {
    const untilMs = this.world.nowMs + WRITE_AIM_MS;
    const look = (): void => {
      if (this.#isCalm || this.world.nowMs > untilMs) return;
      if (seat.disk.underWay > 0) this.crash(seat, forMs);
      else this.world.after(WRITE_LOOK_MS, look);
    };
    look();
  }

  kill(seat: Seat, forMs: number): void {
    if (seat.life === undefined) return;
    this.context.cluster.kill(seat);
    this.#keepDown(seat, forMs);
  }

  stop(seat: Seat, forMs: number): void {
    if (seat.life?.state !== 'running') return;
    this.context.cluster.stop(seat);
    this.#keepDown(seat, forMs);
  }

  pause(seat: Seat, forMs: number): void {
    const { life } = seat;
    if (life === undefined) return;
    this.context.cluster.pause(seat);
    this.#checks.atlas.paused(seat.number);
    this.world.after(forMs, () => {
      if (seat.life !== life) return;
      this.context.cluster.continue(seat);
      this.#checks.atlas.continued(seat.number);
    });
  }

  #keepDown(seat: Seat, forMs: number): void {
    this.#checks.atlas.continued(seat.number);
    this.#down.add(seat.number);
    const lives = seat.lives;
    this.world.after(forMs, () => {
      if (seat.lives !== lives) return;
      this.#down.delete(seat.number);
      this.#revive(seat);
    });
  }

  /** Starts what went down by itself, or was stopped while it was being started. */
  #supervise(): void {
    if (this.#isRetired) return;
    this.world.after(SUPERVISION_MS, () => this.#supervise());
    for (const seat of this.seats) if (!this.#down.has(seat.number)) this.#revive(seat);
  }

  #revive(seat: Seat): void {
    const { gone } = this.membership;
    if (seat.life !== undefined || seat.lives === 0 || gone.has(seat.number)) return;
    if (this.#checks.corrupt.has(seat.number)) this.#replaceDisk(seat);
    this.context.cluster.start(seat);
  }

  /** A node that refuses to start on its disk gets an empty one, if the others can make up for that. */
  #replaceDisk(seat: Seat): void {
    this.world.reach('corrupt-refused');
    if (!this.#checks.atlas.mayHurt(seat.number)) return;
    this.#checks.corrupt.delete(seat.number);
    this.#loseDisk(seat);
  }

  #loseDisk(seat: Seat): void {
    seat.disk.calm();
    this.context.cluster.wipe(seat);
    this.#checks.hurt(seat.number);
  }

  // ---- ways ------------------------------------------------------------------------------------

  /** Nothing from `from` arrives at `to`. */
  cut(from: Seat, to: Seat, forMs: number): void {
    if (this.#isCalm || from === to) return;
    const { network } = this.context.cluster;
    const way = `${from.number}>${to.number}`;
    this.#cuts.set(way, (this.#cuts.get(way) ?? 0) + 1);
    network.cut(from.host, to.host);
    this.world.after(forMs, () => {
      const left = (this.#cuts.get(way) ?? 0) - 1;
      this.#cuts.set(way, left);
      if (left === 0) network.heal(from.host, to.host);
    });
  }

  isolate(seat: Seat, forMs: number): void {
    this.world.fault('isolate');
    for (const other of this.seats) {
      this.cut(seat, other, forMs);
      this.cut(other, seat, forMs);
    }
  }

  /** Cuts every way between those whose bit is set in `sides` and the others. */
  partition(sides: number, forMs: number): void {
    this.world.fault('partition');
    const sideOf = (seat: Seat): number => (sides >> seat.number) & 1;
    for (const one of this.seats) {
      for (const other of this.seats) {
        if (sideOf(one) !== sideOf(other)) this.cut(one, other, forMs);
      }
    }
  }

  slowNetwork(delayMs: number, forMs: number): void {
    const { weather } = this.context.cluster.network;
    this.world.fault('slow-network');
    weather.delayMeanMs += delayMs;
    this.world.after(forMs, () => {
      weather.delayMeanMs -= delayMs;
    });
  }

  // ---- disks -----------------------------------------------------------------------------------

  slowDisk(seat: Seat, slowMs: number, forMs: number): void {
    this.world.fault('disk-slow');
    seat.disk.weather.slowMs = slowMs;
    this.world.after(forMs, () => {
      seat.disk.weather.slowMs = 0;
    });
  }

  stallDisk(seat: Seat, forMs: number): void {
    seat.disk.stall();
    this.world.after(forMs, () => seat.disk.unstall());
  }

  fillDisk(seat: Seat, leftBytes: number, forMs: number): void {
    this.#checks.atlas.mayFail.add(seat.number);
    const { weather, image } = seat.disk;
    weather.capacityBytes = image.usedBytes + leftBytes;
    this.world.fault('disk-fill');
    this.world.after(forMs, () => {
      weather.capacityBytes = Number.POSITIVE_INFINITY;
    });
  }

  /** Reads, writes or syncs of a disk fail now and then. */
  breakDisk(seat: Seat, what: number, forMs: number): void {
    this.#checks.atlas.mayFail.add(seat.number);
    const { weather } = seat.disk;
    const rate = between(this.world.random(`break/${seat.name}/${this.world.nowMs}`), 0.01, 0.5);
    const name =
      (['readErrorRate', 'writeErrorRate', 'syncErrorRate'] as const)[what] ?? 'syncErrorRate';
    weather[name] = rate;
    this.world.after(forMs, () => {
      weather[name] = 0;
    });
  }

  /** Power fails, and something on the disk is not what it was. */
  damage(seat: Seat, how: 'flip' | 'zero', forMs: number): void {
    if (seat.life === undefined || !this.#checks.atlas.mayHurt(seat.number)) return;
    this.crash(seat, forMs);
    this.#checks.hurt(seat.number);
    const random = this.world.random(`damage/${seat.name}/${this.world.nowMs}`);
    const files = seat.disk.image.paths().filter((path) => seat.disk.image.file(path).size > 0);
    if (files.length === 0) return;
    const path = pick(random, files);
    if (how === 'flip') seat.disk.flipBit(path);
    else seat.disk.zeroSector(path);
  }

  wipe(seat: Seat, forMs: number): void {
    if (seat.life === undefined || !this.#checks.atlas.mayHurt(seat.number)) return;
    this.crash(seat, forMs);
    this.#loseDisk(seat);
  }

  /**
   * The leader sleeps until there is another one. Then voters of that one lose their disks, as many as make
   * a majority with the first leader, and hear nobody else when it wakes and takes so many writes.
   */
  makeVotersForget(writes: number, forMs: number): void {
    const first = this.leader();
    if (this.#isCalm || first === undefined) return;
    const { lives } = first;
    const untilMs = this.world.nowMs + SLEEP_ELECTIONS * this.#electionMs;
    this.pause(first, SLEEP_ELECTIONS * this.#electionMs);
    const look = (): void => {
      if (this.#isCalm || this.world.nowMs >= untilMs || first.lives !== lives) return;
      const second = this.leader();
      if (second === undefined || second === first) this.world.after(SUCCESSOR_LOOK_MS, look);
      else this.#forget(first, second, writes, forMs);
    };
    look();
  }

  #forget(first: Seat, second: Seat, writes: number, forMs: number): void {
    this.world.fault('voters-forget');
    const voters = this.seats.filter((seat) => seat !== first && seat !== second);
    const forgetful = voters.slice(0, this.seats.length >> 1);
    const side = new Set([first, ...forgetful]);
    for (const seat of forgetful) this.wipe(seat, FORGETFUL_DOWN_MS);
    for (const one of this.seats) {
      for (const other of this.seats) {
        if (side.has(one) !== side.has(other)) this.cut(one, other, forMs);
      }
    }
    this.context.cluster.continue(first);
    this.#checks.atlas.continued(first.number);
    this.burst(writes, first);
  }

  // ---- operators -------------------------------------------------------------------------------

  transfer(to: Seat): void {
    const leader = this.leader();
    const target = to.life?.node?.status().id;
    if (leader === undefined || target === undefined) return;
    this.world.fault('transfer');
    leader
      .life!.call((node) => node.backend.moveLeader({ targetId: BigInt(`0x${target}`) }))
      .then(
        () => this.world.reach('transfer-done'),
        () => undefined,
      );
  }

  /** So many calls at once from every client, to `seat` or where it is. */
  burst(count: number, seat?: Seat): void {
    this.world.fault('burst');
    this.workload?.burst(count, seat?.number);
  }

  /** Time after which a cluster without faults has a leader. */
  get electionMs(): number {
    return this.#electionMs;
  }
}
