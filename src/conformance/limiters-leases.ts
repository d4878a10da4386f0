/** Cases of limiters that take tokens ahead of need. */
import assert from 'node:assert/strict';
import type { Admission, LimiterCase } from './limiters-context.ts';

/** Cases of leases. */
export const leaseCases: readonly LimiterCase[] = [
  {
    name: 'leased: where nothing comes back no more is allowed than there is',
    needs: ['lease', 'twoClients'],
    async run({ two }) {
      const rate = { limit: 50, period: '360d' } as const;
      const limiters = await two({ rate, lease: { tokens: 8, for: '10s' } });
      let allowed = 0;
      for (let i = 0; i < 20; i++) {
        const asked = Array.from({ length: 8 }, (_, j) => limiters[j % 2]!.allow('k'));
        allowed += (await Promise.all(asked)).filter(({ ok }) => ok).length;
      }
      // What one has, and does not need, the other cannot have.
      assert.ok(allowed <= 50 && allowed > 50 - 8, `${allowed}`);
    },
  },
  {
    name: 'leased: in every interval at most burst + rate·t, and the tokens of each process, are allowed',
    needs: ['lease', 'twoClients'],
    async run({ two, admission, isWithin, clock, sleep }) {
      const limiters = await two({ rate: '100/s', burst: 20, lease: { tokens: 10, for: '2s' } });
      const admissions: Admission[] = [];
      for (let round = 0; round < 3; round++) {
        const untilMs = clock.now() + 150;
        const ask = async (worker: number): Promise<void> => {
          while (clock.now() < untilMs) {
            const one = await admission(limiters[worker % 2]!, 'k');
            if (one !== undefined) admissions.push(one);
            else await sleep(3);
          }
        };
        await Promise.all(Array.from({ length: 8 }, (_, worker) => ask(worker)));
        // Who has tokens left keeps them while the bucket gets full.
        await sleep(250);
      }
      assert.ok(admissions.length > 20);
      isWithin(admissions, 20 + 2 * 10, 0.1);
    },
  },
  {
    name: 'leased: tokens that were not used in time are thrown away, and a reset takes them as well',
    needs: ['lease', 'twoClients'],
    async run({ two, pass }) {
      const rate = { limit: 100, period: '360d' } as const;
      const [one, other] = await two({ rate, lease: { tokens: 16, for: 500 } });
      for (let i = 0; i < 9; i++) assert.equal((await one.allow('k')).ok, true);
      await pass(600);
      // 1, 2, 4 and 8 were taken: six of them are lost.
      const { remaining } = await other.usage('k');
      const lost = 100 - 9 - remaining;
      assert.ok(lost > -0.01 && lost < 16, `${lost}`);
      await one.allow('k');
      await one.reset('k');
      assert.equal((await one.usage('k')).remaining, 100);
    },
  },
  {
    name: 'leased: who waits is served in order, and a cost above the lease asks the store',
    needs: ['lease'],
    async run({ one, within }) {
      const limiter = await one({
        rate: { limit: 20, period: 400 },
        lease: { tokens: 4, for: '2s' },
      });
      assert.equal((await limiter.allow('k', 20)).ok, true);
      const order: number[] = [];
      const waits = [3, 6, 1].map(async (cost) => {
        await limiter.wait('k', { cost });
        order.push(cost);
      });
      await within(Promise.all(waits), 'those who wait');
      assert.deepEqual(order.toSorted(), [1, 3, 6]);
    },
  },
];
