/** `--driver postgres`: advisory locks, over the `pg` of the project that the command runs in. */
import { type PostgresPool, postgresLocks } from '../../drivers/postgres/index.ts';
import type { Fencing, Locks } from '../../locks/index.ts';
import { timeoutMs } from '../client.ts';
import { CommandError, type Io, UsageError } from '../io.ts';
import { loadPackage } from '../packages.ts';
import { type Opened, opened } from './opened.ts';
import type { EngineValues } from './options.ts';

interface Pool extends PostgresPool {
  on(event: 'error', listener: () => void): unknown;
  end(): Promise<void>;
}

/** The hub, and one that waits. */
const CONNECTIONS = 2;
const LEAST_TTL_MS = 1000;

export async function openPostgres(
  topic: string,
  values: EngineValues,
  ttlMs: number,
  io: Io,
): Promise<Opened<Locks<Fencing>>> {
  if (ttlMs < LEAST_TTL_MS) {
    throw new UsageError(`--ttl ${ttlMs} ms is too short: at least one second is needed`, topic);
  }
  const url = values['postgres-url'] ?? io.env['QUORATE_POSTGRES_URL'];
  if (url && !/^postgres(ql)?:\/\//.test(url)) {
    throw new UsageError('--postgres-url begins with postgres:// or postgresql://', topic);
  }
  const connectTimeout = timeoutMs(topic, values, io.env);
  const { exports } = await loadPackage(['pg'], '--driver postgres');
  const { Pool } = exports as { readonly Pool?: new (options: object) => Pool };
  if (Pool === undefined) {
    throw new CommandError("the package 'pg' has no Pool: is it node-postgres? npm install pg");
  }
  const pool = new Pool({
    ...(url ? { connectionString: url } : {}),
    max: CONNECTIONS,
    connectionTimeoutMillis: connectTimeout,
  });
  pool.on('error', () => undefined);
  // After three questions without an answer a lock is lost.
  const locks = postgresLocks(pool, {
    heartbeat: Math.floor(ttlMs / 3),
    connectTimeout,
    maxConnections: CONNECTIONS,
  });
  return opened(locks as Locks<Fencing>, () => pool.end());
}
