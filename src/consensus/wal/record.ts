/**
 * Records of the log, encoded in place: etcd's write-ahead log format, byte for byte.
 *
 * A record is an 8-byte little-endian length whose top byte tells the padding (`0x80 | bytes`),
 * then `walpb.Record {1 type, 2 crc, 3 data}`, padded with zeros to 8 bytes, so that a length never
 * straddles a disk sector. `crc` is the CRC32C of all data since the beginning of the log, so records
 * can be neither lost, swapped nor changed unnoticed. At the head of every segment a crc record
 * repeats the checksum so far.
 *
 * Beyond etcd, every write that begins where all before it is durable begins with a crc record too
 * (etcd's readers take it as one more check). Finding one behind a damaged place proves that the
 * place had been durable: damage then, not a write cut short by a crash. See `log-reader.ts`.
 */
import { crc32c } from '../../core/crc32c.ts';
import { varintSize, writeVarint } from '../../proto/wire.ts';
import type { Identity } from '../storage.ts';
import type { Configuration, Entry, HardState, NodeId, SnapshotMetadata } from '../types.ts';

export const RecordType = { metadata: 1, entry: 2, state: 3, crc: 4, snapshot: 5 } as const;

/** In the metadata: the log of a Paxos core. Raft's, as etcd's, says nothing. */
export const PAXOS = 1;

/** The length field before each record. */
export const FRAME_BYTES = 8;

/** No record needs more than this around its payload: frame, padding, tags, numbers. */
export const RECORD_OVERHEAD_BYTES = 64;

/** Bytes of a crc record with its frame; it holds no data, and is padded to this. */
export const CRC_RECORD_BYTES = 16;

/** Where a record's data goes before its checksum is known: after `type`, a 5-byte `crc`, and a tag. */
const CRC_VARINT_BYTES = 5;

/** An upper bound of the bytes that the record of an entry with this much data takes. */
export function entryRecordBound(dataBytes: number): number {
  return dataBytes + RECORD_OVERHEAD_BYTES;
}

/** An upper bound of the bytes of a snapshot record. */
export function snapshotRecordBound(metadata: SnapshotMetadata): number {
  return RECORD_OVERHEAD_BYTES + 11 * idsOf(metadata.configuration);
}

/** Encodes records one after another into a growing buffer, and carries the rolling checksum. */
export class RecordEncoder {
  buffer: Buffer;
  length: number;
  /** The rolling checksum after the last record. */
  chain: number;

  constructor(chain: number, buffer: Buffer) {
    this.buffer = buffer;
    this.length = 0;
    this.chain = chain;
  }

  /** Makes room for `bytes` more; records already there stay. */
  reserve(bytes: number): void {
    if (this.length + bytes <= this.buffer.length) return;
    const size = Math.max(this.buffer.length * 2, this.length + bytes);
    const larger = Buffer.allocUnsafeSlow(size);
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
  }

  /** The checksum so far, which the reader compares with its own. */
  crc(): void {
    this.reserve(CRC_RECORD_BYTES);
    const at = this.length + FRAME_BYTES;
    this.buffer[at] = 0x08;
    this.buffer[at + 1] = RecordType.crc;
    this.buffer[at + 2] = 0x10;
    this.#frame(writeVarint(this.buffer, at + 3, this.chain));
  }

  /** `etcdserverpb.Metadata {1 NodeID, 2 ClusterID}`. */
  metadata(identity: Identity): void {
    this.reserve(RECORD_OVERHEAD_BYTES);
    const buffer = this.buffer;
    const start = this.#dataStart(RECORD_OVERHEAD_BYTES);
    buffer[start] = 0x08;
    let at = putId(buffer, start + 1, identity.nodeId);
    buffer[at] = 0x10;
    at = putId(buffer, at + 1, identity.clusterId);
    // Beyond etcd's two fields, and only where the records are not those of Raft.
    if (identity.consensus === 'paxos') {
      buffer[at] = 0x18;
      buffer[at + 1] = PAXOS;
      at += 2;
    }
    this.#finish(RecordType.metadata, start, at);
  }

  /** `raftpb.HardState {1 term, 2 vote, 3 commit}`. */
  state(state: HardState): void {
    this.reserve(RECORD_OVERHEAD_BYTES);
    const buffer = this.buffer;
    const start = this.#dataStart(RECORD_OVERHEAD_BYTES);
    buffer[start] = 0x08;
    let at = writeVarint(buffer, start + 1, state.term);
    buffer[at] = 0x10;
    at = putId(buffer, at + 1, state.vote);
    buffer[at] = 0x18;
    at = writeVarint(buffer, at + 1, state.commit);
    this.#finish(RecordType.state, start, at);
  }

  /** `raftpb.Entry {1 Type, 2 Term, 3 Index, 4 Data}`; empty data is left out. */
  entry(entry: Entry): void {
    const data = entry.data;
    const bound = entryRecordBound(data.length);
    this.reserve(bound);
    const buffer = this.buffer;
    const start = this.#dataStart(bound);
    buffer[start] = 0x08;
    buffer[start + 1] = entry.type;
    buffer[start + 2] = 0x10;
    let at = writeVarint(buffer, start + 3, entry.term);
    buffer[at] = 0x18;
    at = writeVarint(buffer, at + 1, entry.index);
    if (data.length > 0) {
      buffer[at] = 0x22;
      at = writeVarint(buffer, at + 1, data.length);
      buffer.set(data, at);
      at += data.length;
    }
    this.#finish(RecordType.entry, start, at);
  }

  /**
   * `walpb.Snapshot {1 index, 2 term, 3 conf_state}`. etcd's first record is a snapshot at index 0,
   * without a configuration; at any other index it demands one.
   */
  snapshot(metadata: SnapshotMetadata): void {
    const bound = snapshotRecordBound(metadata);
    this.reserve(bound);
    const buffer = this.buffer;
    const start = this.#dataStart(bound);
    buffer[start] = 0x08;
    let at = writeVarint(buffer, start + 1, metadata.index);
    buffer[at] = 0x10;
    at = writeVarint(buffer, at + 1, metadata.term);
    if (metadata.index > 0) {
      const configuration = encodeConfiguration(metadata);
      buffer[at] = 0x1a;
      at = writeVarint(buffer, at + 1, configuration.length);
      buffer.set(configuration, at);
      at += configuration.length;
    }
    this.#finish(RecordType.snapshot, start, at);
  }

  /** Data is written behind the longest head it can get; `#finish` closes the gap. */
  #dataStart(bound: number): number {
    return this.length + FRAME_BYTES + 3 + CRC_VARINT_BYTES + 1 + varintSize(bound);
  }

  /** Puts the head before the data at `[start, end)`, which moves it where the head is shorter. */
  #finish(type: number, start: number, end: number): void {
    const buffer = this.buffer;
    this.chain = crc32c(buffer, start, end, this.chain);
    let at = this.length + FRAME_BYTES;
    buffer[at] = 0x08;
    buffer[at + 1] = type;
    buffer[at + 2] = 0x10;
    at = writeVarint(buffer, at + 3, this.chain);
    buffer[at] = 0x1a;
    at = writeVarint(buffer, at + 1, end - start);
    if (at !== start) buffer.copyWithin(at, start, end);
    this.#frame(at + end - start);
  }

  /** Completes the record that ends at `end`: padding, length, position. */
  #frame(end: number): void {
    const buffer = this.buffer;
    const bytes = end - this.length - FRAME_BYTES;
    const padding = -bytes & 7;
    for (let i = 0; i < padding; i++) buffer[end + i] = 0;
    buffer.writeUInt32LE(bytes, this.length);
    buffer.writeUInt32LE(padding === 0 ? 0 : ((0x80 | padding) << 24) >>> 0, this.length + 4);
    this.length = end + padding;
  }
}

function idsOf({ voters, learners, joint }: Configuration): number {
  const leaving = joint === undefined ? 0 : joint.outgoing.length + joint.learnersNext.length;
  return voters.length + learners.length + leaving;
}

/** `raftpb.ConfState {1 voters, 2 learners, 3 voters_outgoing, 4 learners_next, 5 auto_leave}`. */
function encodeConfiguration({ configuration }: SnapshotMetadata): Buffer {
  const { voters, learners, joint } = configuration;
  const buffer = Buffer.alloc(11 * idsOf(configuration) + 2);
  const lists = [voters, learners, joint?.outgoing ?? [], joint?.learnersNext ?? []];
  let at = 0;
  lists.forEach((ids, list) => {
    for (const id of ids) {
      buffer[at] = (list + 1) << 3;
      at = putId(buffer, at + 1, id);
    }
  });
  buffer[at] = 0x28;
  buffer[at + 1] = joint?.autoLeave === true ? 1 : 0;
  return buffer.subarray(0, at + 2);
}

/** Writes a node id (64 bits; no node is 0) as a varint without a bigint; returns where it ends. */
function putId(buffer: Buffer, start: number, id: NodeId): number {
  if (id === '') {
    buffer[start] = 0;
    return start + 1;
  }
  let high = Number.parseInt(id.slice(0, 8), 16) >>> 0;
  let low = Number.parseInt(id.slice(8), 16) >>> 0;
  let at = start;
  while (high !== 0 || low >= 0x80) {
    buffer[at++] = (low & 0x7f) | 0x80;
    low = ((low >>> 7) | (high << 25)) >>> 0;
    high >>>= 7;
  }
  buffer[at] = low;
  return at + 1;
}
