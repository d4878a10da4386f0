/** Redlock on three real masters on good and bad days, with each client. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type RedlockOptions, redlock } from '../../src/drivers/redis/index.ts';
import type { Locks } from '../../src/locks/locks.ts';
import { until } from '../support/cluster.ts';
import { FaultyNetwork, type Impairment } from '../support/faulty-network.ts';
import {
  CLIENTS,
  type ClientKind,
  missingRedis,
  type OpenClient,
  openClient,
  RedisServer,
} from '../support/redis.ts';

const TTL_MS = 1800;
const NODE_TIMEOUT_MS = 600;
/** The machine may be busy. */
const SLACK_MS = 400;

for (const kind of CLIENTS) {
  describe(`Redlock with ${kind}`, { skip: missingRedis() }, () => {
    let masters: Masters;
    beforeEach(async () => {
      masters = await Masters.start(kind);
    });
    afterEach(() => masters.close());

    test('while a minority is down locks are granted, renewed and given back', async () => {
      const [one, other] = [await masters.open(), await masters.open()];
      await masters.servers[1]!.kill();
      const lock = await one.acquire('a');
      assert.equal(await other.tryAcquire('a'), undefined);
      await delay(2 * TTL_MS);
      lock.assertHeld();
      await lock.release();
      await (await other.acquire('a')).release();
    });

    test('without a majority it is an error at once, and nothing stays', async () => {
      const one = await masters.open();
      await masters.servers[0]!.kill();
      await masters.servers[2]!.kill();
      await delay(50);
      const startMs = performance.now();
      await assert.rejects(one.acquire('a'), { code: 'ERR_UNAVAILABLE', retryable: true });
      await assert.rejects(one.holders('a'), { code: 'ERR_UNAVAILABLE' });
      assert.ok(performance.now() - startMs < 3 * NODE_TIMEOUT_MS + SLACK_MS);
      await until('nothing stays', async () => (await masters.keys(1)).length === 0);
    });

    test('a holder that has no majority any more is told before its time is over', async () => {
      const one = await masters.open();
      const lock = await one.acquire('a');
      await masters.servers[0]!.kill();
      await masters.servers[2]!.kill();
      const startMs = performance.now();
      await until('it is lost', () => lock.lost.aborted);
      assert.ok(performance.now() - startMs <= TTL_MS + SLACK_MS);
      assert.equal(lock.lost.reason.loss, 'expired');
      assert.ok(Number(await masters.servers[1]!.command('PTTL', 'quorate:redlock:{a}')) > 0);
    });

    test('what is deleted on a majority is lost with the next renewal, and is not taken anew', async () => {
      const one = await masters.open();
      const lock = await one.acquire('a');
      // A majority is enough for the lock: what comes later must not make it good again.
      for (const i of [0, 1, 2]) {
        await until('all agreed', async () => (await masters.keys(i)).length === 1);
      }
      const startMs = performance.now();
      await masters.servers[0]!.command('DEL', 'quorate:redlock:{a}');
      await masters.servers[1]!.command('DEL', 'quorate:redlock:{a}');
      await until('it is lost', () => lock.lost.aborted);
      assert.ok(performance.now() - startMs < TTL_MS / 3 + SLACK_MS);
      assert.equal(lock.lost.reason.loss, 'stolen');
      assert.deepEqual(await masters.keys(0), []);
    });

    test('a grant of a minority is taken back, also where the answer came late', async () => {
      const one = await masters.open({ ttl: '30s' });
      // The masters know the scripts.
      await one.run('warm', () => undefined);
      await until('it is gone', async () => (await masters.keys(2)).length === 0);
      for (const i of [0, 1]) {
        await masters.servers[i]!.command('SET', 'quorate:redlock:{a}', 'of b3RoZXI=');
      }
      const heal = masters.hurt(2, { hold: true }, 'back');
      const attempt = one.tryAcquire('a');
      await until('it agreed', async () => (await masters.keys(2)).length === 1);
      assert.equal(await attempt, undefined);
      await until('nothing stays', async () => (await masters.keys(2)).length === 0, 5000);
      heal();
      const [holder] = await one.holders('a');
      assert.deepEqual([holder?.holder, holder?.owner], ['of', 'other']);
    });

    test('its time is counted from when it was asked for, not from when it was had', async () => {
      const one = await masters.open({ drift: 0, ttl: '3s', nodeTimeout: '1400ms' });
      const heals = [0, 1, 2].map((i) => masters.hurt(i, { latencyMs: 80 }));
      const lock = await one.acquire('a');
      assert.ok(lock.remainingMs() <= 3000 - 2 * 80);
      await lock.release();
      for (const heal of heals) heal();
    });

    test('the validity is the time to live less what asking took and what clocks may drift', async () => {
      const one = await masters.open({ ttl: 10_000, drift: 0.1, nodeTimeout: '1s' });
      const startMs = performance.now();
      const lock = await one.acquire('a');
      const most = 10_000 - 1000 - (performance.now() - startMs);
      assert.ok(lock.remainingMs() <= 10_000 - 1000 && lock.remainingMs() >= most - 50);
      await lock.release();
    });

    test('nobody works at the same time while masters come and go', async () => {
      const all = await Promise.all([masters.open(), masters.open(), masters.open()]);
      let inside = 0;
      let grants = 0;
      const stopMs = performance.now() + 2500;
      const work = async (locks: Locks<'none'>): Promise<void> => {
        while (performance.now() < stopMs) {
          const lock = await locks.acquire('a').catch(() => undefined);
          if (lock === undefined) continue;
          assert.equal(++inside, 1);
          await delay(5);
          inside -= 1;
          grants += 1;
          await lock.release().catch(() => undefined);
        }
      };
      const faults = (async () => {
        for (let i = 0; performance.now() < stopMs; i++) {
          const heal = masters.hurt(i % 3, { cut: true });
          await delay(200);
          heal();
          await delay(100);
        }
      })();
      await Promise.all([...all.map(work), faults]);
      assert.ok(grants > 10, `${grants} grants`);
    });
  });
}

/** Three masters, each behind a network that can be hurt. */
class Masters {
  readonly servers: readonly RedisServer[];
  readonly #kind: ClientKind;
  readonly #network = new FaultyNetwork();
  readonly #opened: { readonly locks: Locks<'none'>; readonly clients: OpenClient[] }[] = [];

  private constructor(servers: readonly RedisServer[], kind: ClientKind) {
    this.servers = servers;
    this.#kind = kind;
  }

  static async start(kind: ClientKind): Promise<Masters> {
    return new Masters(await Promise.all([1, 2, 3].map(() => RedisServer.start())), kind);
  }

  /** Locks of another process. */
  async open(options: RedlockOptions = {}): Promise<Locks<'none'>> {
    const clients = await Promise.all(
      this.servers.map(async ({ port }, i) => {
        const near = await this.#network.listen(`master-${i}`, port, () => 'somebody');
        return openClient(this.#kind, near);
      }),
    );
    const locks = redlock(
      clients.map(({ client }) => client),
      { ttl: TTL_MS, nodeTimeout: NODE_TIMEOUT_MS, retryDelay: '10ms', ...options },
    );
    this.#opened.push({ locks, clients });
    return locks;
  }

  hurt(i: number, what: Impairment, direction?: 'back'): () => void {
    const master = `master-${i}`;
    return this.#network.impair(
      (from, to) => from === master || (to === master && direction === undefined),
      what,
    );
  }

  keys(i: number): Promise<string[]> {
    return this.servers[i]!.keys('quorate:redlock:');
  }

  async close(): Promise<void> {
    for (const { locks, clients } of this.#opened) {
      await locks.close();
      for (const client of clients) client.close();
    }
    await this.#network.close();
    await Promise.all(this.servers.map((server) => server.close()));
  }
}
