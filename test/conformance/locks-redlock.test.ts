/** The suite of locks on Redlock over three real masters, with each client. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  type LockClient,
  type LockLacks,
  type LocksTarget,
  lacksOf,
  lockCases,
  runLockCases,
} from '../../src/conformance/index.ts';
import type { Duration } from '../../src/core/duration.ts';
import { redlock } from '../../src/drivers/redis/index.ts';
import { FaultyNetwork } from '../support/faulty-network.ts';
import {
  CLIENTS,
  type ClientKind,
  missingRedis,
  openClient,
  RedisServer,
} from '../support/redis.ts';
import { registerCase } from './locks-over-kv.ts';

const LACKS: LockLacks = {
  ...lacksOf({
    fencing: 'none',
    waiters: 'barging',
    expiry: 'both-clocks',
    shared: false,
    permits: false,
  }),
  waiters: 'who waits tries again from time to time, and no master knows of it',
  elections: 'there are none on Redlock',
  depose: 'there are no elections on Redlock',
};

const missing = missingRedis();
for (const kind of CLIENTS) {
  describe(`Redlock with ${kind}`, { skip: missing }, () => {
    let servers: RedisServer[];
    let network: FaultyNetwork;
    before(async () => {
      servers = await Promise.all([1, 2, 3].map(() => RedisServer.start()));
      network = new FaultyNetwork();
    });
    after(async () => {
      await network.close();
      await Promise.all(servers.map((server) => server.close()));
    });
    runLockCases(lockCases, () => targetOn(servers, network, kind), registerCase, LACKS);

    test('promises what the suite holds it to', async () => {
      const { locks, close } = await open(servers, network, kind, { ttl: '1s', owner: 'me' });
      const { waiters, elections, depose, ...lacks } = LACKS;
      assert.deepEqual(lacksOf(locks.guarantees), lacks);
      await close!();
    });
  });
}

let processes = 0;

function targetOn(
  servers: readonly RedisServer[],
  network: FaultyNetwork,
  kind: ClientKind,
): LocksTarget {
  return {
    ttlMs: 1500,
    async leftovers(prefix) {
      const all = servers.map((server) => server.keys(`quorate:redlock:{${prefix}`));
      return (await Promise.all(all)).flat();
    },
    stall: (delayMs) => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, delayMs),
    open: (options) => open(servers, network, kind, options),
  };
}

/** As another process: with connections of its own, which can be cut. */
async function open(
  servers: readonly RedisServer[],
  network: FaultyNetwork,
  kind: ClientKind,
  options: { readonly ttl: Duration; readonly owner: string },
): Promise<LockClient> {
  const from = `process-${++processes}`;
  const clients = await Promise.all(
    servers.map(async ({ port }) =>
      openClient(kind, await network.listen('redis', port, () => from)),
    ),
  );
  const close = (): void => {
    for (const client of clients) client.close();
  };
  try {
    const locks = redlock(
      clients.map(({ client }) => client),
      { ...options, retryDelay: '20ms', nodeTimeout: '450ms' },
    );
    const abandon = async (): Promise<void> => {
      network.impair((one) => one === from, { cut: true });
      close();
      await locks.close();
    };
    return { locks, abandon, close };
  } catch (error) {
    close();
    throw error;
  }
}
