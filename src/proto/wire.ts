/**
 * The protobuf wire format: a reader with checked lengths, and functions that size and write.
 *
 * Spec: https://protobuf.dev/programming-guides/encoding. Numbers of 64 bits are either `number`
 * (revisions, counts) or `bigint` (ids); `bytes` are latin1 strings (see `core/bytes.ts`). A writer
 * sizes first and writes forward into a buffer of exactly that size, so nothing is copied twice.
 */
import { assert } from '../core/assert.ts';
import { QuorateError } from '../core/errors.ts';

/** The four wire types proto3 uses; groups (3, 4) are refused. */
export const WireType = { varint: 0, fixed64: 1, length: 2, fixed32: 5 } as const;

/**
 * How deep messages may nest. A transaction of etcd may hold 127 transactions one in another (each
 * takes at least one of the 128 operations allowed), two messages a level; this bound is above that
 * and far below what the stack bears.
 */
const MAX_DEPTH = 300;

const TWO_32 = 0x1_0000_0000;
/** Signed high words at or beyond these belong to numbers that a double does not hold exactly. */
const SAFE_HIGH = 0x20_0000;

// The two halves of the long varint read last, as signed 32-bit integers: a reader is never used
// between reading them and using them, and a returned pair would be an allocation each time.
let low = 0;
let high = 0;

const scratch = new DataView(new ArrayBuffer(8));

/** Remembers one 64-bit id: the same few come with every response. */
export class IdCache {
  low = 0;
  high = 0;
  value = 0n;
}

/**
 * Reads one message after another out of `buffer`. Every length is checked against the end of the
 * message it is in; what does not fit is `ERR_PROTOCOL`.
 */
export class Reader {
  readonly buffer: Buffer;
  position: number;
  /** End of the message being read. */
  end: number;
  depth: number;

  constructor(buffer: Buffer, start: number, end: number) {
    assert(start >= 0 && start <= end && end <= buffer.length, 'message lies within its buffer');
    this.buffer = buffer;
    this.position = start;
    this.end = end;
    this.depth = 0;
  }

  /** The next field's number and wire type: `number << 3 | wireType`. */
  tag(): number {
    const position = this.position;
    const byte = this.buffer[position]!;
    if (byte < 0x80 && position < this.end) {
      this.position = position + 1;
      return byte;
    }
    return this.#long32();
  }

  bool(): boolean {
    readVarint(this);
    return (low | high) !== 0;
  }

  /** `int32` and enums; larger numbers lose their upper half, as the spec says. */
  int32(): number {
    readVarint(this);
    return low;
  }

  uint32(): number {
    readVarint(this);
    return low >>> 0;
  }

  /**
   * `int64` as a number. What lies beyond ±(2^53 - 1) becomes that bound: no revision, count or
   * time to live gets there, so it compares and is refused as the exact number would be.
   */
  int64(): number {
    const position = this.position;
    const byte = this.buffer[position]!;
    if (byte < 0x80 && position < this.end) {
      this.position = position + 1;
      return byte;
    }
    readVarint(this);
    if (high >= SAFE_HIGH) return Number.MAX_SAFE_INTEGER;
    if (high < -SAFE_HIGH) return Number.MIN_SAFE_INTEGER;
    return high * TWO_32 + (low >>> 0);
  }

  /** `int64` that names something, such as a watch id: refused where a number cannot hold it. */
  int64Exact(): number {
    const value = this.int64();
    if (value < Number.MAX_SAFE_INTEGER && value > Number.MIN_SAFE_INTEGER) return value;
    return this.fail('an id is beyond 2^53 - 1, the largest that is kept');
  }

  /** `uint64` as a number, with the bound of `int64`. */
  uint64(): number {
    readVarint(this);
    if (high >= SAFE_HIGH || high < 0) return Number.MAX_SAFE_INTEGER;
    return high * TWO_32 + (low >>> 0);
  }

  /** `int64` as a bigint. */
  bigInt64(): bigint {
    readVarint(this);
    if ((low | high) === 0) return 0n;
    scratch.setInt32(0, low, true);
    scratch.setInt32(4, high, true);
    return scratch.getBigInt64(0, true);
  }

  /** `uint64` as a bigint. */
  bigUint64(): bigint {
    readVarint(this);
    if ((low | high) === 0) return 0n;
    scratch.setInt32(0, low, true);
    scratch.setInt32(4, high, true);
    return scratch.getBigUint64(0, true);
  }

  /** As `bigUint64`, without making a new bigint where it is the one of last time. */
  cachedBigUint64(cache: IdCache): bigint {
    readVarint(this);
    if (low === cache.low && high === cache.high) return cache.value;
    cache.low = low;
    cache.high = high;
    scratch.setInt32(0, low, true);
    scratch.setInt32(4, high, true);
    cache.value = scratch.getBigUint64(0, true);
    return cache.value;
  }

  /** `bytes` as a latin1 string. */
  bytes(): string {
    const length = this.length();
    if (length === 0) return '';
    const start = this.position;
    this.position = start + length;
    return this.buffer.latin1Slice(start, start + length);
  }

  /** `string`; damaged UTF-8 reads as U+FFFD. */
  string(): string {
    const length = this.length();
    if (length === 0) return '';
    const start = this.position;
    this.position = start + length;
    return this.buffer.utf8Slice(start, start + length);
  }

  /** A length that fits into the message being read. */
  length(): number {
    const length = this.tag();
    if (length > this.end - this.position) {
      this.fail(`a field of ${length} bytes runs past the end of its message`);
    }
    return length;
  }

  /** Steps into an embedded message; give what it returns to `leave`. */
  enter(): number {
    const outerEnd = this.end;
    const length = this.length();
    this.end = this.position + length;
    this.depth++;
    if (this.depth > MAX_DEPTH) this.fail(`messages nest more than ${MAX_DEPTH} deep`);
    return outerEnd;
  }

  leave(outerEnd: number): void {
    this.end = outerEnd;
    this.depth--;
  }

  /**
   * Skips a field that the message does not have. A field it does have arrives here only with a
   * foreign wire type: the sender means another message, so that is refused.
   */
  skip(tag: number, known: ReadonlySet<number>): void {
    const number = tag >>> 3;
    if (number === 0) this.fail('field number 0');
    if (known.has(number)) this.fail(`field ${number} has wire type ${tag & 7}`);
    if ((tag & 7) === WireType.varint) readVarint(this);
    else if ((tag & 7) === WireType.length) this.#advance(this.length());
    else if ((tag & 7) === WireType.fixed64) this.#advance(8);
    else if ((tag & 7) === WireType.fixed32) this.#advance(4);
    else this.fail(`field ${number} has wire type ${tag & 7}, which proto3 does not use`);
  }

  fail(what: string): never {
    throw new QuorateError(
      'ERR_PROTOCOL',
      `malformed message: ${what} (byte ${this.position} of ${this.buffer.length}); the bytes were damaged or the sender speaks another protocol`,
    );
  }

  #advance(count: number): void {
    if (count > this.end - this.position) this.fail('the message ends within a field');
    this.position += count;
  }

  #long32(): number {
    readVarint(this);
    if (high !== 0) this.fail('a tag or length is above 2^32');
    return low >>> 0;
  }
}

/** Reads a varint of up to 64 bits into `low` and `high`. */
function readVarint(reader: Reader): void {
  const { buffer, end } = reader;
  let position = reader.position;
  low = 0;
  high = 0;
  for (let shift = 0; shift < 70; shift += 7) {
    if (position >= end) reader.fail('the message ends within a number');
    const byte = buffer[position++]!;
    const bits = byte & 0x7f;
    if (shift < 28) {
      low |= bits << shift;
    } else if (shift === 28) {
      low |= bits << 28;
      high = bits >>> 4;
    } else {
      if (shift === 63 && bits > 1) break;
      high |= bits << (shift - 32);
    }
    if (byte < 0x80) {
      reader.position = position;
      return;
    }
  }
  reader.fail('a number has more than 64 bits');
}

/** Bytes that `value` takes as a varint; negative numbers take ten, as `int64` has it. */
export function varintSize(value: number): number {
  if (value >= 0) {
    if (value < 0x80) return 1;
    if (value < 0x4000) return 2;
    if (value < 0x20_0000) return 3;
    if (value < 0x1000_0000) return 4;
  }
  assert(Number.isSafeInteger(value), 'a number on the wire is a safe integer');
  if (value < 0) return 10;
  if (value < 0x8_0000_0000) return 5;
  if (value < 0x400_0000_0000) return 6;
  return value < 0x2_0000_0000_0000 ? 7 : 8;
}

/** Writes `value` and returns the position after it. */
export function writeVarint(buffer: Buffer, position: number, value: number): number {
  let rest = value;
  let next = position;
  if (rest < 0) return writeBigVarint(buffer, next, BigInt(rest));
  while (rest > 0x7fff_ffff) {
    buffer[next++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  while (rest > 0x7f) {
    buffer[next++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  buffer[next++] = rest;
  return next;
}

/** Bytes that `value`, read as 64 bits, takes as a varint. */
export function bigVarintSize(value: bigint): number {
  if (value === 0n) return 1;
  scratch.setBigInt64(0, value, true);
  const upper = scratch.getUint32(4, true);
  if (upper === 0) return varintSize(scratch.getUint32(0, true));
  if (upper < 0x8) return 5;
  if (upper < 0x400) return 6;
  if (upper < 0x2_0000) return 7;
  if (upper < 0x100_0000) return 8;
  return upper < 0x8000_0000 ? 9 : 10;
}

/** Writes the 64 bits of `value`, signed or not, and returns the position after it. */
export function writeBigVarint(buffer: Buffer, position: number, value: bigint): number {
  scratch.setBigInt64(0, value, true);
  let lower = scratch.getUint32(0, true);
  let upper = scratch.getUint32(4, true);
  let next = position;
  while (upper > 0 || lower > 0x7f) {
    buffer[next++] = (lower & 0x7f) | 0x80;
    lower = ((lower >>> 7) | (upper << 25)) >>> 0;
    upper >>>= 7;
  }
  buffer[next++] = lower;
  return next;
}

/** Bytes that latin1 `text` takes with its length before it. */
export function bytesSize(text: string): number {
  return varintSize(text.length) + text.length;
}

/** Writes latin1 `text` with its length before it. Characters above 0xff do not occur in `Bytes`. */
export function writeBytes(buffer: Buffer, position: number, text: string): number {
  const length = text.length;
  const next = writeVarint(buffer, position, length);
  // Below about this length a loop beats the call into native code.
  if (length > 16) {
    buffer.latin1Write(text, next, length);
    return next + length;
  }
  for (let i = 0; i < length; i++) buffer[next + i] = text.charCodeAt(i);
  return next + length;
}

/** Bytes that `text` takes as UTF-8 with its length before it. */
export function stringSize(text: string): number {
  const length = Buffer.byteLength(text, 'utf8');
  return varintSize(length) + length;
}

/** Writes `text` as UTF-8 with its length before it. */
export function writeString(buffer: Buffer, position: number, text: string): number {
  const length = Buffer.byteLength(text, 'utf8');
  const next = writeVarint(buffer, position, length);
  buffer.utf8Write(text, next, length);
  return next + length;
}
