/** Random days in the life of a cluster. A failing seed is in the message; it replays exactly. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Simulation } from './test-simulation.ts';

const SEEDS = 60;
const STEPS = 15_000;

test('Multi-Paxos stays safe through loss, disorder, late disks and crashes, and recovers', () => {
  const sum = { commits: 0, leaders: 0, reads: 0, installs: 0, crashes: 0, fillers: 0, adopted: 0 };
  for (let seed = 1; seed <= SEEDS; seed++) {
    const simulation = new Simulation(seed);
    try {
      simulation.run(STEPS);
      simulation.recover();
    } catch (error) {
      throw new Error(`seed ${seed}, step ${simulation.step}: ${String(error)}`, { cause: error });
    }
    const { properties } = simulation;
    sum.commits += properties.maxCommit;
    sum.leaders += properties.leaders.size;
    sum.fillers += properties.fillers;
    sum.adopted += properties.adopted;
    sum.reads += simulation.answered;
    sum.installs += simulation.installs;
    sum.crashes += simulation.crashes;
  }
  // The day was bad enough, and work was done all the same.
  assert.ok(sum.commits > SEEDS * 20, `${sum.commits} slots were chosen`);
  assert.ok(sum.leaders > SEEDS * 3, `${sum.leaders} ballots were led`);
  assert.ok(sum.adopted > SEEDS, `${sum.adopted} values were proposed again`);
  assert.ok(sum.fillers > SEEDS / 4, `${sum.fillers} gaps were filled`);
  assert.ok(sum.reads > SEEDS * 5, `${sum.reads} reads were answered`);
  assert.ok(sum.installs > SEEDS / 4, `${sum.installs} snapshots were installed`);
  assert.ok(sum.crashes > SEEDS, `${sum.crashes} nodes crashed`);
});
