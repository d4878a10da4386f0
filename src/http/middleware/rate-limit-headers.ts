/**
 * The fields in which a service says what it allows (draft-ietf-httpapi-ratelimit-headers, "RateLimit header fields for
 * HTTP", since its version 08): structured fields (RFC 9651), of which the names of limits are strings.
 */
import { invalid } from '../../core/errors.ts';
import type { Usage } from '../../resilience/limiter.ts';

/** The largest whole number of structured fields (RFC 9651 section 3.3.1). */
const MAX_INTEGER = 999_999_999_999_999;

/** The name as a string of structured fields. @throws ERR_INVALID_ARGUMENT for one that is empty or not printable ASCII */
export function fieldName(name: string): string {
  if (typeof name === 'string' && /^[\x20-\x7e]{1,64}$/.test(name))
    return `"${name.replace(/["\\]/g, '\\$&')}"`;
  throw invalid(
    `limit.name: ${JSON.stringify(name)}; 1 to 64 printable ASCII characters are needed`,
  );
}

/** Whole seconds, rounded up: who comes then does not come too early (RFC 9110 section 10.2.3). */
export function wholeSeconds(ms: number): number {
  return Math.min(MAX_INTEGER, Math.ceil(ms / 1000));
}

/** `RateLimit-Policy`. */
export function policyField(name: string, quota: number, windowSeconds: number | undefined) {
  const window = windowSeconds === undefined ? '' : `;w=${windowSeconds}`;
  return `${name};q=${units(quota)}${window}`;
}

/** `RateLimit` for a request that was let in: what is left, and when all is back. */
export function leftField(name: string, { remaining, resetMs }: Usage): string {
  return `${name};r=${units(remaining)};t=${wholeSeconds(resetMs)}`;
}

/** `RateLimit` for one that was refused: when to come back, as `Retry-After` has it. */
export function usedUpField(name: string, remaining: number, retryAfterSeconds: number): string {
  return `${name};r=${units(remaining)};t=${retryAfterSeconds}`;
}

function units(amount: number): number {
  return Math.max(0, Math.min(MAX_INTEGER, Math.floor(amount)));
}
