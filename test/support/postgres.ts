/** A private PostgreSQL of real processes on loopback. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import pg from 'pg';
import { until } from './cluster.ts';
import { freePorts } from './ports.ts';

/** The folder of the newest server: Debian keeps it off the PATH. */
function findServer(): string | undefined {
  const installed = globSync('/usr/lib/postgresql/*/bin').sort((a, b) => version(b) - version(a));
  const path = process.env['PATH']?.split(delimiter) ?? [];
  return [...installed, ...path].find((folder) => existsSync(join(folder, 'initdb')));
}

const version = (folder: string): number => Number(folder.split('/')[4]);

/**
 * Why a test that needs PostgreSQL cannot run: the reason to skip it, `false` where it can. Where
 * engines are required a missing one is an error.
 */
export function missingPostgres(): string | false {
  if (findServer() !== undefined) return false;
  const reason = "NO POSTGRESQL: 'scripts/engines/postgres.sh install' installs it";
  if (process.env['QUORATE_REQUIRE_ENGINES'] === '1') throw new Error(reason);
  return reason;
}

export class PostgresServer implements AsyncDisposable {
  readonly port: number;
  readonly #folder: string;
  readonly #settings: readonly string[];
  readonly #as: { readonly uid?: number; readonly gid?: number };
  readonly #pools: pg.Pool[];
  #child: ChildProcess | undefined;

  private constructor(
    folder: string,
    port: number,
    settings: Readonly<Record<string, string>>,
    as: { readonly uid?: number; readonly gid?: number },
  ) {
    this.port = port;
    this.#folder = folder;
    this.#settings = Object.entries(settings).flatMap(([name, value]) => [
      '-c',
      `${name}=${value}`,
    ]);
    this.#as = as;
    this.#pools = [];
    this.#child = undefined;
  }

  /** Starts a new one on a free port. Only its host loses data by `fsync` off, no process does. */
  static async start(settings: Readonly<Record<string, string>> = {}): Promise<PostgresServer> {
    const folder = await mkdtemp(join(tmpdir(), 'quorate-postgres-'));
    const [port] = await freePorts(1);
    const as = await account(folder);
    const all = { fsync: 'off', max_connections: '150', ...settings };
    const server = new PostgresServer(folder, port!, all, as);
    try {
      const flags = ['-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
      const options = { ...as, cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] as 'pipe'[] };
      execFileSync(join(findServer()!, 'initdb'), ['-D', server.#data, ...flags], options);
      await server.start();
      return server;
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.port}/postgres`;
  }

  get #data(): string {
    return join(this.#folder, 'data');
  }

  /** A pool that `close` ends. */
  pool(options: pg.PoolConfig = {}): pg.Pool {
    const pool = new pg.Pool({ connectionString: this.url, max: 20, ...options });
    // Without a listener an idle connection that breaks ends the process.
    pool.on('error', () => undefined);
    this.#pools.push(pool);
    return pool;
  }

  /** Runs one query on a connection of its own. */
  async query<T>(text: string, values: unknown[] = []): Promise<T[]> {
    const client = new pg.Client({ connectionString: this.url, connectionTimeoutMillis: 2000 });
    client.on('error', () => undefined);
    try {
      await client.connect();
      return (await client.query(text, values)).rows as T[];
    } finally {
      await client.end();
    }
  }

  /** Starts it again, on the same port with the same data, unless it runs. */
  async start(): Promise<void> {
    if (this.#child !== undefined) return;
    const listen = ['-p', `${this.port}`, '-c', 'listen_addresses=127.0.0.1'];
    const args = ['-D', this.#data, ...listen, '-c', 'unix_socket_directories=', ...this.#settings];
    this.#child = spawn(join(findServer()!, 'postgres'), args, {
      ...this.#as,
      cwd: this.#folder,
      stdio: 'ignore',
    });
    await until('PostgreSQL answers', async () => {
      if (this.#child?.exitCode !== null) throw new Error('PostgreSQL did not start');
      return this.query('select 1').then(
        () => true,
        () => undefined,
      );
    });
  }

  /** `SIGINT`: it ends its connections and leaves in order. `SIGKILL`: as in a crash, all its processes. */
  async stop(signal: 'SIGINT' | 'SIGKILL' = 'SIGINT'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    const own = signal === 'SIGKILL' ? childrenOf(child.pid!) : [];
    child.kill(signal);
    for (const pid of own) killed(pid);
    await gone;
    await until('all processes of PostgreSQL ended', async () => own.every(hasEnded));
  }

  async close(): Promise<void> {
    // Not waited for: that would take until every client was released. The server ends what is left.
    for (const pool of this.#pools.splice(0)) if (!pool.ending) void pool.end();
    await this.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** It refuses to run as root: then it runs as the user that its package made. */
async function account(folder: string): Promise<{ uid?: number; gid?: number }> {
  if (process.getuid?.() !== 0) return {};
  const [uid, gid] = ['-u', '-g'].map((flag) => {
    return Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  });
  await chmod(folder, 0o711);
  await mkdir(join(folder, 'data'), { mode: 0o700 });
  await chown(join(folder, 'data'), uid!, gid!);
  return { uid: uid!, gid: gid! };
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text.trim().split(/\s+/).filter(Boolean).map(Number);
}

/** Whether nothing is left of it but an entry that its parent has not looked at yet. */
function hasEnded(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return true;
  }
}

function killed(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}
