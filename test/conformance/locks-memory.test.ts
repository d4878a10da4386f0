/** The suites of locks and elections over the in-memory store, in fast time. */
import { after, before, describe } from 'node:test';
import type { LocksTarget } from '../../src/conformance/index.ts';
import { type Kv, kvOver, memoryService } from '../../src/kv/index.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { KV_LACKS, kvTarget, lockSuites } from './locks-over-kv.ts';
import { passTime } from './support.ts';

describe('locks over the in-memory store', () => {
  const clock = new VirtualClock();
  const stop = new AbortController();
  let kv: Kv;
  let target: LocksTarget;
  let time: Promise<void>;
  before(() => {
    time = passTime(clock, stop.signal);
    kv = kvOver(memoryService({ clock }));
    const stall = (delayMs: number): void => clock.stall(delayMs);
    target = kvTarget({ stores: [kv], ttlMs: 2000, expiryMs: 1000, clock, stall });
  });
  after(async () => {
    stop.abort();
    await time;
    await kv.close();
  });
  lockSuites(() => target, KV_LACKS);
});
