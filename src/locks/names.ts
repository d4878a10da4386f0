/** Names of locks and elections, checked at the door. */
import { invalid } from '../core/errors.ts';

/** Well below what stores take as a key. The same for all engines: a program that moves finds its names allowed. */
const MAX_NAME_BYTES = 1024;

/** @throws ERR_INVALID_ARGUMENT unless `name` is text of 1 to 1024 bytes */
export function requireBytes(name: string): void {
  // No unit of UTF-16 takes more than three bytes: most names need no count.
  if (typeof name === 'string' && name !== '' && name.length * 3 <= MAX_NAME_BYTES) return;
  const bytes = typeof name === 'string' ? Buffer.byteLength(name) : 0;
  if (bytes > 0 && bytes <= MAX_NAME_BYTES) return;
  const given = typeof name === 'string' ? `${bytes} bytes` : `not text but ${typeof name}`;
  throw invalid(`name: ${given}; text of 1 to ${MAX_NAME_BYTES} bytes is needed`);
}

/**
 * The same for engines that keep names in UTF-8, in which all halves of surrogate pairs are alike: different
 * names would be one lock.
 *
 * @throws ERR_INVALID_ARGUMENT
 */
export function requireEncodable(name: string): void {
  requireBytes(name);
  if (name.isWellFormed()) return;
  throw invalid('name: half of a surrogate pair, which no UTF-8 has');
}
