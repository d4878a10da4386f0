import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { adaptive } from './adaptive.ts';
import { circuitBreaker } from './breaker/circuit-breaker.ts';
import { bulkhead } from './bulkhead.ts';
import { deadline } from './deadline.ts';
import { degrade } from './degrade.ts';
import { fallback } from './fallback.ts';
import { hedge } from './hedge.ts';
import { limit } from './limit.ts';
import { tokenBucket } from './limiters.ts';
import { pipeline, pipelineRegistry } from './pipeline.ts';
import type { Policy } from './policy.ts';
import { retry } from './retry.ts';
import { shed } from './shed.ts';
import { timeout } from './timeout.ts';

const INVALID = { code: 'ERR_INVALID_ARGUMENT' };

describe('a pipeline', () => {
  it('tells what became of its calls, and how long they took', async () => {
    const clock = new VirtualClock();
    const limiter = tokenBucket({ rate: '5/s', clock });
    const guard = pipeline('stock', [timeout(100, { clock }), limit(limiter)], { clock });
    const takes = (ms: number) => () =>
      new Promise<void>((resolve) => void clock.after(ms, resolve));
    const calls = [
      guard.attempt(takes(50)),
      guard.attempt(takes(20)),
      guard.attempt(takes(500)),
      guard.attempt(() => Promise.reject(new Error('bad'))),
    ];
    const stop = new AbortController();
    calls.push(guard.attempt(takes(60), { signal: stop.signal }));
    await settled();
    assert.equal(guard.stats().running, 4);
    const refused = await guard.attempt(takes(1));
    assert.equal(!refused.ok && refused.reason, 'limited');
    stop.abort(new Error('enough'));
    await clock.advance(1000);
    await Promise.all(calls);
    const { latency, rejections, durations, ...counters } = guard.stats();
    assert.deepEqual(counters, { calls: 6, successes: 3, failures: 1, aborted: 0, running: 0 });
    assert.deepEqual(rejections, {
      limited: 1,
      open: 0,
      full: 0,
      shed: 0,
      timeout: 1,
      deadline: 0,
      unavailable: 0,
    });
    assert.equal(latency.count, 6);
    // Of 0, 0, 20, 50, 60 and 100 ms, in buckets up to 1, 5, 10, 25, 50, 75 and 100 ms.
    assert.deepEqual(durations.counts.slice(0, 8), [2, 0, 0, 1, 1, 1, 1, 0]);
    assert.equal(durations.sumMs, 230);
    assert.equal(latency.meanMs, (50 + 20 + 100 + 60) / 6);
    assert.ok(Math.abs(latency.p99Ms! - 100) < 1.6);
  });

  it('is named by the errors of its policies, wherever in it they are', async () => {
    const clock = new VirtualClock();
    const limiter = tokenBucket({ rate: '1/m', clock });
    const [never, once] = [new Promise<void>(() => undefined), timeout('1s', { clock })];
    const cases = [
      [pipeline('stock', [once], { clock }), 'stock: timeout: it took too long'],
      [
        pipeline('price', [once, retry({ attempts: 1, clock }), bulkhead({ max: 1 })], { clock }),
        'price: bulkhead: all places are taken, and so are those in the queue',
      ],
      [
        pipeline('mail', [limit(limiter), retry({ attempts: 1, clock })], { clock }),
        /^mail: limit: the limit is used up; again in \d+ ms$/,
      ],
    ] as const;
    for (const [guard, message] of cases) {
      void guard.attempt(() => never);
      const call = assert.rejects(
        guard.run(() => never),
        { name: 'QuorateError', message },
      );
      if (guard.name === 'stock') await clock.advance('1s');
      await call;
    }
    const alone = assert.rejects(
      once.run(() => never),
      { message: 'timeout: it took too long' },
    );
    await clock.advance('1s');
    await alone;
  });

  it('changes all policies that are named, or none', async () => {
    const clock = new VirtualClock();
    const places = bulkhead({ max: 1, queue: 1 });
    const guard = pipeline('stock', [timeout('1s', { clock }), places], { clock });
    const never = () => new Promise(() => undefined);
    const changes = { timeout: { after: 10 }, bulkhead: { max: 0 } };
    for (const bad of [
      changes,
      { ...changes, bulkhead: null as never },
      { timeout: { after: 10 }, limit: {} },
    ]) {
      assert.throws(() => guard.reconfigure(bad), INVALID);
    }
    const old = guard.attempt(never);
    const queued = guard.attempt(never);
    await clock.advance(500);
    assert.deepEqual([places.running, places.queued], [1, 1], 'nothing was changed');
    guard.reconfigure({ timeout: { after: 10 }, bulkhead: { max: 3 } });
    assert.deepEqual([places.running, places.queued], [2, 0], 'who waits is let in');
    const quick = guard.attempt(never);
    await clock.advance(10);
    assert.equal((await quick).ok, false);
    assert.equal(guard.stats().running, 2, 'those that had begun keep their time');
    await clock.advance(490);
    await Promise.all([old, queued]);
    assert.equal(guard.stats().rejections.timeout, 3);
  });

  it('lets a bulkhead run empty to fewer places', async () => {
    const places = bulkhead({ max: 3, queue: 5 });
    const ends: (() => void)[] = [];
    const calls = [1, 2, 3, 4].map(() =>
      places.run(() => new Promise<void>((end) => void ends.push(end))),
    );
    places.reconfigure({ max: 1, queue: 0 });
    assert.throws(() => places.reconfigure({ max: 1, queue: -1 }), INVALID);
    await settled();
    for (const running of [2, 1]) {
      ends.shift()!();
      await settled();
      assert.deepEqual([places.running, places.queued], [running, 1]);
    }
    ends.shift()!();
    await settled();
    assert.deepEqual([places.running, places.queued], [1, 0]);
    ends.shift()!();
    await Promise.all(calls);
    assert.equal(places.running, 0);
  });

  it('refuses what is no pipeline', () => {
    const one = timeout('1s');
    const made = pipeline('inner', [one]);
    for (const bad of [[], [one, timeout('2s')], [null], [{}], [made], undefined]) {
      assert.throws(() => pipeline('p', bad as never), INVALID);
    }
    assert.throws(() => pipeline('', [one]), INVALID);
    const named = pipeline('p', [one, timeout('2s', { name: 'each' })]);
    assert.deepEqual(
      named.policies.map(({ name }) => name),
      ['timeout', 'each'],
    );
  });
});

describe('a registry of pipelines', () => {
  it('finds and changes them by name, all or none', async () => {
    const clock = new VirtualClock();
    const guards = pipelineRegistry({ clock });
    const stock = guards.pipeline('stock', [timeout('1s', { clock })]);
    guards.pipeline('price', [timeout('1s', { clock })]);
    assert.equal(guards.get('stock'), stock);
    assert.throws(() => guards.get('other'), /there are stock, price/);
    assert.throws(() => guards.pipeline('stock', [timeout('1s')]), INVALID);
    const bad = { stock: { timeout: { after: 5 } }, other: { timeout: { after: 5 } } };
    assert.throws(() => guards.reconfigure(bad), INVALID);
    const run = stock.attempt(() => new Promise(() => undefined));
    await clock.advance(999);
    assert.equal(guards.stats()['stock']!.running, 1, 'the old rules stay');
    await clock.advance(1);
    await run;
    guards.reconfigure({ stock: { timeout: { after: 5 } } });
    const quick = stock.attempt(() => new Promise(() => undefined));
    await clock.advance(5);
    await quick;
    assert.equal(guards.stats()['stock']!.rejections.timeout, 2);
    assert.equal(guards.stats()['price']!.calls, 0);
  });
});

it('a pipeline knows the rules of each kind of policy, and refuses others', () => {
  const breakerRules =
    'consecutive, window, failureRate, slow, mean, minCalls, open, trial, isFailure, isBadValue';
  const known: readonly (readonly [Policy, string])[] = [
    [adaptive(), 'min, max, queue, isOverload'],
    [circuitBreaker(), breakerRules],
    [bulkhead({ max: 1 }), 'max, queue'],
    [deadline(), 'after, least'],
    [degrade({ fallback: 1 }), 'errorRate, mean, minCalls, open, trial, isFailure, isBadValue, on'],
    [fallback(1), 'answer, on'],
    [hedge({ after: 1 }), 'after, max, budget'],
    [limit(tokenBucket({ rate: '1/s' })), 'rate, burst'],
    [retry(), 'attempts, backoff, retryOn, isBadValue, maxRetryAfter, budget'],
    [shed({ max: 1 }), 'max, queue, probe, target, interval'],
    [timeout(1), 'after'],
  ];
  const guard = pipeline(
    'all',
    known.map(([policy]) => policy),
  );
  for (const [{ name }, rules] of known) {
    assert.throws(() => guard.reconfigure({ [name]: { other: 1 } }), {
      ...INVALID,
      message: `pipeline 'all': '${name}' has no rule 'other'; it has ${rules}`,
    });
  }
});
