/** Locks on a real Redis on bad days, with each client: see each test. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { QuorateError } from '../../src/core/errors.ts';
import { redisLocks } from '../../src/drivers/redis/index.ts';
import { until } from '../support/cluster.ts';
import { CLIENTS, missingRedis, openClient, RedisServer } from '../support/redis.ts';
import { RedisProcesses } from '../support/redis-process.ts';

const TTL_MS = 1800;
/** The machine may be busy. */
const SLACK_MS = 400;

for (const kind of CLIENTS) {
  describe(`faults of Redis with ${kind}`, { skip: missingRedis() }, () => {
    let server: RedisServer;
    beforeEach(async () => {
      server = await RedisServer.start('always');
    });
    afterEach(() => server.close());

    const waits = (name: string, count: number): Promise<unknown> =>
      until(`${count} wait`, async () => (await waitersOf(name)) >= count);
    const waitersOf = async (name: string): Promise<number> => {
      const state = String((await server.command('GET', `quorate:lock:{${name}}`)) ?? '');
      return state.split('\n').filter((line) => line.startsWith('W ')).length;
    };

    test('a lock outlives a short restart of a server that forgets nothing, and so does the queue', async () => {
      await using all = new RedisProcesses(server, kind);
      const { open } = all;
      const [one, other] = [await open({ ttl: '6s' }), await open({ ttl: '6s' })];
      const lock = await one.locks.acquire('a');
      const next = other.locks.acquire('a');
      await waits('a', 1);
      await server.kill();
      await server.start();
      await delay(300);
      lock.assertHeld();
      assert.equal(await waitersOf('a'), 1);
      await until('it is given back', () => lock.release().then(() => true));
      assert.ok((await next).fencingToken > lock.fencingToken);
    });

    test('where the server lost its data the holder is told with its next renewal, the waiter as well', async () => {
      await using all = new RedisProcesses(server, kind);
      const { open } = all;
      const [one, other] = [await open({ ttl: TTL_MS }), await open({ ttl: TTL_MS })];
      const lock = await one.locks.acquire('a');
      const next = other.locks.acquire('a');
      const lost = assert.rejects(next, { code: 'ERR_LOCK_LOST', retryable: true });
      await waits('a', 1);
      const startMs = performance.now();
      await server.command('FLUSHALL');
      await until('it is lost', () => lock.lost.aborted);
      assert.ok(performance.now() - startMs < TTL_MS / 3 + SLACK_MS);
      assert.equal(lock.lost.reason.loss, 'stolen');
      await lost;
    });

    test('a script that the server forgot is sent again', async () => {
      await using all = new RedisProcesses(server, kind);
      const { locks } = await all.open();
      const lock = await locks.acquire('a');
      await server.command('SCRIPT', 'FLUSH');
      await lock.release();
      await server.command('SCRIPT', 'FLUSH');
      assert.ok(await locks.tryAcquire('a'));
    });

    test('a key that is deleted is noticed with the next renewal', async () => {
      await using all = new RedisProcesses(server, kind);
      const { locks } = await all.open({ ttl: TTL_MS });
      const lock = await locks.acquire('a');
      await server.command('DEL', 'quorate:lock:{a}');
      const startMs = performance.now();
      await until('it is lost', () => lock.lost.aborted);
      assert.ok(performance.now() - startMs < TTL_MS / 3 + SLACK_MS);
      assert.throws(() => lock.assertHeld(), { code: 'ERR_LOCK_LOST', loss: 'stolen' });
    });

    test('the reply to acquire is lost: the outcome is unknown, and nothing stays', async () => {
      await using all = new RedisProcesses(server, kind);
      const { open } = all;
      const [one, other] = [await open({ ttl: TTL_MS }), await open()];
      // The server knows the scripts.
      await one.locks.run('a', () => undefined);
      const heal = one.hurt({ swallow: true }, 'back');
      const error = await one.locks.acquire('a').then(
        () => assert.fail('nothing came back'),
        (reason: QuorateError) => reason,
      );
      assert.equal(error.code, 'ERR_TIMEOUT');
      assert.equal(error.outcome, 'unknown');
      const lines = async (): Promise<number> =>
        String(await server.command('GET', 'quorate:lock:{a}')).split('\n').length;
      heal();
      await until('it is taken back', async () => (await lines()) === 2);
      assert.ok(await other.locks.tryAcquire('a'));
    });

    test('the reply to release is lost: it rejects, and the lock is free for the next', async () => {
      await using all = new RedisProcesses(server, kind);
      const { open } = all;
      const [one, other] = [await open({ ttl: TTL_MS }), await open({ ttl: TTL_MS })];
      const lock = await one.locks.acquire('a');
      const next = other.locks.acquire('a');
      await waits('a', 1);
      const heal = one.hurt({ swallow: true }, 'back');
      await assert.rejects(lock.release(), { outcome: 'unknown' });
      await (await next).release();
      heal();
    });

    test('a connection that is cut for a moment loses no lock and no place in the queue', async () => {
      await using all = new RedisProcesses(server, kind);
      const { open } = all;
      const [one, other] = [await open({ ttl: '2s' }), await open({ ttl: '2s' })];
      const lock = await one.locks.acquire('a');
      const next = other.locks.acquire('a');
      await waits('a', 1);
      const heals = [one.hurt({ cut: true }), other.hurt({ cut: true })];
      await delay(400);
      for (const heal of heals) heal();
      await delay(600);
      lock.assertHeld();
      await lock.release();
      await (await next).release();
    });

    test('a waiter that cannot be told for a while is passed over and keeps its place', async () => {
      await using all = new RedisProcesses(server, kind);
      const { open } = all;
      const three = [await open(), await open(), await open()] as const;
      const [lock, next] = [await three[0].locks.acquire('a'), three[1].locks.acquire('a')];
      await waits('a', 1);
      const last = three[2].locks.acquire('a');
      await waits('a', 2);
      const heal = three[1].hurt({ cut: true });
      await until('only one listens', async () => (await server.subscribers()) <= 2);
      await lock.release();
      const passed = await last;
      assert.equal(await waitersOf('a'), 1);
      heal();
      await passed.release();
      await (await next).release();
    });

    test('a message that was missed is made good', async () => {
      await using all = new RedisProcesses(server, kind);
      const { open } = all;
      const [one, other] = [await open(), await open()];
      const lock = await one.locks.acquire('a');
      const next = other.locks.acquire('a');
      await waits('a', 1);
      // The server sends the message, and it arrives nowhere.
      const heal = other.hurt({ hold: true }, 'back');
      await lock.release();
      await server.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
      heal();
      const startMs = performance.now();
      await (await next).release();
      assert.ok(performance.now() - startMs < 2000);
    });

    test('the lock of a process that is killed is free after its time to live, and no sooner', async () => {
      await using all = new RedisProcesses(server, kind);
      const { open } = all;
      const [one, other] = [await open({ ttl: TTL_MS }), await open({ ttl: TTL_MS })];
      await one.locks.acquire('a');
      const next = other.locks.acquire('a');
      await waits('a', 1);
      await delay(TTL_MS);
      const startMs = performance.now();
      one.kill();
      await (await next).release();
      const tookMs = performance.now() - startMs;
      assert.ok(tookMs > TTL_MS / 2 && tookMs <= TTL_MS + SLACK_MS, `${tookMs} ms`);
    });

    test('waiters that were killed cost nothing, one that hangs no more than its first life', async () => {
      await using all = new RedisProcesses(server, kind);
      const { open } = all;
      const holder = await open();
      const lock = await holder.locks.acquire('a');
      const dead = [await open(), await open(), await open()];
      for (const [i, one] of dead.entries()) {
        one.locks.acquire('a').catch(() => undefined);
        await waits('a', i + 1);
      }
      const alive = (await open()).locks.acquire('a');
      await waits('a', 4);
      for (const one of dead) one.kill();
      await until('they listen no more', async () => (await server.subscribers()) <= 2);
      let startMs = performance.now();
      await lock.release();
      const second = await alive;
      assert.ok(performance.now() - startMs < SLACK_MS);

      const hanging = await open({ ttl: '30s' });
      hanging.locks.acquire('a').catch(() => undefined);
      await until(
        'it waits',
        async () => (await second.remainingMs()) > 0 && (await waitersOf('a')) >= 1,
      );
      const last = (await open({ ttl: '30s' })).locks.acquire('a');
      await delay(300);
      const heal = hanging.hurt({ swallow: true });
      startMs = performance.now();
      await second.release();
      await (await last).release();
      assert.ok(
        performance.now() - startMs < 3000 + 1100 + SLACK_MS,
        `${performance.now() - startMs} ms`,
      );
      heal();
    });

    test('after a pause past its time the holder knows at the first look, and the next one holds', async () => {
      await using all = new RedisProcesses(server, kind);
      const { open } = all;
      const one = await open({ ttl: 1200 });
      const lock = await one.locks.acquire('a');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1300);
      assert.equal(lock.lost.aborted, true);
      assert.equal(lock.remainingMs(), 0);
      const next = await (await open()).locks.acquire('a', { wait: '1s' });
      assert.ok(next.fencingToken > lock.fencingToken);
      await lock.release();
      next.assertHeld();
      assert.equal((await one.locks.holders('a'))[0]?.holder, next.holder);
    });

    test('a server that is down is an error at once or within the time limit, and not applied', async (t) => {
      const { client, close } = await openClient(kind, server.port);
      t.after(close);
      await using locks = redisLocks(client, { ttl: TTL_MS });
      await server.kill();
      await delay(50);
      const startMs = performance.now();
      await assert.rejects(locks.acquire('a'), {
        code: 'ERR_UNAVAILABLE',
        retryable: true,
        outcome: 'not-applied',
      });
      assert.ok(performance.now() - startMs < TTL_MS / 3 + SLACK_MS);
    });

    test('a client that was closed is an error, and a user without rights is told', async (t) => {
      const closed = await openClient(kind, server.port);
      await using locks = redisLocks(closed.client);
      closed.close();
      await delay(50);
      await assert.rejects(locks.acquire('a'), { code: 'ERR_UNAVAILABLE', outcome: 'not-applied' });
      const limited = await openClient(kind, server.port);
      t.after(limited.close);
      await server.command('ACL', 'SETUSER', 'default', '-@scripting');
      await using refused = redisLocks(limited.client);
      await assert.rejects(refused.acquire('a'), { code: 'ERR_PERMISSION_DENIED' });
    });

    test('who leads is told of the end by force, and who observes hears of the next', async () => {
      await using all = new RedisProcesses(server, kind);
      const { open } = all;
      const [one, other, third] = [await open(), await open(), await open()];
      const seen: (string | undefined)[] = [];
      const stop = new AbortController();
      const observing = (async () => {
        for await (const leader of third.elections.observe('e', { signal: stop.signal })) {
          seen.push(leader?.value.toString());
        }
      })();
      const term = await firstTerm(one.elections.campaign('e', 'one'));
      await until('one is seen', () => seen.at(-1) === 'one');
      const startMs = performance.now();
      await term.proclaim('one, still');
      await until('the new value is seen', () => seen.at(-1) === 'one, still');
      assert.ok(performance.now() - startMs < 1000);
      const next = firstTerm(other.elections.campaign('e', 'other'));
      await delay(100);
      await term.resign();
      assert.ok((await next).fencingToken > term.fencingToken);
      await until('the other is seen', () => seen.at(-1) === 'other', 1000);
      stop.abort(new Error('enough'));
      await assert.rejects(observing, /enough/);
    });
  });
}

async function firstTerm<T>(terms: AsyncIterable<T>): Promise<T> {
  // Not a loop: leaving it would resign.
  const { value } = await terms[Symbol.asyncIterator]().next();
  return value as T;
}
