/** Locks and elections over a store, as the target of their suites. */
import { type Clock, systemClock } from '../core/clock.ts';
import { QuorateError } from '../core/errors.ts';
import type { Kv } from '../kv/kv.ts';
import type { Locks } from '../locks/locks.ts';
import { kvElections, kvLocks, type OverKvOptions } from '../locks/over-kv.ts';
import type { LockClient, LocksTarget } from './locks-context.ts';
import type { LockLacks } from './locks-lacks.ts';

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
  /** @defaultValue `kvLocks`, and elections with them */
  readonly locks?: (kv: Kv, options: OverKvOptions) => Locks;
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
      const { kv, kill: abandon } = process;
      if (options.locks !== undefined) return { locks: options.locks(kv, over), abandon };
      return { locks: kvLocks(kv, over), elections: kvElections(kv, over), abandon };
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
