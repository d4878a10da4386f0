/**
 * A scripted server for tests of the client: what it answers, loses, cuts or garbles is written
 * down in each test.
 */
import {
  createSecureServer,
  createServer,
  type IncomingHttpHeaders,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import {
  type AddressInfo,
  connect as connectTcp,
  createServer as createTcpServer,
  type Socket,
} from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { systemClock } from '../../core/clock.ts';
import * as codec from '../../proto/etcd.ts';
import type * as pb from '../../proto/messages.ts';
import { type Encoder, frameMessage, MessageReader } from './grpc-message.ts';

export const HEADER: pb.ResponseHeader = { clusterId: 1n, memberId: 2n, revision: 10, raftTerm: 1 };

/** One call that the fake server got. */
export interface FakeCall {
  readonly headers: IncomingHttpHeaders;
  readonly stream: ServerHttp2Stream;
  readonly session: ServerHttp2Session;
  /** Sends a message. */
  send<T>(type: Encoder<T>, message: T): void;
  /** Ends the call with a status. */
  finish(code?: number, text?: string): void;
  /** A message with OK behind it. */
  reply<T>(type: Encoder<T>, message: T): void;
  /** Cuts the connection under it. */
  cut(): void;
  /** Resolves when the client has ended it (cancelled, or the connection is gone). */
  readonly gone: Promise<void>;
}

/** Gets each message of a call, as bytes. */
export type FakeHandler = (call: FakeCall, message: Buffer) => void;

export interface FakeEtcd extends AsyncDisposable {
  readonly endpoint: string;
  readonly calls: readonly { readonly path: string; readonly headers: IncomingHttpHeaders }[];
  /** Connections accepted so far. */
  connections: number;
  cutAll(): void;
}

/** Starts one; `handlers` by path. A path without a handler is answered with UNIMPLEMENTED. */
export async function fakeEtcd(
  handlers: Readonly<Record<string, FakeHandler>>,
  tls?: SecureServerOptions,
): Promise<FakeEtcd> {
  const server = tls === undefined ? createServer() : createSecureServer(tls);
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  const calls: { path: string; headers: IncomingHttpHeaders }[] = [];
  server.on('connection', (socket: Socket) => {
    fake.connections++;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', doNothing);
  });
  server.on('sessionError', doNothing);
  server.on('session', (session) => {
    sessions.add(session);
    session.on('error', doNothing);
    session.on('close', () => sessions.delete(session));
  });
  server.on('stream', (stream, headers) => {
    const path = String(headers[':path']);
    calls.push({ path, headers });
    serveCall(stream, headers, handlers[path]);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const fake: FakeEtcd = {
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    connections: 0,
    cutAll() {
      for (const socket of sockets) socket.destroy();
      for (const session of sessions) session.destroy();
    },
    async [Symbol.asyncDispose]() {
      fake.cutAll();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return fake;
}

function serveCall(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  handler: FakeHandler | undefined,
): void {
  const session = stream.session as ServerHttp2Session;
  let answered = false;
  const respond = (): void => {
    if (answered || stream.destroyed) return;
    answered = true;
    stream.respond(
      { ':status': 200, 'content-type': 'application/grpc' },
      { waitForTrailers: true },
    );
  };
  let trailers = { 'grpc-status': '0', 'grpc-message': '' };
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  stream.on('error', doNothing);
  const call: FakeCall = {
    headers,
    stream,
    session,
    send(type, message) {
      respond();
      if (!stream.destroyed) stream.write(frameMessage(type, message));
    },
    finish(code = 0, text = '') {
      respond();
      trailers = { 'grpc-status': String(code), 'grpc-message': encodeURIComponent(text) };
      if (!stream.destroyed) stream.end();
    },
    reply(type, message) {
      call.send(type, message);
      call.finish();
    },
    cut: () => session.destroy(),
    gone: new Promise((resolve) => stream.on('close', resolve)),
  };
  if (handler === undefined) {
    call.finish(12, 'unknown method');
    return;
  }
  const reader = new MessageReader(2 ** 21, (buffer, start, end) =>
    handler(call, buffer.subarray(start, end)),
  );
  stream.on('data', (chunk: Buffer) => reader.push(chunk));
}

/** Errors of connections that a test cuts are what it wanted. */
function doNothing(): void {
  // The test looks at what the client makes of it.
}

/** A wire to `endpoint` that can be cut, or go dead without a word. */
export interface Relay extends AsyncDisposable {
  readonly endpoint: string;
  /** Nothing passes any more on the connections there are, and nobody is told; new ones work. */
  freeze(): void;
  cutAll(): void;
}

/** @param listen the address of an earlier relay, to take its place */
export async function relayTo(endpoint: string, listen?: string): Promise<Relay> {
  const { hostname, port } = new URL(`http://${endpoint}`);
  const listenPort = listen === undefined ? 0 : Number(new URL(`http://${listen}`).port);
  const sockets = new Set<Socket>();
  const frozen = new Set<Socket>();
  const join = (from: Socket, to: Socket): void => {
    sockets.add(from);
    from.on('error', doNothing);
    from.on('data', (data) => {
      if (!frozen.has(from)) to.write(data);
    });
    from.on('close', () => {
      sockets.delete(from);
      if (!frozen.has(from)) to.destroy();
    });
  };
  const server = createTcpServer((client) => {
    const upstream = connectTcp(Number(port), hostname);
    join(client, upstream);
    join(upstream, client);
  });
  await new Promise<void>((resolve) => server.listen(listenPort, '127.0.0.1', resolve));
  const relay: Relay = {
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    freeze() {
      for (const socket of sockets) frozen.add(socket);
    },
    cutAll() {
      for (const socket of sockets) socket.destroy();
    },
    async [Symbol.asyncDispose]() {
      relay.cutAll();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return relay;
}

/** A clock that runs `factor` times as fast, for waits of many seconds. */
export function fastClock(factor: number): Clock {
  return {
    now: () => systemClock.now() * factor,
    wallNow: systemClock.wallNow,
    after: (delayMs, run) => systemClock.after(delayMs / factor, run),
    every: (intervalMs, run) => systemClock.every(intervalMs / factor, run),
  };
}

/** Answers every unary call with `message` encoded by `type`. */
export function answering<T>(type: Encoder<T>, message: T): FakeHandler {
  return (call) => call.reply(type, message);
}

export const putRequest = (key = 'k', value = 'v'): pb.PutRequest =>
  codec.PutRequest.create({ key, value });
export const rangeRequest = (key = 'k'): pb.RangeRequest => codec.RangeRequest.create({ key });
export const PUT_REPLY: pb.PutResponse = { header: HEADER, prevKv: undefined };
export const RANGE_REPLY: pb.RangeResponse = { header: HEADER, kvs: [], more: false, count: 0 };

/** The event of a put of `key` at `revision`. */
export function putEvent(revision: number, key = 'k'): pb.EventMessage {
  const kv = { createRevision: 1, modRevision: revision, version: 1, value: '', lease: 0n };
  return { type: 0, kv: { key, ...kv }, prevKv: undefined };
}

export function watchResponse(fields: Partial<pb.WatchResponse>): pb.WatchResponse {
  return codec.WatchResponse.create({ header: HEADER, ...fields });
}
