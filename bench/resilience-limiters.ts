/** Limiters of one process: what a decision costs, and a key. */
import { slidingCounter, tokenBucket } from '../src/resilience/index.ts';
import type { Report } from './report.ts';
import type { Peers } from './resilience-peers.ts';
import { type Contest, collectGarbage, hold, type Once } from './resilience-timing.ts';

const PLENTY = { limit: 1_000_000, period: 1 };
const KEY = 'tenant-1';

export async function benchLimiters(report: Report, peers: Peers, quick: boolean): Promise<void> {
  const keys = quick ? 100_000 : 1_000_000;
  await hold(report, oneKey(peers), quick);
  await hold(report, awaited(peers), quick);
  await hold(report, manyKeys(peers, keys), quick);
  await memory(report, peers, keys, quick ? 1 : 3);
}

/** Their points are as many as can be: it is the deciding that is measured. */
function flexible({ flexible: { RateLimiterMemory } }: Peers): (key: string) => Promise<unknown> {
  const theirs = new RateLimiterMemory({ points: 1e9, duration: 3600 });
  return (key) => theirs.consume(key);
}

function oneKey(peers: Peers): Contest {
  const systems = {
    quorate: () => {
      const bucket = tokenBucket({ rate: PLENTY });
      return () => bucket.allow(KEY);
    },
    'our sliding counter': () => {
      const counter = slidingCounter({ rate: PLENTY });
      return () => counter.allow(KEY);
    },
    limiter: () => {
      const { RateLimiter } = peers.limiter;
      const theirs = new RateLimiter({ tokensPerInterval: 1e9, interval: 'second' });
      return () => theirs.tryRemoveTokens(1);
    },
  };
  return { name: 'limiter, allow, one key', how: 'at once', systems };
}

function awaited(peers: Peers): Contest {
  const systems = {
    quorate: () => {
      const bucket = tokenBucket({ rate: PLENTY });
      return () => bucket.wait(KEY);
    },
    'rate-limiter-flexible': () => {
      const consume = flexible(peers);
      return () => consume(KEY);
    },
    bottleneck: () => {
      const theirs = new peers.Bottleneck({});
      return () => theirs.schedule(async () => undefined);
    },
  };
  return { name: 'limiter, awaited, one key', how: 'awaited', systems };
}

/** Each key in its turn, in an order that no cache knows. */
function manyKeys(peers: Peers, keys: number): Contest {
  const names = Array.from({ length: keys }, (_, i) => `tenant-${i}`);
  const over = (take: (key: string) => unknown): Once => {
    let at = 0;
    return () => {
      at = (at + 514_229) % keys;
      return take(names[at]!);
    };
  };
  const systems = {
    quorate: () => {
      const bucket = tokenBucket({ rate: '1000/d', burst: 1e6 });
      for (const name of names) bucket.allow(name);
      return over((key) => bucket.allow(key));
    },
    'a look into a Map': () => {
      const map = new Map(names.map((name, i) => [name, i]));
      return over((key) => map.get(key));
    },
    'rate-limiter-flexible': async () => {
      const consume = flexible(peers);
      for (const name of names) await consume(name);
      return over(consume);
    },
  };
  const name = `limiter, allow, ${keys.toLocaleString('en-US')} keys`;
  return { name, how: 'at once', bare: over((key) => key), systems };
}

/** What a key takes, its text included: nobody else holds it. */
async function memory(report: Report, peers: Peers, keys: number, rounds: number): Promise<void> {
  const systems: Record<string, () => (key: string) => unknown> = {
    quorate: () => {
      const bucket = tokenBucket({ rate: '1000/d' });
      return (key) => bucket.allow(key);
    },
    'rate-limiter-flexible': () => {
      // Short, as it has a timer for each key.
      const theirs = new peers.flexible.RateLimiterMemory({ points: 1000, duration: 20 });
      return (key) => theirs.consume(key);
    },
  };
  const samples: Record<string, number[]> = {};
  for (let round = 0; round < rounds; round++) {
    for (const [who, make] of Object.entries(systems)) {
      const before = bytesUsed();
      const take = make();
      for (let i = 0; i < keys; i++) await take(`tenant-${i}`);
      (samples[who] ??= []).push((bytesUsed() - before) / keys);
      await take('the last');
    }
  }
  const name = `limiter, memory of ${keys.toLocaleString('en-US')} keys`;
  report.add({ name, unit: 'bytes a key', better: 'lower' }, samples);
}

function bytesUsed(): number {
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
