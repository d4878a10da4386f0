import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isQuorateError } from '../core/errors.ts';
import { seededRandom } from '../core/random.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { bulkhead } from './bulkhead.ts';
import { type DegradeOptions, degrade } from './degrade.ts';
import { pipeline } from './pipeline.ts';
import { timeout } from './timeout.ts';

/** A primary that takes a time, and fails if it is told to. */
function open(options: Partial<DegradeOptions> = {}) {
  const clock = new VirtualClock();
  const changes: string[] = [];
  const primary = { calls: 0, tookMs: 0, isDown: false };
  const policy = degrade({
    fallback: 'fallback',
    minCalls: 4,
    open: 1000,
    clock,
    random: seededRandom(1),
    onStateChange: ({ from, to, reason }) => changes.push(`${from} → ${to}: ${reason}`),
    ...options,
  });
  const work = async (): Promise<string> => {
    primary.calls += 1;
    const { tookMs, isDown } = primary;
    if (tookMs > 0) await new Promise<void>((resolve) => clock.after(tookMs, resolve));
    if (isDown) throw new Error('down');
    return 'primary';
  };
  /** One after the other. */
  const call = async (times: number): Promise<unknown[]> => {
    const answers: unknown[] = [];
    for (let i = 0; i < times; i++) {
      const answer = policy.attempt(work);
      await clock.advance(primary.tookMs);
      const outcome = await answer;
      answers.push(outcome.ok ? outcome.value : outcome.reason);
    }
    return answers;
  };
  return { clock, changes, primary, policy, work, call };
}

describe('degradation', () => {
  it('answers by the fallback where the primary fails, and at once where more than half of it does', async () => {
    const { primary, policy, call } = open();
    assert.deepEqual(await call(2), ['primary', 'primary']);
    primary.isDown = true;
    assert.deepEqual(await call(2), ['fallback', 'fallback']);
    assert.equal(policy.isDegraded, false, 'half is not more than half');
    await call(1);
    assert.equal(policy.isDegraded, true);
    assert.deepEqual(await call(3), ['fallback', 'fallback', 'fallback']);
    assert.equal(primary.calls, 5, 'the primary is left alone');
    const { requests, fallbacks, primaryCalls, errors, errorRate } = policy.stats();
    assert.deepEqual(
      { requests, fallbacks, primaryCalls, errors, errorRate },
      { requests: 8, fallbacks: 6, primaryCalls: 5, errors: 3, errorRate: 0.6 },
    );
  });

  it('degrades where the primary takes more than 2 s on average, though it succeeds', async () => {
    const { primary, policy, call } = open();
    primary.tookMs = 2000;
    assert.deepEqual(await call(4), ['primary', 'primary', 'primary', 'primary']);
    assert.equal(policy.isDegraded, false, 'as long is not longer');
    primary.tookMs = 2001;
    await call(1);
    assert.equal(policy.isDegraded, true);
    assert.deepEqual(await call(1), ['fallback']);
  });

  it('goes by the rate and the mean that it is given', async () => {
    const strict = open({ errorRate: 0, minCalls: 1 });
    strict.primary.isDown = true;
    await strict.call(1);
    assert.equal(strict.policy.isDegraded, true);
    const patient = open({ errorRate: 0.9, mean: '1ms' });
    patient.primary.tookMs = 2;
    await patient.call(4);
    assert.equal(patient.policy.isDegraded, true);
  });

  it('follows a primary that turns slow, then dead, then well', async () => {
    const { clock, changes, primary, policy, call } = open({ open: { first: 1000, jitter: 0 } });
    await call(10);
    primary.tookMs = 3000;
    await call(4);
    assert.equal(policy.stats().state, 'open');
    primary.tookMs = 0;
    primary.isDown = true;
    await clock.advance(1000);
    await call(3);
    await clock.advance(2000);
    await call(3);
    primary.isDown = false;
    await clock.advance(3999);
    assert.deepEqual(await call(1), ['fallback']);
    await clock.advance(1);
    assert.deepEqual(await call(3), ['primary', 'primary', 'primary']);
    assert.equal(policy.isDegraded, false);
    assert.deepEqual(changes, [
      'closed → open: mean',
      'open → half-open: time',
      'half-open → open: trial',
      'open → half-open: time',
      'half-open → open: trial',
      'open → half-open: time',
      'half-open → closed: trial',
    ]);
  });

  it('does not recover by a trial that succeeds and is slow', async () => {
    const { clock, primary, policy, call } = open({ mean: 100 });
    primary.tookMs = 101;
    await call(4);
    await clock.advance(1000);
    assert.deepEqual(await call(1), ['primary']);
    assert.equal(policy.stats().state, 'open');
    await clock.advance(1000);
    primary.tookMs = 100;
    await call(1);
    assert.equal(policy.stats().state, 'closed');
  });

  it('shows mean and percentiles of the primary over the window as it slides', async () => {
    const { clock, primary, policy, call } = open({ window: '100s', mean: '1h' });
    primary.tookMs = 100;
    await call(99);
    primary.tookMs = 9000;
    await call(1);
    const { meanMs, p50Ms, p95Ms, p99Ms, requests } = policy.stats();
    assert.equal(requests, 100);
    assert.equal(meanMs, 189);
    for (const ms of [p50Ms!, p95Ms!, p99Ms!]) assert.ok(Math.abs(ms - 100) < 1.6, `${ms}`);
    await clock.advance(100_000);
    assert.deepEqual(policy.stats(), {
      mode: 'auto',
      state: 'closed',
      isDegraded: false,
      requests: 0,
      fallbacks: 0,
      fallbackErrors: 0,
      primaryCalls: 0,
      errors: 0,
      errorRate: 0,
      meanMs: undefined,
      p50Ms: undefined,
      p95Ms: undefined,
      p99Ms: undefined,
    });
  });

  it('counts a call in the window in which it came, and its end in that in which it ended', async () => {
    const { clock, primary, policy, call } = open({ mean: '1h' });
    await call(1);
    await clock.advance(20_000);
    await call(1);
    assert.equal(policy.stats().requests, 1);
    primary.tookMs = 15_000;
    await call(1);
    const { requests, primaryCalls, meanMs } = policy.stats();
    assert.deepEqual([requests, primaryCalls, meanMs], [0, 1, 15_000]);
  });

  it('tries once more where the caller of a trial gave up', async () => {
    const { clock, primary, policy, work, call } = open({ minCalls: 1 });
    primary.isDown = true;
    await call(1);
    await clock.advance(1000);
    primary.isDown = false;
    primary.tookMs = 100;
    const abort = new AbortController();
    const trial = policy.attempt(work, { signal: abort.signal });
    abort.abort();
    assert.equal((await trial).ok, false);
    // The work of this one does not look at its signal.
    assert.deepEqual(await call(1), ['fallback']);
    await settled();
    assert.deepEqual(await call(1), ['primary']);
    assert.equal(policy.isDegraded, false);
  });

  it('is switched on by hand, and recovers by trials when it is left to the rules again', async () => {
    const { clock, primary, policy, call } = open();
    policy.switchTo('on');
    policy.switchTo('on');
    assert.equal(policy.mode, 'on');
    assert.deepEqual(await call(2), ['fallback', 'fallback']);
    await clock.advance(1e9);
    assert.deepEqual(await call(1), ['fallback']);
    assert.equal(primary.calls, 0);
    policy.switchTo('auto');
    assert.equal(policy.isDegraded, true);
    assert.deepEqual(await call(1), ['primary']);
    assert.equal(policy.isDegraded, false);
  });

  it('is switched off by hand: the primary alone, whose failures are the caller’s', async () => {
    const { primary, policy, call } = open();
    primary.isDown = true;
    await call(4);
    assert.equal(policy.isDegraded, true);
    policy.switchTo('off');
    assert.equal(policy.isDegraded, false);
    assert.deepEqual(await call(6), Array(6).fill('failed'));
    assert.equal(policy.stats().errors, 10, 'the figures go on');
    policy.switchTo('auto');
    assert.equal(policy.isDegraded, false, 'it begins to count anew');
    assert.deepEqual(await call(3), ['fallback', 'fallback', 'fallback']);
    assert.equal(policy.isDegraded, false);
    await call(1);
    assert.equal(policy.isDegraded, true);
    policy.switchTo('on');
    policy.switchTo('off');
    policy.switchTo('auto');
    assert.equal(policy.stats().state, 'closed');
  });

  it('takes a call that began under another mode for what it was let in as', async () => {
    const { clock, primary, policy, work } = open({ minCalls: 1 });
    primary.tookMs = 100;
    primary.isDown = true;
    policy.switchTo('off');
    const off = policy.attempt(work);
    policy.switchTo('auto');
    const auto = policy.attempt(work);
    policy.switchTo('off');
    policy.switchTo('auto');
    await clock.advance(100);
    assert.equal((await off).ok, false);
    assert.deepEqual(await auto, { ok: true, value: 'fallback' });
    assert.equal(policy.isDegraded, false, 'neither counts for what is in force now');
  });

  it('makes answers of failures, and rejects with the error of a fallback that throws', async () => {
    const computed = open({
      minCalls: 1,
      fallback: ({ reason }: { reason: string }) => `because: ${reason}`,
    });
    computed.primary.isDown = true;
    assert.deepEqual(await computed.call(2), ['because: failed', 'because: open']);
    const failing = open({
      minCalls: 1,
      fallback: () => {
        throw new Error('no cache');
      },
    });
    failing.primary.isDown = true;
    await assert.rejects(failing.policy.run(failing.work), (error: Error) => {
      return error.message === 'no cache' && (error.cause as Error).message === 'down';
    });
    await assert.rejects(failing.policy.run(failing.work), (error: Error) =>
      isQuorateError(error.cause, 'ERR_CIRCUIT_OPEN'),
    );
    const { fallbacks, fallbackErrors, errors } = failing.policy.stats();
    assert.deepEqual([fallbacks, fallbackErrors, errors], [2, 2, 1]);
  });

  it('leaves single failures to the caller where it is told to answer only while degraded', async () => {
    const { primary, call } = open({ on: ({ reason }) => reason === 'open' });
    primary.isDown = true;
    const failed = Array(4).fill('failed');
    assert.deepEqual(await call(5), [...failed, 'fallback']);
  });

  it('counts what its predicates say, and asks them once', async () => {
    let asked = 0;
    const { primary, policy, call } = open({
      minCalls: 1,
      isFailure: () => {
        asked += 1;
        return false;
      },
    });
    primary.isDown = true;
    assert.deepEqual(await call(1), ['fallback']);
    assert.equal(asked, 1);
    assert.equal(policy.stats().errors, 0);
    assert.equal(policy.isDegraded, false);
  });

  it('hears of timeouts inside it and around it', async () => {
    const { clock, policy } = open({ minCalls: 1 });
    const never = (): Promise<string> => new Promise(() => undefined);
    const inside = pipeline('inside', [policy, timeout(100, { clock })]).run(never);
    await clock.advance(100);
    assert.equal(await inside, 'fallback');
    assert.equal(policy.isDegraded, true);
    const around = open({ minCalls: 1 });
    const late = pipeline('around', [timeout(100, { clock: around.clock }), around.policy]);
    const outcome = late.attempt(never);
    await around.clock.advance(100);
    assert.equal((await outcome).ok, false);
    assert.equal(around.policy.isDegraded, true);
    assert.equal(around.policy.stats().fallbacks, 0);
    await settled();
  });

  it('takes refusals further in for no failure of the primary, and answers them', async () => {
    const { policy, work } = open({ minCalls: 1 });
    const places = bulkhead({ max: 1 });
    void places.run(() => new Promise(() => undefined));
    const full = pipeline('full', [policy, places]);
    assert.equal(await full.run(work), 'fallback');
    assert.equal(policy.isDegraded, false);
    assert.equal(policy.stats().primaryCalls, 0);
  });

  it('stands in a pipeline between others, each with its own ticket', async () => {
    const { policy, primary, work } = open({ minCalls: 1 });
    const [outer, inner] = [
      bulkhead({ max: 1, name: 'outer' }),
      bulkhead({ max: 1, name: 'inner' }),
    ];
    const all = pipeline('all', [outer, policy, inner]);
    assert.equal(await all.run(work), 'primary');
    primary.isDown = true;
    for (let i = 0; i < 3; i++) assert.equal(await all.run(work), 'fallback');
    assert.deepEqual([outer.running, inner.running], [0, 0]);
    assert.equal(primary.calls, 3);
  });

  it('keeps its functions when it is given new rules without any, as a file holds them', async () => {
    const { clock, policy, primary, call } = open({
      isFailure: () => false,
      isBadValue: (value) => value === 'primary',
      on: ({ reason }) => reason === 'open',
    });
    policy.reconfigure({ minCalls: 2, open: 1000 });
    primary.isDown = true;
    assert.deepEqual(await call(4), Array(4).fill('failed'));
    assert.equal(policy.stats().errors, 0);
    primary.isDown = false;
    assert.deepEqual(await call(6), [...Array(5).fill('primary'), 'fallback']);
    policy.reconfigure({ isBadValue: () => false, on: () => true, open: 1000 });
    policy.reconfigure({ minCalls: 3, open: 1000 });
    await clock.advance(1000);
    assert.deepEqual(await call(1), ['primary']);
    assert.equal(policy.stats().errors, 5);
    primary.isDown = true;
    assert.deepEqual(await call(1), ['fallback']);
  });

  it('takes new rules at once, and keeps the old where they cannot be', async () => {
    const { policy, primary, call } = open({ errorRate: 0.9 });
    primary.isDown = true;
    await call(3);
    const refused = { code: 'ERR_INVALID_ARGUMENT' };
    for (const rules of [
      { errorRate: 1 },
      { errorRate: -0.1 },
      { errorRate: Number.NaN },
      { mean: 0 },
      { mean: 'soon' },
      { minCalls: 0 },
      { on: 'open' as never },
      { on: () => false, errorRate: 2 },
    ]) {
      assert.throws(() => policy.reconfigure(rules), refused);
      assert.throws(() => open(rules), refused);
    }
    policy.reconfigure({ minCalls: 5, errorRate: 0.5, open: 1000 });
    await call(1);
    assert.equal(policy.isDegraded, false);
    await call(1);
    assert.equal(policy.isDegraded, true);
    assert.throws(() => degrade({} as never), refused);
    for (const window of [0, 'soon', Number.NaN]) assert.throws(() => open({ window }), refused);
    assert.throws(() => open({ mode: 'maybe' as never }), refused);
    assert.throws(() => policy.switchTo('maybe' as never), refused);
  });
});

describe('a degradation on trial', () => {
  it('tries another call where one is given up, and goes by the end of that', async () => {
    const { clock, primary, policy, work, call } = open();
    primary.isDown = true;
    await call(4);
    assert.equal(policy.isDegraded, true);
    primary.isDown = false;
    await clock.advance(1000);
    const stop = new AbortController();
    const given = policy.attempt(
      ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        }),
      { signal: stop.signal },
    );
    await settled();
    const before = policy.stats();
    assert.equal(before.state, 'half-open');
    assert.equal(await policy.run(work), 'fallback', 'its place is taken');
    stop.abort(new Error('enough'));
    assert.equal((await given).ok, false);
    await settled();
    assert.equal(await policy.run(work), 'primary');
    assert.equal(policy.isDegraded, false);
    const { primaryCalls, requests } = policy.stats();
    assert.equal(primaryCalls, before.primaryCalls + 1, 'what was given up says nothing');
    assert.equal(requests, before.requests + 2);
  });

  it('says that it is not degraded while it is switched off, whatever fails', async () => {
    const { primary, policy, call } = open();
    assert.equal(policy.mode, 'auto');
    primary.isDown = true;
    await call(4);
    assert.equal(policy.isDegraded, true);
    policy.switchTo('off');
    assert.equal(policy.isDegraded, false);
    assert.deepEqual(await call(8), new Array(8).fill('failed'));
    assert.deepEqual([policy.isDegraded, policy.stats().state], [false, 'closed']);
    policy.switchTo('auto');
    assert.equal(policy.isDegraded, false, 'it begins to count anew');
    await call(4);
    assert.equal(policy.isDegraded, true);
    policy.switchTo('on');
    assert.deepEqual([policy.mode, policy.isDegraded], ['on', true]);
  });

  it('notes what the fallback does when it does it', async () => {
    const clock = new VirtualClock();
    const policy = degrade({
      fallback: async () => {
        await new Promise<void>((resolve) => clock.after(7000, resolve));
        throw new Error('none either');
      },
      clock,
    });
    const run = policy.attempt(() => Promise.reject(new Error('down')));
    await clock.advance(7000);
    assert.equal((await run).ok, false);
    const now = policy.stats();
    assert.deepEqual([now.fallbacks, now.fallbackErrors, now.requests], [1, 1, 1]);
    // The request is out of the window, its end is not.
    await clock.advance(4000);
    const later = policy.stats();
    assert.deepEqual([later.fallbacks, later.fallbackErrors, later.requests], [0, 1, 0]);
  });
});
