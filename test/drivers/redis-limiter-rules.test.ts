/** Limits on Redis whose rules change, or differ between processes, as while a new version is rolled out; and a server's clock that is set back. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Script } from '../../src/drivers/redis/commands.ts';
import { RedisStore } from '../../src/drivers/redis/limiter.ts';
import { storeRulesOf } from '../../src/resilience/cluster/options.ts';
import type { ClusterAlgorithm } from '../../src/resilience/limiter.ts';
import { missingRedis, RedisServer } from '../support/redis.ts';

const START_US = 1_700_000_000_000_000;
const SECOND_US = 1_000_000;

describe('limits on Redis', { skip: missingRedis() }, () => {
  let server: RedisServer;
  let nowUs = START_US;
  before(async () => {
    server = await RedisServer.start();
  });
  after(() => server.close());

  /** Runs the scripts by a time of ours. */
  const commands = {
    async ask({ source }: Script, key: string, args: readonly string[]) {
      const time = `{ ${Math.floor(nowUs / SECOND_US)}, ${nowUs % SECOND_US} }`;
      const patched = source.replace("redis.call('TIME')", time);
      assert.notEqual(patched, source);
      const reply = await server.command('EVAL', patched, '1', key, ...args, '1');
      return (reply as unknown[]).slice(1);
    },
  };
  const store = new RedisStore(commands, 'p:');
  const now = (cost = 1) => ({ cost, most: cost, maxWaitMs: 0, isGone: false });

  for (const kind of ['fixed-window', 'sliding-counter'] as const) {
    test(`with ${kind} go on with another period, with what was taken before`, async () => {
      const [old, young] = ['10/s', '600/m'].map((rate) => storeRulesOf(kind, { rate }));
      assert.equal((await store.take(old!, kind, now(10))).amount, 10);
      const { remaining, resetMs } = await store.usage(young!, kind);
      assert.equal(remaining, 590);
      assert.ok(resetMs <= 120_000, `${resetMs}`);
      assert.equal((await store.take(young!, kind, now(590))).amount, 590);
      const { amount, delayMs } = await store.take(young!, kind, now());
      assert.equal(amount, 0);
      assert.ok(delayMs <= 60_000, `${delayMs}`);
      assert.ok((await store.usage(old!, kind)).resetMs <= 60_000);
    });
  }

  const foreign: [ClusterAlgorithm, string, ...string[]][] = [
    ['token-bucket', 'SET', '0123456789abcdef'],
    ['token-bucket', 'SET', '\x7f'.repeat(16)],
    ['fixed-window', 'SET', '\x7f'.repeat(16)],
    ['sliding-counter', 'SET', '0123456789abcdefghijklmn'],
    ['sliding-window', 'ZADD', '1', 'a member'],
    ['sliding-window', 'ZADD', '1', '1800000000000000'],
  ];
  for (const [kind, command, ...args] of foreign) {
    test(`with ${kind} refuse ${command} ${JSON.stringify(args)} as no state, for that key alone`, async () => {
      const rules = storeRulesOf(kind, { rate: '10/s' });
      await server.command('FLUSHALL');
      await store.take(rules, 'theirs', now());
      const name = (await server.keys('p:')).find((key) => key.endsWith('{theirs}'))!;
      await server.command('DEL', name);
      await server.command(command, name, ...args);
      await assert.rejects(store.take(rules, 'theirs', now()), /QUORATE not the state/);
      await assert.rejects(store.usage(rules, 'theirs'), /QUORATE/);
      assert.equal((await store.take(rules, 'ours', now())).amount, 1);
    });
  }

  test('with a sliding window lock nobody out whose period is shorter', async () => {
    const [old, young] = ['100/m', '50/30s'].map((rate) =>
      storeRulesOf('sliding-window', { rate }),
    );
    for (let i = 0; i < 20; i++) {
      assert.equal((await store.take(old!, 'mixed', now())).amount, 1);
      assert.equal((await store.take(young!, 'mixed', now())).amount, 1);
      nowUs += SECOND_US;
    }
    assert.equal((await store.take(young!, 'mixed', now(11))).amount, 0, 'all count');
    assert.equal((await store.take(young!, 'mixed', now(10))).amount, 10);
  });

  test('with a sliding window go on while the clock is set back, and never allow more', async () => {
    const rules = storeRulesOf('sliding-window', { rate: '10/m' });
    assert.equal((await store.take(rules, 'back', now(6))).amount, 6);
    nowUs -= 3600 * SECOND_US;
    assert.equal((await store.take(rules, 'back', now(3))).amount, 3);
    assert.equal((await store.take(rules, 'back', now(2))).amount, 0);
    const later = await store.take(rules, 'back', { ...now(2), maxWaitMs: 1e9 });
    assert.equal(later.amount, 2);
    assert.equal(await store.undo(rules, 'back', later.receipt), true);
    assert.equal((await store.take(rules, 'back', now(1))).amount, 1);
    assert.equal((await store.take(rules, 'back', now(1))).amount, 0);
  });
});
