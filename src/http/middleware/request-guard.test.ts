/** What a guard does besides what `frameworks.test.ts` shows: bad options, figures, guards within guards. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import express from 'express';
import fastify from 'fastify';
import { Hono } from 'hono';
import { isQuorateError } from '../../core/errors.ts';
import { seededRandom } from '../../core/random.ts';
import { bulkhead } from '../../resilience/bulkhead.ts';
import { deadline } from '../../resilience/deadline.ts';
import { slidingCounter, tokenBucket } from '../../resilience/limiters.ts';
import { Alone } from '../../resilience/policy.ts';
import { settled, VirtualClock } from '../../testing/virtual-clock.ts';
import {
  currentRequest,
  guardExpress,
  guardFastify,
  guardHono,
  guardNode,
  type RequestGuardOptions,
  requestGuard,
  traceHeaders,
} from './index.ts';
import { leftField, policyField, usedUpField } from './rate-limit-headers.ts';
import { RequestMeter } from './stats.ts';
import { ask } from './test-servers.ts';

const limiter = tokenBucket({ rate: '10/s' });
const key = (): string => 'all';
const BAD: readonly (readonly [string, unknown])[] = [
  ['limit.limiter', { limit: { key } }],
  ['limit.key', { limit: { limiter } }],
  ['limit.cost', { limit: { limiter, key, cost: 3 } }],
  ['limit.name', { limit: { limiter, key, name: '' } }],
  ['limit.name', { limit: { limiter, key, name: 'ü' } }],
  ['limit.name', { limit: { limiter, key, name: 'a\r\nset-cookie: b' } }],
  ['limit.name', { limit: { limiter, key, name: 'x'.repeat(65) } }],
  ['limit.quota', { limit: { limiter, key, quota: 0 } }],
  ['limit.quota', { limit: { limiter, key, quota: Number.NaN } }],
  ['limit.window', { limit: { limiter, key, window: 0 } }],
  ['limit.window', { limit: { limiter, key, window: '10' } }],
  ['shed', { shed: {} }],
  ['shed', { shed: { ...bulkhead({ max: 1 }), enter: () => 0, leave: () => 0 } }],
  ['limit', { limit: '10/s' }],
  ['deadline', { deadline: '10s' }],
  ['priority', { priority: 1 }],
  ['route', { route: '/users' }],
  ['onRefuse', { onRefuse: true }],
  ['onError', { onError: null }],
  ['deadline.max', { deadline: { max: 0 } }],
  ['deadline.max', { deadline: { max: '1s', least: '1s' } }],
  ['deadline.least', { deadline: { least: -1 } }],
  ['requestId.header', { requestId: { header: 'x y' } }],
  ['requestId.header', { requestId: { header: '' } }],
];
for (const [name, options] of BAD) {
  test(`refused: ${name} in ${JSON.stringify(options)}`, () => {
    assert.throws(
      () => requestGuard(options as RequestGuardOptions<unknown>),
      (error) => isQuorateError(error, 'ERR_INVALID_ARGUMENT') && error.message.startsWith(name),
    );
  });
}

test('the fields of the draft hold whole numbers that fit', () => {
  assert.equal(policyField('"a"', 100.9, 60), '"a";q=100;w=60');
  assert.equal(policyField('"a"', 1e30, undefined), '"a";q=999999999999999');
  assert.equal(leftField('"a"', { limit: 5, remaining: 2.99, resetMs: 1001 }), '"a";r=2;t=2');
  assert.equal(leftField('"a"', { limit: 5, remaining: -1, resetMs: 0 }), '"a";r=0;t=0');
  assert.equal(usedUpField('"a"', 3.2, 7), '"a";r=3;t=7');
});

test('durations are put into the buckets of the conventions', () => {
  const meter = new RequestMeter();
  for (const tookMs of [0, 5, 5.1, 10_000, 10_001, -3]) {
    meter.begin();
    meter.end('GET', '/', 200, tookMs);
  }
  const { requests, active } = meter.stats();
  assert.equal(active, 0);
  const { count, durations } = requests[0]!;
  const { boundsMs, counts, sumMs } = durations;
  assert.deepEqual([boundsMs.length, boundsMs[0], boundsMs.at(-1)], [14, 5, 10_000]);
  assert.deepEqual(counts, [3, 1, ...new Array(11).fill(0), 1, 1]);
  assert.equal(count, 6);
  assert.ok(Math.abs(sumMs - 20_011.1) < 1e-6);
});

test('whatever is asked for, the figures stay bounded', () => {
  const meter = new RequestMeter();
  const end = (method: string, route: string | undefined, status: number): void => {
    meter.begin();
    meter.end(method, route, status, 1);
  };
  for (let i = 0; i < 2000; i++) end(`METHOD${i}`, `/r/${i}`, 200);
  end('GET', undefined, 70_000);
  end('GET', undefined, Number.NaN);
  const { requests } = meter.stats();
  assert.equal(new Set(requests.map(({ route }) => route)).size, 500);
  assert.deepEqual([...new Set(requests.map(({ method }) => method))].sort(), ['GET', '_OTHER']);
  assert.equal(
    requests.reduce((sum, { count }) => sum + count, 0),
    2002,
  );
  const other = requests.filter(({ route }) => route === 'other');
  assert.deepEqual(
    other.map(({ method, status, count }) => [method, status, count]),
    [
      ['_OTHER', 200, 1501],
      ['GET', 500, 2],
    ],
  );
});

test('methods that follow each other are told apart', () => {
  const meter = new RequestMeter();
  for (const [method, status] of [
    ['GET', 200],
    ['GET', 404],
    ['POST', 404],
    ['GET', 200],
  ] as const) {
    meter.begin();
    meter.end(method, '/', status, 1);
  }
  assert.deepEqual(
    meter.stats().requests.map(({ method, status, count }) => [method, status, count]),
    [
      ['GET', 200, 2],
      ['GET', 404, 1],
      ['POST', 404, 1],
    ],
  );
});

test('a guard is deterministic with an injected clock and random numbers', async () => {
  const ids = (): string[] => {
    const guard = requestGuard({ clock: new VirtualClock(), random: seededRandom(3) });
    return Array.from({ length: 3 }, () => guard.begin({}, 'GET', {}).requestId);
  };
  assert.deepEqual(ids(), ids());
});

test('a deadline takes no timer of its own where it is that of the service, and leaves none', async () => {
  const clock = new VirtualClock();
  const guard = requestGuard({ clock, deadline: { max: '1s' }, shed: bulkhead({ max: 100 }) });
  const late: number[] = [];
  const begin = (headers = {}) => {
    const request = guard.begin({}, 'GET', headers);
    assert.equal(request.enter(), undefined);
    request.late(0, (_, refuse) => void late.push(refuse().status));
    return request;
  };
  const requests = Array.from({ length: 50 }, () => begin());
  assert.equal(clock.pending, 1);
  const impatient = begin({ 'grpc-timeout': '10m' });
  assert.equal(clock.pending, 2);
  impatient.end(200);
  assert.equal(clock.pending, 1);
  for (const request of requests.slice(1)) request.end(200);
  await clock.advance(999);
  assert.deepEqual(late, []);
  await clock.advance(1);
  assert.deepEqual(late, [504]);
  requests[0]!.end(504);
  assert.equal(clock.pending, 0);
  assert.equal(guard.stats().active, 0);
});

test('an end that comes twice counts once', () => {
  const shed = bulkhead({ max: 1 });
  const guard = requestGuard({ shed });
  const request = guard.begin({}, 'GET', {});
  request.enter();
  request.end(200);
  request.end(500);
  request.gone();
  assert.equal(shed.running, 0);
  assert.equal(guard.stats().requests.length, 1);
  assert.equal(guard.stats().active, 0);
});

test('a request that ends while it waits for its place waits no longer', async () => {
  const shed = bulkhead({ max: 1, queue: 1 });
  const guard = requestGuard({ shed });
  const first = guard.begin({}, 'GET', {});
  first.enter();
  const second = guard.begin({}, 'GET', {});
  const entering = second.enter();
  assert.equal(shed.queued, 1);
  second.end(500);
  assert.equal(shed.queued, 0);
  assert.equal((await entering)?.reason, 'aborted');
  first.end(200);
  assert.equal(shed.running, 0);
});

test('a place that comes at the moment at which its client goes away is given back', async () => {
  const shed = bulkhead({ max: 1, queue: 1 });
  const guard = requestGuard({ shed });
  const first = guard.begin({}, 'GET', {});
  first.enter();
  const second = guard.begin({}, 'GET', {});
  const entering = second.enter();
  first.end(200);
  second.gone();
  second.end(499);
  assert.equal((await entering)?.reason, 'aborted');
  assert.equal(shed.running, 0);
});

test('middleware is made of a guard, not of its options', () => {
  const refused = { code: 'ERR_INVALID_ARGUMENT', message: 'guard: requestGuard({ … }) makes one' };
  for (const given of [{ deadline: { max: '1s' } }, undefined] as never[]) {
    assert.throws(() => guardExpress(given), refused);
    assert.throws(() => guardFastify(given), refused);
    assert.throws(() => guardHono(given), refused);
    assert.throws(() => guardNode(given, () => undefined), refused);
  }
  // @ts-expect-error: a guard whose functions take requests of Express is none for those of Node
  guardNode(requestGuard<express.Request>({}), () => undefined);
  guardNode(requestGuard({ route: () => '/' }), () => undefined);
  assert.throws(() => guardNode(requestGuard({}), undefined as never), {
    message: 'handler: a function is needed',
  });
});

test('a failure of the service is told to policies that judge, a client that leaves is not', () => {
  const ends: string[] = [];
  class Judge extends Alone {
    enter = () => 0;
    leave = (_: unknown, end: string) => ends.push(end);
  }
  const gate = new Judge('judge');
  const guard = requestGuard({ shed: gate as never, clock: new VirtualClock() });
  const play = (end: (request: ReturnType<typeof guard.begin>) => void): void => {
    const request = guard.begin({}, 'GET', {});
    request.enter();
    end(request);
  };
  play((request) => request.end(200));
  play((request) => request.end(404));
  play((request) => request.end(500));
  play((request) => {
    request.gone();
    request.end(499);
  });
  assert.deepEqual(ends, ['success', 'success', 'failure', 'ignored']);
});

test('within another guard the earlier deadline counts, and the trace is the same', () => {
  const clock = new VirtualClock();
  for (const [outerMs, innerMs] of [
    [1000, 5000],
    [5000, 1000],
  ]) {
    const around = requestGuard({ clock, deadline: { max: outerMs } });
    const within = requestGuard({ clock, deadline: { max: innerMs } });
    const outer = around.begin({}, 'GET', {});
    outer.enter();
    const inner = within.begin({}, 'GET', {}, { outer });
    inner.enter();
    assert.equal(inner.remainingMs, 1000);
    assert.equal(inner.requestId, outer.requestId);
    assert.equal(inner.spanId, outer.spanId);
    inner.end(200);
    outer.end(200);
  }
  const outer = requestGuard({ clock, deadline: { max: 7 } }).begin({}, 'GET', {});
  outer.enter();
  const without = requestGuard({ clock }).begin({}, 'GET', {}, { outer });
  assert.equal(without.remainingMs, 7);
});

test('what adapters are not told of is not known: outside of requests there is none', () => {
  assert.equal(currentRequest(), undefined);
  assert.deepEqual(traceHeaders(), {});
});

test('pipelines within a request keep its deadline, and know the request', async () => {
  const clock = new VirtualClock();
  const guard = requestGuard({ clock, deadline: { max: '100ms' } });
  const request = guard.begin({}, 'GET', {});
  request.enter();
  const call = request.run(() =>
    deadline({ after: '10s', clock }).attempt(async ({ remainingMs }) => {
      assert.equal(remainingMs, 100);
      assert.equal(currentRequest()?.requestId, request.requestId);
      await new Promise(() => undefined);
    }),
  );
  await clock.advance(100);
  const outcome = await call;
  assert.equal(!outcome.ok && outcome.reason, 'deadline');
  assert.equal(request.signal.aborted, true);
  request.end(504);
});

test('a policy within it that gives less time knows the request as well', async () => {
  const guard = requestGuard({});
  const request = guard.begin({}, 'GET', {});
  request.enter();
  const seen = await request.run(() =>
    deadline({ after: '10s' }).run(() => currentRequest()?.requestId),
  );
  assert.equal(seen, request.requestId);
  request.end(200);
});

test('a reconfigured limit says so in its headers', () => {
  const changing = slidingCounter({ rate: '5/m' });
  const guard = requestGuard({ limit: { limiter: changing, key, window: '60s' } });
  const policy = (): string | undefined => {
    const headers: Record<string, string> = {};
    const request = guard.begin({}, 'GET', {});
    request.enter();
    request.eachHeader(headers, (all, name, value) => {
      all[name] = value;
    });
    request.end(200);
    return headers['ratelimit-policy'];
  };
  assert.equal(policy(), '"default";q=5;w=60');
  changing.reconfigure({ rate: '9/m' });
  assert.equal(policy(), '"default";q=9;w=60');
});

test('functions of the options that throw break no request', async () => {
  const errors: unknown[] = [];
  const guard = requestGuard({
    limit: { limiter: tokenBucket({ rate: '1/h' }), key },
    onRefuse: () => {
      throw new Error('onRefuse');
    },
    route: () => {
      throw new Error('route');
    },
    onError: (error) => void errors.push((error as Error).message),
  });
  const first = guard.begin({}, 'GET', {});
  assert.equal(first.enter(), undefined);
  first.end(200);
  const second = guard.begin({}, 'GET', {});
  assert.equal((await second.enter())?.status, 429);
  second.end(429);
  assert.deepEqual(errors, ['route', 'onRefuse', 'route']);
  assert.deepEqual(
    guard.stats().requests.map(({ route }) => route),
    ['other', 'other'],
  );
});

test('routes of Express and Fastify are known, and guards within guards share the id', async () => {
  const outer = requestGuard<express.Request>({});
  const inner = requestGuard<express.Request>({ limit: { limiter, key } });
  const app = express();
  app.use(guardExpress(outer));
  const users = express.Router();
  users.get(
    '/:id',
    guardExpress(inner),
    (_, response) => void response.send(currentRequest()!.requestId),
  );
  app.use('/users', users);
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const fast = fastify();
  const guard = requestGuard({});
  await fast.register(guardFastify(guard));
  fast.get('/users/:id', async () => currentRequest()!.requestId);
  await fast.listen({ port: 0, host: '127.0.0.1' });
  try {
    const { port } = server.address() as AddressInfo;
    const answer = await ask(port, '/users/7');
    assert.equal(answer.text, answer.headers['x-request-id']);
    assert.match(String(answer.headers['ratelimit']), /^"default"/);
    await ask(port, '/nowhere');
    const { port: other } = fast.server.address() as AddressInfo;
    await ask(other, '/users/8');
    await ask(other, '/nowhere');
  } finally {
    server.closeAllConnections();
    server.close();
    await fast.close();
  }
  const routes = (stats: typeof outer.stats) =>
    stats().requests.map(({ route, status, count }) => [route, status, count]);
  assert.deepEqual(
    routes(() => outer.stats()),
    [
      ['other', 404, 1],
      ['/users/:id', 200, 1],
    ],
  );
  assert.deepEqual(
    routes(() => inner.stats()),
    [['/users/:id', 200, 1]],
  );
  assert.deepEqual(
    routes(() => guard.stats()),
    [
      ['other', 404, 1],
      ['/users/:id', 200, 1],
    ],
  );
});

test('Hono without a server of Node is guarded as well', async () => {
  const clock = new VirtualClock();
  const guard = requestGuard({
    limit: { limiter: tokenBucket({ rate: '4/h' }), key },
    shed: bulkhead({ max: 1 }),
    deadline: { max: '1s' },
    clock,
  });
  const app = new Hono();
  app.use(guardHono(guard));
  app.get('/users/:id', (c) => c.text(currentRequest()!.requestId));
  app.get('/raw', () => new Response('raw'));
  app.get('/hangs', () => new Promise<Response>(() => undefined));
  app.get('/gone', async (c) => {
    const { signal } = currentRequest()!;
    await once(signal, 'abort');
    return c.text(signal.reason.code);
  });
  const first = await app.request('/users/1');
  assert.equal(await first.text(), first.headers.get('x-request-id'));
  const raw = await app.request('/raw');
  assert.match(raw.headers.get('ratelimit')!, /^"default";r=2;/);
  const hanging = app.request('/hangs');
  await clock.advance(1000);
  assert.equal((await hanging).status, 504);
  const gone = new AbortController();
  const going = app.request('/gone', { signal: gone.signal });
  await settled();
  gone.abort();
  assert.equal(await (await going).text(), 'ERR_CLOSED');
  const refused = await app.request('/raw');
  assert.equal(refused.status, 429);
  assert.equal(refused.headers.get('content-type'), 'application/problem+json');
  const { active, requests } = guard.stats();
  assert.equal(active, 0);
  assert.deepEqual(
    requests.map(({ route, status }) => `${route} ${status}`),
    ['other 429', '/users/:id 200', '/raw 200', '/hangs 504', '/gone 499'],
  );
});

test('an answer in place of the handler has nothing of its content', async () => {
  const guard = requestGuard({});
  const server = createServer(
    guardNode(guard, (_, response) => {
      response.setHeader('etag', '"1"');
      response.setHeader('content-encoding', 'gzip');
      response.setHeader('cache-control', 'max-age=9');
      response.setHeader('access-control-allow-origin', '*');
      throw new Error('after its headers');
    }),
  ).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const warned = once(process, 'warning');
  try {
    const { port } = server.address() as AddressInfo;
    const { status, headers, text } = await ask(port, '/');
    assert.equal(status, 500);
    assert.equal(JSON.parse(text).status, 500);
    assert.equal(headers['access-control-allow-origin'], '*');
    for (const name of ['etag', 'content-encoding', 'cache-control'])
      assert.equal(headers[name], undefined);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  // Without `onError` the process says it.
  assert.match(String((await warned)[0]), /after its headers/);
});

test('a handler of node:http that fails after it has begun to answer is cut off', async () => {
  const errors: unknown[] = [];
  const guard = requestGuard({
    route: ({ url }: { url?: string | undefined }) => url,
    onError: (error) => void errors.push(error),
  });
  const server = createServer(
    guardNode(guard, (_, response) => {
      response.writeHead(200);
      response.write('half');
      throw new Error('in the middle');
    }),
  ).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await assert.rejects(ask((server.address() as AddressInfo).port, '/half'));
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  assert.equal(errors.length, 1);
  assert.deepEqual(
    guard.stats().requests.map(({ route, status }) => [route, status]),
    [['/half', 499]],
  );
});
