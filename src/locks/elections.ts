/** The contract of leader elections. */
import type { WaitOptions } from '../core/abort.ts';
import type { BytesLike } from '../core/bytes.ts';

/** Who leads, as others see it. */
export interface Leader {
  /** What the leader has proclaimed. */
  readonly value: Buffer;
  /** The leadership's number; see `Leadership.fencingToken`. */
  readonly fencingToken: bigint;
  /** The store's revision at which this value was proclaimed. */
  readonly revision: number;
  /** How the engine names this leadership: its key. */
  readonly holder: string;
}

/** A leadership that is held, until it is resigned or lost. See `Lock` on what that means. */
export interface Leadership extends AsyncDisposable {
  readonly name: string;
  /** Grows with every new leader of this election. */
  readonly fencingToken: bigint;
  readonly holder: string;
  /** As `Lock.lost`. */
  readonly lost: AbortSignal;
  /** Throws `ERR_NOT_ELECTED` unless this leadership lasts. No I/O. */
  assertHeld(): void;
  remainingMs(): number;
  /** Changes the value that others see. Rejects with `ERR_NOT_ELECTED` when no longer leading. */
  proclaim(value: BytesLike, options?: WaitOptions): Promise<void>;
  /** Steps down; the next candidate leads. As `Lock.release`. */
  resign(): Promise<void>;
  /** As `resign`, but never throws. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Elections by name: of all who campaign, one leads.
 *
 * @example
 * ```ts
 * await using leadership = await elections.campaign('scheduler', 'host-7');
 * await runScheduler({ signal: leadership.lost, fencingToken: leadership.fencingToken });
 * ```
 */
export interface Elections extends AsyncDisposable {
  /** Waits until this candidate leads. Rejects like `Locks.acquire`. */
  campaign(name: string, value: BytesLike, options?: WaitOptions): Promise<Leadership>;
  /** Who leads now; `undefined`: nobody. */
  leader(name: string, options?: WaitOptions): Promise<Leader | undefined>;
  /**
   * The leader as it is now and then each change; `undefined` while nobody leads. A slow reader
   * skips to the newest. Leaving the loop ends it; it rejects with the signal's reason when aborted.
   */
  observe(name: string, options?: WaitOptions): AsyncIterable<Leader | undefined>;
  /** Resigns everything that is held and ends every campaign. Idempotent. */
  close(): Promise<void>;
}
