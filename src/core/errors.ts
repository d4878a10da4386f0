/**
 * The one error class of Quorate and its closed set of codes.
 *
 * A caller decides by `code`, never by message text or `instanceof` (two copies of the package may
 * be loaded). `outcome` answers the question that matters after a failed write: did it happen?
 */

/** Every code a Quorate error can carry. `docs/errors.md` describes each one. */
export type ErrorCode =
  // What the caller asked for cannot be done; nothing was changed.
  | 'ERR_INVALID_ARGUMENT'
  | 'ERR_EMPTY_KEY'
  | 'ERR_KEY_NOT_FOUND'
  | 'ERR_VALUE_PROVIDED'
  | 'ERR_LEASE_PROVIDED'
  | 'ERR_INVALID_SORT'
  | 'ERR_TOO_MANY_OPERATIONS'
  | 'ERR_DUPLICATE_KEY'
  | 'ERR_REQUEST_TOO_LARGE'
  | 'ERR_COMPACTED'
  | 'ERR_FUTURE_REVISION'
  | 'ERR_LEASE_NOT_FOUND'
  | 'ERR_LEASE_EXISTS'
  | 'ERR_LEASE_TTL_TOO_LARGE'
  | 'ERR_MEMBER_NOT_FOUND'
  | 'ERR_NO_SPACE'
  | 'ERR_UNSUPPORTED'
  | 'ERR_PERMISSION_DENIED'
  | 'ERR_UNAUTHENTICATED'
  | 'ERR_BAD_TRANSFEREE'
  | 'ERR_MEMBER_EXISTS'
  | 'ERR_PEER_URL_EXISTS'
  | 'ERR_BAD_PEER_URLS'
  | 'ERR_NOT_LEARNER'
  | 'ERR_LEARNER_NOT_READY'
  | 'ERR_TOO_MANY_LEARNERS'
  | 'ERR_NOT_ENOUGH_STARTED'
  // The service cannot answer now.
  | 'ERR_NO_LEADER'
  | 'ERR_NOT_LEADER'
  | 'ERR_LEADER_CHANGED'
  | 'ERR_BUSY'
  | 'ERR_TIMEOUT'
  | 'ERR_UNAVAILABLE'
  | 'ERR_CLOSED'
  // Watches, locks and elections.
  | 'ERR_WATCH_CANCELED'
  | 'ERR_LOCK_LOST'
  | 'ERR_LOCK_BUSY'
  | 'ERR_NOT_ELECTED'
  // Limits and breakers.
  | 'ERR_RATE_LIMITED'
  | 'ERR_CIRCUIT_OPEN'
  | 'ERR_OVERLOADED'
  // The ground under a node.
  | 'ERR_CORRUPT'
  | 'ERR_DISK_FAILED'
  | 'ERR_DATA_DIR_LOCKED'
  | 'ERR_DATA_DIR_MISMATCH'
  | 'ERR_ADDRESS_IN_USE'
  | 'ERR_PROTOCOL'
  | 'ERR_INTERNAL';

/**
 * Whether a failed operation may have taken effect.
 *
 * `not-applied`: it did not and never will. `unknown`: it may have, or may still; a write whose
 * reply was lost is unknown, never failed.
 */
export type Outcome = 'not-applied' | 'unknown';

/**
 * How a lock was lost: its time ran out (`expired`), another took it or an operator did (`stolen`), or the
 * session or connection that it lived on ended (`session`).
 */
export type LockLoss = 'expired' | 'stolen' | 'session';

export interface QuorateErrorOptions {
  /** @defaultValue `'not-applied'` */
  readonly outcome?: Outcome;
  /** Whether the same call may succeed later without any change. @defaultValue `false` */
  readonly retryable?: boolean;
  readonly cause?: unknown;
  /** For `ERR_COMPACTED`: the oldest revision that can still be read. */
  readonly compactRevision?: number;
  /** For `ERR_LOCK_LOST` and `ERR_NOT_ELECTED`. */
  readonly loss?: LockLoss;
  /** For `ERR_RATE_LIMITED`, `ERR_CIRCUIT_OPEN` and `ERR_OVERLOADED`. */
  readonly retryAfterMs?: number;
}

const BRAND: unique symbol = Symbol.for('quorate.error') as never;

/**
 * The error of every Quorate operation.
 *
 * @example
 * ```ts
 * try {
 *   await kv.put('config', 'v2');
 * } catch (error) {
 *   if (isQuorateError(error) && error.outcome === 'unknown') await readBack();
 *   else throw error;
 * }
 * ```
 */
export class QuorateError extends Error {
  readonly [BRAND] = true;
  readonly code: ErrorCode;
  readonly outcome: Outcome;
  /** Whether the same call may succeed later without any change. */
  readonly retryable: boolean;
  /** For `ERR_COMPACTED`: the oldest revision that can still be read. */
  readonly compactRevision: number | undefined;
  /** For `ERR_LOCK_LOST` and `ERR_NOT_ELECTED`: how it was lost, where it was. */
  readonly loss: LockLoss | undefined;
  /** For what was refused: milliseconds after which it may be worth to try again, where that is known. */
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: QuorateErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'QuorateError';
    this.code = code;
    this.outcome = options.outcome ?? 'not-applied';
    this.retryable = options.retryable ?? false;
    this.compactRevision = options.compactRevision;
    this.loss = options.loss;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** Whether `error` is a Quorate error, and, where `code` is given, one of that code. */
export function isQuorateError(error: unknown, code?: ErrorCode): error is QuorateError {
  if (typeof error !== 'object' || error === null || !(BRAND in error)) return false;
  return code === undefined || (error as QuorateError).code === code;
}

/** `ERR_INVALID_ARGUMENT`: what was given cannot be, and nothing was changed. */
export function invalid(message: string, cause?: unknown): QuorateError {
  return new QuorateError('ERR_INVALID_ARGUMENT', message, { cause });
}
