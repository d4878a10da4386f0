/** The headers of a guard arrive however a handler writes its head, and whatever the response is. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect, createServer as createHttp2Server, type IncomingHttpHeaders } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import fastify from 'fastify';
import { guardFastify, guardNode, requestGuard } from './index.ts';
import { ask } from './test-servers.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => unknown;

const HANDLERS: Readonly<Record<string, Handler>> = {
  'sets headers': (_, response) => {
    response.setHeader('x-own', '1');
    response.end('body');
  },
  'writes its head': (_, response) => {
    response.writeHead(200, { 'x-own': '1', 'content-length': 4 });
    response.end('body');
  },
  'writes its head with a reason': (_, response) => {
    response.writeHead(200, 'Fine', { 'x-own': '1' });
    response.end('body');
  },
  'writes its head with a list': (_, response) => {
    response.writeHead(200, ['x-own', '1']).end('body');
  },
  'sends its head first': (_, response) => {
    response.setHeader('x-own', '1');
    response.flushHeaders();
    response.write('bo');
    response.end('dy');
  },
  'says something before': (_, response) => {
    response.writeEarlyHints({ link: '</a.css>; rel=preload' });
    response.setHeader('x-own', '1');
    response.end('body');
  },
  'has middleware that waits for the head': (_, response) => {
    const before = response.writeHead;
    response.writeHead = function writeHead(this: ServerResponse, ...args: [number]) {
      this.setHeader('x-own', '1');
      return before.apply(this, args);
    };
    response.end('body');
  },
};

for (const [name, handler] of Object.entries(HANDLERS)) {
  test(`headers arrive where a handler ${name}`, async () => {
    const guard = requestGuard({ requestId: {} });
    const guarded = guardNode(guard, handler);
    // Others may have put theirs in the place of Node's before.
    for (const isWrapped of [false, true]) {
      let wrapped = 0;
      const server = createServer((request, response) => {
        if (isWrapped) {
          const before = response.writeHead;
          response.writeHead = function writeHead(this: ServerResponse, ...args: [number]) {
            wrapped += 1;
            return before.apply(this, args);
          };
        }
        guarded(request, response);
      }).listen(0, '127.0.0.1');
      await once(server, 'listening');
      try {
        const { port } = server.address() as AddressInfo;
        const { headers, text } = await ask(port, '/', { headers: { 'x-request-id': 'here' } });
        assert.equal(text, 'body');
        assert.equal(headers['x-request-id'], 'here');
        assert.equal(headers['x-own'], '1');
        assert.equal(wrapped, isWrapped ? 1 : 0);
      } finally {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    }
  });
}

test('responses of HTTP/2 have them as well', async () => {
  const guard = requestGuard({});
  const handler = guardNode(guard, (_, response) => response.end('body')) as unknown;
  const server = createHttp2Server(handler as Parameters<typeof createHttp2Server>[1]);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  try {
    const stream = session.request({ ':path': '/', 'x-request-id': 'two' });
    const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders];
    stream.resume();
    await once(stream, 'close');
    assert.equal(headers['x-request-id'], 'two');
  } finally {
    session.close();
    await new Promise((resolve) => server.close(resolve));
  }
  const { active, requests } = guard.stats();
  assert.equal(active, 0);
  assert.deepEqual(
    requests.map(({ status, count }) => [status, count]),
    [[200, 1]],
  );
});

test('responses that Fastify makes up for tests have them as well', async () => {
  const app = fastify();
  await app.register(guardFastify(requestGuard({})));
  app.get('/', async () => 'body');
  const { headers, body } = await app.inject({ url: '/', headers: { 'x-request-id': 'made-up' } });
  await app.close();
  assert.deepEqual([headers['x-request-id'], body], ['made-up', 'body']);
});
