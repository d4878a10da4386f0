/** The conformance suites, for any test runner and any implementation. */
import '../core/runtime.ts';

export type { Case, Register } from './case.ts';
export { type KvTarget, kvCases, runCase, runCases } from './kv.ts';
export { type KvCapability, type KvCase, KvContext } from './kv-context.ts';
export { lacksOf, lockCases, runLockCase, runLockCases } from './locks.ts';
export {
  type AnyLocks,
  type LockCapability,
  type LockCase,
  type LockClient,
  LockContext,
  type LockLacks,
  type LocksTarget,
} from './locks-context.ts';
