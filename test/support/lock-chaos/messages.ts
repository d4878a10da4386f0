/** What workers and the process that watches over them say to each other. */
import type { LockGuarantees } from '../../../src/locks/locks.ts';

/** The lock that all workers want. */
export const LOCK = 'the-lock';

/** One time that a worker had the lock, as it tells it. */
export interface Hold {
  /** No other hold has it, of whichever worker. */
  readonly id: string;
  readonly worker: string;
  readonly token: bigint | undefined;
  /** How the engine calls it. */
  readonly holder: string;
  /** When it was asked for, and when it was had. All processes of a machine read one monotonic clock. */
  readonly calledNs: bigint;
  readonly grantedNs: bigint;
}

export type FromWorker =
  | { readonly kind: 'ready'; readonly guarantees: LockGuarantees }
  | { readonly kind: 'granted'; readonly hold: Hold }
  /** It has looked at the lock, and now works towards a write. */
  | { readonly kind: 'looked'; readonly hold: Hold }
  | { readonly kind: 'write'; readonly hold: Hold }
  | { readonly kind: 'ended'; readonly hold: Hold; readonly how: Ending }
  | { readonly kind: 'failed'; readonly what: string };

/** `refused`: by what it writes to. */
export type Ending = 'released' | 'lost' | 'refused';

export type ToWorker =
  | { readonly kind: 'written'; readonly accepted: boolean }
  /** It keeps the lock that it has for so long, unless it is lost. */
  | { readonly kind: 'stay'; readonly forMs: number }
  /** Its event loop stands still. */
  | { readonly kind: 'block'; readonly forMs: number };
