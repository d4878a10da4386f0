/** Cases of limiters: how they count. */
import assert from 'node:assert/strict';
import type { ClusterAlgorithm } from '../resilience/limiter.ts';
import type { Admission, LimiterCase, LimiterContext } from './limiters-context.ts';

export const ALGORITHMS: readonly ClusterAlgorithm[] = [
  'token-bucket',
  'sliding-window',
  'sliding-counter',
  'fixed-window',
];

/** In the time of a case nothing of it comes back, and no window ends. */
const SLOW = { limit: 12, period: '360d' } as const;

/** Asks from both at once, over and over, for a while; all that was allowed. */
async function storm(
  context: LimiterContext,
  algorithm: ClusterAlgorithm,
  rules: Parameters<LimiterContext['two']>[0],
  forMs: number,
  restMs = 0,
): Promise<Admission[]> {
  const { two, admission, clock, random } = context;
  const limiters = await two(rules, algorithm);
  const admissions: Admission[] = [];
  const untilMs = clock.now() + forMs;
  const ask = async (worker: number): Promise<void> => {
    while (clock.now() < untilMs) {
      const one = await admission(limiters[worker % 2]!, 'k', 1 + random.below(3));
      if (one !== undefined) admissions.push(one);
      if (restMs > 0) await context.sleep(random.below(restMs));
      else if (one === undefined) await context.sleep(1 + random.below(10));
    }
  };
  await Promise.all(Array.from({ length: 12 }, (_, worker) => ask(worker)));
  return admissions;
}

const ofEach = ALGORITHMS.map((algorithm): readonly LimiterCase[] => [
  {
    name: `${algorithm}: of many who ask at once from two processes exactly as many get it as the limit says`,
    async run({ two }) {
      const limiters = await two({ rate: SLOW }, algorithm);
      const asked = Array.from({ length: 40 }, (_, i) => limiters[i % 2]!.allow('k'));
      const said = await Promise.all(asked);
      assert.equal(said.filter(({ ok }) => ok).length, SLOW.limit);
      for (const { ok, retryAfterMs } of said) assert.equal(retryAfterMs > 0, !ok);
    },
  },
  {
    name: `${algorithm}: a cost is taken as a whole or not at all`,
    async run({ one }) {
      const limiter = await one({ rate: SLOW }, algorithm);
      assert.equal((await limiter.allow('k', 7)).ok, true);
      assert.equal((await limiter.allow('k', 6)).ok, false);
      assert.equal((await limiter.allow('k', 5)).ok, true);
      assert.equal((await limiter.allow('k')).ok, false);
    },
  },
  {
    name: `${algorithm}: keys do not depend on each other`,
    async run({ two, useUp }) {
      const [one, other] = await two({ rate: SLOW }, algorithm);
      await useUp(one, 'a');
      assert.equal((await other.allow('a')).ok, false);
      assert.equal((await other.allow('b', SLOW.limit)).ok, true);
      assert.equal((await one.allow()).ok, true);
    },
  },
  {
    name: `${algorithm}: what is refused is allowed when it was said to be, and takes nothing before`,
    async run({ one, useUp, pass }) {
      const limiter = await one({ rate: { limit: 4, period: 400 } }, algorithm);
      await useUp(limiter, 'k');
      const { ok, retryAfterMs } = await limiter.allow('k');
      assert.equal(ok, false);
      assert.ok(retryAfterMs > 0 && retryAfterMs <= 800, `${retryAfterMs}`);
      await pass(retryAfterMs);
      assert.equal((await limiter.allow('k')).ok, true);
    },
  },
  {
    name: `${algorithm}: usage says what is left, and takes nothing`,
    async run({ two }) {
      const [one, other] = await two({ rate: SLOW }, algorithm);
      const { limit } = SLOW;
      assert.deepEqual(await one.usage('k'), { limit, remaining: limit, resetMs: 0 });
      await one.allow('k', 5);
      for (let i = 0; i < 3; i++) {
        const usage = await other.usage('k');
        assert.equal(usage.limit, limit);
        assert.ok(Math.abs(usage.remaining - (limit - 5)) < 0.01, `${usage.remaining}`);
        assert.ok(usage.resetMs > 0);
      }
    },
  },
  {
    name: `${algorithm}: a reset gives all of it back, to everybody, and only for its key`,
    async run({ two, useUp }) {
      const [one, other] = await two({ rate: SLOW }, algorithm);
      await useUp(one, 'a');
      await useUp(one, 'b');
      await other.reset('a');
      assert.equal((await one.allow('a', SLOW.limit)).ok, true);
      assert.equal((await other.allow('b')).ok, false);
      await other.reset('never used');
    },
  },
]);

/** Both promises come to this: twice the limit at once, and the rate. */
const atMostTwice = (algorithm: ClusterAlgorithm, promised: string): LimiterCase => ({
  name: `${algorithm}: in any interval at most ${promised} is allowed`,
  async run(context) {
    const rules = { rate: { limit: 10, period: 100 } };
    const admissions = await storm(context, algorithm, rules, 700);
    assert.ok(admissions.length > 5);
    context.isWithin(admissions, 20, 0.1);
  },
});

/** Cases of each way to count. */
export const countingCases: readonly LimiterCase[] = [
  ...ofEach.flat(),
  {
    name: 'token-bucket: in every interval at most burst + rate·t is allowed to two processes together',
    async run(context) {
      const rules = { rate: '200/s', burst: 10 };
      const admissions = await storm(context, 'token-bucket', rules, 700);
      assert.ok(admissions.length > 5);
      context.isWithin(admissions, 10, 0.2);
    },
  },
  {
    name: 'sliding-window: in no window, wherever it begins, more than the limit is allowed',
    async run(context) {
      const rules = { rate: { limit: 10, period: 100 } };
      // With pauses: windows that begin together would be filled and emptied together.
      const admissions = await storm(context, 'sliding-window', rules, 1200, 150);
      assert.ok(admissions.length > 5);
      // Of any interval: what whole windows of it may have, and one more.
      context.isWithin(admissions, 10, 0.1);
      for (const { fromMs } of admissions) {
        const inWindow = admissions.filter((one) => one.fromMs >= fromMs && one.toMs < fromMs + 99);
        const sum = inWindow.reduce((total, { cost }) => total + cost, 0);
        assert.ok(sum <= 10, `${sum} in a window of 10`);
      }
    },
  },
  atMostTwice('fixed-window', 'the limit of each window that it touches'),
  atMostTwice('sliding-counter', 'twice the limit, and as many for each period,'),
  {
    name: 'what nobody uses any more is gone from the store',
    needs: ['leftovers'],
    async run({ one, leftovers, eventually, expiryMs }) {
      for (const algorithm of ALGORITHMS) {
        const limiter = await one({ rate: '4/s' }, algorithm);
        for (const key of ['a', 'b', 'c']) await limiter.allow(key);
      }
      assert.ok((await leftovers()).length > 0);
      const isEmpty = async () => (await leftovers()).length === 0;
      await eventually(isEmpty, 'nothing is left', 2000 + expiryMs);
    },
  },
  {
    name: 'a token bucket takes fractions of a token',
    async run({ one }) {
      const limiter = await one({ rate: { limit: 1, period: '360d' }, burst: 1 });
      assert.equal((await limiter.allow('k', 0.5)).ok, true);
      assert.equal((await limiter.allow('k', 0.75)).ok, false);
      assert.equal((await limiter.allow('k', 0.25)).ok, true);
      assert.equal((await limiter.allow('k', 0.25)).ok, true);
      assert.equal((await limiter.allow('k', 0.25)).ok, false);
    },
  },
  {
    name: 'a rate of millions is counted, not rounded',
    async run({ one, pass }) {
      const limiter = await one({ rate: '3000000/s', burst: 3_000_000 });
      assert.equal((await limiter.allow('k', 3_000_000)).ok, true);
      await pass(50);
      assert.equal((await limiter.allow('k', 140_000)).ok, true, 'of 150,000 that came back');
    },
  },
];
