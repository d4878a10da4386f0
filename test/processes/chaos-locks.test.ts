/**
 * Locks under chaos, side by side on every engine: processes that write under one lock are stopped, killed, blocked, cut
 * off and robbed, engines restarted, leaders killed, clocks moved. For longer: `npm run chaos -- locks --for 2m`.
 *
 * What the lock guards is there twice: once it compares fencing tokens, and must never be written by an old holder
 * after a new one; once it does not, and must have been somewhere, else these tests could not fail.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ENGINE_NAMES, ENGINES, type EngineName } from '../support/lock-chaos/engines.ts';
import type { FaultName } from '../support/lock-chaos/faults.ts';
import { type Row, Storm } from '../support/lock-chaos/storm.ts';
import { tableOf } from '../support/lock-chaos/table.ts';
import { missingRedis } from '../support/redis.ts';

const SEED = Number(process.env['QUORATE_CHAOS_SEED'] ?? 1);
/** A storm takes half a minute; servers and workers start slowly on a machine that does much else. */
const TIMEOUT_MS = 400_000;

/** Where only some faults tell more than on the same engine that keeps all. */
const ONLY: Partial<Record<EngineName, readonly FaultName[]>> = {
  'Redis that keeps nothing': ['engine restarted', 'holder stopped'],
};

const stopped: Row[] = [];

describe('locks under chaos', { concurrency: 2 }, () => {
  for (const engine of ENGINE_NAMES) {
    const skip = ENGINES[engine].missing();
    test(`${engine}: the lock goes round after every fault, and tokens that must grow do`, {
      skip,
      timeout: TIMEOUT_MS,
    }, async (t) => {
      const outcome = await Storm.run({ engine, seed: SEED, faults: ONLY[engine] });
      const { rows, guarantees, violations } = outcome;
      t.diagnostic(tableOf(outcome));
      for (const { fault, times, grants } of rows) {
        assert.ok(times >= 1, `${fault} came`);
        assert.ok(grants >= 3, `${fault}: ${grants} grants`);
      }
      if (guarantees.fencing === 'monotonic') assert.deepEqual(violations, []);
      stopped.push(...rows.filter(({ fault }) => fault === 'holder stopped'));
    });
  }
});

const skip = missingRedis();

test('holders that were stopped did write late where nobody compared tokens', { skip }, () => {
  const overlaps = stopped.reduce((sum, row) => sum + row.overlaps, 0);
  assert.ok(overlaps > 0, JSON.stringify(stopped));
});

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
    hasConstantToken: true,
  });
  assert.match(violations[0] ?? '', /have one token/);
});
