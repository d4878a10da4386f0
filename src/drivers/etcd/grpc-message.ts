/**
 * gRPC's framing of messages inside an HTTP/2 stream (a flag byte, four bytes of length, the
 * message) and its status in trailers.
 *
 * Source: "gRPC over HTTP2" (PROTOCOL-HTTP2.md).
 */
import type { IncomingHttpHeaders, IncomingHttpStatusHeader } from 'node:http2';
import { QuorateError } from '../../core/errors.ts';

export const PREFIX_BYTES = 5;

/** What encodes a message into a buffer: a `MessageType` of the protobuf codec. */
export interface Encoder<T> {
  size(message: T): number;
  encodeTo(buffer: Buffer, offset: number, message: T): number;
}

/** One framed message, in one allocation. */
export function frameMessage<T>(type: Encoder<T>, message: T): Buffer {
  const size = type.size(message);
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + size);
  frame[0] = 0;
  frame.writeUInt32BE(size, 1);
  type.encodeTo(frame, PREFIX_BYTES, message);
  return frame;
}

/** Takes one message: it is `buffer` from `start` to `end`, valid only during the call. */
export type TakeMessage = (buffer: Buffer, start: number, end: number) => void;

/**
 * Cuts the messages out of a stream's data, however it was split. Memory grows with what has
 * arrived, never with what a length field claims.
 */
export class MessageReader {
  readonly #maxBytes: number;
  readonly #take: TakeMessage;
  #parts: Buffer[];
  #held: number;
  #wanted: number;

  constructor(maxBytes: number, take: TakeMessage) {
    this.#maxBytes = maxBytes;
    this.#take = take;
    this.#parts = [];
    this.#held = 0;
    this.#wanted = PREFIX_BYTES;
  }

  /** Whether a message has begun and not ended. */
  get partial(): boolean {
    return this.#held > 0;
  }

  /** @throws `ERR_PROTOCOL` where the data is no gRPC or a message is over the bound. */
  push(chunk: Buffer): void {
    let data = chunk;
    if (this.#held > 0) {
      this.#parts.push(chunk);
      this.#held += chunk.length;
      if (this.#held < this.#wanted) return;
      data = Buffer.concat(this.#parts, this.#held);
      this.#parts = [];
      this.#held = 0;
    }
    let start = 0;
    while (data.length - start >= PREFIX_BYTES) {
      const end = start + PREFIX_BYTES + this.#length(data, start);
      if (end > data.length) {
        this.#hold(data, start, end - start);
        return;
      }
      this.#take(data, start + PREFIX_BYTES, end);
      start = end;
    }
    if (start < data.length) this.#hold(data, start, PREFIX_BYTES);
  }

  #length(data: Buffer, at: number): number {
    if (data[at] !== 0) {
      throw new QuorateError('ERR_PROTOCOL', 'the answer is compressed or no gRPC');
    }
    const length = data.readUInt32BE(at + 1);
    if (length > this.#maxBytes) {
      throw new QuorateError(
        'ERR_PROTOCOL',
        `the answer has ${length} bytes, more than maxMessageBytes (${this.#maxBytes}); ask for less at a time (limit), or raise it`,
      );
    }
    return length;
  }

  #hold(data: Buffer, start: number, wanted: number): void {
    this.#parts.push(start === 0 ? data : data.subarray(start));
    this.#held = data.length - start;
    this.#wanted = wanted;
  }
}

/** How the server ended a call; `code` is gRPC's, `-1` where it sent none. */
export interface ServerStatus {
  readonly code: number;
  readonly text: string;
}

/** The status in trailers, or in headers that are the whole answer. */
export function statusOf(headers: IncomingHttpHeaders): ServerStatus | undefined {
  const code = headers['grpc-status'];
  if (code === undefined) return undefined;
  const text = headers['grpc-message'];
  return {
    code: /^\d{1,3}$/.test(String(code)) ? Number(code) : 2,
    text: typeof text === 'string' ? percentDecoded(text) : '',
  };
}

/** Why an answer's headers show that no gRPC server speaks; `undefined` where one does. */
export function foreignAnswer(
  headers: IncomingHttpHeaders & IncomingHttpStatusHeader,
): string | undefined {
  const status = Number(headers[':status']);
  const type = headers['content-type'] ?? 'unknown';
  if (status !== 200) return `HTTP status ${status}`;
  return type.startsWith('application/grpc') ? undefined : `content of type ${type}`;
}

/** `grpc-message` is UTF-8, percent-encoded; what is encoded badly is kept as it came. */
export function percentDecoded(text: string): string {
  if (!text.includes('%')) return text;
  const bytes: number[] = [];
  for (let i = 0; i < text.length; i++) {
    const hex = text.slice(i + 1, i + 3);
    if (text[i] === '%' && /^[0-9a-fA-F]{2}$/.test(hex)) {
      bytes.push(Number.parseInt(hex, 16));
      i += 2;
    } else {
      bytes.push(text.charCodeAt(i) & 0xff);
    }
  }
  return Buffer.from(bytes).utf8Slice();
}
