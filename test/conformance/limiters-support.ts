/** What the runs of the suite of limiters share. */
import { test } from 'node:test';
import {
  type LimiterLacks,
  type LimitersTarget,
  limiterCases,
  type Register,
  runLimiterCases,
} from '../../src/conformance/index.ts';
import type { Clock } from '../../src/core/clock.ts';
import type { Kv } from '../../src/kv/index.ts';
import { kvLimiter } from '../../src/resilience/index.ts';

const register: Register = (name, run, skip) => {
  if (skip === undefined) test(name, run);
};

/** Registers the suite. */
export function limiterSuite(target: () => LimitersTarget, lacks: LimiterLacks = {}): void {
  runLimiterCases(limiterCases, target, register, lacks);
}

/** Limiters over stores, in turns on each of them. */
export function kvTarget(stores: readonly Kv[], clock?: Clock): LimitersTarget {
  let opened = 0;
  return {
    ...(clock === undefined ? {} : { clock }),
    // A busy machine is not a store that is down.
    open: (request) =>
      kvLimiter(stores[opened++ % stores.length]!, { timeout: '20s', clock, ...request }),
    leftovers: async (prefix) => {
      const { kvs } = await stores[0]!.range({ prefix }, { keysOnly: true });
      return kvs.map(({ key }) => key.toString());
    },
  };
}
