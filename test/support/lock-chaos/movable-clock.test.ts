/** A clock that is moved under a real server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missingRedis, RedisServer } from '../redis.ts';
import { MovableClock } from './movable-clock.ts';

test('the time of a server jumps ahead and back, and its keys go by it', {
  skip: missingRedis(),
}, async (t) => {
  const { clock, why } = MovableClock.open();
  // Without it there is nothing to test; storms say loudly that they moved no clock.
  if (clock === undefined) return t.diagnostic(`NO CLOCK TO MOVE: ${why}`);
  await using server = await RedisServer.start('none', clock.env);
  const aheadMs = async (): Promise<number> => {
    const [seconds] = (await server.command('TIME')) as [string];
    return Number(seconds) * 1000 - Date.now();
  };
  // Seconds are whole ones, and the machine may be busy.
  const isNear = (ms: number, wantedMs: number): boolean => Math.abs(ms - wantedMs) < 20_000;
  assert.ok(isNear(await aheadMs(), 0));
  await server.command('SET', 'key', 'x', 'PX', '50000');
  clock.move(-100_000);
  assert.ok(isNear(await aheadMs(), -100_000));
  assert.equal(await server.command('GET', 'key'), 'x');
  clock.move(300_000);
  assert.ok(isNear(await aheadMs(), 200_000));
  assert.equal(await server.command('GET', 'key'), null);
  clock.close();
});
