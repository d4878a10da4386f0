/** Random days in the life of a cluster. A failing seed is in the message; it replays exactly. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { liveThrough } from '../test-core-simulation.ts';
import { Simulation } from './test-simulation.ts';

const SEEDS = 60;
const STEPS = 15_000;

test('Multi-Paxos stays safe through loss, disorder, late disks and crashes, and recovers', () => {
  let adopted = 0;
  let fillers = 0;
  liveThrough({
    seeds: SEEDS,
    steps: STEPS,
    open: (seed) => new Simulation(seed),
    onEvening: ({ properties }) => {
      adopted += properties.adopted;
      fillers += properties.fillers;
    },
  });
  assert.ok(adopted > SEEDS, `${adopted} values were proposed again`);
  assert.ok(fillers > SEEDS / 4, `${fillers} gaps were filled`);
});
