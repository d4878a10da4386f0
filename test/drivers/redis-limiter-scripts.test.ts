/**
 * The scripts of limits beside the algorithms of a process, step by step over random questions: the same scripts, but for the time,
 * which comes from a key here.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { seededRandom } from '../../src/core/random.ts';
import type { Script } from '../../src/drivers/redis/commands.ts';
import { RedisStore } from '../../src/drivers/redis/limiter.ts';
import { SCRIPTS } from '../../src/drivers/redis/limiter-scripts.ts';
import { KvRecord, type RowReceipt } from '../../src/resilience/cluster/kv-record.ts';
import { storeRulesOf } from '../../src/resilience/cluster/options.ts';
import type { ClusterAlgorithm } from '../../src/resilience/limiter.ts';
import { missingRedis, RedisServer } from '../support/redis.ts';

const RULES = {
  'token-bucket': { rate: { limit: 7, period: '1h' }, burst: 11 },
  'sliding-window': { rate: { limit: 9, period: '1h' } },
  'sliding-counter': { rate: { limit: 9, period: '1h' } },
  'fixed-window': { rate: { limit: 9, period: '1h' } },
} as const;
const HOUR_US = 3_600_000_000;

describe('scripts of limits', { skip: missingRedis() }, () => {
  let server: RedisServer;
  before(async () => {
    server = await RedisServer.start();
  });
  after(() => server.close());

  /** Runs the scripts by the time under a key. */
  const commands = {
    async ask({ source }: Script, key: string, args: readonly string[]) {
      const patched = source.replace(
        "redis.call('TIME')",
        "{ math.floor(redis.call('GET', 'now') / 1000000), redis.call('GET', 'now') % 1000000 }",
      );
      assert.notEqual(patched, source);
      const reply = await server.command('EVAL', patched, '1', key, ...args, '1');
      return (reply as unknown[]).slice(1);
    },
  };

  for (const kind of Object.keys(SCRIPTS) as ClusterAlgorithm[]) {
    test(`count as ${kind} does in a process`, async () => {
      const rules = storeRulesOf(kind, RULES[kind]);
      const { algorithm } = rules;
      const store = new RedisStore(commands, 'p:');
      const random = seededRandom(20 + kind.length);
      let nowUs = 480_000 * HOUR_US + 123_456_789;
      const record = KvRecord.first(rules, nowUs);
      /** What can be given back: the receipts of both. */
      let last: [unknown, RowReceipt] | undefined;
      const counts = { taken: 0, later: 0, refused: 0, undone: 0, kept: 0, more: 0 };
      for (let step = 0; step < 500; step++) {
        await server.command('SET', 'now', `${nowUs}`);
        const nowMs = record.advance(rules, nowUs);
        const way = random.below(10);
        if (way < 7) {
          const cost = 1 + random.below(3);
          const most = cost + (random.below(3) === 0 ? random.below(6) : 0);
          const maxWaitMs = random.below(2) * 4_000_000;
          const whenMs = algorithm.earliest(record.row, 0, cost, nowMs);
          const { amount, delayMs, receipt } = await store.take(rules, 'k', {
            cost,
            most,
            maxWaitMs,
            isGone: false,
          });
          const about = `step ${step}: ${delayMs} and ${whenMs - nowMs}`;
          // Whole microseconds there.
          assert.ok(Math.abs(delayMs - (whenMs - nowMs)) < 0.002, about);
          assert.equal(amount > 0, whenMs - nowMs <= maxWaitMs, about);
          if (amount === 0) {
            counts.refused += 1;
          } else {
            const room = Math.floor(algorithm.remaining(record.row, 0, nowMs));
            assert.equal(
              amount,
              whenMs > nowMs ? cost : Math.max(cost, Math.min(most, room)),
              about,
            );
            const rowBefore = record.row.slice();
            algorithm.take(record.row, 0, amount, whenMs);
            const rowReceipt = record.receipt(rowBefore, whenMs);
            assert.equal(receipt === undefined, whenMs <= nowMs, about);
            if (receipt !== undefined) last = [receipt, rowReceipt];
            counts[whenMs > nowMs ? 'later' : 'taken'] += 1;
            if (amount > cost) counts.more += 1;
          }
        } else if (way < 8 && last !== undefined) {
          const [receipt, rowReceipt] = last;
          const undone = await store.undo(rules, 'k', receipt);
          assert.equal(undone, record.undo(rowReceipt, nowMs), `step ${step}`);
          counts[undone ? 'undone' : 'kept'] += 1;
        } else {
          const usage = await store.usage(rules, 'k');
          const remaining = algorithm.remaining(record.row, 0, nowMs);
          const resetMs = Math.max(0, algorithm.idleAt(record.row, 0) - nowMs);
          assert.ok(
            Math.abs(usage.remaining - remaining) < 1e-6,
            `step ${step}: ${usage.remaining}`,
          );
          assert.ok(Math.abs(usage.resetMs - resetMs) < 0.01, `step ${step}: ${usage.resetMs}`);
        }
        if (random.below(3) === 0) nowUs += random.below(HOUR_US / 4);
      }
      for (const [what, count] of Object.entries(counts)) assert.ok(count > 0, `nothing ${what}`);
    });
  }
});
