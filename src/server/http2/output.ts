/**
 * The sending half of a connection: queue, flow control (RFC 9113, section 5.2) and one write to
 * the socket per turn of the event loop.
 *
 * Responses stay objects until the turn's flush, which encodes them straight into a slab shared by
 * all connections: headers, message and trailers of many responses leave in one write. A message
 * that does not fit the peer's windows is encoded and waits; what waits is counted and bounded.
 */
import type { Socket } from 'node:net';
import { Http2Code } from './errors.ts';
import {
  DEFAULT_MAX_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  MAX_WINDOW_BYTES,
  rstStreamFrame,
  writeFrameHeader,
} from './frames.ts';
import { type FieldBlock, HpackEncoder } from './hpack-encoder.ts';
import type { Http2Stream, Part } from './stream.ts';

/** A stream with more than this waiting is congested. */
const STREAM_HIGH_BYTES = 256 * 1024;

/** A connection with more than this waiting congests all its streams. */
const CONNECTION_HIGH_BYTES = 4 * 1024 * 1024;

/** While more than this waits, no further calls are started. */
const OVERLOAD_BYTES = 16 * 1024 * 1024;

/** At most this is handed to the socket in one turn, so that one reader cannot hold up the loop. */
const TURN_BYTES = 1024 * 1024;

/** Payloads from this size on are not copied into the slab. */
const COPY_BYTES = 2048;

const SLAB_BYTES = 256 * 1024;

/** Memory that writes are composed in: filled once from front to back, then left to the collector. */
export class Slab {
  buffer: Buffer;
  at: number;

  constructor() {
    this.buffer = Buffer.alloc(0);
    this.at = 0;
  }

  renew(): void {
    this.buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.at = 0;
  }
}

/** Runs the flushes of all connections of a server together, once a turn. */
export class Flusher {
  #waiting: Output[];
  #scheduled: boolean;

  constructor() {
    this.#waiting = [];
    this.#scheduled = false;
  }

  add(output: Output): void {
    this.#waiting.push(output);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#run());
  }

  #run(): void {
    this.#scheduled = false;
    const outputs = this.#waiting;
    this.#waiting = [];
    for (const output of outputs) output.flush();
  }
}

interface Item {
  /** `undefined` for a control frame, which is then `message`. */
  readonly stream: Http2Stream | undefined;
  readonly head: FieldBlock | undefined;
  readonly part: Part<never> | undefined;
  readonly message: unknown;
  readonly size: number;
  readonly trailers: FieldBlock | undefined;
}

export interface OutputOwner {
  /** The last frame of the stream has been composed. */
  sent(stream: Http2Stream): void;
  /** Something has been written: there may be room for more work. */
  relieved(): void;
  /** The peer lets more pile up than we keep. */
  overflow(): void;
  /** Encoding a message failed: a fault of ours. */
  broken(stream: Http2Stream | undefined, error: unknown): void;
}

export class Output {
  /** Written to the socket so far. */
  bytesWritten: number;
  readonly encoder: HpackEncoder;
  readonly #socket: Socket;
  readonly #slab: Slab;
  readonly #flusher: Flusher;
  readonly #owner: OutputOwner;
  readonly #maxQueuedBytes: number;
  #items: Item[];
  #window: number;
  #initialStreamWindow: number;
  /** Bytes of items and of blocked streams. */
  #queuedBytes: number;
  #scheduled: boolean;
  /** The socket has taken less than it was given; we wait for its `drain`. */
  #backlogged: boolean;
  /** The socket shall be ended once everything has been handed over. */
  #ending: boolean;
  #closed: boolean;
  /** Streams with blocked bytes and a window of their own to send them in. */
  readonly #sendable: Set<Http2Stream>;
  /** Streams whose handler was told to wait. */
  readonly #waiting: Set<Http2Stream>;
  /** Composed in this flush, in order. */
  #pieces: Buffer[];
  #pieceStart: number;
  #turnBytes: number;

  constructor(
    socket: Socket,
    slab: Slab,
    flusher: Flusher,
    maxQueuedBytes: number,
    owner: OutputOwner,
  ) {
    this.bytesWritten = 0;
    this.encoder = new HpackEncoder();
    this.#socket = socket;
    this.#slab = slab;
    this.#flusher = flusher;
    this.#owner = owner;
    this.#maxQueuedBytes = maxQueuedBytes;
    this.#items = [];
    this.#window = DEFAULT_WINDOW_BYTES;
    this.#initialStreamWindow = DEFAULT_WINDOW_BYTES;
    this.#queuedBytes = 0;
    this.#scheduled = false;
    this.#backlogged = false;
    this.#ending = false;
    this.#closed = false;
    this.#sendable = new Set();
    this.#waiting = new Set();
    this.#pieces = [];
    this.#pieceStart = 0;
    this.#turnBytes = 0;
    socket.on('drain', () => this.#drained());
  }

  /** The window that a new stream begins with. */
  get initialStreamWindow(): number {
    return this.#initialStreamWindow;
  }

  /** Queues a frame that is ready. */
  control(frame: Buffer): void {
    this.#push({
      stream: undefined,
      head: undefined,
      part: undefined,
      message: frame,
      size: frame.length,
      trailers: undefined,
    });
  }

  /** Queues a part of a response, or a whole one. */
  response(
    stream: Http2Stream,
    head: FieldBlock | undefined,
    part: Part<never> | undefined,
    message: unknown,
    trailers: FieldBlock | undefined,
  ): void {
    const size = part === undefined ? 0 : part.size(message as never);
    stream.queuedBytes += size;
    this.#push({ stream, head, part, message, size, trailers });
  }

  congested(stream: Http2Stream): boolean {
    const congested =
      this.#backlogged ||
      stream.queuedBytes > STREAM_HIGH_BYTES ||
      this.#queuedBytes > CONNECTION_HIGH_BYTES;
    if (congested) this.#waiting.add(stream);
    return congested;
  }

  /** Whether the peer should read before it gets more answers. */
  get overloaded(): boolean {
    return this.#queuedBytes + this.#socket.writableLength > OVERLOAD_BYTES;
  }

  /** Forgets a stream that was reset. */
  discard(stream: Http2Stream): void {
    this.#queuedBytes -= stream.blockedBytes;
    stream.blocked.length = 0;
    stream.blockedBytes = 0;
    stream.trailers = undefined;
    this.#sendable.delete(stream);
    this.#waiting.delete(stream);
  }

  /** More window for the connection; `false` where it would exceed what a window can be. */
  openWindow(increment: number): boolean {
    if (this.#window > MAX_WINDOW_BYTES - increment) return false;
    this.#window += increment;
    if (this.#sendable.size > 0) this.#schedule();
    return true;
  }

  /** More (or, by SETTINGS, less) window for a stream. */
  openStreamWindow(stream: Http2Stream, increment: number): boolean {
    if (stream.sendWindow > MAX_WINDOW_BYTES - increment) return false;
    stream.sendWindow += increment;
    if (stream.blockedBytes > 0 && stream.sendWindow > 0) {
      this.#sendable.add(stream);
      this.#schedule();
    }
    return true;
  }

  setInitialStreamWindow(bytes: number): void {
    this.#initialStreamWindow = bytes;
  }

  /** Ends the socket when what is queued has been handed over. */
  end(): void {
    this.#ending = true;
    this.#schedule();
  }

  /** Sends nothing more. */
  close(): void {
    this.#closed = true;
    this.#items = [];
    this.#pieces = [];
    this.#sendable.clear();
    this.#waiting.clear();
  }

  /** Composes what is queued and hands it to the socket. */
  flush(): void {
    this.#scheduled = false;
    if (this.#closed || this.#backlogged) return;
    if (this.#slab.buffer.length === 0) this.#slab.renew();
    this.#pieceStart = this.#slab.at;
    this.#turnBytes = 0;
    this.#composeItems();
    this.#composeBlocked();
    this.#cutPiece();
    this.#write();
    if (this.#closed) return;
    if (this.#items.length > 0 || this.#canSendBlocked()) this.#schedule();
    else if (this.#ending) this.#socket.end();
    this.#wakeWaiting();
    this.#owner.relieved();
  }

  #push(item: Item): void {
    if (this.#closed) return;
    // Judged by what already waits: a single response may be of any size.
    if (this.#queuedBytes + this.#socket.writableLength > this.#maxQueuedBytes) {
      this.#owner.overflow();
      return;
    }
    this.#queuedBytes += item.size;
    this.#items.push(item);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#backlogged || this.#closed) return;
    this.#scheduled = true;
    this.#flusher.add(this);
  }

  #drained(): void {
    if (!this.#backlogged) return;
    this.#backlogged = false;
    if (this.#items.length > 0 || this.#canSendBlocked()) this.#schedule();
    this.#wakeWaiting();
    this.#owner.relieved();
  }

  #canSendBlocked(): boolean {
    return this.#sendable.size > 0 && this.#window > 0;
  }

  #composeItems(): void {
    const items = this.#items;
    let next = 0;
    while (next < items.length && this.#turnBytes < TURN_BYTES) {
      const item = items[next++]!;
      this.#queuedBytes -= item.size;
      try {
        this.#compose(item);
      } catch (error) {
        this.#owner.broken(item.stream, error);
        if (this.#closed) return;
      }
    }
    this.#items = next === items.length ? [] : items.slice(next);
  }

  #compose(item: Item): void {
    const stream = item.stream;
    if (stream === undefined) {
      const frame = item.message as Buffer;
      this.#room(frame.length);
      this.#slab.buffer.set(frame, this.#slab.at);
      this.#slab.at += frame.length;
      return;
    }
    stream.queuedBytes -= item.size;
    if (stream.aborted) return;
    if (item.head !== undefined) this.#headers(stream, item.head, false);
    if (item.part !== undefined) this.#message(stream, item.part, item.message, item.size);
    if (item.trailers === undefined) return;
    if (stream.blockedBytes > 0) stream.trailers = item.trailers;
    else this.#finish(stream, item.trailers);
  }

  #headers(stream: Http2Stream, block: FieldBlock, endStream: boolean): void {
    this.#room(FRAME_HEADER_BYTES + block.maxBytes);
    const slab = this.#slab;
    const start = slab.at + FRAME_HEADER_BYTES;
    const end = this.encoder.write(block, slab.buffer, start);
    const flags = endStream ? Flag.endHeaders | Flag.endStream : Flag.endHeaders;
    writeFrameHeader(slab.buffer, slab.at, end - start, FrameType.headers, flags, stream.id);
    slab.at = end;
  }

  #message(stream: Http2Stream, part: Part<never>, message: unknown, size: number): void {
    const fits =
      stream.blockedBytes === 0 &&
      size <= DEFAULT_MAX_FRAME_BYTES &&
      size <= stream.sendWindow &&
      size <= this.#window;
    if (fits) {
      this.#room(FRAME_HEADER_BYTES + size);
      const slab = this.#slab;
      const at = writeFrameHeader(slab.buffer, slab.at, size, FrameType.data, 0, stream.id);
      part.write(slab.buffer, at, size, message as never);
      slab.at = at + size;
      stream.sendWindow -= size;
      this.#window -= size;
      return;
    }
    const bytes = Buffer.allocUnsafe(size);
    part.write(bytes, 0, size, message as never);
    stream.blocked.push(bytes);
    stream.blockedBytes += size;
    stream.queuedBytes += size;
    this.#queuedBytes += size;
    if (stream.sendWindow > 0) this.#sendable.add(stream);
  }

  /** Streams take turns of one frame while there is window, so that none starves. */
  #composeBlocked(): void {
    while (this.#canSendBlocked() && this.#turnBytes < TURN_BYTES) {
      for (const stream of this.#sendable) {
        if (this.#window === 0 || this.#turnBytes >= TURN_BYTES) return;
        this.#sendable.delete(stream);
        this.#sendBlocked(stream);
        if (stream.blockedBytes > 0) {
          if (stream.sendWindow > 0) this.#sendable.add(stream);
        } else if (stream.trailers !== undefined) {
          this.#finish(stream, stream.trailers);
        }
      }
    }
  }

  /** One frame of what the stream has waiting. */
  #sendBlocked(stream: Http2Stream): void {
    const bytes = stream.blocked[0]!;
    const left = bytes.length - stream.blockedOffset;
    const length = Math.min(left, DEFAULT_MAX_FRAME_BYTES, stream.sendWindow, this.#window);
    const payload = bytes.subarray(stream.blockedOffset, stream.blockedOffset + length);
    const slab = this.#slab;
    this.#room(FRAME_HEADER_BYTES + (length < COPY_BYTES ? length : 0));
    slab.at = writeFrameHeader(slab.buffer, slab.at, length, FrameType.data, 0, stream.id);
    if (length < COPY_BYTES) {
      slab.buffer.set(payload, slab.at);
      slab.at += length;
    } else {
      this.#cutPiece();
      this.#pieces.push(payload);
      this.#turnBytes += length;
    }
    stream.sendWindow -= length;
    this.#window -= length;
    stream.blockedOffset += length;
    stream.blockedBytes -= length;
    stream.queuedBytes -= length;
    this.#queuedBytes -= length;
    if (length < left) return;
    stream.blocked.shift();
    stream.blockedOffset = 0;
  }

  #finish(stream: Http2Stream, trailers: FieldBlock): void {
    stream.trailers = undefined;
    this.#headers(stream, trailers, true);
    if (!stream.remoteClosed) {
      const frame = rstStreamFrame(stream.id, Http2Code.noError);
      this.#room(frame.length);
      this.#slab.buffer.set(frame, this.#slab.at);
      this.#slab.at += frame.length;
    }
    this.#waiting.delete(stream);
    this.#owner.sent(stream);
  }

  /** Makes sure that `bytes` can be written at the slab's end. */
  #room(bytes: number): void {
    if (this.#slab.buffer.length - this.#slab.at >= bytes) return;
    this.#cutPiece();
    this.#slab.renew();
    this.#pieceStart = 0;
  }

  #cutPiece(): void {
    const { buffer, at } = this.#slab;
    if (at > this.#pieceStart) {
      this.#pieces.push(buffer.subarray(this.#pieceStart, at));
      this.#turnBytes += at - this.#pieceStart;
    }
    this.#pieceStart = at;
  }

  #write(): void {
    const pieces = this.#pieces;
    if (pieces.length === 0) return;
    this.bytesWritten += this.#turnBytes;
    if (pieces.length === 1) {
      this.#socket.write(pieces[0]!);
    } else {
      this.#socket.cork();
      for (const piece of pieces) this.#socket.write(piece);
      this.#socket.uncork();
    }
    this.#pieces = [];
    // What the kernel took at once no longer counts; `drain` will come for the rest.
    this.#backlogged = this.#socket.writableLength > 0 && this.#socket.writableNeedDrain;
  }

  #wakeWaiting(): void {
    if (this.#waiting.size === 0 || this.#backlogged) return;
    if (this.#queuedBytes > CONNECTION_HIGH_BYTES / 2) return;
    for (const stream of this.#waiting) {
      if (stream.queuedBytes > STREAM_HIGH_BYTES / 2) continue;
      this.#waiting.delete(stream);
      stream.receiver?.writable();
    }
  }
}
