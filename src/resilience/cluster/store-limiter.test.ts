import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../../core/random.ts';
import { settled, VirtualClock } from '../../testing/virtual-clock.ts';
import type { LimitStore, Taken } from './limit-store.ts';
import { type ClusterLimiterOptions, settingsOf } from './options.ts';
import { limiterOver } from './store-limiter.ts';

/** A limiter whose store answers what the test says, when it says. */
function open(options: Partial<ClusterLimiterOptions> = {}) {
  const clock = new VirtualClock();
  const answers: ((taken: Taken) => void)[] = [];
  const undone: unknown[] = [];
  /** Costs, and how much more it may be. */
  const asks: [cost: number, most: number][] = [];
  const store: LimitStore = {
    take: (_, __, ask) => {
      asks.push([ask.cost, ask.most]);
      return new Promise((resolve) => void answers.push(resolve));
    },
    undo: async (_, __, receipt) => {
      undone.push(receipt);
      return true;
    },
    usage: async () => ({ limit: 1, remaining: 1, resetMs: 0 }),
    forget: async () => undefined,
  };
  const settings = settingsOf({ rate: '1/s', clock, random: seededRandom(1), ...options }, '250ms');
  const limiter = limiterOver(store, settings);
  const answer = async (delayMs: number, receipt: unknown = delayMs): Promise<void> => {
    answers.shift()!({ amount: 1, delayMs, receipt });
    await settled();
  };
  return { clock, limiter, answers, answer, asks, undone };
}

describe('limiters of many processes, with any store', () => {
  it('serve in the order of the store those whose answers took different times', async () => {
    const { clock, limiter, answer } = open();
    const order: string[] = [];
    const first = limiter.wait('k').then(() => order.push('first'));
    const second = limiter.wait('k').then(() => order.push('second'));
    const third = limiter.wait('other').then(() => order.push('other'));
    await settled();
    // The first answer was on its way for 60 ms more.
    await clock.advance(60);
    await answer(500);
    await answer(440);
    await answer(300);
    await clock.advance(499);
    assert.deepEqual(order, ['other']);
    await clock.advance(2);
    await Promise.all([first, second, third]);
    assert.deepEqual(order, ['other', 'first', 'second']);
    assert.equal(clock.pending, 0);
  });

  it('hold up nobody for who waits for much longer, as after a reset', async () => {
    const { clock, limiter, answer } = open();
    const order: string[] = [];
    const long = limiter.wait('k').then(() => order.push('long'));
    await settled();
    await answer(10_000);
    const short = limiter.wait('k').then(() => order.push('short'));
    await settled();
    await answer(100);
    await clock.advance(101);
    assert.deepEqual(order, ['short']);
    await clock.advance(10_000);
    await Promise.all([long, short]);
    assert.deepEqual(order, ['short', 'long']);
  });

  it('give back what was taken for those who give up, the last one first', async () => {
    const { clock, limiter, answer, undone } = open();
    const stop = new AbortController();
    const waits = [1, 2, 3].map(() => limiter.wait('k', { signal: stop.signal }));
    const ended = Promise.allSettled(waits);
    await settled();
    await answer(500, 'a');
    await answer(600, 'b');
    const reason = new Error('enough');
    stop.abort(reason);
    for (const end of await ended) assert.deepEqual(end, { status: 'rejected', reason });
    await settled();
    assert.deepEqual(undone, ['b', 'a']);
    // The third had no answer yet: it goes back when that comes.
    await answer(700, 'c');
    assert.deepEqual(undone, ['b', 'a', 'c']);
    await clock.advance(1000);
    assert.equal(clock.pending, 0);
  });

  it('give back nothing of what could be used at once', async () => {
    const { limiter, answers, undone } = open();
    const stop = new AbortController();
    const asked = limiter.allow('k', 1, { signal: stop.signal });
    const ended = assert.rejects(asked, { name: 'AbortError' });
    await settled();
    stop.abort();
    await ended;
    answers.shift()!({ amount: 1, delayMs: 0, receipt: undefined });
    await settled();
    assert.deepEqual(undone, []);
  });

  it('take anew for those whose times passed while the process stood still', async () => {
    const virtual = new VirtualClock();
    let stoodMs = 0;
    const clock = {
      now: () => virtual.now() + stoodMs,
      wallNow: () => virtual.wallNow() + stoodMs,
      after: (delayMs: number, run: () => void) => virtual.after(delayMs, run),
      every: (intervalMs: number, run: () => void) => virtual.every(intervalMs, run),
    };
    const { limiter, answer, answers, asks } = open({ clock });
    const order: string[] = [];
    const waits = ['first', 'second'].map((name) =>
      limiter.wait('k', { maxWait: '5s' }).then(
        () => order.push(name),
        ({ code }) => order.push(`${name} ${code}`),
      ),
    );
    await settled();
    for (const delayMs of [500, 1000]) await answer(delayMs);
    stoodMs = 1100;
    await virtual.advance(500);
    // At 1,600: 1,100 late, and 600 late.
    assert.deepEqual(order, []);
    assert.equal(asks.length, 4);
    await answer(0);
    answers.shift()!({ amount: 0, delayMs: 4000, receipt: undefined });
    await Promise.all(waits);
    assert.deepEqual(order, ['first', 'second ERR_RATE_LIMITED']);
  });

  it('end every wait when closed, the ones without an answer as well', async () => {
    const { limiter, answer, answers, undone, clock } = open();
    const waits = [limiter.wait('k'), limiter.wait('k'), limiter.wait('k')];
    const ended = Promise.allSettled(waits);
    await settled();
    await answer(500, 'a');
    await answer(600, 'b');
    await limiter.close();
    assert.deepEqual(undone, ['b', 'a']);
    assert.equal(answers.length, 1);
    await answer(700, 'c');
    for (const end of await ended) {
      assert.equal(
        end.status === 'rejected' && (end.reason as { code: string }).code,
        'ERR_CLOSED',
      );
    }
    assert.deepEqual(undone, ['b', 'a', 'c']);
    for (const ask of [() => limiter.allow(), () => limiter.usage(), () => limiter.reset()]) {
      await assert.rejects(ask(), { code: 'ERR_CLOSED' });
    }
    await clock.advance(1000);
    assert.equal(clock.pending, 0);
  });

  it('with leases ask once for all who wait, and remember what was refused', async () => {
    const { clock, limiter, answers } = open({ lease: { tokens: 8, for: '5s' } });
    const asked = Array.from({ length: 5 }, () => limiter.allow('k'));
    await settled();
    assert.equal(answers.length, 1);
    answers.shift()!({ amount: 5, delayMs: 0, receipt: undefined });
    assert.ok((await Promise.all(asked)).every(({ ok }) => ok));
    const more = limiter.allow('k');
    await settled();
    answers.shift()!({ amount: 0, delayMs: 200, receipt: undefined });
    assert.deepEqual(await more, { ok: false, retryAfterMs: 200 });
    await clock.advance(150);
    assert.deepEqual(await limiter.allow('k'), { ok: false, retryAfterMs: 50 });
    assert.equal(answers.length, 0);
    await clock.advance(51);
    const again = limiter.allow('k');
    await settled();
    assert.equal(answers.length, 1);
    answers.shift()!({ amount: 1, delayMs: 0, receipt: undefined });
    assert.equal((await again).ok, true);
  });

  it('with leases say when the store will have some, and ask it before that', async () => {
    const { clock, limiter, answers } = open({ lease: { tokens: 8, for: '5s' } });
    const refused = limiter.allow('k');
    await settled();
    answers.shift()!({ amount: 0, delayMs: 3_600_000, receipt: undefined });
    assert.deepEqual(await refused, { ok: false, retryAfterMs: 3_600_000 });
    await clock.advance(4000);
    assert.deepEqual(await limiter.allow('k'), { ok: false, retryAfterMs: 3_596_000 });
    await clock.advance(1000);
    void limiter.allow('k').catch(() => undefined);
    await settled();
    assert.equal(answers.length, 1);
  });

  it('with leases refuse who waits for more than rules allow that were changed meanwhile', async () => {
    const { limiter, answers } = open({ rate: '9/s', lease: { tokens: 8, for: '5s' } });
    const waiting = assert.rejects(limiter.wait('k', { cost: 5 }), {
      code: 'ERR_INVALID_ARGUMENT',
    });
    await settled();
    limiter.reconfigure({ rate: '3/s' });
    answers.shift()!({ amount: 0, delayMs: 100, receipt: undefined });
    await settled();
    answers.shift()?.({ amount: 0, delayMs: 100, receipt: undefined });
    await waiting;
    assert.equal(answers.length, 0);
  });

  it('with leases hold no more than was said, however many ask', async () => {
    const { limiter, answers, asks } = open({ rate: '100/s', lease: { tokens: 8, for: '5s' } });
    const asked = Array.from({ length: 30 }, () => limiter.allow('k'));
    await settled();
    while (answers.length > 0) {
      answers.shift()!({ amount: asks.at(-1)![1], delayMs: 0, receipt: undefined });
      await settled();
    }
    assert.ok((await Promise.all(asked)).every(({ ok }) => ok));
    assert.deepEqual(asks, [
      [1, 8],
      [1, 8],
      [1, 8],
      [1, 8],
    ]);
  });

  it('with leases top up to what was said, and ask for more than that without one', async () => {
    const { limiter, answers, asks } = open({ rate: '100/s', lease: { tokens: 8, for: '5s' } });
    const take = async (cost: number, amount: number): Promise<void> => {
      const asked = limiter.allow('k', cost);
      await settled();
      answers.shift()!({ amount, delayMs: 0, receipt: undefined });
      assert.equal((await asked).ok, true);
    };
    await take(5, 8);
    // Three are there.
    await take(7, 5);
    await take(9, 9);
    assert.deepEqual(
      [asks[0], asks[2]],
      [
        [5, 5],
        [9, 9],
      ],
    );
    const [least, most] = asks[1]!;
    assert.ok(least === 4 && most >= 4 && most <= 5, `${least} to ${most}`);
  });

  it('with leases let nobody get ahead of those who wait', async () => {
    const { clock, limiter, answers, asks } = open({
      rate: '100/s',
      lease: { tokens: 8, for: '5s' },
    });
    const first = limiter.allow('k', 2);
    await settled();
    // More than it needs: six are left.
    answers.shift()!({ amount: 8, delayMs: 0, receipt: undefined });
    assert.equal((await first).ok, true);
    const waiting = limiter.wait('k', { cost: 20 });
    await settled();
    answers.shift()!({ amount: 20, delayMs: 500, receipt: 'w' });
    await settled();
    const ahead = limiter.allow('k');
    await settled();
    assert.equal(answers.length, 1, 'it was served from what is held');
    answers.shift()!({ amount: 0, delayMs: 510, receipt: undefined });
    assert.equal((await ahead).ok, false);
    await clock.advance(501);
    await waiting;
    assert.equal((await limiter.allow('k')).ok, true);
    assert.equal(asks.length, 3);
  });
});
