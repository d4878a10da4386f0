/**
 * The other half of a fencing token: what is written to refuses the tokens of those who held the lock before
 * (Kleppmann, "How to do distributed locking", 2016). Equal tokens pass, since one holder writes many times.
 */
import { invalid, QuorateError } from '../core/errors.ts';

/** A token, or what has one: a lock, a term as leader. */
export type TokenSource = bigint | { readonly fencingToken: bigint };

/** What databases can keep as a whole number. */
const MAX_TOKEN = 2n ** 63n - 1n;

/** The token itself. @throws `ERR_INVALID_ARGUMENT` where there is none, as of Redlock */
export function tokenOf(source: TokenSource): bigint {
  const token = typeof source === 'object' && source !== null ? source.fencingToken : source;
  if (typeof token === 'bigint' && token >= 0n && token <= MAX_TOKEN) return token;
  throw invalid(
    `token: ${String(token)}; a bigint of 0 to 2^63 - 1 is needed: the fencingToken of a lock (Redlock has none)`,
  );
}

/** A token from text. @throws `ERR_INVALID_ARGUMENT` */
export function parseToken(text: string): bigint {
  return tokenOf(/^\d{1,19}$/.test(text) ? BigInt(text) : (text as unknown as bigint));
}

/** The error of a write that was refused, on both sides of the wire. */
export function staleToken(
  resource: string,
  token: bigint,
  highest?: bigint | undefined,
  otherwise = '',
): QuorateError {
  const seen = highest === undefined ? 'a higher one' : `${highest}`;
  return new QuorateError(
    'ERR_LOCK_LOST',
    `'${resource}' was not written: the token ${token} is of an earlier holder, ${seen} has been there${otherwise}; stop this work`,
    { loss: 'stolen' },
  );
}
