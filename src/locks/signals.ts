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

/** Everything that may end a wait, as one signal: the caller's, the time to wait, and `abort`. */
export class Gate {
  readonly #controller: AbortController;
  readonly #outer: AbortSignal | undefined;
  readonly #onOuter: () => void;
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
    this.#controller = new AbortController();
    this.#outer = signal;
    this.#onOuter = () => this.#controller.abort(signal?.reason);
    signal?.addEventListener('abort', this.#onOuter, { once: true });
    this.#cancel =
      waitMs === undefined ? undefined : clock.after(waitMs, () => this.abort(busy(name, waitMs)));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: QuorateError): void {
    this.#controller.abort(reason);
  }

  /** Leaves no listener and no timer behind. */
  close(): void {
    this.#outer?.removeEventListener('abort', this.#onOuter);
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
