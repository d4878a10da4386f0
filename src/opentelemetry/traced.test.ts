import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { after, before, beforeEach, describe, it } from 'node:test';
import {
  type Context,
  type ContextManager,
  context,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import {
  AlwaysOffSampler,
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import {
  bulkhead,
  circuitBreaker,
  hedge,
  limit,
  pipeline,
  retry,
  timeout,
  tokenBucket,
} from '../resilience/index.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { traced } from './index.ts';

/** As the package `@opentelemetry/context-async-hooks` has it. */
class Contexts implements ContextManager {
  readonly #storage = new AsyncLocalStorage<Context>();

  active(): Context {
    return this.#storage.getStore() ?? ROOT_CONTEXT;
  }
  with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    inside: Context,
    run: F,
    self?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> {
    return this.#storage.run(inside, () => run.apply(self, args));
  }
  bind<T>(_context: Context, target: T): T {
    return target;
  }
  enable(): this {
    return this;
  }
  disable(): this {
    return this;
  }
}

const exporter = new InMemorySpanExporter();
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
const tracer = provider.getTracer('test');

function spans(name?: string): ReadableSpan[] {
  return exporter.getFinishedSpans().filter((span) => name === undefined || span.name === name);
}

describe('a span around calls', () => {
  before(() => void context.setGlobalContextManager(new Contexts()));
  after(async () => {
    context.disable();
    await provider.shutdown();
  });
  beforeEach(() => exporter.reset());

  it('is the active one while the work runs, and a child of the one around the call', async () => {
    const guard = pipeline('stock', [
      traced(tracer, { span: 'stock.read', kind: 'client', attributes: { shop: 'north' } }),
      bulkhead({ max: 1, queue: 1 }),
      timeout('1s'),
    ]);
    await tracer.startActiveSpan('request', async (request) => {
      const work = async () => {
        await Promise.resolve();
        tracer.startSpan('query').end();
        return 7;
      };
      // The second has its turn when the first has ended, and is still its own.
      assert.deepEqual(await Promise.all([guard.run(work), guard.run(work)]), [7, 7]);
      request.end();
    });
    const [request] = spans('request');
    const calls = spans('stock.read');
    assert.equal(calls.length, 2);
    for (const call of calls) {
      assert.equal(call.parentSpanContext?.spanId, request!.spanContext().spanId);
      assert.equal(call.kind, SpanKind.CLIENT);
      assert.equal(call.status.code, SpanStatusCode.UNSET);
      assert.deepEqual(call.attributes, { shop: 'north', 'quorate.outcome': 'success' });
    }
    assert.deepEqual(
      spans('query').map((query) => query.parentSpanContext?.spanId),
      calls.map((call) => call.spanContext().spanId),
    );
  });

  it('has an event for each further attempt, and the status of the last', async () => {
    const guard = pipeline('stock', [
      traced(tracer, { span: 'call' }),
      retry({ attempts: 3, backoff: { kind: 'constant', delay: 0 } }),
      traced(tracer, { span: 'attempt', name: 'each' }),
    ]);
    const work = (): never => {
      throw new RangeError('out of stock');
    };
    await assert.rejects(guard.run(work), RangeError);
    const [call] = spans('call');
    assert.deepEqual(
      call!.events.map(({ name, attributes }) => [name, attributes?.['quorate.attempt']]),
      [
        ['quorate.retry', 2],
        ['quorate.retry', 3],
        ['exception', undefined],
      ],
    );
    assert.deepEqual(call!.events[0]!.attributes, {
      'quorate.policy': 'retry',
      'quorate.attempt': 2,
      'quorate.pause_ms': 0,
      'quorate.reason': 'failed',
      'error.type': 'RangeError',
    });
    assert.deepEqual(call!.status, { code: SpanStatusCode.ERROR, message: 'out of stock' });
    assert.equal(call!.attributes['error.type'], 'RangeError');
    const attempts = spans('attempt');
    assert.deepEqual(
      attempts.map(({ attributes }) => attributes['quorate.attempt']),
      [undefined, 2, 3],
    );
    for (const one of attempts) {
      assert.equal(one.parentSpanContext?.spanId, call!.spanContext().spanId);
      assert.deepEqual(
        one.events.map(({ name }) => name),
        ['exception'],
      );
    }
  });

  it('has an event for an attempt beside the first', async () => {
    const clock = new VirtualClock();
    const guard = pipeline('stock', [
      traced(tracer, { span: 'call' }),
      hedge({ after: 50, clock }),
    ]);
    const running = guard.run(({ attempt, signal }) => {
      if (attempt === 2) return 'second';
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
    });
    await clock.advance(60);
    assert.equal(await running, 'second');
    const [call] = spans('call');
    assert.deepEqual(call!.events[0]!.attributes, {
      'quorate.policy': 'hedge',
      'quorate.attempt': 2,
    });
    assert.equal(call!.attributes['quorate.outcome'], 'success');
  });

  it('says which policy refused, without an exception', async () => {
    const guard = pipeline('stock', [
      traced(tracer, { span: 'call' }),
      limit(tokenBucket({ rate: '1/h' }), { name: 'per hour' }),
    ]);
    await guard.run(() => 1);
    const outcome = await guard.attempt(() => 1);
    assert.equal(!outcome.ok && outcome.reason, 'limited');
    const [, refused] = spans('call');
    assert.deepEqual(refused!.attributes, {
      'quorate.outcome': 'limited',
      'quorate.policy': 'per hour',
      'error.type': 'limited',
    });
    assert.deepEqual(refused!.status, { code: SpanStatusCode.ERROR, message: 'per hour: limited' });
    assert.deepEqual(refused!.events, []);
  });

  it('is no error where the caller gave up, and ends with the work', async () => {
    const guard = traced(tracer, { span: 'call' });
    const stop = new AbortController();
    let fail: (error: Error) => void = () => undefined;
    const work = () => new Promise<never>((_, reject) => (fail = reject));
    const running = guard.run(work, { signal: stop.signal });
    stop.abort(new Error('enough'));
    await assert.rejects(running, /enough/);
    assert.deepEqual(spans(), []);
    fail(new Error('too late'));
    await new Promise((resolve) => setImmediate(resolve));
    const [call] = spans('call');
    assert.equal(call!.attributes['quorate.outcome'], 'aborted');
    assert.equal(call!.status.code, SpanStatusCode.UNSET);
  });

  it('is ended by a timeout around it as that says', async () => {
    const clock = new VirtualClock();
    const guard = pipeline('stock', [timeout(10, { clock }), traced(tracer, { span: 'call' })]);
    const running = guard.attempt(({ signal }) => {
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
    });
    await clock.advance(20);
    assert.equal((await running).ok, false);
    const [call] = spans('call');
    assert.equal(call!.attributes['error.type'], 'ERR_TIMEOUT');
    assert.equal(call!.status.code, SpanStatusCode.ERROR);
  });

  it('hides no end from the policies inside it', async () => {
    const clock = new VirtualClock();
    const breaker = circuitBreaker({ consecutive: 1, clock });
    const guard = pipeline('stock', [
      timeout(10, { clock }),
      traced(tracer, { span: 'call' }),
      breaker,
    ]);
    const late = guard.attempt(() => new Promise(() => undefined));
    await clock.advance(20);
    assert.equal((await late).ok, false);
    assert.equal(breaker.state, 'open');
  });

  it('costs nothing but itself where it is not sampled, and children are not either', async () => {
    const off = new BasicTracerProvider({
      sampler: new AlwaysOffSampler(),
      spanProcessors: [new SimpleSpanProcessor(exporter)],
    });
    const guard = traced(off.getTracer('test'), { span: 'call' });
    let watched: unknown;
    const active = await guard.run((call) => {
      watched = (call as { watcher?: unknown }).watcher;
      return trace.getActiveSpan();
    });
    assert.equal(active!.isRecording(), false);
    assert.equal(watched, undefined);
    assert.deepEqual(spans(), []);
    await off.shutdown();
  });

  it('refuses what is no tracer, no name, no kind', () => {
    const code = { code: 'ERR_INVALID_ARGUMENT' };
    assert.throws(() => traced({} as never, { span: 'x' }), code);
    assert.throws(() => traced(tracer, { span: '' }), code);
    assert.throws(() => traced(tracer, { span: 'x', kind: 'outer' as never }), code);
  });
});
