/** Limits whose period is changed after they have been used for long: what was taken counts on, and nobody is locked out. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { kvOver, memoryService } from '../kv/index.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { kvLimiter } from './cluster/kv-limiter.ts';
import type { LimitRules } from './limiter.ts';
import { fixedWindow, slidingCounter } from './limiters.ts';

const HOUR_MS = 3_600_000;
const WAYS = ['fixed-window', 'sliding-counter'] as const;
type Way = (typeof WAYS)[number];

/** One limiter of a process or of many. */
interface Either {
  allow(key: string, cost?: number): unknown;
  usage(key: string): unknown;
  reconfigure(rules: LimitRules): void;
}

const MAKERS: Readonly<Record<string, (way: Way, rate: string, clock: VirtualClock) => Either>> = {
  'of a process': (way, rate, clock) =>
    (way === 'fixed-window' ? fixedWindow : slidingCounter)({ rate, clock }),
  'of many processes': (algorithm, rate, clock) =>
    kvLimiter(kvOver(memoryService({ clock })), { rate, algorithm, clock }),
};

for (const [whose, make] of Object.entries(MAKERS)) {
  describe(`a limiter ${whose}`, () => {
    for (const way of WAYS) {
      it(`with ${way} goes on after its period was changed`, async () => {
        const clock = new VirtualClock();
        const limiter = make(way, '10/s', clock);
        // A key that is never forgotten.
        for (let i = 0; i < 100; i++) {
          await limiter.allow('k');
          await clock.advance(900);
        }
        await clock.advance(whose === 'of a process' ? 30 * 24 * HOUR_MS : 2500);
        await limiter.allow('k', 10);
        limiter.reconfigure({ rate: '600/m' });
        const { remaining, resetMs } = (await limiter.usage('k')) as Record<string, number>;
        assert.ok(remaining! <= 590 && remaining! >= 570, `${remaining}`);
        assert.ok(resetMs! <= 2 * 60_000, `${resetMs}`);
        assert.equal(((await limiter.allow('k', 500)) as { ok: boolean }).ok, true);
        assert.equal(((await limiter.allow('k', 100)) as { ok: boolean }).ok, false);
        limiter.reconfigure({ rate: '100/s' });
        const after = (await limiter.usage('k')) as Record<string, number>;
        assert.ok(after['resetMs']! <= 60_000, `${after['resetMs']}`);
      });
    }
  });
}

describe('windows of the clock', () => {
  it('begin with it also after another period, for keys that were there before', async () => {
    const clock = new VirtualClock();
    const kv = kvOver(memoryService({ clock }));
    const intoMinute = clock.wallNow() % 60_000;
    await clock.advance(60_000 - intoMinute + 7000);
    const limiter = kvLimiter(kv, { rate: '10/7s', algorithm: 'fixed-window', clock });
    await limiter.allow('k');
    limiter.reconfigure({ rate: '10/m' });
    await limiter.allow('k');
    assert.equal((await limiter.usage('k')).resetMs, 53_000);
    assert.equal((await limiter.usage('k')).remaining, 8);
  });
});
