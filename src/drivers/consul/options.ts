/** What a user may say about the way to Consul, checked and completed. */
import { type Clock, systemClock } from '../../core/clock.ts';
import { type Duration, durationWithin } from '../../core/duration.ts';
import { invalid } from '../../core/errors.ts';
import { wholeNumber } from '../../core/numbers.ts';
import { type Random, systemRandom } from '../../core/random.ts';
import { requireCertificates } from '../../core/tls.ts';

/** Certificates in PEM, as text or bytes (not file names). */
export interface ConsulTls {
  /** Authorities that the agent's certificate is checked against. @defaultValue Node's own */
  readonly ca?: string | Buffer;
  /** Client certificate, with `key`, for agents that ask for one. */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  /** Name expected in the agent's certificate. @defaultValue the address's host */
  readonly serverName?: string;
  /** Accepts any certificate: for tests only. @defaultValue `false` */
  readonly insecureSkipVerify?: boolean;
}

/** Where Consul is, and how to reach it. */
export interface ConsulConnection {
  /**
   * The HTTP API of an agent: `'http://…'`, `'https://…'`, or `'host:port'`. Of several, as a list or separated
   * by commas, one is used, and the next where that does not answer. @defaultValue `'http://127.0.0.1:8500'`
   */
  readonly address?: string | readonly string[] | undefined;
  /** The ACL token. @defaultValue none: what the agent lets anonymous users do */
  readonly token?: string | undefined;
  /** Used for `https://` addresses, and for those without a scheme where this is given. */
  readonly tls?: ConsulTls | undefined;
  /** How long a request may take, at most `ttl`. @defaultValue `'5s'` */
  readonly timeout?: Duration | undefined;
  /**
   * How many requests may wait for changes at a time, each on a connection of its own: one for each name that
   * is waited for or held. Beyond that who waits looks twice a second, and who holds every third of `ttl`. Agents
   * let a client have 200 connections. @defaultValue 64
   */
  readonly maxWaits?: number | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
  /** Spreads what many do at a time. @defaultValue the system's */
  readonly random?: Random | undefined;
}

/** One address of an agent. */
export interface Target {
  /** For messages. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly isSecure: boolean;
}

export interface ResolvedConnection {
  readonly targets: readonly Target[];
  readonly token: string | undefined;
  readonly tls: ConsulTls;
  readonly timeoutMs: number;
  readonly maxWaits: number;
  readonly clock: Clock;
  readonly random: Random;
}

const DEFAULT_ADDRESS = 'http://127.0.0.1:8500';
const DEFAULT_PORT = 8500;
const MOST_ADDRESSES = 64;

/** @throws `ERR_INVALID_ARGUMENT` that names the option */
export function resolveConnection(options: ConsulConnection): ResolvedConnection {
  const { address = DEFAULT_ADDRESS, token, tls = {}, maxWaits = 64 } = options;
  // It goes into a header.
  if (token !== undefined && (typeof token !== 'string' || !/^[!-~]{1,4096}$/.test(token))) {
    throw invalid('token: text of printable ASCII without spaces is needed');
  }
  wholeNumber('maxWaits', maxWaits, 1, 10_000);
  requireCertificates(tls);
  const timeoutMs = durationWithin(options.timeout ?? '5s', 'timeout', 1, 600_000);
  return {
    targets: targetsOf(address, options.tls !== undefined),
    token,
    tls,
    timeoutMs,
    maxWaits,
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
  };
}

function targetsOf(address: string | readonly string[], hasTls: boolean): readonly Target[] {
  const isList = Array.isArray(address) || typeof address === 'string';
  const texts = (typeof address === 'string' ? address.split(',') : isList ? [...address] : [])
    .map((text) => String(text).trim())
    .filter((text) => text !== '');
  const targets = new Map(texts.map((text) => [text, targetOf(text, hasTls)]));
  if (targets.size > 0 && targets.size <= MOST_ADDRESSES) return [...targets.values()];
  throw invalid(`address: 1 to ${MOST_ADDRESSES} are needed, such as '${DEFAULT_ADDRESS}'`);
}

function targetOf(text: string, hasTls: boolean): Target {
  const hasScheme = text.includes('://');
  const url = URL.parse(hasScheme ? text : `${hasTls ? 'https' : 'http'}://${text}`);
  const isSecure = url?.protocol === 'https:';
  const isBare = url !== null && [url.origin, `${url.origin}/`].includes(url.href);
  if (url === null || !isBare || (!isSecure && url.protocol !== 'http:')) {
    // What was given may hold a password.
    throw invalid('address: is no address of an agent; use http://host:port or https://host:port');
  }
  const usualPort = hasScheme ? (isSecure ? 443 : 80) : DEFAULT_PORT;
  const port = url.port === '' ? usualPort : Number(url.port);
  if (port === 0) throw invalid('address: port 0 is none');
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return { name: `${url.hostname}:${port}`, host, port, isSecure };
}
