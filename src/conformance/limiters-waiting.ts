/** Cases of limiters: waiting, reservations, and giving up. */
import assert from 'node:assert/strict';
import type { LimiterCase } from './limiters-context.ts';
import { ALGORITHMS } from './limiters-counting.ts';

const ofEach = ALGORITHMS.map((algorithm): readonly LimiterCase[] => [
  {
    name: `${algorithm}: who waits is served in order, and nobody gets ahead meanwhile`,
    async run({ one, useUp, within, isWithin, later, clock }) {
      const limiter = await one({ rate: { limit: 3, period: 300 } }, algorithm);
      const fromMs = clock.now();
      await useUp(limiter, 'k');
      const order: string[] = [];
      const served: number[] = [];
      const wait = async (cost: number): Promise<void> => {
        await limiter.wait('k', { cost });
        order.push(`${cost}`);
        served.push(clock.now());
      };
      const waits = [3, 1, 2].map((cost) => later(wait(cost)));
      // Asked after them, answered after them.
      const ahead = await limiter.allow('k');
      assert.equal(ahead.ok, false);
      await within(Promise.all(waits), 'those who wait');
      assert.deepEqual(order, ['3', '1', '2']);
      if (algorithm !== 'token-bucket') return;
      const admissions = served.map((toMs, i) => ({ fromMs, toMs, cost: [3, 1, 2][i]! }));
      isWithin(admissions, 0.001, 3 / 300);
    },
  },
  {
    name: `${algorithm}: a reservation that is cancelled in time is as if it never was`,
    async run({ one, useUp }) {
      const limiter = await one({ rate: { limit: 10, period: '30s' } }, algorithm);
      await useUp(limiter, 'k');
      const before = await limiter.usage('k');
      const reserved = await limiter.reserve('k', { cost: 4 });
      assert.ok(reserved !== undefined && reserved.delayMs > 0);
      assert.equal(await reserved.cancel(), true);
      assert.equal(await reserved.cancel(), false, 'twice');
      const after = await limiter.usage('k');
      assert.ok(after.resetMs <= before.resetMs, `${after.resetMs} > ${before.resetMs}`);
    },
  },
  {
    name: `${algorithm}: a reservation that another is behind, or whose time has come, cannot be given back`,
    async run({ one, useUp, pass }) {
      const limiter = await one({ rate: { limit: 2, period: 200 } }, algorithm);
      const now = await limiter.reserve('k', { cost: 1 });
      assert.equal(now?.delayMs, 0);
      assert.equal(await now.cancel(), false, 'its time has come');
      await limiter.reset('k');
      await useUp(limiter, 'k');
      const first = await limiter.reserve('k');
      const second = await limiter.reserve('k');
      assert.ok(first !== undefined && second !== undefined);
      assert.ok(second.delayMs + 50 >= first.delayMs);
      assert.equal(await first.cancel(), false, 'another is behind it');
      await pass(second.delayMs);
      assert.equal(await second.cancel(), false, 'its time has come');
    },
  },
]);

/** Cases of waiting. */
export const waitingCases: readonly LimiterCase[] = [
  ...ofEach.flat(),
  {
    name: 'who waits and gives up is told the reason at once, and makes room',
    async run({ one, useUp, stillWaits, rejectsWith, eventually }) {
      const limiter = await one({ rate: { limit: 10, period: '100s' } });
      await useUp(limiter, 'k');
      const stop = new AbortController();
      const waiting = limiter.wait('k', { cost: 6, signal: stop.signal });
      await stillWaits(waiting, 'who asked for what is used up');
      const reason = new Error('enough');
      stop.abort(reason);
      await rejectsWith(waiting, reason);
      const isBack = async () => (await limiter.usage('k')).resetMs <= 100_000;
      await eventually(isBack, 'what was taken for it is back');
    },
  },
  {
    name: 'of many who give up together all make room',
    async run({ one, useUp, stillWaits, rejectsWith, eventually }) {
      const limiter = await one({ rate: { limit: 10, period: '100s' } });
      await useUp(limiter, 'k');
      const stop = new AbortController();
      const waits = Array.from({ length: 5 }, () =>
        limiter.wait('k', { cost: 3, signal: stop.signal }),
      );
      const last = waits.at(-1)!;
      for (const waiting of waits) waiting.catch(() => undefined);
      await stillWaits(last, 'who asked for what is used up');
      const reason = new Error('enough');
      stop.abort(reason);
      for (const waiting of waits) await rejectsWith(waiting, reason);
      const isBack = async () => (await limiter.usage('k')).resetMs <= 100_000;
      await eventually(isBack, 'what was taken for them is back');
    },
  },
  {
    name: 'a signal that is aborted already takes nothing',
    async run({ one, rejectsWith }) {
      const limiter = await one({ rate: { limit: 10, period: '360d' } });
      const reason = new Error('before');
      const signal = AbortSignal.abort(reason);
      await rejectsWith(limiter.wait('k', { signal }), reason);
      assert.equal((await limiter.usage('k')).remaining, 10);
    },
  },
  {
    name: 'what would take longer than the longest wait is refused at once, says when to come back, and takes nothing',
    async run({ one, useUp, refuses }) {
      const limiter = await one({ rate: { limit: 10, period: '100s' } });
      await useUp(limiter, 'k');
      const error = await refuses(limiter.wait('k', { maxWait: '5s' }), 'ERR_RATE_LIMITED');
      assert.equal(error.retryable, true);
      assert.ok(error.retryAfterMs! > 5000 && error.retryAfterMs! <= 10_001);
      assert.equal(await limiter.reserve('k', { maxWait: 0 }), undefined);
      const { resetMs } = await limiter.usage('k');
      assert.ok(resetMs <= 100_001, `${resetMs}`);
      const reserved = await limiter.reserve('k', { maxWait: '11s' });
      assert.ok(reserved !== undefined && reserved.delayMs <= 10_001);
    },
  },
  {
    name: 'one more than may wait is refused',
    async run({ one, useUp, stillWaits, refuses, later }) {
      const limiter = await one({ rate: { limit: 2, period: '100s' }, maxWaiting: 2 });
      await useUp(limiter, 'k');
      const waits = [later(limiter.wait('k')), later(limiter.wait('other', { cost: 2 }))];
      await waits[1];
      const second = later(limiter.wait('k'));
      await stillWaits(second, 'the second');
      await refuses(limiter.wait('k'), 'ERR_RATE_LIMITED');
      await limiter.close();
      await refuses(second, 'ERR_CLOSED');
    },
  },
  {
    name: 'after close nobody waits any more, and what was taken for them is back for others',
    needs: ['twoClients'],
    async run({ two, useUp, later, stillWaits, refuses }) {
      const [limiter, other] = await two({ rate: { limit: 10, period: '100s' } });
      await useUp(limiter, 'k');
      const waits = [later(limiter.wait('k', { cost: 5 })), later(limiter.wait('k', { cost: 3 }))];
      await stillWaits(waits[1]!, 'the second');
      await limiter.close();
      for (const waiting of waits) await refuses(waiting, 'ERR_CLOSED');
      assert.ok((await other.usage('k')).resetMs <= 100_001, 'it was not given back');
      await refuses(limiter.allow('k'), 'ERR_CLOSED');
    },
  },
  {
    name: 'a limiter that was closed takes no more waits, and can be closed again',
    async run({ one, refuses }) {
      const limiter = await one({ rate: '1/s' });
      await limiter.close();
      await limiter.close();
      await refuses(limiter.wait('k'), 'ERR_CLOSED');
    },
  },
];
