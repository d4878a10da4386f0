/** Limiters on a real Redis, on good days and bad ones, with each client: see each test. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { type RedisLimiterOptions, redisLimiter } from '../../src/drivers/redis/index.ts';
import { type ClusterLimiter, tokenBucket } from '../../src/resilience/index.ts';
import { until } from '../support/cluster.ts';
import { FaultyNetwork, type Impairment } from '../support/faulty-network.ts';
import {
  CLIENTS,
  missingRedis,
  openClient,
  type Persistence,
  RedisServer,
} from '../support/redis.ts';

/** Nothing of it comes back while a test runs. */
const SLOW = { limit: 100, period: '300d' } as const;
/** Where the server is there, and the machine busy. */
const PATIENT = '20s';

for (const kind of CLIENTS) {
  describe(`limiters on Redis with ${kind}`, { skip: missingRedis() }, () => {
    const ends: (() => unknown)[] = [];
    let server: RedisServer;
    beforeEach(async () => {
      await start('none');
    });
    afterEach(async () => {
      for (const end of ends.splice(0).reverse()) await end();
    });

    const start = async (persistence: Persistence): Promise<void> => {
      server = await RedisServer.start(persistence);
      const mine = server;
      ends.push(() => mine.close());
    };

    /** As another process: over a connection of its own, through a network that can be hurt. */
    const open = async (
      options: RedisLimiterOptions,
    ): Promise<{
      limiter: ClusterLimiter;
      hurt: (what: Impairment, direction?: 'there' | 'back') => () => void;
    }> => {
      const network = new FaultyNetwork();
      const port = await network.listen('redis', server.port, () => 'me');
      const { client, close } = await openClient(kind, port);
      const limiter = redisLimiter(client, options);
      ends.push(async () => {
        await limiter.close();
        close();
        await network.close();
      });
      const hurt = (what: Impairment, direction?: 'there' | 'back') =>
        network.impair(
          (from, to) =>
            (from === 'me' && direction !== 'back') || (to === 'me' && direction !== 'there'),
          what,
        );
      return { limiter, hurt };
    };

    const allowed = async (limiter: ClusterLimiter, count: number): Promise<number> => {
      const said = await Promise.all(Array.from({ length: count }, () => limiter.allow('k')));
      return said.filter(({ ok, down }) => ok && down === undefined).length;
    };

    /** Until the server refuses; how many it allowed. */
    const drain = async (limiter: ClusterLimiter): Promise<number> => {
      let ok = 0;
      await until('all is used up', async () => {
        for (;;) {
          const said = await limiter.allow('k');
          if (said.down !== undefined) return false;
          if (!said.ok) return true;
          ok += 1;
        }
      });
      return ok;
    };

    test('each question is one command, whatever the answer', async () => {
      for (const algorithm of [
        'token-bucket',
        'sliding-window',
        'sliding-counter',
        'fixed-window',
      ] as const) {
        const { limiter } = await open({ rate: SLOW, algorithm, timeout: PATIENT });
        // The server learns the scripts.
        await limiter.allow('k');
        await limiter.reset('k');
        const sent = await server.requestsDuring(async () => {
          assert.equal(await allowed(limiter, 130), 100);
          await assert.rejects(limiter.wait('k', { maxWait: '1s' }), { code: 'ERR_RATE_LIMITED' });
          await limiter.reserve('k', { maxWait: 0 });
          await limiter.usage('k');
          await limiter.reset('k');
        });
        assert.equal(sent, 134, algorithm);
      }
    });

    test('keys go by themselves: each has an end, also where it was reserved for later', async () => {
      const { limiter } = await open({ rate: { limit: 10, period: '10s' }, timeout: PATIENT });
      await limiter.allow('k', 10);
      await limiter.reserve('k', { cost: 10 });
      const left = Number(await server.command('PTTL', 'quorate:limit:bucket:{k}'));
      assert.ok(left > 15_000 && left <= 20_010, `${left}`);
    });

    test('a script that the server forgot is sent again, once', async () => {
      const { limiter } = await open({ rate: SLOW, timeout: PATIENT });
      await limiter.allow('k');
      await server.command('SCRIPT', 'FLUSH');
      const sent = await server.requestsDuring(async () => {
        assert.equal((await limiter.allow('k')).ok, true);
        assert.equal((await limiter.allow('k')).ok, true);
      });
      assert.equal(sent, 3);
      assert.equal(Math.round((await limiter.usage('k')).remaining), 97);
    });

    test('something else under a key is an error of that key, and no store that is down', async () => {
      const { limiter } = await open({ rate: SLOW, whenDown: 'admit', timeout: PATIENT });
      await server.command('SET', 'quorate:limit:bucket:{text}', 'something else');
      await server.command('LPUSH', 'quorate:limit:bucket:{list}', 'something else');
      for (let i = 0; i < 5; i++) {
        await assert.rejects(limiter.allow('text'), { code: 'ERR_PROTOCOL' });
        await assert.rejects(limiter.wait('list'), { code: 'ERR_PROTOCOL' });
      }
      assert.deepEqual(await limiter.allow('k'), { ok: true, retryAfterMs: 0 });
      await limiter.reset('text');
      assert.equal((await limiter.allow('text')).ok, true);
    });

    test('what was taken by a command whose answer was lost counts', async () => {
      const { limiter, hurt } = await open({ rate: SLOW, timeout: 300 });
      await until('the server is quick enough', async () => !(await limiter.allow('a')).down);
      const heal = hurt({ swallow: true }, 'back');
      const lost = await limiter.allow('k', 60);
      assert.equal(lost.ok, false);
      assert.equal(lost.down?.code, 'ERR_UNAVAILABLE');
      assert.equal(lost.down?.outcome, 'unknown');
      heal();
      const { limiter: other } = await open({ rate: SLOW, timeout: PATIENT });
      assert.ok((await other.usage('k')).remaining < 41);
      await until('it recovers by itself', async () => !(await limiter.allow('a')).down);
      assert.equal((await limiter.allow('k', 60)).ok, false);
    });

    test('who gives up while the answer is on its way gives back what was taken for it', async () => {
      const { limiter, hurt } = await open({ rate: SLOW, timeout: PATIENT });
      await limiter.allow('k', 100);
      const { limiter: other } = await open({ rate: SLOW, timeout: PATIENT });
      const full = (await other.usage('k')).resetMs;
      const heal = hurt({ hold: true }, 'back');
      const stop = new AbortController();
      const waiting = limiter.wait('k', { cost: 50, signal: stop.signal });
      const dayMs = 86_400_000;
      await until('it is taken', async () => (await other.usage('k')).resetMs > full + dayMs);
      stop.abort(new Error('enough'));
      await assert.rejects(waiting, { message: 'enough' });
      heal();
      await until('it is back', async () => (await other.usage('k')).resetMs < full + dayMs);
    });

    test('while the server is killed each rule decides at once, and by itself it is the server again', async () => {
      const local = tokenBucket({ rate: { limit: 7, period: '300d' } });
      const rules = { refuse: 'refuse', admit: 'admit', local: { local } } as const;
      for (const [name, whenDown] of Object.entries(rules)) {
        await start('always');
        const { limiter } = await open({ rate: SLOW, whenDown, timeout: 300 });
        await until('the server is quick enough', async () => !(await limiter.allow('a')).down);
        const before = await allowed(limiter, 30);
        assert.ok(before <= 30);
        await server.kill();
        const beganMs = performance.now();
        let down = 0;
        let ok = 0;
        for (let i = 0; i < 300; i++) {
          const said = await limiter.allow('k');
          if (said.down !== undefined) down += 1;
          if (said.ok) ok += 1;
          else assert.ok(said.retryAfterMs > 0);
        }
        assert.equal(down, 300, name);
        assert.equal(ok, { refuse: 0, admit: 300, local: 7 }[name]);
        // Three found out that it is down, and one now and then tries it; 300 would take a minute and a half.
        assert.ok(performance.now() - beganMs < 20_000, name);
        if (whenDown === 'refuse') {
          await assert.rejects(limiter.wait('k'), { code: 'ERR_UNAVAILABLE', retryable: true });
          await assert.rejects(limiter.reserve('k'), { code: 'ERR_UNAVAILABLE' });
          await assert.rejects(limiter.usage('k'), { code: 'ERR_UNAVAILABLE' });
        } else if (whenDown === 'admit') {
          await limiter.wait('k');
          assert.equal((await limiter.reserve('k'))?.delayMs, 0);
        } else {
          await assert.rejects(limiter.wait('k', { maxWait: 0 }), { code: 'ERR_RATE_LIMITED' });
        }
        await server.start();
        await until('it is the server again', async () => !(await limiter.allow('a')).down);
        // It forgot nothing: what was allowed before counts, and the answers that were lost as well.
        const after = await drain(limiter);
        assert.ok(before + after <= 100 && before + after >= 100 - 6, `${before} + ${after}`);
      }
    });

    test('a server that forgets all in a restart allows the burst once more, and not more than that', async () => {
      const { limiter } = await open({ rate: SLOW, timeout: 500 });
      await until('the server is quick enough', async () => !(await limiter.allow('a')).down);
      let total = await drain(limiter);
      assert.ok(total <= 100);
      await server.kill();
      await server.start();
      total += await drain(limiter);
      assert.ok(total > 150 && total <= 200, `${total}`);
    });

    test('leased tokens are served while the server is down, no more than there are', async () => {
      await start('always');
      const { limiter } = await open({
        rate: SLOW,
        lease: { tokens: 32, for: '1h' },
        timeout: 300,
      });
      await until('the server is quick enough', async () => !(await limiter.allow('a')).down);
      // 1, 2, 4, 8, 16: one of the last is used.
      for (let i = 0; i < 16; i++) await limiter.allow('k');
      await server.kill();
      let served = 0;
      for (let i = 0; i < 40; i++) if ((await limiter.allow('k')).ok) served += 1;
      assert.ok(served >= 1 && served <= 15, `${served}`);
    });

    test('a lease takes a tenth of the commands, and less', async () => {
      const { limiter } = await open({
        rate: { limit: 1_000_000, period: '300d' },
        lease: { tokens: 100 },
        timeout: PATIENT,
      });
      const sent = await server.requestsDuring(async () => {
        assert.equal(await allowed(limiter, 1000), 1000);
        for (let i = 0; i < 1000; i++) assert.equal((await limiter.allow('k')).ok, true);
      });
      assert.ok(sent <= 200, `${sent}`);
    });
  });
}
