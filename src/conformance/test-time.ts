/** For tests: time that passes by itself while a suite runs in this process. */
import { after, before } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { VirtualClock } from '../testing/virtual-clock.ts';

/**
 * A clock for the suite that asks: from its first test to its last, time runs about twenty times faster than it does, so that
 * leases expire soon.
 */
export function clockInFastTime(): VirtualClock {
  const clock = new VirtualClock();
  const stop = new AbortController();
  let time: Promise<void>;
  before(() => {
    time = passTime(clock, stop.signal);
  });
  after(async () => {
    stop.abort();
    await time;
  });
  return clock;
}

async function passTime(clock: VirtualClock, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    await clock.advance(20);
    await wait(1);
  }
}
