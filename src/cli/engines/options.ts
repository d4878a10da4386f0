/** Which engine `lock` and `elect` use, and which options belong to it. */
import type { OptionSpecs, Values } from '../args.ts';
import { clientOptions } from '../client.ts';
import { type Environment, UsageError } from '../io.ts';

/** `etcd` is also the quorum: both speak the same API. */
export const DRIVERS = ['etcd', 'redis', 'redlock', 'postgres', 'consul'] as const;
export type DriverName = (typeof DRIVERS)[number];

export const engineOptions = {
  ...clientOptions,
  driver: { type: 'string' },
  'redis-url': { type: 'string', multiple: true },
  'postgres-url': { type: 'string' },
  'consul-url': { type: 'string', multiple: true },
} as const satisfies OptionSpecs;

export type EngineValues = Values<typeof engineOptions>;

const ETCD: readonly DriverName[] = ['etcd'];
const REDIS: readonly DriverName[] = ['redis', 'redlock'];
const TLS: readonly DriverName[] = [...ETCD, ...REDIS, 'consul'];

/** Whose options these are; all others are everybody's. */
const OWNERS: Readonly<Record<string, readonly DriverName[]>> = {
  endpoints: ETCD,
  user: ETCD,
  password: ETCD,
  cacert: TLS,
  cert: TLS,
  key: TLS,
  'insecure-skip-tls-verify': TLS,
  'redis-url': REDIS,
  'postgres-url': ['postgres'],
  'consul-url': ['consul'],
};

/** @throws UsageError for an unknown driver, and for options of another one */
export function driverOf(topic: string, values: EngineValues, env: Environment): DriverName {
  const given = values.driver ?? (env['QUORATE_DRIVER'] || 'etcd');
  const driver = DRIVERS.find((name) => name === given);
  if (driver === undefined) {
    throw new UsageError(`--driver is one of ${DRIVERS.join(', ')}, not '${given}'`, topic);
  }
  for (const [option, owners] of Object.entries(OWNERS)) {
    if (values[option as keyof EngineValues] === undefined || owners.includes(driver)) continue;
    const wanted = owners.map((name) => `--driver ${name}`).join(' or ');
    throw new UsageError(`--${option} is for ${wanted}, not for ${driver}`, topic);
  }
  return driver;
}
