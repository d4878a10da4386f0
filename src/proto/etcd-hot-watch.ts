/** Hand-written code for what a watch receives; see `etcd-hot.ts`. */
import {
  boolSize,
  embeddedSize,
  fieldNumbers,
  headerSize,
  keyValue,
  numberSize,
  readHeader,
  readKeyValue,
  writeBool,
  writeEmbedded,
  writeHeader,
  writeKeyValue,
  writeNumber,
  zeroKeyValue,
} from './etcd-hot.ts';
import type { HandWritten } from './message.ts';
import type * as pb from './messages.ts';
import { stringSize, writeString } from './wire.ts';

const EVENT_FIELDS = fieldNumbers(1, 2, 3);

export function zeroEvent(): pb.EventMessage {
  return { type: 0, kv: zeroKeyValue(), prevKv: undefined, encoded: undefined };
}

export const event: HandWritten<pb.EventMessage> = {
  size(message) {
    const { encoded, prevKv } = message;
    if (encoded !== undefined) return encoded.length;
    const size = numberSize(message.type) + embeddedSize(keyValue.size(message.kv));
    return prevKv === undefined ? size : size + embeddedSize(keyValue.size(prevKv));
  },
  write(buffer, position, message) {
    const { encoded, prevKv } = message;
    if (encoded !== undefined) {
      buffer.set(encoded, position);
      return position + encoded.length;
    }
    let next = writeNumber(buffer, position, 0x08, message.type);
    next = writeKeyValue(buffer, next, 0x12, message.kv);
    return prevKv === undefined ? next : writeKeyValue(buffer, next, 0x1a, prevKv);
  },
  merge(reader, message) {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === 0x08) message.type = reader.int32();
      else if (tag === 0x12) message.kv = readKeyValue(reader, message.kv);
      else if (tag === 0x1a) message.prevKv = readKeyValue(reader, message.prevKv);
      else reader.skip(tag, EVENT_FIELDS);
    }
  },
};

const WATCH_FIELDS = fieldNumbers(1, 2, 3, 4, 5, 6, 7, 11);

export const watchResponse: HandWritten<pb.WatchResponse> = {
  size(message) {
    let size =
      headerSize(message.header) +
      numberSize(message.watchId) +
      boolSize(message.created) +
      boolSize(message.canceled) +
      numberSize(message.compactRevision) +
      boolSize(message.fragment);
    if (message.cancelReason !== '') size += 1 + stringSize(message.cancelReason);
    for (const one of message.events) size += embeddedSize(event.size(one));
    return size;
  },
  write(buffer, position, message) {
    let next = writeHeader(buffer, position, message.header);
    next = writeNumber(buffer, next, 0x10, message.watchId);
    next = writeBool(buffer, next, 0x18, message.created);
    next = writeBool(buffer, next, 0x20, message.canceled);
    next = writeNumber(buffer, next, 0x28, message.compactRevision);
    if (message.cancelReason !== '') {
      buffer[next] = 0x32;
      next = writeString(buffer, next + 1, message.cancelReason);
    }
    next = writeBool(buffer, next, 0x38, message.fragment);
    for (const one of message.events) {
      next = writeEmbedded(buffer, next, 0x5a, event.size(one));
      next = event.write(buffer, next, one);
    }
    return next;
  },
  merge(reader, message) {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === 0x5a) {
        const one = zeroEvent();
        const outerEnd = reader.enter();
        event.merge(reader, one);
        reader.leave(outerEnd);
        message.events.push(one);
      } else if (tag === 0x0a) message.header = readHeader(reader, message.header);
      else if (tag === 0x10) message.watchId = reader.int64Exact();
      else if (tag === 0x18) message.created = reader.bool();
      else if (tag === 0x20) message.canceled = reader.bool();
      else if (tag === 0x28) message.compactRevision = reader.int64();
      else if (tag === 0x32) message.cancelReason = reader.string();
      else if (tag === 0x38) message.fragment = reader.bool();
      else reader.skip(tag, WATCH_FIELDS);
    }
  },
};
