/** Private Redis servers of real processes on loopback, and both clients on them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import type { RedisClient } from '../../src/drivers/redis/index.ts';
import { until } from './cluster.ts';
import { findEngine } from './etcd.ts';
import { freePorts } from './ports.ts';

function findServer(): string | undefined {
  const path = process.env['PATH']?.split(delimiter) ?? [];
  const installed = path.map((folder) => join(folder, 'redis-server')).find(existsSync);
  return findEngine('redis-server') ?? installed;
}

/**
 * Why a test that needs Redis cannot run: the reason to skip it, `false` where it can. Where engines are
 * required a missing one is an error.
 */
export function missingRedis(): string | false {
  if (findServer() !== undefined) return false;
  const reason = 'NO REDIS: scripts/engines/redis.sh install installs it';
  if (process.env['QUORATE_REQUIRE_ENGINES'] === '1') throw new Error(reason);
  return reason;
}

/** The clients that the drivers take, by the names of their packages. */
export const CLIENTS = ['redis', 'ioredis'] as const;
export type ClientKind = (typeof CLIENTS)[number];

/** A client that is connected. */
export interface OpenClient {
  readonly client: RedisClient;
  close(): void;
}

/** Connects a client; `port` may be that of a network between. Tries again every 20 ms where it is cut off. */
export async function openClient(kind: ClientKind, port: number): Promise<OpenClient> {
  if (kind === 'ioredis') {
    const client = new Redis({
      port,
      host: '127.0.0.1',
      lazyConnect: true,
      retryStrategy: () => 20,
    });
    client.on('error', () => undefined);
    await client.connect();
    return { client, close: () => client.disconnect() };
  }
  const client = createClient({
    socket: { port, host: '127.0.0.1', reconnectStrategy: () => 20 },
    // See docs/redis.md.
    disableClientInfo: true,
  });
  client.on('error', () => undefined);
  await client.connect();
  return { client, close: () => void (client.isOpen && client.destroy()) };
}

/** What a server keeps: nothing over a restart, or all that it acknowledged. */
export type Persistence = 'none' | 'always';

export class RedisServer implements AsyncDisposable {
  readonly port: number;
  readonly #folder: string;
  readonly #persistence: Persistence;
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | undefined;
  #admin: Redis | undefined;

  private constructor(
    folder: string,
    port: number,
    persistence: Persistence,
    env: Readonly<Record<string, string>>,
  ) {
    this.port = port;
    this.#folder = folder;
    this.#persistence = persistence;
    this.#env = env;
    this.#child = undefined;
    this.#admin = undefined;
  }

  /** Starts a new one on a free port. `env` is added to its environment. */
  static async start(
    persistence: Persistence = 'none',
    env: Readonly<Record<string, string>> = {},
  ): Promise<RedisServer> {
    const folder = await mkdtemp(join(tmpdir(), 'quorate-redis-'));
    const [port] = await freePorts(1);
    const server = new RedisServer(folder, port!, persistence, env);
    try {
      await server.start();
      return server;
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  /** Again, with what it kept. */
  async start(): Promise<void> {
    const flags = ['--port', `${this.port}`, '--bind', '127.0.0.1', '--save', ''];
    flags.push('--appendonly', this.#persistence === 'always' ? 'yes' : 'no');
    flags.push('--appendfsync', 'always', '--dir', this.#folder);
    const env = { ...process.env, ...this.#env };
    this.#child = spawn(findServer()!, flags, { env, stdio: 'ignore' });
    await until('Redis answers', async () => {
      try {
        return (await this.command('PING')) === 'PONG' || undefined;
      } catch {
        return undefined;
      }
    });
  }

  /** A command of the test's own. */
  async command(name: string, ...args: string[]): Promise<unknown> {
    if (this.#admin === undefined) {
      this.#admin = new Redis({
        port: this.port,
        host: '127.0.0.1',
        lazyConnect: true,
        enableOfflineQueue: false,
        retryStrategy: () => 20,
      });
      this.#admin.on('error', () => undefined);
      await this.#admin.connect().catch(() => undefined);
    }
    return this.#admin.call(name, ...args);
  }

  /** All keys that begin with a prefix. */
  async keys(prefix = ''): Promise<string[]> {
    return (await this.command('KEYS', `${prefix.replace(/[[\]*?\\^]/g, '\\$&')}*`)) as string[];
  }

  /** How many commands it has carried out, those inside scripts included; without those of tests. */
  async commandCount(): Promise<number> {
    const text = String(await this.command('INFO', 'commandstats'));
    let count = 0;
    for (const [, name, calls] of text.matchAll(/cmdstat_(\S+?):calls=(\d+)/g)) {
      if (!/^(info|keys|ping|client|hello)/.test(name!)) count += Number(calls);
    }
    return count;
  }

  /** How many commands clients send while `work` runs, without those inside of scripts. */
  async requestsDuring(work: () => Promise<unknown>): Promise<number> {
    const client = new Redis({ port: this.port, host: '127.0.0.1' });
    const monitor = await client.monitor();
    let count = 0;
    let isOver: () => void = () => undefined;
    const over = new Promise<void>((resolve) => {
      isOver = resolve;
    });
    monitor.on('monitor', (_time: string, [name, mark]: string[], source: string) => {
      if (mark === 'requests-during') isOver();
      else if (source !== 'lua' && !/^(info|keys|ping|client|hello)$/i.test(name!)) count += 1;
    });
    try {
      await work();
      // What comes before it has been told then.
      await this.command('PING', 'requests-during');
      await over;
      return count;
    } finally {
      monitor.disconnect();
      client.disconnect();
    }
  }

  /** How many connections there are for messages. */
  async subscribers(): Promise<number> {
    const list = String(await this.command('CLIENT', 'LIST', 'TYPE', 'pubsub'));
    return list.split('\n').filter((line) => line !== '').length;
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  /** `kill -9`. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGKILL');
    await gone;
  }

  async close(): Promise<void> {
    this.#admin?.disconnect();
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
