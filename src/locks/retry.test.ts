import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { QuorateError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { localLocks } from './local.ts';
import type { AcquireOptions, Lock, Locks } from './locks.ts';
import { lockWithRetry } from './retry.ts';

/** Locks that note when they are asked, and answer as they are told. */
class Asked {
  readonly clock = new VirtualClock();
  readonly locks = localLocks({ clock: this.clock });
  readonly timesMs: number[] = [];
  /** Before the real ones answer. */
  readonly failures: unknown[] = [];
  readonly seen: (AcquireOptions | undefined)[] = [];

  readonly tried: Locks = new Proxy(this.locks, {
    get: (locks, method) => {
      if (method !== 'acquire' && method !== 'tryAcquire') return Reflect.get(locks, method, locks);
      return async (name: string, options: AcquireOptions): Promise<Lock | undefined> => {
        this.timesMs.push(this.clock.now());
        this.seen.push(options);
        const failure = this.failures.shift();
        if (failure !== undefined) throw failure;
        return locks[method](name, options);
      };
    },
  });
}

/** Draws these shares of the range, over and over. */
function drawing(...shares: number[]): Random {
  let i = 0;
  return { below: (bound) => Math.floor(shares[i++ % shares.length]! * bound), id63: () => 1n };
}

const unavailable = new QuorateError('ERR_UNAVAILABLE', 'out of reach', { retryable: true });

describe('lockWithRetry', () => {
  it('tries as often as said, with the delay and its jitter between, then says that it was busy', async () => {
    const { tried, locks, clock, timesMs } = new Asked();
    await locks.acquire('n');
    const random = drawing(0, 0.5, 0.75);
    const options = { attempts: 4, delay: '100ms', jitter: 40, clock, random };
    const failed = assert.rejects(lockWithRetry(tried, 'n', options), {
      code: 'ERR_LOCK_BUSY',
      retryable: true,
      message: /any of 4 attempts/,
    });
    await clock.advance(1000);
    await failed;
    assert.deepEqual(timesMs, [0, 60, 160, 280]);
    assert.equal(clock.pending, 0);
  });

  it('never waits for less than nothing where the jitter is more than the delay', async () => {
    const { tried, locks, clock, timesMs } = new Asked();
    await locks.acquire('n');
    clock.after = (delayMs, run) => {
      assert.ok(delayMs >= 0);
      return VirtualClock.prototype.after.call(clock, delayMs, run);
    };
    const options = { attempts: 3, delay: 10, jitter: 1000, clock, random: drawing(0) };
    const failed = assert.rejects(lockWithRetry(tried, 'n', options), { code: 'ERR_LOCK_BUSY' });
    await clock.advance(0);
    await failed;
    assert.deepEqual(timesMs, [0, 0, 0]);
  });

  it('has the lock at the first attempt that finds it free, in the way asked for', async () => {
    const { tried, locks, clock, seen } = new Asked();
    const held = await locks.acquire('n');
    const trying = lockWithRetry(tried, 'n', { clock, shared: true });
    await clock.advance(1000);
    await held.release();
    await clock.advance(300);
    const lock = await trying;
    await (await locks.acquire('n', { shared: true })).release();
    await lock.release();
    assert.ok(seen.length > 3);
    assert.ok(seen.every((options) => options?.shared === true));
    assert.equal(clock.pending, 0);
  });

  it('stands in the queue for as long as an attempt may take', async () => {
    const { tried, locks, clock, timesMs } = new Asked();
    const held = await locks.acquire('n');
    const options = { attempts: 3, timeout: '1s', delay: 500, jitter: 0, clock };
    const failed = assert.rejects(lockWithRetry(tried, 'n', options), { code: 'ERR_LOCK_BUSY' });
    await clock.advance(4000);
    await failed;
    assert.deepEqual(timesMs, [0, 1500, 3000]);
    assert.equal((await locks.holders('n')).length, 1);
    const trying = lockWithRetry(tried, 'n', { ...options, wait: '1m' });
    await clock.advance(700);
    await held.release();
    (await trying).assertHeld();
    const once = { attempts: 1, timeout: '10s', wait: '3s', clock };
    const whole = assert.rejects(lockWithRetry(tried, 'n', once), { message: /within 3000 ms/ });
    await clock.advance(3000);
    await whole;
    assert.equal(clock.pending, 0);
  });

  it('tries again after what passes by itself, and tells it in the end', async () => {
    const { tried, clock, failures } = new Asked();
    failures.push(unavailable, unavailable);
    const trying = lockWithRetry(tried, 'n', { attempts: 3, clock });
    await clock.advance(1000);
    await (await trying).release();
    failures.push(unavailable, unavailable);
    const failed = assert.rejects(lockWithRetry(tried, 'n', { attempts: 2, clock }), unavailable);
    await clock.advance(1000);
    await failed;
  });

  it('does not try again after an error of the caller, or one that stays', async () => {
    const { tried, clock, timesMs, failures } = new Asked();
    await assert.rejects(lockWithRetry(tried, '', { clock }), { code: 'ERR_INVALID_ARGUMENT' });
    assert.equal(timesMs.length, 1);
    for (const error of [new QuorateError('ERR_CLOSED', 'closed'), new TypeError('no')]) {
      failures.push(error);
      await assert.rejects(lockWithRetry(tried, 'n', { clock }), error);
    }
    assert.equal(timesMs.length, 3);
  });

  it('ends with the signal or the time to wait, whatever it is at', async () => {
    for (const timeout of [undefined, '10s']) {
      const { tried, locks, clock } = new Asked();
      await locks.acquire('n');
      const forEver = { attempts: Number.POSITIVE_INFINITY, timeout, clock };
      const late = assert.rejects(lockWithRetry(tried, 'n', { ...forEver, wait: '3s' }), {
        code: 'ERR_LOCK_BUSY',
        message: /within 3000 ms/,
      });
      const stop = new AbortController();
      const stopped = lockWithRetry(tried, 'n', { ...forEver, signal: stop.signal });
      const rejected = assert.rejects(stopped, /enough/);
      await clock.advance(3000);
      await late;
      stop.abort(new Error('enough'));
      await rejected;
      await assert.rejects(lockWithRetry(tried, 'n', { signal: stop.signal }), /enough/);
      assert.equal(clock.pending, 0);
      assert.equal((await locks.holders('n')).length, 1);
    }
  });

  it('refuses options that make no sense', async () => {
    const { locks } = new Asked();
    for (const options of [
      { attempts: 0 },
      { attempts: 1.5 },
      { delay: 'soon' },
      { jitter: -1 },
      { timeout: 'x' },
      { wait: Number.NaN },
    ]) {
      await assert.rejects(lockWithRetry(locks, 'n', options), { code: 'ERR_INVALID_ARGUMENT' });
    }
  });
});
