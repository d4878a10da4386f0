/**
 * Messages as data: a list of fields makes a codec. One loop serves all messages that are not worth
 * more; the hottest have hand-written code instead (`etcd-hot.ts`), which tests hold against it.
 *
 * Encoding is canonical: fields in ascending order, zero and absent ones left out, so that equal
 * messages are equal bytes (etcd's hash of the store depends on it).
 */
import { assert, unreachable } from '../core/assert.ts';
import {
  bigVarintSize,
  bytesSize,
  Reader,
  stringSize,
  varintSize,
  WireType,
  writeBigVarint,
  writeBytes,
  writeString,
  writeVarint,
} from './wire.ts';

/**
 * What a field holds. `int64` and `uint64` are numbers (beyond ±2^53 they become that bound);
 * `watchId` is an int64 that is refused there; `lease` is an int64 and `id` a uint64 as bigint;
 * `bytes` are latin1 strings and `string` is text.
 */
export type FieldKind =
  | 'bool'
  | 'int32'
  | 'uint32'
  | 'enum'
  | 'int64'
  | 'uint64'
  | 'watchId'
  | 'lease'
  | 'id'
  | 'bytes'
  | 'string'
  | 'message';

/** One field of a message. */
export interface Field {
  readonly number: number;
  /** Property of the TypeScript object. */
  readonly name: string;
  /** Name in the `.proto` file, which is also its name in etcd's JSON. */
  readonly protoName: string;
  readonly kind: FieldKind;
  readonly repeated: boolean;
  /** Whether it is a member of the message's oneof: setting it clears the other members. */
  readonly oneof: boolean;
  /** For `message`. A function, because messages may contain each other. */
  readonly message: (() => AnyMessageType) | undefined;
  /** For `enum`: the names, by number. */
  readonly values: readonly string[] | undefined;
}

/** The codec of one kind of message. */
export interface MessageType<T extends object> {
  /** Full name, such as `etcdserverpb.PutRequest`. */
  readonly name: string;
  readonly fields: readonly Field[];
  /** A message with `partial`'s fields and zero elsewhere. */
  create(partial?: Partial<T>): T;
  /** Bytes that `encodeTo` will write. */
  size(message: T): number;
  encode(message: T): Buffer;
  /** Writes at `offset`, where `size(message)` bytes must be free; returns the offset after it. */
  encodeTo(buffer: Buffer, offset: number, message: T): number;
  /**
   * Reads the message in `bytes[start, end)`. Nothing of the result refers to `bytes`.
   * @throws `ERR_PROTOCOL` where they are malformed; unknown fields are skipped.
   */
  decode(bytes: Uint8Array, start?: number, end?: number): T;
  /** Reads up to `reader.end` into `message`: later fields win, embedded messages merge. */
  merge(reader: Reader, message: T): void;
}

export type AnyMessageType = MessageType<object>;

/** What a field may say besides number, name and kind. */
interface FieldExtras {
  readonly protoName?: string;
  readonly repeated?: boolean;
  readonly oneof?: boolean;
  readonly message?: () => AnyMessageType;
  readonly values?: readonly string[];
}

/** Describes a field; without `protoName` the name in snake_case is meant. */
export function field(
  number: number,
  name: string,
  kind: FieldKind,
  extras: FieldExtras = {},
): Field {
  return {
    number,
    name,
    protoName: extras.protoName ?? name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    kind,
    repeated: extras.repeated ?? false,
    oneof: extras.oneof ?? false,
    message: extras.message,
    values: extras.values,
  };
}

/** Hand-written code for a message, in place of the loops over its fields. */
export interface HandWritten<T> {
  size(message: T): number;
  write(buffer: Buffer, position: number, message: T): number;
  merge(reader: Reader, message: T): void;
}

/**
 * Makes a codec.
 *
 * @param zero returns a new message with every field present, always in one order: V8 then keeps
 * one hidden class for all messages of the kind.
 */
export function messageType<T extends object>(
  name: string,
  fields: readonly Field[],
  zero: () => T,
  handWritten?: HandWritten<T>,
): MessageType<T> {
  assert(
    fields.every((one, i) => i === 0 || fields[i - 1]!.number < one.number),
    'fields are listed in ascending order',
  );
  const table = new FieldTable(fields);
  const code: HandWritten<T> = handWritten ?? {
    size: (message) => table.size(message as Loose),
    write: (buffer, position, message) => table.write(buffer, position, message as Loose),
    merge: (reader, message) => table.merge(reader, message as Loose),
  };
  return {
    name,
    fields,
    create: (partial) => (partial === undefined ? zero() : Object.assign(zero(), partial)),
    size: (message) => code.size(message),
    encode(message) {
      const size = code.size(message);
      const buffer = Buffer.allocUnsafe(size);
      const end = code.write(buffer, 0, message);
      assert(end === size, 'an encoded message has the size that was counted');
      return buffer;
    },
    encodeTo: (buffer, offset, message) => code.write(buffer, offset, message),
    decode(bytes, start = 0, end = bytes.length) {
      const message = zero();
      code.merge(new Reader(asBuffer(bytes), start, end), message);
      return message;
    },
    merge: (reader, message) => code.merge(reader, message),
  };
}

function asBuffer(bytes: Uint8Array): Buffer {
  if (Buffer.isBuffer(bytes)) return bytes;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A message as the loops see it. */
type Loose = Record<string, unknown>;

/** The loops that serve any message. */
class FieldTable {
  readonly #fields: readonly Field[];
  readonly #byNumber: ReadonlyMap<number, Field>;
  /** Empty: what reaches `skip` from here is unknown or was checked before. */
  static readonly #none: ReadonlySet<number> = new Set();

  constructor(fields: readonly Field[]) {
    this.#fields = fields;
    this.#byNumber = new Map(fields.map((one) => [one.number, one]));
  }

  size(message: Loose): number {
    let size = 0;
    for (const one of this.#fields) {
      const value = message[one.name];
      if (one.repeated) size += repeatedSize(one, value as readonly unknown[]);
      else if (!isAbsent(value)) size += tagSize(one) + valueSize(one, value);
    }
    return size;
  }

  write(buffer: Buffer, position: number, message: Loose): number {
    let next = position;
    for (const one of this.#fields) {
      const value = message[one.name];
      if (one.repeated) next = writeRepeated(buffer, next, one, value as readonly unknown[]);
      else if (!isAbsent(value)) next = writeField(buffer, next, one, value);
    }
    return next;
  }

  merge(reader: Reader, message: Loose): void {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      const one = this.#byNumber.get(tag >>> 3);
      if (one === undefined) {
        reader.skip(tag, FieldTable.#none);
      } else if ((tag & 7) === wireTypeOf(one.kind)) {
        this.#readField(reader, one, message);
      } else if (one.repeated && (tag & 7) === WireType.length) {
        readPacked(reader, one, message[one.name] as unknown[]);
      } else {
        reader.fail(`field ${one.protoName} has wire type ${tag & 7}`);
      }
    }
  }

  #readField(reader: Reader, one: Field, message: Loose): void {
    if (one.repeated) {
      (message[one.name] as unknown[]).push(readValue(reader, one, undefined));
      return;
    }
    const value = readValue(reader, one, message[one.name]);
    if (one.oneof) {
      for (const other of this.#fields) if (other.oneof) message[other.name] = zeroOf(other.kind);
    }
    message[one.name] = value;
  }
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === 0 || value === '' || value === false || value === 0n;
}

function zeroOf(kind: FieldKind): unknown {
  switch (kind) {
    case 'message':
      return undefined;
    case 'bool':
      return false;
    case 'bytes':
    case 'string':
      return '';
    case 'lease':
    case 'id':
      return 0n;
    default:
      return 0;
  }
}

function wireTypeOf(kind: FieldKind): number {
  return kind === 'bytes' || kind === 'string' || kind === 'message'
    ? WireType.length
    : WireType.varint;
}

function tagSize(one: Field): number {
  return varintSize(one.number << 3);
}

/** Repeated numbers are packed: one length, then the numbers without tags. */
function isPacked(one: Field): boolean {
  return wireTypeOf(one.kind) === WireType.varint;
}

function repeatedSize(one: Field, values: readonly unknown[]): number {
  if (values.length === 0) return 0;
  let size = 0;
  for (const value of values) size += valueSize(one, value);
  if (isPacked(one)) return tagSize(one) + varintSize(size) + size;
  return size + values.length * tagSize(one);
}

function writeRepeated(
  buffer: Buffer,
  position: number,
  one: Field,
  values: readonly unknown[],
): number {
  let next = position;
  if (values.length > 0 && isPacked(one)) {
    let size = 0;
    for (const value of values) size += valueSize(one, value);
    next = writeVarint(buffer, next, (one.number << 3) | WireType.length);
    next = writeVarint(buffer, next, size);
    for (const value of values) next = writeValue(buffer, next, one, value);
    return next;
  }
  for (const value of values) next = writeField(buffer, next, one, value);
  return next;
}

function writeField(buffer: Buffer, position: number, one: Field, value: unknown): number {
  const next = writeVarint(buffer, position, (one.number << 3) | wireTypeOf(one.kind));
  return writeValue(buffer, next, one, value);
}

function readPacked(reader: Reader, one: Field, into: unknown[]): void {
  const outerEnd = reader.enter();
  while (reader.position < reader.end) into.push(readValue(reader, one, undefined));
  reader.leave(outerEnd);
}

function valueSize(one: Field, value: unknown): number {
  switch (one.kind) {
    case 'bool':
      return 1;
    case 'int32':
    case 'uint32':
    case 'enum':
    case 'int64':
    case 'uint64':
    case 'watchId':
      return varintSize(value as number);
    case 'lease':
    case 'id':
      return bigVarintSize(value as bigint);
    case 'bytes':
      return bytesSize(value as string);
    case 'string':
      return stringSize(value as string);
    case 'message': {
      const size = one.message!().size(value as object);
      return varintSize(size) + size;
    }
    default:
      return unreachable(one.kind);
  }
}

function writeValue(buffer: Buffer, position: number, one: Field, value: unknown): number {
  switch (one.kind) {
    case 'bool':
      return writeVarint(buffer, position, value === true ? 1 : 0);
    case 'int32':
    case 'uint32':
    case 'enum':
    case 'int64':
    case 'uint64':
    case 'watchId':
      return writeVarint(buffer, position, value as number);
    case 'lease':
    case 'id':
      return writeBigVarint(buffer, position, value as bigint);
    case 'bytes':
      return writeBytes(buffer, position, value as string);
    case 'string':
      return writeString(buffer, position, value as string);
    case 'message': {
      const type = one.message!();
      const next = writeVarint(buffer, position, type.size(value as object));
      return type.encodeTo(buffer, next, value as object);
    }
    default:
      return unreachable(one.kind);
  }
}

function readValue(reader: Reader, one: Field, before: unknown): unknown {
  switch (one.kind) {
    case 'bool':
      return reader.bool();
    case 'int32':
    case 'enum':
      return reader.int32();
    case 'uint32':
      return reader.uint32();
    case 'int64':
      return reader.int64();
    case 'uint64':
      return reader.uint64();
    case 'watchId':
      return reader.int64Exact();
    case 'lease':
      return reader.bigInt64();
    case 'id':
      return reader.bigUint64();
    case 'bytes':
      return reader.bytes();
    case 'string':
      return reader.string();
    case 'message': {
      const type = one.message!();
      const value = (before as object | undefined) ?? type.create();
      const outerEnd = reader.enter();
      type.merge(reader, value);
      reader.leave(outerEnd);
      return value;
    }
    default:
      return unreachable(one.kind);
  }
}
