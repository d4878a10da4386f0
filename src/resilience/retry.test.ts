import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { QuorateError } from '../core/errors.ts';
import { seededRandom } from '../core/random.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { constantBackoff } from './backoff.ts';
import { bulkhead } from './bulkhead.ts';
import type { End } from './call.ts';
import { deadline } from './deadline.ts';
import { Rejection, type RejectionReason } from './outcome.ts';
import { Alone, type Part, type Policy } from './policy.ts';
import { type Failure, type RetryOptions, retry } from './retry.ts';
import { retryBudget } from './retry-budget.ts';
import { type Gate, sectionOf } from './section.ts';
import { openNotingClock } from './test-noting-clock.ts';
import { timeout } from './timeout.ts';

/** The outermost first. */
const guarded = (...policies: (Policy | Gate)[]) => sectionOf(policies as Part[]);

const boom = new Error('boom');

function open(options: RetryOptions = {}) {
  const clock = new VirtualClock();
  return { clock, calls: retry({ backoff: constantBackoff(100), clock, ...options }) };
}

/** Work that ends in these ways one after the other, the last on and on, and when it was begun. */
function ending(clock: VirtualClock, ...ways: (() => unknown)[]) {
  const timesMs: number[] = [];
  const attempts: number[] = [];
  const work = async ({ attempt }: { attempt: number }): Promise<unknown> => {
    timesMs.push(clock.now());
    attempts.push(attempt);
    return ways[Math.min(timesMs.length, ways.length) - 1]!();
  };
  return { work, timesMs, attempts };
}

const fails =
  (error: unknown = boom) =>
  () => {
    throw error;
  };

/** Refuses so many calls, then lets them in. */
class Refusing extends Alone implements Gate {
  readonly #reason: RejectionReason;
  readonly #retryAfterMs: number | undefined;
  asked = 0;

  constructor(reason: RejectionReason, retryAfterMs?: number) {
    super('refusing');
    this.#reason = reason;
    this.#retryAfterMs = retryAfterMs;
  }

  enter(): number | Rejection {
    this.asked += 1;
    return this.asked > 1 ? 0 : new Rejection(this.#reason, this.name, this.#retryAfterMs);
  }

  leave(): void {
    // Nothing was taken.
  }
}

describe('retry', () => {
  it('tries again what failed, with the pause between, and resolves with what succeeds', async () => {
    const { clock, calls } = open({ attempts: 4 });
    const { work, timesMs, attempts } = ending(clock, fails(), fails(), () => 'well');
    const run = calls.run(work);
    await clock.advance(1000);
    assert.equal(await run, 'well');
    assert.deepEqual(timesMs, [0, 100, 200]);
    assert.deepEqual(attempts, [1, 2, 3]);
    assert.deepEqual(calls.stats(), { calls: 1, retries: 2, exhausted: 0, overBudget: 0 });
  });

  it('rejects with the error of the last attempt, unchanged', async () => {
    const { clock, calls } = open({ attempts: 3 });
    const last = new Error('the last');
    const { work, timesMs } = ending(clock, fails(), fails(), fails(last));
    const run = assert.rejects(calls.run(work), (error) => error === last);
    await clock.advance(1000);
    await run;
    assert.equal(timesMs.length, 3);
    assert.deepEqual(calls.stats(), { calls: 1, retries: 2, exhausted: 1, overBudget: 0 });
  });

  it('gives the backoff how many failed and its last pause', async () => {
    const given: number[][] = [];
    const backoff = (failed: number, previousMs: number) => {
      given.push([failed, previousMs]);
      return failed * 10;
    };
    const { clock, calls } = open({ attempts: 4, backoff });
    const run = assert.rejects(calls.run(fails()));
    await clock.advance(1000);
    await run;
    assert.deepEqual(given, [
      [1, 0],
      [2, 10],
      [3, 20],
    ]);
  });

  it('is called retry, and has a name and pauses of its own if nothing else is said', async () => {
    const clock = new VirtualClock();
    const calls = retry({ clock });
    assert.deepEqual([calls.name, retry({ name: 'reads' }).name], ['retry', 'reads']);
    const { work, timesMs } = ending(clock, fails());
    const run = assert.rejects(calls.run(work), boom);
    await clock.advance(301);
    await run;
    assert.equal(timesMs.length, 3);
    assert.ok(timesMs[1]! <= 100 && timesMs[2]! - timesMs[1]! <= 200, `${timesMs}`);
    await assert.rejects(retry({ attempts: 1 }).run(fails()), boom);
  });

  it('keeps the process alive in a pause, when nothing else may', async () => {
    const { clock, noting, alive } = openNotingClock();
    const run = retry({ clock: noting, backoff: constantBackoff(1) }).run(fails());
    const failed = assert.rejects(run, boom);
    await clock.advance(2);
    await failed;
    assert.deepEqual(alive, [true, true]);
  });

  it('tries at once where the pause is nothing, and never more often than said', async () => {
    const { clock, calls } = open({ attempts: 5, backoff: constantBackoff(0) });
    const { work, timesMs } = ending(clock, fails());
    await assert.rejects(calls.run(work), boom);
    assert.equal(timesMs.length, 5);
    assert.equal(clock.pending, 0);
  });

  describe('what is tried again', () => {
    it('an error whatever it is, and a timeout; not what says that trying again is no use', async () => {
      const unknown = new QuorateError('ERR_UNAVAILABLE', '', {
        retryable: true,
        outcome: 'unknown',
      });
      for (const error of [boom, 'text', null, { retryable: true }, unknown]) {
        const { clock, calls } = open({ backoff: constantBackoff(0) });
        const { work, timesMs } = ending(clock, fails(error));
        await assert.rejects(calls.run(work), (thrown) => thrown === error);
        assert.equal(timesMs.length, 3, `${error}`);
      }
      for (const error of [new QuorateError('ERR_KEY_NOT_FOUND', ''), { retryable: false }]) {
        const { clock, calls } = open({ backoff: constantBackoff(0) });
        const { work, timesMs } = ending(clock, fails(error));
        await assert.rejects(calls.run(work), (thrown) => thrown === error);
        assert.equal(timesMs.length, 1);
      }
    });

    it('a timeout further in', async () => {
      const { clock, calls } = open();
      const section = guarded(calls, timeout(50, { clock }));
      const { work, timesMs } = ending(
        clock,
        () => new Promise(() => undefined),
        () => 'well',
      );
      const run = section.run(work);
      await clock.advance(200);
      assert.equal(await run, 'well');
      assert.deepEqual(timesMs, [0, 150]);
    });

    it('no refusal further in, unless it is asked for', async () => {
      for (const reason of ['open', 'limited', 'full', 'shed', 'deadline'] as const) {
        const refusing = new Refusing(reason);
        const { calls } = open({ backoff: constantBackoff(0) });
        const outcome = await guarded(calls, refusing).attempt(() => 1);
        assert.equal(outcome.ok || outcome.reason, reason);
        assert.equal(refusing.asked, 1);
        const asked = open({ backoff: constantBackoff(0), retryOn: [reason] }).calls;
        const again = guarded(asked, new Refusing(reason));
        assert.deepEqual(await again.attempt(() => 1), { ok: true, value: 1 });
        await assert.rejects(asked.run(fails()), boom, 'only what is asked for');
        assert.equal(asked.stats().retries, 1);
      }
    });

    it('what a function says of the failure and the attempt', async () => {
      const seen: [Failure['reason'], unknown, number][] = [];
      const retryOn = (failure: Failure, attempt: number): boolean => {
        assert.equal(failure.ok, false);
        seen.push([failure.reason, failure.error, attempt]);
        return attempt < 2;
      };
      const { calls } = open({ attempts: 9, backoff: constantBackoff(0), retryOn });
      await assert.rejects(calls.run(fails()), boom);
      assert.deepEqual(seen, [
        ['failed', boom, 1],
        ['failed', boom, 2],
      ]);
      seen.length = 0;
      await guarded(calls, new Refusing('open')).run(() => 1);
      assert.deepEqual(
        seen.map(([reason, error, attempt]) => [reason, (error as QuorateError).code, attempt]),
        [['open', 'ERR_CIRCUIT_OPEN', 1]],
      );
    });
  });

  it('tries again for a bad value, and ends with it where there is no better one', async () => {
    const isBadValue = (value: unknown) => typeof value === 'number' && value >= 500;
    const { calls } = open({ attempts: 3, backoff: constantBackoff(0), isBadValue });
    const answers = [503, 500, 200, 503, 501, 502];
    assert.equal(await calls.run(() => answers.shift()), 200);
    calls.reconfigure({ attempts: 3 });
    assert.equal(await calls.run(() => answers.shift()), 502);
    assert.equal(calls.stats().exhausted, 1);
    const refused = new Rejection('open', 'of another pipeline');
    const asked: unknown[] = [];
    const note = (value: unknown) => asked.push(value) > 9;
    assert.equal(await open({ isBadValue: note }).calls.run(() => refused), refused);
    assert.equal(asked[0], refused, 'as the work returned it');
  });

  describe('what says when to come back', () => {
    it('is not tried earlier, nor later where the pause is longer anyhow', async () => {
      const { clock, calls } = open();
      const asks = (retryAfterMs: unknown) => fails(Object.assign(new Error(), { retryAfterMs }));
      const { work, timesMs } = ending(clock, asks(700), asks(30), asks(1));
      const run = assert.rejects(calls.run(work));
      await clock.advance(5000);
      await run;
      assert.deepEqual(timesMs, [0, 700, 800]);
      const soon = ending(clock, asks(1), () => 'well');
      const { calls: atOnce } = open({ backoff: constantBackoff(0), clock });
      const early = atOnce.run(soon.work);
      await clock.advance(1);
      await early;
      assert.equal(soon.timesMs[1]! - soon.timesMs[0]!, 1);
      for (const nonsense of [Number.NaN, -5, 'soon', undefined]) {
        const odd = ending(clock, asks(nonsense), () => 'well');
        const before = clock.now();
        const well = calls.run(odd.work);
        await clock.advance(1000);
        await well;
        assert.deepEqual(odd.timesMs, [before, before + 100]);
      }
    });

    it('is not tried again where that is later than the longest wait', async () => {
      const { clock, calls } = open({ maxRetryAfter: '2s' });
      for (const retryAfterMs of [2001, Number.POSITIVE_INFINITY]) {
        const busy = Object.assign(new Error(), { retryAfterMs });
        const { work, timesMs } = ending(clock, fails(busy));
        await assert.rejects(calls.run(work), (error) => error === busy);
        assert.equal(timesMs.length, 1);
      }
      const { work } = ending(
        clock,
        fails(Object.assign(new Error(), { retryAfterMs: 2000 })),
        () => 'well',
      );
      const run = calls.run(work);
      await clock.advance(2000);
      assert.equal(await run, 'well', 'it may be just as long');
    });

    it('may be a policy further in', async () => {
      const { clock, calls } = open({ retryOn: ['limited'] });
      const run = guarded(calls, new Refusing('limited', 450)).run(() => clock.now());
      await clock.advance(1000);
      assert.equal(await run, 450);
    });
  });

  describe('when it is aborted', () => {
    it('in a pause: ends at once with the reason, makes no other attempt and leaves no timer', async () => {
      const { clock, calls } = open();
      const { work, timesMs } = ending(clock, fails());
      const controller = new AbortController();
      const reason = new Error('enough');
      const run = assert.rejects(
        calls.run(work, { signal: controller.signal }),
        (e) => e === reason,
      );
      await clock.advance(50);
      assert.equal(clock.pending, 1);
      controller.abort(reason);
      await run;
      assert.equal(clock.now(), 50);
      assert.equal(clock.pending, 0);
      await clock.advance(1000);
      assert.equal(timesMs.length, 1);
    });

    it('in a pause: what is around it is left', async () => {
      const { clock, calls } = open();
      const ends: End[] = [];
      const around: Gate = {
        name: 'around',
        enter: () => 0,
        leave: (_ticket, end) => void ends.push(end),
      };
      const controller = new AbortController();
      const run = guarded(around, calls).attempt(fails(), { signal: controller.signal });
      await clock.advance(50);
      controller.abort();
      await run;
      await settled();
      assert.deepEqual(ends, ['ignored']);
    });

    it('by a timeout around it: ends, and makes no other attempt', async () => {
      const { clock, calls } = open({ attempts: 9 });
      const { work, timesMs } = ending(clock, fails());
      const section = guarded(timeout(250, { clock }), calls);
      const outcome = section.attempt(work);
      await clock.advance(5000);
      assert.equal(((await outcome) as Rejection).reason, 'timeout');
      assert.deepEqual(timesMs, [0, 100, 200]);
      assert.equal(clock.pending, 0);
    });

    it('in an attempt: the signal of that is aborted, and it is not tried again', async () => {
      const { calls } = open({ backoff: constantBackoff(0) });
      const signals: AbortSignal[] = [];
      const controller = new AbortController();
      const run = assert.rejects(
        calls.run(
          ({ signal, attempt }) => {
            signals.push(signal);
            if (attempt === 1) throw boom;
            return new Promise((_, reject) => signal.addEventListener('abort', () => reject(boom)));
          },
          { signal: controller.signal },
        ),
        { name: 'AbortError' },
      );
      await settled();
      controller.abort();
      await run;
      await settled();
      assert.equal(signals.length, 2);
      assert.notEqual(signals[0], signals[1], 'each attempt has one of its own');
      assert.equal(signals[1]!.aborted, true);
    });
  });

  it('gives the place of a bulkhead further in back between two attempts', async () => {
    const { clock, calls } = open();
    const places = bulkhead({ max: 1 });
    const { work } = ending(clock, fails(), () => 'well');
    const run = guarded(calls, places).run(work);
    await clock.advance(50);
    assert.equal(places.running, 0);
    await clock.advance(100);
    assert.equal(await run, 'well');
  });

  it('counts attempts anew within an attempt of another retry', async () => {
    const { clock, calls } = open({ attempts: 2, backoff: constantBackoff(0) });
    const inner = open({ attempts: 2, backoff: constantBackoff(0) }).calls;
    const { work, attempts } = ending(clock, fails());
    const section = guarded(calls, inner);
    await assert.rejects(section.run(work), boom);
    assert.deepEqual(attempts, [1, 2, 1, 2]);
  });

  it('changes its rules for calls under way, and stays as it was where they make no sense', async () => {
    const { clock, calls } = open({ attempts: 9 });
    const { work, timesMs } = ending(clock, fails());
    const run = assert.rejects(calls.run(work), boom);
    await clock.advance(50);
    assert.throws(() => calls.reconfigure({ attempts: 0 }), { code: 'ERR_INVALID_ARGUMENT' });
    await clock.advance(100);
    assert.equal(timesMs.length, 2);
    calls.reconfigure({ attempts: 3, backoff: constantBackoff(0) });
    await clock.advance(1000);
    await run;
    assert.equal(timesMs.length, 3);
  });

  it('keeps its functions and budget when it is given new rules without any, as a file holds them', async () => {
    let counted = 0;
    const budget = { countCall: () => void (counted += 1), tryTake: () => true };
    let asked = 0;
    const retryOn = () => (asked += 1) > 0;
    const { clock, calls } = open({ attempts: 2, budget, retryOn });
    calls.reconfigure({ attempts: 3 });
    const { work, timesMs } = ending(clock, fails());
    const run = assert.rejects(calls.run(work), boom);
    await clock.advance(1000);
    await run;
    assert.deepEqual(timesMs, [0, 100, 200]);
    assert.deepEqual([counted, asked], [1, 3]);
    calls.reconfigure({ backoff: { kind: 'constant', delay: 0 }, retryOn: ['open'] });
    await assert.rejects(calls.run(fails()), boom);
    assert.deepEqual([counted, asked], [2, 3]);
    calls.reconfigure({});
    await assert.rejects(calls.run(fails()), boom);
    assert.equal(calls.stats().retries, 4, 'reasons are no function: back to the default');
  });

  it('refuses what makes no sense', async () => {
    for (const wrong of [
      { attempts: 0 },
      { attempts: -1 },
      { attempts: 1.5 },
      { attempts: Number.NaN },
      { attempts: Number.NEGATIVE_INFINITY },
      { retryOn: ['opened' as 'open'] },
      { maxRetryAfter: -1 },
      { backoff: 100 as never },
    ])
      assert.throws(() => open(wrong), { code: 'ERR_INVALID_ARGUMENT' }, JSON.stringify(wrong));
    const { calls } = open({ backoff: () => Number.NaN });
    await assert.rejects(calls.run(fails()), { code: 'ERR_INVALID_ARGUMENT' });
  });
});

describe('retries with a budget', () => {
  /** Calls at 500 a second for ten seconds, all of which fail. */
  async function storm(policies: number) {
    const clock = new VirtualClock();
    const budget = retryBudget({ clock });
    const random = seededRandom(3);
    const retries = Array.from({ length: policies }, () =>
      retry({ attempts: 4, backoff: constantBackoff(50, { jitter: 50 }), budget, clock, random }),
    );
    let attempts = 0;
    const runs: Promise<unknown>[] = [];
    for (let i = 0; i < 5000; i++) {
      const { attempt } = retries[i % policies]!;
      runs.push(
        attempt.call(retries[i % policies], () => {
          attempts += 1;
          throw boom;
        }),
      );
      if (i % 20 === 19) await clock.advance(40);
    }
    await clock.advance(1000);
    await Promise.all(runs);
    return { requests: runs.length, attempts, pending: clock.pending };
  }

  it('make at most 1.2 attempts a request while what they call is down', async () => {
    for (const policies of [1, 7]) {
      const { requests, attempts, pending } = await storm(policies);
      // The second after the last call has its minimum.
      assert.ok(attempts <= requests * 1.2 + 3, `${attempts} attempts of ${requests} requests`);
      assert.ok(attempts >= requests * 1.15, `${attempts}: what the budget has is used`);
      assert.equal(pending, 0);
    }
  });

  it('end with the failure where it has nothing left, and count that', async () => {
    const clock = new VirtualClock();
    const budget = retryBudget({ share: 0, perSecond: 1, clock });
    const { calls } = open({ budget, backoff: constantBackoff(0) });
    const { work, timesMs } = ending(clock, fails());
    await assert.rejects(calls.run(work), boom);
    assert.equal(timesMs.length, 2);
    assert.equal(calls.stats().overBudget, 1);
  });

  it('count a call once, also where two policies around it share the budget', async () => {
    let counted = 0;
    const budget = { countCall: () => void (counted += 1), tryTake: () => true };
    const outer = open({ budget, attempts: 2, backoff: constantBackoff(0) }).calls;
    const inner = open({ budget, attempts: 2, backoff: constantBackoff(0) }).calls;
    const section = guarded(outer, inner);
    await assert.rejects(section.run(fails()), boom);
    assert.equal(counted, 1);
  });
});

describe('what a retry goes by', () => {
  it('tries again what throws nothing that could be looked at', async () => {
    for (const thrown of [undefined, null, 'text', 7, () => 1]) {
      const { clock, calls } = open({ attempts: 2, backoff: constantBackoff(0) });
      const { work, timesMs } = ending(clock, () => Promise.reject(thrown));
      const outcome = await calls.attempt(work);
      assert.deepEqual(outcome, { ok: false, reason: 'failed', error: thrown });
      assert.equal(timesMs.length, 2);
    }
  });

  it('leaves out what asks for a time that is no number', async () => {
    for (const retryAfterMs of ['5000', Number.NaN, -5, null]) {
      const { clock, calls } = open({ attempts: 2 });
      const { work, timesMs } = ending(clock, fails({ retryAfterMs }), () => 'well');
      const run = calls.run(work);
      await clock.advance(1000);
      assert.equal(await run, 'well');
      assert.deepEqual(timesMs, [0, 100]);
    }
  });

  it('keeps the reasons that it was given, whatever becomes of the list', async () => {
    const retryOn: ('failed' | 'timeout')[] = ['failed'];
    const { clock, calls } = open({ attempts: 2, retryOn });
    retryOn.length = 0;
    const { work, timesMs } = ending(clock, fails());
    const run = assert.rejects(calls.run(work), boom);
    await clock.advance(1000);
    await run;
    assert.equal(timesMs.length, 2);
  });

  it('makes no pause that would take all of the time that is left', async () => {
    for (const [delayMs, attempts] of [
      [99, 2],
      [100, 1],
    ] as const) {
      const clock = new VirtualClock();
      const calls = retry({ attempts: 2, backoff: constantBackoff(delayMs), clock });
      const { work, timesMs } = ending(clock, fails());
      const run = guarded(deadline({ after: 100, clock }), calls).attempt(work);
      await clock.advance(1000);
      assert.equal((await run).ok, false);
      assert.equal(timesMs.length, attempts);
    }
  });
});
