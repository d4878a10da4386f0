/** How a guarded call ends: with a value, with a failure of the work, or refused by a policy. */
import { type ErrorCode, QuorateError, type QuorateErrorOptions } from '../core/errors.ts';
import { callRejected } from '../telemetry/channels.ts';

/**
 * Why a policy ended a call. `limited`: a rate limit is used up. `open`: the circuit breaker is open. `full`: a bulkhead
 * and its queue are. `shed`: overload, and other calls matter more. `timeout`: it took too long. `deadline`: no time is left.
 * `unavailable`: the store of a limiter of many processes does not answer.
 */
export type RejectionReason =
  | 'limited'
  | 'open'
  | 'full'
  | 'shed'
  | 'timeout'
  | 'deadline'
  | 'unavailable';

interface Told {
  readonly code: ErrorCode;
  readonly text: string;
}

const TOLD: Readonly<Record<RejectionReason, Told>> = {
  limited: { code: 'ERR_RATE_LIMITED', text: 'the limit is used up' },
  open: { code: 'ERR_CIRCUIT_OPEN', text: 'the circuit is open' },
  full: { code: 'ERR_OVERLOADED', text: 'all places are taken, and so are those in the queue' },
  shed: { code: 'ERR_OVERLOADED', text: 'overloaded, and other calls matter more' },
  timeout: { code: 'ERR_TIMEOUT', text: 'it took too long' },
  deadline: { code: 'ERR_TIMEOUT', text: 'no time is left for it' },
  unavailable: { code: 'ERR_UNAVAILABLE', text: 'the store of the limit does not answer' },
};

/** A call that a policy ended. */
export class Rejection {
  readonly ok = false;
  readonly reason: RejectionReason;
  /** The name of the policy. */
  readonly policy: string;
  /** Milliseconds after which it may be worth to try again; `undefined` where nobody knows. */
  readonly retryAfterMs: number | undefined;
  /** The work had begun: it may have done what it was to do, or may yet. */
  readonly hadBegun: boolean;
  /** What it says about the work: that this failed, or nothing. */
  readonly end: 'failure' | 'ignored';
  #error: QuorateError | undefined;

  constructor(
    reason: RejectionReason,
    policy: string,
    retryAfterMs?: number,
    hadBegun = false,
    end: 'failure' | 'ignored' = hadBegun ? 'failure' : 'ignored',
  ) {
    this.reason = reason;
    this.policy = policy;
    this.retryAfterMs = retryAfterMs;
    this.hadBegun = hadBegun;
    this.end = end;
    this.#error = undefined;
  }

  /** What `run` throws. Made when it is first asked for: an error costs more than the policies do. */
  get error(): QuorateError {
    this.#error ??= errorOf(this, this.policy);
    return this.#error;
  }
}

/** The error with the name of the pipeline: there is no stack that would say which of many timeouts it was. */
export function errorIn(pipeline: string, rejection: Rejection): QuorateError {
  return errorOf(rejection, `${pipeline}: ${rejection.policy}`);
}

function errorOf({ reason, retryAfterMs, hadBegun }: Rejection, where: string): QuorateError {
  const { code, text } = TOLD[reason];
  const outcome = hadBegun ? 'unknown' : 'not-applied';
  if (retryAfterMs === undefined)
    return withoutStack(code, `${where}: ${text}`, { retryable: true, outcome });
  const message = `${where}: ${text}; again in ${Math.ceil(retryAfterMs)} ms`;
  return withoutStack(code, message, { retryable: true, outcome, retryAfterMs });
}

/** For who listens: whoever makes an end of a call by a rejection says so once. */
export function tellRejected({ policy, reason, retryAfterMs, hadBegun }: Rejection): void {
  if (callRejected.hasSubscribers) callRejected.publish({ policy, reason, retryAfterMs, hadBegun });
}

/** How a guarded call ended, for those who would rather not catch. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | Rejection
  | {
      readonly ok: false;
      /** The work failed, or the caller's signal was aborted. */
      readonly reason: 'failed' | 'aborted';
      readonly error: unknown;
      readonly retryAfterMs?: undefined;
    };

/** Where in the code a policy refuses a call says nothing, and to write it down is most of an error's cost. */
function withoutStack(
  code: ErrorCode,
  message: string,
  options: QuorateErrorOptions,
): QuorateError {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return new QuorateError(code, message, options);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}
