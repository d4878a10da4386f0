/** The suite of limiters on a real etcd. Address: QUORATE_ETCD=host:port. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { etcdKv } from '../../src/drivers/etcd/index.ts';
import { kvTarget, limiterSuite } from './limiters-support.ts';

const address = process.env['QUORATE_ETCD'];

if (address === undefined) {
  const reason = 'NO ETCD: set QUORATE_ETCD=host:port (npm run engines starts one)';
  const skip = process.env['QUORATE_REQUIRE_ENGINES'] === '1' ? false : reason;
  test('the suite of limiters on a real etcd', { skip }, () => {
    assert.fail(reason);
  });
} else {
  describe(`limiters on etcd at ${address}`, () => {
    // Two clients, each with a connection of its own.
    const stores = [etcdKv({ endpoints: address }), etcdKv({ endpoints: address })];
    after(() => Promise.all(stores.map((store) => store.close())));
    limiterSuite(() => kvTarget(stores));
  });
}
