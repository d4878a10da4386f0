/** The suite of locks on a real PostgreSQL. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import {
  type LockLacks,
  type LocksTarget,
  lacksOf,
  lockCases,
  runLockCases,
} from '../../src/conformance/index.ts';
import { durationMs } from '../../src/core/duration.ts';
import { type PostgresPool, postgresLocks } from '../../src/drivers/postgres/index.ts';
import { missingPostgres, PostgresServer } from '../support/postgres.ts';
import { registerCase } from './locks-over-kv.ts';

const LACKS: LockLacks = {
  ...lacksOf({
    fencing: 'monotonic',
    waiters: 'fifo',
    expiry: 'connection',
    shared: true,
    permits: false,
  }),
  elections: 'the driver has no elections',
  depose: 'the driver has no elections',
};

const missing = missingPostgres();
describe('locks on PostgreSQL', { skip: missing }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await PostgresServer.start();
  });
  after(() => server.close());
  runLockCases(lockCases, () => targetOn(server), registerCase, LACKS);

  test('promises what the suite holds it to', () => {
    const { guarantees } = postgresLocks(server.pool());
    const { elections, depose, ...lacks } = LACKS;
    assert.deepEqual(lacksOf(guarantees), lacks);
  });
});

/** The connections of one process, which can be killed. */
class ProcessPool implements PostgresPool {
  readonly #pool: pg.Pool;
  readonly #clients = new Set<pg.PoolClient>();
  #isAlive = true;

  constructor(url: string) {
    this.#pool = new pg.Pool({ connectionString: url, max: 30 });
    this.#pool.on('error', () => undefined);
  }

  async connect(): Promise<pg.PoolClient> {
    assert.ok(this.#isAlive, 'this process was killed');
    const client = await this.#pool.connect();
    this.#clients.add(client);
    client.on('end', () => this.#clients.delete(client));
    return client;
  }

  /** What the system does with a process: its sockets close, no goodbye is said. */
  kill(): void {
    this.#isAlive = false;
    for (const { connection } of this.#clients) connection.stream.destroy();
  }

  end(): Promise<void> {
    return this.#pool.end();
  }
}

/** Nothing else runs in this process for so long. */
function block(delayMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, delayMs);
}

function targetOn(server: PostgresServer): LocksTarget {
  let open = 0;
  return {
    ttlMs: 900,
    open({ ttl, owner }) {
      const pool = new ProcessPool(server.url);
      const heartbeat = durationMs(ttl, 'ttl') / 3;
      open += 1;
      const close = (): Promise<void> => {
        open -= 1;
        return pool.end();
      };
      return {
        locks: postgresLocks(pool, { owner, heartbeat, maxConnections: 30 }),
        abandon() {
          pool.kill();
          return close();
        },
        close,
      };
    },
    async leftovers() {
      const locks = await server.query<{ line: string }>(
        "select concat_ws(' ', 'lock', pid, classid, objid, mode, granted) as line from pg_locks where locktype = 'advisory'",
      );
      const connections = await server.query<{ line: string }>(
        "select concat_ws(' ', 'connection', pid, query) as line from pg_stat_activity where application_name like 'client-%'",
      );
      // While clients are open they have some that are idle.
      return [...locks, ...(open === 0 ? connections : [])].map(({ line }) => line);
    },
    stall: block,
  };
}
