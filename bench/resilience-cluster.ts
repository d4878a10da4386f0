/**
 * Limiters of many processes on one Redis beside the one of npm: four processes that share a key, 64 questions under way in
 * each, over the same client. Ours twice: each question asked of Redis, and with leases of 100 tokens.
 */
import { fileURLToPath } from 'node:url';
import { missingRedis, RedisServer } from '../test/support/redis.ts';
import { installPeers } from './peers.ts';
import type { Case, Report } from './report.ts';
import type { Asked, Limit, LimiterTasks } from './resilience-cluster-process.ts';
import { TaskProcess } from './task-process.ts';

const PROGRAM = fileURLToPath(new URL('./resilience-cluster-process.ts', import.meta.url));
const PEERS = ['rate-limiter-flexible@11.4.0'];
const SYSTEMS = ['quorate', 'quorate, leased', 'rate-limiter-flexible'] as const;
const PROCESSES = 4;
const WORKERS = 64;
const BUDGET = 20_000;
const COUNTED = 400;
/** Seconds in which nothing comes back while it runs: 300 days. */
const LONG = 300 * 86_400;

type Samples = Record<string, number[]>;

/** A process that uses one system. */
type Process = TaskProcess<LimiterTasks>;

export async function benchClusterLimiters(report: Report, quick: boolean): Promise<void> {
  const missing = missingRedis();
  if (missing !== false) return report.note(missing);
  const folder = await installPeers('quorate-bench-cluster-limiters', PEERS);
  await using server = await RedisServer.start();
  const bench = new ClusterBench(report, server);
  const all: Process[] = [];
  try {
    for (const system of SYSTEMS) {
      for (let i = 0; i < PROCESSES; i++) {
        const process: Process = new TaskProcess(PROGRAM, [system, String(server.port), folder]);
        all.push(process);
        bench.of(system).push(process);
      }
    }
    await bench.run(quick);
  } finally {
    await Promise.all(all.map((process) => process.kill()));
  }
}

class ClusterBench {
  readonly #report: Report;
  readonly #server: RedisServer;
  readonly #processes = new Map<string, Process[]>();
  #keys = 0;

  constructor(report: Report, server: RedisServer) {
    this.#report = report;
    this.#server = server;
  }

  of(system: string): Process[] {
    const known = this.#processes.get(system) ?? [];
    this.#processes.set(system, known);
    return known;
  }

  async run(quick: boolean): Promise<void> {
    const rounds = quick ? 1 : 5;
    const ms = quick ? 500 : 1500;
    await this.#free(rounds, ms);
    await this.#exact(quick ? 1 : 3);
    await this.#overloaded(rounds, ms);
    await this.#counted();
  }

  /** Nothing is refused. */
  async #free(rounds: number, ms: number): Promise<void> {
    const [rates, cpus]: [Samples, Samples] = [{}, {}];
    for (let round = 0; round <= rounds; round++) {
      for (const system of SYSTEMS) {
        const asked = await this.#ask(system, this.#limit(1e9, LONG, 1e9), ms);
        // The first round warms up.
        if (round === 0) continue;
        (rates[system] ??= []).push(rateOf(asked));
        (cpus[system] ??= []).push(asked.reduce((sum, { cpu }) => sum + cpu / asked.length, 0));
      }
    }
    const name = `limiter on Redis, ${PROCESSES} × ${WORKERS}, all allowed`;
    this.#add({ name, unit: 'decisions/s', better: 'higher' }, rates);
    this.#add({ name: `${name}: processor time`, unit: 'µs', better: 'lower' }, cpus);
    this.#report.note(`${name} done`);
  }

  /** A budget is used up: of it exactly all, or what leases have left over. */
  async #exact(rounds: number): Promise<void> {
    const allowed: Samples = {};
    const refused: Samples = {};
    for (let round = 0; round < rounds; round++) {
      for (const system of SYSTEMS) {
        const limit = this.#limit(BUDGET, LONG, BUDGET);
        let total = 0;
        for (let sum = 1; sum > 0; ) {
          const asked = await this.#ask(system, limit, 1000);
          sum = asked.reduce((more, one) => more + one.allowed, 0);
          total += sum;
          if (sum === 0) (refused[system] ??= []).push(rateOf(asked));
        }
        (allowed[system] ??= []).push(total);
      }
    }
    const name = `limiter on Redis, ${PROCESSES} × ${WORKERS}`;
    this.#add({ name: `${name}, of ${BUDGET}`, unit: 'allowed', better: 'higher' }, allowed);
    const what = `${name}, all refused`;
    this.#add({ name: what, unit: 'decisions/s', better: 'higher' }, refused);
    this.#report.note(`${name}, a budget, done`);
  }

  /** More is asked for than there is. */
  async #overloaded(rounds: number, ms: number): Promise<void> {
    const shares: Samples = {};
    const [perSecond, burst] = [1000, 200];
    for (let round = 0; round < rounds; round++) {
      for (const system of SYSTEMS) {
        const asked = await this.#ask(system, this.#limit(perSecond, 1, burst), ms);
        const fromMs = Math.min(...asked.map((one) => one.fromMs));
        const toMs = Math.max(...asked.map((one) => one.toMs));
        const sum = asked.reduce((total, one) => total + one.allowed, 0);
        (shares[system] ??= []).push(sum / (burst + (perSecond * (toMs - fromMs)) / 1000));
      }
    }
    const name = `limiter on Redis, ${perSecond}/s, burst ${burst}, overloaded`;
    this.#add({ name, unit: 'of burst + rate·t', better: 'higher' }, shares);
    this.#report.note(`${name} done`);
  }

  /** What is sent. */
  async #counted(): Promise<void> {
    const requests: Samples = {};
    for (const system of SYSTEMS) {
      const [process] = this.of(system);
      await process!.ask('open', this.#limit(1e9, LONG, 1e9));
      await process!.ask('askCounted', COUNTED);
      const sent = await this.#server.requestsDuring(() => process!.ask('askCounted', COUNTED));
      requests[system] = [sent / COUNTED];
    }
    const name = 'limiter on Redis: commands sent';
    this.#add({ name, unit: 'a decision', better: 'lower' }, requests);
  }

  async #ask(system: string, limit: Limit, ms: number): Promise<Asked[]> {
    const processes = this.of(system);
    await Promise.all(processes.map((process) => process.ask('open', limit)));
    return Promise.all(processes.map((process) => process.ask('ask', WORKERS, ms)));
  }

  #limit(limit: number, period: number, burst: number): Limit {
    return { key: `key-${++this.#keys}`, limit, period, burst };
  }

  /** Twice: ours strict, and leased. */
  #add(one: Case, samples: Samples): void {
    const { quorate = [], 'quorate, leased': leased = [], ...peers } = samples;
    this.#report.add(one, { quorate, ...peers });
    this.#report.add({ ...one, name: `${one.name}, leased` }, { quorate: leased, ...peers });
  }
}

function rateOf(asked: readonly Asked[]): number {
  return asked.reduce((sum, one) => sum + (one.decisions * 1000) / (one.toMs - one.fromMs), 0);
}
