/** A few dozen fixed seeds; CI plays a thousand more (`npm run sim -- --seeds 1000`). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulate } from '../../src/testing/simulation/simulation.ts';

const SEEDS = { raft: 20, paxos: 12 } as const;

for (const consensus of ['raft', 'paxos'] as const) {
  for (let seed = 1; seed <= SEEDS[consensus]; seed++) {
    test(`seed ${seed} holds on ${consensus}`, { timeout: 60_000 }, async () => {
      const { violation } = await simulate({ seed, consensus });
      const replay = `npm run sim -- --seed ${seed} --consensus ${consensus}`;
      assert.equal(
        violation,
        undefined,
        `${violation?.property}: ${violation?.message}\n${replay}`,
      );
    });
  }
}
