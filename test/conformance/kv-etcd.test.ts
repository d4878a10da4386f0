/**
 * The key-value suite on a real etcd: the suite must say of etcd that it is right, and our client
 * must not change the answer. Address: QUORATE_ETCD=host:port, a store that nobody else compacts.
 */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { kvCases, runCases } from '../../src/conformance/index.ts';
import { etcdService } from '../../src/drivers/etcd/index.ts';
import { kvOver } from '../../src/kv/index.ts';

const address = process.env['QUORATE_ETCD'];

if (address === undefined) {
  const reason = 'NO ETCD: set QUORATE_ETCD=host:port (npm run engines starts one)';
  test('the key-value suite on a real etcd', { skip: skipReason(reason) }, () => {
    assert.fail(reason);
  });
} else {
  const service = etcdService({ endpoints: address });
  const { members } = await service.memberList();
  const lacks = members.length === 1 ? {} : { pastInWrites: 'members of etcd 3.6 diverge on it' };
  describe(`etcd at ${address}`, () => {
    const kv = kvOver(service);
    after(() => kv.close());
    runCases(
      kvCases,
      () => ({ kv, service }),
      (name, run, skip) => {
        test(name, { skip: skip ?? false }, run);
      },
      lacks,
    );
  });
}

/** Where engines are required, a missing one fails. */
function skipReason(reason: string): string | false {
  return process.env['QUORATE_REQUIRE_ENGINES'] === '1' ? false : reason;
}
