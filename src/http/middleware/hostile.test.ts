/** Requests that mean harm, stores that hang and handlers that do wrong: the process goes on, and each request is counted once. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerOptions } from 'node:http';
import { connect as connectHttp2, constants, createServer as createHttp2 } from 'node:http2';
import { type AddressInfo, connect } from 'node:net';
import { test } from 'node:test';
import { bulkhead } from '../../resilience/bulkhead.ts';
import type { ClusterDecision, ClusterLimiter } from '../../resilience/limiter.ts';
import { tokenBucket } from '../../resilience/limiters.ts';
import {
  currentRequest,
  guardNode,
  type NodeHandler,
  type Refusal,
  requestGuard,
} from './index.ts';
import type { RequestGuardOptions } from './options.ts';
import { ask, SERVERS } from './test-servers.ts';

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 2));
}

interface Served {
  readonly port: number;
  readonly guard: ReturnType<typeof requestGuard<IncomingMessage>>;
  /** Refusals by their reason, in order. */
  readonly refusals: string[];
  readonly errors: unknown[];
}

/** Guards a handler of `node:http` while the test runs. */
async function serving(
  options: RequestGuardOptions<IncomingMessage>,
  handler: NodeHandler,
  run: (served: Served) => Promise<void>,
  serverOptions: ServerOptions = {},
): Promise<void> {
  const refusals: string[] = [];
  const errors: unknown[] = [];
  const guard = requestGuard<IncomingMessage>({
    ...options,
    onRefuse: ({ reason }: Refusal) => void refusals.push(reason),
    onError: (error) => void errors.push(error),
  });
  const server = createServer(serverOptions, guardNode(guard, handler)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await run({ port: (server.address() as AddressInfo).port, guard, refusals, errors });
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

function statuses({ guard }: Served): (readonly [number, number])[] {
  return guard.stats().requests.map(({ status, count }) => [status, count]);
}

/** Answers when it is told to, or never. */
class HangingLimiter {
  readonly scope = 'cluster';
  readonly asked: PromiseWithResolvers<ClusterDecision>[] = [];

  allow(): Promise<ClusterDecision> {
    const asked = Promise.withResolvers<ClusterDecision>();
    this.asked.push(asked);
    return asked.promise;
  }
}

for (const [name, start] of Object.entries(SERVERS)) {
  test(`${name}: where the store of a limit hangs the deadline is kept, and its late answer lets nobody in`, {
    timeout: 30_000,
  }, async () => {
    const limiter = new HangingLimiter();
    const gate = bulkhead({ max: 1 });
    const options = {
      limit: { limiter: limiter as unknown as ClusterLimiter, key: () => 'all' },
      shed: gate,
      deadline: { max: '60s' },
    };
    const behaviour = {
      wait: async () => undefined,
      chunks: async function* () {
        yield '';
      },
    };
    const { port, stats, stop } = await start(options, behaviour);
    try {
      const late = await ask(port, '/hello', { headers: { 'grpc-timeout': '30m' } });
      assert.equal(late.status, 504);
      const leaving = new AbortController();
      const left = ask(port, '/hello', { signal: leaving.signal });
      await until(() => limiter.asked.length === 2);
      leaving.abort();
      await assert.rejects(left);
      await until(() => stats().active === 0);
      limiter.asked[0]!.resolve({ ok: true, retryAfterMs: 0 } as ClusterDecision);
      limiter.asked[1]!.reject(new Error('the store is gone'));
      const third = ask(port, '/hello');
      await until(() => limiter.asked.length === 3);
      limiter.asked[2]!.resolve({ ok: true, retryAfterMs: 0 } as ClusterDecision);
      assert.equal((await third).status, 200);
      await until(() => stats().active === 0);
      assert.equal(gate.stats().running, 0);
      assert.deepEqual(
        Object.entries(stats().refused).filter(([, count]) => count > 0),
        [
          ['deadline', 1],
          ['aborted', 1],
        ],
      );
    } finally {
      await stop();
    }
  });
}

test('a refused HEAD gets no body, also where Node throws for one', async () => {
  const limit = { limiter: tokenBucket({ rate: '1/h', burst: 1 }), key: () => 'all' };
  const run = async ({ port }: Served): Promise<void> => {
    assert.equal((await ask(port, '/', { method: 'HEAD' })).status, 200);
    const refused = await ask(port, '/', { method: 'HEAD' });
    assert.equal(refused.status, 429);
    assert.equal(refused.text, '');
    assert.equal((await ask(port, '/')).status, 429);
  };
  await serving({ limit }, (_, response) => response.end(), run, {
    rejectNonStandardBodyWrites: true,
  });
});

test('a reason phrase of the handler is not that of the answer in its place, whether it is valid or not', async () => {
  const handler: NodeHandler = async ({ url }, response) => {
    response.statusMessage = url === '/valid' ? 'All Fine' : 'split\r\nx-bad: 1';
    if (url === '/late') await once(currentRequest()!.signal, 'abort');
    else throw new Error('fails');
  };
  await serving({ deadline: { max: '60s' } }, handler, async ({ port, errors }) => {
    const asked = await Promise.all([
      ask(port, '/valid'),
      ask(port, '/invalid'),
      ask(port, '/late', { headers: { 'grpc-timeout': '30m' } }),
    ]);
    assert.deepEqual(
      asked.map(({ status, reason }) => [status, reason]),
      [
        [500, 'Internal Server Error'],
        [500, 'Internal Server Error'],
        [504, 'Gateway Timeout'],
      ],
    );
    assert.equal(errors.length, 2);
  });
});

test('a handler that ends because it is told to has not failed: no error, and one refusal at most', async () => {
  const handler: NodeHandler = async ({ url }, response) => {
    const { signal } = currentRequest()!;
    if (url === '/waits') await once(signal, 'abort');
    if (url === '/waits') signal.throwIfAborted();
    await once(new EventTarget(), 'never', { signal });
    response.end();
  };
  await serving({ deadline: { max: '60s' } }, handler, async (served) => {
    const { port, guard, refusals, errors } = served;
    const headers = { 'grpc-timeout': '30m' };
    assert.equal((await ask(port, '/', { headers })).status, 504);
    assert.equal((await ask(port, '/waits', { headers })).status, 504);
    const leaving = new AbortController();
    const left = ask(port, '/waits', { signal: leaving.signal });
    await until(() => guard.stats().active === 1);
    leaving.abort();
    await assert.rejects(left);
    await until(() => guard.stats().active === 0);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(refusals, ['deadline', 'deadline']);
    assert.deepEqual(errors, []);
    assert.deepEqual(statuses(served), [
      [504, 2],
      [499, 1],
    ]);
  });
});

test('a client that leaves in the middle of its body makes no error', async () => {
  const handler: NodeHandler = async (request, response) => {
    let body = '';
    for await (const part of request) body += String(part);
    response.end(body);
  };
  await serving({}, handler, async (served) => {
    const { port, guard, refusals, errors } = served;
    const socket = connect(port, '127.0.0.1');
    socket.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf');
    await until(() => guard.stats().active === 1);
    socket.destroy();
    await until(() => guard.stats().active === 0);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([refusals, errors, statuses(served)], [[], [], [[499, 1]]]);
  });
});

test('an id that the handler gives its response is the only one', async () => {
  const handler: NodeHandler = ({ url }, response) => {
    if (url === '/set') response.setHeader('X.Request', 'its own');
    if (url === '/written') response.writeHead(200, { 'X.Request': 'its own' });
    if (url === '/other') response.setHeader('xarequest', 'x.request: 1');
    response.end();
  };
  await serving({ requestId: { header: 'x.request' } }, handler, async ({ port }) => {
    for (const path of ['/set', '/written'])
      assert.equal((await ask(port, path)).headers['x.request'], 'its own');
    const headers = { 'x.request': 'mine' };
    assert.equal((await ask(port, '/other', { headers })).headers['x.request'], 'mine');
  });
});

test('HTTP/2: a client that resets a stream, or its connection, went away, as its handler is told', async () => {
  const signals: AbortSignal[] = [];
  const gate = bulkhead({ max: 3 });
  const guard = requestGuard<IncomingMessage>({ shed: gate });
  const handler: NodeHandler = async ({ url }, response) => {
    if (url === '/all') {
      response.end('all');
      return;
    }
    signals.push(currentRequest()!.signal);
    if (url === '/half') response.write('half');
  };
  const server = createHttp2(guardNode(guard, handler) as never).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  client.on('error', () => undefined);
  const send = (path: string, method = 'GET') => {
    const stream = client.request({ ':path': path, ':method': method });
    return stream.on('error', () => undefined).resume();
  };
  const counts = () =>
    guard.stats().requests.map(({ method, status, count }) => [method, status, count]);
  try {
    await once(send('/all').end(), 'close');
    // Of this one the body is never read: the server resets it, without an error.
    await once(send('/all', 'POST').end('x'.repeat(10)), 'close');
    const reset = [send('/wait'), send('/half')];
    await until(() => signals.length === 2);
    for (const stream of reset) stream.close(constants.NGHTTP2_CANCEL);
    await until(() => guard.stats().active === 0);
    assert.deepEqual(counts(), [
      ['GET', 200, 1],
      ['POST', 200, 1],
      ['GET', 499, 2],
    ]);
    send('/half');
    await until(() => signals.length === 3);
    client.destroy();
    await until(() => guard.stats().active === 0);
    assert.deepEqual(counts()[2], ['GET', 499, 3]);
    for (const { aborted, reason } of signals)
      assert.deepEqual([aborted, reason.code], [true, 'ERR_CLOSED']);
    assert.equal(gate.stats().running, 0);
  } finally {
    client.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
});

test('a response that somebody else began while the guard asked its store stays that', async () => {
  const limiter = new HangingLimiter();
  const errors: unknown[] = [];
  const guard = requestGuard<IncomingMessage>({
    limit: { limiter: limiter as unknown as ClusterLimiter, key: () => 'all' },
    onError: (error) => void errors.push(error),
  });
  let handled = 0;
  const guarded = guardNode(guard, (_, response) => {
    handled++;
    response.end(' theirs');
  });
  const server = createServer((request, response) => {
    guarded(request, response);
    response.writeHead(200);
    response.write('others');
    limiter.asked[0]!.resolve({ ok: true, retryAfterMs: 0 } as ClusterDecision);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const { status, text } = await ask((server.address() as AddressInfo).port, '/');
    assert.deepEqual([status, text, handled], [200, 'others theirs', 1]);
    await until(() => guard.stats().active === 0);
    assert.deepEqual(errors, []);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

test('what else a handler throws after its time is told, and is no second refusal', async () => {
  const bug = new TypeError('a bug');
  const handler: NodeHandler = async () => {
    await once(currentRequest()!.signal, 'abort');
    throw bug;
  };
  await serving({ deadline: { max: '60s' } }, handler, async ({ port, refusals, errors }) => {
    assert.equal((await ask(port, '/', { headers: { 'grpc-timeout': '30m' } })).status, 504);
    await until(() => errors.length > 0);
    assert.deepEqual(errors, [bug]);
    assert.deepEqual(refusals, ['deadline']);
  });
});

test('a response that has begun in time is no refusal when its time is over; it ends as its handler says', async () => {
  const handler: NodeHandler = async (_, response) => {
    response.write('one ');
    await once(currentRequest()!.signal, 'abort');
    response.end('two');
  };
  await serving({ deadline: { max: '60s' } }, handler, async (served) => {
    const { port, guard, refusals } = served;
    const { status, text } = await ask(port, '/', { headers: { 'grpc-timeout': '30m' } });
    assert.deepEqual([status, text], [200, 'one two']);
    await until(() => guard.stats().active === 0);
    assert.deepEqual(refusals, []);
    assert.equal(guard.stats().refused.deadline, 0);
    assert.deepEqual(statuses(served), [[200, 1]]);
  });
});
