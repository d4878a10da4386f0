/** Abort signals that know more than their timers. */
import type { Cancel, Clock } from '../core/clock.ts';
import { QuorateError } from '../core/errors.ts';

/**
 * `signal`, but for the first look at it: `check`, which may abort it, runs before `aborted`,
 * `reason` and `throwIfAborted` answer. The signal stays a real one that `fetch`, streams and
 * `AbortSignal.any` take.
 */
export function checkedSignal(signal: AbortSignal, check: () => void): AbortSignal {
  const read = (name: 'aborted' | 'reason') => ({
    get(): unknown {
      check();
      return Reflect.get(AbortSignal.prototype, name, signal);
    },
  });
  Object.defineProperties(signal, {
    aborted: read('aborted'),
    reason: read('reason'),
    throwIfAborted: {
      value(): void {
        if (signal.aborted) throw signal.reason;
      },
    },
  });
  return signal;
}

/**
 * Everything that may end a wait, as one signal: the caller's, the time to wait, and `abort`. Most waits are over
 * before any of it, so that the signal is made when it is first asked for.
 */
export class Gate {
  #controller: AbortController | undefined;
  #isAborted: boolean;
  #reason: unknown;
  /** Ends the wait that is under way. */
  #stop: ((reason: unknown) => void) | undefined;
  readonly #outer: AbortSignal | undefined;
  readonly #onOuter: (() => void) | undefined;
  readonly #cancel: Cancel | undefined;

  constructor(
    clock: Clock,
    options: {
      readonly name: string;
      readonly signal: AbortSignal | undefined;
      readonly waitMs: number | undefined;
    },
  ) {
    const { name, signal, waitMs } = options;
    this.#controller = undefined;
    this.#isAborted = false;
    this.#reason = undefined;
    this.#stop = undefined;
    this.#outer = signal;
    this.#onOuter = signal === undefined ? undefined : () => this.abort(signal.reason);
    if (this.#onOuter !== undefined) {
      signal?.addEventListener('abort', this.#onOuter, { once: true });
    }
    this.#cancel =
      waitMs === undefined ? undefined : clock.after(waitMs, () => this.abort(busy(name, waitMs)));
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#isAborted) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** The first reason stays. */
  abort(reason: unknown): void {
    if (this.#isAborted) return;
    this.#isAborted = true;
    this.#reason = reason;
    this.#stop?.(reason);
    this.#controller?.abort(reason);
  }

  throwIfAborted(): void {
    if (this.#isAborted) throw this.#reason;
  }

  /** As `orAborted`, for one wait at a time. */
  orAborted<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#stop = reject;
      if (this.#isAborted) reject(this.#reason);
      work.then(resolve, reject);
    });
  }

  /** Leaves no listener and no timer behind. */
  close(): void {
    if (this.#onOuter !== undefined) this.#outer?.removeEventListener('abort', this.#onOuter);
    this.#cancel?.();
  }
}

export function busy(name: string, waitMs: number): QuorateError {
  return new QuorateError(
    'ERR_LOCK_BUSY',
    `'${name}' was not free within ${waitMs} ms; wait longer or come back later`,
    { retryable: true },
  );
}

/** What waits and calls end with once `close` was called. */
export function closedError(): QuorateError {
  return new QuorateError('ERR_CLOSED', 'these locks were closed');
}
