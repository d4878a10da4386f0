/** One stream of a connection: the state of RFC 9113, section 5.1, and what its handler calls. */
import type { Http2Code } from './errors.ts';
import type { FieldBlock } from './hpack-encoder.ts';

/** How messages of one kind become the bytes of a stream. */
export interface Part<T> {
  /** Bytes that `write` will write. */
  size(message: T): number;
  write(buffer: Buffer, offset: number, size: number, message: T): void;
}

/** What takes the request's body and learns what becomes of the stream. */
export interface StreamReceiver {
  /** A piece of the body, borrowed for the time of the call. */
  data(buffer: Buffer, start: number, end: number): void;
  /** The peer has sent all of its body. */
  end(): void;
  /** The stream is gone before its response was complete; nothing more can be sent. */
  closed(): void;
  /** After a `send` that returned `false`: there is room again. */
  writable(): void;
}

/** A call that is ready to be handled. */
export interface ReadyCall {
  /** Bytes that its request keeps while it waits. */
  readonly requestBytes: number;
  start(): void;
}

/** What a stream asks of its connection. */
export interface StreamOwner {
  enqueue(
    stream: Http2Stream,
    head: FieldBlock | undefined,
    part: Part<never> | undefined,
    message: unknown,
    trailers: FieldBlock | undefined,
  ): void;
  /** Whether the stream should send no more for now; `writable` follows when that ends. */
  congested(stream: Http2Stream): boolean;
  reset(stream: Http2Stream, code: Http2Code): void;
  credit(stream: Http2Stream): void;
  /** Starts a call, now or when the client has read more of what it was sent. */
  admit(call: ReadyCall): void;
  beginWork(): void;
  endWork(): void;
  /** Counts bytes of unfinished messages that are kept. */
  hold(bytes: number): void;
}

export class Http2Stream {
  readonly id: number;
  receiver: StreamReceiver | undefined;
  /** The peer has ended its side. */
  remoteClosed: boolean;
  /** Our last frame has been handed over; nothing can be added. */
  finished: boolean;
  /** Reset by either side, or cut with the connection. */
  aborted: boolean;
  sendWindow: number;
  /** Received and not yet given back to the peer as window. */
  uncredited: number;
  creditHeld: boolean;
  /** Bytes handed over and not yet written to the socket, in `blocked` or still unencoded. */
  queuedBytes: number;
  /** Encoded bytes that wait for window. */
  readonly blocked: Buffer[];
  blockedBytes: number;
  blockedOffset: number;
  /** To be sent once `blocked` is empty. */
  trailers: FieldBlock | undefined;
  readonly #owner: StreamOwner;

  constructor(owner: StreamOwner, id: number, sendWindow: number) {
    this.id = id;
    this.receiver = undefined;
    this.remoteClosed = false;
    this.finished = false;
    this.aborted = false;
    this.sendWindow = sendWindow;
    this.uncredited = 0;
    this.creditHeld = false;
    this.queuedBytes = 0;
    this.blocked = [];
    this.blockedBytes = 0;
    this.blockedOffset = 0;
    this.trailers = undefined;
    this.#owner = owner;
  }

  /** Nothing more can be sent. */
  get done(): boolean {
    return this.finished || this.aborted;
  }

  /** A whole response at once. Without `part` the trailers alone are the response. */
  respond<T>(
    head: FieldBlock | undefined,
    part: Part<T> | undefined,
    message: T | undefined,
    trailers: FieldBlock,
  ): void {
    if (this.done) return;
    this.finished = true;
    this.#owner.enqueue(this, head, part, message, trailers);
  }

  sendHead(head: FieldBlock): void {
    if (this.done) return;
    this.#owner.enqueue(this, head, undefined, undefined, undefined);
  }

  /** Sends a message; `false`: wait for `writable` before the next one that can wait. */
  send<T>(part: Part<T>, message: T): boolean {
    if (this.done) return true;
    this.#owner.enqueue(this, undefined, part, message, undefined);
    return !this.#owner.congested(this);
  }

  finish(trailers: FieldBlock): void {
    if (this.done) return;
    this.finished = true;
    this.#owner.enqueue(this, undefined, undefined, undefined, trailers);
  }

  /** Ends the stream at once, in both directions. */
  reset(code: Http2Code): void {
    if (!this.aborted) this.#owner.reset(this, code);
  }

  /** While held, the peer can send no more than the window it has. */
  holdCredit(held: boolean): void {
    if (this.creditHeld === held) return;
    this.creditHeld = held;
    if (!held && !this.aborted) this.#owner.credit(this);
  }

  /** Starts `call`: at once, or later where the client is slow to read its responses. */
  admit(call: ReadyCall): void {
    this.#owner.admit(call);
  }

  /** Work goes on for this connection, even if the stream ends meanwhile, until `endWork`. */
  beginWork(): void {
    this.#owner.beginWork();
  }

  endWork(): void {
    this.#owner.endWork();
  }

  /** Memory kept for an unfinished message: `bytes` more, or less where negative. */
  hold(bytes: number): void {
    this.#owner.hold(bytes);
  }
}
