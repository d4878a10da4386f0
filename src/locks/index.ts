/** Locks and leader elections: `quorate/locks`. */
export type * from './elections.ts';
export type * from './locks.ts';
export { kvElections, kvLocks, type OverKvOptions } from './over-kv.ts';
