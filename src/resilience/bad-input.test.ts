/** What cannot be is refused where it is said, by a message that says which option it was and what is needed. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { memoryKv } from '../kv/memory-kv.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { adaptive } from './adaptive.ts';
import { constantBackoff, decorrelatedBackoff, exponentialBackoff } from './backoff.ts';
import { circuitBreaker } from './breaker/circuit-breaker.ts';
import { kvHints } from './breaker/kv-hints.ts';
import { bulkhead } from './bulkhead.ts';
import { deadline, withDeadline } from './deadline.ts';
import { degrade } from './degrade.ts';
import { fallback } from './fallback.ts';
import { hedge } from './hedge.ts';
import { LatencyWindow } from './latency.ts';
import { limit } from './limit.ts';
import { fixedWindow, slidingCounter, slidingWindow, tokenBucket } from './limiters.ts';
import { loopDelay } from './loop-delay.ts';
import { pipeline, pipelineRegistry } from './pipeline.ts';
import { Alone } from './policy.ts';
import { workerPool } from './pools/worker-pool.ts';
import { retry } from './retry.ts';
import { retryBudget } from './retry-budget.ts';
import { shed } from './shed.ts';
import { timeout } from './timeout.ts';

type Case = readonly [make: () => unknown, message: string];

const NO_DURATION = "use milliseconds, or text such as '500ms', '30s' or '1m30s'";
const none = undefined as never;

function check(cases: readonly Case[]): void {
  for (const [make, message] of cases) {
    assert.throws(make, { name: 'QuorateError', code: 'ERR_INVALID_ARGUMENT', message }, message);
  }
}

const rate = '10/s';
const ANOTHER_COPY =
  'a policy of another copy of this package; see that there is one (npm ls quorate)';
const RATE_NEEDED =
  "a positive amount in a time is needed, such as '100/s', '10/30s' or { limit: 5000, period: '1h' }";

describe('what cannot be is refused, and it says why:', () => {
  it('limiters', () => {
    const rates: Case[] = [];
    for (const bad of ['0/s', '10', '10/w', '-1/s', 'x/s', '1.5.5/s', '10/s/s', '1/0.0000001ms'])
      rates.push([() => tokenBucket({ rate: bad }), `rate: '${bad}'; ${RATE_NEEDED}`]);
    for (const bad of [
      { limit: 0, period: '1s' },
      { limit: -1, period: '1s' },
      { limit: 1, period: 0 },
      { limit: 1, period: '367d' },
      'null',
      7,
    ]) {
      const given = bad === 'null' ? null : bad;
      rates.push([
        () => tokenBucket({ rate: given as never }),
        `rate: ${JSON.stringify(given)}; ${RATE_NEEDED}`,
      ]);
    }
    check(rates);
    check([
      [() => tokenBucket(none), 'options: a rate is needed'],
      [() => tokenBucket(null as never), 'options: a rate is needed'],
      [() => tokenBucket('10/s' as never), 'options: a rate is needed'],
      [() => tokenBucket({ rate: '10/s.s' }), `rate: '10/s.s'; ${RATE_NEEDED}`],
      [
        () => tokenBucket({ rate: { limit: 1, period: Number.NaN } }),
        `rate.period: NaN is no duration; ${NO_DURATION}`,
      ],
      [
        () => tokenBucket({ rate: '10/30x' }),
        `rate: "30x" is no duration; use text with a unit, such as '500ms', '30s' or '1m30s'`,
      ],
    ]);
    const burst = 'a number of at least 1 is needed, or nothing could be taken';
    for (const bad of [0, 0.5, Number.POSITIVE_INFINITY, Number.NaN])
      check([[() => tokenBucket({ rate, burst: bad }), `burst: ${bad}; ${burst}`]]);
    tokenBucket({ rate, burst: 1 });
    const noBurst = 'burst: windows have none, it is for token buckets';
    for (const make of [slidingWindow, slidingCounter, fixedWindow])
      check([[() => make({ rate, burst: 2 } as never), noBurst]]);
    for (const bad of [1.5, 100_001]) {
      const need = 'a whole number up to 100000 is needed, see slidingCounter';
      check([
        [
          () => slidingWindow({ rate: { limit: bad, period: 1000 } }),
          `rate: ${bad} a window; ${need}`,
        ],
      ]);
    }
    slidingWindow({ rate: '100000/s' });
    for (const name of ['maxKeys', 'maxWaiting']) {
      for (const bad of [0, -1, 1.5, Number.NaN, 2 ** 24 + 1]) {
        const message = `${name}: ${bad}; a whole number from 1 to 16777216 is needed`;
        check([[() => tokenBucket({ rate, [name]: bad }), message]]);
      }
      for (const fine of [1, 2 ** 24]) tokenBucket({ rate, [name]: fine });
    }
    for (const period of ['366d', 1e-6]) tokenBucket({ rate: { limit: 1, period } });
  });

  it('questions to limiters', async () => {
    const bucket = tokenBucket({ rate, clock: new VirtualClock() });
    const key = 'x'.repeat(1025);
    const hash = 'up to 1024 characters are possible, take a hash of it';
    const cost = 'above 0 and up to 10 is needed, more is never free at once';
    const sliding = slidingWindow({ rate, clock: new VirtualClock() });
    check([
      [() => bucket.allow(key), `key: 1025 characters; ${hash}`],
      [() => bucket.allow(7 as never), `key: no text but number; ${hash}`],
      [() => bucket.allow('', 0), `cost: 0; a number ${cost}`],
      [() => bucket.allow('', 11), `cost: 11; a number ${cost}`],
      [() => bucket.allow('', '1' as never), `cost: 1; a number ${cost}`],
      [() => bucket.reserve('', { cost: Number.NaN }), `cost: NaN; a number ${cost}`],
      [() => sliding.allow('', 1.5), `cost: 1.5; a whole number ${cost}`],
      [() => sliding.reserve('', { cost: 0.5 }), `cost: 0.5; a whole number ${cost}`],
      [() => bucket.reserve('', { maxWait: -1 }), `maxWait: -1 is no duration; ${NO_DURATION}`],
    ]);
    await assert.rejects(bucket.wait('', { cost: 11 }), { message: `cost: 11; a number ${cost}` });
    await assert.rejects(bucket.wait(key), { message: `key: 1025 characters; ${hash}` });
    await assert.rejects(bucket.wait('', { maxWait: -1 }), { code: 'ERR_INVALID_ARGUMENT' });
    assert.equal(bucket.allow('x'.repeat(1024)).ok, true);
    assert.equal(bucket.allow('', 0.5).ok, true);
    assert.equal(bucket.usage().remaining.toFixed(6), '9.500000', 'nothing else was taken');
    const needed = "limiter: a limiter is needed, such as tokenBucket({ rate: '100/s' })";
    check([
      [() => limit(bucket, { maxWait: -1 }), `maxWait: -1 is no duration; ${NO_DURATION}`],
      [() => limit({ rate } as never), needed],
      [() => limit(none), needed],
    ]);
  });

  it('breakers', () => {
    const share = 'a share above 0 and up to 1 is needed';
    const cases: [Parameters<typeof circuitBreaker>[0], string][] = [
      [{ consecutive: 0 }, 'consecutive: 0; a whole number of at least 1 is needed'],
      [{ failureRate: 0 }, `failureRate: 0; ${share}`],
      [{ failureRate: '0.5' as never }, `failureRate: 0.5; ${share}`],
      [{ slow: { over: 0, rate: 0.5 } }, 'slow.over: 0; a number above 0 is needed'],
      [{ slow: { over: 1, rate: 1.5 } }, `slow.rate: 1.5; ${share}`],
      [{ slow: { over: 1, rate: '1' as never } }, `slow.rate: 1; ${share}`],
      [{ mean: 0 }, 'mean: 0; a number above 0 is needed'],
      [{ mean: -1 }, `mean: -1 is no duration; ${NO_DURATION}`],
      [{ window: { calls: 0 } }, 'window.calls: 0; a whole number of at least 1 is needed'],
      [
        { window: { calls: 2 ** 20 + 1 } },
        'window.calls: 1048577; a number from 1 to 1048576 is needed',
      ],
      [
        { window: { time: 1, slices: 1 } },
        'window.slices: 1; a whole number of at least 2 is needed',
      ],
      [
        { window: { time: 1, slices: 1001 } },
        'window.slices: 1001; a number from 2 to 1000 is needed',
      ],
      [{ window: { time: 0 } }, 'window.time: 0; a number above 0 is needed'],
      [{ minCalls: 0 }, 'minCalls: 0; a whole number of at least 1 is needed'],
      [{ window: { calls: 5 }, minCalls: 6 }, 'minCalls: 6; a number from 1 to 5 is needed'],
      [{ open: 0 }, 'open: 0; a number above 0 is needed'],
      [{ open: { first: 0 } }, 'open.first: 0; a number above 0 is needed'],
      [{ open: { first: 5, max: 0 } }, 'open.max: 0; a number above 0 is needed'],
      [{ open: { first: 5, max: 4 } }, 'open.max: 4 ms; it is less than open.first, 5 ms'],
      [
        { open: { first: 5, factor: 0.5 } },
        `open.factor: 0.5; a number from 1 to ${Number.MAX_VALUE} is needed`,
      ],
      [{ open: { first: 5, jitter: 2 } }, 'open.jitter: 2; a number from 0 to 1 is needed'],
      [
        { open: { first: 5, jitter: '0' as never } },
        'open.jitter: 0; a number from 0 to 1 is needed',
      ],
      [{ trial: { calls: 0 } }, 'trial.calls: 0; a whole number of at least 1 is needed'],
      [{ trial: { successes: 0 } }, 'trial.successes: 0; a whole number of at least 1 is needed'],
      [{ trial: { calls: 2, successes: 3 } }, 'trial.successes: 3 of 2 trial calls cannot succeed'],
      [{ trial: { concurrent: 0 } }, 'trial.concurrent: 0; a whole number of at least 1 is needed'],
      [{ trial: { within: 0 } }, 'trial.within: 0; a number above 0 is needed'],
      [{ isFailure: 1 as never }, 'isFailure: number; a function is needed'],
      [{ isBadValue: 'x' as never }, 'isBadValue: string; a function is needed'],
      [
        { hints: { shared: { tell: () => undefined, listen: () => () => undefined }, quorum: 0 } },
        'hints.quorum: 0; a whole number of at least 1 is needed',
      ],
    ];
    check(cases.map(([options, message]) => [() => circuitBreaker(options), message]));
    circuitBreaker({ window: { calls: 2 ** 20 } });
    circuitBreaker({
      window: { time: 1, slices: 1000 },
      failureRate: 1,
      open: { first: 5, max: 5, factor: 1, jitter: 1 },
    });
  });

  it('hints', async () => {
    await using kv = memoryKv();
    const name = "a name without '/' is needed";
    check([
      [() => kvHints(kv, { instance: '' }), `instance: ""; ${name}`],
      [() => kvHints(kv, { instance: 'a/b' }), `instance: "a/b"; ${name}`],
      [() => kvHints(kv, { instance: 5 as never }), `instance: 5; ${name}`],
      [() => kvHints(kv, { instance: 'a', prefix: 5 as never }), 'prefix: a text is needed'],
      [() => kvHints(kv, { instance: 'a', lasts: 0 }), 'lasts: 0; a number above 0 is needed'],
      [() => kvHints(kv, { instance: 'a', lasts: -1 }), `lasts: -1 is no duration; ${NO_DURATION}`],
    ]);
  });

  it('timeouts, deadlines, retries, hedges', () => {
    const late = 'so that every call would be too late';
    const reasons = 'failed, timeout, open, limited, full, shed, deadline, unavailable';
    const kinds = 'backoff: a function is needed, or a kind: constant, exponential or decorrelated';
    check([
      [() => timeout(0), `after: 0, ${late}`],
      [() => timeout(-1), `after: -1 is no duration; ${NO_DURATION}`],
      [() => deadline({ after: 5, least: 5 }), `after: 5 ms, not above least (5 ms), ${late}`],
      [() => deadline({ after: -1 }), `after: -1 is no duration; ${NO_DURATION}`],
      [() => deadline({ least: -1 }), `least: -1 is no duration; ${NO_DURATION}`],
      [() => withDeadline(-1, () => 1), `after: -1 is no duration; ${NO_DURATION}`],
      [() => retry({ attempts: 0 }), 'attempts: 0; a whole number of at least 1 is needed'],
      [() => retry({ attempts: 1.5 }), 'attempts: 1.5; a whole number of at least 1 is needed'],
      [
        () => retry({ retryOn: ['often' as never] }),
        `retryOn: 'often' is no reason; there are ${reasons}`,
      ],
      [() => retry({ maxRetryAfter: -1 }), `maxRetryAfter: -1 is no duration; ${NO_DURATION}`],
      [() => retry({ backoff: { kind: 'other' } as never }), kinds],
      [() => constantBackoff(-1), `delay: -1 is no duration; ${NO_DURATION}`],
      [() => constantBackoff(1, { jitter: -1 }), `jitter: -1 is no duration; ${NO_DURATION}`],
      [() => exponentialBackoff({ base: -1 }), `base: -1 is no duration; ${NO_DURATION}`],
      [() => exponentialBackoff({ max: -1 }), `max: -1 is no duration; ${NO_DURATION}`],
      [() => decorrelatedBackoff({ base: 5, max: 4 }), 'max: 4 ms, which is below base, 5 ms'],
      [() => exponentialBackoff({ factor: 0.5 }), 'factor: 0.5; a number of at least 1 is needed'],
      [
        () => exponentialBackoff({ jitter: 'some' as never }),
        "jitter: some; 'full' or 'none' is needed",
      ],
      [
        () => retryBudget({ perSecond: -1 }),
        'perSecond: -1; a whole number of at least 0 is needed',
      ],
      [() => retryBudget({ share: -1 }), 'share: -1; a number from 0 to 1 is needed'],
      [
        () => retryBudget({ perSecond: 5, burst: 4 }),
        'burst: 4; a whole number of at least 5 is needed',
      ],
      [() => hedge({ after: 0 }), 'after: 0, so that each call would be made twice'],
      [() => hedge({ after: -1 }), `after: -1 is no duration; ${NO_DURATION}`],
      [() => hedge({ after: null as never }), `after: null is no duration; ${NO_DURATION}`],
      [() => hedge({ after: 5, max: 0 }), 'max: 0; a whole number of at least 1 is needed'],
      [
        () => hedge({ after: { percentile: 101, initially: 5 } }),
        'after.percentile: 101; a number from 0 to 100 is needed',
      ],
      [
        () => hedge({ after: { percentile: 0, initially: 5 } }),
        'after.percentile: 0; a number between 0 and 100 is needed',
      ],
      [
        () => hedge({ after: { percentile: 100, initially: 5 } }),
        'after.percentile: 100; a number between 0 and 100 is needed',
      ],
      [
        () => hedge({ after: { percentile: 95, initially: -1 } }),
        `after.initially: -1 is no duration; ${NO_DURATION}`,
      ],
      [
        () => hedge({ after: { percentile: 95, initially: 5, least: -1 } }),
        `after.least: -1 is no duration; ${NO_DURATION}`,
      ],
      [
        () => hedge({ after: { percentile: 95, initially: 5, least: 0 } }),
        'after.least: 0, so that calls could be made twice at once',
      ],
    ]);
    retry({ attempts: Number.POSITIVE_INFINITY });
  });

  it('a backoff that returns no pause', async () => {
    for (const pause of [-1, Number.NaN]) {
      const message = `backoff: it returned ${pause}; milliseconds from 0 are needed`;
      const calls = retry({ backoff: () => pause });
      await assert.rejects(
        calls.run(() => Promise.reject(new Error('bad'))),
        { code: 'ERR_INVALID_ARGUMENT', message },
      );
    }
  });

  it('places, shedding, fallbacks, degradations, measurements', () => {
    const whole = (least: number) => `a whole number of at least ${least} is needed`;
    const target = 'more than 0 and less than interval';
    check([
      [() => bulkhead({ max: 0 }), `max: 0; ${whole(1)}`],
      [() => bulkhead({ max: 1, queue: -1 }), `queue: -1; ${whole(0)}`],
      [() => adaptive({ min: 0 }), `min: 0; ${whole(1)}`],
      [() => adaptive({ max: 0 }), `max: 0; ${whole(1)}`],
      [() => adaptive({ min: 5, max: 4 }), 'max: 4, which is below min, 5'],
      [() => adaptive({ queue: -1 }), `queue: -1; ${whole(0)}`],
      [() => adaptive({ min: 5, initial: 4 }), `initial: 4; ${whole(5)}`],
      [() => adaptive({ max: 5, initial: 6 }), 'initial: 6, more than max, 5'],
      [() => shed({}), 'max: one of max and probe is needed, or nothing says what is too much'],
      [() => shed({ probe: 5 as never }), 'probe: a function is needed'],
      [() => shed({ max: 0 }), `max: 0; ${whole(1)}`],
      [() => shed({ max: 1, queue: -1 }), `queue: -1; ${whole(0)}`],
      [() => shed({ max: 1, target: 0 }), `target: 0 ms; ${target}, 200 ms, is needed`],
      [() => shed({ max: 1, target: 9, interval: 9 }), `target: 9 ms; ${target}, 9 ms, is needed`],
      [() => shed({ max: 1, target: -1 }), `target: -1 is no duration; ${NO_DURATION}`],
      [() => shed({ max: 1, interval: -1 }), `interval: -1 is no duration; ${NO_DURATION}`],
      [() => shed({ max: 1, levels: 0 }), 'levels: 0; a whole number from 1 to 100 is needed'],
      [() => shed({ max: 1, levels: 101 }), 'levels: 101; a whole number from 1 to 100 is needed'],
      [() => fallback(1, { on: 5 as never }), 'on: number; a function is needed'],
      [
        () => fallback(1).reconfigure({} as never),
        'answer: a value is needed, or a function that makes it',
      ],
      [() => degrade({} as never), 'fallback: a value or a function is needed'],
      [
        () => degrade({ fallback: 1, mode: 'maybe' as never }),
        'mode: maybe; auto, on or off is needed',
      ],
      [() => degrade({ fallback: 1, window: 0 }), 'window.time: 0; a number above 0 is needed'],
      [
        () => degrade({ fallback: 1, errorRate: 1 }),
        'failureRate: 1; a share of at least 0 and below 1 is needed',
      ],
      [
        () => degrade({ fallback: 1, errorRate: '0' as never }),
        'failureRate: 0; a share of at least 0 and below 1 is needed',
      ],
      [() => loopDelay({ every: 0 }), 'every: 0; a time between two looks is needed'],
      [() => loopDelay({ every: -1 }), `every: -1 is no duration; ${NO_DURATION}`],
      [() => new LatencyWindow({ window: 0 }), 'window: 0, so that nothing would be in it'],
      [() => new LatencyWindow({ window: -1 }), `window: -1 is no duration; ${NO_DURATION}`],
      [
        () => new LatencyWindow({ slices: 1 }),
        'slices: 1; a whole number from 2 to 1000 is needed',
      ],
      [
        () => new LatencyWindow({ slices: 1001 }),
        'slices: 1001; a whole number from 2 to 1000 is needed',
      ],
      [
        () => new LatencyWindow().percentileMs(101),
        'percent: 101; a number from 0 to 100 is needed',
      ],
    ]);
    for (const fine of [2, 1000]) new LatencyWindow({ slices: fine });
    shed({ max: 1, levels: 100 });
    adaptive({ min: 5, max: 5, initial: 5 });
  });

  it('options that were forgotten', () => {
    check([
      [() => shed(none), 'max: one of max and probe is needed, or nothing says what is too much'],
      [() => hedge(none), `after: undefined is no duration; ${NO_DURATION}`],
      [() => degrade(none), 'fallback: a value or a function is needed'],
      [() => workerPool(none), 'size: undefined; a whole number of at least 1 is needed'],
    ]);
  });

  it('work that is no function: no policy hears of it', async () => {
    const breaker = circuitBreaker({ consecutive: 1 });
    const stock = pipeline('stock', [retry({ attempts: 3 }), breaker]);
    const begun = Promise.resolve(7) as never;
    const message =
      'work: a promise, so that it has begun already; a function is needed, such as () => fetch(url)';
    const wrong = { name: 'QuorateError', code: 'ERR_INVALID_ARGUMENT', message };
    await assert.rejects(stock.run(begun), wrong);
    await assert.rejects(breaker.run(begun), wrong);
    const outcome = await stock.attempt(begun);
    assert.deepEqual([outcome.ok, !outcome.ok && outcome.reason], [false, 'failed']);
    assert.throws(() => {
      if (!outcome.ok) throw outcome.error;
    }, wrong);
    await assert.rejects(stock.run(none), {
      message: 'work: undefined; a function is needed, such as () => fetch(url)',
    });
    assert.equal(breaker.state, 'closed');
    assert.equal(stock.stats().calls, 0);
  });

  it('pools of workers', () => {
    const whole = (least: number) => `a whole number of at least ${least} is needed`;
    const open = (options: object) => () => workerPool({ size: 1, ...options });
    check([
      [open({ size: 0 }), `size: 0; ${whole(1)}`],
      [open({ queue: { max: -1 } }), `queue.max: -1; ${whole(0)}`],
      [
        open({ queue: { full: 'maybe' } }),
        'queue.full: maybe; one of wait, reject, drop-oldest, run-in-caller is needed',
      ],
      [open({ ageing: -1 }), `ageing: -1 is no duration; ${NO_DURATION}`],
      [open({ timeout: -1 }), `timeout: -1 is no duration; ${NO_DURATION}`],
      [open({ timeout: 0 }), 'timeout: 0, so that every task would be too late'],
      [open({ policy: {} }), 'policy: is none'],
      [open({ onError: 5 }), 'onError: a function is needed'],
    ]);
    assert.equal(workerPool({ size: 1 }).name, 'pool');
  });

  it('pipelines and registries', () => {
    const one = pipeline('one', [timeout(5), bulkhead({ max: 1 }), new Fixed()]);
    const guards = pipelineRegistry();
    const get = (name: string) => () => guards.get(name);
    check([
      [() => pipeline('', [timeout(5)]), 'name: a text is needed'],
      [() => pipeline(5 as never, [timeout(5)]), 'name: a text is needed'],
      [() => pipeline('p', []), "pipeline 'p': a list of policies is needed"],
      [() => pipeline('p', timeout(5) as never), "pipeline 'p': a list of policies is needed"],
      [
        () => pipeline('p', [timeout(5), bulkhead({ max: 1 }), timeout(5)]),
        "pipeline 'p': each policy needs a name of its own, these are timeout, bulkhead, timeout",
      ],
      [() => pipeline('p', [one]), "pipeline 'p': a pipeline; use its policies"],
      [() => pipeline('p', [null as never]), "pipeline 'p': no policy"],
      [() => pipeline('p', [{ run: 5 } as never]), "pipeline 'p': no policy"],
      [
        () => pipeline('p', [tokenBucket({ rate }) as never]),
        "pipeline 'p': a limiter is no policy; limit(limiter) is one",
      ],
      [() => pipeline('p', [{ ...new Fixed() } as never]), `pipeline 'p': ${ANOTHER_COPY}`],
      [() => pipeline('p', [{ around: () => 0 } as never]), `pipeline 'p': ${ANOTHER_COPY}`],
      [
        () => one.reconfigure({ other: {} }),
        "pipeline 'one' has no policy 'other'; it has timeout, bulkhead, fixed",
      ],
      [
        () => one.reconfigure({ fixed: {} }),
        "pipeline 'one': the policy 'fixed' cannot be changed",
      ],
      [
        () => one.reconfigure({ timeout: 5 as never }),
        "pipeline 'one': the rules of 'timeout' are no object",
      ],
      [
        () => one.reconfigure({ timeout: null as never }),
        "pipeline 'one': the rules of 'timeout' are no object",
      ],
      [
        () => one.reconfigure({ timeout: { afer: 5 } }),
        "pipeline 'one': 'timeout' has no rule 'afer'; it has after",
      ],
      [
        () => one.reconfigure({ bulkhead: { max: 2, que: 5 } }),
        "pipeline 'one': 'bulkhead' has no rule 'que'; it has max, queue",
      ],
      [() => one.reconfigure(none), "pipeline 'one': the changes are no object"],
      [() => guards.reconfigure(null as never), 'the changes are no object'],
      [get('a'), "there is no pipeline 'a'; there are none"],
    ]);
    guards.pipeline('stock', [timeout(5)]);
    guards.pipeline('price', [timeout(5)]);
    check([
      [get('a'), "there is no pipeline 'a'; there are stock, price"],
      [() => guards.pipeline('stock', [timeout(5)]), "there is a pipeline 'stock' already"],
      [
        () => guards.reconfigure({ stock: { timeout: { after: 1 } }, a: {} }),
        "there is no pipeline 'a'; there are stock, price",
      ],
    ]);
  });
});

/** A gate without rules. */
class Fixed extends Alone {
  readonly enter = (): number => 0;
  readonly leave = (): undefined => undefined;

  constructor() {
    super('fixed');
  }
}
