import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { memoryKv } from '../kv/memory-kv.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { kvLimiter } from './cluster/kv-limiter.ts';
import { type Limit, limit } from './limit.ts';
import { fixedWindow } from './limiters.ts';
import { pipeline } from './pipeline.ts';

/** Exact times: so much from each full second on. */
function open(rate = '1/s') {
  const clock = new VirtualClock();
  const limiter = fixedWindow({ rate, clock });
  return { clock, limiter };
}

async function reasonOf(run: ReturnType<Limit['attempt']>): Promise<string> {
  const outcome = await run;
  return outcome.ok ? 'ok' : outcome.reason;
}

describe('a limit in the way of calls', () => {
  it('counts what runs, what is refused, and what waits now', async () => {
    const { clock, limiter } = open();
    const guard = limit(limiter, { maxWait: 1000 });
    const stop = new AbortController();
    const first = guard.attempt(() => 1);
    const second = guard.attempt(() => 2);
    const third = guard.attempt(() => 3);
    const given = guard.attempt(() => 4, { signal: stop.signal });
    await settled();
    // The second takes what comes in a second; the others would wait longer.
    assert.deepEqual(guard.stats(), { allowed: 1, refused: 2, waiting: 1 });
    assert.equal(await reasonOf(third), 'limited');
    assert.equal(await reasonOf(given), 'limited');
    await clock.advance(1000);
    assert.deepEqual(
      [await first, await second],
      [
        { ok: true, value: 1 },
        { ok: true, value: 2 },
      ],
    );
    assert.deepEqual(guard.stats(), { allowed: 2, refused: 2, waiting: 0 });
  });

  it('waits as long as it may and not a moment longer, and says when to come back', async () => {
    const { clock, limiter } = open();
    const [patient, hasty] = [limit(limiter, { maxWait: 1000 }), limit(limiter, { maxWait: 999 })];
    await patient.run(() => 1);
    const refused = await hasty.attempt(() => 1);
    assert.equal(!refused.ok && refused.retryAfterMs, 1000);
    const run = patient.run(() => 2);
    await settled();
    assert.equal(patient.stats().waiting, 1);
    await clock.advance(1000);
    assert.equal(await run, 2);
    assert.deepEqual(hasty.stats(), { allowed: 0, refused: 1, waiting: 0 });
  });

  it('refuses who waits for more than the new rules ever give at once', async () => {
    const { clock, limiter } = open('5/s');
    const guard = limit(limiter, { maxWait: '1m' });
    const calls = pipeline('calls', [guard], { clock });
    await calls.run(() => 1, { cost: 5 });
    const waiting = calls.attempt(() => 2, { cost: 5 });
    await settled();
    calls.reconfigure({ limit: { rate: '2/s' } });
    const refused = await waiting;
    assert.equal(!refused.ok && refused.reason, 'limited');
    assert.deepEqual(guard.stats(), { allowed: 1, refused: 1, waiting: 0 });
  });

  it('ends with the error of a limiter that is closed, or with the reason of who gave up', async () => {
    const { limiter } = open();
    const guard = limit(limiter, { maxWait: '1m' });
    await guard.run(() => 1);
    const stop = new AbortController();
    const given = guard.attempt(() => 2, { signal: stop.signal });
    const closed = guard.attempt(() => 3);
    await settled();
    assert.equal(guard.stats().waiting, 2);
    stop.abort(new Error('enough'));
    limiter.close();
    assert.equal(await reasonOf(given), 'aborted');
    const outcome = await closed;
    assert.equal(!outcome.ok && outcome.reason, 'failed');
    assert.equal(!outcome.ok && (outcome.error as { code: string }).code, 'ERR_CLOSED');
    assert.deepEqual(guard.stats(), { allowed: 1, refused: 0, waiting: 0 });
  });
});

describe('a limit of many processes in the way of calls', () => {
  it('counts what runs, what is refused, and what waits now', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv({ clock });
    const rules = { rate: { limit: 1, period: '10s' }, clock } as const;
    const limiter = kvLimiter(kv, rules);
    const once = limit(limiter);
    assert.equal(once.name, 'limit');
    assert.equal(await once.run(() => 1), 1);
    assert.equal(await reasonOf(once.attempt(() => 2)), 'limited');
    assert.deepEqual(once.stats(), { allowed: 1, refused: 1, waiting: 0 });

    const guard = limit(limiter, { maxWait: '12s', name: 'own' });
    const stop = new AbortController();
    const second = guard.attempt(() => 2);
    await clock.advance(20);
    const third = guard.attempt(() => 3);
    const given = guard.attempt(() => 4, { signal: stop.signal });
    await clock.advance(20);
    assert.equal(await reasonOf(third), 'limited');
    assert.deepEqual(guard.stats().waiting, 1);
    stop.abort(new Error('enough'));
    await given;
    await clock.advance(10_000);
    assert.deepEqual(await second, { ok: true, value: 2 });
    const { allowed, refused, waiting } = guard.stats();
    assert.deepEqual([allowed, waiting], [1, 0]);
    assert.ok(refused >= 1 && refused <= 2, `${refused}`);
    const closing = limiter.close();
    await clock.advance(10_000);
    await closing;
    await assert.rejects(
      guard.run(() => 5),
      { code: 'ERR_CLOSED' },
    );
    assert.throws(() => limit(limiter, { maxWait: -1 }), /^QuorateError: maxWait: -1/);
  });

  it('is changed by its name in a pipeline', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv({ clock });
    const limiter = kvLimiter(kv, { rate: { limit: 1, period: '10s' }, clock });
    const calls = pipeline('calls', [limit(limiter)], { clock });
    await calls.run(() => 1);
    calls.reconfigure({ limit: { rate: { limit: 1, period: '10s' }, burst: 2 } });
    assert.equal(await calls.run(() => 2), 2);
    const closing = limiter.close();
    await clock.advance(10_000);
    await closing;
  });
});
