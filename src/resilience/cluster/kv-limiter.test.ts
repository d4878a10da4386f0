import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Clock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import { seededRandom } from '../../core/random.ts';
import { type Kv, kvOver, memoryService, type Txn, type TxnResult } from '../../kv/index.ts';
import { settled, VirtualClock } from '../../testing/virtual-clock.ts';
import { limit } from '../limit.ts';
import type { ClusterDecision, ClusterLimiter } from '../limiter.ts';
import { tokenBucket } from '../limiters.ts';
import { type KvLimiterOptions, kvLimiter } from './kv-limiter.ts';

/** Nothing of it comes back while a test runs. */
const SLOW = { limit: 100, period: '300d' } as const;
const ALGORITHMS = ['token-bucket', 'sliding-window', 'sliding-counter', 'fixed-window'] as const;

let clock: VirtualClock;
let kv: Kv;
const limiters: ClusterLimiter[] = [];
beforeEach(() => {
  clock = new VirtualClock();
  kv = kvOver(memoryService({ clock }));
});
afterEach(async () => {
  const closing = limiters.splice(0).map((limiter) => limiter.close());
  await clock.advance(10_000);
  await Promise.all(closing);
  await kv.close();
});

const open = (options: KvLimiterOptions, store = kv): ClusterLimiter => {
  const limiter = kvLimiter(store, { clock, random: seededRandom(7), ...options });
  limiters.push(limiter);
  return limiter;
};

/** A wall clock that is wrong by so much. */
const skewed = (byMs: () => number): Clock => ({
  now: () => clock.now(),
  wallNow: () => clock.wallNow() + byMs(),
  after: (delayMs, run) => clock.after(delayMs, run),
  every: (intervalMs, run) => clock.every(intervalMs, run),
});

/** The store with its transactions counted, and in somebody's hands. */
function withTxn(change: (txn: Txn, run: () => Promise<TxnResult>) => Promise<TxnResult>): Kv {
  return new Proxy(kv, {
    get(target, name) {
      if (name === 'txn') {
        return (txn: Txn, options?: { signal?: AbortSignal }) =>
          change(txn, () => target.txn(txn, options));
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** A store that does not answer while it is told so. */
function hanging(): { readonly store: Kv; isDown: boolean; calls: number } {
  const it = { store: kv, isDown: false, calls: 0 };
  const never = () => new Promise<never>(() => undefined);
  it.store = new Proxy(kv, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        it.calls += 1;
        return it.isDown ? never() : value.apply(target, args);
      };
    },
  });
  return it;
}

describe('limiters over a store', () => {
  it('decide together what is asked at the same time: a hot key costs a transaction a round', async () => {
    let count = 0;
    const store = withTxn((_, run) => {
      count += 1;
      return run();
    });
    const limiter = open({ rate: { limit: 5000, period: '300d' } }, store);
    const asked = Array.from({ length: 900 }, () => limiter.allow('k'));
    assert.ok((await Promise.all(asked)).every(({ ok }) => ok));
    assert.equal(count, 1);
    // What is known of the key saves the reading.
    for (let i = 0; i < 10; i++) await limiter.allow('k');
    assert.equal(count, 11);
    assert.equal((await kv.range({ prefix: '' })).count, 1);
  });

  it('write nothing where they refuse, and read what others did', async () => {
    const [one, other] = [open({ rate: SLOW }), open({ rate: SLOW })];
    await one.allow('k', 100);
    const { revision } = await kv.range('none');
    assert.equal((await one.allow('k')).ok, false);
    assert.equal((await other.allow('k')).ok, false);
    assert.equal((await kv.range('none')).revision, revision);
    await other.reset('k');
    assert.equal((await one.allow('k', 100)).ok, true);
  });

  it('count what was taken by a transaction whose answer was lost', async () => {
    let isLost = false;
    const store = withTxn(async (_, run) => {
      const result = await run();
      if (!isLost) return result;
      throw new QuorateError('ERR_UNAVAILABLE', 'lost', { outcome: 'unknown', retryable: true });
    });
    const limiter = open({ rate: SLOW }, store);
    assert.equal((await limiter.allow('k', 10)).ok, true);
    isLost = true;
    const { ok, down, retryAfterMs } = await limiter.allow('k', 60);
    assert.deepEqual([ok, down?.code, down?.outcome], [false, 'ERR_UNAVAILABLE', 'unknown']);
    assert.ok(retryAfterMs > 0);
    isLost = false;
    assert.equal((await limiter.allow('k', 40)).ok, false);
    assert.equal((await limiter.allow('k', 30)).ok, true);
  });

  it('mend a lease that is gone, within the same question', async () => {
    const limiter = open({ rate: SLOW });
    await limiter.allow('k', 50);
    for (const id of await kv.leases()) await kv.revokeLease(id);
    // The key went with its lease, which nobody should do.
    assert.deepEqual(await limiter.allow('k', 60), { ok: true, retryAfterMs: 0 });
    assert.deepEqual(await limiter.allow('other'), { ok: true, retryAfterMs: 0 });
  });

  it('need few leases for many keys, and leave nothing behind', async () => {
    const limiter = open({ rate: '10/s' });
    await Promise.all(Array.from({ length: 500 }, (_, i) => limiter.allow(`k${i}`)));
    assert.equal((await kv.leases()).length, 1);
    for (let i = 0; i < 20; i++) {
      await limiter.allow('again');
      await clock.advance(1000);
    }
    assert.ok((await kv.leases()).length <= 4);
    await clock.advance(30_000);
    assert.equal((await kv.range({ prefix: '' })).count, 0);
    assert.equal((await kv.leases()).length, 0);
  });

  it('keep what is reserved for later as long as it counts', async () => {
    const limiter = open({ rate: { limit: 1, period: '10s' } });
    for (let i = 0; i < 6; i++) await limiter.reserve('k');
    await clock.advance(55_000);
    assert.equal((await limiter.allow('k')).ok, false);
    await clock.advance(5_001);
    assert.equal((await limiter.allow('k')).ok, true);
  });

  it('refuse what is no state of a limit, for that key alone', async () => {
    const limiter = open({ rate: SLOW, whenDown: 'admit' });
    for (const value of ['', 'x', 'x'.repeat(24), Buffer.alloc(16), Buffer.alloc(24, 255)]) {
      await kv.put('quorate:limit:bucket/k', value);
      for (let i = 0; i < 4; i++)
        await assert.rejects(limiter.allow('k'), { code: 'ERR_PROTOCOL' });
    }
    assert.deepEqual(await limiter.allow('other'), { ok: true, retryAfterMs: 0 });
  });

  it('refuse options that cannot be', () => {
    const bad: Partial<Record<keyof KvLimiterOptions, unknown>>[] = [
      { rate: '0/s' },
      { rate: { limit: 1, period: 0.5 } },
      { burst: 0 },
      { algorithm: 'none' },
      { algorithm: 'toString' },
      { algorithm: 'fixed-window', burst: 3 },
      { algorithm: 'sliding-window', rate: '1001/s' },
      { prefix: 7 },
      { prefix: 'x'.repeat(201) },
      { lease: { tokens: 0 } },
      { lease: { tokens: 1.5 } },
      { lease: { tokens: 10, for: 0 } },
      { lease: 10 },
      { whenDown: 'wait' },
      { whenDown: { local: open({ rate: SLOW }) } },
      { rate: undefined },
      { timeout: 0 },
      { timeout: 'soon' },
      { maxWaiting: 0 },
    ];
    for (const one of bad) {
      const make = () => kvLimiter(kv, { rate: '1/s', ...one } as KvLimiterOptions);
      assert.throws(make, { code: 'ERR_INVALID_ARGUMENT' }, JSON.stringify(one));
    }
  });
});

describe('time of limiters over a store', () => {
  it('goes by the latest clock: with one that is ahead by d at most burst + rate·(t + d) is allowed', async () => {
    for (const algorithm of ['token-bucket', 'sliding-window'] as const) {
      const leadMs = 700;
      const clocks = [clock, skewed(() => leadMs), skewed(() => -300)];
      const rate = { limit: 10, period: '1s' };
      const random = seededRandom(11);
      const all = clocks.map((its) => open({ rate, algorithm, clock: its, prefix: algorithm }));
      const taken: { ms: number; cost: number }[] = [];
      for (let i = 0; i < 900; i++) {
        const cost = 1 + random.below(2);
        const { ok } = await all[random.below(3)]!.allow('k', cost);
        if (ok) taken.push({ ms: clock.now(), cost });
        await clock.advance(random.below(20));
      }
      // The largest difference between two clocks.
      const mostMs = leadMs + 300;
      for (const [i, { ms }] of taken.entries()) {
        let sum = 0;
        for (const one of taken.slice(i)) {
          sum += one.cost;
          const most = 10 + (10 / 1000) * (one.ms - ms + mostMs + 1);
          // Windows in that time: each has its limit.
          const windows = algorithm === 'sliding-window' ? 10 : 0;
          assert.ok(sum <= most + windows, `${algorithm}: ${sum} > ${most}`);
        }
      }
      // And nobody is shut out by it.
      const lastMs = taken.at(-1)!.ms - taken[0]!.ms;
      const total = taken.reduce((sum, { cost }) => sum + cost, 0);
      assert.ok(total >= (10 / 1000) * lastMs * 0.8, `${total} in ${lastMs} ms`);
    }
  });

  it('stands still where the clock is set back, and goes on', async () => {
    let byMs = 0;
    const limiter = open({ rate: { limit: 10, period: '10s' }, clock: skewed(() => byMs) });
    await clock.advance(60_000);
    await limiter.allow('k', 10);
    byMs = -30_000;
    await clock.advance(900);
    assert.equal((await limiter.allow('k')).ok, false);
    assert.equal((await limiter.allow('other', 10)).ok, true);
    await clock.advance(31_000);
    assert.equal((await limiter.allow('k')).ok, true);
  });

  it('of a year, in the middle of a year, is rounded for nobody: all of it can be taken, one by one or at once', async () => {
    for (const algorithm of ALGORITHMS) {
      for (let day = 0; day < 300; day += 7) {
        const its = skewed(() => (20_000 + day) * 86_400_000 + day * 12_345.678);
        const rate = { limit: 12, period: '360d' };
        const limiter = open({ rate, algorithm, clock: its, prefix: `${algorithm}${day}/` });
        assert.equal((await limiter.allow('at once', 12)).ok, true, `${algorithm}, day ${day}`);
        for (let i = 0; i < 12; i++) {
          assert.equal((await limiter.allow('k')).ok, true, `${algorithm}, day ${day}: ${i}`);
        }
        assert.equal((await limiter.allow('k')).ok, false);
      }
    }
  });

  it('moves on for a record that is used all the time, and forgets nothing', async () => {
    for (const algorithm of ALGORITHMS) {
      let byMs = 0;
      const its = skewed(() => byMs);
      const period = 10 * 86_400_000;
      const options = { rate: { limit: 10, period }, algorithm, prefix: algorithm, clock: its };
      const limiter = open(options);
      const taken: number[] = [];
      const forMs = 400 * 86_400_000;
      // The store's own time stands still, so that the record stays.
      for (; byMs < forMs; byMs += 3 * 3_600_000) {
        if ((await limiter.allow('k')).ok) taken.push(byMs);
      }
      const most = algorithm === 'sliding-window' ? 10 : 20;
      for (const ms of taken) {
        const sum = taken.filter((one) => one >= ms && one < ms + period).length;
        assert.ok(sum <= most, `${algorithm}: ${sum} in ten days`);
      }
      assert.ok(taken.length >= 350, `${algorithm}: ${taken.length} in four hundred days`);
      assert.ok(taken.length <= 410, `${algorithm}: ${taken.length} in four hundred days`);
    }
  });
});

describe('a store that does not answer', () => {
  /** The answer, and how long it took. */
  const timed = async (
    work: Promise<ClusterDecision>,
  ): Promise<{ readonly said: ClusterDecision; readonly tookMs: number }> => {
    const fromMs = clock.now();
    let said: ClusterDecision | undefined;
    void work.then((value) => {
      said = value;
    });
    await settled();
    while (said === undefined) await clock.advance(5);
    return { said, tookMs: clock.now() - fromMs };
  };

  it('costs each call its timeout at most, and soon nothing; by itself it is used again', async () => {
    const it = hanging();
    const limiter = open({ rate: SLOW, timeout: 100 }, it.store);
    assert.equal((await limiter.allow('k')).ok, true);
    it.isDown = true;
    for (let i = 0; i < 3; i++) {
      const { said, tookMs } = await timed(limiter.allow('k'));
      assert.equal(said.ok, false);
      assert.equal(said.down?.code, 'ERR_UNAVAILABLE');
      assert.ok(tookMs <= 110, `${tookMs}`);
    }
    const { calls } = it;
    for (let i = 0; i < 100; i++) {
      const { said, tookMs } = await timed(limiter.allow('k'));
      assert.equal(tookMs, 0, 'it is known to be down');
      assert.ok(said.retryAfterMs > 0 && said.retryAfterMs <= 250);
    }
    assert.equal(it.calls, calls);
    it.isDown = false;
    await clock.advance(260);
    assert.deepEqual((await timed(limiter.allow('k'))).said, { ok: true, retryAfterMs: 0 });
  });

  it('is tried ever more seldom, but at least every two seconds', async () => {
    const it = hanging();
    const limiter = open({ rate: SLOW, timeout: 100 }, it.store);
    it.isDown = true;
    const before = it.calls;
    for (let i = 0; i < 600; i++) {
      void limiter.allow(`k${i}`);
      await clock.advance(100);
    }
    const tries = it.calls - before;
    assert.ok(tries >= 60_000 / 2200 && tries <= 60, `${tries} in a minute`);
  });

  it('leaves the decision to a limiter of this process, or to nobody', async () => {
    const it = hanging();
    it.isDown = true;
    const local = tokenBucket({ rate: { limit: 2, period: '300d' }, clock });
    const limiter = open({ rate: SLOW, timeout: 50, whenDown: { local } }, it.store);
    const said = [];
    for (let i = 0; i < 3; i++) said.push((await timed(limiter.allow('k'))).said);
    assert.deepEqual(
      said.map(({ ok }) => ok),
      [true, true, false],
    );
    assert.ok(said.every(({ down }) => down !== undefined));
    await assert.rejects(limiter.wait('k', { maxWait: 0 }), { code: 'ERR_RATE_LIMITED' });
    assert.equal(await limiter.reserve('k', { maxWait: 0 }), undefined);
    const reserved = await limiter.reserve('other');
    assert.equal(reserved?.delayMs, 0);
    assert.equal(await reserved?.cancel(), false);
    const open_ = open({ rate: SLOW, timeout: 50, whenDown: 'admit', prefix: 'b' }, it.store);
    assert.equal((await timed(open_.allow('k'))).said.ok, true);
  });

  it('keeps no question that nobody waits for', async () => {
    const it = hanging();
    const limiter = open({ rate: SLOW, timeout: 100 }, it.store);
    it.isDown = true;
    // The first holds up the others; when it ends they are long over.
    const asked = Array.from({ length: 5 }, () => limiter.allow('k', 10));
    await clock.advance(101);
    for (const { ok } of await Promise.all(asked)) assert.equal(ok, false);
    it.isDown = false;
    await clock.advance(1000);
    assert.ok(Math.abs((await limiter.usage('k')).remaining - 100) < 0.01);
  });

  it('is not one whose callers gave up', async () => {
    let isSlow = true;
    const store = withTxn(async (_, run) => {
      if (isSlow) await new Promise<void>((resolve) => void clock.after(50, resolve));
      return run();
    });
    const limiter = open({ rate: SLOW, timeout: 100 }, store);
    const stop = new AbortController();
    const { signal } = stop;
    // The first is under way; the others wait for the next round, and give up before it begins.
    const asked = Array.from({ length: 9 }, (_, i) =>
      (i === 0 ? Promise.resolve() : settled()).then(() => limiter.allow('k', 10, { signal })),
    );
    const ended = Promise.allSettled(asked);
    await settled();
    await settled();
    stop.abort(new Error('enough'));
    for (const { status } of await ended) assert.equal(status, 'rejected');
    isSlow = false;
    await clock.advance(130);
    assert.deepEqual(await limiter.allow('k'), { ok: true, retryAfterMs: 0 });
    // The first was taken, as it was under way; it could not be given back, as its time had come.
    assert.ok((await limiter.usage('k')).remaining > 88);
  });

  it('is an outcome of its own for calls behind a limit', async () => {
    const it = hanging();
    const guard = limit(open({ rate: { limit: 1, period: '100s' }, timeout: 50 }, it.store));
    const slow = { rate: { limit: 1, period: '1s' }, prefix: 'w', timeout: 200 };
    const waiting = limit(open(slow, it.store), {
      maxWait: '5s',
    });
    assert.equal(await guard.run(() => 'in'), 'in');
    const refused = await guard.attempt(() => 'no');
    assert.deepEqual([refused.ok, !refused.ok && refused.reason], [false, 'limited']);
    await waiting.run(() => 'now');
    const later = waiting.run(() => 'later');
    await clock.advance(1010);
    assert.equal(await later, 'later');
    it.isDown = true;
    for (const policy of [guard, waiting]) {
      const asked = policy.attempt(() => 'no');
      await clock.advance(300);
      const down = await asked;
      assert.equal(!down.ok && down.reason, 'unavailable');
      assert.equal(!down.ok && (down.error as QuorateError).code, 'ERR_UNAVAILABLE');
    }
  });
});
