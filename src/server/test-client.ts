/** Clients for the server's tests: gRPC over `node:http2`, and a bare socket that speaks frames. */
import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';
import { connect as connectSocket, type Socket } from 'node:net';
import type { MessageType } from '../proto/etcd.ts';
import { FRAME_HEADER_BYTES, PREFACE, settingsFrame, writeFrameHeader } from './http2/frames.ts';

/** Waits for a condition that the server will bring about. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

/** A message behind gRPC's prefix. */
export function envelope(bytes: Buffer, flag = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

/** How a call ended, and the messages before that. */
export interface CallResult {
  readonly status: number;
  readonly message: string;
  readonly messages: readonly Buffer[];
}

/** A call on a `node:http2` session. */
export class TestCall {
  readonly stream: ClientHttp2Stream;
  readonly messages: Buffer[] = [];
  readonly ended: Promise<CallResult>;
  #bytes: Buffer = Buffer.alloc(0);
  #waiters: (() => void)[] = [];

  constructor(session: ClientHttp2Session, path: string, headers: Record<string, string> = {}) {
    this.stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    const seen: Record<string, unknown> = {};
    this.stream.on('response', (fields) => Object.assign(seen, fields));
    this.stream.on('trailers', (fields) => Object.assign(seen, fields));
    this.stream.on('data', (chunk: Buffer) => this.#receive(chunk));
    this.ended = new Promise((resolve, reject) => {
      this.stream.on('error', reject);
      this.stream.on('close', () =>
        resolve({
          status: Number(seen['grpc-status'] ?? -1),
          message: decodeURIComponent(String(seen['grpc-message'] ?? '')),
          messages: this.messages,
        }),
      );
    });
    // Not every test looks at the end.
    this.ended.catch(() => undefined);
  }

  send<T extends object>(type: MessageType<T>, message: Partial<T>): void {
    this.stream.write(envelope(type.encode(type.create(message))));
  }

  /** The message of this number, once it has arrived. */
  async message<T extends object>(type: MessageType<T>, number: number): Promise<T> {
    while (this.messages.length <= number) {
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
    return type.decode(this.messages[number]!);
  }

  #receive(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    while (this.#bytes.length >= 5) {
      const end = 5 + this.#bytes.readUInt32BE(1);
      if (this.#bytes.length < end) break;
      this.messages.push(this.#bytes.subarray(5, end));
      this.#bytes = this.#bytes.subarray(end);
    }
    for (const wake of this.#waiters.splice(0)) wake();
  }
}

/** A session that is ready for calls. */
export async function openSession(
  url: string,
  options: Parameters<typeof connect>[1] = {},
): Promise<ClientHttp2Session> {
  const session = connect(url, options);
  await once(session, 'connect');
  return session;
}

/** A unary call; rejects where its stream is reset. */
export async function callUnary<Q extends object, R extends object>(
  session: ClientHttp2Session,
  path: string,
  [request, response]: readonly [MessageType<Q>, MessageType<R>],
  message: Partial<Q>,
  headers: Record<string, string> = {},
): Promise<CallResult & { readonly response: R | undefined }> {
  const call = new TestCall(session, path, headers);
  call.stream.end(envelope(request.encode(request.create(message))));
  const result = await call.ended;
  const bytes = result.messages[0];
  return { ...result, response: bytes === undefined ? undefined : response.decode(bytes) };
}

/** A frame as a `RawClient` has read it. */
export interface RawFrame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** A frame to send. */
export function rawFrame(
  type: number,
  flags: number,
  streamId: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + payload.length);
  writeFrameHeader(bytes, 0, payload.length, type, flags, streamId);
  payload.copy(bytes, FRAME_HEADER_BYTES);
  return bytes;
}

/** A socket on which a test says exactly what it wants, right or wrong. */
export class RawClient {
  readonly socket: Socket;
  readonly frames: RawFrame[] = [];
  closed = false;
  #bytes: Buffer = Buffer.alloc(0);
  #waiters: (() => void)[] = [];

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.socket = connectSocket({ host: hostname, port: Number(port) });
    this.socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  write(...parts: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  /** What every proper client begins with. */
  greet(settings: readonly (readonly [number, number])[] = []): void {
    this.write(PREFACE, settingsFrame(settings));
  }

  /** The first frame that fits, once it has arrived; `undefined` if the connection ends before. */
  async find(fits: (frame: RawFrame) => boolean): Promise<RawFrame | undefined> {
    for (;;) {
      const frame = this.frames.find(fits);
      if (frame !== undefined || this.closed) return frame;
      await this.#change();
    }
  }

  /** The error code and text of the GOAWAY with which the server ends the connection. */
  async refusal(): Promise<{ readonly code: number; readonly text: string } | undefined> {
    const frame = await this.find(({ type }) => type === 7);
    while (!this.closed) await this.#change();
    if (frame === undefined) return undefined;
    return { code: frame.payload.readUInt32BE(4), text: frame.payload.toString('utf8', 8) };
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  #receive(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    while (this.#bytes.length >= FRAME_HEADER_BYTES) {
      const end = FRAME_HEADER_BYTES + this.#bytes.readUIntBE(0, 3);
      if (this.#bytes.length < end) break;
      this.frames.push({
        type: this.#bytes[3]!,
        flags: this.#bytes[4]!,
        streamId: this.#bytes.readUInt32BE(5),
        payload: this.#bytes.subarray(FRAME_HEADER_BYTES, end),
      });
      this.#bytes = this.#bytes.subarray(end);
    }
    this.#wake();
  }
}
