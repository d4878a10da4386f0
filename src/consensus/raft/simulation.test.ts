/** Random days in the life of a cluster. A failing seed is in the message; it replays exactly. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { liveThrough } from '../test-core-simulation.ts';
import { Simulation } from './test-simulation.ts';

const SEEDS = 200;
const STEPS = 15_000;

test('Raft stays safe through loss, disorder, late disks and crashes, and recovers', () => {
  let changes = 0;
  liveThrough({
    seeds: SEEDS,
    steps: STEPS,
    open: (seed) => new Simulation(seed),
    onEvening: (day) => {
      changes += day.changes;
    },
  });
  assert.ok(changes > SEEDS, `${changes} changes of the configuration were proposed`);
});
