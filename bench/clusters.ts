/** The clusters that are compared: ours, etcd and antietcd, three durable nodes each on loopback. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startCluster, until } from '../test/support/cluster.ts';
import { startEtcd } from '../test/support/etcd.ts';
import { freePorts } from '../test/support/ports.ts';

/** A running system under test. */
export interface System {
  readonly name: string;
  readonly endpoints: readonly string[];
  /** Endpoint of the leader. */
  readonly leader: string;
  readonly pids: readonly number[];
  close(): Promise<void>;
}

export async function quorateSystem(flags: readonly string[] = []): Promise<System> {
  const cluster = await startCluster({ flags });
  const leader = await cluster.awaitLeader();
  return {
    name: 'quorate',
    endpoints: cluster.endpoints,
    leader: leader.endpoint,
    pids: cluster.members.map((member) => member.pid!),
    close: () => cluster.close(),
  };
}

export async function etcdSystem(): Promise<System> {
  const { endpoints, pids, leader, close } = await startEtcd();
  return { name: 'etcd', endpoints, leader: leader()!, pids, close };
}

const ANTIETCD = 'antietcd@1.3.1';

/** Installs antietcd beside the build products, never into the project. */
async function antietcdMain(): Promise<string> {
  const prefix = fileURLToPath(new URL('../node_modules/.cache/quorate-bench', import.meta.url));
  const main = join(prefix, 'node_modules', 'antietcd', 'antietcd-app.js');
  if (!existsSync(main)) {
    await mkdir(prefix, { recursive: true });
    execFileSync(
      'npm',
      [
        'install',
        '--prefix',
        prefix,
        '--ignore-scripts',
        '--no-save',
        '--no-package-lock',
        ANTIETCD,
      ],
      { stdio: 'ignore' },
    );
  }
  return main;
}

/** With its default, the only durable one: the whole database is written and synced on every change. */
export async function antietcdSystem(): Promise<System> {
  const main = await antietcdMain();
  const folder = await mkdtemp(join(tmpdir(), 'quorate-bench-antietcd-'));
  const ports = await freePorts(3);
  const cluster = [1, 2, 3].map((i) => `a${i}=http://127.0.0.1:${ports[i - 1]}`).join(',');
  const children = [1, 2, 3].map((i) =>
    spawn(
      process.execPath,
      [
        main,
        '--ip',
        '127.0.0.1',
        '--port',
        String(ports[i - 1]),
        '--data',
        join(folder, `a${i}.gz`),
      ].concat(['--node_id', `a${i}`, '--cluster_key', 'bench', '--cluster', cluster]),
      { stdio: 'ignore' },
    ),
  );
  const endpoints = ports.map((port) => `127.0.0.1:${port}`);
  const leader = await until('antietcd has a leader', async () => {
    for (const endpoint of endpoints) {
      const headers = { 'content-type': 'application/json' };
      const body = JSON.stringify({ key: 'cHJvYmU=', value: 'MQ==' });
      const reply = await fetch(`http://${endpoint}/v3/kv/put`, { method: 'POST', headers, body });
      if (!reply.ok) return undefined;
    }
    return endpoints[0];
  });
  return system('antietcd', endpoints, leader, children, folder);
}

function system(
  name: string,
  endpoints: readonly string[],
  leader: string,
  children: readonly ChildProcess[],
  folder: string,
): System {
  return {
    name,
    endpoints,
    leader,
    pids: children.map((child) => child.pid!),
    async close() {
      for (const child of children) child.kill('SIGKILL');
      await Promise.all(
        children.map((child) => child.exitCode ?? child.signalCode ?? exited(child)),
      );
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function exited(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => child.once('exit', () => resolve()));
}

/** Resident memory of a process in MiB. */
export function residentMib(pid: number): number {
  const kib = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) / 1024;
}
