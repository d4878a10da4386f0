/** What locks that are decided by a quorum are asked to do. */
import { percentile } from './report.ts';

/** Takes a lock, waiting as long as it takes. */
export type Take = (name: string) => Promise<Taken>;

export interface Taken {
  /** Undefined where there is none. */
  readonly token?: bigint | undefined;
  giveBack(): Promise<unknown>;
}

export interface PairsLoad {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
}

export interface QueueLoad extends PairsLoad {
  /** Grants before which one was granted that had queued up later: by tokens, which are places in the queue. */
  readonly overtaken: number;
  /** Grants of the worker with the most, in those of the one with the fewest. */
  readonly unfairness: number;
}

let runs = 0;

/** So many lanes, each of which takes and gives back a free lock of its own, over and over. */
export async function pairs(take: Take, lanes: number, ms: number): Promise<PairsLoad> {
  const run = `pairs-${process.pid}-${++runs}`;
  const took: number[] = [];
  const from = performance.now();
  const lane = async (which: number): Promise<void> => {
    for (let now = performance.now(); now - from < ms; ) {
      await (await take(`${run}-${which}`)).giveBack();
      const then = performance.now();
      took.push(then - now);
      now = then;
    }
  };
  await Promise.all(Array.from({ length: lanes }, (_, which) => lane(which)));
  const rate = (took.length * 1000) / (performance.now() - from);
  return { rate, p50: percentile(took, 0.5), p99: percentile(took, 0.99) };
}

/** So many lanes that want one lock, over and over; times are those of the wait. */
export async function queue(take: Take, lanes: number, ms: number): Promise<QueueLoad> {
  const name = `queue-${process.pid}-${++runs}`;
  const waits: number[] = [];
  const counts = new Array<number>(lanes).fill(0);
  let newest = 0n;
  let overtaken = 0;
  let holders = 0;
  const from = performance.now();
  const lane = async (which: number): Promise<void> => {
    while (performance.now() - from < ms) {
      const askedAt = performance.now();
      const { token = 0n, giveBack } = await take(name);
      if (++holders > 1) throw new Error(`two hold ${name}`);
      waits.push(performance.now() - askedAt);
      counts[which]! += 1;
      if (token < newest) overtaken += 1;
      newest = token;
      holders -= 1;
      await giveBack();
    }
  };
  await Promise.all(counts.map((_, which) => lane(which)));
  return {
    rate: (waits.length * 1000) / (performance.now() - from),
    p50: percentile(waits, 0.5),
    p99: percentile(waits, 0.99),
    overtaken,
    unfairness: Math.max(...counts) / Math.min(...counts),
  };
}
