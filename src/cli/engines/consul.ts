/** `--driver consul`, with the variables of Consul's own command line. */
import {
  type ConsulConnection,
  type ConsulLocksOptions,
  consulElections,
  consulLocks,
} from '../../drivers/consul/index.ts';
import type { Elections, Fencing, Locks } from '../../locks/index.ts';
import { timeoutMs, tlsOf } from '../client.ts';
import { type Environment, type Io, UsageError } from '../io.ts';
import { type Opened, opened } from './opened.ts';
import type { EngineValues } from './options.ts';

const DEFAULT_URL = 'http://127.0.0.1:8500';
const LEAST_TTL_MS = 1000;

export function openConsul(
  topic: string,
  values: EngineValues,
  ttlMs: number,
  io: Io,
): Opened<Locks<Fencing>> {
  const locks = consulLocks(optionsOf(topic, values, ttlMs, io.env));
  return opened(locks as Locks<Fencing>, () => undefined);
}

export function openConsulElections(
  topic: string,
  values: EngineValues,
  ttlMs: number,
  io: Io,
): Opened<Elections> {
  return opened(consulElections(optionsOf(topic, values, ttlMs, io.env)), () => undefined);
}

function optionsOf(
  topic: string,
  values: EngineValues,
  ttl: number,
  env: Environment,
): ConsulLocksOptions {
  if (ttl < LEAST_TTL_MS) {
    throw new UsageError(`--ttl ${ttl} ms is too short: at least one second is needed`, topic);
  }
  return { ...connectionOf(topic, values, env), ttl };
}

function connectionOf(topic: string, values: EngineValues, env: Environment): ConsulConnection {
  const scheme = /^(1|t|true)$/i.test(env['CONSUL_HTTP_SSL'] ?? '') ? 'https' : 'http';
  const given = values['consul-url'] ?? (env['CONSUL_HTTP_ADDR'] || DEFAULT_URL).split(',');
  const address = given
    .map((one) => one.trim())
    .map((url) => (url.includes('://') ? url : `${scheme}://${withPort(url)}`));
  for (const url of address) requireUrl(topic, url);
  const { ca, cert, key, insecureSkipVerify } = tlsOf(values, {}) ?? {};
  const tls = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(insecureSkipVerify === true ? { insecureSkipVerify } : {}),
  };
  const token = env['CONSUL_HTTP_TOKEN'] || undefined;
  return { address, token, tls, timeout: timeoutMs(topic, values, env) };
}

/** As Consul's own command line takes it. */
function withPort(address: string): string {
  return /:\d+\/?$/.test(address) ? address : `${address}:8500`;
}

function requireUrl(topic: string, url: string): void {
  if (/^https?:\/\/[^/@]+\/?$/.test(url) && URL.canParse(url)) return;
  // What was given may hold a password.
  throw new UsageError('--consul-url is such as http://HOST:8500, or https:// with TLS', topic);
}
