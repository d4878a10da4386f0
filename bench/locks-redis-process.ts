/**
 * SYSTEM PORT TTL: a process that uses one of the locks on one Redis, told what to do by messages of its parent. Each
 * system has its own: none meets timers, listeners or compiled code of another.
 */

import { type LockClient, SYSTEMS } from './locks-redis-systems.ts';
import { percentile } from './report.ts';
import { serveTasks } from './task-process.ts';

/** What such a process can do. */
export interface Tasks {
  /** Takes and gives back a free lock, one after the other. */
  pairs(ms: number): Promise<Pairs>;
  /** The same, so many times. */
  pairsCounted(count: number): Promise<void>;
  /** Opens connections for `contend`. */
  open(clients: number): Promise<void>;
  /** So many who want one lock, over and over; they share the connections that were opened. */
  contend(workers: number, holdMs: number, ms: number): Promise<Contention>;
  hold(name: string): Promise<void>;
  /** When it was noticed that what is held was lost. */
  lost(): Promise<number>;
  /** When the lock was had. */
  acquire(name: string): Promise<number>;
  /** Takes what is held from its holder, as an operator does. */
  evict(name: string): Promise<void>;
}

export interface Pairs {
  readonly count: number;
  readonly rate: number;
  readonly p50: number;
  /** Processor time of this process, in µs a pair. */
  readonly cpu: number;
}

export interface Contention {
  readonly rate: number;
  readonly waitP50: number;
  readonly waitP99: number;
  /** From the call that gives it back to the next who has it. */
  readonly handOverP50: number;
  readonly handOverP99: number;
  /** Grants of the worker with the most, in those of the one with the fewest. */
  readonly unfairness: number;
  /** All that were granted, those after the time was over too. */
  readonly grants: number;
}

/** Comparable between processes. */
export const wallMs = (): number => performance.timeOrigin + performance.now();

const [system = '', port = '', ttl = ''] = process.argv.slice(2);
const open = (): Promise<LockClient> => SYSTEMS[system]!.open(Number(port), Number(ttl));
const delay = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

let clients: LockClient[] = [];
/** Not those of others: what was locked with a token once costs more without one. */
const free = `free for ${system}`;
let runs = 0;
let toldLost: (at: number) => void = () => undefined;
const lost = new Promise<number>((resolve) => {
  toldLost = resolve;
});

const tasks: Tasks = {
  async pairs(ms) {
    const [client] = clients;
    const taken: number[] = [];
    const before = process.cpuUsage();
    const from = performance.now();
    for (let now = from; now - from < ms; ) {
      await (await client!.acquire(free))();
      const then = performance.now();
      taken.push(then - now);
      now = then;
    }
    const count = taken.length;
    const rate = (count * 1000) / (performance.now() - from);
    const { user, system } = process.cpuUsage(before);
    return { count, rate, p50: percentile(taken, 0.5), cpu: (user + system) / count };
  },

  async pairsCounted(count) {
    for (let i = 0; i < count; i++) await (await clients[0]!.acquire(free))();
  },

  async open(count) {
    clients = await Promise.all(Array.from({ length: count }, open));
  },

  contend: (workers, holdMs, ms) => contend(workers, holdMs, ms),

  hold: (name) => clients[0]!.hold(name, () => toldLost(wallMs())),

  lost: () => lost,

  async acquire(name) {
    const giveBack = await clients[0]!.acquire(name);
    const at = wallMs();
    await giveBack();
    return at;
  },

  evict: (name) => clients[0]!.evict!(name),
};

async function contend(workers: number, holdMs: number, ms: number): Promise<Contention> {
  const name = `wanted-${++runs} by ${system}`;
  const waits: number[] = [];
  const handOvers: number[] = [];
  const counts = new Array<number>(workers).fill(0);
  let holders = 0;
  let grants = 0;
  let givenBackAt = 0;
  const from = performance.now();
  const worker = async (which: number): Promise<void> => {
    const client = clients[which % clients.length]!;
    while (performance.now() - from < ms) {
      const askedAt = performance.now();
      const giveBack = await client.acquire(name);
      const now = performance.now();
      if (++holders > 1) throw new Error(`${system}: two hold it`);
      if (givenBackAt > 0) handOvers.push(now - givenBackAt);
      waits.push(now - askedAt);
      grants += 1;
      if (now - from < ms) counts[which]! += 1;
      await delay(holdMs);
      holders -= 1;
      givenBackAt = performance.now();
      await giveBack();
    }
  };
  await Promise.all(counts.map((_, which) => worker(which)));
  return {
    rate: (counts.reduce((sum, count) => sum + count) * 1000) / ms,
    waitP50: percentile(waits, 0.5),
    waitP99: percentile(waits, 0.99),
    handOverP50: percentile(handOvers, 0.5),
    handOverP99: percentile(handOvers, 0.99),
    unfairness: Math.max(...counts) / Math.min(...counts),
    grants,
  };
}

serveTasks(tasks);
