/**
 * Hand-written code for the messages of every request: the loops of `message.ts` look each field up
 * by name, which costs several times as much. Tests hold both against each other.
 *
 * Tags are spelled out as bytes, `number << 3 | wireType`: field 1 of bytes is 0x0a, field 3 of a
 * number is 0x18.
 */
import type { HandWritten } from './message.ts';
import type * as pb from './messages.ts';
import {
  bigVarintSize,
  bytesSize,
  IdCache,
  type Reader,
  stringSize,
  varintSize,
  writeBigVarint,
  writeBytes,
  writeString,
  writeVarint,
} from './wire.ts';

// Fields with a tag of one byte. Zero is not written.

export function numberSize(value: number): number {
  return value === 0 ? 0 : 1 + varintSize(value);
}

export function writeNumber(buffer: Buffer, position: number, tag: number, value: number): number {
  if (value === 0) return position;
  buffer[position] = tag;
  return writeVarint(buffer, position + 1, value);
}

function idSize(value: bigint): number {
  return value === 0n ? 0 : 1 + bigVarintSize(value);
}

function writeId(buffer: Buffer, position: number, tag: number, value: bigint): number {
  if (value === 0n) return position;
  buffer[position] = tag;
  return writeBigVarint(buffer, position + 1, value);
}

function textSize(value: string): number {
  return value === '' ? 0 : 1 + bytesSize(value);
}

function writeText(buffer: Buffer, position: number, tag: number, value: string): number {
  if (value === '') return position;
  buffer[position] = tag;
  return writeBytes(buffer, position + 1, value);
}

export function boolSize(value: boolean): number {
  return value ? 2 : 0;
}

export function writeBool(buffer: Buffer, position: number, tag: number, value: boolean): number {
  if (!value) return position;
  buffer[position] = tag;
  buffer[position + 1] = 1;
  return position + 2;
}

/** Size of an embedded message of `size` bytes. */
export function embeddedSize(size: number): number {
  return 1 + varintSize(size) + size;
}

/** Writes what stands before an embedded message. */
export function writeEmbedded(buffer: Buffer, position: number, tag: number, size: number): number {
  buffer[position] = tag;
  return writeVarint(buffer, position + 1, size);
}

export function fieldNumbers(...numbers: number[]): ReadonlySet<number> {
  return new Set(numbers);
}

// ResponseHeader

export function zeroResponseHeader(): pb.ResponseHeader {
  return { clusterId: 0n, memberId: 0n, revision: 0, raftTerm: 0 };
}

const HEADER_FIELDS = fieldNumbers(1, 2, 3, 4);
const clusterIds = new IdCache();
const memberIds = new IdCache();

export const responseHeader: HandWritten<pb.ResponseHeader> = {
  size(message) {
    return (
      idSize(message.clusterId) +
      idSize(message.memberId) +
      numberSize(message.revision) +
      numberSize(message.raftTerm)
    );
  },
  write(buffer, position, message) {
    let next = writeId(buffer, position, 0x08, message.clusterId);
    next = writeId(buffer, next, 0x10, message.memberId);
    next = writeNumber(buffer, next, 0x18, message.revision);
    return writeNumber(buffer, next, 0x20, message.raftTerm);
  },
  merge(reader, message) {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === 0x08) message.clusterId = reader.cachedBigUint64(clusterIds);
      else if (tag === 0x10) message.memberId = reader.cachedBigUint64(memberIds);
      else if (tag === 0x18) message.revision = reader.int64();
      else if (tag === 0x20) message.raftTerm = reader.uint64();
      else reader.skip(tag, HEADER_FIELDS);
    }
  },
};

/** Size of a response's field 1. */
export function headerSize(header: pb.ResponseHeader | undefined): number {
  return header === undefined ? 0 : embeddedSize(responseHeader.size(header));
}

export function writeHeader(
  buffer: Buffer,
  position: number,
  header: pb.ResponseHeader | undefined,
): number {
  if (header === undefined) return position;
  const next = writeEmbedded(buffer, position, 0x0a, responseHeader.size(header));
  return responseHeader.write(buffer, next, header);
}

export function readHeader(
  reader: Reader,
  before: pb.ResponseHeader | undefined,
): pb.ResponseHeader {
  const header = before ?? zeroResponseHeader();
  const outerEnd = reader.enter();
  responseHeader.merge(reader, header);
  reader.leave(outerEnd);
  return header;
}

// KeyValue

export function zeroKeyValue(): pb.KeyValueMessage {
  return { key: '', createRevision: 0, modRevision: 0, version: 0, value: '', lease: 0n };
}

const KEY_VALUE_FIELDS = fieldNumbers(1, 2, 3, 4, 5, 6);

export const keyValue: HandWritten<pb.KeyValueMessage> = {
  size(message) {
    return (
      textSize(message.key) +
      numberSize(message.createRevision) +
      numberSize(message.modRevision) +
      numberSize(message.version) +
      textSize(message.value) +
      idSize(message.lease)
    );
  },
  write(buffer, position, message) {
    let next = writeText(buffer, position, 0x0a, message.key);
    next = writeNumber(buffer, next, 0x10, message.createRevision);
    next = writeNumber(buffer, next, 0x18, message.modRevision);
    next = writeNumber(buffer, next, 0x20, message.version);
    next = writeText(buffer, next, 0x2a, message.value);
    return writeId(buffer, next, 0x30, message.lease);
  },
  merge(reader, message) {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === 0x0a) message.key = reader.bytes();
      else if (tag === 0x10) message.createRevision = reader.int64();
      else if (tag === 0x18) message.modRevision = reader.int64();
      else if (tag === 0x20) message.version = reader.int64();
      else if (tag === 0x2a) message.value = reader.bytes();
      else if (tag === 0x30) message.lease = reader.bigInt64();
      else reader.skip(tag, KEY_VALUE_FIELDS);
    }
  },
};

export function writeKeyValue(
  buffer: Buffer,
  position: number,
  tag: number,
  message: pb.KeyValueMessage,
): number {
  const next = writeEmbedded(buffer, position, tag, keyValue.size(message));
  return keyValue.write(buffer, next, message);
}

export function readKeyValue(
  reader: Reader,
  before: pb.KeyValueMessage | undefined,
): pb.KeyValueMessage {
  const message = before ?? zeroKeyValue();
  const outerEnd = reader.enter();
  keyValue.merge(reader, message);
  reader.leave(outerEnd);
  return message;
}

// Put

const PUT_FIELDS = fieldNumbers(1, 2, 3, 4, 5, 6);

export const putRequest: HandWritten<pb.PutRequest> = {
  size(message) {
    return (
      textSize(message.key) +
      textSize(message.value) +
      idSize(message.lease) +
      boolSize(message.prevKv) +
      boolSize(message.ignoreValue) +
      boolSize(message.ignoreLease)
    );
  },
  write(buffer, position, message) {
    let next = writeText(buffer, position, 0x0a, message.key);
    next = writeText(buffer, next, 0x12, message.value);
    next = writeId(buffer, next, 0x18, message.lease);
    next = writeBool(buffer, next, 0x20, message.prevKv);
    next = writeBool(buffer, next, 0x28, message.ignoreValue);
    return writeBool(buffer, next, 0x30, message.ignoreLease);
  },
  merge(reader, message) {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === 0x0a) message.key = reader.bytes();
      else if (tag === 0x12) message.value = reader.bytes();
      else if (tag === 0x18) message.lease = reader.bigInt64();
      else if (tag === 0x20) message.prevKv = reader.bool();
      else if (tag === 0x28) message.ignoreValue = reader.bool();
      else if (tag === 0x30) message.ignoreLease = reader.bool();
      else reader.skip(tag, PUT_FIELDS);
    }
  },
};

const PUT_RESPONSE_FIELDS = fieldNumbers(1, 2);

export const putResponse: HandWritten<pb.PutResponse> = {
  size(message) {
    const prevKv = message.prevKv;
    const size = headerSize(message.header);
    return prevKv === undefined ? size : size + embeddedSize(keyValue.size(prevKv));
  },
  write(buffer, position, message) {
    const next = writeHeader(buffer, position, message.header);
    if (message.prevKv === undefined) return next;
    return writeKeyValue(buffer, next, 0x12, message.prevKv);
  },
  merge(reader, message) {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === 0x0a) message.header = readHeader(reader, message.header);
      else if (tag === 0x12) message.prevKv = readKeyValue(reader, message.prevKv);
      else reader.skip(tag, PUT_RESPONSE_FIELDS);
    }
  },
};

// Range

const RANGE_FIELDS = fieldNumbers(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13);

export const rangeRequest: HandWritten<pb.RangeRequest> = {
  size(message) {
    return (
      textSize(message.key) +
      textSize(message.rangeEnd) +
      numberSize(message.limit) +
      numberSize(message.revision) +
      numberSize(message.sortOrder) +
      numberSize(message.sortTarget) +
      boolSize(message.serializable) +
      boolSize(message.keysOnly) +
      boolSize(message.countOnly) +
      numberSize(message.minModRevision) +
      numberSize(message.maxModRevision) +
      numberSize(message.minCreateRevision) +
      numberSize(message.maxCreateRevision)
    );
  },
  write(buffer, position, message) {
    let next = writeText(buffer, position, 0x0a, message.key);
    next = writeText(buffer, next, 0x12, message.rangeEnd);
    next = writeNumber(buffer, next, 0x18, message.limit);
    next = writeNumber(buffer, next, 0x20, message.revision);
    next = writeNumber(buffer, next, 0x28, message.sortOrder);
    next = writeNumber(buffer, next, 0x30, message.sortTarget);
    next = writeBool(buffer, next, 0x38, message.serializable);
    next = writeBool(buffer, next, 0x40, message.keysOnly);
    next = writeBool(buffer, next, 0x48, message.countOnly);
    next = writeNumber(buffer, next, 0x50, message.minModRevision);
    next = writeNumber(buffer, next, 0x58, message.maxModRevision);
    next = writeNumber(buffer, next, 0x60, message.minCreateRevision);
    return writeNumber(buffer, next, 0x68, message.maxCreateRevision);
  },
  merge(reader, message) {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === 0x0a) message.key = reader.bytes();
      else if (tag === 0x12) message.rangeEnd = reader.bytes();
      else if (tag === 0x18) message.limit = reader.int64();
      else if (tag === 0x20) message.revision = reader.int64();
      else if (tag === 0x28) message.sortOrder = reader.int32();
      else if (tag === 0x30) message.sortTarget = reader.int32();
      else if (tag === 0x38) message.serializable = reader.bool();
      else if (tag === 0x40) message.keysOnly = reader.bool();
      else if (tag === 0x48) message.countOnly = reader.bool();
      else if (tag === 0x50) message.minModRevision = reader.int64();
      else if (tag === 0x58) message.maxModRevision = reader.int64();
      else if (tag === 0x60) message.minCreateRevision = reader.int64();
      else if (tag === 0x68) message.maxCreateRevision = reader.int64();
      else reader.skip(tag, RANGE_FIELDS);
    }
  },
};

const RANGE_RESPONSE_FIELDS = fieldNumbers(1, 2, 3, 4);

export const rangeResponse: HandWritten<pb.RangeResponse> = {
  size(message) {
    let size = headerSize(message.header) + boolSize(message.more) + numberSize(message.count);
    for (const kv of message.kvs) size += embeddedSize(keyValue.size(kv));
    return size;
  },
  write(buffer, position, message) {
    let next = writeHeader(buffer, position, message.header);
    for (const kv of message.kvs) next = writeKeyValue(buffer, next, 0x12, kv);
    next = writeBool(buffer, next, 0x18, message.more);
    return writeNumber(buffer, next, 0x20, message.count);
  },
  merge(reader, message) {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === 0x12) message.kvs.push(readKeyValue(reader, undefined));
      else if (tag === 0x0a) message.header = readHeader(reader, message.header);
      else if (tag === 0x18) message.more = reader.bool();
      else if (tag === 0x20) message.count = reader.int64();
      else reader.skip(tag, RANGE_RESPONSE_FIELDS);
    }
  },
};

// Compare: the member of `target_union` that `target` names is written even where it is zero, as
// etcd's clients do.

const COMPARE_FIELDS = fieldNumbers(1, 2, 3, 4, 5, 6, 7, 8, 64);

/** The number of the union's member to write; 0 for none. */
function unionMember(message: pb.CompareMessage): number {
  if (message.version !== 0) return 4;
  if (message.createRevision !== 0) return 5;
  if (message.modRevision !== 0) return 6;
  if (message.value !== '') return 7;
  if (message.lease !== 0n) return 8;
  return message.target >= 0 && message.target <= 4 ? message.target + 4 : 0;
}

function unionSize(message: pb.CompareMessage): number {
  switch (unionMember(message)) {
    case 4:
      return 1 + varintSize(message.version);
    case 5:
      return 1 + varintSize(message.createRevision);
    case 6:
      return 1 + varintSize(message.modRevision);
    case 7:
      return 1 + bytesSize(message.value);
    case 8:
      return 1 + bigVarintSize(message.lease);
    default:
      return 0;
  }
}

function writeUnion(buffer: Buffer, position: number, message: pb.CompareMessage): number {
  const member = unionMember(message);
  if (member === 0) return position;
  buffer[position] = member === 7 ? 0x3a : member << 3;
  const next = position + 1;
  if (member === 4) return writeVarint(buffer, next, message.version);
  if (member === 5) return writeVarint(buffer, next, message.createRevision);
  if (member === 6) return writeVarint(buffer, next, message.modRevision);
  if (member === 7) return writeBytes(buffer, next, message.value);
  return writeBigVarint(buffer, next, message.lease);
}

function clearUnion(message: pb.CompareMessage): void {
  message.version = 0;
  message.createRevision = 0;
  message.modRevision = 0;
  message.value = '';
  message.lease = 0n;
}

function mergeUnion(reader: Reader, tag: number, message: pb.CompareMessage): void {
  clearUnion(message);
  if (tag === 0x20) message.version = reader.int64();
  else if (tag === 0x28) message.createRevision = reader.int64();
  else if (tag === 0x30) message.modRevision = reader.int64();
  else if (tag === 0x3a) message.value = reader.bytes();
  else if (tag === 0x40) message.lease = reader.bigInt64();
  else reader.skip(tag, COMPARE_FIELDS);
}

export const compare: HandWritten<pb.CompareMessage> = {
  size(message) {
    const size =
      numberSize(message.result) +
      numberSize(message.target) +
      textSize(message.key) +
      unionSize(message);
    return message.rangeEnd === '' ? size : size + 2 + bytesSize(message.rangeEnd);
  },
  write(buffer, position, message) {
    let next = writeNumber(buffer, position, 0x08, message.result);
    next = writeNumber(buffer, next, 0x10, message.target);
    next = writeText(buffer, next, 0x1a, message.key);
    next = writeUnion(buffer, next, message);
    if (message.rangeEnd === '') return next;
    next = writeVarint(buffer, next, 0x202);
    return writeBytes(buffer, next, message.rangeEnd);
  },
  merge(reader, message) {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      const number = tag >>> 3;
      if (tag === 0x08) message.result = reader.int32();
      else if (tag === 0x10) message.target = reader.int32();
      else if (tag === 0x1a) message.key = reader.bytes();
      else if (tag === 0x202) message.rangeEnd = reader.bytes();
      else if (number >= 4 && number <= 8) mergeUnion(reader, tag, message);
      else reader.skip(tag, COMPARE_FIELDS);
    }
  },
};

// Who asked, in a log entry. Usually the id alone.

type RequestHeader = NonNullable<pb.InternalRaftRequest['header']>;

export function zeroRequestHeader(): RequestHeader {
  return { id: 0n, username: '', authRevision: 0 };
}

const REQUEST_HEADER_FIELDS = fieldNumbers(1, 2, 3);

export const requestHeader: HandWritten<RequestHeader> = {
  size(message) {
    const size = idSize(message.id) + numberSize(message.authRevision);
    return message.username === '' ? size : size + 1 + stringSize(message.username);
  },
  write(buffer, position, message) {
    let next = writeId(buffer, position, 0x08, message.id);
    if (message.username !== '') {
      buffer[next] = 0x12;
      next = writeString(buffer, next + 1, message.username);
    }
    return writeNumber(buffer, next, 0x18, message.authRevision);
  },
  merge(reader, message) {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === 0x08) message.id = reader.bigUint64();
      else if (tag === 0x12) message.username = reader.string();
      else if (tag === 0x18) message.authRevision = reader.uint64();
      else reader.skip(tag, REQUEST_HEADER_FIELDS);
    }
  },
};
