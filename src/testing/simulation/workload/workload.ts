/** The clients of a run: shared keys, watches, leases, a lock; one history of all that they were told. */
import type { Clock } from '../../../core/clock.ts';
import type { Oracle } from '../checks/oracle.ts';
import type { Life } from '../life.ts';
import type { SimulationContext, Workload } from '../parts.ts';
import { weatherValue } from '../weather.ts';
import { History } from './history.ts';
import type { Host, Hosts } from './hosts.ts';
import { KvClient } from './kv-client.ts';
import { Lessee } from './lessee.ts';
import { FencedResource, Locker, watchLock } from './locker.ts';
import { LockClients, type Until } from './locks/lock-clients.ts';
import { Watcher } from './watcher.ts';

/** Beyond the request timeout of a node: by then it has answered, one way or the other. */
const ANSWER_SLACK_MS = 5000;

export class ClientWorkload implements Workload {
  readonly operations: Record<string, number>;
  readonly history: History;
  readonly #clients: KvClient[];
  readonly #watchers: Watcher[];
  readonly #others: { start(): void; stop(): void }[];
  readonly #locks: LockClients;

  constructor(context: SimulationContext, hosts: Hosts, oracle: Oracle) {
    const { world, story } = context;
    const value = (name: Parameters<typeof weatherValue>[1]): number =>
      weatherValue(story.weather, name);
    this.operations = {};
    this.history = new History(world, oracle);
    this.#clients = [];
    this.#watchers = [];
    this.#others = [];
    const count = (what: string): void => {
      this.operations[what] = (this.operations[what] ?? 0) + 1;
    };
    const limitMs = 2 * value('requestTimeoutMs') + ANSWER_SLACK_MS;
    const keys = Array.from({ length: value('keys') }, (_, number) => `k${number}`);
    const shared = { world, hosts, oracle, count, limitMs };
    for (let client = 0; client < story.clients; client++) {
      const { history } = this;
      const [thinkMeanMs, valueBytes] = [value('thinkMeanMs'), value('valueBytes')];
      this.#clients.push(
        new KvClient({ ...shared, history, client, keys, thinkMeanMs, valueBytes }),
      );
    }
    const maxDrift = (2 * value('driftPpm')) / 1_000_000;
    for (let number = 0; number < value('lessees'); number++) {
      this.#others.push(new Lessee({ ...shared, number, maxDrift }));
    }
    for (let number = 0; number < value('watchers'); number++) {
      // One of all keys, and others of some.
      const prefix = number === 0 ? '' : (keys[number % keys.length] ?? 'k');
      this.#watchers.push(new Watcher(world, hosts, oracle, number, prefix));
    }
    const resource = new FencedResource(world, maxDrift);
    watchLock(oracle, resource);
    for (let number = 0; number < value('lockers'); number++) {
      this.#others.push(new Locker(world, hosts, number, resource));
    }
    this.#locks = new LockClients({ world, story, hosts, oracle, count, maxDrift });
  }

  /** Calls that wait for their answers. */
  get pending(): number {
    return this.#clients.filter((client) => client.isBusy).length;
  }

  /** Every watch has seen all there is to see. */
  get isCaughtUp(): boolean {
    return this.#watchers.every((watcher) => watcher.isCaughtUp);
  }

  start(): void {
    for (const one of [...this.#clients, ...this.#watchers, ...this.#others]) one.start();
    this.#locks.start();
  }

  /** Ends all but the watches: they are to see the end of it. */
  calmDown(): void {
    for (const one of [...this.#clients, ...this.#others]) one.stop();
    this.#locks.drain();
  }

  /** Whether the run is aimed at locks. */
  get hasLocks(): boolean {
    return this.#locks.count > 0;
  }

  /** Clients of locks are served to the end, and leave nothing behind. */
  endLocks(until: Until): Promise<void> {
    return this.#locks.end(until);
  }

  stop(): void {
    this.calmDown();
    for (const watcher of this.#watchers) watcher.stop();
    this.#locks.stop();
  }

  /** The clients of locks, for the faults that strike them. */
  get lockClients(): Pick<LockClients, 'pause' | 'kill' | 'cut'> {
    return this.#locks;
  }

  burst(count: number, seat?: number): void {
    for (const client of this.#clients) client.burst(count, seat);
  }
}

/** The clock of a process for what is not the node: the node's own timers are counted when it closes. */
function guestClock({ clock, process }: Life): Clock {
  return {
    now: () => clock.now(),
    wallNow: () => clock.wallNow(),
    after: (delayMs, run) => process.after(delayMs, run),
    every(intervalMs, run) {
      let cancel = (): void => undefined;
      const next = (): void => {
        cancel = process.after(intervalMs, () => {
          next();
          run();
        });
      };
      next();
      return () => cancel();
    },
  };
}

/** The seats of a cluster as hosts: one object for each life, as long as it serves. */
export function hostsOf(
  { cluster }: SimulationContext,
  wasPausedSince: (seat: number, sinceMs: number) => boolean,
): Hosts {
  const byLife = new WeakMap<object, Host>();
  return {
    get count() {
      return cluster.seats.length;
    },
    at(seat) {
      const life = cluster.seats[seat]?.life;
      if (life?.state !== 'running' || life.node === undefined) return undefined;
      let host = byLife.get(life);
      if (host !== undefined) return host;
      host = {
        seat,
        kv: life.node.kv,
        clock: guestClock(life),
        wasPausedSince: (sinceMs) => wasPausedSince(seat, sinceMs),
        run: (what) => life.process.run(what),
        onEnd: (what) => void life.whenEnded(what),
      };
      byLife.set(life, host);
      return host;
    },
  };
}
