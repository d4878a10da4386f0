/** Random days in the life of a cluster. A failing seed is in the message; it replays exactly. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Simulation } from './test-simulation.ts';

const SEEDS = 200;
const STEPS = 15_000;

test('Raft stays safe through loss, disorder, late disks and crashes, and recovers', () => {
  let commits = 0;
  let elections = 0;
  let reads = 0;
  let installs = 0;
  let crashes = 0;
  let changes = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const simulation = new Simulation(seed);
    try {
      simulation.run(STEPS);
      simulation.recover();
    } catch (error) {
      throw new Error(`seed ${seed}, step ${simulation.step}: ${String(error)}`, { cause: error });
    }
    commits += simulation.properties.maxCommit;
    elections += simulation.properties.leaders.size;
    reads += simulation.answered;
    installs += simulation.installs;
    crashes += simulation.crashes;
    changes += simulation.changes;
  }
  // The day was bad enough, and work was done all the same.
  assert.ok(commits > SEEDS * 20, `${commits} entries were committed`);
  assert.ok(elections > SEEDS * 3, `${elections} leaders were elected`);
  assert.ok(reads > SEEDS * 5, `${reads} reads were answered`);
  assert.ok(installs > SEEDS / 4, `${installs} snapshots were installed`);
  assert.ok(crashes > SEEDS, `${crashes} nodes crashed`);
  assert.ok(changes > SEEDS, `${changes} changes of the configuration were proposed`);
});
