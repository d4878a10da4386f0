/**
 * Pools beside those of npm. In one process: tasks that do nothing, so that it is the pool that is measured, and whether a
 * long queue costs more for each task than a short one. In threads: a task that does nothing there and back, many at
 * once, a megabyte that is moved, and work that keeps a CPU busy.
 */
import { Piscina } from 'piscina';
import { threadPool, workerPool } from '../src/resilience/index.ts';
import { installPeers, requirePeer } from './peers.ts';
import type { Report } from './report.ts';
import { collectGarbage } from './resilience-timing.ts';

const PEERS = ['fastq@1.20.3', 'p-queue@10.0.0', 'p-limit@7.3.3', 'tinypool@2.2.0'];

type Job = () => Promise<unknown>;

interface Fastq {
  promise(worker: Job, concurrency: number): { push(task: number): Promise<unknown> };
}
interface PQueue {
  readonly default: new (options: { concurrency: number }) => { add(job: Job): Promise<unknown> };
}
interface PLimit {
  readonly default: (concurrency: number) => (job: Job) => Promise<unknown>;
}
interface TinypoolModule {
  readonly Tinypool: new (options: {
    filename: string;
    minThreads: number;
    maxThreads: number;
  }) => {
    run(task: unknown, options: { name: string; transferList?: ArrayBuffer[] }): Promise<unknown>;
    destroy(): Promise<void>;
  };
}

interface Npm {
  readonly fastq: Fastq;
  readonly PQueue: PQueue['default'];
  readonly pLimit: PLimit['default'];
  readonly Tinypool: TinypoolModule['Tinypool'];
}

export async function benchPools(report: Report, quick: boolean): Promise<void> {
  const prefix = await installPeers('quorate-bench-pools', PEERS);
  const npm: Npm = {
    fastq: requirePeer<Fastq>(prefix, 'fastq'),
    PQueue: requirePeer<PQueue>(prefix, 'p-queue').default,
    pLimit: requirePeer<PLimit>(prefix, 'p-limit').default,
    Tinypool: requirePeer<TinypoolModule>(prefix, 'tinypool').Tinypool,
  };
  await benchTasks(report, npm, quick);
  await benchThreads(report, npm, quick);
}

const CONCURRENCY = 100;
const nothing: Job = async () => undefined;

/** Submits so many tasks and resolves when all have ended. */
type RunAll = (tasks: number) => Promise<unknown>;

async function all(tasks: number, submit: (i: number) => unknown): Promise<void> {
  const submitted: unknown[] = [];
  for (let i = 0; i < tasks; i++) submitted.push(submit(i));
  await Promise.all(submitted);
}

function inProcess({ fastq, PQueue, pLimit }: Npm): Readonly<Record<string, RunAll>> {
  const pool = (tasks: number) => workerPool({ size: CONCURRENCY, queue: { max: tasks } });
  return {
    quorate: (tasks) => {
      const ours = pool(tasks);
      return all(tasks, () => ours.submit(nothing));
    },
    'our go': (tasks) => {
      const ours = pool(tasks);
      for (let i = 0; i < tasks; i++) ours.go(nothing);
      return ours.drain();
    },
    fastq: (tasks) => {
      const queue = fastq.promise(nothing, CONCURRENCY);
      return all(tasks, (i) => queue.push(i));
    },
    'p-queue': (tasks) => {
      const queue = new PQueue({ concurrency: CONCURRENCY });
      return all(tasks, () => queue.add(nothing));
    },
    'p-limit': (tasks) => {
      const limit = pLimit(CONCURRENCY);
      return all(tasks, () => limit(nothing));
    },
  };
}

async function benchTasks(report: Report, npm: Npm, quick: boolean): Promise<void> {
  const systems = inProcess(npm);
  const rounds = quick ? 3 : 9;
  for (const tasks of quick ? [100_000] : [100_000, 1_000_000]) {
    const wall: Record<string, number[]> = {};
    const cpu: Record<string, number[]> = {};
    for (let round = 0; round <= rounds; round++) {
      for (const [who, run] of Object.entries(systems)) {
        collectGarbage();
        const cpuFrom = process.cpuUsage();
        const from = performance.now();
        await run(tasks);
        const tookMs = performance.now() - from;
        const { user } = process.cpuUsage(cpuFrom);
        // The first round warms up.
        if (round === 0) continue;
        (wall[who] ??= []).push((tookMs * 1e6) / tasks);
        (cpu[who] ??= []).push((user * 1e3) / tasks);
      }
    }
    const name = `pool: ${tasks.toLocaleString('en-US')} tasks, ${CONCURRENCY} at a time`;
    report.add({ name, unit: 'ns a task', better: 'lower' }, wall);
    report.add({ name: `${name}, CPU`, unit: 'ns a task', better: 'lower' }, cpu);
  }
}

const THREADS = 2;
const WORK = new URL('./resilience-pools-work.ts', import.meta.url);
type WorkModule = typeof import('./resilience-pools-work.ts');

interface ThreadSystem {
  add(a: number, b: number): Promise<unknown>;
  /** Moves it. */
  length(bytes: Uint8Array<ArrayBuffer>): Promise<unknown>;
  fib(n: number): Promise<unknown>;
  close(): Promise<unknown>;
}

function inThreads({ Tinypool }: Npm): Readonly<Record<string, () => ThreadSystem>> {
  const options = { filename: WORK.href, minThreads: THREADS, maxThreads: THREADS };
  const bothThreads = (pool: InstanceType<Npm['Tinypool']>): ThreadSystem => ({
    add: (a, b) => pool.run({ a, b }, { name: 'add' }),
    length: (bytes) => pool.run(bytes, { name: 'length', transferList: [bytes.buffer] }),
    fib: (n) => pool.run(n, { name: 'fib' }),
    close: () => pool.destroy(),
  });
  return {
    quorate: () => {
      const pool = threadPool<WorkModule>(WORK, { size: THREADS, queue: { max: 100_000 } });
      return {
        add: (a, b) => pool.run.add({ a, b }),
        length: (bytes) => pool.submit('length', [bytes], { transfer: [bytes.buffer] }),
        fib: (n) => pool.run.fib(n),
        close: () => pool.drain(),
      };
    },
    piscina: () => bothThreads(new Piscina(options) as never),
    tinypool: () => bothThreads(new Tinypool(options)),
  };
}

interface ThreadCase {
  readonly name: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
  run(system: ThreadSystem, quick: boolean): Promise<number>;
}

const THREAD_CASES: readonly ThreadCase[] = [
  {
    name: 'threads: there and back, one after the other',
    unit: 'µs',
    better: 'lower',
    run: async ({ add }, quick) => {
      const tasks = quick ? 1000 : 5000;
      const from = performance.now();
      for (let i = 0; i < tasks; i++) await add(i, 1);
      return ((performance.now() - from) * 1e3) / tasks;
    },
  },
  {
    name: 'threads: 10,000 at once',
    unit: 'tasks/s',
    better: 'higher',
    run: async ({ add }) => {
      const from = performance.now();
      await all(10_000, (i) => add(i, 1));
      return (10_000 * 1e3) / (performance.now() - from);
    },
  },
  {
    name: 'threads: 1 MB moved',
    unit: 'µs',
    better: 'lower',
    run: async ({ length }, quick) => {
      const tasks = quick ? 100 : 500;
      const all = Array.from({ length: tasks }, () => new Uint8Array(2 ** 20));
      const from = performance.now();
      for (const bytes of all) await length(bytes);
      return ((performance.now() - from) * 1e3) / tasks;
    },
  },
  {
    name: 'threads: fib(30)',
    unit: 'tasks/s',
    better: 'higher',
    run: async ({ fib }, quick) => {
      const tasks = quick ? 20 : 60;
      const from = performance.now();
      await all(tasks, () => fib(30));
      return (tasks * 1e3) / (performance.now() - from);
    },
  },
];

async function benchThreads(report: Report, npm: Npm, quick: boolean): Promise<void> {
  const makers = Object.entries(inThreads(npm));
  const rounds = quick ? 3 : 9;
  for (const one of THREAD_CASES) {
    const samples: Record<string, number[]> = {};
    for (let round = 0; round < rounds; round++) {
      for (const [who, make] of makers) {
        const system = make();
        // Until each thread is there, and compiled.
        await all(500, (i) => system.add(i, 1));
        (samples[who] ??= []).push(await one.run(system, quick));
        await system.close();
      }
    }
    report.add(one, samples);
  }
}
