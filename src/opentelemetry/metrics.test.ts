import assert from 'node:assert/strict';
import { channel } from 'node:diagnostics_channel';
import { describe, it } from 'node:test';
import { DataPointType, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import { pipeline, timeout } from '../resilience/index.ts';
import { everything } from '../telemetry/figures/test-everything.ts';
import { openTelemetryMetrics } from './index.ts';

/** Collects when it is told to. */
class Reader extends MetricReader {
  protected override onShutdown(): Promise<void> {
    return Promise.resolve();
  }
  protected override onForceFlush(): Promise<void> {
    return Promise.resolve();
  }

  async read() {
    const { resourceMetrics, errors } = await this.collect();
    assert.deepEqual(errors, []);
    const metrics = resourceMetrics.scopeMetrics.flatMap((scope) => scope.metrics);
    return new Map(metrics.map((metric) => [metric.descriptor.name, metric]));
  }
}

function withReader() {
  const reader = new Reader();
  const provider = new MeterProvider({ readers: [reader] });
  return { reader, meter: provider.getMeter('test'), provider };
}

type Read = Awaited<ReturnType<Reader['read']>>;

function valueAt(read: Read, name: string, attributes: object): unknown {
  const points = read.get(name)?.dataPoints ?? [];
  return points.find((point) => {
    return Object.entries(attributes).every(([key, value]) => point.attributes[key] === value);
  })?.value;
}

describe('metrics for OpenTelemetry', () => {
  it('reach a reader of the SDK, with units and kinds', async () => {
    const { reader, meter, provider } = withReader();
    const { sources, guard } = await everything();
    const exported = openTelemetryMetrics(meter, sources);
    const read = await reader.read();
    const stats = guard.stats();
    const ofStock = { 'quorate.pipeline': 'stock' };
    const calls = { ...ofStock, 'quorate.outcome': 'success' };
    assert.equal(valueAt(read, 'quorate.pipeline.calls', calls), stats.successes);
    const { descriptor, dataPointType, ...counter } = read.get('quorate.pipeline.calls')!;
    assert.equal(descriptor.unit, '{call}');
    assert.equal(dataPointType, DataPointType.SUM);
    assert.equal('isMonotonic' in counter && counter.isMonotonic, true);
    const running = read.get('quorate.pipeline.running')!;
    assert.equal('isMonotonic' in running && running.isMonotonic, false);
    assert.equal(read.get('quorate.breaker.failure_ratio')!.dataPointType, DataPointType.GAUGE);
    const open = { ...ofStock, 'quorate.state': 'open' };
    assert.equal(valueAt(read, 'quorate.breaker.state', open), 1);
    const mails = { 'quorate.pool': 'mails' };
    assert.equal(valueAt(read, 'quorate.pool.run.count', mails), 2);
    const seconds = valueAt(read, 'quorate.pool.run.sum', mails);
    assert.ok(Math.abs(Number(seconds) - 0.003) < 1e-9);
    exported.close();
    await provider.shutdown();
  });

  it('have the durations of calls as a histogram, of the pipelines asked for', async () => {
    const { reader, meter, provider } = withReader();
    const { sources, guard, takes, play } = await everything();
    const exported = openTelemetryMetrics(meter, { ...sources, maxSeries: 1 });
    guard.reconfigure({ breaker: { consecutive: 100 } });
    await pipeline('elsewhere', [timeout('1s')]).run(() => 1);
    await play(guard.attempt(takes(20)));
    const { descriptor, dataPoints } = (await reader.read()).get('quorate.pipeline.duration')!;
    assert.equal(descriptor.unit, 's');
    assert.equal(dataPoints.length, 1);
    assert.deepEqual(dataPoints[0]!.attributes, { 'quorate.pipeline': 'stock' });
    const value = dataPoints[0]!.value as { count: number; buckets: { boundaries: number[] } };
    assert.equal(value.count, 1);
    assert.deepEqual(value.buckets.boundaries.slice(0, 3), [0.001, 0.005, 0.01]);
    sources.pipelines.pipeline('further', [timeout('1s')]);
    await sources.pipelines.get('further').run(() => 1);
    const points = (await reader.read()).get('quorate.pipeline.duration')!.dataPoints;
    assert.deepEqual(
      points.map(({ attributes }) => attributes['quorate.pipeline']),
      ['stock', 'other'],
    );
    exported.close();
    await provider.shutdown();
  });

  it('have the durations of requests by the convention for them', async () => {
    const { reader, meter, provider } = withReader();
    const { sources, requests } = await everything();
    const exported = openTelemetryMetrics(meter, sources);
    requests.end('GET', '/items/:id', 200, 80);
    requests.begin();
    const { descriptor, dataPoints } = (await reader.read()).get('http.server.request.duration')!;
    assert.equal(descriptor.unit, 's');
    assert.equal(dataPoints.length, 1);
    assert.deepEqual(dataPoints[0]!.attributes, {
      'http.request.method': 'GET',
      'http.route': '/items/:id',
      'http.response.status_code': 200,
    });
    const value = dataPoints[0]!.value as { sum: number; buckets: { boundaries: number[] } };
    assert.equal(value.sum, 0.08);
    assert.equal(value.buckets.boundaries[0], 0.005);
    exported.close();
    await provider.shutdown();
  });

  it('are not exported any more once closed, and nobody listens then', async () => {
    const { reader, meter, provider } = withReader();
    const { sources, guard } = await everything();
    const ends = channel('quorate:call:end');
    assert.equal(ends.hasSubscribers, false);
    const exported = openTelemetryMetrics(meter, sources);
    assert.equal(ends.hasSubscribers, true);
    assert.ok((await reader.read()).size > 20);
    exported.close();
    exported.close();
    assert.equal(ends.hasSubscribers, false);
    // The SDK shows what it was told last.
    const before = guard.stats();
    await guard.attempt(() => 1);
    assert.equal(guard.stats().calls, before.calls + 1);
    const { dataPoints } = (await reader.read()).get('quorate.pipeline.calls')!;
    const shown = dataPoints.reduce((sum, { value }) => sum + Number(value), 0);
    assert.equal(shown, before.calls);
    await provider.shutdown();
  });
});
