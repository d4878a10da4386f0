/**
 * Locks inside one process beside npm's `async-mutex`: a pair is to acquire and to give back, each awaited as its
 * users do (async-mutex gives back at once, ours is a promise).
 */
import { Mutex } from 'async-mutex';
import { localLocks } from '../src/locks/local.ts';
import type { Report } from './report.ts';

type Pair = () => Promise<void>;

/** One lock that many want, and pairs on it. */
const SYSTEMS: Readonly<Record<string, () => Pair>> = {
  quorate: () => {
    const locks = localLocks();
    return async () => {
      const lock = await locks.acquire('orders/42');
      await lock.release();
    };
  },
  'async-mutex': () => {
    const mutex = new Mutex();
    return async () => {
      const release = await mutex.acquire();
      release();
    };
  },
};

/** The same, as users write it most. */
const RUNNING: Readonly<Record<string, () => Pair>> = {
  quorate: () => {
    const locks = localLocks();
    return () => locks.run('orders/42', work);
  },
  'async-mutex': () => {
    const mutex = new Mutex();
    return () => mutex.runExclusive(work);
  },
};

async function work(): Promise<void> {
  await undefined;
}

/** Pairs a second of so many tasks, each of which wants the lock again at once. */
async function measure(pair: Pair, tasks: number, pairs: number): Promise<number> {
  let left = pairs;
  const task = async (): Promise<void> => {
    while (left-- > 0) await pair();
  };
  const from = performance.now();
  await Promise.all(Array.from({ length: tasks }, task));
  return (pairs * 1000) / (performance.now() - from);
}

export async function benchInProcess(report: Report, quick: boolean): Promise<void> {
  const pairs = quick ? 100_000 : 500_000;
  const rounds = quick ? 5 : 9;
  for (const [how, systems] of [
    ['acquire, release', SYSTEMS],
    ['run', RUNNING],
  ] as const) {
    // One who holds, and those who wait.
    for (const waiting of [0, 20, 200]) {
      const rates: Record<string, number[]> = {};
      for (let round = 0; round <= rounds; round++) {
        for (const [who, make] of Object.entries(systems)) {
          const rate = await measure(make(), waiting + 1, pairs);
          // The first round warms up.
          if (round > 0) (rates[who] ??= []).push(rate);
        }
      }
      const name = `in process: ${how}, ${waiting} waiting`;
      report.add({ name, unit: 'pairs/s', better: 'higher' }, rates);
    }
  }
}
