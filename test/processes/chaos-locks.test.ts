/**
 * Locks under chaos, side by side on every engine: processes that write under one lock are stopped, killed, blocked, cut
 * off and robbed, engines restarted, leaders killed, clocks moved. For longer: `npm run chaos -- locks --for 2m`.
 *
 * What the lock guards is there twice: once it compares fencing tokens, and must never be written by an old holder
 * after a new one; once it does not, and must have been somewhere, else these tests could not fail.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Storm } from '../support/lock-chaos/storm.ts';
import { lockChaos, MAX_CALM_OVERLAPS, SEED, TIMEOUT_MS } from '../support/lock-chaos/suite.ts';
import { missingRedis } from '../support/redis.ts';

// Quorums are in `chaos-locks-quorum.test.ts`.
lockChaos({
  Consul: 'all',
  PostgreSQL: 'all',
  Redis: 'all',
  'Redis that keeps nothing': ['engine restarted'],
  'Redlock on masters that keep nothing': 'all',
});

const skip = missingRedis();

test('a resource that does not compare tokens is caught', {
  skip,
  timeout: TIMEOUT_MS,
}, async () => {
  const { violations } = await Storm.run({
    engine: 'Redis',
    seed: SEED,
    faults: ['holder stopped'],
    times: 3,
    checksTokens: false,
  });
  assert.ok(violations.length > 0);
});

test('a driver whose tokens do not grow is caught', { skip, timeout: TIMEOUT_MS }, async () => {
  const { violations } = await Storm.run({
    engine: 'Redis',
    seed: SEED,
    faults: ['holder killed'],
    breakage: 'constant token',
  });
  assert.match(violations[0] ?? '', /have one token/);
});

test('a driver that gives the lock to everybody is caught', {
  skip,
  timeout: TIMEOUT_MS,
}, async () => {
  const { rows } = await Storm.run({
    engine: 'Redis',
    seed: SEED,
    faults: [],
    breakage: 'no exclusion',
  });
  assert.ok(rows[0]!.overlaps > MAX_CALM_OVERLAPS);
});
