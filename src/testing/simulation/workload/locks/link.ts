/** The way from a client's process to a node: it takes its time, loses replies, and is cut. */
import type { Random } from '../../../../core/random.ts';
import { chance, exponential } from '../../draw.ts';
import type { SimulatedProcess } from '../../process.ts';
import type { World } from '../../types.ts';
import type { Host, Hosts } from '../hosts.ts';

/** How the way between clients and nodes is. */
export interface LinkWeather {
  delayMeanMs: number;
  /** Chance of a reply to be lost with its connection. */
  lostReplyRate: number;
}

const LEAST_DELAY_MS = 0.1;
/** Of requests on a connection that breaks: to arrive all the same, so late. */
const LATE_ONE_IN = 2;
const LATE_MEAN_MS = 1000;

export interface LinkOptions {
  readonly world: World;
  readonly hosts: Hosts;
  readonly process: SimulatedProcess;
  readonly random: Random;
  readonly weather: LinkWeather;
}

/** The way from one process to whichever node it talks to. */
export class Link {
  readonly world: World;
  readonly process: SimulatedProcess;
  /** Calls without an answer yet. */
  calls: number;
  readonly #hosts: Hosts;
  readonly #random: Random;
  readonly #weather: LinkWeather;
  /** Told when the connection breaks. */
  readonly #users: Set<() => void>;
  /** Counts connections: what is under way on an earlier one never arrives. */
  #connection: number;
  #cuts: number;
  #host: Host | undefined;

  constructor({ world, hosts, process, random, weather }: LinkOptions) {
    this.world = world;
    this.process = process;
    this.calls = 0;
    this.#hosts = hosts;
    this.#random = random;
    this.#weather = weather;
    this.#users = new Set();
    this.#connection = 0;
    this.#cuts = 0;
    this.#host = undefined;
  }

  /** The node that it talks to: the same one until the connection breaks. */
  host(): Host | undefined {
    if (this.#host !== undefined) return this.#host;
    const host = this.#hosts.at(this.#random.below(this.#hosts.count));
    if (host === undefined) return undefined;
    this.#host = host;
    host.onEnd(() => {
      if (this.#host === host) this.reset();
    });
    return host;
  }

  delayMs(): number {
    return LEAST_DELAY_MS + exponential(this.#random, this.#weather.delayMeanMs);
  }

  /** Whether a reply is lost, and the connection with it. */
  losesReply(): boolean {
    return chance(this.#random, this.#weather.lostReplyRate);
  }

  /** Calls `user` when the connection breaks; what it returns takes that back. */
  onReset(user: () => void): () => void {
    this.#users.add(user);
    return () => void this.#users.delete(user);
  }

  /** Runs `what` at the other end, unless the connection breaks first. */
  send(delayMs: number, what: () => void): void {
    const connection = this.#connection;
    this.world.after(delayMs, () => {
      if (connection === this.#connection && this.#cuts === 0) what();
    });
  }

  /** A request: where the connection breaks first something in between may still hold it, and hand it on late. */
  request(what: () => void): void {
    const connection = this.#connection;
    this.world.after(this.delayMs(), () => {
      if (connection === this.#connection && this.#cuts === 0) what();
      else if (this.#random.below(LATE_ONE_IN) === 0) {
        this.world.reach('locks-request-late');
        this.world.after(exponential(this.#random, LATE_MEAN_MS), what);
      }
    });
  }

  /** The connection breaks, and both ends are told. */
  reset(): void {
    this.#connection += 1;
    this.#host = undefined;
    for (const user of [...this.#users]) user();
  }

  /** Nothing arrives for so long; then the connection is found to be broken. */
  cut(forMs: number): void {
    this.#cuts += 1;
    this.world.after(forMs, () => {
      this.#cuts -= 1;
      if (this.#cuts === 0) this.reset();
    });
  }
}
