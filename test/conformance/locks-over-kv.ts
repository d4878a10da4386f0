/** What the runs of the suites of locks and elections share. */
import { test } from 'node:test';
import {
  electionCases,
  type LockLacks,
  type LocksTarget,
  lacksOf,
  lockCases,
  type Register,
  runLockCases,
} from '../../src/conformance/index.ts';

export { KV_LACKS, kvTarget } from '../../src/conformance/test-kv-target.ts';

/**
 * Registers a case, unless it is of something that the engine does not promise: there is nothing to test then,
 * and its run holds what it leaves out against what the engine says of itself.
 */
export const registerCase: Register = (name, run, skip) => {
  if (skip === undefined) test(name, run);
};

/** Of transaction locks, on whatever store. */
export const TXN_LACKS: LockLacks = {
  ...lacksOf({
    fencing: 'monotonic',
    waiters: 'barging',
    expiry: 'engine-clock',
    shared: false,
    permits: false,
  }),
  waiters: 'who waits for a transaction lock is not in the store',
  elections: 'transaction locks come without elections',
};

/** Registers the suites. */
export function lockSuites(target: () => LocksTarget, lacks: LockLacks): void {
  runLockCases([...lockCases, ...electionCases], target, registerCase, lacks);
}

/** Nothing else runs in this process for so long. */
export function block(delayMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, delayMs);
}
