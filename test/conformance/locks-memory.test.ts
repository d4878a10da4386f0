/** The suites of locks and elections over the in-memory store, in fast time. */
import { after, before, describe } from 'node:test';
import type { LocksTarget } from '../../src/conformance/index.ts';
import { clockInFastTime } from '../../src/conformance/test-time.ts';
import { type Kv, kvOver, memoryService } from '../../src/kv/index.ts';
import { KV_LACKS, kvTarget, lockSuites } from './locks-over-kv.ts';

describe('locks over the in-memory store', () => {
  const clock = clockInFastTime();
  let kv: Kv;
  let target: LocksTarget;
  before(() => {
    kv = kvOver(memoryService({ clock }));
    const stall = (delayMs: number): void => clock.stall(delayMs);
    target = kvTarget({ stores: [kv], ttlMs: 2000, expiryMs: 1000, clock, stall });
  });
  after(() => kv.close());
  lockSuites(() => target, KV_LACKS);
});
