/**
 * One version of one key, as the store keeps it: immutable, shared by the key's history, the
 * revision log, responses and watch events, so that a value exists once in memory.
 */
import type { Bytes } from '../core/bytes.ts';
import type { KeyValueMessage } from '../proto/messages.ts';

/**
 * A put, or a tombstone: `version` 0, no value, no lease, `modRevision` the revision of the delete,
 * which is also exactly what a delete event carries. Whoever gets one must not change it.
 */
export interface VersionRecord extends KeyValueMessage {
  /** Position within its revision, from 0: the order of the steps of a transaction. */
  sub: number;
}

/** No lease; one object for all records. */
export const NO_LEASE = 0n;

export function tombstone(key: Bytes, modRevision: number, sub: number): VersionRecord {
  return { key, createRevision: 0, modRevision, version: 0, value: '', lease: NO_LEASE, sub };
}

export function isTombstone(record: VersionRecord): boolean {
  return record.version === 0;
}
