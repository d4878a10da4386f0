/**
 * OPTIONS (JSON): a process that asks one limiter on Redis, over and over, until it is killed. Of each question that was allowed it
 * writes a line, when it was asked and when answered, in milliseconds since the Unix epoch; written at once, so that nothing is
 * lost with it. `-` is a question that was refused.
 */
import { once } from 'node:events';
import { writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { redisLimiter } from '../../src/drivers/redis/index.ts';
import { type ClientKind, openClient } from './redis.ts';

export interface LimiterProcessOptions {
  readonly port: number;
  readonly kind: ClientKind;
  readonly rate: { readonly limit: number; readonly period: string };
  readonly burst: number;
  readonly lease?: { readonly tokens: number; readonly for: string };
  /** So many ask at a time. */
  readonly workers: number;
}

const wallMs = (): number => performance.timeOrigin + performance.now();

const { port, kind, workers, ...rules } = JSON.parse(
  process.argv[2] ?? '{}',
) as LimiterProcessOptions;
const { client } = await openClient(kind, port);
const limiter = redisLimiter(client, { ...rules, timeout: '20s' });
// It begins when it is told to.
writeSync(1, 'ready\n');
await once(process.stdin, 'data');
process.stdin.pause();

async function ask(): Promise<never> {
  for (;;) {
    const fromMs = wallMs();
    const { ok } = await limiter.allow('k');
    writeSync(1, ok ? `${fromMs} ${wallMs()}\n` : '-\n');
    if (!ok) await delay(2);
  }
}
await Promise.all(Array.from({ length: workers }, ask));
