/**
 * Reads the segments of a log from the first to the last, checks everything, and finds the end.
 *
 * Only the last segment may end in a write that a crash cut short, and only the last write of all,
 * since one is made durable before the next begins. Disks write whole sectors of 512 bytes, so what
 * is missing of it is whole sectors of zeros (the segment was zeroed beforehand) or the end of the
 * file. That, as in etcd, is cut. Stronger than etcd, the following are damage and refused:
 * a length that disagrees with the record's own, a bad record or zeros with a later durable write
 * behind (seen by its crc record), anything but zeros after the end of an earlier segment.
 */
import { crc32c } from '../../core/crc32c.ts';
import type { Disk, DiskFile } from '../../core/disk.ts';
import { QuorateError } from '../../core/errors.ts';
import type { Identity } from '../storage.ts';
import type { Consensus } from '../types.ts';
import type { RecordImage } from './log-image.ts';
import { CRC_RECORD_BYTES, FRAME_BYTES, RecordType } from './record.ts';
import {
  FieldReader,
  INCOMPLETE,
  MAX_HEAD_BYTES,
  parseEntry,
  parseHead,
  parseMetadata,
  parseSnapshot,
  parseState,
  type RecordHead,
} from './record-parser.ts';
import type { Segment } from './segment.ts';

/** Large enough to read at the disk's speed; the unit in which memory is held by entries. */
const CHUNK_BYTES = 2 << 20;

/** The least that a disk writes as a whole. */
const SECTOR_BYTES = 512;

const ZEROS = Buffer.alloc(CHUNK_BYTES);

/** Where writing goes on. */
export interface LogEnd {
  /** Behind the last whole record of the last segment. */
  readonly offset: number;
  /** The rolling checksum there. */
  readonly chain: number;
  /** From `offset` up to here lie remains of a write cut short; they must be zeroed. */
  readonly dirtyEnd: number;
}

/** The error of a file that is not as it was written. */
export function corrupt(path: string, offset: number, what: string): QuorateError {
  return new QuorateError(
    'ERR_CORRUPT',
    `${path} is corrupt at byte ${offset}: ${what}. ${RESTORE_ADVICE}`,
  );
}

/** Ends each error about damage that keeps the node from starting. */
export const RESTORE_ADVICE =
  'Nothing was changed. ' +
  'Restore this node from its peers: remove the member, delete its data directory, and add it again';

function otherConsensus(path: string, written: Consensus, wanted: Consensus): QuorateError {
  return new QuorateError(
    'ERR_DATA_DIR_MISMATCH',
    `${path} is the log of a node that runs ${written}, but this one is to run ${wanted}: ` +
      `start it with consensus '${written}', or give it another data directory`,
  );
}

export class LogReader {
  readonly #disk: Disk;
  readonly #identity: Identity;
  readonly #image: RecordImage;
  readonly #head: RecordHead;
  readonly #fields: FieldReader;
  #chain: number;
  #path: string;
  #size: number;
  #isFirst: boolean;
  #isLast: boolean;
  /** Records seen in this segment. */
  #records: number;

  constructor(disk: Disk, identity: Identity, image: RecordImage) {
    this.#disk = disk;
    this.#identity = identity;
    this.#image = image;
    this.#head = { type: 0, crc: 0, dataStart: 0, dataEnd: 0 };
    this.#fields = new FieldReader();
    this.#chain = 0;
    this.#path = '';
    this.#size = 0;
    this.#isFirst = true;
    this.#isLast = false;
    this.#records = 0;
  }

  /** Reads `segments`, in order and without gap. @throws `ERR_CORRUPT`, `ERR_DATA_DIR_MISMATCH` */
  async read(segments: readonly Segment[]): Promise<LogEnd> {
    let end: LogEnd | undefined;
    for (const [i, segment] of segments.entries()) {
      this.#path = segment.path;
      this.#isFirst = i === 0;
      this.#isLast = i === segments.length - 1;
      this.#records = 0;
      const file = await this.#disk.open(segment.path, 'read');
      try {
        this.#size = await file.size();
        end = await this.#readSegment(file);
      } finally {
        await file.close();
      }
      if (this.#records < 2) throw corrupt(segment.path, end.offset, 'the segment has no head');
    }
    return end!;
  }

  async #readSegment(file: DiskFile): Promise<LogEnd> {
    let offset = 0;
    let wanted = CHUNK_BYTES;
    while (offset < this.#size) {
      const chunk = await file.read(offset, Math.min(wanted, this.#size - offset));
      wanted = CHUNK_BYTES;
      let at = 0;
      while (chunk.length - at >= FRAME_BYTES) {
        const low = chunk.readUInt32LE(at);
        const high = chunk.readUInt32LE(at + 4);
        if (low === 0 && high === 0) return this.#endAtZeros(file, offset + at);
        const length = (high & 0xff_ffff) * 0x1_0000_0000 + low;
        const padding = -low & 7;
        if (high >>> 24 !== (padding === 0 ? 0 : 0x80 | padding)) {
          throw corrupt(this.#path, offset + at, 'the length of a record is malformed');
        }
        const whole = FRAME_BYTES + length + padding;
        if (at + whole > chunk.length) {
          // The file may end before the record does: settled below. Else read from its beginning.
          wanted = Math.max(CHUNK_BYTES, whole);
          break;
        }
        const wrong = this.#take(chunk, at, length, padding, offset + at);
        if (wrong !== undefined) return this.#cutOrRefuse(file, offset + at, wrong);
        at += whole;
      }
      const reachedEnd = offset + chunk.length >= this.#size;
      if (reachedEnd && at < chunk.length) {
        return this.#endBeyondFile(file, chunk, at, offset + at);
      }
      offset += at;
    }
    return { offset, chain: this.#chain, dirtyEnd: offset };
  }

  /**
   * Checks the whole record at `chunk[at]` and adds it to the image.
   * @returns what may be a write cut short; damage that cannot be is thrown.
   */
  #take(
    chunk: Buffer,
    at: number,
    length: number,
    padding: number,
    position: number,
  ): string | undefined {
    const head = this.#head;
    const start = at + FRAME_BYTES;
    const end = start + length;
    if (parseHead(chunk, start, end, head) !== length) {
      const wrong = 'a record disagrees with its length';
      if (headIsTorn(chunk, at, end + padding, position)) return wrong;
      throw corrupt(this.#path, position, wrong);
    }
    if (head.type === RecordType.crc) {
      if (!this.#continues(head.crc)) {
        throw corrupt(
          this.#path,
          position,
          'the checksum does not continue that of the records before',
        );
      }
    } else {
      const chain = crc32c(chunk, head.dataStart, head.dataEnd, this.#chain);
      if (chain !== head.crc) {
        const wrong = 'the checksum of a record is wrong';
        if (hasZeroSector(chunk, start, end + padding, position + FRAME_BYTES)) return wrong;
        throw corrupt(this.#path, position, wrong);
      }
      this.#chain = chain;
    }
    for (let i = end; i < end + padding; i++) {
      if (chunk[i] !== 0)
        throw corrupt(this.#path, position, 'the padding of a record is not zero');
    }
    const wrong = this.#interpret(chunk, head, position);
    if (wrong !== undefined) throw corrupt(this.#path, position, wrong);
    this.#records++;
    return undefined;
  }

  /** Whether a crc record fits here. The one at the very beginning of what is left of the log sets it. */
  #continues(crc: number): boolean {
    if (this.#isFirst && this.#records === 0) this.#chain = crc;
    return crc === this.#chain;
  }

  /** Adds a record whose checksum is right to the image. Returns what is wrong with it. */
  #interpret(chunk: Buffer, head: RecordHead, position: number): string | undefined {
    const { type, dataStart, dataEnd } = head;
    // Every segment starts with its crc record and the metadata; only the first kind recurs.
    if ((this.#records === 0) !== (position === 0)) return 'a record is out of place';
    if (this.#records === 0 && type !== RecordType.crc)
      return 'the segment starts with no checksum';
    if ((this.#records === 1) !== (type === RecordType.metadata)) return 'metadata is out of place';
    switch (type) {
      case RecordType.entry: {
        const entry = parseEntry(this.#fields, chunk, dataStart, dataEnd);
        return entry === undefined ? 'an entry cannot be parsed' : this.#image.addEntry(entry);
      }
      case RecordType.state: {
        const state = parseState(this.#fields, chunk, dataStart, dataEnd);
        return state === undefined ? 'a state cannot be parsed' : this.#image.setState(state);
      }
      case RecordType.snapshot: {
        const snapshot = parseSnapshot(this.#fields, chunk, dataStart, dataEnd);
        if (snapshot === undefined) return 'a snapshot record cannot be parsed';
        this.#image.addSnapshot(snapshot.index, snapshot.term);
        return undefined;
      }
      case RecordType.metadata:
        return this.#checkIdentity(chunk, dataStart, dataEnd);
      default:
        return undefined;
    }
  }

  #checkIdentity(chunk: Buffer, start: number, end: number): string | undefined {
    const found = parseMetadata(this.#fields, chunk, start, end);
    if (found === undefined) return 'the metadata cannot be parsed';
    const { clusterId, nodeId, consensus = 'raft' } = this.#identity;
    const { consensus: written = 'raft' } = found;
    if (written !== consensus) throw otherConsensus(this.#path, written, consensus);
    if (found.clusterId === clusterId && found.nodeId === nodeId) return undefined;
    throw new QuorateError(
      'ERR_DATA_DIR_MISMATCH',
      `${this.#path} belongs to node ${found.nodeId} of cluster ${found.clusterId}, ` +
        `but this is node ${nodeId} of cluster ${clusterId}; ` +
        'check the name, the initial cluster and the data directory that this node was started with',
    );
  }

  /** The file ends within the record at `chunk[at]`. */
  #endBeyondFile(file: DiskFile, chunk: Buffer, at: number, position: number): Promise<LogEnd> {
    const wrong = 'the file ends within a record';
    if (chunk.length - at > FRAME_BYTES) {
      const low = chunk.readUInt32LE(at);
      const length = (chunk.readUInt32LE(at + 4) & 0xff_ffff) * 0x1_0000_0000 + low;
      const own = parseHead(chunk, at + FRAME_BYTES, chunk.length, this.#head);
      const torn = own === INCOMPLETE || own === length;
      if (!torn && !headIsTorn(chunk, at, chunk.length, position)) {
        throw corrupt(this.#path, position, 'a record disagrees with its length');
      }
    }
    return this.#cutOrRefuse(file, position, wrong);
  }

  /**
   * A length of zero: the end of the log, unless something lies behind. Within the same sector nothing
   * can: that was written as a whole, or not since the segment was zeroed.
   */
  async #endAtZeros(file: DiskFile, position: number): Promise<LogEnd> {
    const wrong = 'zeros lie where a record should begin';
    const sector = await file.read(position, SECTOR_BYTES - (position % SECTOR_BYTES));
    if (!isZero(sector, 0, sector.length)) throw corrupt(this.#path, position, wrong);
    return this.#cutOrRefuse(file, position, wrong);
  }

  /** Looks at what follows `position`, where the last whole record ends. */
  async #cutOrRefuse(file: DiskFile, position: number, wrong: string): Promise<LogEnd> {
    let dirtyEnd = position;
    for (let offset = position; offset < this.#size; offset += CHUNK_BYTES) {
      // A little of the next chunk too: a crc record may straddle the border.
      const chunk = await file.read(offset, CHUNK_BYTES + CRC_RECORD_BYTES);
      const own = Math.min(chunk.length, CHUNK_BYTES);
      if (chunk.compare(ZEROS, 0, own, 0, own) === 0) continue;
      for (let at = offset === position ? 8 : 0; at < own; at += 8) {
        if (isCrcRecord(chunk, at, this.#head)) throw corrupt(this.#path, position, wrong);
      }
      dirtyEnd = offset + own;
    }
    if (dirtyEnd > position && !this.#isLast) throw corrupt(this.#path, position, wrong);
    return { offset: position, chain: this.#chain, dirtyEnd };
  }
}

/** Whether a whole crc record lies at `chunk[at]`: the beginning of a durable write. */
function isCrcRecord(chunk: Buffer, at: number, head: RecordHead): boolean {
  // Tested first, since it fails for nearly all: tag and type of a crc record.
  if (chunk[at + 8] !== 0x08 || chunk[at + 9] !== RecordType.crc) return false;
  if (chunk.length - at < CRC_RECORD_BYTES) return false;
  const length = chunk.readUInt32LE(at);
  if (length < 4 || length > 8) return false;
  const padding = -length & 7;
  if (chunk.readUInt32LE(at + 4) >>> 24 !== (padding === 0 ? 0 : 0x80 | padding)) return false;
  return parseHead(chunk, at + FRAME_BYTES, at + FRAME_BYTES + length, head) === length;
}

/** Whether the head of the record at `at` reaches into a sector that was never written. */
function headIsTorn(chunk: Buffer, at: number, end: number, position: number): boolean {
  const toBorder = SECTOR_BYTES - (position % SECTOR_BYTES);
  if (toBorder >= FRAME_BYTES + MAX_HEAD_BYTES || at + toBorder >= end) return false;
  return isZero(chunk, at + toBorder, Math.min(end, at + toBorder + SECTOR_BYTES));
}

/** Whether the part of any sector within `[start, end)` is all zero; `position` is that of `start`. */
function hasZeroSector(chunk: Buffer, start: number, end: number, position: number): boolean {
  let at = start;
  let border = start + SECTOR_BYTES - (position % SECTOR_BYTES);
  while (at < end) {
    const until = Math.min(border, end);
    if (isZero(chunk, at, until)) return true;
    at = until;
    border += SECTOR_BYTES;
  }
  return false;
}

function isZero(chunk: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    if (chunk[at] !== 0) return false;
  }
  return true;
}
