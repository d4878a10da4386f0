/**
 * From frames to what they say: checks each frame against its type's rules (RFC 9113, section 6),
 * strips padding, puts header blocks together, and calls the connection.
 */
import { frameSizeError, protocolError } from './errors.ts';
import type { FrameSink } from './frame-reader.ts';
import { Flag, FrameType, MAX_WINDOW_BYTES } from './frames.ts';
import { HeaderAssembly } from './header-assembly.ts';
import { type PeerSettings, readSettings } from './settings.ts';

/** What a connection does with frames. Bytes are borrowed for the time of a call. */
export interface FrameHandler {
  readonly stalled: boolean;
  /** `flowBytes` counts padding too: it takes window like data. */
  onData(
    streamId: number,
    buffer: Buffer,
    start: number,
    end: number,
    flowBytes: number,
    endStream: boolean,
  ): void;
  onHeaderBlock(
    streamId: number,
    buffer: Buffer,
    start: number,
    end: number,
    endStream: boolean,
  ): void;
  onReset(streamId: number): void;
  onSettings(settings: PeerSettings): void;
  onPing(opaque: Buffer): void;
  onWindowUpdate(streamId: number, increment: number): void;
  /** A frame that asks for nothing. */
  onIdle(): void;
}

/** What HEADERS with the priority flag carry before the block. */
const PRIORITY_BYTES = 5;

export class FrameDispatch implements FrameSink {
  readonly #handler: FrameHandler;
  readonly #assembly: HeaderAssembly;
  #settled: boolean;

  constructor(handler: FrameHandler, maxHeaderBlockBytes: number) {
    this.#handler = handler;
    this.#assembly = new HeaderAssembly(maxHeaderBlockBytes);
    this.#settled = false;
  }

  get stalled(): boolean {
    return this.#handler.stalled;
  }

  frame(
    type: number,
    flags: number,
    streamId: number,
    buffer: Buffer,
    start: number,
    end: number,
  ): void {
    this.#checkOrder(type, streamId);
    switch (type) {
      case FrameType.data:
        this.#data(flags, streamId, buffer, start, end);
        break;
      case FrameType.headers:
        this.#headers(flags, streamId, buffer, start, end);
        break;
      case FrameType.continuation:
        this.#continuation(flags, streamId, buffer, start, end);
        break;
      case FrameType.rstStream:
        if (end - start !== 4) throw frameSizeError('RST_STREAM');
        if (streamId === 0) throw protocolError('RST_STREAM on stream 0');
        this.#handler.onReset(streamId);
        break;
      case FrameType.settings:
        this.#settings(flags, streamId, buffer, start, end);
        break;
      case FrameType.ping:
        if (end - start !== 8) throw frameSizeError('PING');
        if (streamId !== 0) throw protocolError('PING on a stream');
        if (flags & Flag.ack) this.#handler.onIdle();
        else this.#handler.onPing(buffer.subarray(start, end));
        break;
      case FrameType.windowUpdate:
        if (end - start !== 4) throw frameSizeError('WINDOW_UPDATE');
        this.#handler.onWindowUpdate(streamId, buffer.readUInt32BE(start) & MAX_WINDOW_BYTES);
        break;
      case FrameType.priority:
        if (end - start !== PRIORITY_BYTES) throw frameSizeError('PRIORITY');
        if (streamId === 0) throw protocolError('PRIORITY on stream 0');
        this.#handler.onIdle();
        break;
      case FrameType.pushPromise:
        throw protocolError('a client cannot push');
      case FrameType.goAway:
        if (streamId !== 0) throw protocolError('GOAWAY on a stream');
        this.#handler.onIdle();
        break;
      default:
        // Section 4.1: unknown types are ignored.
        this.#handler.onIdle();
    }
  }

  #checkOrder(type: number, streamId: number): void {
    if (!this.#settled && type !== FrameType.settings) {
      throw protocolError('SETTINGS must come first');
    }
    const unfinished = this.#assembly.streamId;
    if (unfinished !== 0 && (type !== FrameType.continuation || streamId !== unfinished)) {
      throw protocolError('a header block was interrupted');
    }
  }

  #data(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    if (streamId === 0) throw protocolError('DATA on stream 0');
    let from = start;
    let to = end;
    if (flags & Flag.padded) {
      from += 1;
      to -= buffer[start] ?? 0;
      if (from > to || from > end) throw protocolError('padding exceeds the frame');
    }
    this.#handler.onData(streamId, buffer, from, to, end - start, (flags & Flag.endStream) !== 0);
  }

  #headers(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    if (streamId === 0) throw protocolError('HEADERS on stream 0');
    let from = start;
    let to = end;
    if (flags & Flag.padded) {
      from += 1;
      to -= buffer[start] ?? 0;
    }
    if (flags & Flag.priority) from += PRIORITY_BYTES;
    if (from > to || from > end) throw protocolError('padding or priority exceeds the frame');
    if (flags & Flag.endHeaders) {
      this.#handler.onHeaderBlock(streamId, buffer, from, to, (flags & Flag.endStream) !== 0);
    } else {
      this.#assembly.begin(streamId, flags, buffer.subarray(from, to));
    }
  }

  #continuation(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    if (end === start) this.#handler.onIdle();
    const last = (flags & Flag.endHeaders) !== 0;
    const block = this.#assembly.continue(buffer.subarray(start, end), last);
    if (block === undefined) return;
    const endStream = (this.#assembly.flags & Flag.endStream) !== 0;
    this.#handler.onHeaderBlock(streamId, block, 0, block.length, endStream);
  }

  #settings(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    if (streamId !== 0) throw protocolError('SETTINGS on a stream');
    const isAck = (flags & Flag.ack) !== 0;
    if ((end - start) % 6 !== 0 || (isAck && end > start)) throw frameSizeError('SETTINGS');
    if (isAck) {
      this.#handler.onIdle();
      return;
    }
    this.#settled = true;
    this.#handler.onSettings(readSettings(buffer, start, end));
  }
}
