/**
 * Calls to a store that end in time: each has a limit, and while the store is known to be down none is made but, now and then,
 * one that tries it.
 */
import type { Clock } from '../../core/clock.ts';
import { type ErrorCode, isQuorateError, QuorateError } from '../../core/errors.ts';
import type { Random } from '../../core/random.ts';
import { limiterDown, limiterUp } from '../../telemetry/channels.ts';
import { type CircuitBreaker, circuitBreaker } from '../breaker/circuit-breaker.ts';
import { Deadlines } from '../deadlines.ts';
import { Rejection } from '../outcome.ts';
import { NOT_ASKED } from './limit-store.ts';

/** So many calls in a row that failed are a store that is down. */
const FAILURES = 3;
/** Between two calls that try it, at first and at last. */
const FIRST_TRY_MS = 250;
const LAST_TRY_MS = 2000;

/** The caller, or the configuration, is wrong; the store is there. */
const NOT_DOWN: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ERR_INVALID_ARGUMENT',
  'ERR_UNAUTHENTICATED',
  'ERR_PERMISSION_DENIED',
  'ERR_UNSUPPORTED',
]);

/** It was the store that refused, and no time without it would mend that. */
function isThere({ code, outcome }: QuorateError): boolean {
  // Under the key is something else; other keys are well.
  return NOT_DOWN.has(code) || (code === 'ERR_PROTOCOL' && outcome === 'not-applied');
}

/** Why a store did not decide. */
export class StoreDown {
  readonly error: QuorateError;

  constructor(error: QuorateError) {
    this.error = error;
  }
}

export class StoreGuard {
  readonly #breaker: CircuitBreaker;
  readonly #deadlines: Deadlines;
  readonly #timeoutMs: number;
  /** The last failure. */
  #cause: unknown;

  /** @param limiter - what it is called in events */
  constructor(limiter: string, clock: Clock, random: Random, timeoutMs: number) {
    this.#breaker = circuitBreaker({
      name: 'limiter store',
      consecutive: FAILURES,
      open: { first: FIRST_TRY_MS, max: LAST_TRY_MS },
      onStateChange: ({ from, to }) => {
        const error = this.#cause;
        if (from === 'closed' && limiterDown.hasSubscribers)
          limiterDown.publish({ limiter, error });
        if (to === 'closed' && limiterUp.hasSubscribers) limiterUp.publish({ limiter, error });
      },
      clock,
      random,
    });
    this.#deadlines = new Deadlines(clock, timeoutMs);
    this.#timeoutMs = timeoutMs;
    this.#cause = undefined;
  }

  /** Rejects with `StoreDown`, or with the error of a caller. `late` is called when nobody waits for the call any more. */
  run<T>(work: () => Promise<T>, late?: () => void): Promise<T> {
    const permit = this.#breaker.allow();
    if (permit instanceof Rejection) return Promise.reject(new StoreDown(this.#known(permit)));
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => {
        this.#deadlines.end(deadline);
        if (error === NOT_ASKED) {
          permit.cancel();
          reject(error);
          return;
        }
        if (isQuorateError(error) && isThere(error)) {
          permit.success();
          reject(error);
          return;
        }
        this.#cause = error;
        permit.failure();
        reject(new StoreDown(downOf(error)));
      };
      const deadline = this.#deadlines.begin(() => {
        late?.();
        fail(tooLate(this.#timeoutMs));
      });
      work().then((value) => {
        this.#deadlines.end(deadline);
        permit.success();
        resolve(value);
      }, fail);
    });
  }

  #known({ retryAfterMs }: Rejection): QuorateError {
    const why = this.#cause instanceof Error ? this.#cause.message : String(this.#cause);
    return unavailable(`known to be down: ${why}`, 'not-applied', retryAfterMs, this.#cause);
  }
}

function downOf(error: unknown): QuorateError {
  const why = error instanceof Error ? error.message : String(error);
  const outcome = isQuorateError(error) ? error.outcome : 'unknown';
  return unavailable(why, outcome, FIRST_TRY_MS, error);
}

function tooLate(timeoutMs: number): QuorateError {
  return new QuorateError('ERR_TIMEOUT', `no answer within ${Math.round(timeoutMs)} ms`, {
    outcome: 'unknown',
    retryable: true,
  });
}

function unavailable(
  why: string,
  outcome: QuorateError['outcome'],
  retryAfterMs = FIRST_TRY_MS,
  cause?: unknown,
): QuorateError {
  return new QuorateError('ERR_UNAVAILABLE', `the store of the limit is down: ${why}`, {
    outcome,
    retryable: true,
    retryAfterMs,
    cause,
  });
}
