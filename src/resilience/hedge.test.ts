import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import type { CallContext } from './call.ts';
import { type HedgeOptions, hedge } from './hedge.ts';
import { Rejection } from './outcome.ts';
import type { Part, Policy } from './policy.ts';
import { retryBudget } from './retry-budget.ts';
import { type Gate, sectionOf } from './section.ts';
import { Ends } from './test-ends.ts';
import { timeout } from './timeout.ts';

/** The outermost first. */
const guarded = (...policies: (Policy | Gate)[]) => sectionOf(policies as Part[]);

function open(options: Partial<HedgeOptions> = {}) {
  const clock = new VirtualClock();
  return { clock, calls: hedge({ after: '100ms', clock, ...options }) };
}

/** Work whose nth attempt ends after so many milliseconds, with its number or an error. */
function taking(clock: VirtualClock, ...delaysMs: number[]) {
  const seen: { readonly attempt: number; readonly atMs: number; readonly signal: AbortSignal }[] =
    [];
  let isUsed = 0;
  const work = ({ attempt, signal }: CallContext): Promise<number> => {
    const n = isUsed++;
    seen.push({ attempt, atMs: clock.now(), signal });
    const delayMs = delaysMs[Math.min(n, delaysMs.length - 1)]!;
    return new Promise((resolve, reject) => {
      const stop = clock.after(Math.abs(delayMs), () => {
        if (delayMs > 0) resolve(attempt);
        else reject(new Error(`attempt ${attempt}`));
      });
      signal.addEventListener('abort', () => {
        stop();
        reject(signal.reason);
      });
    });
  };
  return { work, seen };
}

describe('hedge', () => {
  it('begins no other attempt where the first answers in time', async () => {
    const { clock, calls } = open();
    const { work, seen } = taking(clock, 99);
    const run = calls.run(work);
    await clock.advance(1000);
    assert.equal(await run, 1);
    assert.equal(seen.length, 1);
    assert.equal(seen[0]!.signal.aborted, false);
    assert.equal(clock.pending, 0);
  });

  it('begins another where it does not; the first success is the result and the other is aborted', async () => {
    const { clock, calls } = open();
    const { work, seen } = taking(clock, 500, 50);
    const run = calls.run(work);
    await clock.advance(150);
    assert.equal(await run, 2);
    assert.deepEqual(
      seen.map(({ attempt, atMs }) => [attempt, atMs]),
      [
        [1, 0],
        [2, 100],
      ],
    );
    assert.deepEqual(
      seen.map(({ signal }) => signal.aborted),
      [true, false],
    );
    assert.equal((seen[0]!.signal.reason as Error).name, 'AbortError');
    assert.equal(clock.pending, 0);
    assert.deepEqual(calls.stats(), { calls: 1, hedges: 1, won: 1, overBudget: 0, afterMs: 100 });
  });

  it('takes the first, too, where that comes after the other was begun', async () => {
    const { clock, calls } = open({ max: 3 });
    const { work, seen } = taking(clock, 250, 1000);
    const run = calls.run(work);
    await clock.advance(250);
    assert.equal(await run, 1);
    assert.deepEqual(
      seen.map(({ signal }) => signal.aborted),
      [false, true, true],
    );
    assert.equal(calls.stats().won, 0);
    await clock.advance(50);
    assert.equal(clock.pending, 0);
  });

  it('begins no more than said', async () => {
    const { clock, calls } = open({ max: 2 });
    const { work, seen } = taking(clock, 10_000);
    const run = calls.run(work);
    await clock.advance(10_000);
    await run;
    assert.deepEqual(
      seen.map(({ atMs }) => atMs),
      [0, 100, 200],
    );
  });

  it('tells gates inside that those that lost say nothing', async () => {
    const { clock, calls } = open();
    const inside = new Ends();
    const { work } = taking(clock, 500, 50);
    const run = guarded(calls, inside).run(work);
    await clock.advance(1000);
    await run;
    assert.deepEqual(inside.ends.toSorted(), ['ignored', 'success']);
  });

  describe('where an attempt fails', () => {
    it('the call goes on while another is under way', async () => {
      for (const delays of [
        [-150, 200],
        [300, -20],
      ]) {
        const { clock, calls } = open();
        const { work } = taking(clock, ...delays);
        const run = calls.run(work);
        await clock.advance(300);
        assert.equal(await run, delays[0]! > 0 ? 1 : 2);
        assert.equal(clock.pending, 0);
      }
    });

    it('and no other is under way, the call fails at once', async () => {
      const { clock, calls } = open({ max: 3 });
      const { work, seen } = taking(clock, -50);
      const run = assert.rejects(calls.run(work), { message: 'attempt 1' });
      await clock.advance(50);
      await run;
      await clock.advance(1000);
      assert.equal(seen.length, 1);
      assert.equal(clock.pending, 0);
    });

    it('and so do all, it fails like the first of them', async () => {
      for (const delays of [
        [-150, -200],
        [-250, -20],
      ]) {
        const { clock, calls } = open();
        const run = assert.rejects(calls.run(taking(clock, ...delays).work), {
          message: 'attempt 1',
        });
        await clock.advance(300);
        await run;
        assert.equal(clock.pending, 0);
      }
    });

    it('a refusal further in is a failure like others', async () => {
      const { clock, calls } = open();
      let asked = 0;
      const second: Gate = {
        name: 'second',
        enter: () => (++asked === 2 ? new Rejection('full', 'second') : 0),
        leave: () => undefined,
      };
      const section = guarded(calls, second);
      const run = section.run(taking(clock, 250).work);
      await clock.advance(250);
      assert.equal(await run, 1);
      asked = 1;
      assert.equal(((await section.attempt(() => 1)) as Rejection).reason, 'full');
    });

    it('as soon as it is called, it is the failure of the call', async () => {
      const { clock, calls } = open();
      await assert.rejects(
        calls.run(() => {
          throw new Error('at once');
        }),
        { message: 'at once' },
      );
      await clock.advance(1000);
      assert.equal(clock.pending, 0);
    });
  });

  it('ends at once when the call is aborted, and begins no other attempt', async () => {
    const { clock, calls } = open();
    const { work, seen } = taking(clock, 500);
    const controller = new AbortController();
    const run = assert.rejects(calls.run(work, { signal: controller.signal }), {
      name: 'AbortError',
    });
    await clock.advance(50);
    controller.abort();
    await run;
    await settled();
    assert.equal(seen[0]!.signal.aborted, true);
    await clock.advance(1000);
    assert.equal(seen.length, 1);
    assert.equal(clock.pending, 0);
  });

  it('begins no other attempt after a timeout around it, though the first never ends', async () => {
    const { clock, calls } = open();
    let attempts = 0;
    const section = guarded(timeout(70, { clock }), calls);
    const outcome = section.attempt(() => {
      attempts += 1;
      return new Promise(() => undefined);
    });
    await clock.advance(1000);
    assert.equal(((await outcome) as Rejection).reason, 'timeout');
    assert.equal(attempts, 1);
    assert.equal(clock.pending, 0);
  });

  it('keeps to its budget', async () => {
    const clock = new VirtualClock();
    const budget = retryBudget({ share: 0.1, perSecond: 0, clock });
    const calls = hedge({ after: 10, max: 2, budget, clock });
    let attempts = 0;
    const runs: Promise<unknown>[] = [];
    for (let i = 0; i < 1000; i++) {
      runs.push(
        calls.run(() => {
          attempts += 1;
          return new Promise<void>((resolve) => void clock.after(100, resolve));
        }),
      );
      if (i % 10 === 9) await clock.advance(10);
    }
    await clock.advance(1000);
    await Promise.all(runs);
    assert.ok(attempts <= 1100 && attempts > 1080, `${attempts}`);
    assert.equal(calls.stats().hedges, attempts - 1000);
    assert.ok(calls.stats().overBudget > 0);
    assert.equal(clock.pending, 0);
  });

  it('by percentile: begins another for those that are slower than that share', async () => {
    const { clock, calls } = open({ after: { percentile: 90, initially: '400ms' } });
    const random = seededRandom(5);
    const runs: Promise<unknown>[] = [];
    for (let i = 0; i < 600; i++) {
      const base = 10 + random.below(90);
      runs.push(calls.run(taking(clock, base).work));
      await clock.advance(20);
      if (i === 15) assert.equal(calls.stats().afterMs, 400, 'too few are known');
    }
    await clock.advance(1000);
    await Promise.all(runs);
    const { afterMs, hedges } = calls.stats();
    assert.ok(afterMs > 83 && afterMs < 97, `${afterMs}`);
    assert.ok(hedges > 30 && hedges < 90, `${hedges}: about one in ten`);
    assert.equal(clock.pending, 0);
  });

  it('by percentile: looks anew after a while, also where the clock has jumped back, and forgets', async () => {
    const { clock, calls } = open({ after: { percentile: 90, initially: '400ms' } });
    const some = async (count: number, ms: number): Promise<void> => {
      const runs = Array.from({ length: count }, () => calls.run(taking(clock, ms).work));
      await clock.advance(ms);
      await Promise.all(runs);
    };
    const near = (ms: number): void => {
      const { afterMs } = calls.stats();
      assert.ok(Math.abs(afterMs - ms) < ms * 0.03, `${afterMs}, not ${ms}`);
    };
    await some(19, 50);
    await clock.advance(100);
    near(400);
    await some(1, 50);
    near(400);
    await clock.advance(49);
    near(400);
    await clock.advance(1);
    near(50);
    await some(40, 90);
    near(50);
    clock.stall(-3_600_000);
    near(90);
    await clock.advance(11_000);
    near(400);
  });

  it('counts nothing of an attempt that ends well although it lost', async () => {
    const { clock, calls } = open({ after: { percentile: 90, initially: 100 }, max: 2 });
    let n = 0;
    const run = calls.run(() => {
      n += 1;
      const attempt = n;
      return new Promise<number>((resolve) => {
        clock.after([500, 150, 10][attempt - 1]!, () => resolve(attempt));
      });
    });
    await clock.advance(1000);
    assert.equal(await run, 3);
    const { hedges, won } = calls.stats();
    assert.deepEqual([hedges, won], [2, 1]);
  });

  it('tells those that lost why, all by one error', async () => {
    const { clock, calls } = open();
    const reasons: unknown[] = [];
    for (let i = 0; i < 2; i++) {
      const { work, seen } = taking(clock, 500, 50);
      const run = calls.run(work);
      await clock.advance(1000);
      await run;
      reasons.push(seen[0]!.signal.reason);
    }
    const [first, second] = reasons as DOMException[];
    assert.equal(first, second);
    assert.deepEqual([first!.name, first!.message], ['AbortError', 'another attempt was quicker']);
  });

  it('changes its rules, and stays as it was where they make no sense', async () => {
    const { clock, calls } = open();
    assert.throws(() => calls.reconfigure({ after: 0 }), { code: 'ERR_INVALID_ARGUMENT' });
    assert.equal(calls.stats().afterMs, 100);
    calls.reconfigure({ after: { percentile: 50, initially: 70 } });
    assert.equal(calls.stats().afterMs, 70);
    calls.reconfigure({ after: 30 });
    const { work, seen } = taking(clock, 50);
    const run = calls.run(work);
    await clock.advance(100);
    await run;
    assert.deepEqual(
      seen.map(({ atMs }) => atMs),
      [0, 30],
    );
  });

  it('keeps its budget when it is given new rules without one', async () => {
    const budget = { countCall: () => undefined, tryTake: () => false };
    const { clock, calls } = open({ budget });
    calls.reconfigure({ after: 10 });
    const run = calls.run(taking(clock, 50).work);
    await clock.advance(100);
    await run;
    assert.equal(calls.stats().overBudget, 1);
  });

  it('refuses what makes no sense', () => {
    const initially = 10;
    for (const wrong of [
      { after: 0 },
      { after: -1 },
      { after: undefined as never },
      { after: null as never },
      { max: 0 },
      { max: 1.5 },
      { max: Number.POSITIVE_INFINITY },
      { after: { percentile: 0, initially } },
      { after: { percentile: 100, initially } },
      { after: { percentile: Number.NaN, initially } },
      { after: { percentile: 95, initially: -1 } },
      { after: { percentile: 95, initially, least: 0 } },
    ])
      assert.throws(() => open(wrong), { code: 'ERR_INVALID_ARGUMENT' }, JSON.stringify(wrong));
  });
});

it('hedge is called that in errors and figures, or what it is given', () => {
  assert.deepEqual(
    [hedge({ after: 1 }).name, hedge({ after: 1, name: 'own' }).name],
    ['hedge', 'own'],
  );
});
