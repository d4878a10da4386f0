/** Answers to requests that are not let in: problem details (RFC 9457), which say what to do and nothing of what is inside. */

/**
 * Why a request was not let in, or got no answer in time. `limited`: its limit is used up. `unavailable`: the store of the
 * limit is down. `shed`: overload. `deadline`: no time is left. `failed`: the guard itself failed, such as its `key`.
 * `aborted`: the client went away while it waited.
 */
export type RefusalReason = 'limited' | 'unavailable' | 'shed' | 'deadline' | 'failed' | 'aborted';

/** An answer that takes the place of that of the handler. */
export interface Refusal {
  readonly reason: RefusalReason;
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Of the media type `application/problem+json`. */
  readonly body: string;
  /** When to come back, where that is known. */
  readonly retryAfterMs: number | undefined;
  /** What failed, for logs: nothing of it is in the answer. */
  readonly error: unknown;
}

interface Told {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
}

const TOLD: Readonly<Record<Exclude<RefusalReason, 'limited'>, Told>> = {
  unavailable: {
    status: 503,
    title: 'Service Unavailable',
    detail: 'The service cannot answer now; try again later.',
  },
  shed: {
    status: 503,
    title: 'Service Unavailable',
    detail: 'The service has more to do than it can; try again later.',
  },
  deadline: {
    status: 504,
    title: 'Gateway Timeout',
    detail: 'There was no answer in the time that was given.',
  },
  failed: {
    status: 500,
    title: 'Internal Server Error',
    detail: 'The service failed; what happened was written down.',
  },
  // Nobody reads it.
  aborted: { status: 499, title: 'Client Closed Request', detail: 'The client went away.' },
};

/** Registered for this by the draft on RateLimit fields. */
const QUOTA_EXCEEDED = 'https://iana.org/assignments/http-problem-types#quota-exceeded';

/** @param limitName - the limit that is used up, for `limited` */
export function problemOf(
  reason: RefusalReason,
  limitName: string,
): { readonly status: number; readonly body: string } {
  if (reason !== 'limited') {
    const { status, title, detail } = TOLD[reason];
    return { status, body: JSON.stringify({ type: 'about:blank', title, status, detail }) };
  }
  const problem = {
    type: QUOTA_EXCEEDED,
    title: 'Quota exceeded',
    status: 429,
    detail: 'Too many requests; try again after the time in Retry-After.',
    'violated-policies': [limitName],
  };
  return { status: 429, body: JSON.stringify(problem) };
}
