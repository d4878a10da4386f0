/** For tests of the suites: what makes a right one wrong, and how a case ends on it. */
import assert from 'node:assert/strict';
import { isQuorateError } from '../core/errors.ts';
import type { VirtualClock } from '../testing/virtual-clock.ts';

/** `right`, but for what `wrong` has. */
export function withMethods<T extends object>(right: T, wrong: Partial<T>): T {
  return new Proxy(right, {
    get(target, name) {
      const from = name in wrong ? wrong : target;
      const value: unknown = Reflect.get(from, name, from);
      return typeof value === 'function' ? value.bind(from) : value;
    },
  });
}

/**
 * What `work` throws while time runs as fast as everything can that waits for it, `stepMs` at a time; `undefined`: nothing.
 * Time stands still again afterwards.
 */
export async function thrownBy(
  clock: VirtualClock,
  stepMs: number,
  work: () => Promise<void>,
): Promise<unknown> {
  let isOver = false;
  const passTime = async (): Promise<void> => {
    while (!isOver) await clock.advance(stepMs);
  };
  const time = passTime();
  try {
    await work();
    return undefined;
  } catch (error) {
    return error;
  } finally {
    isOver = true;
    await time;
  }
}

/** A rule was found broken; not: the wrong one fell over. */
export function assertNoticed(error: unknown): void {
  const isTold = error instanceof assert.AssertionError || isQuorateError(error);
  assert.ok(isTold, `noticed as ${String(error)}`);
}
