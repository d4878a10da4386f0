import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { seededRandom } from '../../core/random.ts';
import { settled, VirtualClock } from '../../testing/virtual-clock.ts';
import { bulkhead } from '../bulkhead.ts';
import { Rejection } from '../outcome.ts';
import { retry } from '../retry.ts';
import { type Gate, sectionOf, type Wrap } from '../section.ts';
import { timeout } from '../timeout.ts';
import { type CircuitBreaker, circuitBreaker } from './circuit-breaker.ts';
import type { BreakerChange, BreakerOptions, BreakerRules } from './options.ts';
import type { Permit } from './permit.ts';

function open(options: BreakerOptions = {}) {
  const clock = new VirtualClock();
  const changes: BreakerChange[] = [];
  const breaker = circuitBreaker({
    consecutive: 2,
    open: 1000,
    clock,
    random: seededRandom(1),
    onStateChange: (change) => changes.push(change),
    ...options,
  });
  return { clock, breaker, changes };
}

function permitOf(breaker: CircuitBreaker): Permit {
  const permit = breaker.allow();
  assert.ok(permit.ok, 'it was to be let in');
  return permit;
}

function refusalOf(breaker: CircuitBreaker): Rejection {
  const refusal = breaker.allow();
  assert.ok(!refusal.ok, 'it was to be refused');
  return refusal;
}

function fail(breaker: CircuitBreaker, times: number): void {
  for (let i = 0; i < times; i++) permitOf(breaker).failure(new Error('down'));
}

const down = (): never => {
  throw new Error('down');
};

const asParts = (...policies: unknown[]) => sectionOf(policies as (Gate | Wrap)[]);

describe('circuit breaker', () => {
  it('breaks, refuses with the rest of the open time, tries, and closes', async () => {
    const { clock, breaker, changes } = open();
    await assert.rejects(breaker.run(down), /down/);
    assert.equal(breaker.state, 'closed');
    await assert.rejects(breaker.run(down), /down/);
    assert.equal(breaker.state, 'open');
    await clock.advance(400);
    await assert.rejects(
      breaker.run(() => assert.fail('it must not run')),
      (error) => {
        assert.ok(isQuorateError(error, 'ERR_CIRCUIT_OPEN'));
        assert.equal(error.retryAfterMs, 600);
        assert.equal(error.outcome, 'not-applied');
        assert.equal(error.retryable, true);
        return true;
      },
    );
    await clock.advance(600);
    assert.equal(breaker.state, 'half-open');
    assert.equal(await breaker.run(() => 'well'), 'well');
    assert.equal(breaker.state, 'closed');
    assert.deepEqual(
      changes.map(({ name, from, to, reason, openMs }) => [name, from, to, reason, openMs]),
      [
        ['breaker', 'closed', 'open', 'consecutive', 1000],
        ['breaker', 'open', 'half-open', 'time', undefined],
        ['breaker', 'half-open', 'closed', 'trial', undefined],
      ],
    );
  });

  it('says as an outcome what it would throw', async () => {
    const { breaker } = open();
    breaker.open();
    const outcome = await breaker.attempt(() => 1);
    assert.ok(!outcome.ok);
    assert.equal(outcome.reason, 'open');
    assert.equal(outcome.retryAfterMs, 1000);
  });

  it('has rules of its own where none are given: half of at least 20 calls in 10 s', async () => {
    const { clock, breaker } = open({ consecutive: undefined, open: undefined });
    fail(breaker, 19);
    assert.equal(breaker.state, 'closed');
    await clock.advance(10_000);
    fail(breaker, 9);
    for (let i = 0; i < 10; i++) permitOf(breaker).success();
    assert.equal(breaker.state, 'closed');
    fail(breaker, 1);
    assert.equal(breaker.state, 'open');
    const { retryAfterMs } = breaker.stats();
    assert.ok(retryAfterMs! > 4000 && retryAfterMs! <= 5000);
  });

  it('looks at the last 10 s where shares or the mean matter, else at the last 100 calls', () => {
    const windows: [BreakerRules, number, number][] = [
      [{ consecutive: 1000 }, 100, 100],
      [{ consecutive: undefined, slow: { over: 50, rate: 1 } }, 150, 0],
      [{ consecutive: undefined, mean: 50 }, 150, 0],
      [{ consecutive: 1000, failureRate: 1 }, 150, 0],
    ];
    for (const [rules, atOnce, later] of windows) {
      const { clock, breaker } = open(rules);
      for (let i = 0; i < 150; i++) permitOf(breaker).success();
      assert.equal(breaker.stats().calls, atOnce);
      clock.stall(10_000);
      assert.equal(breaker.stats().calls, later);
    }
  });

  it('is open for at most a minute where nothing is said, or for the first time if that is longer', () => {
    const longest = (first: number): number => {
      const { clock, breaker, changes } = open({ open: { first, jitter: 0 } });
      breaker.open();
      for (let i = 0; i < 6; i++) {
        clock.stall(breaker.stats().retryAfterMs!);
        fail(breaker, 1);
      }
      return changes.at(-1)!.openMs!;
    };
    assert.equal(longest(5000), 60_000);
    assert.equal(longest(120_000), 120_000);
    assert.equal(longest(0.5), 32);
  });

  it('breaks for calls that are slow, though they succeed, and a slow trial has failed', async () => {
    const { clock, breaker, changes } = open({
      consecutive: undefined,
      slow: { over: 50, rate: 0.5 },
      minCalls: 4,
    });
    const running = Array.from({ length: 4 }, () => permitOf(breaker));
    clock.stall(50);
    for (const permit of running.splice(0, 2)) permit.success();
    clock.stall(1);
    running[0]!.success();
    assert.equal(breaker.state, 'closed');
    running[1]!.success();
    assert.equal(changes.at(-1)?.reason, 'slow-rate');
    clock.stall(1000);
    const trial = permitOf(breaker);
    clock.stall(51);
    trial.success();
    assert.equal(breaker.state, 'open');
  });

  it('breaks where calls took too long on average', () => {
    const { clock, breaker, changes } = open({ consecutive: undefined, mean: 100, minCalls: 2 });
    const [first, second, third] = [permitOf(breaker), permitOf(breaker), permitOf(breaker)];
    clock.stall(50);
    first.success();
    clock.stall(100);
    second.success();
    assert.equal(breaker.state, 'closed', 'exactly as long is not longer');
    clock.stall(1);
    third.success();
    assert.equal(changes.at(-1)?.reason, 'mean');
  });

  it('keeps to its open times: growing, at most the longest, less what chance leaves out', () => {
    const { clock, breaker, changes } = open({
      open: { first: 1000, factor: 3, max: 5000, jitter: 0.5 },
    });
    fail(breaker, 2);
    for (let i = 0; i < 4; i++) {
      clock.stall(breaker.stats().retryAfterMs!);
      fail(breaker, 1);
    }
    const openMs = changes.filter(({ to }) => to === 'open').map((change) => change.openMs!);
    for (const [i, fullMs] of [1000, 3000, 5000, 5000, 5000].entries()) {
      assert.ok(openMs[i]! > fullMs / 2 && openMs[i]! <= fullMs, `${openMs}`);
    }
    assert.equal(new Set(openMs).size, openMs.length, 'instances do not try at the same time');
    clock.stall(breaker.stats().retryAfterMs!);
    permitOf(breaker).success();
    fail(breaker, 2);
    assert.ok(changes.at(-1)!.openMs! <= 1000, 'it begins anew once it was closed');
  });

  it('lets no more trial calls through than it may, and says when to come back', () => {
    const { clock, breaker } = open({ trial: { calls: 5, successes: 4, concurrent: 2 } });
    breaker.open();
    clock.stall(1000);
    const [first, second] = [permitOf(breaker), permitOf(breaker)];
    const refusal = refusalOf(breaker);
    assert.equal(refusal.reason, 'open');
    assert.equal(refusal.retryAfterMs, 1000);
    first.success();
    const third = permitOf(breaker);
    refusalOf(breaker);
    second.failure();
    third.success();
    permitOf(breaker).success();
    const last = permitOf(breaker);
    refusalOf(breaker);
    last.success();
    assert.equal(breaker.state, 'closed');
  });

  it('is open again as soon as its trials cannot succeed any more', () => {
    const { clock, breaker } = open({ trial: { calls: 5, successes: 4 } });
    breaker.open();
    clock.stall(1000);
    fail(breaker, 1);
    assert.equal(breaker.state, 'half-open');
    fail(breaker, 1);
    assert.equal(breaker.state, 'open');
  });

  it('gives the place of a trial that says nothing to the next', () => {
    const { clock, breaker } = open();
    breaker.open();
    clock.stall(1000);
    permitOf(breaker).cancel();
    assert.equal(breaker.state, 'half-open');
    permitOf(breaker).success();
    assert.equal(breaker.state, 'closed');
  });

  it('is not blocked by a trial call that never ends', async () => {
    const { clock, breaker } = open({ trial: { within: 3000 } });
    breaker.open();
    clock.stall(1000);
    let answer!: (value: string) => void;
    const trial = breaker.run(() => new Promise<string>((resolve) => (answer = resolve)));
    clock.stall(2999);
    refusalOf(breaker);
    clock.stall(1);
    assert.equal(breaker.state, 'open');
    assert.equal(breaker.stats().retryAfterMs, 1000);
    clock.stall(1000);
    const next = permitOf(breaker);
    answer('at last');
    assert.equal(await trial, 'at last');
    assert.equal(breaker.state, 'half-open', 'what comes after all that does not count');
    next.success();
    assert.equal(breaker.state, 'closed');
  });

  it('takes the end of a trial call that is too late for late, though nobody looked meanwhile', () => {
    for (const how of ['success', 'failure'] as const) {
      const { clock, breaker } = open({ trial: { within: 3000 } });
      breaker.open();
      clock.stall(1000);
      const trial = permitOf(breaker);
      clock.stall(3500);
      trial[how]();
      const { state, late, retryAfterMs } = breaker.stats();
      assert.deepEqual([state, late, retryAfterMs], ['open', 1, 500]);
    }
  });

  it('shows what it counts', () => {
    const { clock, breaker } = open({ consecutive: 3, slow: { over: 50, rate: 1 } });
    const none = breaker.stats();
    assert.deepEqual([none.failureRate, none.slowRate, none.meanMs], [0, 0, undefined]);
    const slow = permitOf(breaker);
    clock.stall(80);
    slow.success();
    assert.equal(breaker.stats().failureRate, 0);
    assert.equal(breaker.stats().slowRate, 1);
    for (let i = 0; i < 3; i++) permitOf(breaker).success();
    fail(breaker, 1);
    assert.deepEqual(breaker.stats(), {
      state: 'closed',
      calls: 5,
      failures: 1,
      slow: 1,
      failureRate: 0.2,
      slowRate: 0.2,
      meanMs: 16,
      consecutive: 1,
      refused: 0,
      late: 0,
      opened: 0,
      retryAfterMs: undefined,
    });
  });

  it('takes a call that its caller gave up for nothing, and works on its answer no more', async () => {
    const { breaker } = open({ consecutive: 1 });
    const abort = new AbortController();
    const run = breaker.run(
      ({ signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      { signal: abort.signal },
    );
    abort.abort('enough');
    await assert.rejects(run, (reason) => reason === 'enough');
    await settled();
    assert.equal(breaker.state, 'closed');
    assert.equal(breaker.stats().calls, 0);
  });

  it('takes answers of policies further in for what they are', async () => {
    const { breaker } = open({ consecutive: 1 });
    const full = bulkhead({ max: 1 });
    const section = asParts(breaker, full);
    const first = section.run(() => new Promise(() => undefined));
    await assert.rejects(
      section.run(() => 1),
      { code: 'ERR_OVERLOADED' },
    );
    assert.equal(breaker.state, 'closed', 'the work had no part in it');
    const clock = new VirtualClock();
    const slow = asParts(breaker, timeout(100, { clock })).attempt(() => new Promise(() => 1));
    await clock.advance(100);
    assert.equal((await slow).ok, false);
    assert.equal(breaker.state, 'open');
    void first;
  });

  it('hears of a timeout around it at once, though the work never ends', async () => {
    const { clock, breaker } = open();
    const section = asParts(timeout(100, { clock }), breaker);
    let answer!: (value: unknown) => void;
    const calls = [1, 2].map(() =>
      section.attempt(() => new Promise((resolve) => (answer = resolve))),
    );
    await clock.advance(100);
    for (const call of calls) assert.equal((await call).ok, false);
    assert.equal(breaker.state, 'open');
    breaker.close();
    const late = section.attempt(() => new Promise((resolve) => (answer = resolve)));
    await clock.advance(100);
    await late;
    assert.equal(breaker.stats().failures, 1);
    answer('too late');
    await settled();
    const { calls: counted, failures, late: lateResults } = breaker.stats();
    assert.deepEqual([counted, failures, lateResults], [1, 1, 0], 'it counts once');
  });

  it('counts each attempt of a call once, though a timeout ends them all', async () => {
    const { clock, breaker } = open({ consecutive: 5 });
    const section = asParts(
      timeout(100, { clock }),
      retry({ attempts: 3, backoff: () => 1, clock }),
      breaker,
    );
    let calls = 0;
    const call = section.attempt(() => {
      calls += 1;
      return calls < 3 ? down() : new Promise(() => undefined);
    });
    await clock.advance(100);
    assert.equal((await call).ok, false);
    assert.deepEqual([calls, breaker.stats().failures, breaker.stats().consecutive], [3, 3, 3]);
  });

  it('takes no part in a timeout that comes while a policy further in lets the call wait', async () => {
    const { clock, breaker } = open({ consecutive: 1 });
    const places = bulkhead({ max: 1, queue: 1 });
    void places.run(() => new Promise(() => undefined));
    const waiting = asParts(timeout(100, { clock }), breaker, places).attempt(() =>
      assert.fail('it must not run'),
    );
    await clock.advance(100);
    assert.equal((await waiting).ok, false);
    assert.equal(breaker.state, 'closed');
    assert.equal(places.queued, 0);
  });
});

describe('defects of other breakers', () => {
  it('an old call that fails during the trial does not open the circuit, and the trial counts', () => {
    // opossum and cockatiel 4 count it: one opens and closes again, the other throws the good trial away.
    const { clock, breaker, changes } = open();
    const old = permitOf(breaker);
    fail(breaker, 2);
    clock.stall(1000);
    const trial = permitOf(breaker);
    old.failure(new Error('late'));
    assert.equal(breaker.state, 'half-open');
    trial.success();
    assert.equal(breaker.state, 'closed');
    assert.deepEqual(
      changes.map(({ to }) => to),
      ['open', 'half-open', 'closed'],
    );
    assert.equal(breaker.stats().late, 1);
    assert.equal(breaker.stats().failures, 0);
  });

  it('an old call that succeeds during the trial does not close the circuit', () => {
    const { clock, breaker } = open();
    const old = permitOf(breaker);
    fail(breaker, 2);
    clock.stall(1000);
    const trial = permitOf(breaker);
    old.success();
    assert.equal(breaker.state, 'half-open');
    refusalOf(breaker);
    trial.failure();
    assert.equal(breaker.state, 'open');
  });

  it('a trial of an earlier try neither closes a later one nor takes its place', () => {
    const { clock, breaker } = open({ trial: { calls: 2 } });
    breaker.open();
    clock.stall(1000);
    const [slow, bad] = [permitOf(breaker), permitOf(breaker)];
    bad.failure();
    clock.stall(1000);
    const [first, second] = [permitOf(breaker), permitOf(breaker)];
    slow.success();
    refusalOf(breaker);
    first.success();
    assert.equal(breaker.state, 'half-open');
    second.success();
    assert.equal(breaker.state, 'closed');
  });

  it('work that returns nothing, at once, is a success', async () => {
    // opossum fails with a TypeError there.
    const { breaker } = open();
    assert.equal(await breaker.run(() => undefined), undefined);
    assert.equal(breaker.stats().calls, 1);
  });

  it('the signal of one call is not that of another', async () => {
    // opossum has one AbortController for all calls of a breaker (#780).
    const { clock, breaker } = open();
    const section = asParts(timeout(100, { clock }), breaker);
    const signals: AbortSignal[] = [];
    const start = () =>
      section.attempt(({ signal }) => {
        signals.push(signal);
        return new Promise(() => undefined);
      });
    const first = start();
    await clock.advance(80);
    void start();
    await clock.advance(20);
    await first;
    assert.deepEqual(
      signals.map(({ aborted }) => aborted),
      [true, false],
    );
  });

  it('a failure costs the same with 50,000 results in the window', () => {
    // opossum sorts the window on each failure: 4.9 ms with 50,000.
    const clock = new VirtualClock();
    const rules = { failureRate: 1, minCalls: 100_000, clock } as const;
    for (const window of [{ calls: 100_000 }, { time: '10s' }]) {
      const breaker = circuitBreaker({ ...rules, window });
      permitOf(breaker).success();
      const costOf = (failures: number): number => {
        const began = process.cpuUsage();
        for (let i = 0; i < failures; i++) permitOf(breaker).failure();
        const { user, system } = process.cpuUsage(began);
        return (user + system) / failures;
      };
      costOf(25_000);
      costOf(25_000);
      const costUs = costOf(10_000);
      assert.ok(costUs < 100, `${costUs} µs`);
    }
  });
});

describe('what a circuit breaker goes by', () => {
  it('is the error of a policy further in, as who asks for the value gets it', async () => {
    const clock = new VirtualClock();
    const seen: unknown[] = [];
    const isFailure = (error: unknown): boolean => {
      seen.push(error);
      return isQuorateError(error, 'ERR_TIMEOUT');
    };
    const breaker = circuitBreaker({ consecutive: 1, isFailure, clock });
    const late = asParts(breaker, timeout(10, { clock })).attempt(
      () => new Promise(() => undefined),
    );
    await clock.advance(10);
    const outcome = await late;
    assert.deepEqual(seen, [!outcome.ok && outcome.error]);
    assert.equal(breaker.state, 'open');
  });

  it('are results by another window, where only its length changes', () => {
    for (const [window, other] of [
      [{ time: '10s' }, { time: '20s' }],
      [
        { time: '10s', slices: 10 },
        { time: '10s', slices: 20 },
      ],
      [{ calls: 10 }, { calls: 20 }],
    ] as const) {
      const { breaker } = open({ consecutive: 9, failureRate: 1, minCalls: 5, window });
      fail(breaker, 2);
      const rules = { consecutive: 9, failureRate: 1, minCalls: 5 };
      breaker.reconfigure({ ...rules, window });
      assert.equal(breaker.stats().calls, 2);
      breaker.reconfigure({ ...rules, window: other });
      assert.equal(breaker.stats().calls, 0);
    }
  });
});

describe('circuit breaker by hand', () => {
  it('opens, closes, and counts anew', () => {
    const { breaker } = open();
    fail(breaker, 1);
    breaker.open();
    refusalOf(breaker);
    breaker.close();
    assert.equal(breaker.stats().calls, 0);
    fail(breaker, 1);
    assert.equal(breaker.state, 'closed');
  });

  it('stays isolated until all isolations are released, and is then tried', () => {
    const { clock, breaker } = open();
    const first = breaker.isolate();
    {
      using _second = breaker.isolate();
      clock.stall(1e9);
      assert.equal(breaker.state, 'isolated');
      assert.equal(refusalOf(breaker).retryAfterMs, undefined);
      breaker.open();
      assert.equal(breaker.state, 'isolated');
    }
    assert.equal(breaker.state, 'isolated');
    first.release();
    assert.equal(breaker.state, 'half-open');
    permitOf(breaker).success();
    assert.equal(breaker.state, 'closed');
    first.release();
    assert.equal(breaker.state, 'closed');
  });

  it('is closed by hand while isolated; what releases it then does nothing', () => {
    const { breaker } = open();
    const isolation = breaker.isolate();
    breaker.close();
    assert.equal(breaker.state, 'closed');
    isolation.release();
    assert.equal(breaker.state, 'closed');
  });

  it('counts the first end of a permit alone', () => {
    const { breaker } = open();
    const permit = permitOf(breaker);
    permit.success();
    permit.failure();
    permit.cancel();
    assert.deepEqual([breaker.stats().calls, breaker.stats().failures], [1, 0]);
  });

  it('holds out against a listener and predicates that throw, and that give commands', async () => {
    const bad = open({
      onStateChange: () => down(),
      isFailure: () => down(),
      isBadValue: () => down(),
    });
    await assert.rejects(
      bad.breaker.run(() => Promise.reject(new Error('mine'))),
      /mine/,
    );
    assert.equal(await bad.breaker.run(() => 1), 1);
    assert.equal(bad.breaker.state, 'open');
    const { clock, breaker, changes } = open({
      onStateChange: (change) => {
        changes.push(change);
        if (change.to === 'half-open') breaker.close();
      },
    });
    breaker.open();
    clock.stall(1000);
    assert.equal(await breaker.run(() => 'in'), 'in');
    assert.equal(breaker.state, 'closed');
  });

  it('gives predicates what the work threw or returned, as it is', async () => {
    const errors: unknown[] = [];
    const values: unknown[] = [];
    const { breaker } = open({
      isFailure: (error) => errors.push(error) < 0,
      isBadValue: (value) => values.push(value) < 0,
    });
    const refusal = new Rejection('full', 'another');
    await assert.rejects(breaker.run(() => Promise.reject('no error')));
    assert.equal(await breaker.run(() => refusal), refusal);
    assert.deepEqual(errors, ['no error']);
    assert.deepEqual(values, [refusal]);
    assert.equal(breaker.stats().failures, 0);
    assert.equal(breaker.stats().calls, 2);
  });
});

describe('rules of a circuit breaker', () => {
  it('change while it is used: what was counted stays, a running open time too', () => {
    const { clock, breaker } = open({ consecutive: 5 });
    fail(breaker, 2);
    breaker.reconfigure({ consecutive: 3, open: 1000 });
    assert.equal(breaker.state, 'closed');
    fail(breaker, 1);
    assert.equal(breaker.state, 'open');
    breaker.reconfigure({ consecutive: 3, open: 5000 });
    clock.stall(1000);
    assert.equal(breaker.state, 'half-open');
    fail(breaker, 1);
    assert.equal(breaker.stats().retryAfterMs, 5000);
  });

  it('that ask for fewer trials than have succeeded close it', () => {
    const { clock, breaker } = open({ trial: { calls: 5 } });
    breaker.open();
    clock.stall(1000);
    permitOf(breaker).success();
    permitOf(breaker).success();
    breaker.reconfigure({ trial: { calls: 2 } });
    assert.equal(breaker.state, 'closed');
  });

  const wrong: Record<string, BreakerRules> = {
    'consecutive 0': { consecutive: 0 },
    'consecutive 1.5': { consecutive: 1.5 },
    'consecutive NaN': { consecutive: Number.NaN },
    'a rate of 0': { failureRate: 0 },
    'a rate above 1': { failureRate: 1.01 },
    'a negative rate': { failureRate: -0.5 },
    'a rate that is NaN': { failureRate: Number.NaN },
    'an infinite rate': { failureRate: Number.POSITIVE_INFINITY },
    'a slow rate of 0': { slow: { over: '1s', rate: 0 } },
    'a slow time of 0': { slow: { over: 0, rate: 1 } },
    'a mean of 0': { mean: 0 },
    'a mean that is none': { mean: 'long' },
    'an empty window': { window: { calls: 0 } },
    'a huge window': { window: { calls: 2 ** 20 + 1 } },
    'a window of no time': { window: { time: 0 } },
    'one slice': { window: { time: '1s', slices: 1 } },
    'too many slices': { window: { time: '1s', slices: 1001 } },
    'more calls needed than the window holds': { window: { calls: 5 }, minCalls: 6 },
    'no calls needed': { minCalls: 0 },
    'no open time': { open: 0 },
    'an infinite open time': { open: Number.POSITIVE_INFINITY },
    'a shrinking open time': { open: { first: '1s', factor: 0.9 } },
    'an infinite factor': { open: { first: '1s', factor: Number.POSITIVE_INFINITY } },
    'a longest open time below the first': { open: { first: '1s', max: 999 } },
    'a jitter above 1': { open: { first: '1s', jitter: 1.1 } },
    'no trial calls': { trial: { calls: 0 } },
    'more successes than trial calls': { trial: { calls: 2, successes: 3 } },
    'no trial calls at the same time': { trial: { concurrent: 0 } },
    'no time for trials': { trial: { within: 0 } },
    'a predicate that is none': { isFailure: true as never },
  };
  for (const [what, rules] of Object.entries(wrong)) {
    it(`are refused with ${what}, and the old ones stay`, () => {
      const refused = { code: 'ERR_INVALID_ARGUMENT' };
      assert.throws(() => circuitBreaker(rules), refused);
      const { breaker } = open();
      fail(breaker, 1);
      assert.throws(() => breaker.reconfigure(rules), refused);
      fail(breaker, 1);
      assert.equal(breaker.state, 'open');
    });
  }

  it('hold on a clock that jumps back', () => {
    let nowMs = 10_000;
    const clock = new VirtualClock();
    clock.now = () => nowMs;
    const { breaker } = open({ clock });
    breaker.open();
    nowMs = 0;
    refusalOf(breaker);
    nowMs = 999;
    refusalOf(breaker);
    nowMs = 1000;
    assert.equal(breaker.state, 'half-open');
  });
});
