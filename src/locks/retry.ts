/** To try for a lock a number of times, with a pause between the attempts. */
import { sleep, throwIfAborted } from '../core/abort.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { invalid, isQuorateError, QuorateError } from '../core/errors.ts';
import { type Random, systemRandom } from '../core/random.ts';
import { constantBackoff } from '../resilience/backoff.ts';
import type { AcquireOptions, Fencing, Lock, Locks } from './locks.ts';
import { Gate } from './signals.ts';

/** How `lockWithRetry` tries. `wait` and `signal` end all of it, an attempt that is under way too. */
export interface RetryOptions extends AcquireOptions {
  /** How often it is tried, from 1; `Infinity`: until `wait` or `signal` ends it. @defaultValue `10` */
  readonly attempts?: number | undefined;
  /** The pause between two attempts. @defaultValue `'200ms'` */
  readonly delay?: Duration | undefined;
  /**
   * By up to so much, drawn evenly, each pause is shorter or longer: those who were refused together do not
   * come back together. @defaultValue half of `delay`
   */
  readonly jitter?: Duration | undefined;
  /**
   * How long one attempt may take, in the queue and until the engine answers.
   * @defaultValue an attempt does not queue (`tryAcquire`), and the engine takes its time
   */
  readonly timeout?: Duration | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
  /** For the jitter. @defaultValue the system's */
  readonly random?: Random | undefined;
}

/**
 * Tries for a lock until it has it: again where it is busy, and after errors that are `retryable`, such as an engine
 * that is out of reach. Any other error, of the caller above all, rejects at once.
 *
 * For locks whose waiters are `barging` it costs the engine less than many who wait at once; who stands in a queue
 * that is first come, first served loses his place with each attempt: there `acquire` with `wait` is better.
 *
 * Rejects with `ERR_LOCK_BUSY` where it was busy at the last attempt or `wait` was over, else with the error of the
 * last attempt; with the signal's reason when aborted. Nothing stays acquired then.
 *
 * @example
 * ```ts
 * await using lock = await lockWithRetry(locks, 'nightly', { attempts: 5, delay: '1s', timeout: '2s' });
 * ```
 *
 * @throws `ERR_INVALID_ARGUMENT` (as a rejection) for options that make no sense.
 */
export async function lockWithRetry<F extends Fencing>(
  locks: Locks<F>,
  name: string,
  options: RetryOptions = {},
): Promise<Lock<F>> {
  const { clock = systemClock, random = systemRandom, signal, wait } = options;
  const { attempts, backoff, timeoutMs } = checked(options);
  const waitMs = wait === undefined ? undefined : durationMs(wait, 'wait');
  throwIfAborted(signal);
  const { permits, shared, reentrant } = options;
  const how = { permits, shared, reentrant };
  const whole = new Gate(clock, { name, signal, waitMs });
  const attempt = async (): Promise<Lock<F> | undefined> => {
    throwIfAborted(whole.signal);
    if (timeoutMs === undefined) return locks.tryAcquire(name, { ...how, signal: whole.signal });
    const gate = new Gate(clock, { name, signal: whole.signal, waitMs: timeoutMs });
    try {
      return await locks.acquire(name, { ...how, signal: gate.signal });
    } finally {
      gate.close();
    }
  };
  try {
    for (let made = 1; ; made++) {
      let failure: unknown;
      try {
        const lock = await attempt();
        if (lock !== undefined) return lock;
      } catch (error) {
        throwIfAborted(whole.signal);
        if (!passes(error)) throw error;
        failure = error;
      }
      if (made >= attempts) throw isBusy(failure) ? busy(name, made, failure) : failure;
      await sleep(clock, backoff(made, 0, random), whole.signal);
    }
  } finally {
    whole.close();
  }
}

function checked({ attempts = 10, delay = 200, jitter, timeout }: RetryOptions) {
  if (attempts !== Number.POSITIVE_INFINITY && !(Number.isSafeInteger(attempts) && attempts >= 1)) {
    throw invalid(`attempts: ${attempts}; a whole number of at least 1, or Infinity, is needed`);
  }
  const delayMs = durationMs(delay, 'delay');
  return {
    attempts,
    backoff: constantBackoff(delayMs, { jitter: jitter ?? delayMs / 2 }),
    timeoutMs: timeout === undefined ? undefined : durationMs(timeout, 'timeout'),
  };
}

/** Nothing was thrown where `tryAcquire` found it busy. */
function isBusy(failure: unknown): boolean {
  return failure === undefined || isQuorateError(failure, 'ERR_LOCK_BUSY');
}

function passes(error: unknown): boolean {
  return isBusy(error) || (isQuorateError(error) && error.retryable);
}

function busy(name: string, attempts: number, cause: unknown): QuorateError {
  const times = attempts === 1 ? 'at one attempt' : `at any of ${attempts} attempts`;
  return new QuorateError(
    'ERR_LOCK_BUSY',
    `'${name}' was not free ${times}; try more often or come back later`,
    { retryable: true, cause },
  );
}
