/** A private etcd cluster of real processes, and etcd's own client tools. */
import {
  type ChildProcess,
  execFile,
  execFileSync,
  type StdioOptions,
  spawn,
} from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { until } from './cluster.ts';
import { freePorts } from './ports.ts';

const ENGINES: string =
  process.env['QUORATE_ENGINES'] ?? join(homedir(), '.cache', 'quorate-engines', 'bin');

/** Path of one of etcd's programs, or `undefined` where it is not installed. */
export function findEngine(name: string): string | undefined {
  const path = join(ENGINES, name);
  return existsSync(path) ? path : undefined;
}

/** Path of one of etcd's programs. */
export function engine(name: string): string {
  const path = findEngine(name);
  if (path === undefined) {
    throw new Error(`${name} is not installed: run 'npm run engines' first (looked in ${ENGINES})`);
  }
  return path;
}

/**
 * Why a test that needs etcd's programs cannot run: the reason to skip it, `false` where it can.
 * Where engines are required (`--engines`, CI) a missing one is an error.
 */
export function missingEtcd(...names: readonly string[]): string | false {
  const missing = names.filter((name) => findEngine(name) === undefined);
  if (missing.length === 0) return false;
  const reason = `${missing.join(', ')} not installed; 'npm run engines' installs it`;
  if (process.env['QUORATE_REQUIRE_ENGINES'] === '1') throw new Error(reason);
  return reason;
}

export interface EtcdCluster {
  readonly endpoints: readonly string[];
  readonly pids: readonly number[];
  /** Endpoint of the member that leads. */
  leader(): string | undefined;
  /** `kill -9`; resolves when the process is gone. */
  kill(member: number): Promise<void>;
  /** Starts a member that was killed, on its data. */
  restart(member: number): void;
  close(): Promise<void>;
}

/** What only some tests want of a cluster. */
export interface EtcdWishes {
  /** What clients speak. With `https`, `flags` name the certificates. */
  readonly scheme?: 'http' | 'https';
  /** Flags of etcdctl, where it needs certificates or a user. */
  readonly ctl?: readonly string[];
  /** Gives the port at which the others reach a member, for links that can be hurt. */
  readonly peerPort?: (name: string, port: number) => Promise<number>;
}

/** Starts `size` durable members on free loopback ports and waits for a leader. */
export async function startEtcd(
  size = 3,
  flags: readonly string[] = [],
  { scheme = 'http', ctl = [], peerPort }: EtcdWishes = {},
): Promise<EtcdCluster> {
  const folder = await mkdtemp(join(tmpdir(), 'quorate-etcd-'));
  const ports = await freePorts(size * 2);
  const names = Array.from({ length: size }, (_, i) => `e${i + 1}`);
  const reached = await Promise.all(
    names.map((name, i) => peerPort?.(name, ports[size + i]!) ?? ports[size + i]!),
  );
  const peerUrl = (i: number): string => `http://127.0.0.1:${reached[i]}`;
  const initial = names.map((name, i) => `${name}=${peerUrl(i)}`).join(',');
  const start = (name: string, i: number): ChildProcess => {
    const client = `${scheme}://127.0.0.1:${ports[i]}`;
    const args = ['--name', name, '--data-dir', join(folder, name), '--log-level', 'error'];
    args.push('--listen-client-urls', client, '--advertise-client-urls', client);
    args.push('--listen-peer-urls', `http://127.0.0.1:${ports[size + i]}`);
    args.push('--initial-advertise-peer-urls', peerUrl(i));
    args.push('--initial-cluster', initial, ...flags);
    return spawn(engine('etcd'), args, { stdio: 'ignore' });
  };
  const children = names.map(start);
  const endpoints = ports.slice(0, size).map((port) => `127.0.0.1:${port}`);
  const cluster: EtcdCluster = {
    endpoints,
    get pids() {
      return children.map((child) => child.pid!);
    },
    leader: () => leaderOf(endpoints, ctl),
    async kill(member) {
      await kill(children[member]!);
    },
    restart(member) {
      children[member] = start(names[member]!, member);
    },
    async close() {
      await Promise.all(children.map(kill));
      await rm(folder, { recursive: true, force: true });
    },
  };
  try {
    await until('etcd has a leader', () => leaderSoon(endpoints, ctl));
  } catch (error) {
    await cluster.close();
    throw error;
  }
  return cluster;
}

function statusArgs(endpoints: readonly string[], ctl: readonly string[]): string[] {
  const args = ['--endpoints', endpoints.join(','), '--command-timeout=2s', ...ctl];
  return [...args, 'endpoint', 'status', '-w', 'json'];
}

function leaderOf(endpoints: readonly string[], ctl: readonly string[]): string | undefined {
  const stdio: StdioOptions = ['ignore', 'pipe', 'ignore'];
  const args = statusArgs(endpoints, ctl);
  return leaderIn(execFileSync(engine('etcdctl'), args, { encoding: 'utf8', stdio }));
}

/** Without a standstill of this process, through which the members may talk to each other. */
async function leaderSoon(
  endpoints: readonly string[],
  ctl: readonly string[],
): Promise<string | undefined> {
  const { stdout } = await promisify(execFile)(engine('etcdctl'), statusArgs(endpoints, ctl));
  return leaderIn(stdout);
}

function leaderIn(json: string): string | undefined {
  const all = JSON.parse(json) as {
    Endpoint: string;
    Status: { header: { member_id: number }; leader: number };
  }[];
  return all.find(({ Status }) => Status.leader === Status.header.member_id)?.Endpoint;
}

function kill(child: ChildProcess): Promise<void> | undefined {
  if (child.exitCode !== null || child.signalCode !== null) return undefined;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGKILL');
  return gone;
}
