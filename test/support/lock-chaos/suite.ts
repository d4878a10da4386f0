/** Storms on locks as tests: each fault once on each of some engines. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ENGINES, type EngineName } from './engines.ts';
import type { FaultName } from './faults.ts';
import { type Row, Storm } from './storm.ts';
import { tableOf } from './table.ts';

export const SEED = Number(process.env['QUORATE_CHAOS_SEED'] ?? 1);
/** A storm takes half a minute; servers and workers start slowly on a machine that does much else. */
export const TIMEOUT_MS = 500_000;

/** In good weather. */
export const MAX_CALM_OVERLAPS = 1;

/** Registers the storms: on these engines, with these faults where not all that apply come. */
export function lockChaos(
  engines: Readonly<Partial<Record<EngineName, 'all' | readonly FaultName[]>>>,
): void {
  const stopped: Row[] = [];
  describe('locks under chaos', { concurrency: 2 }, () => {
    for (const [name, faults] of Object.entries(engines)) {
      const engine = name as EngineName;
      const skip = ENGINES[engine].missing();
      test(`${engine}: the lock goes round after every fault, and tokens that must grow do`, {
        skip,
        timeout: TIMEOUT_MS,
      }, async (t) => {
        const chosen = faults === 'all' ? undefined : faults;
        const outcome = await Storm.run({ engine, seed: SEED, faults: chosen });
        const { rows, guarantees, violations } = outcome;
        t.diagnostic(tableOf(outcome));
        for (const { fault, times, grants } of rows) {
          assert.ok(times >= 1, `${fault} came`);
          assert.ok(grants >= 3, `${fault}: ${grants} grants`);
        }
        // One process may stand still for a second by itself; who has no lock writes late with every hold.
        const calm = rows.find(({ fault }) => fault === 'none')!;
        assert.ok(calm.overlaps <= MAX_CALM_OVERLAPS, `${calm.overlaps} without a fault`);
        if (guarantees.fencing === 'monotonic') assert.deepEqual(violations, []);
        stopped.push(...rows.filter(({ fault }) => fault === 'holder stopped'));
      });
    }
  });

  test('holders that were stopped did write late where nobody compared tokens', (t) => {
    if (stopped.length === 0) return t.diagnostic('no engine was there');
    const overlaps = stopped.reduce((sum, row) => sum + row.overlaps, 0);
    assert.ok(overlaps > 0, JSON.stringify(stopped));
  });
}
