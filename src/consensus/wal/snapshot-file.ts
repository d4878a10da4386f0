/**
 * Snapshot files. All numbers little-endian:
 *
 *   header: magic (8 bytes), version u32, bytes of the header u32, cluster id u64, index u64, term u64,
 *           voters u32, learners u32, their ids u64 each, CRC32C of the header u32
 *   chunk:  length u32, checksum u32, data
 *   footer: 0xffffffff u32, checksum u32, chunks u64, bytes of data u64, CRC32C of the footer u32
 *
 * A chunk's checksum is the CRC32C of all data so far, continuing that of the header: chunks can be
 * neither lost nor swapped, and the footer's is that of the whole. The file ends with the footer.
 * Names are `<term>-<index>.state`: etcd's tools rename `*.snap` files that they cannot read.
 */
import { assert } from '../../core/assert.ts';
import { crc32c } from '../../core/crc32c.ts';
import type { Disk, DiskFile } from '../../core/disk.ts';
import { QuorateError } from '../../core/errors.ts';
import type { JointConfiguration, NodeId, SnapshotMetadata } from '../types.ts';
import { corrupt } from './log-reader.ts';
import { hex16 } from './segment.ts';

const MAGIC = 'QuorSnap';
/** The second one adds what a joint configuration is about to leave; written only where there is one. */
const VERSION = { plain: 1, joint: 2 } as const;
const JOINT_FIXED_BYTES = 12;
const FIXED_HEADER_BYTES = 48;
const FOOTER_MARK = 0xffff_ffff;
const FOOTER_BYTES = 28;
const CHUNK_HEAD_BYTES = 8;

/** The header holds the members; more than this is no header. */
const MAX_HEADER_BYTES = 1 << 20;

/** The longest chunk: a reader holds one in memory. */
const MAX_CHUNK_BYTES = 64 << 20;

/** Small chunks are gathered into writes of this, */
const WRITE_BYTES = 1 << 20;
/** and made durable every so many bytes, lest one large sync hold up the log. */
const SYNC_BYTES = 8 << 20;

const NAME = /^([0-9a-f]{16})-([0-9a-f]{16})\.state$/;

export function snapshotName(metadata: { readonly index: number; readonly term: number }): string {
  return `${hex16(metadata.term)}-${hex16(metadata.index)}.state`;
}

/** Term and index by a file's name, or `undefined` where it is no snapshot's. */
export function parseSnapshotName(name: string): { index: number; term: number } | undefined {
  const match = NAME.exec(name);
  if (match === null) return undefined;
  return { term: Number.parseInt(match[1]!, 16), index: Number.parseInt(match[2]!, 16) };
}

function encodeHeader(clusterId: NodeId, metadata: SnapshotMetadata): Buffer {
  const { voters, learners, joint } = metadata.configuration;
  const tail = joint === undefined ? Buffer.alloc(0) : encodeJoint(joint);
  const length = FIXED_HEADER_BYTES + 8 * (voters.length + learners.length) + tail.length + 4;
  const header = Buffer.alloc(length);
  header.write(MAGIC, 0, 'latin1');
  header.writeUInt32LE(joint === undefined ? VERSION.plain : VERSION.joint, 8);
  header.writeUInt32LE(length, 12);
  header.writeBigUInt64LE(BigInt(`0x${clusterId}`), 16);
  header.writeBigUInt64LE(BigInt(metadata.index), 24);
  header.writeBigUInt64LE(BigInt(metadata.term), 32);
  header.writeUInt32LE(voters.length, 40);
  header.writeUInt32LE(learners.length, 44);
  let at = FIXED_HEADER_BYTES;
  for (const id of [...voters, ...learners]) at = header.writeBigUInt64LE(BigInt(`0x${id}`), at);
  at += tail.copy(header, at);
  header.writeUInt32LE(crc32c(header, 0, at), at);
  return header;
}

function encodeJoint({ outgoing, learnersNext, autoLeave }: JointConfiguration): Buffer {
  const tail = Buffer.alloc(JOINT_FIXED_BYTES + 8 * (outgoing.length + learnersNext.length));
  let at = tail.writeUInt32LE(outgoing.length, 0);
  at = tail.writeUInt32LE(learnersNext.length, at);
  at = tail.writeUInt32LE(autoLeave ? 1 : 0, at);
  for (const id of [...outgoing, ...learnersNext]) {
    at = tail.writeBigUInt64LE(BigInt(`0x${id}`), at);
  }
  return tail;
}

/** `undefined` where the counts disagree with the length. */
function decodeJoint(tail: Buffer): JointConfiguration | undefined {
  if (tail.length < JOINT_FIXED_BYTES) return undefined;
  const outgoing = tail.readUInt32LE(0);
  const learners = tail.readUInt32LE(4);
  if (tail.length !== JOINT_FIXED_BYTES + 8 * (outgoing + learners)) return undefined;
  const ids = Array.from({ length: outgoing + learners }, (_, i) =>
    idAt(tail, JOINT_FIXED_BYTES + 8 * i),
  );
  const autoLeave = tail.readUInt32LE(8) === 1;
  return { outgoing: ids.slice(0, outgoing), learnersNext: ids.slice(outgoing), autoLeave };
}

/** Writes one snapshot file, chunk by chunk. */
export class SnapshotFileWriter {
  readonly #file: DiskFile;
  readonly #pending: Buffer;
  #pendingBytes: number;
  #offset: number;
  #unsynced: number;
  #chain: number;
  #chunks: number;
  #bytes: number;

  constructor(file: DiskFile, clusterId: NodeId, metadata: SnapshotMetadata) {
    const header = encodeHeader(clusterId, metadata);
    this.#file = file;
    this.#pending = Buffer.allocUnsafeSlow(WRITE_BYTES);
    this.#pendingBytes = 0;
    this.#offset = 0;
    this.#unsynced = 0;
    this.#chain = header.readUInt32LE(header.length - 4);
    this.#chunks = 0;
    this.#bytes = 0;
    assert(header.length <= WRITE_BYTES, 'a snapshot header fits into one write');
    this.#pendingBytes = header.copy(this.#pending);
  }

  /** Bytes of data so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes of the file so far. */
  get fileBytes(): number {
    return this.#offset + this.#pendingBytes;
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (chunk.length > MAX_CHUNK_BYTES) {
      throw new QuorateError(
        'ERR_INVALID_ARGUMENT',
        `a snapshot chunk of ${chunk.length} bytes is over the limit of ${MAX_CHUNK_BYTES}; ` +
          'let the state machine cut its snapshot into smaller chunks',
      );
    }
    this.#chain = crc32c(chunk, 0, chunk.length, this.#chain);
    this.#chunks++;
    this.#bytes += chunk.length;
    const head = Buffer.allocUnsafe(CHUNK_HEAD_BYTES);
    head.writeUInt32LE(chunk.length, 0);
    head.writeUInt32LE(this.#chain, 4);
    await this.#append(head);
    await this.#append(chunk);
  }

  /** Writes the footer and makes all of it durable. */
  async finish(): Promise<void> {
    const footer = Buffer.allocUnsafe(FOOTER_BYTES);
    footer.writeUInt32LE(FOOTER_MARK, 0);
    footer.writeUInt32LE(this.#chain, 4);
    footer.writeBigUInt64LE(BigInt(this.#chunks), 8);
    footer.writeBigUInt64LE(BigInt(this.#bytes), 16);
    footer.writeUInt32LE(crc32c(footer, 0, 24), 24);
    await this.#append(footer);
    await this.#flush();
    await this.#file.sync();
  }

  async #append(data: Uint8Array): Promise<void> {
    if (this.#pendingBytes + data.length > WRITE_BYTES) await this.#flush();
    if (data.length > WRITE_BYTES) {
      await this.#file.write(data, this.#offset);
      await this.#wrote(data.length);
      return;
    }
    this.#pending.set(data, this.#pendingBytes);
    this.#pendingBytes += data.length;
  }

  async #flush(): Promise<void> {
    const bytes = this.#pendingBytes;
    if (bytes === 0) return;
    await this.#file.write(this.#pending.subarray(0, bytes), this.#offset);
    this.#pendingBytes = 0;
    await this.#wrote(bytes);
  }

  async #wrote(bytes: number): Promise<void> {
    this.#offset += bytes;
    this.#unsynced += bytes;
    if (this.#unsynced < SYNC_BYTES) return;
    this.#unsynced = 0;
    await this.#file.sync();
  }
}

/** A snapshot file as found: what it stands for, and how much data its chunks hold. */
export interface SnapshotFile {
  readonly path: string;
  readonly metadata: SnapshotMetadata;
  /** Bytes of data. */
  readonly bytes: number;
  readonly fileBytes: number;
}

/** Reads the whole file and checks all of it. @throws `ERR_CORRUPT` with file and offset */
export async function verifySnapshot(
  disk: Disk,
  path: string,
  clusterId: NodeId,
): Promise<SnapshotFile> {
  const file = await disk.open(path, 'read');
  try {
    const reader = new SnapshotFileReader(file, path, await file.size());
    const metadata = await reader.readHeader(clusterId);
    const { term, index } = parseSnapshotName(path.slice(-38)) ?? metadata;
    if (term !== metadata.term || index !== metadata.index) {
      throw corrupt(path, 24, 'the name says another index or term than the header');
    }
    let bytes = 0;
    for (let chunk = await reader.next(); chunk !== undefined; chunk = await reader.next()) {
      bytes += chunk.length;
    }
    return { path, metadata, bytes, fileBytes: reader.size };
  } finally {
    await file.close();
  }
}

/** Reads one snapshot file from front to back, checking each part before it is handed out. */
export class SnapshotFileReader {
  readonly #file: DiskFile;
  readonly #path: string;
  readonly size: number;
  /** File offset of `#window`, and how much of that was taken. */
  #windowOffset: number;
  #window: Buffer;
  #taken: number;
  #chain: number;
  #chunks: number;
  #bytes: number;

  constructor(file: DiskFile, path: string, size: number) {
    this.#file = file;
    this.#path = path;
    this.size = size;
    this.#windowOffset = 0;
    this.#window = Buffer.alloc(0);
    this.#taken = 0;
    this.#chain = 0;
    this.#chunks = 0;
    this.#bytes = 0;
  }

  async readHeader(clusterId: NodeId): Promise<SnapshotMetadata> {
    const fixed = await this.#take(FIXED_HEADER_BYTES);
    const length = fixed.readUInt32LE(12);
    const voters = fixed.readUInt32LE(40);
    const learners = fixed.readUInt32LE(44);
    if (fixed.latin1Slice(0, 8) !== MAGIC) throw corrupt(this.#path, 0, 'this is no snapshot');
    const version = fixed.readUInt32LE(8);
    const least = FIXED_HEADER_BYTES + 8 * (voters + learners) + 4;
    const isRight = version === VERSION.plain ? length === least : length >= least;
    if (!isRight || length > MAX_HEADER_BYTES) {
      throw corrupt(this.#path, 12, 'the header disagrees with its length');
    }
    const rest = await this.#take(length - FIXED_HEADER_BYTES);
    const crc = crc32c(rest, 0, rest.length - 4, crc32c(fixed));
    if (crc !== rest.readUInt32LE(rest.length - 4)) {
      throw corrupt(this.#path, length - 4, 'the checksum of the header is wrong');
    }
    if (version !== VERSION.plain && version !== VERSION.joint) {
      throw new QuorateError(
        'ERR_UNSUPPORTED',
        `${this.#path} has snapshot format ${version}, this version reads up to ${VERSION.joint}; ` +
          'start the version of Quorate that wrote it, or a later one',
      );
    }
    const owner = idAt(fixed, 16);
    if (owner !== clusterId) {
      throw new QuorateError(
        'ERR_DATA_DIR_MISMATCH',
        `${this.#path} belongs to cluster ${owner}, but this node is of cluster ${clusterId}; ` +
          'check the data directory that this node was started with',
      );
    }
    this.#chain = crc;
    const ids = Array.from({ length: voters + learners }, (_, i) => idAt(rest, 8 * i));
    const plain = { voters: ids.slice(0, voters), learners: ids.slice(voters) };
    const joint = decodeJoint(rest.subarray(8 * ids.length, rest.length - 4));
    if (version === VERSION.joint && joint === undefined) {
      throw corrupt(this.#path, 12, 'the header disagrees with its length');
    }
    return {
      index: Number(fixed.readBigUInt64LE(24)),
      term: Number(fixed.readBigUInt64LE(32)),
      configuration: joint === undefined ? plain : { ...plain, joint },
    };
  }

  /** The next chunk, a buffer of its own; `undefined` after the last, when all of it was right. */
  async next(): Promise<Buffer | undefined> {
    const start = this.#windowOffset + this.#taken;
    const head = await this.#take(CHUNK_HEAD_BYTES);
    const length = head.readUInt32LE(0);
    const checksum = head.readUInt32LE(4);
    if (length === FOOTER_MARK) {
      await this.#checkFooter(head, start);
      return undefined;
    }
    if (length > MAX_CHUNK_BYTES)
      throw corrupt(this.#path, start, 'the length of a chunk is too large');
    const data = Buffer.from(await this.#take(length));
    this.#chain = crc32c(data, 0, length, this.#chain);
    if (this.#chain !== checksum)
      throw corrupt(this.#path, start, 'the checksum of a chunk is wrong');
    this.#chunks++;
    this.#bytes += length;
    return data;
  }

  async #checkFooter(head: Buffer, start: number): Promise<void> {
    const first = crc32c(head);
    const checksum = head.readUInt32LE(4);
    const rest = await this.#take(FOOTER_BYTES - CHUNK_HEAD_BYTES);
    const whole =
      crc32c(rest, 0, 16, first) === rest.readUInt32LE(16) &&
      checksum === this.#chain &&
      Number(rest.readBigUInt64LE(0)) === this.#chunks &&
      Number(rest.readBigUInt64LE(8)) === this.#bytes;
    if (!whole) throw corrupt(this.#path, start, 'the footer disagrees with the chunks');
    if (this.#windowOffset + this.#taken !== this.size) {
      throw corrupt(this.#path, start + FOOTER_BYTES, 'something follows the footer');
    }
  }

  /** The next `length` bytes; valid until the next call. */
  async #take(length: number): Promise<Buffer> {
    if (this.#window.length - this.#taken < length) {
      this.#windowOffset += this.#taken;
      this.#taken = 0;
      this.#window = await this.#file.read(this.#windowOffset, Math.max(length, WRITE_BYTES));
      if (this.#window.length < length) {
        throw corrupt(
          this.#path,
          this.#windowOffset + this.#window.length,
          'the file ends too early',
        );
      }
    }
    const taken = this.#window.subarray(this.#taken, this.#taken + length);
    this.#taken += length;
    return taken;
  }
}

function idAt(buffer: Buffer, at: number): NodeId {
  return buffer.readBigUInt64LE(at).toString(16).padStart(16, '0');
}
