/** The contract of leader elections. */
import type { WaitOptions } from '../core/abort.ts';
import type { BytesLike } from '../core/bytes.ts';
import type { Held } from './locks.ts';

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

/** A term as leader, until it is resigned or lost. See `Held` on what that means. */
export interface Leadership extends Held {
  readonly name: string;
  /** Grows with every new leader of this election. */
  readonly fencingToken: bigint;
  readonly holder: string;
  /** Changes the value that others see. Rejects with `ERR_NOT_ELECTED` when no longer leading. */
  proclaim(value: BytesLike, options?: WaitOptions): Promise<void>;
  /** Steps down; the next candidate leads. As `release`. */
  resign(): Promise<void>;
}

/**
 * Elections by name: of all who campaign, one leads.
 *
 * @example
 * ```ts
 * for await (const term of elections.campaign('scheduler', 'host-7', { signal })) {
 *   await runScheduler({ signal: term.lost, fencingToken: term.fencingToken });
 * }
 * ```
 */
export interface Elections extends AsyncDisposable {
  /**
   * Every term in which this candidate leads. The body of the loop is that term: when it ends the term is
   * resigned, and the loop stands for the next one; leaving the loop resigns, too. An engine that is out of
   * reach for a while is tried again. Rejects with the signal's reason when aborted, and with errors that
   * do not pass by themselves.
   */
  campaign(name: string, value: BytesLike, options?: WaitOptions): AsyncIterable<Leadership>;
  /** Who leads now; `undefined`: nobody. */
  leader(name: string, options?: WaitOptions): Promise<Leader | undefined>;
  /**
   * The leader as it is now and then each change; `undefined` while nobody leads. A slow reader
   * skips to the newest. Leaving the loop ends it; it rejects with the signal's reason when aborted.
   */
  observe(name: string, options?: WaitOptions): AsyncIterable<Leader | undefined>;
  /** Resigns everything that is held and ends every campaign, with `ERR_CLOSED`. Idempotent. */
  close(): Promise<void>;
}
