import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { type RetryBudgetOptions, retryBudget } from './retry-budget.ts';

function open(options: RetryBudgetOptions = {}) {
  const clock = new VirtualClock();
  return { clock, budget: retryBudget({ clock, ...options }) };
}

function takeAll(budget: { tryTake(): boolean }): number {
  let taken = 0;
  while (budget.tryTake()) taken += 1;
  return taken;
}

describe('a retry budget', () => {
  it('has its share of the calls, and where that is less the minimum of the second', async () => {
    const { clock, budget } = open({ share: 0.2, perSecond: 3 });
    assert.equal(takeAll(budget), 3, 'without any calls');
    for (let i = 0; i < 15; i++) budget.countCall();
    assert.equal(takeAll(budget), 0, 'the minimum was its share');
    for (let i = 0; i < 10; i++) budget.countCall();
    assert.equal(takeAll(budget), 2);
    await clock.advance(999);
    assert.equal(takeAll(budget), 0);
    await clock.advance(1);
    assert.equal(takeAll(budget), 3, 'a new second');
  });

  it('saves up no more than the burst, however long nothing fails', async () => {
    const { clock, budget } = open({ share: 0.5, perSecond: 2, burst: 7 });
    for (let i = 0; i < 1000; i++) budget.countCall();
    assert.equal(takeAll(budget), 7);
    await clock.advance(3_600_000);
    assert.equal(budget.stats().available, 7);
    assert.equal(takeAll(budget), 7);
    assert.deepEqual(budget.stats(), { available: 0, taken: 14, refused: 2 });
  });

  it('never gives more than its share of all calls, or its minimum in each second, whatever the order', async () => {
    for (let seed = 0; seed < 50; seed++) {
      const random = seededRandom(seed);
      const share = random.below(100) / 100;
      const perSecond = random.below(5);
      const { clock, budget } = open({ share, perSecond, burst: 1 + perSecond + random.below(50) });
      const callsIn: number[] = [];
      let taken = 0;
      for (let step = 0; step < 3000; step++) {
        const second = Math.floor(clock.now() / 1000);
        callsIn[second] ??= 0;
        if (random.below(3) > 0) {
          callsIn[second] += 1;
          budget.countCall();
        } else if (budget.tryTake()) taken += 1;
        if (random.below(50) === 0) clock.stall(random.below(1500));
        let most = 0;
        for (let i = 0; i <= second; i++) most += Math.max(perSecond, (callsIn[i] ?? 0) * share);
        assert.ok(taken <= most + 1e-6, `seed ${seed}: ${taken} taken, ${most} are its due`);
      }
    }
  });

  it('changes its rules, and stays as it was where they make no sense', () => {
    const { budget } = open({ share: 0, perSecond: 0 });
    budget.countCall();
    assert.equal(takeAll(budget), 0);
    assert.throws(() => budget.reconfigure({ share: 2 }), { code: 'ERR_INVALID_ARGUMENT' });
    budget.countCall();
    assert.equal(takeAll(budget), 0);
    budget.reconfigure({ share: 1, perSecond: 0 });
    budget.countCall();
    assert.equal(takeAll(budget), 1);
  });

  it('keeps what it has saved up under new rules, up to their burst', async () => {
    const { clock, budget } = open({ share: 0, perSecond: 2, burst: 100 });
    await clock.advance(5000);
    budget.reconfigure({ share: 0, perSecond: 50, burst: 100 });
    assert.equal(budget.stats().available, 12, 'of the seconds that were');
    budget.reconfigure({ share: 0, perSecond: 1, burst: 1 });
    assert.equal(takeAll(budget), 1);
  });

  it('has a fifth of the calls, three a second and a burst of a hundred, if nothing else is said', async () => {
    const { clock, budget } = open();
    assert.equal(takeAll(budget), 3);
    for (let i = 0; i < 100; i++) budget.countCall();
    assert.equal(takeAll(budget), 17);
    await clock.advance(3_600_000);
    assert.equal(takeAll(budget), 100);
  });

  it('refuses what makes no sense', () => {
    for (const wrong of [
      { share: -0.1 },
      { share: 1.1 },
      { share: Number.NaN },
      { perSecond: -1 },
      { perSecond: 0.5 },
      { perSecond: Number.POSITIVE_INFINITY },
      { perSecond: 5, burst: 4 },
      { burst: Number.NaN },
    ])
      assert.throws(() => open(wrong), { code: 'ERR_INVALID_ARGUMENT' }, JSON.stringify(wrong));
  });
});
