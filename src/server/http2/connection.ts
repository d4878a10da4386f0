/**
 * The server's side of one HTTP/2 connection (RFC 9113): reads frames, keeps the streams, judges
 * the peer. Sending is `output.ts`; what a request means is the caller's `RequestHandler`.
 *
 * Written on plain sockets because transport is most of what a request costs here, and because a
 * client may cancel as many streams as it likes: only work in progress is bounded.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { ConnectionError, Http2Code } from './errors.ts';
import { FrameReader, type FrameSink } from './frame-reader.ts';
import {
  DEFAULT_WINDOW_BYTES,
  Flag,
  FrameType,
  goAwayFrame,
  MAX_WINDOW_BYTES,
  PREFACE,
  pingAckFrame,
  rstStreamFrame,
  SETTINGS_ACK,
  Setting,
  settingsFrame,
  windowUpdateFrame,
} from './frames.ts';
import { type FieldBlock, fieldBlock } from './hpack-encoder.ts';
import type { Http2Limits } from './limits.ts';
import { type Flusher, Output, type OutputOwner, type Slab } from './output.ts';
import { type RequestHead, RequestHeadReader } from './request-head.ts';
import { Http2Stream, type Part, type StreamOwner, type StreamReceiver } from './stream.ts';

/** Table for header compression that the peer may use: the protocol's default. */
const HEADER_TABLE_BYTES = 4096;

/** A refused connection may take this long to read why. */
const LINGER_MS = 1000;

const TOO_LARGE_BLOCK = fieldBlock([{ name: ':status', value: '431' }]);

/** Decides what to do with a request. */
export type RequestHandler = (stream: Http2Stream, head: RequestHead) => StreamReceiver;

/** What the connections of a server share. */
export interface Http2Context {
  readonly clock: Clock;
  readonly limits: Http2Limits;
  readonly slab: Slab;
  readonly flusher: Flusher;
  readonly onRequest: RequestHandler;
  /** A fault of ours while answering: for a log. */
  readonly onFault: (error: unknown) => void;
}

export class Http2Connection implements FrameSink, StreamOwner, OutputOwner {
  /** Received so far. */
  bytesRead: number;
  readonly #socket: Socket;
  readonly #context: Http2Context;
  readonly #limits: Http2Limits;
  readonly #frames: FrameReader;
  readonly #heads: RequestHeadReader;
  readonly #output: Output;
  readonly #streams: Map<number, Http2Stream>;
  /** Of the preface: 24 when it is complete. */
  #prefaceBytes: number;
  #settled: boolean;
  #lastStreamId: number;
  #uncredited: number;
  /** A header block whose CONTINUATION frames are still to come. */
  #blockStreamId: number;
  #blockFlags: number;
  #blockParts: Buffer[];
  #blockBytes: number;
  #activeCalls: number;
  #stalled: boolean;
  #heldBytes: number;
  #idleFrames: number;
  #idleSince: number;
  #goingAway: boolean;
  #closed: boolean;

  constructor(socket: Socket, context: Http2Context) {
    this.bytesRead = 0;
    this.#socket = socket;
    this.#context = context;
    this.#limits = context.limits;
    this.#frames = new FrameReader(this);
    this.#heads = new RequestHeadReader(HEADER_TABLE_BYTES, context.limits.maxHeaderListBytes);
    this.#output = new Output(
      socket,
      context.slab,
      context.flusher,
      context.limits.maxQueuedBytes,
      this,
    );
    this.#streams = new Map();
    this.#prefaceBytes = 0;
    this.#settled = false;
    this.#lastStreamId = 0;
    this.#uncredited = 0;
    this.#blockStreamId = 0;
    this.#blockFlags = 0;
    this.#blockParts = [];
    this.#blockBytes = 0;
    this.#activeCalls = 0;
    this.#stalled = false;
    this.#heldBytes = 0;
    this.#idleFrames = 0;
    this.#idleSince = 0;
    this.#goingAway = false;
    this.#closed = false;
    this.#start();
  }

  get bytesWritten(): number {
    return this.#output.bytesWritten;
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#streams.size;
  }

  get stalled(): boolean {
    return this.#stalled || this.#closed;
  }

  /** What the socket has read. */
  receive(chunk: Buffer): void {
    this.bytesRead += chunk.length;
    if (this.#closed) return;
    try {
      const rest = this.#prefaceBytes < PREFACE.length ? this.#preface(chunk) : chunk;
      if (rest.length > 0) this.#frames.push(rest);
    } catch (error) {
      this.#refuse(error);
    }
    if (this.#stalled) this.#socket.pause();
  }

  /** Takes no new streams; the connection closes when the open ones have ended. */
  goAway(): void {
    if (this.#goingAway || this.#closed) return;
    this.#goingAway = true;
    this.#output.control(goAwayFrame(this.#lastStreamId, Http2Code.noError, 'server is stopping'));
    if (this.#streams.size === 0) this.#endWhenFlushed();
  }

  /** The socket is gone, or shall be. */
  destroy(): void {
    this.#closed = true;
    this.#output.close();
    this.#socket.destroy();
    this.#abortStreams();
  }

  frame(
    type: number,
    flags: number,
    streamId: number,
    buffer: Buffer,
    start: number,
    end: number,
  ): void {
    if (!this.#settled && type !== FrameType.settings) throw protocol('SETTINGS must come first');
    if (
      this.#blockStreamId !== 0 &&
      (type !== FrameType.continuation || streamId !== this.#blockStreamId)
    ) {
      throw protocol('a header block was interrupted');
    }
    switch (type) {
      case FrameType.data:
        this.#onData(flags, streamId, buffer, start, end);
        return;
      case FrameType.headers:
        this.#onHeaders(flags, streamId, buffer, start, end);
        return;
      case FrameType.priority:
        if (end - start !== 5) throw frameSize('PRIORITY');
        if (streamId === 0) throw protocol('PRIORITY on stream 0');
        this.#idle();
        return;
      case FrameType.rstStream:
        this.#onReset(streamId, end - start);
        return;
      case FrameType.settings:
        this.#onSettings(flags, streamId, buffer, start, end);
        return;
      case FrameType.pushPromise:
        throw protocol('a client cannot push');
      case FrameType.ping:
        this.#onPing(flags, streamId, buffer, start, end);
        return;
      case FrameType.goAway:
        if (streamId !== 0) throw protocol('GOAWAY on a stream');
        this.#idle();
        return;
      case FrameType.windowUpdate:
        this.#onWindowUpdate(streamId, buffer, start, end);
        return;
      case FrameType.continuation:
        this.#onContinuation(flags, streamId, buffer, start, end);
        return;
      default:
        this.#idle();
        return;
    }
  }

  enqueue(
    stream: Http2Stream,
    head: FieldBlock | undefined,
    part: Part<never> | undefined,
    message: unknown,
    trailers: FieldBlock | undefined,
  ): void {
    this.#output.response(stream, head, part, message, trailers);
  }

  congested(stream: Http2Stream): boolean {
    return this.#output.congested(stream);
  }

  reset(stream: Http2Stream, code: Http2Code): void {
    this.#drop(stream);
    this.#output.control(rstStreamFrame(stream.id, code));
  }

  credit(stream: Http2Stream): void {
    if (stream.remoteClosed || stream.creditHeld) return;
    if (stream.uncredited < this.#limits.streamWindowBytes / 2) return;
    this.#output.control(windowUpdateFrame(stream.id, stream.uncredited));
    stream.uncredited = 0;
  }

  beginWork(): void {
    this.#activeCalls++;
    if (this.#activeCalls >= this.#limits.maxActiveCalls) this.#stalled = true;
  }

  endWork(): void {
    this.#activeCalls--;
    if (!this.#stalled || this.#activeCalls > this.#limits.maxActiveCalls / 2) return;
    this.#stalled = false;
    if (this.#closed) return;
    try {
      this.#frames.resume();
    } catch (error) {
      this.#refuse(error);
    }
    if (!this.#stalled) this.#socket.resume();
  }

  hold(bytes: number): void {
    this.#heldBytes += bytes;
    if (this.#heldBytes > this.#limits.maxHeldBytes) {
      throw new ConnectionError(
        Http2Code.enhanceYourCalm,
        `more than ${this.#limits.maxHeldBytes} bytes of unfinished messages`,
      );
    }
  }

  sent(stream: Http2Stream): void {
    this.#streams.delete(stream.id);
    if (this.#goingAway && this.#streams.size === 0) this.#endWhenFlushed();
  }

  overflow(): void {
    const error = new ConnectionError(
      Http2Code.enhanceYourCalm,
      `more than ${this.#limits.maxQueuedBytes} bytes wait to be read`,
    );
    // Later: whoever sent the response that found out is in the middle of his own work.
    this.#output.close();
    queueMicrotask(() => this.#fail(error));
  }

  broken(stream: Http2Stream | undefined, error: unknown): void {
    this.#context.onFault(error);
    if (stream !== undefined) this.reset(stream, Http2Code.internalError);
  }

  #start(): void {
    const { maxConcurrentStreams, streamWindowBytes, connectionWindowBytes, maxHeaderListBytes } =
      this.#limits;
    this.#output.control(
      settingsFrame([
        [Setting.maxConcurrentStreams, maxConcurrentStreams],
        [Setting.initialWindowSize, streamWindowBytes],
        [Setting.maxHeaderListSize, maxHeaderListBytes],
      ]),
    );
    this.#output.control(windowUpdateFrame(0, connectionWindowBytes - DEFAULT_WINDOW_BYTES));
  }

  /** Takes its part of the preface off `chunk`. */
  #preface(chunk: Buffer): Buffer {
    const wanted = Math.min(PREFACE.length - this.#prefaceBytes, chunk.length);
    const expected = PREFACE.subarray(this.#prefaceBytes, this.#prefaceBytes + wanted);
    if (expected.compare(chunk, 0, wanted) !== 0) throw protocol('not an HTTP/2 preface');
    this.#prefaceBytes += wanted;
    return chunk.subarray(wanted);
  }

  #onData(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    if (streamId === 0) throw protocol('DATA on stream 0');
    // Given back in batches, long before the window is used up.
    this.#uncredited += end - start;
    if (this.#uncredited >= this.#limits.connectionWindowBytes / 4) {
      this.#output.control(windowUpdateFrame(0, this.#uncredited));
      this.#uncredited = 0;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      this.#onClosedStream(streamId);
      return;
    }
    if (stream.remoteClosed) {
      this.reset(stream, Http2Code.streamClosed);
      return;
    }
    stream.uncredited += end - start;
    if (stream.uncredited > this.#limits.streamWindowBytes) {
      this.reset(stream, Http2Code.flowControlError);
      return;
    }
    const from = flags & Flag.padded ? start + 1 : start;
    const to = flags & Flag.padded ? end - (buffer[start] ?? 0) : end;
    if (from > to || from > end) throw protocol('padding exceeds the frame');
    const endStream = (flags & Flag.endStream) !== 0;
    // Set first: an answer that is composed at once needs no RST_STREAM behind it.
    if (endStream) stream.remoteClosed = true;
    if (to > from) stream.receiver?.data(buffer, from, to);
    else if (!endStream) this.#idle();
    if (endStream) stream.receiver?.end();
    else if (!stream.aborted) this.credit(stream);
  }

  #onHeaders(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    if (streamId === 0) throw protocol('HEADERS on stream 0');
    let from = start;
    let to = end;
    if (flags & Flag.padded) {
      from += 1;
      to -= buffer[start] ?? 0;
    }
    if (flags & Flag.priority) from += 5;
    if (from > to || from > end) throw protocol('padding or priority exceeds the frame');
    if (flags & Flag.endHeaders) {
      this.#onBlock(flags, streamId, buffer, from, to);
      return;
    }
    this.#blockStreamId = streamId;
    this.#blockFlags = flags;
    this.#blockParts = [Buffer.from(buffer.subarray(from, to))];
    this.#blockBytes = to - from;
  }

  #onContinuation(
    flags: number,
    streamId: number,
    buffer: Buffer,
    start: number,
    end: number,
  ): void {
    if (this.#blockStreamId === 0) throw protocol('CONTINUATION without HEADERS');
    if (end === start) this.#idle();
    this.#blockParts.push(Buffer.from(buffer.subarray(start, end)));
    this.#blockBytes += end - start;
    if (this.#blockBytes > this.#limits.maxHeaderBlockBytes) {
      throw new ConnectionError(Http2Code.enhanceYourCalm, 'header block too large');
    }
    if ((flags & Flag.endHeaders) === 0) return;
    const block = Buffer.concat(this.#blockParts);
    this.#blockStreamId = 0;
    this.#blockParts = [];
    this.#onBlock(this.#blockFlags, streamId, block, 0, block.length);
  }

  /** A complete header block: a new request, or the trailers of one. */
  #onBlock(flags: number, streamId: number, block: Buffer, start: number, end: number): void {
    const endStream = (flags & Flag.endStream) !== 0;
    if (streamId > this.#lastStreamId) this.#onRequest(streamId, endStream, block, start, end);
    return;
    this.#heads.skip(block, start, end);
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      this.#onClosedStream(streamId);
      return;
    }
    if (stream.remoteClosed) {
      this.reset(stream, Http2Code.streamClosed);
      return;
    }
    if (!endStream) {
      this.reset(stream, Http2Code.protocolError);
      return;
    }
    stream.remoteClosed = true;
    stream.receiver?.end();
  }

  #onRequest(
    streamId: number,
    endStream: boolean,
    block: Buffer,
    start: number,
    end: number,
  ): void {
    if (streamId % 2 === 0) throw protocol('a client opens odd streams only');
    const head = this.#heads.read(block, start, end);
    // The peer learns from our GOAWAY that this stream was not looked at.
    if (this.#goingAway) return;
    this.#lastStreamId = streamId;
    if (this.#streams.size >= this.#limits.maxConcurrentStreams) {
      this.#idle();
      this.#output.control(rstStreamFrame(streamId, Http2Code.refusedStream));
      return;
    }
    if (head === 'malformed') {
      this.#idle();
      this.#output.control(rstStreamFrame(streamId, Http2Code.protocolError));
      return;
    }
    const stream = new Http2Stream(this, streamId, this.#output.initialStreamWindow);
    stream.remoteClosed = endStream;
    this.#streams.set(streamId, stream);
    if (head === 'too large') {
      stream.respond(undefined, undefined, undefined, TOO_LARGE_BLOCK);
      return;
    }
    const receiver = this.#context.onRequest(stream, head);
    stream.receiver = receiver;
    if (endStream) receiver.end();
  }

  #onReset(streamId: number, length: number): void {
    if (length !== 4) throw frameSize('RST_STREAM');
    if (streamId === 0) throw protocol('RST_STREAM on stream 0');
    this.#idle();
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      this.#onClosedStream(streamId);
      return;
    }
    this.#drop(stream);
  }

  #onSettings(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    if (streamId !== 0) throw protocol('SETTINGS on a stream');
    if ((end - start) % 6 !== 0 || (flags & Flag.ack && end > start)) throw frameSize('SETTINGS');
    this.#idle();
    if (flags & Flag.ack) return;
    this.#settled = true;
    for (let at = start; at < end; at += 6) {
      this.#onSetting(buffer.readUInt16BE(at), buffer.readUInt32BE(at + 2));
    }
    this.#output.control(SETTINGS_ACK);
  }

  #onSetting(id: number, value: number): void {
    if (id === Setting.headerTableSize) {
      this.#output.encoder.limitTable(value);
    } else if (id === Setting.enablePush) {
      if (value > 1) throw protocol('ENABLE_PUSH is 0 or 1');
    } else if (id === Setting.maxFrameSize) {
      if (value < 16_384 || value > 0xff_ffff) throw protocol('MAX_FRAME_SIZE out of range');
    } else if (id === Setting.initialWindowSize) {
      if (value > MAX_WINDOW_BYTES) throw flowControl('INITIAL_WINDOW_SIZE too large');
      const change = value - this.#output.initialStreamWindow;
      this.#output.setInitialStreamWindow(value);
      for (const stream of this.#streams.values()) {
        if (!this.#output.openStreamWindow(stream, change)) throw flowControl('window too large');
      }
    }
  }

  #onPing(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    if (end - start !== 8) throw frameSize('PING');
    if (streamId !== 0) throw protocol('PING on a stream');
    this.#idle();
    if (flags & Flag.ack) return;
    this.#output.control(pingAckFrame(buffer.subarray(start, end)));
  }

  #onWindowUpdate(streamId: number, buffer: Buffer, start: number, end: number): void {
    if (end - start !== 4) throw frameSize('WINDOW_UPDATE');
    const increment = buffer.readUInt32BE(start) & MAX_WINDOW_BYTES;
    if (streamId === 0) {
      if (increment === 0) throw protocol('WINDOW_UPDATE of 0');
      if (!this.#output.openWindow(increment)) throw flowControl('connection window too large');
      return;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      this.#onClosedStream(streamId);
      return;
    }
    if (increment === 0) {
      this.reset(stream, Http2Code.protocolError);
      return;
    }
    if (!this.#output.openStreamWindow(stream, increment)) {
      this.reset(stream, Http2Code.flowControlError);
    }
  }

  /** Frames for a stream that has ended may still be under way; for one that never was, not. */
  #onClosedStream(streamId: number): void {
    if (streamId % 2 === 0 || (streamId > this.#lastStreamId && !this.#goingAway)) {
      throw protocol('a frame for an idle stream');
    }
    this.#idle();
  }

  /** Counts frames that ask for nothing but cost us something. */
  #idle(): void {
    if (++this.#idleFrames < this.#limits.maxIdleFramesPerSecond) return;
    const now = this.#context.clock.now();
    if (now - this.#idleSince < 1000) {
      throw new ConnectionError(Http2Code.enhanceYourCalm, 'too many frames that ask for nothing');
    }
    this.#idleFrames = 0;
    this.#idleSince = now;
  }

  #drop(stream: Http2Stream): void {
    if (stream.aborted) return;
    stream.aborted = true;
    this.#streams.delete(stream.id);
    this.#output.discard(stream);
    stream.receiver?.closed();
    if (this.#goingAway && this.#streams.size === 0) this.#endWhenFlushed();
  }

  #abortStreams(): void {
    for (const stream of [...this.#streams.values()]) this.#drop(stream);
  }

  #refuse(error: unknown): void {
    if (error instanceof ConnectionError) {
      this.#fail(error);
      return;
    }
    this.#context.onFault(error);
    this.#fail(new ConnectionError(Http2Code.internalError, 'internal error'));
  }

  /** Says why, and ends the connection; what was queued is dropped. */
  #fail(error: ConnectionError): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#output.close();
    this.#socket.end(goAwayFrame(this.#lastStreamId, error.code, error.message));
    // Going on reading keeps the kernel from a reset that would overtake the GOAWAY.
    this.#socket.resume();
    const cancel = this.#context.clock.after(LINGER_MS, () => this.#socket.destroy());
    this.#socket.once('close', cancel);
    this.#abortStreams();
  }

  #endWhenFlushed(): void {
    if (this.#closed) return;
    this.#output.end();
  }
}

function protocol(message: string): ConnectionError {
  return new ConnectionError(Http2Code.protocolError, message);
}

function frameSize(frame: string): ConnectionError {
  return new ConnectionError(Http2Code.frameSizeError, `${frame} of a wrong length`);
}

function flowControl(message: string): ConnectionError {
  return new ConnectionError(Http2Code.flowControlError, message);
}
