/** What the runs of the suites of locks and elections share. */
import { test } from 'node:test';
import {
  electionCases,
  type LockLacks,
  type LocksTarget,
  lockCases,
  runLockCases,
} from '../../src/conformance/index.ts';

export { KV_LACKS, kvTarget } from '../../src/conformance/test-kv-target.ts';

/** Registers the suites. */
export function lockSuites(target: () => LocksTarget, lacks: LockLacks): void {
  runLockCases(
    [...lockCases, ...electionCases],
    target,
    (name, run, skip) => {
      test(name, { skip: skip ?? false }, run);
    },
    lacks,
  );
}

/** Nothing else runs in this process for so long. */
export function block(delayMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, delayMs);
}
