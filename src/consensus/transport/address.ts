/** Peer URLs: where a node listens. */
import { QuorateError } from '../../core/errors.ts';

/** Where a node listens. */
export interface PeerAddress {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
}

/** Parses a peer URL. Throws `ERR_INVALID_ARGUMENT`. */
export function parsePeerUrl(url: string): PeerAddress {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw invalidUrl(url, 'it is no URL');
  }
  const secure = parsed.protocol === 'https:';
  if (!secure && parsed.protocol !== 'http:') throw invalidUrl(url, 'the scheme is unknown');
  if (parsed.pathname !== '/' || parsed.search !== '') throw invalidUrl(url, 'it has a path');
  // The URL parser drops a port that is the scheme's default one.
  const port = parsed.port === '' ? (secure ? 443 : 80) : Number(parsed.port);
  return { url, host: parsed.hostname.replace(/^\[|\]$/g, ''), port, secure };
}

/** Whether `parsePeerUrl` takes it. */
export function isPeerUrl(url: string): boolean {
  try {
    return parsePeerUrl(url).url === url;
  } catch {
    return false;
  }
}

function invalidUrl(url: string, why: string): QuorateError {
  return new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `peer URL ${JSON.stringify(url)}: ${why}; use http://host:port or https://host:port`,
  );
}
