/** What a user may say about the connection to an etcd-compatible cluster, checked and completed. */
import { type Clock, systemClock } from '../../core/clock.ts';
import { type Duration, durationMs } from '../../core/duration.ts';
import { invalid } from '../../core/errors.ts';
import { type Random, systemRandom } from '../../core/random.ts';
import { requireCertificates } from '../../core/tls.ts';

/** Certificates in PEM, as text or bytes (not file names). */
export interface EtcdTls {
  /** Authorities that the server's certificate is checked against. @defaultValue Node's own */
  readonly ca?: string | Buffer;
  /** Client certificate, with `key`, for servers that ask for one. */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  /** Name expected in the server's certificate. @defaultValue the endpoint's host */
  readonly serverName?: string;
  /** Accepts any server certificate: for tests only. @defaultValue `false` */
  readonly insecureSkipVerify?: boolean;
}

/** Which cluster, and how to reach it. */
export interface EtcdOptions {
  /** `'127.0.0.1:2379'`, `'http://…'`, `'https://…'`; several as a list or separated by commas. */
  readonly endpoints: string | readonly string[];
  /** Used for `https://` endpoints, and for endpoints without a scheme where this is given. */
  readonly tls?: EtcdTls;
  /** For a cluster with authentication switched on. */
  readonly auth?: { readonly username: string; readonly password: string };
  /** How long a call may take, retries included. @defaultValue `'5s'` */
  readonly timeoutMs?: Duration;
  /** How long one connection attempt may take. @defaultValue `'2s'` */
  readonly connectTimeoutMs?: Duration;
  /**
   * Silence on a connection in use after which the server is pinged. At least 5 s: etcd closes
   * connections that ping more often. @defaultValue `'6s'`
   */
  readonly keepaliveMs?: Duration;
  /** How long a ping may stay unanswered before the connection counts as dead. @defaultValue `'4s'` */
  readonly keepaliveTimeoutMs?: Duration;
  /** Largest answer that is taken, in bytes. @defaultValue 256 MiB */
  readonly maxMessageBytes?: number;
  /** @defaultValue the system's */
  readonly clock?: Clock;
  /** Spreads the waits between attempts. @defaultValue the system's */
  readonly random?: Random;
}

/** One address of the cluster. */
export interface Target {
  /** As the user may write it again: `host:port`, for messages too. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly tls: EtcdTls | undefined;
}

export interface ResolvedOptions {
  readonly targets: readonly Target[];
  readonly tls: EtcdTls | undefined;
  readonly auth: { readonly username: string; readonly password: string } | undefined;
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
  readonly maxMessageBytes: number;
  readonly clock: Clock;
  readonly random: Random;
}

/** etcd's `MinTime` of its keepalive enforcement policy. */
const SHORTEST_KEEPALIVE_MS = 5_000;
const DEFAULT_PORT = 2379;
/** More endpoints than any cluster has; a list beyond it is a mistake. */
const MOST_ENDPOINTS = 64;

/** @throws `ERR_INVALID_ARGUMENT` that names the option. */
export function resolveOptions(options: EtcdOptions): ResolvedOptions {
  const given: Partial<EtcdOptions> | undefined = options;
  if (typeof given?.endpoints !== 'string' && !Array.isArray(given?.endpoints)) {
    throw invalid("endpoints: none given; pass for example '127.0.0.1:2379'");
  }
  const keepaliveMs = durationMs(options.keepaliveMs ?? 6_000, 'keepaliveMs');
  if (keepaliveMs < SHORTEST_KEEPALIVE_MS) {
    throw invalid(`keepaliveMs: ${keepaliveMs} is below 5000, and etcd closes connections for it`);
  }
  const maxMessageBytes = options.maxMessageBytes ?? 256 * 1024 * 1024;
  if (!Number.isSafeInteger(maxMessageBytes) || maxMessageBytes < 1024) {
    throw invalid(`maxMessageBytes: ${maxMessageBytes} is no whole number from 1024`);
  }
  if (options.tls !== undefined) requireCertificates(options.tls);
  return {
    targets: parseEndpoints(options.endpoints, options.tls),
    tls: options.tls,
    auth: options.auth,
    timeoutMs: positive(options.timeoutMs ?? 5_000, 'timeoutMs'),
    connectTimeoutMs: positive(options.connectTimeoutMs ?? 2_000, 'connectTimeoutMs'),
    keepaliveMs,
    keepaliveTimeoutMs: positive(options.keepaliveTimeoutMs ?? 4_000, 'keepaliveTimeoutMs'),
    maxMessageBytes,
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
  };
}

function parseEndpoints(
  endpoints: string | readonly string[],
  tls: EtcdTls | undefined,
): readonly Target[] {
  const texts = (typeof endpoints === 'string' ? endpoints.split(',') : endpoints)
    .map((text) => String(text).trim())
    .filter((text) => text !== '');
  if (texts.length === 0) throw invalid("endpoints: none given; pass for example '127.0.0.1:2379'");
  const targets = new Map<string, Target>();
  for (const text of texts) {
    const target = parseEndpoint(text, tls);
    if (!targets.has(target.name)) targets.set(target.name, target);
  }
  if (targets.size > MOST_ENDPOINTS) throw invalid(`endpoints: more than ${MOST_ENDPOINTS} given`);
  return [...targets.values()];
}

/** Reads one endpoint. @throws `ERR_INVALID_ARGUMENT` */
export function parseEndpoint(text: string, tls: EtcdTls | undefined): Target {
  const url = URL.parse(text.includes('://') ? text : `plain://${text}`);
  const secure = url?.protocol === 'https:' || (url?.protocol === 'plain:' && tls !== undefined);
  const known = ['plain:', 'http:', 'https:'].includes(url?.protocol ?? '');
  const bare = url !== null && ['', '/'].includes(url.pathname) && url.search === '';
  if (url === null || !known || url.hostname === '' || url.username !== '' || !bare) {
    throw invalid(
      `endpoints: ${JSON.stringify(text)} is no endpoint; use host:port, http://host:port or https://host:port`,
    );
  }
  // The URL parser drops the port that is the default of its scheme.
  const schemePort = { 'http:': 80, 'https:': 443 }[url.protocol] ?? DEFAULT_PORT;
  const explicit = /:\d+\/?$/.test(text);
  const port = url.port !== '' ? Number(url.port) : explicit ? schemePort : DEFAULT_PORT;
  if (port === 0) throw invalid(`endpoints: ${JSON.stringify(text)} has port 0`);
  return {
    name: `${url.hostname}:${port}`,
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port,
    tls: secure ? (tls ?? {}) : undefined,
  };
}

function positive(duration: Duration, name: string): number {
  const ms = durationMs(duration, name);
  if (ms > 0) return ms;
  throw invalid(`${name}: must be above zero`);
}
