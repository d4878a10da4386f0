/** Locks and elections over a store, as the target of their suites. */
import { test } from 'node:test';
import {
  electionCases,
  type LockClient,
  type LockLacks,
  type LocksTarget,
  lockCases,
  runLockCases,
} from '../../src/conformance/index.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { QuorateError } from '../../src/core/errors.ts';
import type { Kv } from '../../src/kv/index.ts';
import { kvElections, kvLocks, type OverKvOptions } from '../../src/locks/index.ts';

export const KV_LACKS: LockLacks = {
  flatNames: 'in the layout of etcd a name waits for the names below it',
};

export interface KvTargetOptions {
  /** Stores of the clients, in turns; the first is looked into. */
  readonly stores: readonly Kv[];
  readonly ttlMs: number;
  readonly expiryMs: number;
  readonly clock?: Clock;
  readonly stall: (delayMs: number) => void;
}

/** Each client has leases of its own, and one of the stores. */
export function kvTarget(options: KvTargetOptions): LocksTarget {
  const { stores, ttlMs, expiryMs, stall } = options;
  const clock = options.clock ?? systemClock;
  const leases = new Set<bigint>();
  let opened = 0;
  const [first] = stores;
  return {
    ttlMs,
    expiryMs,
    clock,
    stall,
    open({ ttl, owner }): LockClient {
      const process = processOf(stores[opened++ % stores.length]!, leases);
      const over: OverKvOptions = { ttl, owner, clock };
      return {
        locks: kvLocks(process.kv, over),
        elections: kvElections(process.kv, over),
        abandon: process.kill,
      };
    },
    async leftovers(prefix) {
      const { kvs } = await first!.range({ prefix }, { keysOnly: true });
      const alive = (await first!.leases()).filter((id) => leases.has(id));
      return [...kvs.map(({ key }) => key.toString()), ...alive.map((id) => `lease ${id}`)];
    },
    async depose(name) {
      const order = { sortBy: 'create', order: 'ascend', limit: 1 } as const;
      const { kvs } = await first!.range({ prefix: `${name}/` }, order);
      await first!.delete(kvs[0]!.key);
    },
  };
}

/** The store as one process has it: what was granted is noted, and once it is killed nothing arrives. */
function processOf(store: Kv, leases: Set<bigint>): { readonly kv: Kv; kill(): void } {
  let isAlive = true;
  const kv = new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (!isAlive) throw new QuorateError('ERR_UNAVAILABLE', 'this process was killed');
        const result: unknown = value.apply(target, args);
        if (name !== 'grantLease') return result;
        return (result as ReturnType<Kv['grantLease']>).then((lease) => {
          leases.add(lease.id);
          return lease;
        });
      };
    },
  });
  const kill = (): void => {
    isAlive = false;
  };
  return { kv, kill };
}

/** Registers the suites. */
export function lockSuites(target: () => LocksTarget, lacks: LockLacks): void {
  runLockCases(
    [...lockCases, ...electionCases],
    target,
    (name, run, skip) => {
      test(name, { skip: skip ?? false }, run);
    },
    lacks,
  );
}

/** Nothing else runs in this process for so long. */
export function block(delayMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, delayMs);
}
