/**
 * Quorate: the embedded default of every building block, and the contracts.
 * Drivers for real engines are under `quorate/drivers/…`.
 */
import './core/runtime.ts';

export type { LeaseReads } from './consensus/lease-reads.ts';
export type { MemberChange, MemberInfo, NewMember } from './consensus/replica/member-change.ts';
export type { StateMachine } from './consensus/state-machine.ts';
export { type ErrorCode, isQuorateError, type Outcome, QuorateError } from './core/errors.ts';
export type * from './kv/kv.ts';
export { type NodeOptions, type NodeStatus, openNode, type QuorateNode } from './node.ts';
export { VERSION } from './version.ts';
