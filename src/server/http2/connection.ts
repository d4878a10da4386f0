/**
 * The server's side of one HTTP/2 connection (RFC 9113): reads frames, keeps the streams, judges
 * the peer. Sending is `output.ts`; what a request means is the caller's `RequestHandler`.
 *
 * Written on plain sockets because transport is most of what a request costs here, and because a
 * client may cancel as many streams as it likes: only work in progress is bounded.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import {
  ConnectionError,
  enhanceYourCalm,
  flowControlError,
  Http2Code,
  protocolError,
} from './errors.ts';
import { FrameDispatch, type FrameHandler } from './frame-dispatch.ts';
import { FrameReader } from './frame-reader.ts';
import {
  DEFAULT_WINDOW_BYTES,
  goAwayFrame,
  PREFACE,
  pingAckFrame,
  rstStreamFrame,
  SETTINGS_ACK,
  Setting,
  settingsFrame,
  windowUpdateFrame,
} from './frames.ts';
import { type FieldBlock, fieldBlock } from './hpack-encoder.ts';
import { IdleBudget } from './idle-budget.ts';
import type { Http2Limits } from './limits.ts';
import { type Flusher, Output, type OutputOwner, type Slab } from './output.ts';
import { type RequestHead, RequestHeadReader } from './request-head.ts';
import type { PeerSettings } from './settings.ts';
import {
  Http2Stream,
  type Part,
  type ReadyCall,
  type StreamOwner,
  type StreamReceiver,
} from './stream.ts';

/** Table for header compression that the peer may use: the protocol's default. */
const HEADER_TABLE_BYTES = 4096;

/** Calls that are started at once when a slow client has read something. */
const DEFERRED_BATCH = 16;

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

export class Http2Connection implements FrameHandler, StreamOwner, OutputOwner {
  /** Received so far. */
  bytesRead: number;
  readonly #socket: Socket;
  readonly #context: Http2Context;
  readonly #limits: Http2Limits;
  readonly #frames: FrameReader;
  readonly #heads: RequestHeadReader;
  readonly #output: Output;
  readonly #idleBudget: IdleBudget;
  readonly #streams: Map<number, Http2Stream>;
  /** Of the preface: 24 when it is complete. */
  #prefaceBytes: number;
  #lastStreamId: number;
  #uncredited: number;
  /** Calls that wait until the client has read more; first in, first out. */
  #deferred: ReadyCall[];
  #activeCalls: number;
  #stalled: boolean;
  #heldBytes: number;
  #goingAway: boolean;
  #closed: boolean;

  constructor(socket: Socket, context: Http2Context) {
    this.bytesRead = 0;
    this.#socket = socket;
    this.#context = context;
    this.#limits = context.limits;
    this.#frames = new FrameReader(new FrameDispatch(this, context.limits.maxHeaderBlockBytes));
    this.#heads = new RequestHeadReader(HEADER_TABLE_BYTES, context.limits.maxHeaderListBytes);
    this.#output = new Output(
      socket,
      context.slab,
      context.flusher,
      context.limits.maxQueuedBytes,
      this,
    );
    this.#idleBudget = new IdleBudget(context.clock, context.limits.maxIdleFramesPerSecond);
    this.#streams = new Map();
    this.#prefaceBytes = 0;
    this.#lastStreamId = 0;
    this.#uncredited = 0;
    this.#deferred = [];
    this.#activeCalls = 0;
    this.#stalled = false;
    this.#heldBytes = 0;
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

  onData(
    streamId: number,
    buffer: Buffer,
    start: number,
    end: number,
    flowBytes: number,
    endStream: boolean,
  ): void {
    // Given back in batches, long before the window is used up.
    this.#uncredited += flowBytes;
    if (this.#uncredited >= this.#limits.connectionWindowBytes / 4) {
      this.#output.control(windowUpdateFrame(0, this.#uncredited));
      this.#uncredited = 0;
    }
    const stream = this.#openStream(streamId);
    if (stream === undefined) return;
    if (stream.remoteClosed) {
      this.reset(stream, Http2Code.streamClosed);
      return;
    }
    stream.uncredited += flowBytes;
    if (stream.uncredited > this.#limits.streamWindowBytes) {
      this.reset(stream, Http2Code.flowControlError);
      return;
    }
    // Set first: an answer that is composed at once needs no RST_STREAM behind it.
    if (endStream) stream.remoteClosed = true;
    if (end > start) stream.receiver?.data(buffer, start, end);
    else if (!endStream) this.onIdle();
    if (endStream) stream.receiver?.end();
    else if (!stream.aborted) this.credit(stream);
  }

  /** A complete header block: a new request, or the trailers of one. */
  onHeaderBlock(
    streamId: number,
    block: Buffer,
    start: number,
    end: number,
    endStream: boolean,
  ): void {
    if (streamId > this.#lastStreamId) {
      this.#onRequest(streamId, block, start, end, endStream);
      return;
    }
    this.#heads.skip(block, start, end);
    const stream = this.#openStream(streamId);
    if (stream === undefined) return;
    if (stream.remoteClosed || !endStream) {
      this.reset(stream, stream.remoteClosed ? Http2Code.streamClosed : Http2Code.protocolError);
      return;
    }
    stream.remoteClosed = true;
    stream.receiver?.end();
  }

  onReset(streamId: number): void {
    this.onIdle();
    const stream = this.#openStream(streamId);
    if (stream !== undefined) this.#drop(stream);
  }

  onSettings(settings: PeerSettings): void {
    this.onIdle();
    const { headerTableBytes, initialWindowBytes } = settings;
    if (headerTableBytes !== undefined) this.#output.encoder.limitTable(headerTableBytes);
    if (initialWindowBytes !== undefined) this.#resizeWindows(initialWindowBytes);
    this.#output.control(SETTINGS_ACK);
  }

  onPing(opaque: Buffer): void {
    this.onIdle();
    this.#output.control(pingAckFrame(opaque));
  }

  onWindowUpdate(streamId: number, increment: number): void {
    if (streamId === 0) {
      if (increment === 0) throw protocolError('WINDOW_UPDATE of 0');
      if (!this.#output.openWindow(increment)) {
        throw flowControlError('connection window too large');
      }
      return;
    }
    const stream = this.#openStream(streamId);
    if (stream === undefined) return;
    if (increment === 0) this.reset(stream, Http2Code.protocolError);
    else if (!this.#output.openStreamWindow(stream, increment)) {
      this.reset(stream, Http2Code.flowControlError);
    }
  }

  /** Such frames cost us something and ask for nothing: so many are let pass, not more. */
  onIdle(): void {
    this.#idleBudget.spend(1);
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

  admit(call: ReadyCall): void {
    if (this.#deferred.length === 0 && !this.#output.overloaded) {
      call.start();
      return;
    }
    this.hold(call.requestBytes);
    this.#deferred.push(call);
  }

  /** A few at a time: each may bring a response as large as those that wait already. */
  relieved(): void {
    if (this.#deferred.length === 0 || this.#closed || this.#output.overloaded) return;
    for (const call of this.#deferred.splice(0, DEFERRED_BATCH)) {
      this.hold(-call.requestBytes);
      call.start();
    }
  }

  beginWork(): void {
    this.#activeCalls++;
    if (this.#activeCalls >= this.#limits.maxActiveCalls) this.#stalled = true;
  }

  endWork(): void {
    this.#activeCalls--;
    this.relieved();
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
      throw enhanceYourCalm(`more than ${this.#limits.maxHeldBytes} bytes of unfinished messages`);
    }
  }

  sent(stream: Http2Stream): void {
    this.#streams.delete(stream.id);
    if (this.#goingAway && this.#streams.size === 0) this.#endWhenFlushed();
  }

  overflow(): void {
    const error = enhanceYourCalm(`more than ${this.#limits.maxQueuedBytes} bytes wait to be read`);
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
    if (expected.compare(chunk, 0, wanted) !== 0) throw protocolError('not an HTTP/2 preface');
    this.#prefaceBytes += wanted;
    return chunk.subarray(wanted);
  }

  #onRequest(
    streamId: number,
    block: Buffer,
    start: number,
    end: number,
    endStream: boolean,
  ): void {
    if (streamId % 2 === 0) throw protocolError('a client opens odd streams only');
    const head = this.#heads.read(block, start, end);
    // The peer learns from our GOAWAY that this stream was not looked at.
    if (this.#goingAway) return;
    this.#lastStreamId = streamId;
    if (this.#streams.size >= this.#limits.maxConcurrentStreams) {
      this.onIdle();
      this.#output.control(rstStreamFrame(streamId, Http2Code.refusedStream));
      return;
    }
    if (head === 'malformed') {
      this.onIdle();
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

  /** Section 6.9.2: the windows of all open streams change by as much as the initial one. */
  #resizeWindows(bytes: number): void {
    this.#idleBudget.spend(this.#streams.size / 16);
    const change = bytes - this.#output.initialStreamWindow;
    this.#output.setInitialStreamWindow(bytes);
    for (const stream of this.#streams.values()) {
      if (!this.#output.openStreamWindow(stream, change)) {
        throw flowControlError('window too large');
      }
    }
  }

  /** Frames for a stream that has ended may still be under way; for one that never was, not. */
  #openStream(streamId: number): Http2Stream | undefined {
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) return stream;
    if (streamId % 2 === 0 || (streamId > this.#lastStreamId && !this.#goingAway)) {
      throw protocolError('a frame for an idle stream');
    }
    this.onIdle();
    return undefined;
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
