/**
 * SYSTEM PORT FOLDER: a process that asks one of the limiters on one Redis, told what to do by messages of its parent. Each system
 * has its own, over the same client (ioredis); FOLDER is where the peers are installed.
 */
import { Redis } from 'ioredis';
import { redisLimiter } from '../src/drivers/redis/index.ts';
import { requirePeer } from './peers.ts';
import { serveTasks } from './task-process.ts';

/** What is allowed. */
export interface Limit {
  readonly key: string;
  readonly limit: number;
  /** In seconds. */
  readonly period: number;
  /** For token buckets. */
  readonly burst: number;
}

/** What became of it. */
export interface Asked {
  readonly decisions: number;
  readonly allowed: number;
  /** When it began and ended, in milliseconds since the Unix epoch. */
  readonly fromMs: number;
  readonly toMs: number;
  /** Processor time of this process, in µs a decision. */
  readonly cpu: number;
}

/** What such a process can do. */
export interface LimiterTasks {
  open(limit: Limit): Promise<void>;
  /** So many ask at a time, over and over, for so long. */
  ask(workers: number, ms: number): Promise<Asked>;
  /** One after the other. */
  askCounted(count: number): Promise<void>;
}

type Allow = () => Promise<boolean>;

interface FlexiblePackage {
  readonly RateLimiterRedis: new (options: object) => { consume(key: string): Promise<unknown> };
}

const [system = '', port = '', folder = ''] = process.argv.slice(2);
const wallMs = (): number => performance.timeOrigin + performance.now();

const SYSTEMS: Readonly<Record<string, (client: Redis, limit: Limit) => Allow>> = {
  quorate: (client, limit) => ours(client, limit),
  'quorate, leased': (client, limit) => ours(client, limit, { tokens: 100, for: '5s' }),
  'rate-limiter-flexible': (client, { key, limit, period }) => {
    const { RateLimiterRedis } = requirePeer<FlexiblePackage>(folder, 'rate-limiter-flexible');
    const limiter = new RateLimiterRedis({ storeClient: client, points: limit, duration: period });
    // It rejects with what it found where it refuses.
    return () =>
      limiter.consume(key).then(
        () => true,
        () => false,
      );
  },
};

function ours(client: Redis, { key, limit, period, burst }: Limit, lease?: object): Allow {
  const rate = { limit, period: `${period}s` };
  const options = { rate, burst, timeout: '20s', ...(lease === undefined ? {} : { lease }) };
  const limiter = redisLimiter(client, options as Parameters<typeof redisLimiter>[1]);
  return async () => (await limiter.allow(key)).ok;
}

let allow: Allow = () => Promise.reject(new Error('open it first'));
let client: Redis | undefined;

const tasks: LimiterTasks = {
  async open(limit) {
    client?.disconnect();
    client = new Redis({ port: Number(port), host: '127.0.0.1', lazyConnect: true });
    await client.connect();
    allow = SYSTEMS[system]!(client, limit);
  },

  async ask(workers, ms) {
    let [decisions, allowed] = [0, 0];
    const before = process.cpuUsage();
    const fromMs = wallMs();
    const ask = async (): Promise<void> => {
      while (wallMs() - fromMs < ms) {
        // Answers that wait for nothing must not keep others from their turn.
        for (let i = 0; i < 16; i++) {
          if (await allow()) allowed += 1;
          decisions += 1;
        }
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await Promise.all(Array.from({ length: workers }, ask));
    const { user, system: kernel } = process.cpuUsage(before);
    return { decisions, allowed, fromMs, toMs: wallMs(), cpu: (user + kernel) / decisions };
  },

  async askCounted(count) {
    for (let i = 0; i < count; i++) await allow();
  },
};

serveTasks(tasks);
