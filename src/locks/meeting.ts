/** What latches and barriers share: several parties meet, and who waits for the others may give up. */
import { throwIfAborted, type WaitOptions } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { QuorateError } from '../core/errors.ts';
import type { OpResult, RangeResult } from '../kv/kv.ts';
import { closedError, Gate } from './signals.ts';

/** How to wait for other parties. */
export interface MeetingWait extends WaitOptions {
  /** Give up after this long, with `ERR_TIMEOUT`. @defaultValue waits as long as it takes */
  readonly wait?: Duration | undefined;
}

/** Waits that end with what they belong to. */
export class Waits {
  readonly #clock: Clock;
  readonly #gates: Set<Gate>;
  #isClosed: boolean;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#gates = new Set();
    this.#isClosed = false;
  }

  /** Runs `work`, whose gate is aborted by the caller's signal, by the time to wait, or by `close`. */
  async during<T>(
    what: string,
    { signal, wait }: MeetingWait,
    work: (gate: Gate) => Promise<T>,
  ): Promise<T> {
    const waitMs = wait === undefined ? undefined : durationMs(wait, 'wait');
    throwIfAborted(signal);
    if (this.#isClosed) throw closedError();
    const gate = new Gate(this.#clock, { name: what, signal, waitMs: undefined });
    const giveUp = (): void => gate.abort(late(what, waitMs!));
    const cancel = waitMs === undefined ? undefined : this.#clock.after(waitMs, giveUp);
    this.#gates.add(gate);
    try {
      return await work(gate);
    } finally {
      this.#gates.delete(gate);
      cancel?.();
      gate.close();
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const gate of this.#gates) gate.abort(closedError());
  }
}

function late(what: string, waitMs: number): QuorateError {
  return new QuorateError(
    'ERR_TIMEOUT',
    `${what}: the others did not come within ${waitMs} ms; wait longer or come back later`,
    { retryable: true },
  );
}

/** What a step of a transaction read. */
export function rangeOf(result: OpResult | undefined): RangeResult {
  if (result?.op === 'range') return result;
  throw new QuorateError('ERR_PROTOCOL', 'the store answered a transaction with other steps', {
    outcome: 'unknown',
  });
}
