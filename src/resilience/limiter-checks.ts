/** What limiters of a process and of many check alike, and how both refuse. */
import { durationMs } from '../core/duration.ts';
import { invalid, QuorateError } from '../core/errors.ts';
import type { LimitAlgorithm } from './limit-algorithm.ts';
import type { LimitWaitOptions } from './limiter.ts';

const MAX_KEY_LENGTH = 1024;

/** Also for the keys of pools. @throws ERR_INVALID_ARGUMENT */
export function requireKey(key: string): void {
  if (typeof key === 'string' && key.length <= MAX_KEY_LENGTH) return;
  const given = typeof key === 'string' ? `${key.length} characters` : `no text but ${typeof key}`;
  throw invalid(
    `key: ${given}; up to ${MAX_KEY_LENGTH} characters are possible, take a hash of it`,
  );
}

/** @throws ERR_INVALID_ARGUMENT */
export function requireCost(cost: number, { limit, whole }: LimitAlgorithm): void {
  if (typeof cost === 'number' && cost > 0 && cost <= limit && (!whole || Number.isInteger(cost)))
    return;
  const what = whole ? 'a whole number' : 'a number';
  throw invalid(
    `cost: ${cost}; ${what} above 0 and up to ${limit} is needed, more is never free at once`,
  );
}

/** The longest wait that a caller allows. @throws ERR_INVALID_ARGUMENT */
export function maxWaitOf({ maxWait }: Pick<LimitWaitOptions, 'maxWait'>): number {
  return maxWait === undefined ? Number.POSITIVE_INFINITY : durationMs(maxWait, 'maxWait');
}

export function usedUp(key: string, why: string, retryAfterMs: number): QuorateError {
  const what = key === '' ? 'the limit is used up' : `the limit of '${key}' is used up`;
  return new QuorateError('ERR_RATE_LIMITED', `${what}: ${why}`, { retryable: true, retryAfterMs });
}

/** Used up for longer than somebody would wait. */
export function tooLate(key: string, delayMs: number): QuorateError {
  return usedUp(
    key,
    `it is free in ${Math.ceil(delayMs)} ms, later than the longest wait`,
    delayMs,
  );
}

export function limiterClosed(): QuorateError {
  return new QuorateError('ERR_CLOSED', 'this limiter was closed');
}
