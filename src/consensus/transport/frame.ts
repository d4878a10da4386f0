/**
 * Frames: what travels on a connection between two nodes.
 *
 * A connection begins, in both directions, with eight magic bytes, so that whoever speaks HTTP, TLS
 * or anything else is recognised at the first byte. Frames follow:
 *
 *     length u32 | length inverted u32 | crc32 u32 | kind u8 | content          (little endian)
 *
 * `length` counts kind and content; the checksum covers them, begun with the length. The length comes
 * twice, so that a damaged one is found at once: else its reader would take all that follows for one
 * large frame and wait for the rest of it, on a connection that looks alive. TCP's own 16-bit sum lets about one damaged packet in 65,000
 * through, and a damaged frame must never reach the log (fault N12 of our catalogue).
 */
import { crc32 } from 'node:zlib';
import { QuorateError } from '../../core/errors.ts';
import type { PeerMessage } from '../messages.ts';
import { messageBytes, writeMessage } from './codec.ts';

/** Begins every connection. The line feeds break when something translates text; see PNG. */
export const MAGIC: Buffer = Buffer.from([0x51, 0x52, 0x54, 0x50, 0x0d, 0x0a, 0x1a, 0x0a]);

/** Length, the same inverted, and checksum. */
export const HEADER_BYTES = 12;

/** Before the hello was checked nobody may make us collect more than this. */
const MAX_HELLO_BYTES = 1024;

export const FrameKind = {
  hello: 1,
  welcome: 2,
  /** Nothing to say, and here. */
  alive: 3,
  message: 4,
  call: 5,
  reply: 6,
  callError: 7,
  snapshotBegin: 8,
  snapshotChunk: 9,
  snapshotEnd: 10,
  /** The receiver has taken one chunk: room for another. */
  snapshotTaken: 11,
  snapshotDone: 12,
  snapshotFailed: 13,
  /** Instead of a hello, by a node that has no id yet: who are the members? */
  askMembers: 14,
  /** The answer. */
  members: 15,
} as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

/**
 * A frame that waits to be written. It is encoded only when it is its turn, straight into the one
 * buffer that the turn writes. One shape for all kinds.
 */
export class OutFrame {
  readonly kind: FrameKind;
  /** On the wire, header included. */
  readonly bytes: number;
  readonly message: PeerMessage | undefined;
  readonly head: Uint8Array | undefined;
  readonly body: Uint8Array | undefined;
  /** Handed to the socket: from here on the peer may have seen it. */
  written: boolean;
  /** Given up before it was written: skipped. */
  withdrawn: boolean;

  constructor(
    kind: FrameKind,
    message: PeerMessage | undefined,
    head: Uint8Array | undefined,
    body: Uint8Array | undefined,
  ) {
    this.kind = kind;
    this.bytes =
      HEADER_BYTES +
      1 +
      (message === undefined ? 0 : messageBytes(message)) +
      (head === undefined ? 0 : head.length) +
      (body === undefined ? 0 : body.length);
    this.message = message;
    this.head = head;
    this.body = body;
    this.written = false;
    this.withdrawn = false;
  }
}

/** Encodes `frame` at `at`, which has room for `frame.bytes`; returns where it ends. */
export function writeFrame(out: Buffer, at: number, frame: OutFrame): number {
  const start = at + HEADER_BYTES;
  const end = at + frame.bytes;
  out[start] = frame.kind;
  let position = start + 1;
  if (frame.message !== undefined) position = writeMessage(out, position, frame.message);
  if (frame.head !== undefined) {
    out.set(frame.head, position);
    position += frame.head.length;
  }
  if (frame.body !== undefined) out.set(frame.body, position);
  const length = end - start;
  out.writeUInt32LE(length, at);
  out.writeUInt32LE(~length >>> 0, at + 4);
  out.writeUInt32LE(crc32(out.subarray(start, end), length), at + 8);
  return end;
}

/**
 * Takes a frame: kind and content, checksum verified. `owned` says that the memory is the frame's
 * alone and may be kept; otherwise it is the socket's read buffer.
 */
export type FrameSink = (content: Buffer, owned: boolean) => void;

/** Cuts what a socket delivers into frames. Throws `ERR_PROTOCOL` at the first byte that is wrong. */
export class FrameReader {
  /** Raised after the hello. */
  maxFrameBytes: number = MAX_HELLO_BYTES;
  readonly #sink: FrameSink;
  #magicSeen = 0;
  /** Parts of a frame that is not complete yet; grows only with what really arrived. */
  #parts: Buffer[] = [];
  #partBytes = 0;
  #stopped = false;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Nothing more is delivered, not even what was already read. */
  stop(): void {
    this.#stopped = true;
    this.#parts = [];
    this.#partBytes = 0;
  }

  push(chunk: Buffer): void {
    let at = this.#magicSeen < MAGIC.length ? this.#expectMagic(chunk) : 0;
    if (this.#partBytes > 0) at = this.#complete(chunk, at);
    while (!this.#stopped && chunk.length - at >= HEADER_BYTES) {
      const end = at + HEADER_BYTES + this.#contentLength(chunk, at);
      if (end > chunk.length) break;
      this.#deliver(chunk, at, end, false);
      at = end;
    }
    if (!this.#stopped && at < chunk.length) this.#keep(chunk.subarray(at));
  }

  #expectMagic(chunk: Buffer): number {
    let at = 0;
    while (at < chunk.length && this.#magicSeen < MAGIC.length) {
      if (chunk[at] !== MAGIC[this.#magicSeen]) throw foreign(chunk);
      at += 1;
      this.#magicSeen += 1;
    }
    return at;
  }

  #keep(part: Buffer): void {
    this.#parts.push(part);
    this.#partBytes += part.length;
  }

  /** Finishes the frame that earlier chunks began; returns where the next one starts. */
  #complete(chunk: Buffer, from: number): number {
    let at = from;
    if (this.#partBytes < HEADER_BYTES) {
      const wanted = Math.min(HEADER_BYTES - this.#partBytes, chunk.length - at);
      this.#keep(chunk.subarray(at, at + wanted));
      at += wanted;
      if (this.#partBytes < HEADER_BYTES) return at;
      this.#parts = [Buffer.concat(this.#parts)];
    }
    const wanted = HEADER_BYTES + this.#contentLength(this.#parts[0]!, 0) - this.#partBytes;
    if (chunk.length - at < wanted) {
      if (at < chunk.length) this.#keep(chunk.subarray(at));
      return chunk.length;
    }
    this.#keep(chunk.subarray(at, at + wanted));
    const whole = Buffer.concat(this.#parts, this.#partBytes);
    this.#parts = [];
    this.#partBytes = 0;
    this.#deliver(whole, 0, whole.length, true);
    return at + wanted;
  }

  #contentLength(buffer: Buffer, at: number): number {
    const length = buffer.readUInt32LE(at);
    if (buffer.readUInt32LE(at + 4) !== ~length >>> 0) {
      throw new QuorateError('ERR_PROTOCOL', 'the length of a frame was damaged on its way');
    }
    if (length >= 1 && length <= this.maxFrameBytes) return length;
    throw new QuorateError(
      'ERR_PROTOCOL',
      `a frame claims ${length} bytes; 1 to ${this.maxFrameBytes} are allowed here`,
    );
  }

  #deliver(buffer: Buffer, at: number, end: number, owned: boolean): void {
    const content = buffer.subarray(at + HEADER_BYTES, end);
    if (crc32(content, content.length) !== buffer.readUInt32LE(at + 8)) {
      throw new QuorateError(
        'ERR_PROTOCOL',
        `a frame of ${content.length} bytes has a wrong checksum`,
      );
    }
    this.#sink(content, owned);
  }
}

/** Says what is on the other side instead of a node. */
function foreign(chunk: Buffer): QuorateError {
  const start = chunk.subarray(0, 16).latin1Slice();
  let speaks = 'an unknown protocol';
  if (/^(GET|POST|PUT|HEAD|PRI|DELETE|OPTIONS|CONNECT|HTTP)[ /]/.test(start)) speaks = 'HTTP';
  else if (chunk[0] === 0x16 || chunk[0] === 0x15) speaks = 'TLS';
  return new QuorateError(
    'ERR_PROTOCOL',
    `the other side speaks ${speaks}, not the protocol between Quorate nodes; check that the peer URLs name peer ports and agree on http or https`,
  );
}
