/** Locks and leader elections: `quorate/locks`. */
import '../core/runtime.ts';

export type * from './elections.ts';
export type * from './locks.ts';
export { kvElections, kvLocks, type OverKvOptions } from './over-kv.ts';
