/**
 * The engines, as real servers, and what can be done to each beside hurting its links: restarted, its leader
 * killed, the lock taken away with the engine's own tools, its clock moved.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { etcdKv, etcdService } from 'quorate/drivers/etcd';
import { dialerOf } from '../chaos/fleet.ts';
import { startCluster, until } from '../cluster.ts';
import { ConsulServers, missingConsul } from '../consul.ts';
import { missingEtcd, startEtcd } from '../etcd.ts';
import type { FaultyNetwork, Identify } from '../faulty-network.ts';
import { freePorts } from '../ports.ts';
import { missingPostgres, PostgresServer } from '../postgres.ts';
import { missingRedis, type Persistence, RedisServer } from '../redis.ts';
import type { Seat, Wiring } from './drivers.ts';
import { type Hold, LOCK } from './messages.ts';
import { MovableClock } from './movable-clock.ts';

export interface Engine extends AsyncDisposable {
  readonly driver: Wiring['driver'];
  readonly ttlMs: number;
  /** Another has the lock of a holder that is gone after so long, in good weather. */
  readonly freeAfterMs: number;
  /** Of its servers. */
  readonly ports: readonly number[];
  /** Where workers are the servers: their places. */
  seats?(network: FaultyNetwork, names: readonly string[]): Promise<ReadonlyMap<string, Seat>>;
  /** As in a power failure: all servers are killed, and start again. */
  restart?(): Promise<void>;
  /** The lock is deleted in the engine, as by an operator who does not know of locks. */
  steal?(hold: Hold): Promise<void>;
  /** Kills it; the function that is returned starts it again. `undefined`: nobody leads now. */
  killLeader?(): Promise<(() => Promise<void>) | undefined>;
  /** The clock that its expiry trusts is set to another time. */
  moveClock?(byMs: number): void;
  /** Why it cannot be set here. */
  readonly noClock?: string;
}

/** Elections in half a second; leases of two seconds are longer than the least that is possible then. */
const FLAGS = ['--heartbeat-interval=50', '--election-timeout=500'];
const RESTART_MS = 30_000;

interface Member {
  kill(): Promise<void>;
  start(): void;
}

/** What speaks etcd's API. */
async function etcdLike(
  driver: Wiring['driver'],
  endpoints: readonly string[],
  members: readonly Member[],
  close: () => Promise<void>,
): Promise<Engine> {
  const kv = etcdKv({ endpoints, timeoutMs: 1000 });
  const leader = async (): Promise<number | undefined> => {
    const service = etcdService({ endpoints, timeoutMs: 500 });
    const leads = endpoints.map(async (endpoint) => {
      const status = await service.status(endpoint).catch(() => undefined);
      return (
        status !== undefined && status.leader !== 0n && status.leader === status.header?.memberId
      );
    });
    const found = (await Promise.all(leads)).indexOf(true);
    await service.close();
    return found < 0 ? undefined : found;
  };
  const answers = (): Promise<unknown> =>
    until('the store takes writes', () => kv.put('probe', 'x'), RESTART_MS);
  return {
    driver,
    ttlMs: 2000,
    freeAfterMs: 3000,
    ports: endpoints.map((endpoint) => Number(endpoint.split(':')[1])),
    async restart() {
      await Promise.all(members.map((member) => member.kill()));
      for (const member of members) member.start();
      await answers();
    },
    async steal({ holder }) {
      await until('the key is deleted', () => kv.delete(holder), RESTART_MS);
    },
    async killLeader() {
      const member = members[(await leader()) ?? -1];
      if (member === undefined) return undefined;
      await member.kill();
      return async () => {
        member.start();
        await answers();
      };
    },
    async [Symbol.asyncDispose]() {
      await kv.close();
      await close();
    },
  };
}

async function quorum(driver: Wiring['driver']): Promise<Engine> {
  const cluster = await startCluster({ flags: FLAGS });
  const members = cluster.members.map((member) => ({
    kill: () => member.kill('SIGKILL'),
    start: () => member.start(),
  }));
  return etcdLike(driver, cluster.endpoints, members, () => cluster.close());
}

/** Every worker is a node of the quorum. */
async function embedded(): Promise<Engine> {
  const folder = await mkdtemp(join(tmpdir(), 'quorate-lock-chaos-'));
  return {
    driver: 'embedded',
    ttlMs: 2000,
    freeAfterMs: 3000,
    ports: [],
    async seats(network, names) {
      const ports = await freePorts(names.length);
      const nameOf = new Map<string, string>();
      for (const [i, name] of names.entries()) {
        const identify: Identify = (first) => dialerOf(first, nameOf);
        nameOf.set(`http://127.0.0.1:${await network.listen(name, ports[i]!, identify)}`, name);
      }
      const peers = Object.fromEntries([...nameOf].map(([url, name]) => [name, url]));
      const seats = names.map((name, i): [string, Seat] => {
        const listenPeerUrls = [`http://127.0.0.1:${ports[i]}`];
        return [name, { dataDir: join(folder, name), peers, listenPeerUrls }];
      });
      return new Map(seats);
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

async function etcd(driver: Wiring['driver']): Promise<Engine> {
  const cluster = await startEtcd(3, FLAGS);
  const members = cluster.endpoints.map((_, i) => ({
    kill: () => cluster.kill(i),
    start: () => cluster.restart(i),
  }));
  return etcdLike(driver, cluster.endpoints, members, () => cluster.close());
}

async function redises(
  driver: 'redis' | 'redlock',
  size: number,
  persistence: Persistence,
): Promise<Engine> {
  const { clock, why } = MovableClock.open();
  const starting = Array.from({ length: size }, () => RedisServer.start(persistence, clock?.env));
  const servers = await Promise.all(starting);
  return {
    driver,
    ttlMs: 1000,
    freeAfterMs: 1500,
    ports: servers.map(({ port }) => port),
    async restart() {
      await Promise.all(servers.map((server) => server.kill()));
      await Promise.all(servers.map((server) => server.start()));
    },
    async steal() {
      const key = `quorate:${driver === 'redis' ? 'lock' : driver}:{${LOCK}}`;
      await Promise.all(servers.map((server) => server.command('DEL', key)));
    },
    ...(clock ? { moveClock: (byMs: number) => clock.move(byMs) } : { noClock: why }),
    async [Symbol.asyncDispose]() {
      await Promise.all(servers.map((server) => server.close()));
      clock?.close();
    },
  };
}

async function consul(): Promise<Engine> {
  const servers = await ConsulServers.start(3);
  const all = servers.ports.map((_, i) => i);
  return {
    driver: 'consul',
    ttlMs: 1000,
    // It ends after up to twice as long, and nobody gets it for as long again.
    freeAfterMs: 3500,
    ports: servers.ports.map(({ http }) => http),
    async restart() {
      await Promise.all(all.map((i) => servers.stop(i)));
      await Promise.all(all.map((i) => servers.restart(i)));
    },
    async steal() {
      const path = `/v1/kv/quorate/locks/${LOCK}`;
      await until('the key is deleted', () => servers.call('DELETE', path), RESTART_MS);
    },
    async killLeader() {
      const leader = await servers.leader();
      await servers.stop(leader);
      return () => servers.restart(leader);
    },
    [Symbol.asyncDispose]: () => servers.close(),
  };
}

async function postgres(): Promise<Engine> {
  // What is committed is to be on the disk: tokens depend on it.
  const server = await PostgresServer.start({ fsync: 'on', log_min_messages: 'fatal' });
  return {
    driver: 'postgres',
    ttlMs: 1500,
    freeAfterMs: 500,
    ports: [server.port],
    async restart() {
      await server.stop('SIGKILL');
      await server.start();
    },
    async steal({ holder }) {
      await server.query('select pg_terminate_backend($1)', [Number.parseInt(holder, 10)]);
    },
    [Symbol.asyncDispose]: () => server.close(),
  };
}

export interface EngineKind {
  /** Why it cannot be here, or `false`. */
  readonly missing: () => string | false;
  readonly start: () => Promise<Engine>;
}

/** Each with its driver; by the name that tables show. */
export const ENGINES = {
  'quorum, embedded': { missing: () => false, start: embedded },
  quorum: { missing: () => false, start: () => quorum('kv') },
  etcd: { missing: () => missingEtcd('etcd', 'etcdctl'), start: () => etcd('kv') },
  'etcd, transaction lock': {
    missing: () => missingEtcd('etcd', 'etcdctl'),
    start: () => etcd('txn'),
  },
  Consul: { missing: missingConsul, start: consul },
  PostgreSQL: { missing: missingPostgres, start: postgres },
  Redis: { missing: missingRedis, start: () => redises('redis', 1, 'always') },
  'Redis that keeps nothing': { missing: missingRedis, start: () => redises('redis', 1, 'none') },
  'Redlock on masters that keep nothing': {
    missing: missingRedis,
    start: () => redises('redlock', 3, 'none'),
  },
} satisfies Readonly<Record<string, EngineKind>>;

export type EngineName = keyof typeof ENGINES;
export const ENGINE_NAMES = Object.keys(ENGINES) as EngineName[];
