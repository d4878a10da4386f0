/**
 * The only source of time. Everything that measures or waits takes a `Clock`, so that the
 * simulator and users' tests can put a virtual one in its place.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
// The global of the same name is looked up anew for each reading, which takes as long as to read it.
import { performance } from 'node:perf_hooks';

/** Cancels what it was returned for; calling it again does nothing. */
export type Cancel = () => void;

/** Where time comes from, for all that measures or waits. */
export interface Clock {
  /** Monotonic milliseconds, with fractions; starts anywhere, never goes back. */
  now(): number;
  /** Milliseconds since the Unix epoch. For display and log lines, never for decisions. */
  wallNow(): number;
  /**
   * Calls `run` once after `delayMs`. Does not keep the process alive, except where `keepsAlive` is given: for those who
   * have nothing else under way while they wait.
   */
  after(delayMs: number, run: () => void, keepsAlive?: boolean): Cancel;
  /** Calls `run` every `intervalMs`. Does not keep the process alive. */
  every(intervalMs: number, run: () => void): Cancel;
}

/** With a longer delay a timer of Node runs at once. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/**
 * Many may wait for one timer. What runs in it must not see the request, the span or the tenant of who happened to start it,
 * nor keep them: it sees what this module saw.
 */
const outside = AsyncLocalStorage.snapshot();

/** The clock of this process. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  after(delayMs, run, keepsAlive = false) {
    if (delayMs > MAX_DELAY_MS) return afterLong(delayMs, run, keepsAlive);
    const timer = outside(setTimeout, run, delayMs);
    if (!keepsAlive) timer.unref();
    return () => clearTimeout(timer);
  },
  every(intervalMs, run) {
    const timer = outside(setInterval, run, intervalMs);
    timer.unref();
    return () => clearInterval(timer);
  },
};

function afterLong(delayMs: number, run: () => void, keepsAlive: boolean): Cancel {
  const runTheRest = (): void => {
    cancel = systemClock.after(delayMs - MAX_DELAY_MS, run, keepsAlive);
  };
  let cancel = systemClock.after(MAX_DELAY_MS, runTheRest, keepsAlive);
  return () => cancel();
}
