/**
 * Locks on one Redis beside those of npm: the same server, the same client (ioredis), the same time to live; each system
 * in a process of its own, and one after the other in each round. Ours twice: the peers have no fencing tokens.
 */
import { fileURLToPath } from 'node:url';
import { missingRedis, RedisServer } from '../test/support/redis.ts';
import { type Contention, type Tasks, wallMs } from './locks-redis-process.ts';
import { PEERS, SYSTEMS } from './locks-redis-systems.ts';
import { installPeers } from './peers.ts';
import type { Case, Report } from './report.ts';
import { TaskProcess } from './task-process.ts';

const PROGRAM = fileURLToPath(new URL('./locks-redis-process.ts', import.meta.url));
const TTL_MS = 10_000;
/** Where the end of a lock is waited for. Below 1,250 ms redlock-universal renews without a pause. */
const SHORT_TTL_MS = 2000;
const WORKERS = 20;
const HOLD_MS = 2;
const COUNTED_PAIRS = 200;
/** Nobody who tells takes that many times to live. */
const MOST_TTLS = 5;

type Samples = Record<string, number[]>;

/** A process that uses one system. */
type Process = TaskProcess<Tasks>;

function startProcess(system: string, port: number, ttlMs: number): Process {
  return new TaskProcess(PROGRAM, [system, String(port), String(ttlMs)]);
}

export async function benchOnRedis(report: Report, quick: boolean): Promise<void> {
  const missing = missingRedis();
  if (missing !== false) return report.note(missing);
  await installPeers('quorate-bench-locks', PEERS);
  await using server = await RedisServer.start();
  await uncontended(report, server, quick);
  // As 20 processes have it, and as one has it.
  await contended(report, server, WORKERS, quick);
  await contended(report, server, 1, quick);
  await stolen(report, server, quick);
  await killed(report, server, quick);
}

/** Adds a case twice: ours with tokens, and without. */
function add(report: Report, one: Case, samples: Samples): void {
  const { quorate = [], 'quorate without tokens': plain = [], ...peers } = samples;
  report.add(one, { quorate, ...peers });
  report.add({ ...one, name: `${one.name}, no tokens` }, { quorate: plain, ...peers });
}

/** Runs `work` with a process of each system. */
async function withProcesses(
  port: number,
  ttlMs: number,
  work: (processes: readonly (readonly [system: string, process: Process])[]) => Promise<void>,
): Promise<void> {
  const processes = Object.keys(SYSTEMS).map(
    (who) => [who, startProcess(who, port, ttlMs)] as const,
  );
  try {
    await work(processes);
  } finally {
    await Promise.all(processes.map(([, process]) => process.kill()));
  }
}

async function uncontended(report: Report, server: RedisServer, quick: boolean): Promise<void> {
  const rates: Samples = {};
  const p50s: Samples = {};
  const inNode: Samples = {};
  const inRedis: Samples = {};
  const commands: Samples = {};
  const requests: Samples = {};
  await withProcesses(server.port, TTL_MS, async (processes) => {
    for (let round = 0; round <= (quick ? 3 : 25); round++) {
      for (const [who, process] of processes) {
        if (round === 0) await process.ask('open', 1);
        // Short rounds, many of them: what else the machine does comes and goes.
        const redisBefore = await cpuOf(server);
        const { count, rate, p50, cpu } = await process.ask('pairs', 200);
        const redisUsed = (await cpuOf(server)) - redisBefore;
        // The first round warms up.
        if (round === 0) continue;
        (rates[who] ??= []).push(rate);
        (p50s[who] ??= []).push(p50);
        (inNode[who] ??= []).push(cpu);
        (inRedis[who] ??= []).push(redisUsed / count);
      }
    }
    for (const [who, process] of processes) {
      const before = await server.commandCount();
      await process.ask('pairsCounted', COUNTED_PAIRS);
      commands[who] = [((await server.commandCount()) - before) / COUNTED_PAIRS];
      const sent = await server.requestsDuring(() => process.ask('pairsCounted', COUNTED_PAIRS));
      requests[who] = [sent / COUNTED_PAIRS];
    }
  });
  const name = 'Redis, free';
  add(report, { name, unit: 'pairs/s', better: 'higher' }, rates);
  add(report, { name: `${name}: p50`, unit: 'ms', better: 'lower' }, p50s);
  for (const [where, used] of Object.entries({ Node: inNode, Redis: inRedis })) {
    const what = `${name}: processor time in ${where}`;
    add(report, { name: what, unit: 'µs a pair', better: 'lower' }, used);
  }
  add(report, { name: `${name}: commands`, unit: 'a pair', better: 'lower' }, commands);
  add(report, { name: `${name}: requests`, unit: 'a pair', better: 'lower' }, requests);
  report.note(`${name} done`);
}

/** Processor time of its main thread so far, in µs. */
async function cpuOf(server: RedisServer): Promise<number> {
  const info = String(await server.command('INFO', 'cpu'));
  const [user, sys] = ['user', 'sys'].map((kind) =>
    Number(new RegExp(`used_cpu_${kind}_main_thread:([\\d.]+)`).exec(info)?.[1]),
  );
  return (user! + sys!) * 1e6;
}

async function contended(
  report: Report,
  server: RedisServer,
  clients: number,
  quick: boolean,
): Promise<void> {
  const all: Record<string, (Contention & { readonly commands: number })[]> = {};
  await withProcesses(server.port, TTL_MS, async (processes) => {
    for (let round = 0; round <= (quick ? 1 : 3); round++) {
      for (const [who, process] of processes) {
        if (round === 0) await process.ask('open', clients);
        const before = await server.commandCount();
        const warm = round === 0;
        const run = await process.ask('contend', WORKERS, HOLD_MS, warm || quick ? 500 : 2000);
        const commands = ((await server.commandCount()) - before) / run.grants;
        if (!warm) (all[who] ??= []).push({ ...run, commands });
      }
    }
  });
  const from = clients === 1 ? 'one connection' : `${clients} connections`;
  const name = `Redis, ${WORKERS} want it, held ${HOLD_MS} ms, ${from}`;
  for (const [what, unit, better, key] of [
    ['grants', 'grants/s', 'higher', 'rate'],
    ['wait p50', 'ms', 'lower', 'waitP50'],
    ['wait p99', 'ms', 'lower', 'waitP99'],
    ['hand-over p50', 'ms', 'lower', 'handOverP50'],
    ['hand-over p99', 'ms', 'lower', 'handOverP99'],
    ['most to fewest of a worker', 'ratio', 'lower', 'unfairness'],
    ['commands', 'a grant', 'lower', 'commands'],
  ] as const) {
    const samples = Object.entries(all).map(([who, runs]) => [who, runs.map((run) => run[key])]);
    add(report, { name: `${name}: ${what}`, unit, better }, Object.fromEntries(samples));
  }
  report.note(`${name} done`);
}

/** All at a time: there is nothing to do but to wait. */
async function stolen(report: Report, server: RedisServer, quick: boolean): Promise<void> {
  const samples: Samples = {};
  for (let round = 0; round < (quick ? 1 : 4); round++) {
    await withProcesses(server.port, SHORT_TTL_MS, async (processes) => {
      const telling = processes.filter(([who]) => SYSTEMS[who]!.tellsLoss);
      const held = telling.map(async ([who, process]) => {
        await process.ask('open', 1);
        await process.ask('hold', who);
      });
      await Promise.all(held);
      // They renew it at different times of its life.
      await delay(SHORT_TTL_MS + Math.random() * SHORT_TTL_MS);
      const at = wallMs();
      await server.command('FLUSHALL');
      const noticed = telling.map(async ([who, process]) => {
        const told = process.ask('lost').then((lostAt) => lostAt - at);
        const never = delay(MOST_TTLS * SHORT_TTL_MS).then(() => Number.POSITIVE_INFINITY);
        (samples[who] ??= []).push(await Promise.race([told, never]));
      });
      await Promise.all(noticed);
    });
  }
  const name = `Redis, deleted by others, ttl ${SHORT_TTL_MS} ms: noticed after`;
  add(report, { name, unit: 'ms', better: 'lower' }, samples);
  report.note(`${name}: node-redisson does not tell`);
  await evicted(report, server, quick);
}

/** Taken from its holder with the means of the locks: the holders of the peers are not told. */
async function evicted(report: Report, server: RedisServer, quick: boolean): Promise<void> {
  const took: number[] = [];
  for (let round = 0; round < (quick ? 1 : 4); round++) {
    const process = startProcess('quorate', server.port, SHORT_TTL_MS);
    try {
      await process.ask('open', 1);
      await process.ask('hold', 'evicted');
      await delay(SHORT_TTL_MS / 2);
      const at = wallMs();
      const told = process.ask('lost');
      await process.ask('evict', 'evicted');
      took.push((await told) - at);
    } finally {
      await process.kill();
    }
  }
  const name = 'Redis, forceRelease: noticed after';
  report.add({ name, unit: 'ms', better: 'lower' }, { quorate: took });
}

async function killed(report: Report, server: RedisServer, quick: boolean): Promise<void> {
  const samples: Samples = {};
  for (let round = 0; round < (quick ? 1 : 4); round++) {
    await withProcesses(server.port, SHORT_TTL_MS, (holders) =>
      withProcesses(server.port, SHORT_TTL_MS, async (waiters) => {
        const had = holders.map(async ([who, holder], i) => {
          const waiter = waiters[i]![1];
          await Promise.all([holder.ask('open', 1), waiter.ask('open', 1)]);
          await holder.ask('hold', who);
          const next = waiter.ask('acquire', who);
          // It was renewed at least once, and who waits does.
          await delay(SHORT_TTL_MS + Math.random() * SHORT_TTL_MS);
          const at = wallMs();
          await holder.kill();
          (samples[who] ??= []).push((await next) - at);
        });
        await Promise.all(had);
      }),
    );
  }
  const name = `Redis, holder killed, ttl ${SHORT_TTL_MS} ms: next grant after`;
  add(report, { name, unit: 'ms', better: 'lower' }, samples);
  report.note(`${name} done`);
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
