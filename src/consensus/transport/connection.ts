/**
 * One TCP (or TLS) connection between two nodes: frames in, frames out, and the signs of life.
 *
 * Writes: frames wait in a bounded queue and are encoded into one buffer with one `write` per turn
 * of the event loop. While the socket is full nothing is encoded, so what waits can still be
 * withdrawn. Reads: see `FrameReader`. Who is on the other side is not decided here.
 */
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import { Fifo } from '../../core/fifo.ts';
import { FrameKind, FrameReader, MAGIC, OutFrame, writeFrame } from './frame.ts';
import type { Swept, TransportContext } from './settings.ts';
import type { PeerSocket } from './sockets.ts';

/** One write takes at most about this much, so that a queue cannot become one huge buffer. */
const MAX_WRITE_BYTES = 1024 * 1024;

export interface ConnectionEvents {
  /** A frame's content: its kind, then the rest. `owned`: its memory may be kept. */
  onFrame(content: Buffer, owned: boolean): void;
  /** Called once, however it ends. */
  onClose(reason: Error): void;
}

export class Connection implements Swept {
  /** Address of the other side, for log lines. */
  readonly remote: string;
  readonly #context: TransportContext;
  readonly #socket: PeerSocket;
  readonly #events: ConnectionEvents;
  readonly #reader: FrameReader;
  readonly #queue: Fifo<OutFrame>;
  readonly #batch: OutFrame[];
  #queuedBytes: number;
  #turnScheduled: boolean;
  /** The socket has enough for now; `drain` will come. */
  #blocked: boolean;
  #magicSent: boolean;
  /** The hello was exchanged: the deadline for it no longer counts. */
  #greeted: boolean;
  /** Nothing more is read or sent; the last frame is still being delivered. */
  #lingering: boolean;
  #closed: boolean;
  #deadAfterMs: number;
  #bornMs: number;
  #lastReceivedMs: number;
  #lastSentMs: number;

  constructor(
    context: TransportContext,
    socket: PeerSocket,
    remote: string,
    events: ConnectionEvents,
  ) {
    const now = context.clock.now();
    this.remote = remote;
    this.#context = context;
    this.#socket = socket;
    this.#events = events;
    this.#reader = new FrameReader((content, owned) => this.#take(content, owned));
    this.#queue = new Fifo();
    this.#batch = [];
    this.#queuedBytes = 0;
    this.#turnScheduled = false;
    this.#blocked = false;
    this.#magicSent = false;
    this.#greeted = false;
    this.#lingering = false;
    this.#closed = false;
    this.#deadAfterMs = context.settings.deadAfterMs;
    this.#bornMs = now;
    this.#lastReceivedMs = now;
    this.#lastSentMs = now;
    context.connections.add(this);
    this.#attach();
  }

  get closed(): boolean {
    return this.#closed || this.#lingering;
  }

  get greeted(): boolean {
    return this.#greeted;
  }

  /** Frames that wait to be encoded. */
  get queued(): number {
    return this.#queue.length;
  }

  /** The hello was exchanged and checked: large frames from here on, and signs of life. */
  greet(deadAfterMs: number): void {
    this.#greeted = true;
    this.#deadAfterMs = deadAfterMs;
    this.#reader.maxFrameBytes = this.#context.settings.maxFrameBytes;
  }

  /** Whether `frame` may still be queued. An empty queue takes any frame of a legal size. */
  hasRoomFor(frame: OutFrame): boolean {
    const { maxQueuedFrames, maxQueuedBytes } = this.#context.settings;
    if (this.#queue.length === 0) return true;
    return (
      this.#queue.length < maxQueuedFrames && this.#queuedBytes + frame.bytes <= maxQueuedBytes
    );
  }

  /** Queues `frame`; `false` where the connection is gone or the queue is full. */
  send(frame: OutFrame): boolean {
    if (this.closed || !this.hasRoomFor(frame)) return false;
    this.#queue.push(frame);
    this.#queuedBytes += frame.bytes;
    if (!this.#turnScheduled && !this.#blocked) {
      this.#turnScheduled = true;
      this.#context.unflushed.push(this);
      if (this.#context.unflushed.length === 1) this.#context.defer(this.#context.flushAll);
    }
    return true;
  }

  /** Sends a last frame, then closes. What arrives meanwhile is thrown away. */
  sendLast(frame: OutFrame, reason: Error): void {
    if (!this.send(frame)) {
      this.close(reason);
      return;
    }
    this.#flush();
    this.#lingering = true;
    this.#greeted = false;
    this.#bornMs = this.#context.clock.now();
    this.#reader.stop();
    this.#socket.end();
    this.#events.onClose(reason);
  }

  close(reason: Error): void {
    if (this.#closed) return;
    const told = this.#lingering;
    this.#closed = true;
    this.#reader.stop();
    this.#context.connections.delete(this);
    this.#socket.destroy();
    if (!told) this.#events.onClose(reason);
  }

  forgive(gapMs: number): void {
    this.#bornMs += gapMs;
    this.#lastReceivedMs += gapMs;
  }

  sweep(now: number): void {
    const { handshakeTimeoutMs, deadAfterMs } = this.#context.settings;
    if (!this.#greeted) {
      if (now - this.#bornMs >= handshakeTimeoutMs) {
        const text = `${this.remote} did not complete the hello in time`;
        this.close(new QuorateError('ERR_TIMEOUT', text));
      }
    } else if (now - this.#lastReceivedMs >= this.#deadAfterMs) {
      const text = `nothing came from ${this.remote} for too long`;
      this.close(new QuorateError('ERR_UNAVAILABLE', text));
    } else if (now - this.#lastSentMs >= deadAfterMs / 4 && this.#queue.length === 0) {
      if (!this.#blocked) this.send(new OutFrame(FrameKind.alive, undefined, undefined, undefined));
    }
  }

  #attach(): void {
    const socket = this.#socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('drain', () => {
      this.#blocked = false;
      this.#flush();
    });
    socket.on('error', (error) => this.close(error));
    socket.on('close', () => {
      this.close(new QuorateError('ERR_UNAVAILABLE', `${this.remote} closed the connection`));
    });
  }

  #read(chunk: Buffer): void {
    if (this.#closed || this.#lingering) return;
    this.#lastReceivedMs = this.#context.clock.now();
    try {
      this.#reader.push(chunk);
    } catch (error) {
      // Anything else comes from whoever handles the frame and must not be taken for bad input.
      if (!isQuorateError(error, 'ERR_PROTOCOL')) throw error;
      this.close(error);
    }
  }

  #take(content: Buffer, owned: boolean): void {
    if (content[0] !== FrameKind.alive) this.#events.onFrame(content, owned);
  }

  flush(): void {
    this.#turnScheduled = false;
    this.#flush();
  }

  #flush(): void {
    while (this.#queue.length > 0 && !this.#blocked && !this.closed) {
      const bytes = this.#takeBatch();
      const preamble = this.#magicSent ? 0 : MAGIC.length;
      const out = Buffer.allocUnsafe(preamble + bytes);
      if (preamble > 0) MAGIC.copy(out);
      this.#magicSent = true;
      let at = preamble;
      for (const frame of this.#batch) {
        at = writeFrame(out, at, frame);
        frame.written = true;
      }
      this.#batch.length = 0;
      if (at === 0) continue;
      this.#lastSentMs = this.#context.clock.now();
      this.#blocked = !this.#socket.write(out);
    }
  }

  #takeBatch(): number {
    let bytes = 0;
    while (bytes < MAX_WRITE_BYTES) {
      const frame = this.#queue.shift();
      if (frame === undefined) break;
      this.#queuedBytes -= frame.bytes;
      if (frame.withdrawn) continue;
      bytes += frame.bytes;
      this.#batch.push(frame);
    }
    return bytes;
  }
}
