/**
 * Responses of other services as failures that policies understand: a `fetch` that was answered with 503 has succeeded,
 * as far as it knows, and a breaker or a retry around it would, too.
 */
import { type Clock, systemClock } from '../core/clock.ts';
import { type ErrorCode, invalid, QuorateError } from '../core/errors.ts';

/** What is used of a response: that of `fetch` has it. */
export interface ResponseLike {
  readonly status: number;
  readonly url?: string;
  readonly headers: { get(name: string): string | null };
  readonly body?: { cancel(): Promise<void> } | null;
}

/** How to read a response. */
export interface ResponseFailureOptions {
  /** For a `Retry-After` that is a date, where the response has no `Date`. @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

/** By status; what is not here and below 500 is an answer. */
const FAILURES: Readonly<Record<number, readonly [code: ErrorCode, text: string]>> = {
  408: ['ERR_TIMEOUT', 'it waited too long for the request'],
  425: ['ERR_BUSY', 'it would not risk that the request is a replay'],
  429: ['ERR_RATE_LIMITED', 'too many requests'],
  502: ['ERR_UNAVAILABLE', 'a service behind it gave no valid answer'],
  503: ['ERR_OVERLOADED', 'it cannot answer at present'],
  504: ['ERR_TIMEOUT', 'a service behind it gave no answer in time'],
};
/** It answered before it did anything (RFC 6585 section 4, RFC 8470 section 5.2). */
const NOT_APPLIED: ReadonlySet<number> = new Set([425, 429]);
/** The same request will never be understood (RFC 9110 sections 15.6.2 and 15.6.6). */
const NEVER: ReadonlySet<number> = new Set([501, 505]);
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/**
 * Returns the response, unless it says that the service could not answer: 408, 425, 429, and everything from 500. Then it
 * throws, with the `Retry-After` of the response as `retryAfterMs`, for which a retry waits. The body of such a response is
 * dropped, so that it keeps no connection. Any other status, such as 404, is an answer.
 *
 * @throws `ERR_RATE_LIMITED` for 429, `ERR_OVERLOADED` for 503, `ERR_TIMEOUT` for 408 and 504, `ERR_BUSY` for 425, and
 * `ERR_UNAVAILABLE` for all others, and `ERR_INVALID_ARGUMENT` for what is no response. `outcome` is `'unknown'` but for 425 and 429, `retryable` is true but for 501 and 505.
 * @example
 * ```ts
 * const answer = await stock.run(async ({ signal }) => requireAnswer(await fetch(url, { signal })));
 * ```
 */
export function requireAnswer<R extends ResponseLike>(
  response: R,
  { clock = systemClock }: ResponseFailureOptions = {},
): R {
  const { status, url = '', headers } = required(response);
  if (status < 500 && FAILURES[status] === undefined) return response;
  const [code, text] = FAILURES[status] ?? ['ERR_UNAVAILABLE', 'it failed'];
  const retryAfterMs = retryAfterOf(headers, clock);
  // What the other side wrote is of no use to anybody, and its connection is in use until it is read or dropped.
  response.body?.cancel().catch(() => undefined);
  // Of the address only what names the service: the rest may hold secrets.
  const from = URL.canParse(url) ? `${new URL(url).origin} answered with ${status}` : `${status}`;
  throw new QuorateError(code, `${from}: ${text}`, {
    outcome: NOT_APPLIED.has(status) ? 'not-applied' : 'unknown',
    retryable: !NEVER.has(status),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

function required<R extends ResponseLike>(response: R): R {
  if (typeof response?.status === 'number') return response;
  const isPromise = (response as unknown) instanceof Promise;
  const given = isPromise ? 'a promise; await it first' : typeof response;
  throw invalid(`response: ${given}; a response of fetch is needed`);
}

/** `Retry-After` is seconds or a date (RFC 9110 section 10.2.3); what is neither says nothing. */
function retryAfterOf(headers: ResponseLike['headers'], clock: Clock): number | undefined {
  const text = headers.get('retry-after')?.trim() ?? '';
  if (/^\d{1,10}$/.test(text)) return Number(text) * 1000;
  const atMs = httpDateMs(text);
  if (atMs === undefined) return undefined;
  // By the clock that the date was made with, where it is told.
  const sentMs = httpDateMs(headers.get('date')?.trim() ?? '');
  return Math.max(0, atMs - (sentMs ?? clock.wallNow()));
}

/** The form that is still written (RFC 9110 section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`. */
function httpDateMs(text: string): number | undefined {
  const parts = /^[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT$/.exec(
    text,
  );
  const month = MONTHS.indexOf(parts?.[2] ?? '');
  if (parts === null || month < 0) return undefined;
  const [day, year, hour, minute, second] = [1, 3, 4, 5, 6].map((i) => Number(parts[i]));
  return Date.UTC(year!, month, day, hour, minute, second);
}
