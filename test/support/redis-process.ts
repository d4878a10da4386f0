/** What tests of Redis call a process: a client with connections of its own, behind a network that can be hurt. */
import type { TestContext } from 'node:test';
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

export type OpenProcess = (
  options?: RedisLocksOptions & { readonly fencing?: true },
) => Promise<RedisProcess>;

/** Opens processes that end with the test. */
export function processesOf(t: TestContext, server: RedisServer, kind: ClientKind): OpenProcess {
  const network = new FaultyNetwork();
  const ends: (() => Promise<void>)[] = [];
  let count = 0;
  t.after(async () => {
    await Promise.all(ends.map((end) => end()));
    await network.close();
  });
  return async (options = {}) => {
    const me = `process-${++count}`;
    const port = await network.listen('redis', server.port, () => me);
    const { client, close } = await openClient(kind, port);
    const locks = redisLocks(client, options);
    const elections = redisElections(client, { ttl: options.ttl });
    ends.push(async () => {
      await Promise.all([locks.close(), elections.close()]);
      close();
    });
    const hurt = (what: Impairment, direction?: 'there' | 'back'): (() => void) =>
      network.impair(
        (from, to) => (from === me && direction !== 'back') || (to === me && direction !== 'there'),
        what,
      );
    return {
      locks,
      elections,
      hurt,
      kill: () => {
        hurt({ cut: true });
        close();
      },
    };
  };
}
