/**
 * The suites of locks and elections: every rule of both contracts as cases. What an engine does not promise
 * is left out with the reason shown; what it promises it is held to. Run it on an engine of your own.
 */
import type { LockGuarantees } from '../locks/locks.ts';
import type { Register } from './case.ts';
import {
  type LockCapability,
  type LockCase,
  LockContext,
  type LockLacks,
  type LocksTarget,
} from './locks-context.ts';
import { exclusionCases } from './locks-exclusion.ts';
import { heldCases } from './locks-held.ts';
import { waitingCases } from './locks-waiting.ts';

/** All cases of locks. */
export const lockCases: readonly LockCase[] = [...exclusionCases, ...waitingCases, ...heldCases];

/** What an engine lacks by its own account, each with the reason. */
export function lacksOf(guarantees: LockGuarantees): LockLacks {
  const { fencing, waiters, expiry, shared, permits } = guarantees;
  const lacks: Partial<Record<LockCapability, string>> = {};
  if (fencing === 'none') lacks.fencing = 'the engine has no fencing tokens';
  if (waiters === 'barging') lacks.fifo = 'waiters of this engine are served in no order';
  if (!shared) lacks.shared = 'the engine has no locks that are shared';
  if (!permits) lacks.permits = 'the engine has no semaphores';
  if (expiry === 'connection')
    lacks.ttl = 'locks of this engine end with a connection, not by time';
  if (expiry === 'process') lacks.ttl = 'locks of this engine end with the process, not by time';
  return lacks;
}

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
