/**
 * The suite of limiters: the rules of their contract as cases, for every store, and for those of one process behind a thin
 * asynchronous wrapper. Run it on a limiter of your own.
 */
import type { Register } from './case.ts';
import {
  type LimiterCase,
  LimiterContext,
  type LimiterLacks,
  type LimitersTarget,
} from './limiters-context.ts';
import { countingCases } from './limiters-counting.ts';
import { doorCases } from './limiters-door.ts';
import { leaseCases } from './limiters-leases.ts';
import { waitingCases } from './limiters-waiting.ts';

/** All cases of limiters. */
export const limiterCases: readonly LimiterCase[] = [
  ...doorCases,
  ...countingCases,
  ...waitingCases,
  ...leaseCases,
];

/**
 * Hands `cases` to a test runner. They share the store, one after another or several at a time; each has keys of its own.
 *
 * @param open gives the limiters; called by each case.
 * @param lacks what is missing, each with the reason that is shown for the skipped cases.
 * @example
 * ```ts
 * runLimiterCases(limiterCases, () => target, (name, run, skip) => {
 *   test(name, { skip: skip ?? false }, run);
 * });
 * ```
 */
export function runLimiterCases(
  cases: readonly LimiterCase[],
  open: () => LimitersTarget | Promise<LimitersTarget>,
  register: Register,
  lacks: LimiterLacks = {},
): void {
  for (const one of cases) {
    const missing = one.needs?.find((need) => lacks[need] !== undefined);
    const skip = missing === undefined ? undefined : lacks[missing];
    register(one.name, async () => runLimiterCase(one, await open(), lacks), skip);
  }
}

/** Runs one case; rejects with an `AssertionError` where the limiter breaks its rule. */
export async function runLimiterCase(
  one: LimiterCase,
  target: LimitersTarget,
  lacks: LimiterLacks = {},
): Promise<void> {
  const context = new LimiterContext(target, lacks);
  try {
    await one.run(context);
  } catch (error) {
    await context.end().catch(() => undefined);
    throw error;
  }
  await context.end();
}
