import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { memoryService } from '../kv/memory.ts';
import * as codec from '../proto/etcd.ts';
import { testAuthority } from '../testing/certificates.ts';
import { type EtcdServer, serveEtcd } from './index.ts';
import { testBackend } from './test-backend.ts';
import { callUnary, openSession, RawClient, until } from './test-client.ts';

const kv = memoryService();
const backend = testBackend(kv);
const authority = testAuthority();
let folder: string;
let tls: { certFile: string; keyFile: string; trustedCaFile: string };

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quorate-tls-'));
  tls = {
    certFile: join(folder, 'server.crt'),
    keyFile: join(folder, 'server.key'),
    trustedCaFile: join(folder, 'ca.crt'),
  };
  const server = authority.issue('server');
  await writeFile(tls.certFile, server.cert);
  await writeFile(tls.keyFile, server.key);
  await writeFile(tls.trustedCaFile, authority.cert);
});
after(async () => {
  await kv.close();
  await rm(folder, { recursive: true });
});

const HEALTH = [codec.HealthCheckRequest, codec.HealthCheckResponse] as const;

async function checkHealth(
  url: string,
  options: Parameters<typeof openSession>[1],
): Promise<number> {
  const session = await openSession(url, options);
  const { status } = await callUnary(session, '/grpc.health.v1.Health/Check', HEALTH, {});
  session.destroy();
  return status;
}

test('TLS serves gRPC by h2 and pages by HTTP/1.1 on one port', async () => {
  await using server = await serveEtcd(backend, { listenUrls: ['https://127.0.0.1:0'], tls });
  const url = server.urls[0]!;
  assert.match(url, /^https:\/\/127\.0\.0\.1:\d+$/);
  assert.equal(await checkHealth(url, { ca: authority.cert }), 0);
  const status = await new Promise((resolve, reject) => {
    get(`${url}/version`, { ca: authority.cert, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).on('error', reject);
  });
  assert.equal(status, 200);
});

test('with client certificates asked for, a client without one is refused', async () => {
  const listenUrls = ['https://127.0.0.1:0'];
  await using server = await serveEtcd(backend, {
    listenUrls,
    tls: { ...tls, clientCertAuth: true },
  });
  const url = server.urls[0]!;
  const ca = authority.cert;
  const client = { ca, ...authority.issue('client') };
  assert.equal(await checkHealth(url, client), 0);
  await assert.rejects(checkHealth(url, { ca }));
});

test('plain text on a TLS port harms nobody else', async () => {
  await using server = await serveEtcd(backend, { listenUrls: ['https://127.0.0.1:0'], tls });
  const client = new RawClient(server.urls[0]!);
  client.greet();
  await until(() => client.closed);
  assert.equal(await checkHealth(server.urls[0]!, { ca: authority.cert }), 0);
});

test('a port in use, a bad URL and a bad certificate are named, and nothing stays open', async () => {
  await using server = await serveEtcd(backend, { listenUrls: ['http://127.0.0.1:0'] });
  const taken = server.urls[0]!;
  const free = 'http://127.0.0.1:0';
  await assert.rejects(serveEtcd(backend, { listenUrls: [free, taken] }), {
    code: 'ERR_ADDRESS_IN_USE',
    message: new RegExp(`${taken}: the port is in use`),
  });
  const invalid: [Parameters<typeof serveEtcd>[1], RegExp][] = [
    [{ listenUrls: [] }, /at least one/],
    [{ listenUrls: ['127.0.0.1:2379'] }, /listen URL "127/],
    [{ listenUrls: ['https://127.0.0.1:0'] }, /needs a certificate/],
    [{ listenUrls: ['https://127.0.0.1:0'], tls: { certFile: 'none', keyFile: 'none' } }, /none/],
    [
      { listenUrls: ['https://127.0.0.1:0'], tls: { ...tls, keyFile: tls.certFile } },
      /no usable certificate/,
    ],
  ];
  for (const [options, message] of invalid) {
    await assert.rejects(serveEtcd(backend, options), { code: 'ERR_INVALID_ARGUMENT', message });
  }
});

test('several URLs are served, each with its real port', async () => {
  const listenUrls = ['http://127.0.0.1:0', 'http://localhost:0'];
  await using server = await serveEtcd(backend, { listenUrls });
  assert.equal(server.urls.length, 2);
  for (const url of server.urls) assert.equal(await checkHealth(url, {}), 0);
});

test('a thousand idle connections, greeted or silent, cost little and are let go', async () => {
  const server: EtcdServer = await serveEtcd(backend, { listenUrls: ['http://127.0.0.1:0'] });
  const url = server.urls[0]!;
  const port = Number(new URL(url).port);
  const sockets: Socket[] = [];
  for (let i = 0; i < 500; i++) {
    const silent = connect(port, '127.0.0.1');
    silent.on('error', () => undefined);
    sockets.push(silent);
    const greeted = new RawClient(url);
    greeted.greet();
    sockets.push(greeted.socket);
  }
  await until(() => server.connections() === 1000);
  assert.equal(await checkHealth(url, {}), 0);
  const closed = Promise.all(sockets.map((socket) => once(socket.resume(), 'close')));
  await server.close({ graceMs: 0 });
  assert.equal(server.connections(), 0);
  await closed;
});

test('closing twice is closing once, and the port is free afterwards', async () => {
  const server = await serveEtcd(backend, { listenUrls: ['http://127.0.0.1:0'] });
  const url = server.urls[0]!;
  await Promise.all([server.close(), server.close()]);
  const again = await serveEtcd(backend, { listenUrls: [url] });
  assert.deepEqual(again.urls, [url]);
  await again.close();
});
