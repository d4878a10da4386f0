/** How a worker opens the locks of each driver. A further driver has its entry here and one in `engines.ts`. */
import pg from 'pg';
import { openNode } from 'quorate';
import { consulLocks } from 'quorate/drivers/consul';
import { etcdKv } from 'quorate/drivers/etcd';
import { postgresLocks } from 'quorate/drivers/postgres';
import { redisLocks, redlock } from 'quorate/drivers/redis';
import { type Fencing, kvLocks, kvTxnLocks, type Locks } from 'quorate/locks';
import { openClient } from '../redis.ts';

/** The place of a node of the quorum that lives in a worker. */
export interface Seat {
  readonly dataDir: string;
  /** Of all, by the names of the workers; through links that can be hurt. */
  readonly peers: Readonly<Record<string, string>>;
  readonly listenPeerUrls: readonly string[];
}

/** Drivers that must not pass: every token is 7, or everybody has a lock of his own. */
export type Breakage = 'constant token' | 'no exclusion';

/** What a worker is told. It goes through its environment, as JSON. */
export interface Wiring {
  readonly driver: keyof typeof DRIVERS;
  /** Of the worker. */
  readonly name: string;
  /** Where each server of the engine is reached, on loopback: through links that can be hurt. */
  readonly ports: readonly number[];
  /** Where the worker is a server itself. */
  readonly seat?: Seat | undefined;
  /** Of PostgreSQL: three heartbeats. */
  readonly ttlMs: number;
  /** It tries again and again, and stands in no queue: whenever the lock is free by mistake, it is there. */
  readonly isHasty: boolean;
  readonly breakage: Breakage | undefined;
}

/** For whoever waits for the engine; the client's own patience must not be longer than the lock's. */
const CALL_MS = 1000;

/** As those of the servers in `engines.ts`. */
const ELECTIONS = { heartbeatMs: 50, electionMs: 500 };

const addressesOf = ({ ports }: Wiring) => ports.map((port) => `127.0.0.1:${port}`);

const kvOf = (wiring: Wiring) => etcdKv({ endpoints: addressesOf(wiring), timeoutMs: CALL_MS });

// ioredis: node-redis may never be ready again after a connection that broke, see docs/redis.md.
const redisOf = async (port: number) => (await openClient('ioredis', port)).client;

export const DRIVERS = {
  kv: async (wiring: Wiring) => kvLocks(kvOf(wiring), { ttl: wiring.ttlMs }),
  embedded: async ({ name, seat, ttlMs }: Wiring) => {
    const node = await openNode({ name, ...seat!, ...ELECTIONS });
    await node.ready();
    return kvLocks(node.kv, { ttl: ttlMs });
  },
  txn: async (wiring: Wiring) => kvTxnLocks(kvOf(wiring), { ttl: wiring.ttlMs }),
  redis: async ({ ports, ttlMs }: Wiring) => redisLocks(await redisOf(ports[0]!), { ttl: ttlMs }),
  redlock: async ({ ports, ttlMs }: Wiring) =>
    redlock(await Promise.all(ports.map(redisOf)), { ttl: ttlMs }),
  consul: async (wiring: Wiring) =>
    consulLocks({ address: addressesOf(wiring), ttl: wiring.ttlMs, timeout: CALL_MS }),
  postgres: async ({ ports, ttlMs }: Wiring) => {
    const to = { host: '127.0.0.1', port: ports[0]!, user: 'postgres', database: 'postgres' };
    const pool = new pg.Pool({ ...to, max: 10 });
    pool.on('error', () => undefined);
    return postgresLocks(pool, { heartbeat: ttlMs / 3, connectTimeout: CALL_MS });
  },
} satisfies Readonly<Record<string, (wiring: Wiring) => Promise<Locks<Fencing>>>>;
