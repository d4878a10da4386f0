/** What the runs on stores in this process share. */
import { setTimeout as wait } from 'node:timers/promises';
import type { VirtualClock } from '../../src/testing/virtual-clock.ts';

/** Lets time run about twenty times faster than it does, so that leases expire soon. */
export async function passTime(clock: VirtualClock, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    await clock.advance(20);
    await wait(1);
  }
}
