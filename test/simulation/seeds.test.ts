/** A few dozen fixed seeds of each workload; CI plays a thousand more (`npm run sim -- --seeds 1000`). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulate } from '../../src/testing/simulation/simulation.ts';

const SEEDS = [
  { consensus: 'raft', workload: 'mixed', seeds: 20 },
  { consensus: 'paxos', workload: 'mixed', seeds: 12 },
  { consensus: 'raft', workload: 'locks', seeds: 30 },
  { consensus: 'paxos', workload: 'locks', seeds: 10 },
] as const;

for (const { consensus, workload, seeds } of SEEDS) {
  const about = workload === 'mixed' ? '' : ' aimed at locks';
  for (let seed = 1; seed <= seeds; seed++) {
    test(`seed ${seed}${about} holds on ${consensus}`, { timeout: 60_000 }, async () => {
      const { violation } = await simulate({ seed, consensus, workload });
      const replay = `npm run sim -- --seed ${seed} --consensus ${consensus} --workload ${workload}`;
      assert.equal(
        violation,
        undefined,
        `${violation?.property}: ${violation?.message}\n${replay}`,
      );
    });
  }
}
