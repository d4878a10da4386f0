/** A server taken out of service under real connections: what becomes of each request, and of each connection. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  Agent,
  createServer,
  get as httpGet,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import {
  connect as connectHttp2,
  createServer as createHttp2,
  createSecureServer as createSecureHttp2,
} from 'node:http2';
import { createServer as createHttps, Agent as HttpsAgent, get as httpsGet } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { testAuthority } from '../testing/certificates.ts';
import { gracefulShutdown, type ShutdownOptions, type ShutdownReport } from './index.ts';

interface Answer {
  readonly status: number;
  readonly connection: string | undefined;
  readonly reused: boolean;
  readonly body: string;
}

interface Failure extends NodeJS.ErrnoException {
  readonly reused: boolean;
}

class Client {
  readonly agent: Agent;
  readonly port: number;

  constructor(t: TestContext, port: number) {
    this.agent = new Agent({ keepAlive: true });
    this.port = port;
    t.after(() => this.agent.destroy());
  }

  get(path: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const { agent, port } = this;
      const request = httpGet({ host: '127.0.0.1', port, path, agent }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => (body += text));
        response.on('end', () => {
          const { connection } = response.headers;
          resolve({ status: response.statusCode!, connection, reused: request.reusedSocket, body });
        });
        response.on('error', reject);
      });
      request.on('error', (error) =>
        reject(Object.assign(error, { reused: request.reusedSocket })),
      );
    });
  }
}

const portOf = (server: { address(): unknown }): number => (server.address() as AddressInfo).port;

async function listening(
  t: TestContext,
  listener: RequestListener,
  options: ShutdownOptions = {},
): Promise<{ server: Server; client: Client; stop: () => Promise<ShutdownReport> }> {
  const server = createServer(listener);
  const shutdown = gracefulShutdown({
    servers: [server],
    signals: [],
    delay: 0,
    idle: 0,
    ...options,
  });
  t.after(() => server.closeAllConnections());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { server, client: new Client(t, portOf(server)), stop: () => shutdown.run() };
}

const finishing = ({ phases }: ShutdownReport) =>
  phases.find(({ phase }) => phase === 'finish')!.steps[0]!;

test('a request in progress is finished, and told that its connection ends', async (t) => {
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const { server, client, stop } = await listening(t, async (_request, response) => {
    begun.resolve();
    await gate.promise;
    response.end('late');
  });
  const answer = client.get('/slow');
  await begun.promise;
  const stopping = stop();
  await until(() => !server.listening);
  await assert.rejects(client.get('/new'), { code: 'ECONNREFUSED' });
  gate.resolve();
  const { status, connection, body } = await answer;
  assert.deepEqual([status, connection, body], [200, 'close', 'late']);
  const report = await stopping;
  assert.deepEqual([finishing(report).finished, finishing(report).abandoned], [1, 0]);
  assert.equal(report.exitCode, 0);
});

test('a request that never ends is abandoned at the deadline, and named without its query', async (t) => {
  const begun = Promise.withResolvers<void>();
  const { client, stop } = await listening(t, () => begun.resolve(), {
    deadlines: { finish: 50 },
  });
  const answer = client.get('/hangs?token=secret');
  answer.catch(() => undefined);
  await begun.promise;
  const report = await stop();
  const { outcome, abandoned, message } = finishing(report);
  assert.deepEqual([outcome, abandoned, message], ['abandoned', 1, 'GET /hangs']);
  assert.equal(report.exitCode, 1);
  await assert.rejects(answer, { code: 'ECONNRESET' });
});

test('during the delay all is served as ever, and each response says that its connection ends', async (t) => {
  const { client, stop } = await listening(t, (_request, response) => void response.end('ok'), {
    delay: '1500ms',
  });
  assert.equal((await client.get('/')).connection, 'keep-alive');
  const stopping = stop();
  const second = await client.get('/');
  assert.deepEqual([second.status, second.connection, second.reused], [200, 'close', true]);
  const third = await client.get('/');
  assert.deepEqual([third.status, third.connection, third.reused], [200, 'close', false]);
  assert.equal((await stopping).exitCode, 0);
});

test('a kept connection on which nothing comes is closed when it was idle for long enough', async (t) => {
  const { client, stop } = await listening(t, (_request, response) => void response.end('ok'), {
    idle: 150,
  });
  await client.get('/');
  const report = await stop();
  assert.equal(report.exitCode, 0);
  assert.ok(finishing(report).tookMs >= 150, 'not at once');
});

test('a request that comes on a kept connection after the listener was closed is served', async (t) => {
  const { server, client, stop } = await listening(
    t,
    (_request, response) => void response.end('ok'),
    {
      idle: '20s',
      deadlines: { finish: '30s' },
    },
  );
  await client.get('/');
  const stopping = stop();
  await until(() => !server.listening);
  const { status, connection, reused } = await client.get('/');
  assert.deepEqual([status, connection, reused], [200, 'close', true]);
  const report = await stopping;
  assert.deepEqual([finishing(report).finished, finishing(report).abandoned], [1, 0]);
});

test('a request whose head comes in pieces keeps its connection', async (t) => {
  const { server, client, stop } = await listening(
    t,
    (_request, response) => void response.end('whole'),
    {
      idle: '2s',
      deadlines: { finish: '30s' },
    },
  );
  const socket = connect(client.port, '127.0.0.1');
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  const stopping = stop();
  await until(() => !server.listening);
  const closed = once(socket, 'close');
  let text = '';
  socket.setEncoding('utf8').on('data', (part: string) => (text += part));
  for (const part of ['GET / HT', 'TP/1.1\r\nho', 'st: a\r\n', 'x: y\r\n', 'z: ', 'w\r\n\r\n']) {
    socket.write(part);
    await delay(500);
  }
  await closed;
  assert.match(text, /200 OK[\s\S]+Connection: close[\s\S]+whole/i);
  assert.equal((await stopping).exitCode, 0);
});

test('a request that came in while the process stood still is served: what came is read before a connection counts as idle', async (t) => {
  const { server, client, stop } = await listening(
    t,
    (_request, response) => void response.end('ok'),
    {
      idle: 400,
      deadlines: { finish: '30s' },
    },
  );
  const socket = connect(client.port, '127.0.0.1');
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  const closed = once(socket, 'close');
  let text = '';
  socket.setEncoding('utf8').on('data', (part: string) => (text += part));
  const stopping = stop();
  await until(() => !server.listening);
  // In this phase of the event loop timers come next, and only then what came in is read.
  await new Promise((resolve) => setImmediate(resolve));
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  // Nothing else of this process runs meanwhile.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 800);
  await closed;
  assert.match(text, /200 OK/);
  assert.equal(finishing(await stopping).finished, 1);
});

test('requests that were pipelined are all answered, the last one with the end', async (t) => {
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let came = 0;
  const { server, client, stop } = await listening(t, async (request, response) => {
    const gate = gates[came++]!;
    await gate.promise;
    response.end(`answer ${request.url}`);
  });
  const socket = connect(client.port, '127.0.0.1');
  t.after(() => socket.destroy());
  let text = '';
  socket.setEncoding('utf8').on('data', (part: string) => (text += part));
  socket.write('GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n');
  await until(() => came === 2);
  const stopping = stop();
  await until(() => !server.listening);
  for (const gate of gates) gate.resolve();
  await once(socket, 'close');
  assert.match(text, /keep-alive[\s\S]+answer \/1[\s\S]+Connection: close[\s\S]+answer \/2$/i);
  assert.equal((await stopping).exitCode, 0);
});

test('a client that went away in the middle is neither finished nor abandoned', async (t) => {
  const begun = Promise.withResolvers<void>();
  const { client, stop } = await listening(t, () => begun.resolve());
  const answer = client.get('/');
  answer.catch(() => undefined);
  await begun.promise;
  const stopping = stop();
  client.agent.destroy();
  const report = await stopping;
  assert.deepEqual([finishing(report).finished, finishing(report).abandoned], [0, 0]);
  assert.equal(report.exitCode, 0);
});

test('a connection that became another protocol is in progress until it ends', async (t) => {
  const upgraded = Promise.withResolvers<Socket>();
  const { server, client, stop } = await listening(t, () => undefined, {
    deadlines: { finish: 300 },
  });
  // After the shutdown was prepared, as libraries for WebSockets do.
  server.on('upgrade', (_request, socket: Socket) => {
    socket.on('error', () => undefined);
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n');
    upgraded.resolve(socket);
  });
  const socket = connect(client.port, '127.0.0.1');
  socket.on('error', () => undefined);
  t.after(() => socket.destroy());
  socket.write('GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n');
  await upgraded.promise;
  const report = await stop();
  assert.equal(finishing(report).message, 'GET /chat (upgraded)');
});

test('a tunnel that CONNECT opened is in progress until it ends, also when nothing comes from its client', async (t) => {
  const { server, client, stop } = await listening(t, () => undefined, {
    deadlines: { finish: 600 },
  });
  const opened = Promise.withResolvers<void>();
  server.on('connect', (_request, socket: Socket) => {
    socket.on('error', () => undefined);
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    opened.resolve();
  });
  const socket = connect(client.port, '127.0.0.1');
  socket.on('error', () => undefined);
  t.after(() => socket.destroy());
  socket.write('CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n');
  await opened.promise;
  const report = await stop();
  assert.equal(finishing(report).message, 'CONNECT a:1 (upgraded)');
});

test('100 clients that never heard of readiness: every request that was begun is answered, and no kept connection is cut under one', async (t) => {
  let served = 0;
  const { server, client, stop } = await listening(
    t,
    (_request, response) => {
      served++;
      response.end('ok');
    },
    { delay: 300, idle: '1s' },
  );
  let answered = 0;
  const failures: Failure[] = [];
  const ask = async (): Promise<void> => {
    for (;;) {
      try {
        await client.get('/');
        answered++;
      } catch (error) {
        failures.push(error as Failure);
        if ((error as Failure).code === 'ECONNREFUSED') return;
      }
    }
  };
  const asking = Array.from({ length: 100 }, ask);
  await until(() => answered > 500);
  const report = await stop();
  await Promise.all(asking);
  assert.equal(server.listening, false);
  assert.equal(answered, served);
  // Reset is what the kernel had accepted and the process had not, when the listener was closed: those are new.
  for (const { code, reused } of failures) {
    assert.ok(code === 'ECONNREFUSED' || (code === 'ECONNRESET' && !reused), code);
  }
  assert.equal(report.exitCode, 0);
});

test('HTTP/2: sessions are told to go, streams in progress are finished', async (t) => {
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const server = createHttp2();
  const shutdown = gracefulShutdown({ servers: [server], signals: [], delay: 100, idle: 0 });
  server.on('stream', async (stream) => {
    begun.resolve();
    await gate.promise;
    stream.respond({ ':status': 200 });
    stream.end('late');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const session = connectHttp2(`http://127.0.0.1:${portOf(server)}`);
  const idle = connectHttp2(`http://127.0.0.1:${portOf(server)}`);
  t.after(() => {
    session.destroy();
    idle.destroy();
  });
  await Promise.all([once(idle, 'connect'), once(session, 'connect')]);
  const told = Promise.all([once(session, 'goaway'), once(idle, 'goaway')]);
  const stream = session.request({ ':path': '/' });
  await begun.promise;
  const stopping = shutdown.run();
  await told;
  gate.resolve();
  let body = '';
  for await (const part of stream.setEncoding('utf8')) body += part;
  assert.equal(body, 'late');
  const report = await stopping;
  assert.equal(report.exitCode, 0, JSON.stringify(report));
});

test('HTTP/2: a client that does not go when it is told to holds nobody up', async (t) => {
  const server = createHttp2((_, response) => void response.end());
  const shutdown = gracefulShutdown({ servers: [server], signals: [], delay: 0, idle: 50 });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const socket = connect({ port: portOf(server), host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => undefined).resume();
  t.after(() => socket.destroy());
  const session = once(server, 'session');
  // The preface, and settings that say nothing.
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0');
  await session;
  const report = await shutdown.run();
  assert.equal(report.exitCode, 0);
  // Else it would be the whole time of the phase, 10 s.
  assert.ok(finishing(report).tookMs < 8_000);
  assert.equal(server.listening, false);
});

test('HTTPS, and HTTP/1 beside HTTP/2 on one port: requests in progress are finished and idle connections closed', async (t) => {
  const { cert, key } = testAuthority().issue('server');
  const servers = [createHttps({ cert, key }), createSecureHttp2({ cert, key, allowHTTP1: true })];
  for (const server of servers) {
    const gate = Promise.withResolvers<void>();
    let came = 0;
    const shutdown = gracefulShutdown({ servers: [server], signals: [], delay: 0, idle: 0 });
    server.on('request', async (request: IncomingMessage, response: ServerResponse) => {
      came++;
      if (request.url === '/slow') await gate.promise;
      response.end('late');
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const agent = new HttpsAgent({ keepAlive: true, rejectUnauthorized: false });
    t.after(() => agent.destroy());
    const get = async (path: string): Promise<string> => {
      const request = httpsGet({ host: '127.0.0.1', port: portOf(server), path, agent });
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      for await (const _part of response);
      return `${response.statusCode} ${response.headers.connection}`;
    };
    const slow = get('/slow');
    await until(() => came === 1);
    assert.equal(await get('/quick'), '200 keep-alive');
    const stopping = shutdown.run();
    await until(() => !server.listening);
    gate.resolve();
    assert.equal(await slow, '200 close');
    const report = await stopping;
    assert.deepEqual([report.exitCode, finishing(report).finished], [0, 1]);
  }
});

/** Real time, as the servers have it: looked at until it holds. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await delay(5);
}
