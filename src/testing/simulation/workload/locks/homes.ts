/**
 * Where lock clients live: beside a node, in its process, as with an embedded quorum; or in a process of their
 * own, which is paused, killed and cut off by itself.
 */
import type { Random } from '../../../../core/random.ts';
import { NodeClock } from '../../node-clock.ts';
import { SimulatedProcess } from '../../process.ts';
import type { Cancel, World } from '../../types.ts';
import type { Host, Hosts } from '../hosts.ts';
import { Link, type LinkWeather } from './link.ts';
import { RemoteKv } from './remote-kv.ts';

/** A pause that is aimed at a call waits so long for one, and looks so often. */
const CALL_AIM_MS = 1000;
const CALL_LOOK_MS = 0.5;

/** Where a client starts, and starts again. */
export interface Home {
  /** Another life of the client; `undefined` where there is no room now. */
  open(): Host | undefined;
  pause(forMs: number): void;
  kill(): void;
  /** Nothing arrives for so long; for 0 the connection breaks. */
  cut(forMs: number): void;
  /** No fault is left. */
  calm(): void;
  /** The run is over. */
  end(): void;
}

/** Beside a node: what strikes that strikes the client. */
export class EmbeddedHome implements Home {
  readonly #hosts: Hosts;
  readonly #random: Random;

  constructor(hosts: Hosts, random: Random) {
    this.#hosts = hosts;
    this.#random = random;
  }

  open(): Host | undefined {
    return this.#hosts.at(this.#random.below(this.#hosts.count));
  }

  pause(): void {
    // The faults of nodes do that.
  }
  kill(): void {
    // And that.
  }
  cut(): void {
    // There is no way in between.
  }
  calm(): void {
    // As above.
  }
  end(): void {
    // The cluster ends its processes.
  }
}

export interface RemoteHomeOptions {
  readonly world: World;
  readonly hosts: Hosts;
  readonly random: Random;
  readonly weather: LinkWeather;
  readonly driftPpm: number;
}

/** A process of its own. */
export class RemoteHome implements Home {
  readonly #options: RemoteHomeOptions;
  #guest: Guest | undefined;

  constructor(options: RemoteHomeOptions) {
    this.#options = options;
    this.#guest = undefined;
  }

  open(): Host {
    this.#guest?.kill();
    this.#guest = new Guest(this.#options);
    return this.#guest;
  }

  pause(forMs: number): void {
    if (this.#options.random.below(2) === 0) this.#guest?.pause(forMs);
    else this.#guest?.pauseInCall(forMs);
  }

  kill(): void {
    if (this.#guest === undefined) return;
    this.#options.world.fault('client-kill');
    this.#guest.kill();
  }

  cut(forMs: number): void {
    this.#guest?.cut(forMs);
  }

  calm(): void {
    this.#guest?.calm();
  }

  end(): void {
    this.#guest?.kill();
  }
}

/** One life of a client's process. */
class Guest implements Host {
  readonly seat = -1;
  readonly kv: RemoteKv;
  readonly clock: NodeClock;
  readonly #world: World;
  readonly #process: SimulatedProcess;
  readonly #link: Link;
  readonly #onEnd: (() => void)[];
  #isCalm: boolean;
  #continuedAtMs: number;
  #cancelPause: Cancel;

  constructor({ world, hosts, random, weather, driftPpm }: RemoteHomeOptions) {
    this.#world = world;
    this.#process = new SimulatedProcess(world);
    this.#link = new Link({ world, hosts, process: this.#process, random, weather });
    this.kv = new RemoteKv(this.#link);
    this.clock = new NodeClock({
      world,
      process: this.#process,
      offsetMs: random.below(100_000),
      driftPpm: driftPpm === 0 ? 0 : random.below(2 * driftPpm + 1) - driftPpm,
    });
    this.#onEnd = [];
    this.#isCalm = false;
    this.#continuedAtMs = Number.NEGATIVE_INFINITY;
    this.#cancelPause = () => undefined;
  }

  wasPausedSince(sinceMs: number): boolean {
    return this.#process.paused || this.#continuedAtMs >= sinceMs;
  }

  run(what: () => void): void {
    this.#process.run(what);
  }

  onEnd(what: () => void): void {
    if (this.#process.dead) what();
    else this.#onEnd.push(what);
  }

  /** As soon as it waits for an answer: what it then makes of that, much later, is worth to see. */
  pauseInCall(forMs: number): void {
    const untilMs = this.#world.nowMs + CALL_AIM_MS;
    const look = (): void => {
      if (this.#link.calls > 0 || this.#world.nowMs > untilMs) this.pause(forMs);
      else this.#world.after(CALL_LOOK_MS, look);
    };
    look();
  }

  pause(forMs: number): void {
    if (this.#process.dead || this.#process.paused || this.#isCalm) return;
    this.#world.fault('client-pause');
    this.#process.pause();
    this.#cancelPause = this.#world.after(forMs, () => this.continue());
  }

  /** From now on it is not paused any more. */
  calm(): void {
    this.#isCalm = true;
    this.continue();
  }

  continue(): void {
    if (!this.#process.paused) return;
    this.#cancelPause();
    this.#continuedAtMs = this.#world.nowMs;
    this.#process.continue();
  }

  cut(forMs: number): void {
    if (this.#process.dead) return;
    this.#world.fault(forMs === 0 ? 'client-reset' : 'client-cut');
    if (forMs === 0) this.#link.reset();
    else this.#link.cut(forMs);
  }

  kill(): void {
    if (this.#process.dead) return;
    this.#process.die();
    this.#link.reset();
    for (const what of this.#onEnd) what();
  }
}
