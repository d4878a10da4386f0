/** The key-value suite on the in-memory store. */

import { after, before, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { kvCases, runCases } from '../../src/conformance/index.ts';
import { kvOver } from '../../src/kv/index.ts';
import { memoryService } from '../../src/kv/memory.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';

describe('the in-memory store', () => {
  const clock = new VirtualClock();
  const service = memoryService({ clock });
  const kv = kvOver(service);
  const stop = new AbortController();
  let time: Promise<void>;
  before(() => {
    time = passTime(clock, stop.signal);
  });
  after(async () => {
    stop.abort();
    await time;
    await kv.close();
  });
  runCases(
    kvCases,
    () => ({ kv, service, clock }),
    (name, run, skip) => {
      test(name, { skip: skip ?? false }, run);
    },
  );
});

/** Lets time run about twenty times faster than it does, so that leases expire soon. */
async function passTime(clock: VirtualClock, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    await clock.advance(20);
    await wait(1);
  }
}
