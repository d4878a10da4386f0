/** The suite of locks for transaction locks: in fast time over the in-memory store, and on a real etcd. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { LocksTarget } from '../../src/conformance/index.ts';
import { clockInFastTime } from '../../src/conformance/test-time.ts';
import { etcdKv } from '../../src/drivers/etcd/index.ts';
import { type Kv, kvOver, memoryService } from '../../src/kv/index.ts';
import { kvTxnLocks } from '../../src/locks/index.ts';
import { block, kvTarget, lockSuites, TXN_LACKS } from './locks-over-kv.ts';

describe('transaction locks over the in-memory store', () => {
  const clock = clockInFastTime();
  let kv: Kv;
  let target: LocksTarget;
  before(() => {
    kv = kvOver(memoryService({ clock }));
    const stall = (delayMs: number): void => clock.stall(delayMs);
    target = kvTarget({
      stores: [kv],
      ttlMs: 2000,
      expiryMs: 1000,
      clock,
      stall,
      locks: kvTxnLocks,
    });
  });
  after(() => kv.close());
  lockSuites(() => target, TXN_LACKS);
});

const address = process.env['QUORATE_ETCD'];

if (address === undefined) {
  const reason = 'NO ETCD: set QUORATE_ETCD=host:port (npm run engines starts one)';
  const skip = process.env['QUORATE_REQUIRE_ENGINES'] === '1' ? false : reason;
  test('the suite of locks for transaction locks on a real etcd', { skip }, () => {
    assert.fail(reason);
  });
} else {
  describe(`transaction locks on etcd at ${address}`, () => {
    const stores = [etcdKv({ endpoints: address }), etcdKv({ endpoints: address })];
    after(() => Promise.all(stores.map((store) => store.close())));
    const target = kvTarget({
      stores,
      ttlMs: 2000,
      expiryMs: 3000,
      stall: block,
      locks: kvTxnLocks,
    });
    lockSuites(() => target, TXN_LACKS);
  });
}
