import assert from 'node:assert/strict';
import { connect } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { after, before, test } from 'node:test';
import { memoryService } from '../../kv/memory.ts';
import { type EtcdServer, serveEtcd } from '../index.ts';
import { type TestBackend, testBackend } from '../test-backend.ts';

const kv = memoryService();
let backend: TestBackend;
let server: EtcdServer;
let url: string;

before(async () => {
  backend = testBackend(kv);
  server = await serveEtcd(backend, { listenUrls: ['http://127.0.0.1:0'] });
  url = server.urls[0]!;
});
after(async () => {
  await server.close({ graceMs: 0 });
  await kv.close();
});

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: Headers;
}

async function request(path: string, method = 'GET', body?: string): Promise<Answer> {
  const response = await fetch(url + path, { method, ...(body === undefined ? {} : { body }) });
  return { status: response.status, body: await response.text(), headers: response.headers };
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

test('the gateway puts, gets and deletes', async () => {
  const put = await request('/v3/kv/put', 'POST', `{"key":"${base64('foo')}","value":"YmFy"}`);
  assert.equal(put.status, 200);
  assert.equal(put.headers.get('content-type'), 'application/json');
  const get = await request('/v3beta/kv/range', 'POST', `{"key":"${base64('foo')}"}`);
  const { kvs, count } = JSON.parse(get.body);
  assert.deepEqual([kvs[0].value, kvs[0].version, count], ['YmFy', '1', '1']);
  const gone = await request('/v3/kv/deleterange', 'POST', `{"key":"${base64('foo')}"}`);
  assert.equal(JSON.parse(gone.body).deleted, '1');
});

test('the gateway answers errors as etcd does', async () => {
  const cases: [string, string, string | undefined, number, string][] = [
    ['/v3/kv/range', 'POST', '', 400, '{"code":3,"message":"etcdserver: key is not provided"}'],
    ['/v3/kv/range', 'GET', undefined, 501, '{"code":12,"message":"Method Not Allowed"}'],
    ['/v3/nothing', 'POST', '{}', 404, '{"code":5,"message":"Not Found"}'],
    [
      '/v3/kv/range',
      'POST',
      '{"key":"YQ==","revision":"99"}',
      400,
      '{"code":11,"message":"etcdserver: mvcc: required revision is a future revision"}',
    ],
    [
      '/v3/lease/revoke',
      'POST',
      '{"ID":"5"}',
      404,
      '{"code":5,"message":"etcdserver: requested lease not found"}',
    ],
  ];
  for (const [path, method, body, status, text] of cases) {
    const answer = await request(path, method, body);
    assert.deepEqual([answer.status, answer.body], [status, text], path);
  }
  assert.equal((await request('/v3/kv/put', 'POST', '{bad')).status, 400);
});

test('a watch is a line of JSON for each response, until the client goes', async () => {
  const controller = new AbortController();
  const body = `{"create_request":{"key":"${base64('w')}"}}`;
  const { signal } = controller;
  const response = await fetch(`${url}/v3/watch`, { method: 'POST', body, signal });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  assert.equal(JSON.parse((await reader.read()).value!).result.created, true);
  await request('/v3/kv/put', 'POST', `{"key":"${base64('w')}","value":"MQ=="}`);
  const line = (await reader.read()).value!;
  assert.ok(line.endsWith('\n'));
  assert.equal(JSON.parse(line).result.events[0].kv.value, 'MQ==');
  controller.abort();
  await assert.rejects(reader.read());
});

test('closing tells a watch of the gateway, and does not wait for idle connections', async () => {
  const own = memoryService();
  const other = await serveEtcd(testBackend(own), { listenUrls: ['http://127.0.0.1:0'] });
  await (await fetch(`${other.urls[0]}/version`)).text();
  const body = `{"create_request":{"key":"${base64('w')}"}}`;
  const response = await fetch(`${other.urls[0]}/v3/watch`, { method: 'POST', body });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  await reader.read();
  const closed = other.close({ graceMs: 60_000 });
  assert.equal(
    (await reader.read()).value,
    '{"error":{"code":14,"message":"etcdserver: server stopped"}}\n',
  );
  await closed;
  await own.close();
});

test('a keep-alive over the gateway is answered and ends', async () => {
  const answer = await request('/v3/lease/keepalive', 'POST', '{"ID":5}');
  assert.equal(JSON.parse(answer.body).result.ID, '5');
});

test('a body beyond the bound is refused', async () => {
  const socket = connectSocket(Number(new URL(url).port), '127.0.0.1');
  socket.write('POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n');
  socket.write(Buffer.alloc(5_000_000, ' '));
  let text = '';
  socket.on('error', () => undefined);
  for await (const chunk of socket.setEncoding('utf8')) {
    text += String(chunk);
    if (text.includes('\r\n\r\n')) break;
  }
  assert.match(text, /^HTTP\/1\.1 413 /);
  socket.destroy();
});

test('version, health and the probes answer as etcd does', async () => {
  const cases: [string, number, string][] = [
    ['/version', 200, '{"etcdserver":"3.6.16","etcdcluster":"3.6.0","storage":"3.6.0"}'],
    ['/health', 200, '{"health":"true","reason":""}'],
    ['/livez', 200, 'ok\n'],
    ['/livez?verbose', 200, '[+]serializable_read ok\nok\n'],
    [
      '/readyz?verbose',
      200,
      '[+]linearizable_read ok\n[+]non_learner ok\n[+]data_corruption ok\n[+]serializable_read ok\nok\n',
    ],
    ['/readyz/serializable_read', 200, 'ok\n'],
    ['/readyz/nope', 404, '404 page not found\n'],
    ['/livezz', 404, '404 page not found\n'],
    ['/', 404, '404 page not found\n'],
  ];
  for (const [path, status, body] of cases) {
    const answer = await request(path);
    assert.deepEqual([answer.status, answer.body], [status, body], path);
  }
  const refused = await request('/health', 'POST', '');
  assert.deepEqual([refused.status, refused.headers.get('allow')], [405, 'GET']);
  const preflight = await request('/v3/kv/put', 'OPTIONS');
  assert.equal(preflight.headers.get('access-control-allow-origin'), '*');
});

test('health tells of alarms and a missing leader', async (t) => {
  t.after(() => {
    backend.alarms = [];
    backend.leader = true;
  });
  backend.alarms = [{ memberId: 1n, alarm: 1 }];
  const alarmed = await request('/health');
  assert.deepEqual(
    [alarmed.status, alarmed.body],
    [503, '{"health":"false","reason":"ALARM NOSPACE"}'],
  );
  assert.equal((await request('/health?exclude=NOSPACE')).status, 200);
  backend.alarms = [];
  backend.leader = false;
  const leaderless = await request('/health');
  assert.deepEqual(
    [leaderless.status, leaderless.body],
    [503, '{"health":"false","reason":"RAFT NO LEADER"}'],
  );
  const probe = await request('/readyz');
  assert.equal(probe.status, 503);
  assert.match(probe.body, /^\[-\]linearizable_read failed: etcdserver: no leader$/m);
  assert.equal(
    (await request('/readyz?exclude=linearizable_read&exclude=serializable_read')).status,
    200,
  );
});

test('the metrics page has the names that tools read, each family once', async () => {
  await request('/v3/kv/range', 'POST', '{"key":"YQ=="}');
  const { body, headers } = await request('/metrics');
  assert.match(headers.get('content-type') ?? '', /version=0\.0\.4/);
  assert.match(body, /^process_resident_memory_bytes \d+$/m);
  assert.match(body, /^etcd_server_has_leader 1$/m);
  assert.match(body, /^etcd_server_version\{server_version="3\.6\.16"\} 1$/m);
  assert.match(
    body,
    /^grpc_server_handled_total\{grpc_code="OK",grpc_method="Range",grpc_service="etcdserverpb\.KV",grpc_type="unary"\} [1-9]/m,
  );
  const families = [...body.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name);
  assert.equal(new Set(families).size, families.length);
});

test('the same pages are served over HTTP/2', async () => {
  const session = connect(url);
  const call = async (path: string, method: string, body = ''): Promise<[unknown, string]> => {
    const stream = session.request({ ':path': path, ':method': method }, { endStream: false });
    let status: unknown;
    stream.on('response', (fields) => {
      status = fields[':status'];
    });
    stream.end(body);
    let text = '';
    for await (const chunk of stream.setEncoding('utf8')) text += String(chunk);
    return [status, text];
  };
  assert.deepEqual(await call('/livez', 'GET'), [200, 'ok\n']);
  assert.deepEqual(await call('/nothing', 'GET'), [404, '404 page not found\n']);
  const [status, text] = await call('/v3/kv/range', 'POST', '{"key":"bm9uZQ=="}');
  assert.equal(status, 200);
  assert.ok(JSON.parse(text).header.revision);
  assert.deepEqual(await call('/v3/kv/put', 'OPTIONS'), [200, '']);
  session.destroy();
});
