/**
 * The store as a stream of chunks: what a lagging node is sent, and what replaces the log on disk.
 *
 * First chunk: a JSON head with the small parts (revisions, members, alarms, counts). Then the leases
 * as JSON, ten thousand a chunk. Then every retained version in log order, as protobuf, in chunks of
 * about a mebibyte. An empty chunk ends it.
 * Checksums and file framing are the storage's and the transport's.
 */
import { assert } from '../core/assert.ts';
import { QuorateError } from '../core/errors.ts';
import { KeyValue } from '../proto/etcd.ts';
import type { AlarmMember } from '../proto/messages.ts';
import type { LeaseRecord } from './leases.ts';
import type { VersionRecord } from './record.ts';
import type { PinnedLog } from './revision-log.ts';

const FORMAT = 'quorate-kv-1';
const CHUNK_BYTES = 1024 * 1024;
const CHUNK_LEASES = 10_000;

/** Name and addresses that a member told of itself. */
export interface MemberAttributes {
  readonly name: string;
  readonly clientUrls: readonly string[];
}

/** All that a snapshot says besides the versions. */
export interface SnapshotHead {
  readonly appliedIndex: number;
  readonly revision: number;
  readonly compactRevision: number;
  readonly versionCount: number;
  readonly leases: readonly LeaseRecord[];
  readonly alarms: readonly AlarmMember[];
  readonly members: ReadonlyMap<bigint, MemberAttributes>;
}

/** The head as JSON: ids of 64 bits as text. */
interface HeadJson {
  readonly format: string;
  readonly appliedIndex: number;
  readonly revision: number;
  readonly compactRevision: number;
  readonly versionCount: number;
  readonly leaseCount: number;
  readonly alarms: readonly (readonly [string, number])[];
  readonly members: readonly (readonly [string, string, readonly string[]])[];
}

/** A lease as JSON: id as text, seconds granted, seconds that the last checkpoint said are left. */
type LeaseJson = readonly [string, number, number];

/** Encodes a pinned view; versions are read as the chunks are pulled. */
export function* encodeSnapshot(head: SnapshotHead, log: PinnedLog): Generator<Uint8Array> {
  yield encodeHead(head);
  for (let from = 0; from < head.leases.length; from += CHUNK_LEASES) {
    yield encodeLeases(head.leases.slice(from, from + CHUNK_LEASES));
  }
  let chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  let end = 0;
  for (const record of log) {
    const size = KeyValue.size(record);
    if (end + 8 + size > chunk.length && end > 0) {
      yield chunk.subarray(0, end);
      chunk = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, 8 + size));
      end = 0;
    } else if (8 + size > chunk.length) chunk = Buffer.allocUnsafe(8 + size);
    chunk.writeUInt32LE(size, end);
    chunk.writeUInt32LE(record.sub, end + 4);
    end = KeyValue.encodeTo(chunk, end + 8, record);
  }
  if (end > 0) yield chunk.subarray(0, end);
  // A stream that was cut off is told from a whole one by this.
  yield Buffer.alloc(0);
}

/**
 * Reads a snapshot and hands each version to `take`, in log order.
 * @throws QuorateError `ERR_CORRUPT` where the chunks are cut off or not of this format
 */
export async function decodeSnapshot(
  chunks: AsyncIterable<Uint8Array>,
  take: (record: VersionRecord) => void,
): Promise<SnapshotHead> {
  let head: Omit<SnapshotHead, 'leases'> | undefined;
  const leases: LeaseRecord[] = [];
  let leaseCount = 0;
  let count = 0;
  let ended = false;
  for await (const chunk of chunks) {
    if (ended) throw corrupt('there is more after its end');
    if (head === undefined) ({ leaseCount, ...head } = decodeHead(chunk));
    else if (leases.length < leaseCount) leases.push(...decodeLeases(chunk));
    else if (chunk.length === 0) ended = true;
    else count += decodeVersions(chunk, take);
  }
  if (head === undefined || !ended) throw corrupt('it is cut off');
  if (count !== head.versionCount) throw corrupt('versions are missing');
  return { ...head, leases };
}

function encodeHead(head: SnapshotHead): Uint8Array {
  const json: HeadJson = {
    format: FORMAT,
    appliedIndex: head.appliedIndex,
    revision: head.revision,
    compactRevision: head.compactRevision,
    versionCount: head.versionCount,
    leaseCount: head.leases.length,
    alarms: head.alarms.map(({ memberId, alarm }) => [String(memberId), alarm]),
    members: [...head.members].map(([id, { name, clientUrls }]) => [String(id), name, clientUrls]),
  };
  return Buffer.from(JSON.stringify(json));
}

function encodeLeases(leases: readonly LeaseRecord[]): Uint8Array {
  const json: LeaseJson[] = leases.map((lease) => {
    return [String(lease.id), lease.ttlSeconds, lease.remainingSeconds];
  });
  return Buffer.from(JSON.stringify(json));
}

function decodeLeases(chunk: Uint8Array): LeaseRecord[] {
  const json = parse<readonly LeaseJson[]>(chunk, 'its leases cannot be read');
  if (!Array.isArray(json) || json.length === 0) throw corrupt('its leases cannot be read');
  return json.map(([id, ttlSeconds, remainingSeconds]) => {
    return { id: BigInt(id), ttlSeconds, remainingSeconds };
  });
}

function decodeHead(chunk: Uint8Array): Omit<SnapshotHead, 'leases'> & { leaseCount: number } {
  const json = parse<HeadJson>(chunk, 'its head cannot be read');
  if (json.format !== FORMAT) throw corrupt(`its format is not ${FORMAT}`);
  return {
    appliedIndex: json.appliedIndex,
    revision: json.revision,
    compactRevision: json.compactRevision,
    versionCount: json.versionCount,
    leaseCount: json.leaseCount,
    alarms: json.alarms.map(([id, alarm]) => ({ memberId: BigInt(id), alarm })),
    members: new Map(
      json.members.map(([id, name, clientUrls]) => [BigInt(id), { name, clientUrls }]),
    ),
  };
}

function parse<T>(chunk: Uint8Array, failure: string): T {
  try {
    return JSON.parse(Buffer.from(chunk).toString()) as T;
  } catch (cause) {
    throw corrupt(failure, cause);
  }
}

/** Returns how many versions the chunk held. */
function decodeVersions(chunk: Uint8Array, take: (record: VersionRecord) => void): number {
  const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  let count = 0;
  for (let at = 0; at < bytes.length; count++) {
    if (at + 8 > bytes.length) throw corrupt('a version is cut off');
    const end = at + 8 + bytes.readUInt32LE(at);
    if (end > bytes.length) throw corrupt('a version is cut off');
    const { key, createRevision, modRevision, version, value, lease } = KeyValue.decode(
      bytes,
      at + 8,
      end,
    );
    const sub = bytes.readUInt32LE(at + 4);
    take({ key, createRevision, modRevision, version, value, lease, sub });
    at = end;
  }
  assert(count > 0, 'a chunk of a snapshot holds versions');
  return count;
}

function corrupt(what: string, cause?: unknown): QuorateError {
  return new QuorateError('ERR_CORRUPT', `a snapshot of the store is damaged: ${what}`, { cause });
}
