/** Frames of HTTP/2 (RFC 9113, sections 4 and 6): numbers, and the few frames that we send. */
import type { Http2Code } from './errors.ts';

export const FrameType = {
  data: 0x0,
  headers: 0x1,
  priority: 0x2,
  rstStream: 0x3,
  settings: 0x4,
  pushPromise: 0x5,
  ping: 0x6,
  goAway: 0x7,
  windowUpdate: 0x8,
  continuation: 0x9,
} as const;

export const Flag = {
  ack: 0x1,
  endStream: 0x1,
  endHeaders: 0x4,
  padded: 0x8,
  priority: 0x20,
} as const;

export const Setting = {
  headerTableSize: 0x1,
  enablePush: 0x2,
  maxConcurrentStreams: 0x3,
  initialWindowSize: 0x4,
  maxFrameSize: 0x5,
  maxHeaderListSize: 0x6,
} as const;

/** What a client sends first (section 3.4). */
export const PREFACE: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

export const FRAME_HEADER_BYTES = 9;

/** The frame size that every peer accepts; neither side needs more. */
export const DEFAULT_MAX_FRAME_BYTES = 16_384;

export const DEFAULT_WINDOW_BYTES = 65_535;
export const MAX_WINDOW_BYTES = 0x7fff_ffff;

/** Writes a frame's header; returns the offset behind it. */
export function writeFrameHeader(
  buffer: Buffer,
  offset: number,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): number {
  buffer[offset] = length >>> 16;
  buffer[offset + 1] = length >>> 8;
  buffer[offset + 2] = length;
  buffer[offset + 3] = type;
  buffer[offset + 4] = flags;
  buffer[offset + 5] = streamId >>> 24;
  buffer[offset + 6] = streamId >>> 16;
  buffer[offset + 7] = streamId >>> 8;
  buffer[offset + 8] = streamId;
  return offset + FRAME_HEADER_BYTES;
}

function frame(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const buffer = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.length);
  writeFrameHeader(buffer, 0, payload.length, type, flags, streamId);
  buffer.set(payload, FRAME_HEADER_BYTES);
  return buffer;
}

/** A SETTINGS frame of identifiers and values. */
export function settingsFrame(settings: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = Buffer.allocUnsafe(settings.length * 6);
  settings.forEach(([id, value], i) => {
    payload.writeUInt16BE(id, i * 6);
    payload.writeUInt32BE(value, i * 6 + 2);
  });
  return frame(FrameType.settings, 0, 0, payload);
}

export const SETTINGS_ACK: Buffer = frame(FrameType.settings, Flag.ack, 0, Buffer.alloc(0));

export function pingAckFrame(opaque: Buffer): Buffer {
  return frame(FrameType.ping, Flag.ack, 0, opaque);
}

export function windowUpdateFrame(streamId: number, increment: number): Buffer {
  const payload = Buffer.allocUnsafe(4);
  payload.writeUInt32BE(increment, 0);
  return frame(FrameType.windowUpdate, 0, streamId, payload);
}

export function rstStreamFrame(streamId: number, code: Http2Code): Buffer {
  const payload = Buffer.allocUnsafe(4);
  payload.writeUInt32BE(code, 0);
  return frame(FrameType.rstStream, 0, streamId, payload);
}

export function goAwayFrame(lastStreamId: number, code: Http2Code, text: string): Buffer {
  const debug = Buffer.from(text, 'utf8');
  const payload = Buffer.allocUnsafe(8 + debug.length);
  payload.writeUInt32BE(lastStreamId, 0);
  payload.writeUInt32BE(code, 4);
  payload.set(debug, 8);
  return frame(FrameType.goAway, 0, 0, payload);
}
