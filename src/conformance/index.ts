/** The conformance suites, for any test runner and any implementation. */
import '../core/runtime.ts';

export type { Case, Register } from './case.ts';
export { type KvTarget, kvCases, runCase, runCases } from './kv.ts';
export { type KvCapability, type KvCase, KvContext } from './kv-context.ts';
