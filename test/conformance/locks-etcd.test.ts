/** The suites of locks and elections on a real etcd. Address: QUORATE_ETCD=host:port. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { etcdKv } from '../../src/drivers/etcd/index.ts';
import { block, KV_LACKS, kvTarget, lockSuites } from './locks-over-kv.ts';

const address = process.env['QUORATE_ETCD'];

if (address === undefined) {
  const reason = 'NO ETCD: set QUORATE_ETCD=host:port (npm run engines starts one)';
  const skip = process.env['QUORATE_REQUIRE_ENGINES'] === '1' ? false : reason;
  test('the suites of locks and elections on a real etcd', { skip }, () => {
    assert.fail(reason);
  });
} else {
  describe(`locks on etcd at ${address}`, () => {
    // Two clients, each with a connection of its own.
    const stores = [etcdKv({ endpoints: address }), etcdKv({ endpoints: address })];
    after(() => Promise.all(stores.map((store) => store.close())));
    const target = kvTarget({ stores, ttlMs: 2000, expiryMs: 3000, stall: block });
    lockSuites(() => target, KV_LACKS);
  });
}
