import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isQuorateError } from '../core/errors.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { circuitBreaker } from './breaker/circuit-breaker.ts';
import { bulkhead } from './bulkhead.ts';
import { fallback } from './fallback.ts';
import { Rejection } from './outcome.ts';
import { pipeline } from './pipeline.ts';
import type { Failure } from './retry.ts';
import { timeout } from './timeout.ts';

const down = (): never => {
  throw new Error('down');
};
const never = (): Promise<never> => new Promise(() => undefined);

describe('fallback', () => {
  it('answers with a value, or with what a function makes of the failure', async () => {
    assert.equal(await fallback(0).run<number>(down), 0);
    const failures: Failure[] = [];
    const computed = fallback(async (failure, { attempt }) => {
      failures.push(failure);
      return attempt;
    });
    assert.deepEqual(await computed.attempt(down), { ok: true, value: 1 });
    assert.equal(failures[0]!.ok, false);
    assert.equal(failures[0]!.reason, 'failed');
    assert.equal((failures[0]!.error as Error).message, 'down');
    assert.deepEqual(computed.stats(), { calls: 1, fallbacks: 1, failures: 0 });
  });

  it('leaves what succeeds alone', async () => {
    const policy = fallback(() => assert.fail('it must not be asked'));
    assert.equal(await policy.run(() => 5), 5);
    assert.equal(await policy.run(() => undefined), undefined);
  });

  it('answers refusals of policies further in, and tells which it was', async () => {
    const breaker = circuitBreaker();
    breaker.open();
    const stock = pipeline('stock', [fallback(({ reason }) => reason), breaker]);
    assert.equal(await stock.run<string>(() => 'well'), 'open');
    assert.equal(stock.stats().successes, 1, 'for those around it the call has succeeded');
  });

  it('answers a timeout further in at once', async () => {
    const clock = new VirtualClock();
    const late = pipeline('late', [fallback('late'), timeout(100, { clock })]).run<string>(never);
    await clock.advance(100);
    assert.equal(await late, 'late');
  });

  it('answers only what it is to answer', async () => {
    const places = bulkhead({ max: 1 });
    const policy = fallback('full', { on: ({ reason }) => reason === 'full' });
    const full = pipeline('full', [policy, places]);
    await assert.rejects(full.run(down), /down/);
    void places.run(never);
    assert.equal(await full.run<string>(down), 'full');
    policy.reconfigure({ answer: 'failed', on: ({ reason }) => reason === 'failed' });
    const outcome = await full.attempt(down);
    assert.ok(outcome instanceof Rejection && outcome.reason === 'full');
  });

  it('that throws ends the call with its own error, caused by the first', async () => {
    const both = fallback(() => {
      throw new Error('no cache either');
    });
    await assert.rejects(both.run(down), (error: Error) => {
      assert.equal(error.message, 'no cache either');
      assert.equal((error.cause as Error).message, 'down');
      assert.deepEqual(Object.keys(error), []);
      return true;
    });
    const breaker = circuitBreaker();
    breaker.open();
    const refused = pipeline('refused', [both, breaker]);
    await assert.rejects(refused.run(down), (error: Error) => {
      assert.ok(isQuorateError(error.cause, 'ERR_CIRCUIT_OPEN'));
      return true;
    });
    assert.deepEqual(both.stats(), { calls: 2, fallbacks: 0, failures: 2 });
  });

  it('that throws what it was given, no error, a frozen one or one with a cause, changes it not', async () => {
    const same = fallback((failure) => {
      throw failure.error;
    });
    await assert.rejects(same.run(down), (error: Error) => error.cause === undefined);
    const mine = new Error('mine', { cause: 'my own' });
    for (const thrown of ['text', undefined, Object.freeze(new Error('frozen')), mine]) {
      const policy = fallback(() => {
        throw thrown;
      });
      const outcome = await policy.attempt(down);
      assert.ok(!outcome.ok && outcome.reason === 'failed' && outcome.error === thrown);
    }
    assert.equal(mine.cause, 'my own');
  });

  it('is not asked where the caller gave up', async () => {
    const policy = fallback(() => assert.fail('it must not be asked'));
    const abort = new AbortController();
    const run = policy.run(
      ({ signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      { signal: abort.signal },
    );
    abort.abort('enough');
    await assert.rejects(run, (reason) => reason === 'enough');
    await settled();
    assert.deepEqual(policy.stats(), { calls: 1, fallbacks: 0, failures: 0 });
  });

  it('may answer with a refusal of another pipeline as a value', async () => {
    const refusal = new Rejection('full', 'another');
    assert.equal(await fallback(refusal).run(down), refusal);
    assert.deepEqual(await fallback(() => refusal).attempt(down), { ok: true, value: refusal });
  });

  it('refuses rules that are none, and keeps the old', async () => {
    const policy = fallback(1);
    const refused = { code: 'ERR_INVALID_ARGUMENT' };
    assert.throws(() => fallback(1, { on: 'failed' as never }), refused);
    assert.throws(() => policy.reconfigure({} as never), refused);
    assert.throws(() => policy.reconfigure({ answer: 2, on: 1 as never }), refused);
    assert.equal(await policy.run<number>(down), 1);
    policy.reconfigure({ answer: undefined });
    assert.equal(await policy.run(down), undefined);
  });
});
