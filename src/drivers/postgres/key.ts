/**
 * The number that stands for a name: PostgreSQL's advisory locks have 64 bits and no text.
 *
 * It is the first eight bytes of SHA-256 over the namespace, a zero byte and the name. Two names of
 * the same number exclude each other without need; among a million names the odds are 1 in 37 million.
 */
import { createHash } from 'node:crypto';
import { QuorateError } from '../../core/errors.ts';

/** A key of an advisory lock, as PostgreSQL takes it: a signed 64-bit number. */
export type AdvisoryKey = bigint;

const MAX_NAMESPACE_BYTES = 1024;

export function advisoryKey(namespace: string, name: string): AdvisoryKey {
  const hash = createHash('sha256').update(`${namespace}\0`).update(name).digest();
  return hash.readBigInt64BE();
}

/** How `pg_locks` shows a key: its high and its low half, unsigned. */
export function halvesOf(key: AdvisoryKey): readonly [high: string, low: string] {
  const bits = BigInt.asUintN(64, key);
  return [String(bits >> 32n), String(bits & 0xffff_ffffn)];
}

/** The first of the two numbers of a tag: see `statements.ts`. */
export function tagOf(key: AdvisoryKey): number {
  return Number(BigInt.asIntN(32, key));
}

/** @throws ERR_INVALID_ARGUMENT */
export function requireNamespace(namespace: unknown): string {
  const isText = typeof namespace === 'string' && !namespace.includes('\0');
  if (isText && Buffer.byteLength(namespace) <= MAX_NAMESPACE_BYTES) return namespace;
  throw new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `namespace: text of at most ${MAX_NAMESPACE_BYTES} bytes without a zero byte is needed`,
  );
}
