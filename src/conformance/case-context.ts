/** What the cases of all suites wait with: everything comes to an end, whatever the thing under test does. */
import assert from 'node:assert/strict';
import { sleep } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';

/** How long a case waits for something that must come. */
const PATIENCE_MS = 20_000;
const LOOK_EVERY_MS = 20;

/** The functions are bound, so that a case can take the few it needs. */
export class CaseContext {
  readonly clock: Clock;
  readonly #settleMs: number;

  /** @param settleMs - what has not ended after so long is taken to wait */
  constructor(clock: Clock, settleMs = 200) {
    this.clock = clock;
    this.#settleMs = settleMs;
  }

  readonly sleep = (delayMs: number): Promise<void> => sleep(this.clock, delayMs);

  /** A promise that the case looks at later: it may reject before. */
  readonly later = <T>(work: Promise<T>): Promise<T> => {
    work.catch(() => undefined);
    return work;
  };

  /** Waits for `work`, and fails with `what` where it takes too long. */
  readonly within = async <T>(work: Promise<T>, what: string, ms = PATIENCE_MS): Promise<T> => {
    let cancel = (): void => undefined;
    const late = new Promise<never>((_, reject) => {
      cancel = this.clock.after(ms, () => {
        reject(new assert.AssertionError({ message: `waited ${ms} ms for ${what}` }));
      });
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      cancel();
    }
  };

  /** Looks again and again until it holds. */
  readonly eventually = async (
    holds: () => boolean | Promise<boolean>,
    what: string,
    ms = PATIENCE_MS,
  ): Promise<void> => {
    const untilMs = this.clock.now() + ms;
    while (!(await holds())) {
      assert.ok(this.clock.now() < untilMs, `waited ${ms} ms until ${what}`);
      await this.sleep(LOOK_EVERY_MS);
    }
  };

  /** Checks that `work` does not end now. */
  readonly stillWaits = async (work: Promise<unknown>, what: string): Promise<void> => {
    let ended = false;
    const mark = (): void => {
      ended = true;
    };
    work.then(mark, mark);
    await this.sleep(this.#settleMs);
    assert.equal(ended, false, `${what} should wait`);
  };
}

/** What `work` rejects with. Fails where it does not. @param expected - what it should reject with, for that message */
export async function errorOf(work: Promise<unknown>, expected: string): Promise<unknown> {
  let value: unknown;
  try {
    value = await work;
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    return error;
  }
  return assert.fail(`resolved with ${show(value)}, not with ${expected}`);
}

function show(value: unknown): string {
  return JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? `${part}n` : part));
}
