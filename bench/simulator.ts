/**
 * The simulator: how much faster than real time whole clusters run in one thread. Idle and writing
 * nodes without faults and checks, and seeds as `npm run sim` plays them.
 */
import { openNode } from '../src/node.ts';
import { SimulatedCluster } from '../src/testing/simulation/cluster.ts';
import { simulate } from '../src/testing/simulation/simulation.ts';
import { SimulatedWorld } from '../src/testing/simulation/world.ts';
import type { Report } from './report.ts';

interface Speed {
  readonly eventsPerSecond: number;
  /** Virtual seconds in a real one. */
  readonly timesRealTime: number;
}

/** Three nodes for `virtualMs`, and so many clients that write all the time. */
async function nodes(virtualMs: number, clients: number): Promise<Speed> {
  const world = new SimulatedWorld({ seed: 1 });
  const cluster = new SimulatedCluster({
    world,
    open: openNode,
    nodes: 3,
    settings: { surroundings: { segmentBytes: 64 * 1024 } },
  });
  for (const seat of cluster.seats) cluster.start(seat);
  const leads = (): boolean => cluster.running.some(({ node }) => node!.status().leader !== '');
  await world.run(60_000, () => !leads());
  const write = async (client: number): Promise<void> => {
    for (let i = 0; ; i++) {
      const life = cluster.running[client % 3]!;
      await life.call(({ kv }) => kv.put(`key-${client}`, `value-${i}`));
    }
  };
  for (let client = 0; client < clients; client++) void write(client);
  const eventsBefore = world.events;
  const started = process.hrtime.bigint();
  await world.run(world.nowMs + virtualMs);
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  return {
    eventsPerSecond: Math.round((world.events - eventsBefore) / seconds),
    timesRealTime: Math.round(virtualMs / 1000 / seconds),
  };
}

async function seeds(first: number, count: number): Promise<Speed> {
  let events = 0;
  let virtualMs = 0;
  const started = process.hrtime.bigint();
  for (let seed = first; seed < first + count; seed++) {
    const result = await simulate({ seed });
    events += result.events;
    virtualMs += result.virtualMs;
  }
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  return {
    eventsPerSecond: Math.round(events / seconds),
    timesRealTime: Math.round(virtualMs / 1000 / seconds),
  };
}

/** Runs what is to be measured several times, the first one to warm up. */
async function repeated(
  times: number,
  run: (round: number) => Promise<Speed>,
): Promise<readonly Speed[]> {
  await run(0);
  const speeds: Speed[] = [];
  for (let round = 1; round <= times; round++) speeds.push(await run(round));
  return speeds;
}

function add(report: Report, what: string, speeds: readonly Speed[]): void {
  report.add(
    { name: `${what}: virtual seconds`, unit: 'in a real one', better: 'higher' },
    { quorate: speeds.map((speed) => speed.timesRealTime) },
  );
  report.add(
    { name: `${what}: events`, unit: 'events/s', better: 'higher' },
    { quorate: speeds.map((speed) => speed.eventsPerSecond) },
  );
}

export async function benchSimulator(report: Report, quick: boolean): Promise<void> {
  const times = quick ? 2 : 5;
  const scale = quick ? 1 : 4;
  add(report, 'three idle nodes', await repeated(times, () => nodes(scale * 300_000, 0)));
  add(report, 'three nodes, 10 writers', await repeated(times, () => nodes(scale * 5000, 10)));
  const count = scale * 10;
  const played = await repeated(times, (round) => seeds(1 + round * count, count));
  add(report, 'seeds with faults and checks', played);
}
