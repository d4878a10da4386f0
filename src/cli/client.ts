/** How the client commands reach a cluster: any etcd-compatible endpoints, with etcdctl's options and variables. */
import { readFileSync } from 'node:fs';
import type { EtcdOptions, EtcdTls } from '../drivers/etcd/options.ts';
import { commonOptions, durationOf, type OptionSpecs, type Values } from './args.ts';
import { CommandError, type Environment, UsageError } from './io.ts';

export const clientOptions = {
  ...commonOptions,
  endpoints: { type: 'string', multiple: true },
  cacert: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  user: { type: 'string' },
  password: { type: 'string' },
  'command-timeout': { type: 'string' },
  'insecure-skip-tls-verify': { type: 'boolean' },
} as const satisfies OptionSpecs;

export type ClientValues = Values<typeof clientOptions>;

const DEFAULT_ENDPOINT = '127.0.0.1:2379';

/** The options of the driver; a flag wins over its `ETCDCTL_…` variable. */
export function connection(topic: string, values: ClientValues, env: Environment): EtcdOptions {
  const given = values.endpoints?.join(',') ?? env['ETCDCTL_ENDPOINTS'];
  const endpoints = given === undefined || given === '' ? DEFAULT_ENDPOINT : given;
  const tls = tlsOf(values, env);
  const auth = authOf(topic, values, env);
  return {
    endpoints,
    timeoutMs: timeoutMs(topic, values, env),
    ...(tls === undefined ? {} : { tls }),
    ...(auth === undefined ? {} : { auth }),
  };
}

/** How long a request, or connecting, may take. */
export function timeoutMs(topic: string, values: ClientValues, env: Environment): number {
  const timeout = values['command-timeout'] ?? env['ETCDCTL_COMMAND_TIMEOUT'] ?? '5s';
  // A bare number is seconds, as the option's default suggests.
  const duration = /^\d+$/.test(timeout) ? `${timeout}s` : timeout;
  return durationOf(topic, '--command-timeout', duration);
}

/** The files that the options name, read; `undefined` where they say nothing of TLS. */
export function tlsOf(values: ClientValues, env: Environment): EtcdTls | undefined {
  const ca = readPem('--cacert', values.cacert ?? env['ETCDCTL_CACERT']);
  const cert = readPem('--cert', values.cert ?? env['ETCDCTL_CERT']);
  const key = readPem('--key', values.key ?? env['ETCDCTL_KEY']);
  const insecure =
    values['insecure-skip-tls-verify'] ?? env['ETCDCTL_INSECURE_SKIP_TLS_VERIFY'] === 'true';
  if (ca === undefined && cert === undefined && key === undefined && !insecure) return undefined;
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(insecure ? { insecureSkipVerify: true } : {}),
  };
}

function readPem(option: string, path: string | undefined): Buffer | undefined {
  if (path === undefined || path === '') return undefined;
  try {
    return readFileSync(path);
  } catch (error) {
    throw new CommandError(`${option}: ${path} cannot be read (${(error as Error).message})`);
  }
}

function authOf(
  topic: string,
  values: ClientValues,
  env: Environment,
): { readonly username: string; readonly password: string } | undefined {
  const user = values.user ?? env['ETCDCTL_USER'];
  if (user === undefined || user === '') return undefined;
  const colon = user.indexOf(':');
  const username = colon < 0 ? user : user.slice(0, colon);
  const inline = colon < 0 ? undefined : user.slice(colon + 1);
  const password = inline ?? values.password ?? env['ETCDCTL_PASSWORD'];
  if (password !== undefined) return { username, password };
  throw new UsageError(
    '--user needs a password: --user name:password, --password, or ETCDCTL_PASSWORD in the environment',
    topic,
  );
}
