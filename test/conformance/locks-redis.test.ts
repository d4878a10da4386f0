/** The suites of locks and elections on a real Redis, with each client. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  electionCases,
  type LockClient,
  type LockLacks,
  type LocksTarget,
  lacksOf,
  lockCases,
  runLockCases,
} from '../../src/conformance/index.ts';
import type { Duration } from '../../src/core/duration.ts';
import { redisElections, redisLocks } from '../../src/drivers/redis/index.ts';
import { FaultyNetwork } from '../support/faulty-network.ts';
import {
  CLIENTS,
  type ClientKind,
  missingRedis,
  openClient,
  RedisServer,
} from '../support/redis.ts';
import { registerCase } from './locks-over-kv.ts';

const missing = missingRedis();
for (const kind of CLIENTS) {
  for (const fencing of [true, false]) {
    const how = fencing ? '' : ', without tokens';
    describe(`locks on Redis with ${kind}${how}`, { skip: missing }, () => {
      let server: RedisServer;
      let network: FaultyNetwork;
      before(async () => {
        server = await RedisServer.start();
        network = new FaultyNetwork();
      });
      after(async () => {
        await network.close();
        await server.close();
      });
      const lacks: LockLacks = lacksOf({
        fencing: fencing ? 'best-effort' : 'none',
        waiters: 'fifo',
        expiry: 'engine-clock',
        shared: true,
        permits: true,
      });
      const cases = fencing ? [...lockCases, ...electionCases] : lockCases;
      runLockCases(
        cases,
        () => targetOn(server, network, kind, fencing),
        registerCase,
        fencing ? lacks : { ...lacks, elections: 'of elections every term has a token' },
      );

      test('promises what the suite holds it to', async () => {
        const { client, close } = await openClient(kind, server.port);
        const { guarantees } = redisLocks(client, { fencing: fencing as true });
        assert.deepEqual(lacksOf(guarantees), lacks);
        close();
      });
    });
  }
}

let processes = 0;

function targetOn(
  server: RedisServer,
  network: FaultyNetwork,
  kind: ClientKind,
  fencing: boolean,
): LocksTarget {
  return {
    ttlMs: 1500,
    leftovers: (prefix) => leftovers(server, prefix),
    stall: (delayMs) => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, delayMs),
    async depose(name) {
      const { client, close } = await openClient(kind, server.port);
      await using locks = redisLocks(client, { prefix: 'quorate:election:' });
      await locks.forceRelease(name);
      close();
    },
    open: (options) => open(server, network, kind, { ...options, fencing: fencing as true }),
  };
}

/** As another process: with connections of its own, which can be cut. */
async function open(
  server: RedisServer,
  network: FaultyNetwork,
  kind: ClientKind,
  options: { readonly ttl: Duration; readonly owner: string; readonly fencing: true },
): Promise<LockClient> {
  const from = `process-${++processes}`;
  const port = await network.listen('redis', server.port, () => from);
  const { client, close } = await openClient(kind, port);
  try {
    const locks = redisLocks(client, options);
    const elections = redisElections(client, { ttl: options.ttl });
    return {
      locks,
      elections,
      abandon: async () => {
        network.impair((one) => one === from, { cut: true });
        close();
        // Nothing of this comes through; it closes what is open in this process.
        await Promise.all([locks.close(), elections.close()]);
      },
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** Claims that hold or wait; not the newest token, which is kept for a while. */
async function leftovers(server: RedisServer, prefix: string): Promise<string[]> {
  const [seconds] = (await server.command('TIME')) as [string];
  const lines: string[] = [];
  for (const kind of ['lock', 'election']) {
    for (const key of await server.keys(`quorate:${kind}:{${prefix}`)) {
      const state = String((await server.command('GET', key)) ?? '0\n');
      for (const line of state.split('\n').slice(1, -1)) {
        const [what, id, , till, alive] = line.split(' ');
        const endsMs = Number(what === 'H' ? till : alive);
        if (endsMs === 0 || endsMs > Number(seconds) * 1000) lines.push(`${key} ${what} ${id}`);
      }
    }
  }
  return lines;
}
