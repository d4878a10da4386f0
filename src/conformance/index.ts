/** The conformance suites, for any test runner and any implementation. */
import '../core/runtime.ts';

export type { Case, Register } from './case.ts';
export { electionCases } from './elections.ts';
export { type KvTarget, kvCases, runCase, runCases } from './kv.ts';
export { type KvCapability, type KvCase, KvContext } from './kv-context.ts';
export { limiterCases, runLimiterCase, runLimiterCases } from './limiters.ts';
export {
  type Admission,
  type LimiterCapability,
  type LimiterCase,
  LimiterContext,
  type LimiterLacks,
  type LimiterRequest,
  type LimitersTarget,
} from './limiters-context.ts';
export { lockCases, runLockCase, runLockCases } from './locks.ts';
export {
  type AnyLocks,
  type LockCase,
  type LockClient,
  LockContext,
  type LocksTarget,
} from './locks-context.ts';
export { type LockCapability, type LockLacks, lacksOf } from './locks-lacks.ts';
