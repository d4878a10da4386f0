import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { onEvent } from '../telemetry/index.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { constantBackoff } from './backoff.ts';
import {
  carried,
  type DeadlineOptions,
  deadline,
  deadlineFrom,
  deadlineHeaders,
  remainingTimeMs,
  requestAround,
  withDeadline,
} from './deadline.ts';
import type { Rejection } from './outcome.ts';
import type { Part, Policy } from './policy.ts';
import { retry } from './retry.ts';
import { type Gate, sectionOf } from './section.ts';
import { Ends } from './test-ends.ts';

/** The outermost first. */
const guarded = (...policies: (Policy | Gate)[]) => sectionOf(policies as Part[]);

const never = (): Promise<never> => new Promise(() => undefined);

function open(options: DeadlineOptions = {}, clock = new VirtualClock()) {
  return { clock, calls: deadline({ after: '1s', clock, ...options }) };
}

describe('a deadline', () => {
  it('ends a call in time, aborts its signal and says that it may have happened', async () => {
    const { clock, calls } = open();
    let signal: AbortSignal | undefined;
    const run = assert.rejects(
      calls.run((context) => {
        signal = context.signal;
        return never();
      }),
      { code: 'ERR_TIMEOUT', outcome: 'unknown' },
    );
    await clock.advance(999);
    assert.equal(signal?.aborted, false);
    await clock.advance(1);
    await run;
    assert.equal(signal?.aborted, true);
    assert.deepEqual(calls.stats(), { calls: 1, refused: 0, exceeded: 1 });
    assert.equal(clock.pending, 0);
  });

  it('lets through what ends in time, well or not, and what is left is counted down', async () => {
    const { clock, calls } = open();
    const seen: unknown[] = [];
    const run = calls.run(async (context) => {
      seen.push(context.remainingMs, remainingTimeMs());
      await new Promise<void>((resolve) => clock.after(300, resolve));
      seen.push(context.remainingMs, remainingTimeMs());
      return 'well';
    });
    await clock.advance(300);
    assert.equal(await run, 'well');
    assert.deepEqual(seen, [1000, 1000, 700, 700]);
    assert.equal(remainingTimeMs(), undefined, 'not outside');
    const boom = new Error('boom');
    await assert.rejects(
      calls.run(() => {
        throw boom;
      }),
      (error) => error === boom,
    );
    const inherited = withDeadline(
      500,
      () =>
        calls.attempt(() => {
          throw boom;
        }),
      { clock },
    );
    assert.equal((await inherited).ok, false);
    await clock.advance(5000);
    assert.equal(clock.pending, 0);
    assert.equal(calls.stats().exceeded, 0);
  });

  it('is carried on to pipelines used within the work, and only the earlier one counts', async () => {
    const { clock, calls: outer } = open({ after: 500 });
    const later = open({ after: '1h' }, clock).calls;
    const sooner = open({ after: 100 }, clock).calls;
    const none = open({ after: undefined }, clock).calls;
    const seen: unknown[] = [];
    const note = (context: { remainingMs: number | undefined }) =>
      void seen.push(context.remainingMs);
    const run = outer.run(async () => {
      await new Promise<void>((resolve) => clock.after(200, resolve));
      await later.run(note);
      await none.run(note);
      await sooner.run(note);
      await sooner.run(() => later.run(note));
    });
    await clock.advance(200);
    await run;
    assert.deepEqual(seen, [300, 300, 100, 100]);
    seen.length = 0;
    await none.run(note);
    assert.deepEqual(seen, [undefined]);
  });

  it('refuses at once what has no time left, or less than it takes at least', async () => {
    const clock = new VirtualClock();
    const { calls } = open({ least: '50ms' }, clock);
    let ran = 0;
    const attempt = () => calls.attempt(() => (ran += 1));
    for (const left of [0, 50]) {
      const outcome = (await withDeadline(left, attempt, { clock })) as Rejection;
      assert.equal(outcome.reason, 'deadline');
      assert.equal(outcome.error.code, 'ERR_TIMEOUT');
      assert.equal(outcome.error.outcome, 'not-applied');
    }
    assert.equal(ran, 0);
    assert.equal((await withDeadline(51, attempt, { clock })).ok, true);
    assert.deepEqual(calls.stats(), { calls: 3, refused: 2, exceeded: 0 });
    assert.equal(clock.pending, 0);
  });

  it('has nothing left when it is over, not less', () => {
    const clock = new VirtualClock();
    const left = withDeadline(
      10,
      () => {
        clock.stall(20);
        return remainingTimeMs();
      },
      { clock },
    );
    assert.equal(left, 0);
  });

  it('ends a nested call when the time of the outer one is over, though nobody gave it a signal', async () => {
    const clock = new VirtualClock();
    const { calls } = open({}, clock);
    const outcome = withDeadline(80, () => calls.attempt(never), { clock });
    await clock.advance(80);
    assert.equal(((await outcome) as Rejection).reason, 'deadline');
    assert.equal(clock.pending, 0);
  });

  it('is a failure of the work only where this had all of the time', async () => {
    const clock = new VirtualClock();
    const inside = new Ends();
    const outside = new Ends();
    const section = guarded(outside, open({}, clock).calls, inside);
    const work = ({ signal }: { signal: AbortSignal }) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    for (const left of ['1h', '1ms']) {
      const run = withDeadline(left, () => section.attempt(work), { clock });
      await clock.advance(1000);
      assert.equal(((await run) as Rejection).hadBegun, true);
    }
    assert.deepEqual(inside.ends, ['failure', 'ignored']);
    assert.deepEqual(outside.ends, ['failure', 'ignored']);
  });

  it('keeps a retry inside it from pausing beyond it', async () => {
    const { clock, calls } = open({ after: 250 });
    const again = retry({ attempts: 9, backoff: constantBackoff(100), clock });
    const boom = new Error('boom');
    let attempts = 0;
    const run = guarded(calls, again).run(() => {
      attempts += 1;
      throw boom;
    });
    const failed = assert.rejects(run, (error) => error === boom);
    await clock.advance(200);
    await failed;
    assert.equal(attempts, 3);
    assert.equal(clock.now(), 200, 'it did not wait for the deadline');
  });

  it('changes its rules, and stays as it was where they make no sense', async () => {
    const { clock, calls } = open();
    assert.throws(() => calls.reconfigure({ after: 0 }), { code: 'ERR_INVALID_ARGUMENT' });
    assert.equal(await calls.run((context) => context.remainingMs), 1000);
    calls.reconfigure({ after: 30 });
    assert.equal(await calls.run((context) => context.remainingMs), 30);
    calls.reconfigure({});
    assert.equal(await calls.run((context) => context.remainingMs), undefined);
    await clock.advance(2000);
    assert.equal(clock.pending, 0);
  });

  it('refuses what makes no sense', () => {
    for (const wrong of [
      { after: 0 },
      { after: -1 },
      { after: '5x' },
      { least: Number.NaN },
      { least: '1s' },
    ])
      assert.throws(() => open(wrong), { code: 'ERR_INVALID_ARGUMENT' }, JSON.stringify(wrong));
    assert.throws(() => withDeadline(-1, () => 1), { code: 'ERR_INVALID_ARGUMENT' });
  });
});

describe('a deadline in a header', () => {
  const header = (remainingMs: number | undefined) => deadlineHeaders({ remainingMs });

  it('says what is left in at most eight digits, rounded down', () => {
    assert.deepEqual(header(undefined), {});
    assert.deepEqual(deadlineHeaders(), {});
    for (const [ms, text] of [
      [0, '0m'],
      [0.0005, '0u'],
      [0.5, '500u'],
      [1, '1m'],
      [1.999, '1m'],
      [1500, '1500m'],
      [99_999_999.9, '99999999m'],
      [100_000_000, '100000S'],
      [1e11 + 999, '1666666M'],
      [1e15, '99999999H'],
    ] as const)
      assert.deepEqual(header(ms), { 'grpc-timeout': text }, `${ms}`);
  });

  it('is that of the call around where it is made', async () => {
    const { clock, calls } = open();
    const run = calls.run(async () => {
      await new Promise<void>((resolve) => clock.after(400, resolve));
      return deadlineHeaders();
    });
    await clock.advance(400);
    assert.deepEqual(await run, { 'grpc-timeout': '600m' });
  });

  it('is read from headers of both kinds, in all units', () => {
    for (const [text, ms] of [
      ['2H', 7_200_000],
      ['3M', 180_000],
      ['4S', 4000],
      ['5m', 5],
      [' 0m ', 0],
      ['6000u', 6],
      ['7000000n', 7],
      ['99999999H', 99_999_999 * 3_600_000],
    ] as const) {
      assert.equal(deadlineFrom({ 'grpc-timeout': text }), ms);
      assert.equal(deadlineFrom(new Headers({ 'Grpc-Timeout': text })), ms);
    }
  });

  it('is none where it cannot be read', () => {
    for (const wrong of [
      '',
      '5',
      'm',
      '-5m',
      '1.5S',
      '123456789m',
      '5s',
      '5m, 5m',
      '5 m',
      ['5m'],
      5,
      undefined,
    ])
      assert.equal(deadlineFrom({ 'grpc-timeout': wrong }), undefined, `${wrong}`);
    assert.equal(deadlineFrom(new Headers()), undefined);
    assert.equal(withDeadline(deadlineFrom({}), remainingTimeMs), undefined);
  });

  it('goes there and back: who gets it has no later deadline', () => {
    for (let ms = 0.001; ms < 1e12; ms *= 3.7) {
      const read = deadlineFrom(header(ms))!;
      assert.ok(read <= ms && read >= ms * 0.49, `${ms}: ${read}`);
    }
  });
});

it('deadline is called that in errors and figures, or what it is given', () => {
  assert.deepEqual([deadline().name, deadline({ name: 'own' }).name], ['deadline', 'own']);
});

it('a deadline that never comes says nothing of the time that is left', async () => {
  const { clock, calls } = open({ after: undefined });
  assert.equal(await calls.run(({ remainingMs }) => remainingMs), undefined);
  assert.equal(await calls.run(remainingTimeMs), undefined);
  assert.equal(withDeadline(undefined, remainingTimeMs), undefined);
  assert.equal(withDeadline('1d', remainingTimeMs, { clock }), 86_400_000);
  // As a server has it for a request without one.
  const endless = { dueMs: Number.POSITIVE_INFINITY, clock, request: {} };
  carried.run(endless, () => {
    assert.equal(remainingTimeMs(), undefined);
    assert.equal(requestAround(), endless.request);
    assert.deepEqual(deadlineHeaders(), {});
    withDeadline(5, () => assert.equal(requestAround(), endless.request), { clock });
  });
  assert.equal(requestAround(), undefined);
});

it('a call that comes too late is told of', async () => {
  const clock = new VirtualClock();
  const told: unknown[] = [];
  const stop = onEvent('quorate:call:rejected', ({ policy, reason, hadBegun }) => {
    told.push([policy, reason, hadBegun]);
  });
  const { calls } = open({ least: 50 }, clock);
  const outcome = await withDeadline(50, () => calls.attempt(() => 1), { clock });
  assert.equal(outcome.ok, false);
  stop();
  assert.deepEqual(told, [['deadline', 'deadline', false]]);
});

it('of two deadlines the earlier is kept, wherever it is', async () => {
  const clock = new VirtualClock();
  for (const [outerMs, innerMs] of [
    [100, 200],
    [200, 100],
    [100, 100],
  ] as const) {
    const left = withDeadline(outerMs, () => withDeadline(innerMs, remainingTimeMs, { clock }), {
      clock,
    });
    assert.equal(left, 100);
    const both = guarded(
      deadline({ after: outerMs, clock, name: 'outer' }),
      deadline({ after: innerMs, clock, name: 'inner' }),
    );
    const run = both.attempt(never);
    await clock.advance(99);
    await clock.advance(1);
    assert.equal((await run).ok, false);
    await clock.advance(1000);
    assert.equal(clock.pending, 0);
  }
});
