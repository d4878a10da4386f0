/** Locks and elections on the engine that the command line names. Drivers are loaded when asked for. */
import type { Elections, Fencing, Locks } from '../../locks/index.ts';
import { connection } from '../client.ts';
import { type Io, UsageError } from '../io.ts';
import { type Opened, opened } from './opened.ts';
import { driverOf, type EngineValues } from './options.ts';

/** @throws UsageError for options that cannot be, CommandError where it cannot be reached */
export async function openLocks(
  topic: string,
  values: EngineValues,
  ttlMs: number,
  io: Io,
): Promise<Opened<Locks<Fencing>>> {
  const driver = driverOf(topic, values, io.env);
  if (driver === 'postgres') {
    const { openPostgres } = await import('./postgres.ts');
    return openPostgres(topic, values, ttlMs, io);
  }
  if (driver === 'consul') {
    const { openConsul } = await import('./consul.ts');
    return openConsul(topic, values, ttlMs, io);
  }
  if (driver === 'redis' || driver === 'redlock') {
    const { openRedis, openRedlock } = await import('./redis.ts');
    return (driver === 'redis' ? openRedis : openRedlock)(topic, values, ttlMs, io);
  }
  const [{ etcdKv }, { kvLocks }] = await etcd();
  const kv = etcdKv(connection(topic, values, io.env));
  return opened(kvLocks(kv, { ttl: ttlMs }), () => kv.close());
}

/** @throws as `openLocks`, and UsageError for an engine without elections */
export async function openElections(
  topic: string,
  values: EngineValues,
  ttlMs: number,
  io: Io,
): Promise<Opened<Elections>> {
  const driver = driverOf(topic, values, io.env);
  if (driver === 'redis') {
    const { openRedisElections } = await import('./redis.ts');
    return openRedisElections(topic, values, ttlMs, io);
  }
  if (driver === 'consul') {
    const { openConsulElections } = await import('./consul.ts');
    return openConsulElections(topic, values, ttlMs, io);
  }
  if (driver !== 'etcd') {
    throw new UsageError(`${driver} has no elections: use --driver etcd, redis or consul`, topic);
  }
  const [{ etcdKv }, { kvElections }] = await etcd();
  const kv = etcdKv(connection(topic, values, io.env));
  return opened(kvElections(kv, { ttl: ttlMs }), () => kv.close());
}

function etcd(): Promise<
  [typeof import('../../drivers/etcd/index.ts'), typeof import('../../locks/index.ts')]
> {
  return Promise.all([import('../../drivers/etcd/index.ts'), import('../../locks/index.ts')]);
}
