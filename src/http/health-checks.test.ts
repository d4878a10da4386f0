import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { QuorateError } from '../core/errors.ts';
import { memoryKv } from '../kv/index.ts';
import { circuitBreaker, workerPool } from '../resilience/index.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import {
  breakerCheck,
  type CheckOptions,
  type HealthChange,
  healthChecks,
  loopDelayCheck,
  poolCheck,
  quorumCheck,
} from './index.ts';

test('without checks a process is alive, started and ready', async () => {
  const health = healthChecks();
  for (const scope of ['live', 'startup', 'ready'] as const) {
    assert.deepEqual(await health.report(scope), { status: 'ok', draining: false, checks: {} });
  }
});

test('a result counts for as long as it is cached, a bad one too', async () => {
  const clock = new VirtualClock();
  let looks = 0;
  const check = async () => {
    if (++looks === 2) throw new Error('gone');
  };
  const health = healthChecks({ clock, checks: { db: { check, cacheFor: '2s' } } });
  assert.equal((await health.report('ready')).status, 'ok');
  await clock.advance(1_999);
  const { checks } = await health.report('ready');
  assert.deepEqual(checks['db'], { status: 'up', critical: true, tookMs: 0, ageMs: 1_999 });
  assert.equal(looks, 1);
  await clock.advance(1);
  assert.equal((await health.report('ready')).status, 'failed');
  await clock.advance(1_000);
  assert.equal((await health.report('ready')).status, 'failed');
  assert.equal(looks, 2);
  await clock.advance(1_000);
  assert.equal((await health.report('ready')).status, 'ok');
});

test('probes that come together share one look', async () => {
  const clock = new VirtualClock();
  let looks = 0;
  const gate = Promise.withResolvers<void>();
  const check = () => {
    looks++;
    return gate.promise;
  };
  const health = healthChecks({ clock, checks: { db: { check, cacheFor: 0 } } });
  const reports = Array.from({ length: 50 }, () => health.report('ready'));
  await settled();
  gate.resolve();
  for (const { status } of await Promise.all(reports)) assert.equal(status, 'ok');
  assert.equal(looks, 1);
  assert.equal(clock.pending, 0);
});

test('a check that hangs is down after its timeout, and is not begun a second time while it hangs', async () => {
  const clock = new VirtualClock();
  let looks = 0;
  let aborted = false;
  const gates: PromiseWithResolvers<void>[] = [];
  const check = ({ signal }: { signal: AbortSignal }) => {
    looks++;
    signal.addEventListener('abort', () => (aborted = true), { once: true });
    gates.push(Promise.withResolvers());
    return gates.at(-1)!.promise;
  };
  const health = healthChecks({
    clock,
    checks: { db: { check, timeout: '500ms', cacheFor: '100ms' } },
  });
  const first = health.report('ready');
  await clock.advance(500);
  const { status, checks } = await first;
  assert.equal(status, 'failed');
  assert.equal(checks['db']?.message, 'did not end within 500 ms');
  assert.ok(aborted);
  await clock.advance(1_000);
  const later = await health.report('ready');
  assert.equal(later.checks['db']?.message, 'began 1500 ms ago and has not ended');
  assert.equal(looks, 1);

  // It ended at last: how does not matter any more, and it can be looked at again.
  gates[0]!.reject(new Error('too late'));
  await clock.advance(100);
  const third = health.report('ready');
  await settled();
  gates[1]!.resolve();
  assert.equal((await third).status, 'ok');
  assert.equal(looks, 2);
  assert.equal(clock.pending, 0);
});

test('what is optional degrades, what is critical fails', async () => {
  const bad = () => ({ ok: false, message: 'lags by 30 s' });
  const optional = healthChecks({ checks: { cache: { check: bad, critical: false } } });
  const report = await optional.report('ready');
  assert.equal(report.status, 'degraded');
  assert.equal(report.checks['cache']?.message, 'lags by 30 s');
  const critical = healthChecks({ checks: { cache: bad } });
  assert.equal((await critical.report('ready')).status, 'failed');
  assert.equal((await critical.report('live')).status, 'ok', 'a restart would not help');
});

test('startup that succeeded once is so for ever; until then nothing is ready', async () => {
  const clock = new VirtualClock();
  let loaded = false;
  let looks = 0;
  const check = () => {
    looks++;
    return { ok: loaded };
  };
  const checks: Record<string, CheckOptions> = {
    cache: { check, scope: 'startup', cacheFor: 0 },
    extra: { check: () => ({ ok: false }), scope: 'startup', critical: false },
  };
  const health = healthChecks({ clock, checks });
  assert.equal((await health.report('startup')).status, 'failed');
  assert.equal((await health.report('ready')).status, 'failed');
  assert.equal((await health.report('live')).status, 'ok');
  loaded = true;
  assert.equal((await health.report('startup')).status, 'degraded');
  loaded = false;
  const before = looks;
  assert.equal((await health.report('startup')).status, 'ok');
  assert.equal((await health.report('ready')).status, 'ok');
  assert.equal(looks, before);
});

test('once it drains it is never ready again, also for a probe that is under way', async () => {
  const gate = Promise.withResolvers<void>();
  const health = healthChecks({ checks: { db: () => gate.promise } });
  const report = health.report('ready');
  health.drain();
  gate.resolve();
  assert.equal((await report).status, 'failed');
  assert.deepEqual(await health.report('live'), { status: 'ok', draining: true, checks: {} });
});

test('who asks sees no stack, no message of a driver; onChange has the whole error, once a change', async () => {
  const changes: HealthChange[] = [];
  const error = Object.assign(new Error('postgres://admin:hunter2@db refused'), {
    code: 'ECONNREFUSED',
  });
  let thrown: unknown = error;
  const clock = new VirtualClock();
  const health = healthChecks({
    clock,
    onChange: (change) => changes.push(change),
    checks: {
      db: {
        cacheFor: 0,
        check: () => {
          throw thrown;
        },
      },
    },
  });
  const shown = async () => (await health.report('ready')).checks['db']?.message;
  assert.equal(await shown(), 'ECONNREFUSED');
  thrown = new RangeError('a secret');
  assert.equal(await shown(), 'RangeError');
  thrown = new QuorateError('ERR_NO_LEADER', 'no leader is known');
  assert.equal(await shown(), 'ERR_NO_LEADER: no leader is known');
  thrown = 'a secret';
  assert.equal(await shown(), 'failed');
  assert.deepEqual(changes, [{ check: 'db', status: 'down', message: 'ECONNREFUSED', error }]);
});

test('a log that is broken, or an error that cannot be read, keeps nobody from an answer', async () => {
  const unreadable = Object.defineProperty({}, 'code', {
    get: () => {
      throw new Error('no');
    },
  });
  const health = healthChecks({
    clock: new VirtualClock(),
    onChange: () => {
      throw new Error('the log is broken');
    },
    checks: { one: () => Promise.reject(unreadable), other: () => undefined },
  });
  const warned = once(process, 'warning');
  const { checks } = await health.report('ready');
  assert.deepEqual(
    Object.values(checks).map(({ status, message }) => [status, message]),
    [
      ['down', 'failed'],
      ['up', undefined],
    ],
  );
  assert.match(String((await warned)[0]), /the log is broken/);
});

test('over HTTP: 200 or 503 as JSON that nobody keeps, HEAD without a body, other methods refused', async (t) => {
  const health = healthChecks({ checks: { db: () => ({ ok: true, message: 'fine' }) } });
  const server = createServer({ rejectNonStandardBodyWrites: true }, (request, response) => {
    if (!health.handle(request, response)) response.writeHead(404).end('none');
  });
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const get = (path: string, method = 'GET') =>
    fetch(url + path, { method, headers: { connection: 'close' } });

  const ready = await get('/readyz');
  assert.equal(ready.status, 200);
  assert.equal(ready.headers.get('cache-control'), 'no-store');
  assert.match(ready.headers.get('content-type')!, /^application\/json/);
  assert.deepEqual(await ready.json(), { status: 'ok' });
  const verbose = (await (await get('/readyz?verbose')).json()) as Record<string, never>;
  assert.equal(verbose['checks']!['db']!['message'], 'fine');
  const head = await get('/livez', 'HEAD');
  assert.equal(head.headers.get('content-length'), '15');
  assert.equal(await head.text(), '');
  assert.equal((await get('/startupz')).status, 200);
  const posted = await get('/readyz', 'POST');
  assert.equal(posted.status, 405);
  assert.equal(posted.headers.get('allow'), 'GET, HEAD');
  assert.equal(await (await get('/readyz/x')).text(), 'none');

  health.drain();
  const draining = await get('/readyz');
  assert.equal(draining.status, 503);
  assert.deepEqual(await draining.json(), { status: 'failed', draining: true });
  assert.equal((await get('/livez')).status, 200);
});

test('a probe that something else has answered meanwhile is left alone', async (t) => {
  const looked = Promise.withResolvers<void>();
  const health = healthChecks({ checks: { slow: () => looked.promise } });
  const server = createServer((request, response) => {
    health.handle(request, response);
    response.writeHead(503).end('too slow');
    looked.resolve();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}/readyz`);
  assert.deepEqual([response.status, await response.text()], [503, 'too slow']);
  await health.report('ready');
});

test('checks that are ready made: quorum, breaker, pool, loop', async () => {
  const kv = memoryKv();
  const breaker = circuitBreaker();
  const pool = workerPool({ size: 1 });
  let lateMs = 10;
  const health = healthChecks({
    checks: {
      quorum: { check: quorumCheck({ kv }), cacheFor: 0 },
      stock: { check: breakerCheck(breaker), cacheFor: 0 },
      mails: { check: poolCheck(pool, { maxWaiting: 2 }), cacheFor: 0 },
      loop: { check: loopDelayCheck({ read: () => lateMs }, '100ms'), cacheFor: 0 },
    },
  });
  const standing = async () => {
    const { checks } = await health.report('ready');
    return Object.values(checks).map(({ status }) => status);
  };
  assert.deepEqual(await standing(), ['up', 'up', 'up', 'up']);
  breaker.open();
  lateMs = 101;
  const gate = Promise.withResolvers<void>();
  for (let task = 0; task < 3; task++) pool.go(() => gate.promise);
  await kv.close();
  assert.deepEqual(await standing(), ['down', 'down', 'down', 'down']);
  gate.resolve();
  await pool.drain();
});

test('what cannot be is refused', () => {
  const wrong: (() => unknown)[] = [
    () => healthChecks({ checks: { a: 5 as never } }),
    () => healthChecks({ checks: { a: undefined as never } }),
    () => healthChecks({ checks: { a: { check: () => 1, timeout: 0 } } }),
    () => healthChecks({ checks: { a: { check: () => 1, timeout: Number.NaN } } }),
    () => healthChecks({ checks: { a: { check: () => 1, cacheFor: -1 } } }),
    () => healthChecks({ checks: { a: { check: () => 1, scope: 'alive' as never } } }),
    () => healthChecks({ onChange: 'x' as never }),
    () => poolCheck({ stats: () => ({ queued: 0, blocked: 0 }) }, { maxWaiting: 0 }),
    () => loopDelayCheck({ read: () => 0 }, Number.NaN),
    () => loopDelayCheck({ read: () => 0 }, 0),
  ];
  for (const make of wrong) assert.throws(make, { code: 'ERR_INVALID_ARGUMENT' });
});
