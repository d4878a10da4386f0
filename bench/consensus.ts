/**
 * Consensus: Raft beside Paxos. Deciding alone, three processes that propose within the leader's with
 * `fdatasync` before every answer, writes after the leader was killed, and reads by lease beside reads by rounds.
 */
import { type ClusterPlan, type Load, ProcessCluster } from './consensus-cluster.ts';
import { benchRaftCore } from './raft-core.ts';
import type { Report } from './report.ts';

const RAFT: ClusterPlan = { consensus: 'raft' };
const PAXOS: ClusterPlan = { consensus: 'paxos' };
const LEASES: ClusterPlan = { consensus: 'raft', leaseReads: { maxClockDrift: 0.01 } };

type Loads = Record<string, Load[]>;

export async function benchConsensus(report: Report, quick: boolean): Promise<void> {
  await benchRaftCore(report, quick);
  await benchWrites(report, quick);
  await benchReads(report, quick);
  await benchFailover(report, quick);
}

/** `rounds` alternating runs of `load` on a cluster for each plan. */
async function alternate(
  plans: Readonly<Record<string, ClusterPlan>>,
  rounds: number,
  load: (cluster: ProcessCluster) => Promise<Load>,
): Promise<Loads> {
  const loads: Loads = {};
  for (let round = 0; round < rounds; round++) {
    for (const [name, plan] of Object.entries(plans)) {
      const cluster = await ProcessCluster.open(plan);
      try {
        loads[name] = [...(loads[name] ?? []), await load(cluster)];
      } finally {
        await cluster.close();
      }
    }
  }
  return loads;
}

function add(report: Report, name: string, unit: string, loads: Loads): void {
  const of = (pick: (load: Load) => number): Record<string, number[]> =>
    Object.fromEntries(Object.entries(loads).map(([system, all]) => [system, all.map(pick)]));
  report.add(
    { name, unit, better: 'higher' },
    of((load) => load.rate),
  );
  for (const part of ['p50', 'p99'] as const) {
    report.add(
      { name: `${name}: ${part}`, unit: 'ms', better: 'lower' },
      of((load) => load[part]),
    );
  }
  report.note(`${name} done`);
}

async function benchWrites(report: Report, quick: boolean): Promise<void> {
  const plans = { quorate: RAFT, paxos: PAXOS };
  const scale = quick ? 0.1 : 1;
  for (const [concurrency, most] of [
    [1, 3000],
    [1000, 400_000],
  ] as const) {
    const loads = await alternate(plans, quick ? 1 : 3, async (cluster) => {
      await cluster.load('write', concurrency, (most * scale) / 4);
      return cluster.load('write', concurrency, most * scale);
    });
    add(
      report,
      `16-byte proposals in three processes, ${concurrency} at a time`,
      'proposals/s',
      loads,
    );
  }
}

async function benchReads(report: Report, quick: boolean): Promise<void> {
  const plans = { quorate: LEASES, rounds: RAFT };
  const scale = quick ? 0.1 : 1;
  for (const [concurrency, most] of [
    [1, 20_000],
    [1000, 1_000_000],
  ] as const) {
    const loads = await alternate(plans, quick ? 1 : 3, async (cluster) => {
      await cluster.load('write', 1, 10);
      await cluster.load('read', concurrency, (most * scale) / 4);
      return cluster.load('read', concurrency, most * scale);
    });
    add(report, `reads by lease beside rounds, ${concurrency} at a time`, 'reads/s', loads);
  }
}

/** The time from `kill -9` of the leader to the next write, in election timeouts. */
async function benchFailover(report: Report, quick: boolean): Promise<void> {
  const electionMs = 500;
  // Each takes about three seconds: the killed node comes back before the next.
  const kills = quick ? 5 : 200;
  const samples: Record<string, number[]> = {};
  for (const [name, plan] of Object.entries({ quorate: RAFT, leases: LEASES, paxos: PAXOS })) {
    const cluster = await ProcessCluster.open({ ...plan, electionMs, heartbeatMs: 50 });
    const taken: number[] = [];
    try {
      while (taken.length < kills) taken.push((await cluster.killLeader()) / electionMs);
    } finally {
      await cluster.close();
    }
    samples[name] = taken.sort((a, b) => a - b);
  }
  for (const part of [0.5, 0.99]) {
    const name = `writes again after kill -9 of the leader, of ${kills}: p${part * 100}`;
    const at = ([system, all]: [string, number[]]): [string, number[]] => [
      system,
      [all[Math.min(all.length - 1, Math.floor(all.length * part))]!],
    ];
    const figures = Object.fromEntries(Object.entries(samples).map(at));
    report.add({ name, unit: 'election timeouts', better: 'lower' }, figures);
  }
}
