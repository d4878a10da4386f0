/** What tests of Redis call a process: a client with connections of its own, behind a network that can be hurt. */
import {
  type RedisLocksOptions,
  redisElections,
  redisLocks,
} from '../../src/drivers/redis/index.ts';
import type { Elections } from '../../src/locks/elections.ts';
import type { Locks } from '../../src/locks/locks.ts';
import { FaultyNetwork, type Impairment } from './faulty-network.ts';
import { type ClientKind, openClient, type RedisServer } from './redis.ts';

export interface RedisProcess {
  readonly locks: Locks<'best-effort'>;
  readonly elections: Elections;
  /** Hurts what goes from here to the server, or comes back, or both; the returned function ends that. */
  hurt(what: Impairment, direction?: 'there' | 'back'): () => void;
  /** As the system does with one that is killed: its connections are reset, nothing is given back. */
  kill(): void;
}

/** Processes on a server, which end with this. */
export class RedisProcesses implements AsyncDisposable {
  readonly #server: RedisServer;
  readonly #kind: ClientKind;
  readonly #network = new FaultyNetwork();
  readonly #ends: (() => Promise<void>)[] = [];

  constructor(server: RedisServer, kind: ClientKind) {
    this.#server = server;
    this.#kind = kind;
  }

  readonly open = async (
    options: RedisLocksOptions & { readonly fencing?: true } = {},
  ): Promise<RedisProcess> => {
    const me = `process-${this.#ends.length}`;
    const port = await this.#network.listen('redis', this.#server.port, () => me);
    const { client, close } = await openClient(this.#kind, port);
    const locks = redisLocks(client, options);
    const elections = redisElections(client, { ttl: options.ttl });
    this.#ends.push(async () => {
      await Promise.all([locks.close(), elections.close()]);
      close();
    });
    const hurt = (what: Impairment, direction?: 'there' | 'back'): (() => void) =>
      this.#network.impair(
        (from, to) => (from === me && direction !== 'back') || (to === me && direction !== 'there'),
        what,
      );
    const kill = (): void => {
      hurt({ cut: true });
      close();
    };
    return { locks, elections, hurt, kill };
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#ends.map((end) => end()));
    await this.#network.close();
  }
}
