/** Private Consul servers of real processes on loopback: one, or several that are one cluster. */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './cluster.ts';
import { engine, findEngine } from './etcd.ts';
import { freePorts } from './ports.ts';

/**
 * Why a test that needs Consul cannot run: the reason to skip it, `false` where it can. Where engines are
 * required a missing one is an error.
 */
export function missingConsul(): string | false {
  if (findEngine('consul') !== undefined) return false;
  const reason = 'NO CONSUL: scripts/engines/consul.sh install builds it';
  if (process.env['QUORATE_REQUIRE_ENGINES'] === '1') throw new Error(reason);
  return reason;
}

/** As the HTTP API shows it. */
export interface ConsulKey {
  readonly Key: string;
  readonly Session?: string;
  readonly CreateIndex: number;
  readonly ModifyIndex: number;
  readonly LockIndex: number;
}

interface Ports {
  readonly http: number;
  readonly https: number;
  readonly serf_lan: number;
  readonly server: number;
}

/** The shortest time to live that these servers take, in milliseconds: Consul's own is 10 s. */
export const LEAST_TTL_MS = 200;

/** On a machine that has much else to do. */
const START_MS = 60_000;

export interface ConsulWishes {
  /** Of the configuration file, besides what all have. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** For each request of the test's own. */
  readonly token?: string;
}

/** See the head of this file. */
export class ConsulServers implements AsyncDisposable {
  readonly ports: readonly Ports[];
  readonly #folder: string;
  readonly #token: string | undefined;
  readonly #children: (ChildProcess | undefined)[];

  private constructor(folder: string, ports: readonly Ports[], token: string | undefined) {
    this.ports = ports;
    this.#folder = folder;
    this.#token = token;
    this.#children = ports.map(() => undefined);
  }

  /** Starts new ones on free ports. */
  static async start(count = 1, wishes: ConsulWishes = {}): Promise<ConsulServers> {
    const folder = await mkdtemp(join(tmpdir(), 'quorate-consul-'));
    const free = await freePorts(count * 4);
    const ports = Array.from({ length: count }, (_, i): Ports => {
      const [http, https, serf_lan, server] = free.slice(i * 4, i * 4 + 4);
      return { http: http!, https: https!, serf_lan: serf_lan!, server: server! };
    });
    const servers = new ConsulServers(folder, ports, wishes.token);
    for (const i of ports.keys()) {
      writeFileSync(join(folder, `${i}.json`), JSON.stringify(servers.#configOf(i, wishes)));
    }
    try {
      for (const i of ports.keys()) servers.#launch(i);
      await servers.ready();
      return servers;
    } catch (error) {
      await servers.close();
      throw error;
    }
  }

  get port(): number {
    return this.ports[0]!.http;
  }

  get addresses(): readonly string[] {
    return this.ports.map(({ http }) => `http://127.0.0.1:${http}`);
  }

  /** Until each that runs can do all that locks need. */
  async ready(): Promise<void> {
    for (const [i, child] of this.#children.entries()) {
      if (child === undefined) continue;
      await until(
        `Consul ${i} answers`,
        async () => {
          if (child.exitCode !== null) throw new Error(`Consul ${i} did not start`);
          const session = await this.call('PUT', '/v1/session/create', { TTL: '60s' }, i).catch(
            () => null,
          );
          const { ID } = (session ?? {}) as { readonly ID?: string };
          if (ID !== undefined) await this.call('PUT', `/v1/session/destroy/${ID}`, undefined, i);
          return ID;
        },
        START_MS,
      );
    }
  }

  /** A request of the test's own; what it says, `undefined` for what is not there. */
  async call(
    method: 'GET' | 'PUT' | 'DELETE',
    path: string,
    body?: unknown,
    server = 0,
  ): Promise<unknown> {
    const response = await fetch(`http://127.0.0.1:${this.ports[server]!.http}${path}`, {
      method,
      headers: this.#token === undefined ? {} : { 'X-Consul-Token': this.#token },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(15_000),
    });
    const text = await response.text();
    if (response.status === 404) return undefined;
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return JSON.parse(text);
  }

  /** All keys that begin with a prefix. */
  async keys(prefix = '', server = 0): Promise<readonly ConsulKey[]> {
    const keys = await this.call('GET', `/v1/kv/${prefix}?recurse&consistent`, undefined, server);
    return (keys ?? []) as readonly ConsulKey[];
  }

  /** The ids of all sessions, with their names. */
  async sessions(server = 0): Promise<readonly { readonly ID: string; readonly Name: string }[]> {
    const sessions = await this.call('GET', '/v1/session/list?consistent', undefined, server);
    return sessions as readonly { readonly ID: string; readonly Name: string }[];
  }

  /** Which of them leads. */
  async leader(): Promise<number> {
    return until(
      'a leader',
      async () => {
        for (const [i, child] of this.#children.entries()) {
          if (child === undefined) continue;
          const said = await this.call('GET', '/v1/status/leader', undefined, i).catch(() => '');
          const leader = this.ports.findIndex(({ server }) => said === `127.0.0.1:${server}`);
          if (leader >= 0 && this.#children[leader] !== undefined) return leader;
        }
        return undefined;
      },
      START_MS,
    );
  }

  /** `SIGKILL`: as in a crash; else it leaves in order. */
  async stop(server = 0, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#children[server];
    this.#children[server] = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    await gone;
  }

  /** Sends a signal to one. */
  signal(signal: NodeJS.Signals, server = 0): void {
    this.#children[server]?.kill(signal);
  }

  /** Starts one again, with its data and ports. */
  async restart(server = 0): Promise<void> {
    this.#launch(server);
    await this.ready();
  }

  async close(): Promise<void> {
    await Promise.all(this.#children.map((_, i) => this.stop(i)));
    await rm(this.#folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #launch(i: number): void {
    const args = ['agent', '-config-file', join(this.#folder, `${i}.json`)];
    this.#children[i] = spawn(engine('consul'), args, { stdio: 'ignore' });
  }

  #configOf(i: number, { settings = {} }: ConsulWishes): object {
    const { https, ...ports } = this.ports[i]!;
    return {
      node_name: `server-${i}`,
      server: true,
      bootstrap_expect: this.ports.length,
      data_dir: join(this.#folder, `data-${i}`),
      bind_addr: '127.0.0.1',
      client_addr: '127.0.0.1',
      retry_join: this.ports.map(({ serf_lan }) => `127.0.0.1:${serf_lan}`),
      retry_interval: '1s',
      log_level: 'error',
      session_ttl_min: `${LEAST_TTL_MS}ms`,
      performance: { raft_multiplier: 1 },
      connect: { enabled: false },
      peering: { enabled: false },
      ui_config: { enabled: false },
      disable_update_check: true,
      disable_anonymous_signature: true,
      // Hundreds of tests are one client to it.
      limits: { http_max_conns_per_client: 2000 },
      ...settings,
      ports: {
        ...ports,
        https: 'tls' in settings ? https : -1,
        ...{ serf_wan: -1, dns: -1, grpc: -1, grpc_tls: -1 },
      },
    };
  }
}
