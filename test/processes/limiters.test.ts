/** Processes that share a limit on a real Redis, and are killed: no more is ever allowed than is said. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from '../support/cluster.ts';
import type { LimiterProcessOptions } from '../support/limiter-process.ts';
import { missingRedis, RedisServer } from '../support/redis.ts';

const PROGRAM = fileURLToPath(new URL('../support/limiter-process.ts', import.meta.url));

interface Admission {
  readonly fromMs: number;
  readonly toMs: number;
}

/** A process that asks, and what it said so far. */
class Asker {
  readonly admissions: Admission[] = [];
  isReady = false;
  refused = 0;
  /** Refused one after the other, since it was last allowed something. */
  refusedLast = 0;
  readonly #child: ChildProcess;
  #rest = '';

  constructor(options: LimiterProcessOptions) {
    const flags = ['--conditions=quorate-source', '--disable-warning=ExperimentalWarning'];
    this.#child = spawn(process.execPath, [...flags, PROGRAM, JSON.stringify(options)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdin!.on('error', () => undefined);
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => this.#hear(text));
  }

  go(): void {
    this.#child.stdin!.write('go');
  }

  /** `kill -9`; all that it wrote has been read then. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.kill('SIGKILL');
    await closed;
  }

  #hear(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop()!;
    for (const line of lines) {
      if (line === 'ready') {
        this.isReady = true;
        continue;
      }
      if (line === '-') {
        this.refused += 1;
        this.refusedLast += 1;
        continue;
      }
      const [fromMs, toMs] = line.split(' ').map(Number) as [number, number];
      this.admissions.push({ fromMs, toMs });
      this.refusedLast = 0;
    }
  }
}

/** The most that was allowed beyond `perMs·t` in an interval. */
function mostAtOnce(admissions: readonly Admission[], perMs: number): number {
  const byEnd = [...admissions].sort((a, b) => a.toMs - b.toMs);
  const begins = [...admissions].sort((a, b) => a.fromMs - b.fromMs);
  let most = 0;
  // Some hundred beginnings tell enough of some thousand.
  const step = Math.max(1, Math.floor(begins.length / 400));
  for (let i = 0; i < begins.length; i += step) {
    const { fromMs } = begins[i]!;
    let sum = 0;
    for (const one of byEnd) {
      if (one.fromMs < fromMs) continue;
      sum += 1;
      most = Math.max(most, sum - perMs * (one.toMs - fromMs));
    }
  }
  return most;
}

describe('processes that share a limit on Redis', { skip: missingRedis() }, () => {
  let server: RedisServer;
  let askers: Asker[] = [];
  beforeEach(async () => {
    server = await RedisServer.start();
  });
  afterEach(async () => {
    await Promise.all(askers.map((asker) => asker.kill()));
    askers = [];
    await server.close();
  });

  const startTogether = async (
    count: number,
    options: Omit<LimiterProcessOptions, 'port' | 'kind' | 'workers'>,
  ): Promise<void> => {
    const started = Array.from({ length: count }, (_, i) => {
      const kind = i % 2 === 0 ? 'ioredis' : 'redis';
      return new Asker({ port: server.port, kind, workers: 8, ...options });
    });
    askers.push(...started);
    await until('they are ready', () => started.every(({ isReady }) => isReady), 60_000);
    for (const asker of started) asker.go();
  };
  const all = (): Admission[] => askers.flatMap(({ admissions }) => admissions);
  /** Of 300 in a second, 30 at once: the most at once, where one of three is killed three times and another comes. */
  const mostWhileKilled = async (lease: Pick<LimiterProcessOptions, 'lease'>): Promise<number> => {
    const rules = { rate: { limit: 300, period: '1s' }, burst: 30, ...lease };
    await startTogether(3, rules);
    for (let round = 0; round < 3; round++) {
      const before = all().length;
      await until('there is more', () => all().length > before + 80);
      await askers[round]!.kill();
      await startTogether(1, rules);
    }
    await Promise.all(askers.map((asker) => asker.kill()));
    return mostAtOnce(all(), 0.3);
  };

  test('strict: processes come and are killed, in no interval more than burst + rate·t is allowed', async () => {
    const most = await mostWhileKilled({});
    assert.ok(all().length > 240);
    // Clocks of processes on one machine are the same up to a fraction of a millisecond.
    assert.ok(most <= 30 + 0.6, `${most} at once`);
  });

  test('leased: processes come and are killed, in no interval more than burst + rate·t + processes × tokens is allowed', async () => {
    const tokens = 20;
    const most = await mostWhileKilled({ lease: { tokens, for: '2s' } });
    assert.ok(most <= 30 + askers.length * tokens + 0.6, `${most} at once`);
  });

  test('leased: a process that is killed costs at most its tokens, and the others get all the rest', async () => {
    const tokens = 50;
    const budget = 20_000;
    const rate = { limit: budget, period: '300d' };
    const rules = { rate, burst: budget, lease: { tokens, for: '1s' } };
    await startTogether(4, rules);
    await until('all are at it', () => askers.every(({ admissions }) => admissions.length > 50));
    await Promise.all([askers[0]!.kill(), askers[1]!.kill()]);
    await until('all is used up', () => askers.slice(2).every((asker) => asker.refusedLast > 20));
    const allowed = all().length;
    assert.ok(allowed <= budget, `${allowed} of ${budget}`);
    // What each of those killed held, or had asked for; and eight answers of each that it had no time to write.
    assert.ok(allowed >= budget - 2 * (tokens + 8) - 2 * tokens, `${allowed} of ${budget}`);
    const [commands, decisions] = [
      await server.commandCount(),
      allowed + askers.reduce((sum, { refused }) => sum + refused, 0),
    ];
    // Each script is one command, and up to three inside of it.
    assert.ok(commands / 4 < decisions / 10, `${commands} commands for ${decisions} decisions`);
  });
});
