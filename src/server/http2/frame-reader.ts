/**
 * Cuts the bytes of a connection into frames (RFC 9113, section 4.1). A frame that announces more
 * than we allow is refused by its header: nothing is ever collected for it.
 */
import { ConnectionError, Http2Code } from './errors.ts';
import { DEFAULT_MAX_FRAME_BYTES, FRAME_HEADER_BYTES } from './frames.ts';

export interface FrameSink {
  /** The bytes are borrowed: they may change once the call returns. May throw `ConnectionError`. */
  frame(
    type: number,
    flags: number,
    streamId: number,
    buffer: Buffer,
    start: number,
    end: number,
  ): void;
  /** While true the rest of what was read waits for `resume`. */
  readonly stalled: boolean;
}

const NOTHING = Buffer.alloc(0);

export class FrameReader {
  readonly #sink: FrameSink;
  /** What was read and not yet delivered: part of a frame, or more while the sink is stalled. */
  #rest: Buffer;

  constructor(sink: FrameSink) {
    this.#sink = sink;
    this.#rest = NOTHING;
  }

  /** Delivers the frames that `chunk` completes. */
  push(chunk: Buffer): void {
    const buffer = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const used = this.#deliver(buffer);
    // Copied: a few bytes must not keep a whole read buffer alive on an idle connection.
    this.#rest = used === buffer.length ? NOTHING : Buffer.from(buffer.subarray(used));
  }

  /** Goes on after a stall. */
  resume(): void {
    const rest = this.#rest;
    if (rest.length === 0) return;
    this.#rest = NOTHING;
    this.push(rest);
  }

  #deliver(buffer: Buffer): number {
    let at = 0;
    while (!this.#sink.stalled && buffer.length - at >= FRAME_HEADER_BYTES) {
      const length = (buffer[at]! << 16) | (buffer[at + 1]! << 8) | buffer[at + 2]!;
      if (length > DEFAULT_MAX_FRAME_BYTES) {
        throw new ConnectionError(
          Http2Code.frameSizeError,
          `frame of ${length} bytes; at most ${DEFAULT_MAX_FRAME_BYTES} are accepted`,
        );
      }
      const start = at + FRAME_HEADER_BYTES;
      if (buffer.length - start < length) break;
      const streamId =
        ((buffer[at + 5]! & 0x7f) << 24) |
        (buffer[at + 6]! << 16) |
        (buffer[at + 7]! << 8) |
        buffer[at + 8]!;
      const type = buffer[at + 3]!;
      const flags = buffer[at + 4]!;
      at = start + length;
      this.#sink.frame(type, flags, streamId, buffer, start, at);
    }
    return at;
  }
}
