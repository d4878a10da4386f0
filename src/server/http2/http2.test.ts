import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { memoryService } from '../../kv/memory.ts';
import type { KvService, WatchSink } from '../../kv/service.ts';
import * as codec from '../../proto/etcd.ts';
import { type EtcdServer, serveEtcd } from '../index.ts';
import { testBackend } from '../test-backend.ts';
import {
  callUnary,
  envelope,
  openSession,
  RawClient,
  rawFrame,
  TestCall,
  until,
} from '../test-client.ts';
import { Flag, FrameType, PREFACE, settingsFrame, windowUpdateFrame } from './frames.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import { fieldBlock, HpackEncoder } from './hpack-encoder.ts';

const WATCH = '/etcdserverpb.Watch/Watch';
const RANGE = '/etcdserverpb.KV/Range';
const RANGE_TYPES = [codec.RangeRequest, codec.RangeResponse] as const;

/** A store whose watch streams the test drives, and which counts what is open. */
const base = memoryService();
const sinks = new Set<WatchSink>();
let resumed = 0;
let opened = 0;
const kv: KvService = Object.assign(Object.create(base) as KvService, {
  range: (request: Parameters<KvService['range']>[0]) => base.range(request),
  close: () => base.close(),
  watch(sink: WatchSink) {
    sinks.add(sink);
    opened++;
    return {
      request: () => void sink.response(codec.WatchResponse.create({ created: true })),
      resume: () => void resumed++,
      close: () => void sinks.delete(sink),
    };
  },
});

let server: EtcdServer;
let url: string;
const faults: unknown[] = [];

before(async () => {
  server = await serveEtcd(testBackend(kv), {
    listenUrls: ['http://127.0.0.1:0'],
    limits: { maxQueuedBytes: 8 * 1024 * 1024, maxConcurrentStreams: 3000 },
    onFault: (error) => faults.push(error),
  });
  url = server.urls[0]!;
});
after(async () => {
  await server.close({ graceMs: 0 });
  await kv.close();
  assert.deepEqual(faults, []);
});

/** A header block of a request, without use of the table. */
function requestBlock(path: string, more: readonly (readonly [string, string])[] = []): Buffer {
  const block = fieldBlock([
    { name: ':method', value: 'POST' },
    { name: ':scheme', value: 'http' },
    { name: ':path', value: path },
    { name: ':authority', value: 'x' },
    { name: 'content-type', value: 'application/grpc' },
    ...more.map(([name, value]) => ({ name, value })),
  ]);
  const bytes = Buffer.alloc(block.maxBytes);
  return bytes.subarray(0, new HpackEncoder().write(block, bytes, 0));
}

function headers(streamId: number, path: string, flags: number = Flag.endHeaders): Buffer {
  return rawFrame(FrameType.headers, flags, streamId, requestBlock(path));
}

const rangeBody = envelope(codec.RangeRequest.encode(codec.RangeRequest.create({ key: 'a' })));

function rangeCall(streamId: number): Buffer {
  return Buffer.concat([
    headers(streamId, RANGE),
    rawFrame(FrameType.data, Flag.endStream, streamId, rangeBody),
  ]);
}

test('the server offers its settings and window, and acknowledges ours and pings', async () => {
  const client = new RawClient(url);
  client.greet();
  client.write(rawFrame(FrameType.ping, 0, 0, Buffer.from('12345678')));
  const pong = await client.find(({ type }) => type === FrameType.ping);
  assert.deepEqual([pong?.flags, pong?.payload.toString()], [Flag.ack, '12345678']);
  const kinds = client.frames.map(({ type, flags }) => [type, flags]);
  assert.deepEqual(kinds, [
    [FrameType.settings, 0],
    [FrameType.windowUpdate, 0],
    [FrameType.settings, Flag.ack],
    [FrameType.ping, Flag.ack],
  ]);
  client.socket.destroy();
});

test('a unary response is headers, data and trailers, and takes few bytes from the second on', async () => {
  const client = new RawClient(url);
  client.greet();
  client.write(rangeCall(1));
  await client.find(({ streamId, flags }) => streamId === 1 && (flags & Flag.endStream) !== 0);
  client.write(rangeCall(3));
  await client.find(({ streamId, flags }) => streamId === 3 && (flags & Flag.endStream) !== 0);
  const shape = (id: number): [number, number][] =>
    client.frames
      .filter(({ streamId }) => streamId === id)
      .map(({ type, payload }) => [type, type === FrameType.data ? -1 : payload.length]);
  assert.deepEqual(shape(1), [
    [FrameType.headers, 19],
    [FrameType.data, -1],
    [FrameType.headers, 15],
  ]);
  assert.deepEqual(shape(3), [
    [FrameType.headers, 2],
    [FrameType.data, -1],
    [FrameType.headers, 1],
  ]);
  client.socket.destroy();
});

test('what breaks the protocol ends the connection with a GOAWAY that says why', async () => {
  const settings = settingsFrame([]);
  const huge = Buffer.from([0xff, 0xff, 0xff, FrameType.data, 0, 0, 0, 0, 1]);
  const open = headers(1, RANGE);
  const cases: [string, Buffer[], number, RegExp][] = [
    ['no SETTINGS first', [rawFrame(FrameType.ping, 0, 0, Buffer.alloc(8))], 1, /SETTINGS must/],
    ['frame of 16 MiB', [settings, huge], 6, /16777215 bytes/],
    ['DATA on stream 0', [settings, rawFrame(0, 0, 0, Buffer.alloc(4))], 1, /DATA on stream 0/],
    ['DATA on an idle stream', [settings, rawFrame(0, 0, 7)], 1, /idle stream/],
    ['even stream', [settings, headers(2, RANGE)], 1, /odd/],
    ['bad padding', [settings, open, rawFrame(0, Flag.padded, 1, Buffer.from([9]))], 1, /padding/],
    ['bad HPACK', [settings, rawFrame(1, 4, 1, Buffer.from([0x80]))], 9, /header block/],
    ['PING of 7 bytes', [settings, rawFrame(6, 0, 0, Buffer.alloc(7))], 6, /PING/],
    ['SETTINGS of 5 bytes', [rawFrame(4, 0, 0, Buffer.alloc(5))], 6, /SETTINGS/],
    ['SETTINGS on a stream', [rawFrame(4, 0, 1)], 1, /SETTINGS on a stream/],
    ['window setting too large', [settingsFrame([[4, 0x8000_0000]])], 3, /WINDOW_SIZE/],
    ['frame size setting too small', [settingsFrame([[5, 100]])], 1, /MAX_FRAME_SIZE/],
    ['PUSH_PROMISE', [settings, rawFrame(5, 4, 1, Buffer.alloc(4))], 1, /push/],
    ['RST_STREAM of 3 bytes', [settings, open, rawFrame(3, 0, 1, Buffer.alloc(3))], 6, /RST/],
    ['window update of 0', [settings, windowUpdateFrame(0, 0)], 1, /WINDOW_UPDATE/],
    ['window overflow', [settings, windowUpdateFrame(0, 0x7fff_ffff)], 3, /window/],
    ['lone CONTINUATION', [settings, rawFrame(9, 4, 1)], 1, /CONTINUATION/],
    ['interrupted block', [settings, headers(1, RANGE, 0), open], 1, /interrupted/],
  ];
  for (const [what, frames, code, text] of cases) {
    const client = new RawClient(url);
    client.write(PREFACE, ...frames);
    const refusal = await client.refusal();
    assert.equal(refusal?.code, code, what);
    assert.match(refusal.text, text, what);
  }
});

test('an endless header block is cut short', async () => {
  const client = new RawClient(url);
  client.greet();
  client.write(headers(1, RANGE, 0));
  for (let i = 0; i < 5; i++) client.write(rawFrame(9, 0, 1, Buffer.alloc(16_384)));
  assert.equal((await client.refusal())?.code, 11);
});

test('floods of frames that ask for nothing end the connection', async () => {
  const floods: [string, Buffer][] = [
    ['empty CONTINUATIONs', rawFrame(FrameType.continuation, 0, 1)],
    ['PINGs', rawFrame(FrameType.ping, Flag.ack, 0, Buffer.alloc(8))],
    ['SETTINGS', settingsFrame([])],
    ['PRIORITY', rawFrame(FrameType.priority, 0, 1, Buffer.alloc(5))],
    ['empty DATA', rawFrame(FrameType.data, 0, 1)],
    ['unknown frames', rawFrame(0xee, 0, 0)],
  ];
  for (const [what, frame] of floods) {
    const client = new RawClient(url);
    client.greet();
    client.write(headers(1, RANGE, frame[3] === FrameType.continuation ? 0 : Flag.endHeaders));
    const burst = Buffer.concat(Array.from({ length: 21_000 }, () => frame));
    client.write(burst);
    assert.equal((await client.refusal())?.code, 11, what);
  }
});

test('a malformed request costs its stream only', async () => {
  const client = new RawClient(url);
  client.greet();
  const bad = [
    requestBlock(RANGE, [['Upper', 'x']]),
    requestBlock(RANGE, [['connection', 'close']]),
    requestBlock(RANGE, [[':late', 'x']]),
    requestBlock(RANGE, [['te', 'gzip']]),
    requestBlock(''),
  ];
  bad.forEach((block, i) => {
    client.write(rawFrame(FrameType.headers, Flag.endHeaders, 1 + 2 * i, block));
  });
  client.write(rangeCall(99));
  await client.find(({ streamId, flags }) => streamId === 99 && (flags & Flag.endStream) !== 0);
  const resets = client.frames.filter(({ type }) => type === FrameType.rstStream);
  assert.deepEqual(
    resets.map(({ streamId, payload }) => [streamId, payload.readUInt32BE(0)]),
    bad.map((_, i) => [1 + 2 * i, 1]),
  );
  client.socket.destroy();
});

test('a header list beyond the limit is answered with 431', async () => {
  const client = new RawClient(url);
  client.greet();
  // One field put into the table and then named twenty times: small on the wire, 78 KB as a list.
  const field = Buffer.concat([
    Buffer.from([0x40, 1, 0x61, 0x7f, 0xbd, 0x1d]),
    Buffer.alloc(3900, 'y'),
  ]);
  const block = Buffer.concat([requestBlock(RANGE), field, Buffer.alloc(20, 0xbe)]);
  client.write(rawFrame(FrameType.headers, Flag.endHeaders, 1, block), rangeCall(3));
  const answer = await client.find(({ type, streamId }) => type === 1 && streamId === 1);
  const fields = new HpackDecoder(4096, 65_536).decode(answer!.payload, 0, answer!.payload.length);
  assert.deepEqual(fields, [':status', '431']);
  assert.ok(await client.find(({ streamId, flags }) => streamId === 3 && (flags & 1) !== 0));
  client.socket.destroy();
});

test('streams beyond the limit are refused, which clients may retry', async () => {
  const client = new RawClient(url);
  client.greet();
  const frames: Buffer[] = [];
  for (let id = 1; id <= 3001 * 2; id += 2) frames.push(headers(id, RANGE));
  client.write(...frames);
  const reset = await client.find(({ type }) => type === FrameType.rstStream);
  assert.deepEqual([reset?.streamId, reset?.payload.readUInt32BE(0)], [6001, 7]);
  client.socket.destroy();
});

test('thousands of cancelled watches on one connection leave nothing and disturb nobody', async () => {
  const client = new RawClient(url);
  client.greet();
  const create = codec.WatchRequest.encode(
    codec.WatchRequest.create({ createRequest: codec.WatchCreateRequest.create({ key: 'k' }) }),
  );
  const before = opened;
  for (let id = 1; id < 2 * 5000; id += 2) {
    client.write(
      headers(id, WATCH),
      rawFrame(FrameType.data, 0, id, envelope(create)),
      rawFrame(FrameType.rstStream, 0, id, Buffer.from([0, 0, 0, 8])),
    );
  }
  client.write(rangeCall(20_001));
  const end = await client.find(
    ({ streamId, flags }) => streamId === 20_001 && (flags & Flag.endStream) !== 0,
  );
  assert.ok(end);
  assert.equal(opened - before, 5000);
  assert.equal(sinks.size, 0);
  client.socket.destroy();
});

test('many calls at once over a client of Node, cancelled ones among them', async () => {
  const session = await openSession(url);
  const calls = Array.from({ length: 500 }, async (_, i) => {
    if (i % 5 === 0) {
      const call = new TestCall(session, WATCH);
      call.stream.close(8);
      await call.ended;
      return 0;
    }
    return (await callUnary(session, RANGE, RANGE_TYPES, { key: `k${i}` })).status;
  });
  assert.deepEqual(new Set(await Promise.all(calls)), new Set([0]));
  session.destroy();
});

test('a watch whose reader stops is paused within bounds, and goes on when it reads again', async () => {
  const session = await openSession(url);
  const call = new TestCall(session, WATCH);
  call.send(codec.WatchRequest, { createRequest: codec.WatchCreateRequest.create({ key: 'k' }) });
  await call.message(codec.WatchResponse, 0);
  call.stream.pause();
  const [sink] = sinks;
  const response = codec.WatchResponse.create({ cancelReason: 'x'.repeat(10_000) });
  let sent = 0;
  const before = resumed;
  while (sink!.response(response)) {
    sent++;
    await new Promise((resolve) => setImmediate(resolve));
  }
  // 256 KiB may wait here, besides what the client's window and buffers took.
  assert.ok(sent < 200, `${sent} responses were taken`);
  assert.equal(resumed, before);
  call.stream.resume();
  await until(() => resumed > before);
  await call.message(codec.WatchResponse, sent + 1);
  session.destroy();
  await until(() => sinks.size === 0);
});

test('a paused stream does not hold up another one of its connection', async () => {
  const session = await openSession(url);
  const slow = new TestCall(session, WATCH);
  slow.send(codec.WatchRequest, { createRequest: codec.WatchCreateRequest.create({ key: 'k' }) });
  await slow.message(codec.WatchResponse, 0);
  slow.stream.pause();
  const [sink] = sinks;
  const response = codec.WatchResponse.create({ cancelReason: 'x'.repeat(100_000) });
  while (sink!.response(response)) await new Promise((resolve) => setImmediate(resolve));
  // The connection's window is still open: Node's client gives it back as it receives.
  const range = await callUnary(session, RANGE, RANGE_TYPES, { key: 'a' });
  assert.equal(range.status, 0);
  session.destroy();
  await until(() => sinks.size === 0);
});

test('a client that never reads is cut off at the bound, and the memory is given back', async () => {
  const client = new RawClient(url);
  client.greet([[4, 0x7fff_ffff]]);
  client.write(windowUpdateFrame(0, 0x7fff_0000 - 65_535));
  client.write(headers(1, WATCH));
  const create = codec.WatchRequest.create({ createRequest: codec.WatchCreateRequest.create() });
  client.write(rawFrame(FrameType.data, 0, 1, envelope(codec.WatchRequest.encode(create))));
  await client.find(({ type }) => type === FrameType.data);
  client.socket.pause();
  const [sink] = sinks;
  const response = codec.WatchResponse.create({ cancelReason: 'x'.repeat(1_000_000) });
  let sent = 0;
  // A source that does not heed `false`.
  while (sinks.size > 0 && sent < 1000) {
    sink!.response(response);
    sent++;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(sinks.size, 0);
  assert.ok(sent < 60, `${sent} MB were taken`);
  client.socket.resume();
  while (!client.closed) await new Promise((resolve) => setImmediate(resolve));
});

test('a request is served whatever pieces its bytes come in', async () => {
  const client = new RawClient(url);
  const bytes = Buffer.concat([PREFACE, settingsFrame([]), rangeCall(1)]);
  client.socket.setNoDelay(true);
  for (const byte of bytes) {
    client.write(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  const end = await client.find(
    ({ streamId, flags }) => streamId === 1 && (flags & Flag.endStream) !== 0,
  );
  assert.ok(end);
  client.socket.destroy();
});

/** A watch on a raw connection, and its sink. */
async function rawWatch(client: RawClient): Promise<WatchSink> {
  await until(() => sinks.size === 0);
  const create = codec.WatchRequest.create({ createRequest: codec.WatchCreateRequest.create() });
  client.write(headers(1, WATCH));
  client.write(rawFrame(FrameType.data, 0, 1, envelope(codec.WatchRequest.encode(create))));
  await until(() => sinks.size === 1);
  return [...sinks][0]!;
}

/** Everything that the server had to say has been said when this settles. */
async function roundTrip(client: RawClient, mark: number): Promise<void> {
  client.write(rawFrame(FrameType.ping, 0, 0, Buffer.alloc(8, mark)));
  await client.find(({ type, payload }) => type === FrameType.ping && payload[0] === mark);
}

function dataBytes(client: RawClient): number {
  const data = client.frames.filter(({ type }) => type === FrameType.data);
  return data.reduce((sum, { payload }) => sum + payload.length, 0);
}

test('neither the window of the stream nor that of the connection is ever overrun', async () => {
  const response = codec.WatchResponse.create({ cancelReason: 'x'.repeat(10_000) });
  // Of 65,535 bytes the connection has, and the stream has as many as the setting says.
  for (const [setting, expected] of [
    [20_000, 20_000],
    [1_000_000, 65_535],
  ] as const) {
    const client = new RawClient(url);
    client.greet([[4, setting]]);
    const sink = await rawWatch(client);
    for (let i = 0; i < 15; i++) sink.response(response);
    await roundTrip(client, 1);
    await roundTrip(client, 2);
    assert.equal(dataBytes(client), expected);
    // A later setting opens the window of the open stream.
    client.write(settingsFrame([[4, setting + 1000]]), windowUpdateFrame(0, 2000));
    await roundTrip(client, 3);
    await roundTrip(client, 4);
    assert.equal(dataBytes(client), setting === 20_000 ? 21_000 : 67_535);
    client.socket.destroy();
  }
});

test('a setting that overflows the window of an open stream ends the connection', async () => {
  const client = new RawClient(url);
  client.greet();
  await rawWatch(client);
  client.write(windowUpdateFrame(1, 0x7fff_0000), settingsFrame([[4, 0x7fff_ffff]]));
  assert.equal((await client.refusal())?.code, 3);
});

test('the windows we give are given back as they are used, and not beyond', async () => {
  const small = await serveEtcd(testBackend(kv), {
    listenUrls: ['http://127.0.0.1:0'],
    limits: { streamWindowBytes: 65_536, connectionWindowBytes: 131_072, maxHeldBytes: 200_000 },
  });
  const client = new RawClient(small.urls[0]!);
  client.greet();
  const value = 'v'.repeat(120_000);
  const put = codec.PutRequest.encode(codec.PutRequest.create({ key: 'k', value }));
  // More in all than the window of the connection, and than unfinished messages may keep at once.
  for (let id = 1; id <= 9; id += 2) {
    const body = envelope(put);
    client.write(headers(id, '/etcdserverpb.KV/Put'));
    for (let at = 0; at < body.length; at += 16_000) {
      const last = at + 16_000 >= body.length;
      client.write(rawFrame(FrameType.data, last ? 1 : 0, id, body.subarray(at, at + 16_000)));
      await roundTrip(client, (id * 16 + at / 16_000) & 0xff);
    }
    await client.find(
      ({ type, streamId, flags }) => type === 1 && streamId === id && (flags & 1) !== 0,
    );
  }
  const given = (stream: number): number =>
    client.frames
      .filter(({ type, streamId }) => type === FrameType.windowUpdate && streamId === stream)
      .reduce((sum, { payload }) => sum + payload.readUInt32BE(0), 0);
  assert.ok(given(0) >= 65_537 + 5 * 120_000 - 131_072);
  assert.ok(given(1) >= 120_000 - 65_536);
  client.socket.destroy();
  await small.close({ graceMs: 0 });
});

test('data beyond the window of its stream costs the stream', async () => {
  const client = new RawClient(url);
  client.greet();
  // A client that talks on after the stream's flow was held: more than 1 MiB at once.
  let release: (() => void) | undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  base.leaseKeepAlive = async ({ id }) => {
    await held;
    return { header: undefined, id, ttl: 1 };
  };
  const request = envelope(codec.LeaseKeepAliveRequest.encode({ id: -1n }));
  const frame = Buffer.concat(Array.from({ length: 1000 }, () => request));
  client.write(headers(1, '/etcdserverpb.Lease/LeaseKeepAlive'));
  for (let i = 0; i < 80; i++) client.write(rawFrame(FrameType.data, 0, 1, frame));
  const reset = await client.find(({ type }) => type === FrameType.rstStream);
  assert.equal(reset?.payload.readUInt32BE(0), 3);
  release!();
  Reflect.deleteProperty(base, 'leaseKeepAlive');
  client.socket.destroy();
});

test('padding, priority and trailers are understood', async () => {
  const client = new RawClient(url);
  client.greet();
  const block = Buffer.concat([
    Buffer.from([3, 0, 0, 0, 0, 16]),
    requestBlock(RANGE),
    Buffer.alloc(3),
  ]);
  const flags = Flag.endHeaders | Flag.padded | Flag.priority;
  client.write(rawFrame(FrameType.headers, flags, 1, block));
  const padded = Buffer.concat([Buffer.from([2]), rangeBody, Buffer.alloc(2)]);
  client.write(rawFrame(FrameType.data, Flag.padded, 1, padded));
  client.write(rawFrame(FrameType.headers, Flag.endHeaders | Flag.endStream, 1));
  const end = await client.find((frame) => frame.type === 1 && (frame.flags & 1) !== 0);
  assert.equal(end?.streamId, 1);
  client.socket.destroy();
});

test('a client that leaves in the middle of everything leaves nothing', async () => {
  await until(() => server.connections() === 0);
  for (const bytes of [
    PREFACE.subarray(0, 10),
    PREFACE,
    Buffer.concat([PREFACE, settingsFrame([]), headers(1, WATCH)]),
    Buffer.concat([PREFACE, settingsFrame([]), rangeCall(1).subarray(0, 30)]),
  ]) {
    const client = new RawClient(url);
    client.write(bytes);
    await until(() => server.connections() === 1);
    client.socket.end();
    await until(() => server.connections() === 0);
  }
  assert.equal(sinks.size, 0);
});

test('requests wait unread while too many calls are in progress', async () => {
  const own = memoryService();
  const waiting: (() => void)[] = [];
  own.range = () =>
    new Promise((resolve) => waiting.push(() => resolve(codec.RangeResponse.create())));
  const small = await serveEtcd(testBackend(own), {
    listenUrls: ['http://127.0.0.1:0'],
    limits: { maxActiveCalls: 4 },
  });
  const client = new RawClient(small.urls[0]!);
  client.greet();
  const reset = (id: number): Buffer => rawFrame(3, 0, id, Buffer.from([0, 0, 0, 8]));
  // Reset or not: what was begun goes on, and counts.
  for (let id = 1; id <= 19; id += 2) client.write(rangeCall(id), reset(id));
  await until(() => waiting.length === 4);
  const session = await openSession(small.urls[0]!);
  session.ping(() => session.destroy());
  await until(() => session.destroyed);
  assert.equal(waiting.length, 4);
  for (let answered = 0; answered < 10; answered++) {
    await until(() => waiting.length > answered);
    waiting[answered]!();
  }
  client.socket.destroy();
  await small.close({ graceMs: 0 });
  await own.close();
});

test('calls of a client that is slow to read wait their turn, and all are answered', async () => {
  const own = memoryService();
  const bytes = 1_000_000;
  let answered = 0;
  own.range = async () => {
    answered++;
    const value = 'v'.repeat(bytes);
    const kv = { key: 'k', createRevision: 2, modRevision: 2, version: 1, value, lease: 0n };
    return codec.RangeResponse.create({ kvs: [kv] });
  };
  const other = await serveEtcd(testBackend(own), { listenUrls: ['http://127.0.0.1:0'] });
  const client = new RawClient(other.urls[0]!);
  client.greet([[4, 0x7fff_ffff]]);
  const calls = 60;
  // One after the other, as responses pile up behind the connection's window of 64 KiB.
  for (let i = 0; i < calls; i++) {
    const before = answered;
    client.write(rangeCall(2 * i + 1), rawFrame(FrameType.ping, 0, 0, Buffer.alloc(8, i)));
    await client.find(({ type, payload }) => type === FrameType.ping && payload[0] === i);
    if (answered === before) continue;
    assert.equal(answered, before + 1);
  }
  assert.ok(answered >= 16 && answered <= 20, `${answered} were answered`);
  client.write(windowUpdateFrame(0, 0x7fff_0000 - 65_535));
  const ends = (): number =>
    client.frames.filter(({ type, flags }) => type === 1 && (flags & 1) !== 0).length;
  while (ends() < calls) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(answered, calls);
  client.socket.destroy();
  await other.close({ graceMs: 0 });
  await own.close();
});

test('random bytes never do more than end their own connection', async () => {
  let seed = 12_345;
  const random = (): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return seed >>> 8;
  };
  const session = await openSession(url);
  for (let round = 0; round < 100; round++) {
    const client = new RawClient(url);
    client.greet();
    const valid = Buffer.concat([rangeCall(1), rangeCall(3), rangeCall(5)]);
    for (let i = 0; i < 1 + (round % 8); i++) valid[random() % valid.length] = random() & 0xff;
    client.write(valid);
    client.socket.end();
    while (!client.closed) await new Promise((resolve) => setImmediate(resolve));
  }
  const range = await callUnary(session, RANGE, RANGE_TYPES, { key: 'a' });
  assert.equal(range.status, 0);
  session.destroy();
});
