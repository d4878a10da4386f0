/**
 * Parsing of records, the mirror of `record.ts`. It accepts exactly what the format's writers emit
 * (fields in order, none unknown): type, length and tags are not covered by the checksum, so a strict
 * form is what finds a bit flipped in them. No object is made per record except the entries.
 */
import type { Identity } from '../storage.ts';
import { type Entry, EntryType, type HardState, type NodeId } from '../types.ts';
import { PAXOS, RecordType } from './record.ts';

/** The head of a record as it lies in a buffer. */
export interface RecordHead {
  type: number;
  crc: number;
  /** Where the data lies; equal where the record has none. */
  dataStart: number;
  dataEnd: number;
}

/** The head is not all there: the buffer, or the file, ends within. */
export const INCOMPLETE = -1;
/** What is there cannot be the head of a record. */
export const MALFORMED = -2;

const NEWEST_ENTRY_TYPE = Math.max(...Object.values(EntryType));

/** A head takes at most this many bytes: type, crc, tag, length. */
export const MAX_HEAD_BYTES = 14;

/**
 * Parses the head of the record at `buffer[start, limit)` into `head`.
 * @returns the bytes of the whole record by its own account, `INCOMPLETE` or `MALFORMED`.
 */
export function parseHead(buffer: Buffer, start: number, limit: number, head: RecordHead): number {
  let at = start;
  if (at >= limit) return INCOMPLETE;
  if (buffer[at++] !== 0x08) return MALFORMED;
  if (at >= limit) return INCOMPLETE;
  const type = buffer[at++]!;
  if (type < RecordType.metadata || type > RecordType.snapshot) return MALFORMED;
  if (at >= limit) return INCOMPLETE;
  if (buffer[at++] !== 0x10) return MALFORMED;
  let crc = 0;
  for (let shift = 0; ; shift += 7) {
    if (at >= limit) return INCOMPLETE;
    const byte = buffer[at++]!;
    if (shift === 28 && byte > 0x0f) return MALFORMED;
    crc = (crc | ((byte & 0x7f) << shift)) >>> 0;
    if (byte < 0x80) break;
  }
  head.type = type;
  head.crc = crc;
  head.dataStart = at;
  head.dataEnd = at;
  if (type === RecordType.crc) return at - start;
  if (at >= limit) return INCOMPLETE;
  if (buffer[at++] !== 0x1a) return MALFORMED;
  let length = 0;
  for (let shift = 0; ; shift += 7) {
    if (at >= limit) return INCOMPLETE;
    const byte = buffer[at++]!;
    if (shift === 28 && byte > 0x07) return MALFORMED;
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  head.dataStart = at;
  head.dataEnd = at + length;
  return at + length - start;
}

/** Reads fields one after another; anything unexpected makes it fail for good. */
export class FieldReader {
  #buffer: Buffer;
  #at: number;
  #end: number;
  #ok: boolean;

  constructor() {
    this.#buffer = Buffer.alloc(0);
    this.#at = 0;
    this.#end = 0;
    this.#ok = false;
  }

  begin(buffer: Buffer, start: number, end: number): void {
    this.#buffer = buffer;
    this.#at = start;
    this.#end = end;
    this.#ok = true;
  }

  /** Whether all was well and everything was read. */
  done(): boolean {
    return this.#ok && this.#at === this.#end;
  }

  #tag(tag: number): void {
    if (this.#at < this.#end && this.#buffer[this.#at] === tag) this.#at++;
    else this.#ok = false;
  }

  /** A whole number below 2^53 under `tag`; 0 on failure. */
  number(tag: number): number {
    this.#tag(tag);
    let value = 0;
    for (let scale = 1; this.#ok; scale *= 0x80) {
      if (this.#at >= this.#end || scale > 2 ** 49) break;
      const byte = this.#buffer[this.#at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value <= Number.MAX_SAFE_INTEGER) return value;
        break;
      }
    }
    this.#ok = false;
    return 0;
  }

  /** A node id under `tag`; `''` for 0 and on failure. */
  id(tag: number): NodeId {
    this.#tag(tag);
    let value = 0n;
    for (let shift = 0n; this.#ok && shift < 70n; shift += 7n) {
      if (this.#at >= this.#end) break;
      const byte = this.#buffer[this.#at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (value < 1n << 64n) return value === 0n ? '' : value.toString(16).padStart(16, '0');
        break;
      }
    }
    this.#ok = false;
    return '';
  }

  /** The bytes under `tag`, not copied; where the fields end here, empty. */
  rest(tag: number): Buffer {
    if (this.#at === this.#end) return NOTHING;
    const length = this.number(tag);
    if (!this.#ok || this.#at + length !== this.#end) {
      this.#ok = false;
      return NOTHING;
    }
    const start = this.#at;
    this.#at = this.#end;
    return this.#buffer.subarray(start, this.#end);
  }
}

const NOTHING = Buffer.alloc(0);

/** An entry record's data; the entry's own data is not copied. `undefined` where it is none. */
export function parseEntry(
  fields: FieldReader,
  buffer: Buffer,
  start: number,
  end: number,
): Entry | undefined {
  fields.begin(buffer, start, end);
  const type = fields.number(0x08);
  const term = fields.number(0x10);
  const index = fields.number(0x18);
  const data = fields.rest(0x22);
  if (!fields.done() || type > NEWEST_ENTRY_TYPE || term === 0 || index === 0) return undefined;
  return { type: type as EntryType, term, index, data };
}

/** A state record's data, or `undefined`. */
export function parseState(
  fields: FieldReader,
  buffer: Buffer,
  start: number,
  end: number,
): HardState | undefined {
  fields.begin(buffer, start, end);
  const term = fields.number(0x08);
  const vote = fields.id(0x10);
  const commit = fields.number(0x18);
  return fields.done() ? { term, vote, commit } : undefined;
}

/** Index and term of a snapshot record, or `undefined`. Its configuration is in the snapshot file. */
export function parseSnapshot(
  fields: FieldReader,
  buffer: Buffer,
  start: number,
  end: number,
): { index: number; term: number } | undefined {
  fields.begin(buffer, start, end);
  const index = fields.number(0x08);
  const term = fields.number(0x10);
  const configuration = fields.rest(0x1a);
  if (!fields.done() || configuration.length > 0 !== index > 0) return undefined;
  return { index, term };
}

/** A metadata record's data, or `undefined`. */
export function parseMetadata(
  fields: FieldReader,
  buffer: Buffer,
  start: number,
  end: number,
): Identity | undefined {
  fields.begin(buffer, start, end);
  const nodeId = fields.id(0x08);
  const clusterId = fields.id(0x10);
  if (fields.done()) return { nodeId, clusterId };
  const isPaxos = fields.number(0x18) === PAXOS;
  return isPaxos && fields.done() ? { nodeId, clusterId, consensus: 'paxos' } : undefined;
}
