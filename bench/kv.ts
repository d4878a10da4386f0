/**
 * The key-value store beside etcd and antietcd: three durable nodes each, 256-byte values, the same
 * load generator (etcd's own for gRPC, one of ours for JSON over HTTP, which antietcd speaks).
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, type RequestOptions, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { engine } from '../test/support/etcd.ts';
import { freePorts } from '../test/support/ports.ts';
import { antietcdSystem, etcdSystem, quorateSystem, residentMib, type System } from './clusters.ts';
import type { Report } from './report.ts';

const run = promisify(execFile);

/** What one run of a load generator says. */
interface Load {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
}

type Samples = Record<string, Load[]>;

export async function benchKv(report: Report, quick: boolean): Promise<void> {
  const rounds = quick ? 1 : 3;
  const scale = quick ? 0.2 : 1;
  const systems = [await quorateSystem(), await etcdSystem()];
  try {
    for (const [name, args] of grpcCases(scale)) {
      const samples = await alternate(systems, rounds, (system) => etcdBenchmark(system, args));
      addLoads(report, name, samples);
      report.note(`${name} done`);
    }
    systems.push(await antietcdSystem());
    for (const [name, clients, total] of [
      ['json put, 1 client', 1, 300 * scale],
      ['json put, 64 clients', 64, 3000 * scale],
    ] as const) {
      const samples = await alternate(systems, rounds, (system) =>
        jsonPuts(system, clients, Math.ceil(total)),
      );
      addLoads(report, name, samples);
      report.note(`${name} done`);
    }
  } finally {
    await Promise.all(systems.map((system) => system.close()));
  }
  await benchMemory(report, quick);
  await benchInProcess(report, rounds, quick);
  await benchRestart(report, quick);
}

function grpcCases(scale: number): [string, string[]][] {
  const total = (count: number): string => `--total=${Math.ceil(count * scale)}`;
  const many = ['--conns=100', '--clients=1000'];
  const put = ['put', '--key-size=8', '--val-size=256', '--sequential-keys'];
  return [
    ['put, 1 client', ['--conns=1', '--clients=1', ...put, total(3000)]],
    ['put, 1000 clients on 100 connections', [...many, ...put, total(50_000)]],
    [
      'linearizable range, 1 client',
      ['--conns=1', '--clients=1', 'range', '00000001', '--consistency=l', total(5000)],
    ],
    [
      'linearizable range, 1000 clients',
      [...many, 'range', '00000001', '--consistency=l', total(80_000)],
    ],
    [
      'serializable range, 1000 clients',
      [...many, 'range', '00000001', '--consistency=s', total(80_000)],
    ],
  ];
}

async function alternate(
  systems: readonly System[],
  rounds: number,
  measure: (system: System) => Promise<Load>,
): Promise<Samples> {
  const samples: Samples = {};
  for (let round = 0; round < rounds; round++) {
    for (const system of systems) {
      const list = samples[system.name] ?? [];
      samples[system.name] = list;
      list.push(await measure(system));
    }
  }
  return samples;
}

function addLoads(report: Report, name: string, samples: Samples): void {
  const of = (pick: (load: Load) => number): Record<string, number[]> =>
    Object.fromEntries(Object.entries(samples).map(([system, loads]) => [system, loads.map(pick)]));
  report.add(
    { name, unit: 'requests/s', better: 'higher' },
    of((load) => load.rate),
  );
  report.add(
    { name: `${name}: p50`, unit: 'ms', better: 'lower' },
    of((load) => load.p50),
  );
  report.add(
    { name: `${name}: p99`, unit: 'ms', better: 'lower' },
    of((load) => load.p99),
  );
}

async function etcdBenchmark(system: System, args: readonly string[]): Promise<Load> {
  // The leader's address, for both: what is compared is the server, not where a client happens to land.
  const { stdout } = await run(
    engine('etcd-benchmark'),
    [`--endpoints=${system.leader}`, '--precise', ...args],
    {
      maxBuffer: 64 * 1024 * 1024,
    },
  );
  const number = (pattern: RegExp): number => Number(pattern.exec(stdout)?.[1] ?? Number.NaN);
  return {
    rate: number(/Requests\/sec:\s*([\d.e+-]+)/),
    p50: number(/50% in ([\d.e+-]+)/) * 1000,
    p99: number(/99% in ([\d.e+-]+)/) * 1000,
  };
}

async function jsonPuts(system: System, clients: number, total: number): Promise<Load> {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const [host = '', port = ''] = system.leader.split(':');
  const target = { host, port, path: '/v3/kv/put', method: 'POST', agent };
  const latencies: number[] = [];
  let next = 0;
  const startedAt = performance.now();
  const worker = async (): Promise<void> => {
    while (next < total) {
      const key = Buffer.from(`j${next++ % 1000}`).toString('base64');
      // Never the same value twice: antietcd takes that for no change and writes nothing.
      jsonValues += 1;
      const value = Buffer.from(String(jsonValues).padStart(256)).toString('base64');
      const body = JSON.stringify({ key, value });
      const sentAt = performance.now();
      const status = await post({ ...target, headers: JSON_BODY }, body);
      if (status === 200) latencies.push(performance.now() - sentAt);
    }
  };
  await Promise.all(Array.from({ length: clients }, worker));
  const seconds = (performance.now() - startedAt) / 1000;
  agent.destroy();
  if (latencies.length < total) {
    console.error(`  ${system.name} refused ${total - latencies.length} of ${total} puts`);
  }
  return summary(latencies, seconds);
}

let jsonValues = 0;

const JSON_BODY = { 'content-type': 'application/json' };

function summary(latencies: number[], seconds: number): Load {
  latencies.sort((a, b) => a - b);
  return {
    rate: latencies.length / seconds,
    p50: latencies[Math.floor(latencies.length * 0.5)]!,
    p99: latencies[Math.floor(latencies.length * 0.99)]!,
  };
}

/** The status of the answer: one that is not 200 counts neither as a request nor as a failure of ours. */
function post(options: RequestOptions, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const call = request(options, (reply) => {
      reply.resume();
      reply.on('end', () => resolve(reply.statusCode ?? 0));
    });
    call.on('error', reject);
    call.end(body);
  });
}

/** Resident memory after 100,000 puts of 256 bytes into 10,000 keys, nothing compacted. */
async function benchMemory(report: Report, quick: boolean): Promise<void> {
  const systems = [await quorateSystem(), await etcdSystem()];
  try {
    const samples: Record<string, number[]> = {};
    const load = ['--conns=10', '--clients=100', 'put', '--key-size=8', '--val-size=256'];
    load.push('--key-space-size=10000', `--total=${quick ? 20_000 : 100_000}`);
    for (const system of systems) {
      await etcdBenchmark(system, load);
      samples[system.name] = [Math.max(...system.pids.map(residentMib))];
    }
    const name = 'resident memory, largest node, after 100,000 puts into 10,000 keys';
    report.add({ name, unit: 'MiB', better: 'lower' }, samples);
  } finally {
    await Promise.all(systems.map((system) => system.close()));
  }
}

/** `node.kv.put` on the leader, without a network hop to it, three processes. */
async function benchInProcess(report: Report, rounds: number, quick: boolean): Promise<void> {
  const program = fileURLToPath(new URL('./in-process.ts', import.meta.url));
  const folder = await mkdtemp(join(tmpdir(), 'quorate-bench-'));
  const samples: Samples = { quorate: [] };
  try {
    for (let round = 0; round < rounds; round++) {
      const ports = await freePorts(3);
      const args = [
        join(folder, String(round)),
        String(quick ? 40_000 : 200_000),
        ...ports.map(String),
      ];
      const { stdout } = await run(process.execPath, [
        '--conditions=quorate-source',
        program,
        ...args,
      ]);
      samples['quorate']!.push(JSON.parse(stdout) as Load);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  addLoads(report, 'in-process put, concurrency 1000', samples);
}

/** From exec to the first answer, with 1,000,000 entries in the log and no snapshot. */
async function benchRestart(report: Report, quick: boolean): Promise<void> {
  const entries = quick ? 100_000 : 1_000_000;
  const program = fileURLToPath(new URL('./restart.ts', import.meta.url));
  const { stdout } = await run(process.execPath, [
    '--conditions=quorate-source',
    program,
    String(entries),
  ]);
  const { seconds } = JSON.parse(stdout) as { seconds: number };
  const name = `restart with ${entries.toLocaleString('en-US')} log entries`;
  report.add({ name, unit: 's', better: 'lower' }, { quorate: [seconds] });
}
