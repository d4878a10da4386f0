/** Locks on a real Redis on good days: what they cost, who is served, what is left behind. With each client. */
import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { createClient, RESP_TYPES } from 'redis';
import { type RedisClient, redisFence, redisLocks } from '../../src/drivers/redis/index.ts';
import { until } from '../support/cluster.ts';
import {
  CLIENTS,
  type ClientKind,
  missingRedis,
  openClient,
  RedisServer,
} from '../support/redis.ts';
import { RedisProcesses } from '../support/redis-process.ts';

const HOLD_MS = 2;
const WORKERS = 20;

for (const kind of CLIENTS) {
  describe(`locks on Redis with ${kind}`, { skip: missingRedis() }, () => {
    let server: RedisServer;
    before(async () => {
      server = await RedisServer.start();
    });
    after(() => server.close());

    test('an uncontended pair costs 4 commands in 2 round trips, with a token 7', async (t) => {
      for (const [fencing, commands] of [
        [false, 4],
        [true, 7],
      ] as const) {
        const client = await connect(t, server, kind);
        let roundTrips = 0;
        const counted = new Proxy(client, {
          get(target, name) {
            const value: unknown = Reflect.get(target, name, target);
            if (name !== 'sendCommand' && name !== 'call') return value;
            return (...args: unknown[]) => {
              roundTrips += 1;
              return Reflect.apply(value as (...all: unknown[]) => unknown, target, args);
            };
          },
        });
        await using locks = redisLocks(counted, {
          fencing: fencing as true,
          prefix: `c${fencing}:`,
        });
        await (await locks.acquire('warm')).release();
        const before = await server.commandCount();
        roundTrips = 0;
        for (let i = 0; i < 10; i++) await (await locks.acquire(`name-${i}`)).release();
        assert.equal((await server.commandCount()) - before, 10 * commands);
        assert.equal(roundTrips, 20);
      }
    });

    test('the short way leaves what the long way leaves', async (t) => {
      const client = await connect(t, server, kind);
      await using locks = redisLocks(client, { prefix: 'short:' });
      await using watched = redisLocks(client, { prefix: 'short:' });
      /** Without what is different each time: ids and times. */
      const state = async (): Promise<string> => {
        const raw = String(await server.command('GET', 'short:{name}'));
        const [newest = '', ...entries] = raw.split('\n');
        const shown = entries.map((line) => {
          const [kind, , permits, till, token, revision, value] = line.split(' ');
          const left = Math.round((Number(till) - Date.now()) / 1000);
          const same = token === newest && revision === newest;
          return line === '' ? '' : `${kind} ${permits} ${left} s ${same} ${value}`;
        });
        const px = Number(await server.command('PTTL', 'short:{name}'));
        return [Math.round(px / 1000), /^\d{16}$/.test(newest), ...shown].join('|');
      };
      // Who waits, and has given up, makes both take the long way.
      const long = await locks.acquire('name');
      await assert.rejects(watched.acquire('name', { wait: 50 }), { code: 'ERR_LOCK_BUSY' });
      const next = watched.acquire('name', { permits: 3 });
      await until('it waits', async () => (await locks.holders('name')).length === 2);
      await long.release();
      const last = await next;
      await last.release();
      const released = await state();
      assert.match(released, /^600\|true\|$/);
      const short = await locks.acquire('name');
      assert.match(await state(), /^600\|true\|H 1 10 s true \S+\|$/);
      assert.ok(short.fencingToken > last.fencingToken);
      // One more, behind that: only the long way counts both.
      assert.equal(await watched.tryAcquire('name'), undefined);
      await short.release();
      assert.equal(await state(), released);
    });

    test('many workers are served alike, each by one message at most, for 8 commands a grant', async () => {
      await using all = new RedisProcesses(server, kind);
      const { open } = all;
      const processes = await Promise.all(Array.from({ length: 4 }, () => open()));
      // The connections for messages are opened once, not with every grant.
      await Promise.all(processes.map(({ locks }) => locks.run('fair', () => delay(1))));
      const before = await server.commandCount();
      const grants = new Array<number>(WORKERS).fill(0);
      const stopMs = performance.now() + 1500;
      let inside = 0;
      let looks = 0;
      const work = async (worker: number): Promise<void> => {
        const { locks } = processes[worker % processes.length]!;
        while (performance.now() < stopMs) {
          const askedMs = performance.now();
          await locks.run('fair', async () => {
            // On a machine that is busy waits are long, and who waits for long looks for itself.
            looks += Math.floor((performance.now() - askedMs) / 200);
            assert.equal(++inside, 1);
            await delay(HOLD_MS);
            inside -= 1;
          });
          grants[worker]! += 1;
        }
      };
      await Promise.all(grants.map((_, worker) => work(worker)));
      const total = grants.reduce((sum, count) => sum + count, 0);
      const commands = ((await server.commandCount()) - before) / total;
      assert.ok(Math.max(...grants) - Math.min(...grants) <= 2, grants.join(' '));
      assert.ok(commands <= 8 + (5 * looks) / total, `${commands} commands a grant`);
    });

    test('of a name stays the newest token, and that ends by itself', async (t) => {
      await using locks = redisLocks(await connect(t, server, kind), { prefix: 'stays:' });
      const token = await locks.run('a', (lock) => lock.fencingToken);
      assert.deepEqual(await server.keys('stays:'), ['stays:{a}']);
      assert.equal(await server.command('GET', 'stays:{a}'), `${token}\n`);
      const leftMs = Number(await server.command('PTTL', 'stays:{a}'));
      assert.ok(leftMs > 0 && leftMs <= 600_000, `${leftMs}`);
    });

    test('without tokens nothing stays of a name', async (t) => {
      const client = await connect(t, server, kind);
      await using locks = redisLocks(client, { prefix: 'nothing:', fencing: false });
      const lock = await locks.acquire('a');
      assert.equal(lock.fencingToken, undefined);
      await lock.release();
      assert.deepEqual(await server.keys('nothing:'), []);
    });

    test('tokens grow though their key was deleted, and where some want none', async (t) => {
      const client = await connect(t, server, kind);
      await using locks = redisLocks(client, { prefix: 'grow:' });
      await using without = redisLocks(client, { prefix: 'grow:', fencing: false });
      let newest = 0n;
      for (let i = 0; i < 10; i++) {
        const lock = await locks.acquire('a');
        assert.ok(lock.fencingToken > newest);
        newest = lock.fencingToken;
        await lock.release();
        if (i % 2 === 0) await server.command('DEL', 'grow:{a}');
        else await without.run('a', () => undefined);
      }
    });

    test('what is held or busy is known as such among more names than are remembered', async (t) => {
      const client = await connect(t, server, kind);
      await using locks = redisLocks(client, { prefix: 'many:', fencing: false });
      const held = await locks.acquire('held');
      const pairs = Array.from({ length: 1500 }, (_, i) => locks.run(`name-${i}`, () => undefined));
      await Promise.all(pairs);
      for (let i = 0; i < 1500; i++) await locks.run(`later-${i}`, () => undefined);
      assert.equal(await locks.tryAcquire('held'), undefined);
      await held.release();
      await locks.run('held', () => undefined);
      assert.deepEqual(await server.keys('many:'), []);
    });

    test('names that look alike are different locks', async (t) => {
      await using locks = redisLocks(await connect(t, server, kind), { prefix: 'names:' });
      const names = [
        'a',
        'a}',
        '{a}',
        'a%007d',
        'a\ud800',
        'a\udc00',
        'a\ufffd',
        'a b',
        'a\n',
        'ä',
        '}',
      ];
      const held = await Promise.all(names.map((name) => locks.tryAcquire(name)));
      assert.ok(held.every((lock) => lock !== undefined));
      assert.equal((await server.keys('names:')).length, names.length);
    });

    test('the connection for messages is opened when needed and closed with the locks', async (t) => {
      const locks = redisLocks(await connect(t, server, kind), { prefix: 'sub:' });
      const before = await server.subscribers();
      await (await locks.acquire('quick')).release();
      assert.equal(await server.subscribers(), before);
      const lock = await locks.acquire('slow');
      await until('it listens', async () => (await server.subscribers()) === before + 1);
      await lock.release();
      await locks.close();
      await until('it is closed', async () => (await server.subscribers()) === before);
    });

    test('a lock that is taken by force is known to be lost at once, long before its renewal', async () => {
      await using all = new RedisProcesses(server, kind);
      const { open } = all;
      const [holder, operator] = [await open(), await open()];
      const lock = await holder.locks.acquire('taken');
      await until('it listens', async () => (await server.subscribers()) > 0);
      // Its channel is subscribed to when it waits.
      const waiter = holder.locks.acquire('taken');
      await until('it waits', async () => (await holder.locks.holders('taken')).length === 2);
      let lostMs = Number.POSITIVE_INFINITY;
      lock.lost.addEventListener('abort', () => {
        lostMs = performance.now();
      });
      const startMs = performance.now();
      const [taken] = await operator.locks.forceRelease('taken');
      await until('it is lost', () => lostMs < Number.POSITIVE_INFINITY);
      assert.ok(lostMs - startMs < 500, `${lostMs - startMs} ms`);
      assert.equal(lock.lost.reason.loss, 'stolen');
      assert.equal(taken?.holder, lock.holder);
      await (await waiter).release();
    });

    test('a full queue says so, and the name works on', async (t) => {
      const client = await connect(t, server, kind);
      await using locks = redisLocks(client, { prefix: 'full:', ttl: '1s' });
      const lock = await locks.acquire('a');
      const waiter = locks.acquire('a');
      await until('it waits', async () => (await locks.holders('a')).length === 2);
      const line = `W x.y 1 100 1 1 ${'x'.repeat(1000)}\n`;
      await server.command('APPEND', 'full:{a}', line.repeat(300));
      await assert.rejects(locks.acquire('a'), { code: 'ERR_BUSY', retryable: true });
      await lock.release();
      await (await waiter).release();
      assert.ok(await locks.tryAcquire('a'));
    });

    test('a value of something else under the key is an error, and is left alone', async (t) => {
      await using locks = redisLocks(await connect(t, server, kind), { prefix: 'other:' });
      await server.command('SET', 'other:{a}', 'of another program');
      await server.command('LPUSH', 'other:{b}', 'of another program');
      await assert.rejects(locks.acquire('a'), { code: 'ERR_PROTOCOL' });
      await assert.rejects(locks.acquire('b'), { code: 'ERR_PROTOCOL' });
      assert.equal(await server.command('GET', 'other:{a}'), 'of another program');
    });
  });
}

async function connect(t: TestContext, server: RedisServer, kind: ClientKind) {
  const { client, close } = await openClient(kind, server.port);
  t.after(close);
  return client;
}

describe('clients of Redis that give numbers as texts', { skip: missingRedis() }, () => {
  let server: RedisServer;
  before(async () => {
    server = await RedisServer.start();
  });
  after(() => server.close());

  for (const kind of CLIENTS) {
    test(`locks, their queues and fences work with ${kind}`, async (t) => {
      const at = { port: server.port, host: '127.0.0.1' };
      let client: RedisClient;
      if (kind === 'ioredis') {
        const ioredis = new Redis({ ...at, stringNumbers: true });
        t.after(() => ioredis.disconnect());
        client = ioredis;
      } else {
        const commandOptions = { typeMapping: { [RESP_TYPES.NUMBER]: String } };
        const nodeRedis = createClient({ socket: at, commandOptions });
        await nodeRedis.connect();
        t.after(() => nodeRedis.destroy());
        client = nodeRedis as unknown as RedisClient;
      }
      await using locks = redisLocks(client, { prefix: `${kind}:` });
      const first = await locks.acquire('a');
      assert.equal(await locks.tryAcquire('a'), undefined);
      const second = locks.acquire('a');
      const waits = async (): Promise<readonly boolean[]> =>
        (await locks.holders('a')).map(({ waiting }) => waiting);
      await until('it waits', async () => (await waits()).length === 2 || undefined);
      assert.deepEqual(await waits(), [false, true]);
      await first.release();
      const fence = redisFence(client, { prefix: `${kind}:fence:` });
      assert.equal(await fence.run('it', await second, ['SET', 'value', 'new']), 'OK');
      await assert.rejects(fence.check('it', first), /of an earlier holder/);
      assert.equal((await locks.forceRelease('a')).length, 1);
      assert.throws(() => first.assertHeld());
    });
  }
});
