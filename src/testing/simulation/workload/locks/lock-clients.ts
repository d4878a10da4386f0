/** The clients of a run that is aimed at locks, and how they end: each is served, and nothing is left behind. */
import type { Oracle } from '../../checks/oracle.ts';
import { chance } from '../../draw.ts';
import type { Story, World } from '../../types.ts';
import { type WeatherName, weatherValue } from '../../weather.ts';
import type { Hosts } from '../hosts.ts';
import { Candidate, Observer } from './candidate.ts';
import { Claimer, Operator, TxnClaimer } from './claimer.ts';
import { EmbeddedHome, type Home, RemoteHome } from './homes.ts';
import { LockBook } from './lock-book.ts';
import type { LockClient, LockScene } from './lock-client.ts';
import { BarrierBook, BarrierParty, LatchBook, LatchParty } from './meetings.ts';

/** Clients end what they do, and wait for what they asked for. */
const SERVED_MS = 60_000;
/** Claims of those who gave up, or are gone, end with their leases at the latest; leases with a new leader, too. */
const CLEAN_MS = 20_000;

export interface LockClientsOptions {
  readonly world: World;
  readonly story: Story;
  readonly hosts: Hosts;
  readonly oracle: Oracle;
  readonly count: (what: string) => void;
  readonly maxDrift: number;
}

/** Waits until something holds; rejects where it takes too long. */
export type Until = (what: string, withinMs: number, holds: () => boolean) => Promise<void>;

export class LockClients {
  readonly #clients: LockClient[];
  readonly #options: LockClientsOptions;
  readonly #book: LockBook;
  #barriers: BarrierBook | undefined;
  readonly #linkWeather: { delayMeanMs: number; lostReplyRate: number };

  constructor(options: LockClientsOptions) {
    const { world, oracle, count, maxDrift } = options;
    this.#options = options;
    this.#clients = [];
    this.#book = new LockBook(world, oracle, maxDrift);
    this.#barriers = undefined;
    this.#linkWeather = {
      delayMeanMs: this.#value('clientDelayMs'),
      lostReplyRate: this.#value('clientLostReplyRate'),
    };
    const scene = { world, book: this.#book, count };
    this.#add('claimers', (...args) => new Claimer(scene, ...args));
    this.#add('txnClaimers', (...args) => new TxnClaimer(scene, ...args));
    this.#add('operators', (...args) => new Operator(scene, ...args));
    this.#add('candidates', (...args) => new Candidate(scene, ...args, oracle));
    this.#add('observers', (...args) => new Observer(scene, ...args, oracle));
    this.#addMeetings(scene);
  }

  /** How many there are. */
  get count(): number {
    return this.#clients.length;
  }

  start(): void {
    for (const client of this.#clients) client.start();
  }

  pause(client: number, forMs: number): void {
    this.#homeOf(client)?.pause(forMs);
  }
  kill(client: number): void {
    this.#homeOf(client)?.kill();
  }
  cut(client: number, forMs: number): void {
    this.#homeOf(client)?.cut(forMs);
  }

  /** Begins nothing any more. */
  drain(): void {
    this.#linkWeather.lostReplyRate = 0;
    for (const client of this.#clients) client.drain();
  }

  /** They are as good as killed. */
  stop(): void {
    for (const { home } of this.#clients) home.end();
  }

  /** Whoever waits is served; who gave up left nothing; and so it is once more, with nobody in the way. */
  async end(until: Until): Promise<void> {
    const clients = this.#clients;
    const all = (done: (client: LockClient) => boolean, what: string): Promise<void> =>
      this.#all(until, done, what);
    await all((client) => client.isIdle, 'has what it waited for, and gave it back');
    await this.#requireClean(until, 'all who gave up or are gone');
    for (const client of clients) client.finish();
    await all((client) => client.isFinished, 'has been served once more');
    for (const client of clients) client.close();
    await all((client) => client.isClosed, 'is closed');
    await this.#requireClean(until, 'all who have closed');
  }

  /** Says of whom it does not hold, and who stands in the queues. */
  async #all(until: Until, done: (client: LockClient) => boolean, what: string): Promise<void> {
    try {
      await until(what, SERVED_MS, () => this.#clients.every(done));
    } catch {
      const late = this.#clients.filter((client) => !done(client)).map((client) => client.name);
      const left = this.#left();
      this.#options.world.violate(
        'lock-liveness',
        `after ${SERVED_MS} ms not every client ${what}: ${late.join(', ')}; in the queues: ${left.join(', ')}`,
      );
    }
  }

  #left(): readonly string[] {
    return [...this.#book.left(), ...(this.#barriers?.left() ?? [])];
  }

  async #requireClean(until: Until, who: string): Promise<void> {
    try {
      await until('no claim is left', CLEAN_MS, () => this.#left().length === 0);
    } catch {
      const { world } = this.#options;
      world.violate('lock-left-behind', `by ${who}: ${this.#left().join(', ')}`);
    }
  }

  #value(name: WeatherName): number {
    return weatherValue(this.#options.story.weather, name);
  }

  /** Of those that have a process of their own; who holds something comes first. */
  #homeOf(client: number): Home | undefined {
    const remote = this.#clients.filter(({ home }) => home instanceof RemoteHome);
    const holding = remote.filter(({ holds }) => holds);
    const chosen = holding.length > 0 && client % 2 === 0 ? holding : remote;
    return chosen[(client >> 1) % chosen.length]?.home;
  }

  #add(
    name: WeatherName,
    create: (home: Home, random: ReturnType<World['random']>, number: number) => LockClient,
  ): void {
    const { world } = this.#options;
    for (let i = 0; i < this.#value(name); i++) {
      const number = this.#clients.length;
      const random = world.random(`${name}/${i}`);
      this.#clients.push(create(this.#home(`${name}/${i}`), random, number));
    }
  }

  #addMeetings(scene: LockScene): void {
    const { world, oracle } = this.#options;
    const latches = new LatchBook(world, oracle, this.#value('latchParties'));
    this.#add('latchParties', (...args) => new LatchParty(scene, ...args, latches));
    const parties = this.#value('barrierParties');
    const barriers = new BarrierBook(world, oracle, parties, this.#book.marginMs);
    this.#barriers = barriers;
    this.#add('barrierParties', (...args) => new BarrierParty(scene, ...args, barriers));
  }

  #home(stream: string): Home {
    const { world, hosts } = this.#options;
    const random = world.random(`home/${stream}`);
    if (!chance(random, this.#value('remoteRate'))) return new EmbeddedHome(hosts, random);
    const driftPpm = this.#value('driftPpm');
    return new RemoteHome({ world, hosts, random, weather: this.#linkWeather, driftPpm });
  }
}
