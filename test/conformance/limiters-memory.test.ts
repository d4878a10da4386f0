/** The suite of limiters over the in-memory store, and on those of one process, in fast time. */
import { after, before, describe } from 'node:test';
import type { LimiterRequest } from '../../src/conformance/index.ts';
import { clockInFastTime } from '../../src/conformance/test-time.ts';
import { type Kv, kvOver, memoryService } from '../../src/kv/index.ts';
import {
  type ClusterLimiter,
  fixedWindow,
  type Limiter,
  slidingCounter,
  slidingWindow,
  tokenBucket,
} from '../../src/resilience/index.ts';
import { kvTarget, limiterSuite } from './limiters-support.ts';

const clock = clockInFastTime();

describe('limiters over the in-memory store', () => {
  let kv: Kv;
  before(() => {
    kv = kvOver(memoryService({ clock }));
  });
  after(() => kv.close());
  limiterSuite(() => kvTarget([kv], clock));
});

describe('limiters of a process', () => {
  const MAKE = {
    'token-bucket': tokenBucket,
    'sliding-window': slidingWindow,
    'sliding-counter': slidingCounter,
    'fixed-window': fixedWindow,
  };
  const open = ({ algorithm, rate, burst, maxWaiting }: LimiterRequest) => {
    const limiter = MAKE[algorithm]({ rate, burst, maxWaiting, clock } as { rate: string });
    return asynchronous(limiter);
  };
  limiterSuite(() => ({ clock, open }), {
    twoClients: 'they count in this process alone',
    lease: 'there is no store to take tokens of',
    leftovers: 'there is no store',
  });
});

/** The same contract, with promises. */
function asynchronous(limiter: Limiter): ClusterLimiter {
  return {
    scope: 'cluster',
    allow: async (key, cost) => limiter.allow(key, cost),
    wait: (key, options) => limiter.wait(key, options),
    reserve: async (key, options) => {
      const reserved = limiter.reserve(key, options);
      return reserved && { ...reserved, cancel: async () => reserved.cancel() };
    },
    usage: async (key) => limiter.usage(key),
    reset: async (key) => limiter.reset(key),
    reconfigure: (rules) => limiter.reconfigure(rules),
    prepare: (rules) => limiter.prepare(rules),
    close: async () => limiter.close(),
    [Symbol.asyncDispose]: async () => limiter.close(),
  };
}
