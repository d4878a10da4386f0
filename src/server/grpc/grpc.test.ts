import assert from 'node:assert/strict';
import type { ClientHttp2Session } from 'node:http2';
import { after, afterEach, before, test } from 'node:test';
import { systemClock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import { memoryService } from '../../kv/memory.ts';
import * as codec from '../../proto/etcd.ts';
import type { EtcdServer } from '../index.ts';
import { serveEtcd } from '../index.ts';
import { type TestBackend, testBackend } from '../test-backend.ts';
import { callUnary, envelope, openSession, TestCall } from '../test-client.ts';
import { percentEncode } from './status.ts';

const RANGE = '/etcdserverpb.KV/Range';
const PUT = '/etcdserverpb.KV/Put';
const WATCH = '/etcdserverpb.Watch/Watch';
const KEEP_ALIVE = '/etcdserverpb.Lease/LeaseKeepAlive';
const RANGE_TYPES = [codec.RangeRequest, codec.RangeResponse] as const;
const PUT_TYPES = [codec.PutRequest, codec.PutResponse] as const;

const kv = memoryService();
const original = { ...{ range: kv.range, put: kv.put, leaseKeepAlive: kv.leaseKeepAlive } };
let backend: TestBackend;
let server: EtcdServer;
let session: ClientHttp2Session;

before(async () => {
  backend = testBackend(kv);
  server = await serveEtcd(backend, { listenUrls: ['http://127.0.0.1:0'], noLeaderMs: 0 });
  session = await openSession(server.urls[0]!);
});
afterEach(() => {
  backend.leader = true;
  for (const name of ['range', 'put', 'leaseKeepAlive'] as const) {
    if (Object.hasOwn(kv, name)) Reflect.deleteProperty(kv, name);
  }
  assert.equal(kv.put, original.put);
});
after(async () => {
  session.destroy();
  await server.close({ graceMs: 0 });
  await kv.close();
});

/** A promise and the function that fulfils it. */
function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: resolve };
}

test('a put and a range travel', async () => {
  const put = await callUnary(session, PUT, PUT_TYPES, { key: 'a\xff', value: 'b\0c' });
  assert.equal(put.status, 0);
  assert.ok((put.response?.header?.revision ?? 0) >= 2);
  const range = await callUnary(session, RANGE, RANGE_TYPES, { key: 'a\xff' });
  assert.equal(range.response?.kvs[0]?.value, 'b\0c');
});

test('an error has the code and the text of etcd', async () => {
  const range = await callUnary(session, RANGE, RANGE_TYPES, { key: '' });
  assert.deepEqual([range.status, range.message], [3, 'etcdserver: key is not provided']);
});

test('a text beyond ASCII arrives whole', async () => {
  kv.range = () => Promise.reject(new QuorateError('ERR_UNSUPPORTED', '50 % für Schlüssel\n'));
  const range = await callUnary(session, RANGE, RANGE_TYPES, { key: 'a' });
  assert.deepEqual([range.status, range.message], [12, '50 % für Schlüssel\n']);
  assert.equal(percentEncode('a%\n'), 'a%25%0A');
});

test('unknown methods and services are unimplemented', async () => {
  const method = await callUnary(session, '/etcdserverpb.KV/RangeStream', RANGE_TYPES, {});
  assert.deepEqual(
    [method.status, method.message],
    [12, 'unknown method RangeStream for service etcdserverpb.KV'],
  );
  const service = await callUnary(session, '/v3lockpb.Lock/Lock', RANGE_TYPES, {});
  assert.deepEqual([service.status, service.message], [12, 'unknown service v3lockpb.Lock']);
});

test('a call that asks for a leader is refused without one', async () => {
  backend.leader = false;
  const refused = await callUnary(session, RANGE, RANGE_TYPES, { key: 'a' }, { hasleader: 'true' });
  assert.deepEqual([refused.status, refused.message], [14, 'etcdserver: no leader']);
  const served = await callUnary(session, RANGE, RANGE_TYPES, { key: 'a' });
  assert.equal(served.status, 0);
});

test('a learner serves its status and reads that may be old, and nothing else', async () => {
  backend.learner = true;
  const refusal = [9, 'etcdserver: rpc not supported for learner'];
  const read = await callUnary(session, RANGE, RANGE_TYPES, { key: 'a' });
  assert.deepEqual([read.status, read.message], refusal);
  const old = await callUnary(session, RANGE, RANGE_TYPES, { key: 'a', serializable: true });
  assert.equal(old.status, 0);
  const watch = await new TestCall(session, WATCH).ended;
  assert.deepEqual([watch.status, watch.message], refusal);
  backend.learner = false;
  assert.equal((await callUnary(session, RANGE, RANGE_TYPES, { key: 'a' })).status, 0);
});

test('a stream that asks for a leader ends when there is none any more', async () => {
  const bound = new TestCall(session, WATCH, { hasleader: 'true' });
  const free = new TestCall(session, WATCH);
  for (const call of [bound, free]) {
    call.send(codec.WatchRequest, { createRequest: codec.WatchCreateRequest.create({ key: 'k' }) });
    assert.equal((await call.message(codec.WatchResponse, 0)).created, true);
  }
  backend.leader = false;
  const ended = await bound.ended;
  assert.deepEqual([ended.status, ended.message], [14, 'etcdserver: no leader']);
  assert.equal(free.stream.closed, false);
  free.stream.close(8);
});

test('a call ends at its deadline, and its late answer is dropped', async () => {
  const late = gate();
  kv.range = async () => {
    await late.opened;
    return codec.RangeResponse.create();
  };
  const call = await callUnary(session, RANGE, RANGE_TYPES, { key: 'a' }, { 'grpc-timeout': '1m' });
  assert.deepEqual([call.status, call.message], [4, 'context deadline exceeded']);
  late.open();
  const bad = await callUnary(
    session,
    RANGE,
    RANGE_TYPES,
    { key: 'a' },
    { 'grpc-timeout': 'soon' },
  );
  assert.equal(bad.status, 13);
});

test('a message beyond the limit is refused before it is read', async () => {
  const call = new TestCall(session, PUT);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(3_072_010, 1);
  call.stream.write(prefix);
  const { status, message } = await call.ended;
  assert.deepEqual(
    [status, message],
    [8, 'grpc: received message larger than max (3072010 vs. 2097152)'],
  );
});

test('a request over 1.5 MiB that still fits a message is refused by the store', async () => {
  const put = await callUnary(session, PUT, PUT_TYPES, { key: 'a', value: 'x'.repeat(1_600_000) });
  assert.deepEqual([put.status, put.message], [3, 'etcdserver: request is too large']);
});

test('compressed, malformed, missing and repeated messages are refused', async () => {
  const cases: [string, Buffer, number, RegExp][] = [
    ['compressed', envelope(Buffer.from('x'), 1), 12, /not supported/],
    ['bad flag', envelope(Buffer.from('x'), 7), 13, /payload format 7/],
    ['malformed', envelope(Buffer.from([0x0a, 0xff])), 13, /unmarshalling/],
    ['missing', Buffer.alloc(0), 13, /without a whole message/],
    ['cut off', envelope(Buffer.from('abc')).subarray(0, 6), 13, /without a whole message/],
    ['two', Buffer.concat([envelope(Buffer.alloc(0)), envelope(Buffer.alloc(0))]), 13, /more than/],
  ];
  for (const [what, body, status, text] of cases) {
    const call = new TestCall(session, RANGE);
    call.stream.end(body);
    const ended = await call.ended;
    assert.equal(ended.status, status, what);
    assert.match(ended.message, text, what);
  }
  const encoding = await callUnary(session, RANGE, RANGE_TYPES, {}, { 'grpc-encoding': 'gzip' });
  assert.equal(encoding.status, 12);
});

test('a message cut into single bytes is put together', async () => {
  const call = new TestCall(session, RANGE);
  for (const byte of envelope(codec.RangeRequest.encode(codec.RangeRequest.create({ key: 'a' })))) {
    call.stream.write(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  call.stream.end();
  assert.equal((await call.ended).status, 0);
});

test('a client api version that is no UTF-8 is refused', async () => {
  const headers = { 'client-api-version': '\xff\xfe' };
  const call = await callUnary(session, RANGE, RANGE_TYPES, { key: 'a' }, headers);
  assert.deepEqual([call.status, call.message], [3, 'etcdserver: invalid client api version']);
});

test('a watch delivers what is put, and its cancel ends the watch of the store', async () => {
  const call = new TestCall(session, WATCH);
  call.send(codec.WatchRequest, { createRequest: codec.WatchCreateRequest.create({ key: 'w' }) });
  assert.equal((await call.message(codec.WatchResponse, 0)).created, true);
  await callUnary(session, PUT, PUT_TYPES, { key: 'w', value: '1' });
  const response = await call.message(codec.WatchResponse, 1);
  assert.equal(response.events[0]?.kv.value, '1');
  call.stream.close(8);
  await call.ended;
});

test('keep-alives are answered in the order of the requests', async () => {
  const first = gate();
  kv.leaseKeepAlive = async ({ id }) => {
    if (id === 1n) await first.opened;
    return { header: undefined, id, ttl: 9 };
  };
  const call = new TestCall(session, KEEP_ALIVE);
  for (const id of [1n, 2n, 3n]) call.send(codec.LeaseKeepAliveRequest, { id });
  call.stream.end();
  first.open();
  const { status, messages } = await call.ended;
  assert.equal(status, 0);
  assert.deepEqual(
    messages.map((bytes) => codec.LeaseKeepAliveResponse.decode(bytes).id),
    [1n, 2n, 3n],
  );
});

test('a keep-alive that fails ends its stream with the reason', async () => {
  kv.leaseKeepAlive = () =>
    Promise.reject(new QuorateError('ERR_TIMEOUT', 'x', { outcome: 'unknown' }));
  const call = new TestCall(session, KEEP_ALIVE);
  call.send(codec.LeaseKeepAliveRequest, { id: 1n });
  const { status, message } = await call.ended;
  assert.deepEqual([status, message], [14, 'etcdserver: request timed out']);
});

test('the health service knows the whole and nothing else', async () => {
  const types = [codec.HealthCheckRequest, codec.HealthCheckResponse] as const;
  const path = '/grpc.health.v1.Health/Check';
  const whole = await callUnary(session, path, types, { service: '' });
  assert.deepEqual([whole.status, whole.response?.status], [0, 1]);
  const other = await callUnary(session, path, types, { service: 'kv' });
  assert.deepEqual([other.status, other.message], [5, 'unknown service']);
});

test('a response larger than every window arrives whole', async () => {
  const value = 'v'.repeat(1_400_000);
  await callUnary(session, PUT, PUT_TYPES, { key: 'big1', value });
  await callUnary(session, PUT, PUT_TYPES, { key: 'big2', value });
  const range = await callUnary(session, RANGE, RANGE_TYPES, { key: 'big', rangeEnd: 'bih' });
  assert.equal(range.status, 0);
  assert.deepEqual(
    range.response?.kvs.map((one) => one.value === value),
    [true, true],
  );
});

test('closing ends streams as unavailable and lets a call in progress finish', async () => {
  const slow = gate();
  const started = gate();
  const own = memoryService();
  own.range = async () => {
    started.open();
    await slow.opened;
    return codec.RangeResponse.create({ count: 7 });
  };
  const other = await serveEtcd(testBackend(own), { listenUrls: ['http://127.0.0.1:0'] });
  const client = await openSession(other.urls[0]!);
  const watch = new TestCall(client, WATCH);
  watch.send(codec.WatchRequest, { createRequest: codec.WatchCreateRequest.create({ key: 'w' }) });
  await watch.message(codec.WatchResponse, 0);
  const range = callUnary(client, RANGE, RANGE_TYPES, { key: 'a' });
  await started.opened;
  const closed = other.close({ graceMs: 60_000 });
  const ended = await watch.ended;
  assert.deepEqual([ended.status, ended.message], [14, 'etcdserver: server stopped']);
  slow.open();
  assert.equal((await range).response?.count, 7);
  await closed;
  assert.equal(other.connections(), 0);
  client.destroy();
  await own.close();
});

test('the timer of deadlines runs only while there are any', async () => {
  let timers = 0;
  const clock = {
    ...systemClock,
    every: (intervalMs: number, run: () => void) => {
      timers++;
      const cancel = systemClock.every(intervalMs, run);
      return () => {
        timers--;
        cancel();
      };
    },
  };
  const own = memoryService();
  await using other = await serveEtcd(testBackend(own), {
    listenUrls: ['http://127.0.0.1:0'],
    clock,
  });
  const client = await openSession(other.urls[0]!);
  const headers = { 'grpc-timeout': '60m' };
  const answered = await callUnary(client, RANGE, RANGE_TYPES, { key: 'a' }, headers);
  assert.equal(answered.status, 0);
  assert.equal(timers, 1);
  while (timers > 0) await new Promise((resolve) => setImmediate(resolve));
  client.destroy();
  await own.close();
});
