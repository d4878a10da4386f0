/** The parts of a run as `simulate` has them where nobody gives others. */
import type { Checks, SimulationContext, SimulationParts, Workload } from './parts.ts';
import { SIMULATOR_VERSION, type Story } from './types.ts';

function drawStory(seed: number, consensus: Story['consensus']): Story {
  return {
    version: SIMULATOR_VERSION,
    seed,
    consensus,
    nodes: 3,
    stormMs: 10_000,
    clients: 1,
    weather: {},
    faults: [],
  };
}

function createChecks(): Checks {
  return {
    observer: {},
    begin: () => undefined,
    afterEvent: () => undefined,
    end: () => undefined,
  };
}

function startWorkload({ world, cluster, story }: SimulationContext): Workload {
  let stopped = false;
  const workload = { operations: {} as Record<string, number>, pending: 0, stop: () => undefined };
  const client = (number: number): void => {
    if (stopped) return;
    const lives = cluster.running;
    const life = lives[number % Math.max(1, lives.length)];
    if (life === undefined) return void world.after(10, () => client(number));
    workload.pending += 1;
    const done = (outcome: string): void => {
      workload.pending -= 1;
      workload.operations[outcome] = (workload.operations[outcome] ?? 0) + 1;
      world.after(10, () => client(number + 1));
    };
    const put = life.call(({ kv }) => kv.put(`key-${number % 5}`, `value-${number}`));
    put.then(
      () => done('ok'),
      (error) => done(error.outcome ?? 'error'),
    );
  };
  for (let i = 0; i < story.clients; i++) client(i);
  return {
    ...workload,
    get operations() {
      return workload.operations;
    },
    get pending() {
      return workload.pending;
    },
    stop: () => {
      stopped = true;
    },
  };
}

/** What `simulate` does. */
export const defaultParts: SimulationParts = {
  drawStory,
  createChecks,
  setWeather: () => undefined,
  playFault: () => undefined,
  endFaults: ({ cluster }) => {
    cluster.calm();
    for (const seat of cluster.seats) if (seat.life === undefined) cluster.start(seat);
  },
  startWorkload,
  healed: async ({ cluster, world }) => {
    while (cluster.running.length < cluster.seats.length) {
      await new Promise<void>((resolve) => void world.after(10, resolve));
    }
  },
  healMs: () => 60_000,
};
