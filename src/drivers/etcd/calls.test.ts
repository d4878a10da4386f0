import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:http2';
import { type AddressInfo, createServer } from 'node:net';
import test from 'node:test';
import { isQuorateError, type QuorateError } from '../../core/errors.ts';
import * as codec from '../../proto/etcd.ts';
import type * as pb from '../../proto/messages.ts';
import { testAuthority } from '../../testing/certificates.ts';
import { AuthenticateResponse } from './auth-messages.ts';
import { etcdService } from './index.ts';
import { AUTHENTICATE, PUT, RANGE, STATUS, TXN } from './methods.ts';
import {
  answering,
  type FakeHandler,
  fakeEtcd,
  fastClock,
  PUT_REPLY,
  putRequest,
  RANGE_REPLY,
  rangeRequest,
  relayTo,
} from './testing.ts';

/** What `work` rejects with, which must be a QuorateError. */
async function failure(work: Promise<unknown>): Promise<QuorateError> {
  const error = await work.then(
    () => assert.fail('it did not fail'),
    (reason) => reason,
  );
  assert.ok(isQuorateError(error), String(error));
  return error;
}

/** Runs `steps` one after another, one for each call; the last also for those after it. */
function inTurn(...steps: FakeHandler[]): FakeHandler {
  let calls = 0;
  return (call, message) => {
    steps[Math.min(calls++, steps.length - 1)]!(call, message);
  };
}

const rangeReply = answering(codec.RangeResponse, RANGE_REPLY);
const putReply = answering(codec.PutResponse, PUT_REPLY);
const refuse =
  (code: number, text: string): FakeHandler =>
  (call) =>
    call.finish(code, text);

test('a put whose reply was lost rejects as unknown and is not sent again', async () => {
  await using fake = await fakeEtcd({ [PUT.path]: inTurn((call) => call.cut(), putReply) });
  const service = etcdService({ endpoints: fake.endpoint });
  const error = await failure(service.put(putRequest('a key')));
  assert.equal(error.code, 'ERR_UNAVAILABLE');
  assert.equal(error.outcome, 'unknown');
  assert.equal(fake.calls.length, 1);
  assert.match(error.message, /^put of key "a key": connection lost \(127\.0\.0\.1:\d+\)/);
  assert.match(error.message, /read it back before trying again$/);
  await service.close();
});

test('a read whose reply was lost is asked again', async () => {
  const handler = inTurn(
    (call) => call.cut(),
    (call) => call.cut(),
    rangeReply,
  );
  await using fake = await fakeEtcd({ [RANGE.path]: handler });
  const service = etcdService({ endpoints: fake.endpoint });
  assert.deepEqual(await service.range(rangeRequest()), RANGE_REPLY);
  assert.equal(fake.connections, 3);
  await service.close();
});

test('a put is sent again where its stream was refused', async () => {
  const refused: FakeHandler = (call) => call.stream.close(constants.NGHTTP2_REFUSED_STREAM);
  await using fake = await fakeEtcd({ [PUT.path]: inTurn(refused, putReply) });
  const service = etcdService({ endpoints: fake.endpoint });
  assert.deepEqual(await service.put(putRequest()), PUT_REPLY);
  await service.close();
});

test('a put is sent again where the closing server says that it did not see it', async () => {
  const goaway: FakeHandler = (call) => {
    // The last stream it will have seen is the first one.
    call.session.goaway(constants.NGHTTP2_NO_ERROR, 1);
    setImmediate(() => call.cut());
  };
  await using fake = await fakeEtcd({ [PUT.path]: inTurn(putReply, goaway, putReply) });
  const service = etcdService({ endpoints: fake.endpoint });
  assert.deepEqual(await service.put(putRequest()), PUT_REPLY);
  assert.deepEqual(await service.put(putRequest()), PUT_REPLY);
  assert.equal(fake.calls.length, 3);
  assert.equal(fake.connections, 2);
  await service.close();
});

test('calls that a closing server still works on are answered by it', async () => {
  const goaway: FakeHandler = (call) => {
    const why = Buffer.from('server is stopping');
    call.session.goaway(constants.NGHTTP2_NO_ERROR, 2 ** 31 - 1, why);
    setImmediate(() => call.reply(codec.PutResponse, PUT_REPLY));
  };
  await using fake = await fakeEtcd({ [PUT.path]: inTurn(goaway, putReply) });
  const service = etcdService({ endpoints: fake.endpoint });
  await service.put(putRequest());
  await service.put(putRequest());
  assert.equal(fake.calls.length, 2);
  assert.equal(fake.connections, 2);
  await service.close();
});

test('a put refused before it was proposed is tried on another member', async () => {
  for (const text of ['etcdserver: no leader', 'etcdserver: too many requests']) {
    await using one = await fakeEtcd({ [PUT.path]: refuse(14, text) });
    await using two = await fakeEtcd({ [PUT.path]: inTurn(putReply) });
    const service = etcdService({ endpoints: [one.endpoint, two.endpoint] });
    for (let i = 0; i < 4; i++) assert.deepEqual(await service.put(putRequest()), PUT_REPLY);
    assert.equal(two.calls.length, 4);
    await service.close();
  }
});

test('a put that timed out inside the cluster is unknown and not sent again', async () => {
  const text = 'etcdserver: request timed out, possibly due to previous leader failure';
  await using fake = await fakeEtcd({ [PUT.path]: inTurn(refuse(14, text), putReply) });
  const service = etcdService({ endpoints: fake.endpoint });
  const error = await failure(service.put(putRequest()));
  assert.deepEqual([error.code, error.outcome], ['ERR_TIMEOUT', 'unknown']);
  assert.equal(fake.calls.length, 1);
  await service.close();
});

test('a transaction that only reads is repeated, one that writes is not', async () => {
  const reply = { header: undefined, succeeded: true, responses: [] };
  const op = (fields: Partial<pb.RequestOp>): pb.RequestOp => codec.RequestOp.create(fields);
  const reads: pb.TxnRequest = {
    compare: [],
    success: [op({ requestRange: rangeRequest() })],
    failure: [],
  };
  const writes = { ...reads, failure: [op({ requestPut: putRequest() })] };
  for (const [txn, expected] of [
    [reads, 'done'],
    [writes, 'unknown'],
  ] as const) {
    const lost = inTurn((call) => call.cut(), answering(codec.TxnResponse, reply));
    await using fake = await fakeEtcd({ [TXN.path]: lost });
    const service = etcdService({ endpoints: fake.endpoint });
    const ended = await service.txn(txn).then(
      () => 'done',
      (error: QuorateError) => error.outcome,
    );
    assert.equal(ended, expected);
    await service.close();
  }
});

test('a call without an answer ends at its deadline, and the server is told', async () => {
  let gone: Promise<void> | undefined;
  const silent: FakeHandler = (call) => {
    gone = call.gone;
  };
  await using fake = await fakeEtcd({ [PUT.path]: silent, [RANGE.path]: silent });
  const service = etcdService({ endpoints: fake.endpoint, timeoutMs: 60 });
  const put = await failure(service.put(putRequest()));
  assert.deepEqual([put.code, put.outcome], ['ERR_TIMEOUT', 'unknown']);
  await gone;
  const range = await failure(service.range(rangeRequest()));
  assert.deepEqual([range.code, range.outcome], ['ERR_TIMEOUT', 'not-applied']);
  assert.match(String(fake.calls[0]?.headers['grpc-timeout']), /^\d+m$/);
  await service.close();
});

test('an aborted call rejects with the reason itself and cancels its stream', async () => {
  const controller = new AbortController();
  let gone: Promise<void> | undefined;
  const silent: FakeHandler = (call) => {
    gone = call.gone;
    controller.abort('enough');
  };
  await using fake = await fakeEtcd({ [PUT.path]: silent });
  const service = etcdService({ endpoints: fake.endpoint });
  await assert.rejects(
    service.put(putRequest(), { signal: controller.signal }),
    (reason) => reason === 'enough',
  );
  await gone;
  await assert.rejects(
    service.range(rangeRequest(), { signal: controller.signal }),
    (reason) => reason === 'enough',
  );
  assert.equal(fake.calls.length, 1);
  await service.close();
});

test('a member that accepts connections and says nothing is passed over', async (t) => {
  const held = new Set<{ destroy(): void }>();
  const blackHole = createServer((socket) => held.add(socket));
  await new Promise<void>((resolve) => blackHole.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of held) socket.destroy();
    blackHole.close();
  });
  const { port } = blackHole.address() as AddressInfo;
  await using fake = await fakeEtcd({ [PUT.path]: inTurn(putReply) });
  const service = etcdService({ endpoints: [`127.0.0.1:${port}`, fake.endpoint] });
  for (let i = 0; i < 3; i++) await service.put(putRequest());
  await service.close();
  const alone = etcdService({ endpoints: `127.0.0.1:${port}`, clock: fastClock(10) });
  const error = await failure(alone.put(putRequest()));
  assert.deepEqual([error.code, error.outcome], ['ERR_UNAVAILABLE', 'not-applied']);
  assert.match(error.message, /no HTTP\/2 server answered within 2000 ms/);
  await alone.close();
});

test('a member that falls silent in the middle of reads is passed over', async () => {
  const silent: FakeHandler = () => undefined;
  await using one = await fakeEtcd({ [RANGE.path]: silent });
  await using two = await fakeEtcd({ [RANGE.path]: inTurn(rangeReply) });
  const clock = fastClock(5);
  const service = etcdService({ endpoints: [one.endpoint, two.endpoint], clock });
  for (let i = 0; i < 6; i++) assert.deepEqual(await service.range(rangeRequest()), RANGE_REPLY);
  await service.close();
});

test('where nothing listens a call says so at once, with every address', async () => {
  const gone: string[] = [];
  for (let i = 0; i < 2; i++) {
    const fake = await fakeEtcd({});
    gone.push(fake.endpoint);
    await fake[Symbol.asyncDispose]();
  }
  const service = etcdService({ endpoints: gone.join(',') });
  const error = await failure(service.put(putRequest()));
  assert.deepEqual(
    [error.code, error.outcome, error.retryable],
    ['ERR_UNAVAILABLE', 'not-applied', true],
  );
  for (const endpoint of gone) assert.ok(error.message.includes(`${endpoint}: connect ECONN`));
  await service.close();
});

test('a cluster that answered before is waited for while it is away', async () => {
  await using fake = await fakeEtcd({
    [PUT.path]: inTurn(putReply),
    [RANGE.path]: inTurn(rangeReply),
  });
  const relay = await relayTo(fake.endpoint);
  const service = etcdService({ endpoints: relay.endpoint });
  await service.put(putRequest());
  await relay[Symbol.asyncDispose]();
  const range = service.range(rangeRequest());
  await failure(service.status(relay.endpoint));
  const put = service.put(putRequest());
  await using again = await relayTo(fake.endpoint, relay.endpoint);
  assert.deepEqual(await range, RANGE_REPLY);
  assert.deepEqual(await put, PUT_REPLY);
  assert.equal(again.endpoint, relay.endpoint);
  await service.close();
});

test('an answer that is no gRPC is a protocol error that says where it came from', async () => {
  const page: FakeHandler = (call) => {
    call.stream.respond({ ':status': 200, 'content-type': 'text/html' });
    call.stream.end('<html>');
  };
  await using fake = await fakeEtcd({ [RANGE.path]: page, [PUT.path]: page });
  const service = etcdService({ endpoints: fake.endpoint });
  const range = await failure(service.range(rangeRequest()));
  assert.deepEqual([range.code, range.outcome], ['ERR_PROTOCOL', 'not-applied']);
  assert.match(range.message, /no gRPC: content of type text\/html \(127\.0\.0\.1:\d+\)/);
  const put = await failure(service.put(putRequest()));
  assert.deepEqual([put.code, put.outcome], ['ERR_PROTOCOL', 'unknown']);
  await service.close();
});

test('a length over the bound, a compressed message and broken protobuf are protocol errors', async () => {
  const frames = [
    Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]),
    Buffer.from([1, 0, 0, 0, 1, 0]),
    Buffer.from([0, 0, 0, 0, 2, 0x0a, 0x7f]),
  ];
  for (const frame of frames) {
    const garbage: FakeHandler = (call) => {
      call.send({ size: () => 0, encodeTo: () => 0 }, undefined);
      call.finish();
    };
    const raw: FakeHandler = (call) => {
      call.stream.respond(
        { ':status': 200, 'content-type': 'application/grpc' },
        { waitForTrailers: true },
      );
      call.stream.end(frame);
    };
    await using fake = await fakeEtcd({ [RANGE.path]: raw, [PUT.path]: garbage });
    const service = etcdService({ endpoints: fake.endpoint });
    assert.equal((await failure(service.range(rangeRequest()))).code, 'ERR_PROTOCOL');
    await service.close();
  }
});

test('a peer that speaks something else is an unavailable endpoint', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.resume();
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const service = etcdService({ endpoints: `127.0.0.1:${port}` });
  const error = await failure(service.put(putRequest()));
  assert.deepEqual([error.code, error.outcome], ['ERR_UNAVAILABLE', 'not-applied']);
  await service.close();
});

test('a status in the headers alone, percent-encoded, is understood', async () => {
  const trailersOnly: FakeHandler = (call) => {
    const headers = {
      ':status': 200,
      'content-type': 'application/grpc',
      'grpc-status': '3',
      'grpc-message': 'etcdserver%3A key is not provided',
    };
    call.stream.respond(headers, { endStream: true });
  };
  await using fake = await fakeEtcd({ [PUT.path]: trailersOnly });
  const service = etcdService({ endpoints: fake.endpoint });
  const error = await failure(service.put(putRequest('')));
  assert.deepEqual([error.code, error.outcome], ['ERR_EMPTY_KEY', 'not-applied']);
  await service.close();
});

test('a token that expired is renewed once, and the call goes on', async () => {
  let logins = 0;
  const login: FakeHandler = (call) => {
    call.reply(AuthenticateResponse, { header: undefined, token: `token ${++logins}` });
  };
  const guarded: FakeHandler = (call) => {
    if (call.headers['token'] === 'token 2') call.reply(codec.PutResponse, PUT_REPLY);
    else call.finish(16, 'etcdserver: invalid auth token');
  };
  await using fake = await fakeEtcd({ [AUTHENTICATE.path]: login, [PUT.path]: guarded });
  const auth = { username: 'root', password: 'secret' };
  const service = etcdService({ endpoints: fake.endpoint, auth });
  const three = [putRequest('a'), putRequest('b'), putRequest('c')];
  await Promise.all(three.map((request) => service.put(request)));
  assert.equal(logins, 2);
  await service.close();
});

test('wrong credentials are refused with a word on what to check', async () => {
  const text = 'etcdserver: authentication failed, invalid user ID or password';
  await using fake = await fakeEtcd({ [AUTHENTICATE.path]: inTurn(refuse(3, text)) });
  const auth = { username: 'root', password: 'wrong' };
  const service = etcdService({ endpoints: fake.endpoint, auth });
  const error = await failure(service.put(putRequest()));
  assert.equal(error.code, 'ERR_UNAUTHENTICATED');
  assert.match(error.message, /check username and password/);
  assert.ok(!error.message.includes('wrong'));
  await service.close();
});

test('credentials do no harm where the cluster asks for none', async () => {
  const text = 'etcdserver: authentication is not enabled';
  await using fake = await fakeEtcd({
    [AUTHENTICATE.path]: inTurn(refuse(9, text)),
    [PUT.path]: inTurn(putReply),
  });
  const auth = { username: 'root', password: 'secret' };
  const service = etcdService({ endpoints: fake.endpoint, auth });
  assert.deepEqual(await service.put(putRequest()), PUT_REPLY);
  await service.close();
});

test('closing ends calls under way with ERR_CLOSED, and again does nothing', async () => {
  let seen: () => void = () => undefined;
  const arrived = new Promise<void>((resolve) => {
    seen = resolve;
  });
  await using fake = await fakeEtcd({ [PUT.path]: () => seen() });
  const service = etcdService({ endpoints: fake.endpoint });
  const put = failure(service.put(putRequest()));
  await arrived;
  await service.close();
  await service.close();
  const error = await put;
  assert.deepEqual([error.code, error.outcome], ['ERR_CLOSED', 'unknown']);
  assert.equal((await failure(service.put(putRequest()))).code, 'ERR_CLOSED');
});

test('a call that names an endpoint goes there alone and fails at once where it is gone', async () => {
  const status = codec.StatusResponse.create({ version: '3.6.16' });
  await using one = await fakeEtcd({});
  await using two = await fakeEtcd({ [STATUS.path]: answering(codec.StatusResponse, status) });
  const service = etcdService({ endpoints: one.endpoint });
  assert.equal((await service.status(two.endpoint)).version, '3.6.16');
  assert.equal((await failure(service.status(one.endpoint))).code, 'ERR_UNSUPPORTED');
  await two[Symbol.asyncDispose]();
  assert.equal((await failure(service.status(two.endpoint))).code, 'ERR_UNAVAILABLE');
  await service.close();
});

test('TLS: the server is checked, and a client certificate shown where asked for', async () => {
  const authority = testAuthority();
  const server = authority.issue('server');
  const client = authority.issue('client');
  const tls = { ...server, ca: authority.cert, requestCert: true, rejectUnauthorized: true };
  await using fake = await fakeEtcd({ [PUT.path]: inTurn(putReply) }, tls);
  const good = { ca: authority.cert, ...client };
  const service = etcdService({ endpoints: `https://${fake.endpoint}`, tls: good });
  assert.deepEqual(await service.put(putRequest()), PUT_REPLY);
  await service.close();
  for (const bad of [client, { ca: authority.cert }]) {
    const other = etcdService({ endpoints: fake.endpoint, tls: bad });
    const error = await failure(other.put(putRequest()));
    assert.deepEqual([error.code, error.outcome], ['ERR_UNAVAILABLE', 'not-applied']);
    await other.close();
  }
});

test('a process with an idle client ends, one with a waiting call does not', async () => {
  await using fake = await fakeEtcd({ [RANGE.path]: inTurn(rangeReply) });
  await using relay = await relayTo(fake.endpoint);
  const index = new URL('./index.ts', import.meta.url).href;
  const program = `
    import { etcdKv } from ${JSON.stringify(index)};
    const kv = etcdKv({ endpoints: '${relay.endpoint}' });
    await kv.get('k');
    process.stdout.write('first ');
    for await (const _ of process.stdin) break;
    process.stdin.destroy();
    await kv.get('k');
    process.stdout.write('second');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program]);
  let output = '';
  const ended = once(child, 'close');
  child.stdout.on('data', (data: Buffer) => {
    output += data.toString();
  });
  await once(child.stdout, 'data');
  // The connection goes, and only the waiting call is left to keep the process alive.
  await relay[Symbol.asyncDispose]();
  child.stdin.write('go\n');
  await failure(etcdService({ endpoints: relay.endpoint }).put(putRequest()));
  await using again = await relayTo(fake.endpoint, relay.endpoint);
  assert.equal(again.endpoint, relay.endpoint);
  assert.deepEqual(await ended, [0, null]);
  assert.equal(output, 'first second');
});
