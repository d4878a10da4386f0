/**
 * The suites of locks and elections: every rule of both contracts as cases. What an engine does not promise
 * is left out with the reason shown; what it promises it is held to. Run it on an engine of your own.
 */
import type { Register } from './case.ts';
import { type LockCase, LockContext, type LocksTarget } from './locks-context.ts';
import { doorCases } from './locks-door.ts';
import { exclusionCases } from './locks-exclusion.ts';
import { heldCases } from './locks-held.ts';
import type { LockLacks } from './locks-lacks.ts';
import { lifeCases } from './locks-life.ts';
import { operatorCases } from './locks-operators.ts';
import { severalCases } from './locks-shared.ts';
import { togetherCases } from './locks-together.ts';
import { waitingCases } from './locks-waiting.ts';

/** All cases of locks. */
export const lockCases: readonly LockCase[] = [
  ...doorCases,
  ...exclusionCases,
  ...waitingCases,
  ...heldCases,
  ...togetherCases,
  ...severalCases,
  ...operatorCases,
  ...lifeCases,
];

/**
 * Hands `cases` to a test runner. They share the engine, one after another; each has names of its own, and
 * checks that nothing stays of them.
 *
 * @param open gives the engine; called by each case.
 * @param lacks what is missing, each with the reason that is shown for the skipped cases: `lacksOf` of the
 * engine's guarantees, and what it cannot do besides. Cases check that what is promised is not left out.
 * @example
 * ```ts
 * const lacks = { ...lacksOf(guarantees), depose: 'only by hand' };
 * runLockCases(lockCases, () => target, (name, run, skip) => {
 *   test(name, { skip: skip ?? false }, run);
 * }, lacks);
 * ```
 */
export function runLockCases(
  cases: readonly LockCase[],
  open: () => LocksTarget | Promise<LocksTarget>,
  register: Register,
  lacks: LockLacks = {},
): void {
  for (const one of cases) {
    const missing = one.needs?.find((need) => lacks[need] !== undefined);
    const skip = missing === undefined ? undefined : lacks[missing];
    register(one.name, async () => runLockCase(one, await open(), lacks), skip);
  }
}

/**
 * Runs one case; rejects with an `AssertionError` where the engine breaks its rule.
 *
 * @param lacks as for `runLockCases`.
 */
export async function runLockCase(
  one: LockCase,
  target: LocksTarget,
  lacks: LockLacks = {},
): Promise<void> {
  const context = new LockContext(target, lacks);
  try {
    await one.run(context);
  } catch (error) {
    await context.giveUp();
    throw error;
  }
  await context.end();
}
