/** A cluster of real processes on loopback, for tests that kill, stop and restart them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { etcdService } from 'quorate/drivers/etcd';
import { freePorts } from './ports.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** Waits until `holds` returns something; fails with `what` after `timeoutMs`. */
export async function until<T>(
  what: string,
  holds: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 20_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  while (performance.now() < deadline) {
    try {
      const value = await holds();
      if (value !== undefined && value !== false) return value;
    } catch (error) {
      last = error;
    }
    await delay(25);
  }
  throw new Error(`timed out waiting until ${what}`, { cause: last });
}

export class Member {
  readonly name: string;
  readonly endpoint: string;
  /** Flags of `serve`; the last of several with one name counts. */
  readonly flags: readonly string[];
  #child: ChildProcess | undefined;
  output = '';

  constructor(name: string, endpoint: string, flags: readonly string[]) {
    this.name = name;
    this.endpoint = endpoint;
    this.flags = flags;
  }

  get running(): boolean {
    return (
      this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
    );
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Of the last run; `null` while it runs and where a signal ended it. */
  get exitCode(): number | null {
    return this.#child?.exitCode ?? null;
  }

  start(): void {
    const child = spawn(
      process.execPath,
      ['--conditions=quorate-source', MAIN, 'serve', ...this.flags],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.#child = child;
    const keep = (chunk: Buffer): void => {
      this.output = (this.output + chunk.toString()).slice(-20_000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
  }

  /** Sends a signal; for the deadly ones, resolves when the process is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.running) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    if (signal === 'SIGKILL' || signal === 'SIGTERM') await gone;
  }
}

export class Cluster {
  readonly members: readonly Member[];
  /** Holds a data folder for each member, by its name; removed with the cluster. */
  readonly folder: string;

  constructor(members: readonly Member[], folder: string) {
    this.members = members;
    this.folder = folder;
  }

  get endpoints(): string[] {
    return this.members.map((member) => member.endpoint);
  }

  /** The member that leads, by its own account and that of a majority of the others. */
  async leader(among: readonly Member[] = this.members): Promise<Member | undefined> {
    const answers = await Promise.all(
      among.map(async (member) => {
        const service = etcdService({ endpoints: [member.endpoint], timeoutMs: 1000 });
        try {
          const status = await service.status(member.endpoint);
          return { member, id: status.header?.memberId, leader: status.leader };
        } catch {
          return undefined;
        } finally {
          await service.close();
        }
      }),
    );
    const known = answers.filter((answer) => answer !== undefined);
    const leading = known.find((answer) => answer.leader !== 0n && answer.leader === answer.id);
    if (leading === undefined) return undefined;
    const agreeing = known.filter((answer) => answer.leader === leading.id);
    return agreeing.length * 2 > this.members.length ? leading.member : undefined;
  }

  /** Until the member answers, be there a leader or not. */
  async awaitAnswer(member: Member): Promise<void> {
    const service = etcdService({ endpoints: [member.endpoint], timeoutMs: 1000 });
    try {
      await until(`${member.name} answers`, () => service.status(member.endpoint));
    } finally {
      await service.close();
    }
  }

  awaitLeader(among: readonly Member[] = this.members): Promise<Member> {
    return until('the cluster has a leader', () => this.leader(among));
  }

  async close(): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill('SIGKILL')));
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Starts `size` members with the flags given and waits for a leader. */
export async function startCluster(
  options: { readonly size?: number; readonly flags?: readonly string[] } = {},
): Promise<Cluster> {
  const size = options.size ?? 3;
  const folder = await mkdtemp(join(tmpdir(), 'quorate-cluster-'));
  const ports = await freePorts(size * 2);
  const names = Array.from({ length: size }, (_, i) => `n${i + 1}`);
  const peerUrl = (i: number): string => `http://127.0.0.1:${ports[size + i]}`;
  const initial = names.map((name, i) => `${name}=${peerUrl(i)}`).join(',');
  const members = names.map((name, i) => {
    const endpoint = `127.0.0.1:${ports[i]}`;
    return new Member(name, endpoint, [
      `--name=${name}`,
      `--data-dir=${join(folder, name)}`,
      `--listen-client-urls=http://${endpoint}`,
      `--advertise-client-urls=http://${endpoint}`,
      `--listen-peer-urls=${peerUrl(i)}`,
      `--initial-advertise-peer-urls=${peerUrl(i)}`,
      `--initial-cluster=${initial}`,
      ...(options.flags ?? []),
    ]);
  });
  const cluster = new Cluster(members, folder);
  for (const member of members) member.start();
  try {
    await cluster.awaitLeader();
  } catch (error) {
    const outputs = members.map((member) => `${member.name}: ${member.output}`).join('\n');
    await cluster.close();
    throw new Error(`the cluster did not start\n${outputs}`, { cause: error });
  }
  return cluster;
}
