/** Locks and leader elections: `quorate/locks`. */
import '../core/runtime.ts';

export { type Barrier, type BarrierOptions, kvBarrier } from './barrier.ts';
export type * from './elections.ts';
export type { TokenSource } from './fencing.ts';
export {
  FENCING_TOKEN_HEADER,
  fencingHeaders,
  fencingTokenFrom,
  type HeadersLike,
  type HighestTokens,
  type MemoryTokensOptions,
  memoryTokens,
  type TokenFence,
  tokenFence,
} from './fencing-http.ts';
export {
  type FencedStatement,
  type FencedWrite,
  fencedUpdate,
  fencedUpsert,
} from './fencing-sql.ts';
export { type KvTxnOptions, kvTxnLocks } from './kv-txn.ts';
export { kvLatch, type Latch, type LatchOptions } from './latch.ts';
export {
  type LocalOptions,
  type LocalSpace,
  localElections,
  localLocks,
  localSpace,
} from './local.ts';
export type * from './locks.ts';
export type { MeetingWait } from './meeting.ts';
export { kvElections, kvLocks, type OverKvOptions } from './over-kv.ts';
export { lockWithRetry, type RetryOptions } from './retry.ts';
