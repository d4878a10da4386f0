/** What tests of Consul call a process: locks with connections of their own, over a network that can be hurt. */
import { after, before } from 'node:test';
import {
  type ConsulLocksOptions,
  consulElections,
  consulLocks,
} from '../../src/drivers/consul/index.ts';
import type { Elections } from '../../src/locks/elections.ts';
import type { Locks } from '../../src/locks/locks.ts';
import { ConsulServers } from './consul.ts';
import { FaultyNetwork, type Impairment } from './faulty-network.ts';

export interface ConsulProcess {
  readonly locks: Locks<'monotonic'>;
  readonly elections: Elections;
  /** Hurts what goes from here to Consul, or comes back, or both; the returned function ends that. */
  hurt(what: Impairment, direction?: 'there' | 'back'): () => void;
  /** As the system does with one that is killed: its connections are reset, nothing is given back. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

/** Processes on a server, which end with this. */
export class ConsulProcesses implements AsyncDisposable {
  readonly #servers: ConsulServers;
  readonly #network = new FaultyNetwork();
  readonly #ends: (() => Promise<void>)[] = [];

  constructor(servers: ConsulServers) {
    this.#servers = servers;
  }

  readonly open = async (options: ConsulLocksOptions = {}): Promise<ConsulProcess> => {
    const me = `process-${this.#ends.length}`;
    const port = await this.#network.listen('consul', this.#servers.port, () => me);
    const all = { address: `127.0.0.1:${port}`, ...options };
    const locks = consulLocks(all);
    const elections = consulElections(all);
    const close = async (): Promise<void> => {
      await Promise.all([locks.close(), elections.close()]);
    };
    this.#ends.push(close);
    const hurt = (what: Impairment, direction?: 'there' | 'back'): (() => void) =>
      this.#network.impair(
        (from, to) => (from === me && direction !== 'back') || (to === me && direction !== 'there'),
        what,
      );
    const kill = (): Promise<void> => {
      hurt({ cut: true });
      // Nothing of this comes through; it closes what is open in this process.
      return close();
    };
    return { locks, elections, hurt, kill, close };
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#ends.map((end) => end()));
    await this.#network.close();
  }
}

/** A server, and processes on it, for the suite that asks: from before its first test until after its last. */
export class ConsulOfSuite {
  #servers: ConsulServers | undefined;
  #processes: ConsulProcesses | undefined;

  constructor() {
    before(async () => {
      this.#servers = await ConsulServers.start();
      this.#processes = new ConsulProcesses(this.#servers);
    });
    after(async () => {
      await this.#processes?.[Symbol.asyncDispose]();
      await this.#servers?.close();
    });
  }

  get servers(): ConsulServers {
    return this.#servers!;
  }

  get processes(): ConsulProcesses {
    return this.#processes!;
  }
}
