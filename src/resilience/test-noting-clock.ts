/** For tests: which timers keep a process alive. */
import type { Clock } from '../core/clock.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';

/** A clock to move, the same one as what is tested gets it, and what each of its timers said of the process. */
export function openNotingClock() {
  const clock = new VirtualClock();
  const alive: unknown[] = [];
  const noting: Clock = {
    now: () => clock.now(),
    wallNow: () => clock.wallNow(),
    every: (intervalMs, run) => clock.every(intervalMs, run),
    after: (delayMs, run, keepsAlive) => {
      alive.push(keepsAlive);
      return clock.after(delayMs, run);
    },
  };
  return { clock, noting, alive };
}
