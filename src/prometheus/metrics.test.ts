import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { familiesOf, metricText } from '../core/metric-text.ts';
import { openTelemetryMetrics } from '../opentelemetry/index.ts';
import {
  circuitBreaker,
  type Policy,
  pipeline,
  retry,
  timeout,
  workerPool,
} from '../resilience/index.ts';
import { everything } from '../telemetry/figures/test-everything.ts';
import { parse, seriesKey } from '../telemetry/figures/test-exposition.ts';
import { prometheusMetrics } from './index.ts';

/** The value of the one series that has these labels. */
function figureOf(
  families: ReturnType<typeof parse>,
  family: string,
  labels: Readonly<Record<string, string>> = {},
  name = family,
): number {
  const found = families
    .get(family)!
    .samples.filter(
      (sample) =>
        sample.name === name &&
        Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
    );
  assert.equal(found.length, 1, `${name} ${JSON.stringify(labels)}`);
  return found[0]!.value;
}

describe('metrics for Prometheus', () => {
  it('say what stats() says, in base units and under conventional names', async () => {
    const { sources, guard } = await everything();
    const page = parse(prometheusMetrics(sources).text());
    const stats = guard.stats();
    assert.equal(stats.calls, 4);
    const ofStock = { pipeline: 'stock' };
    const calls = (outcome: string): number =>
      figureOf(page, 'quorate_pipeline_calls_total', { ...ofStock, outcome });
    assert.equal(calls('success'), stats.successes);
    assert.equal(calls('failed'), stats.failures);
    assert.equal(calls('open'), stats.rejections.open);
    const seconds = 'quorate_pipeline_duration_seconds';
    assert.equal(figureOf(page, seconds, ofStock, `${seconds}_count`), 4);
    const sum = figureOf(page, seconds, ofStock, `${seconds}_sum`);
    assert.ok(Math.abs(sum - stats.durations.sumMs / 1000) < 1e-9);
    assert.equal(figureOf(page, seconds, { ...ofStock, le: '0.025' }, `${seconds}_bucket`), 3);
    assert.equal(figureOf(page, 'quorate_hedge_hedges_total', ofStock), 1);
    assert.equal(figureOf(page, 'quorate_retry_retries_total', ofStock), 1);
    const state = (name: string): number =>
      figureOf(page, 'quorate_breaker_state', { ...ofStock, state: name });
    assert.deepEqual(['closed', 'open', 'half-open', 'isolated'].map(state), [0, 1, 0, 0]);
    assert.equal(figureOf(page, 'quorate_concurrency_limit', { policy: 'bulkhead' }), 10);
    assert.equal(figureOf(page, 'quorate_limit_calls_total', { result: 'allowed' }), 4);
    assert.equal(figureOf(page, 'quorate_pool_tasks_total', { pool: 'mails', end: 'refused' }), 1);
    assert.equal(figureOf(page, 'quorate_pool_tasks_total', { pool: 'mails', end: 'done' }), 2);
    const wait = 'quorate_pool_wait_seconds';
    assert.equal(figureOf(page, wait, { pool: 'mails' }, `${wait}_count`), 2);
    assert.equal(figureOf(page, 'quorate_degrade_mean_seconds', { policy: 'prices' }), 0.03);
    assert.equal(figureOf(page, 'http_server_active_requests'), 1);
    const http = 'http_server_request_duration_seconds';
    const ok = { http_request_method: 'GET', http_route: '/items/:id' };
    const answered = { ...ok, http_response_status_code: '200' };
    assert.equal(figureOf(page, http, answered, `${http}_count`), 1);
    assert.equal(figureOf(page, http, { ...answered, le: '0.025' }, `${http}_bucket`), 1);
    assert.equal(figureOf(page, 'quorate_telemetry_other'), 0);
  });

  it('have no counter that goes back, whatever happens between two readings', async () => {
    const { sources, guard, prices, pool, takes, play } = await everything();
    const metrics = prometheusMetrics(sources);
    const counters = (): Map<string, number> => {
      const all = [...parse(metrics.text())].flatMap(([, { type, samples }]) =>
        type === 'gauge' ? [] : samples.map((one) => [seriesKey(one), one.value] as const),
      );
      return new Map(all);
    };
    let before = counters();
    assert.ok(before.size > 50);
    for (let round = 0; round < 20; round++) {
      await play(guard.attempt(takes(round * 100)));
      await play(prices.attempt(takes(10)));
      await play(pool.submit(takes(5)));
      if (round === 7) guard.reconfigure({ retry: { attempts: 5 }, breaker: { consecutive: 9 } });
      const now = counters();
      for (const [key, value] of before) assert.ok(now.get(key)! >= value, key);
      before = now;
    }
  });

  it('escape what users call things', () => {
    const name = 'a "quoted" \\ back\\nslash\nand a line, {le="1"} ä';
    const page = prometheusMetrics({ pipelines: [pipeline(name, [timeout('1s')])] }).text();
    assert.equal(figureOf(parse(page), 'quorate_pipeline_running', { pipeline: name }), 0);
    const open = prometheusMetrics({ pipelines: [pipeline(name, [timeout('1s')])] });
    const families = parse(open.text('openmetrics'), 'openmetrics');
    assert.equal(figureOf(families, 'quorate_pipeline_running', { pipeline: name }), 0);
  });

  it('escape help, and write what is no finite number', () => {
    const metric = { name: 'm', type: 'gauge', help: 'a\\b\n"c"' } as const;
    const values = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e21, 0.1];
    const metrics = values.map((value, index) => {
      return { ...metric, value, labels: { n: `${index}` } };
    });
    for (const format of ['text', 'openmetrics'] as const) {
      const { help, samples } = parse(metricText(familiesOf(metrics), format), format).get('m')!;
      assert.equal(help, metric.help);
      assert.equal(samples[0]!.value, Number.POSITIVE_INFINITY);
      assert.equal(samples[2]!.value, 1e21);
    }
  });

  it('have as many series as there may be, and add up the others', async () => {
    const guards = [...Array(7).keys()].map((n) => pipeline(`p${n}`, [timeout('1s')]));
    const metrics = prometheusMetrics({ pipelines: guards, maxSeries: 3 });
    for (const guard of guards) await guard.run(() => 1);
    let page = parse(metrics.text());
    const names = (family: string): unknown[] => [
      ...new Set(page.get(family)!.samples.map(({ labels }) => labels.pipeline)),
    ];
    assert.deepEqual(names('quorate_pipeline_running'), ['p0', 'p1', 'p2', 'other']);
    const seconds = 'quorate_pipeline_duration_seconds';
    const count = (label: string): number =>
      figureOf(page, seconds, { pipeline: label }, `${seconds}_count`);
    assert.deepEqual([count('p2'), count('other')], [1, 4]);
    assert.equal(page.get(seconds)!.samples.length, 4 * 18);
    // Of calls there is one series for each outcome: the three that came first, and those of the others together.
    const calls = page.get('quorate_pipeline_calls_total')!.samples;
    assert.ok(calls.length <= 3 + 10);
    assert.equal(
      calls.reduce((sum, { value }) => sum + value, 0),
      7,
    );
    assert.ok(figureOf(page, 'quorate_telemetry_other') > 0);
    // Who had a name keeps it, whoever comes before him now.
    guards.unshift(pipeline('early', [timeout('1s')]));
    page = parse(metrics.text());
    assert.deepEqual(names('quorate_pipeline_running'), ['other', 'p0', 'p1', 'p2']);
  });

  it('add up what has the same name', async () => {
    const pools = [1, 2].map((size) => workerPool({ size, name: 'same' }));
    const [one] = pools;
    await one!.submit(() => 1);
    const page = parse(prometheusMetrics({ pools }).text());
    assert.equal(figureOf(page, 'quorate_pool_size', { pool: 'same' }), 3);
    assert.equal(figureOf(page, 'quorate_pool_submitted_total', { pool: 'same' }), 1);
  });

  it('have the highest of gauges that do not add up', async () => {
    const bad = () => Promise.reject(new Error('bad'));
    const policies = [1, 2].map(() => circuitBreaker({ name: 'same', failureRate: 1 }));
    for (const policy of policies) await policy.attempt(bad);
    await policies[0]!.run(() => 1);
    const page = parse(prometheusMetrics({ policies }).text());
    assert.equal(figureOf(page, 'quorate_breaker_failure_ratio', { policy: 'same' }), 1);
    assert.equal(figureOf(page, 'quorate_breaker_state', { state: 'closed' }), 2);
  });

  it('cut names that are very long', () => {
    const policies = [timeout('1s', { name: 'x'.repeat(1_000_000) })];
    const page = prometheusMetrics({ policies }).text();
    assert.ok(page.length < 2000);
    const policy = 'x'.repeat(256);
    assert.equal(figureOf(parse(page), 'quorate_timeout_exceeded_total', { policy }), 0);
  });

  it('look at lists anew each time', () => {
    const policies: Policy[] = [];
    const metrics = prometheusMetrics({ policies });
    assert.equal(parse(metrics.text()).size, 1);
    policies.push(timeout('1s', { name: 'late' }));
    assert.equal(figureOf(parse(metrics.text()), 'quorate_timeout_exceeded_total'), 0);
  });

  it('are served by node:http, as OpenMetrics where that is asked for', async () => {
    const { sources } = await everything();
    const metrics = prometheusMetrics(sources);
    const server = createServer(metrics.handler);
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`;
      const plain = await fetch(url);
      assert.equal(plain.headers.get('content-type'), metrics.contentType);
      const wanted = parse(await plain.text());
      const accept = 'application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1';
      const open = await fetch(url, { headers: { accept } });
      assert.match(open.headers.get('content-type')!, /^application\/openmetrics-text; version=1/);
      const page = parse(await open.text(), 'openmetrics');
      assert.deepEqual(
        [...page.keys()],
        [...wanted.keys()].map((name) => name.replace(/_total$/, '')),
      );
      assert.equal(page.get('quorate_pipeline_duration_seconds')!.unit, 'seconds');
      const head = await fetch(url, { method: 'HEAD' });
      assert.equal(await head.text(), '');
      assert.equal(Number(head.headers.get('content-length')), Buffer.byteLength(metrics.text()));
      const post = await fetch(url, { method: 'POST', body: 'x' });
      assert.deepEqual([post.status, post.headers.get('allow')], [405, 'GET, HEAD']);
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => void server.close(resolve));
    }
  });

  it('refuse what is no list when they are made, not when somebody asks', () => {
    const one = pipeline('one', [retry()]);
    const pool = workerPool({ size: 1 });
    const wrong: readonly [unknown, string][] = [
      [{ pipelines: one }, 'pipelines: a registry, or a list of pipelines, is needed'],
      [{ pipelines: { one } }, 'pipelines: a registry, or a list of pipelines, is needed'],
      [{ pipelines: null }, 'pipelines: a registry, or a list of pipelines, is needed'],
      [{ pools: pool }, 'pools: a list is needed'],
      [{ policies: { one } }, 'policies: a list is needed'],
      [{ http: {} }, 'http: a list is needed'],
      [undefined, 'options: an object is needed, such as { pipelines }'],
    ];
    for (const [sources, message] of wrong) {
      const refused = { code: 'ERR_INVALID_ARGUMENT', message };
      assert.throws(() => prometheusMetrics(sources as never), refused);
      assert.throws(() => openTelemetryMetrics({} as never, sources as never), refused);
    }
  });

  it('refuse a number of series that is none', () => {
    for (const maxSeries of [0, -1, 1.5, Number.NaN, 1e7]) {
      assert.throws(() => prometheusMetrics({ maxSeries }), { code: 'ERR_INVALID_ARGUMENT' });
    }
  });

  it('answer with 500 and a warning where a source throws, and the process goes on', async () => {
    const pools: { name: string; stats(): never }[] = [];
    const metrics = prometheusMetrics({ pools });
    const server = createServer(metrics.handler).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`;
    const status = async (): Promise<number> => {
      const response = await fetch(url);
      await response.text();
      return response.status;
    };
    try {
      pools.push({
        name: 'mails',
        stats: () => {
          throw new Error('no figures of mails');
        },
      });
      const warned = once(process, 'warning');
      assert.equal(await status(), 500);
      assert.match(String((await warned)[0]), /no figures of mails/);
      pools.pop();
      assert.equal(await status(), 200);
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  });
});
