/** Rules of leases. etcd API: Lease. */
import assert from 'node:assert/strict';
import type { KvCase } from './kv-context.ts';

const lifeCases: readonly KvCase[] = [
  {
    name: 'a lease is granted with an id and at least the time asked for',
    async run({ kv, defer }) {
      const { id, ttlMs } = await kv.grantLease('60s');
      defer(() => kv.revokeLease(id));
      assert.ok(id > 0n && id < 2n ** 63n);
      assert.equal(ttlMs, 60_000);
      const info = await kv.leaseInfo(id);
      assert.equal(info.grantedMs, 60_000);
      assert.ok(info.remainingMs > 50_000 && info.remainingMs <= 60_000);
    },
  },
  {
    name: 'a time to live below the smallest is raised to it',
    needs: ['service'],
    async run({ service }) {
      for (const ttl of [0, -5, 1]) {
        const granted = await service.leaseGrant({ id: 0n, ttl });
        await service.leaseRevoke({ id: granted.id });
        assert.ok(granted.ttl >= 1, `granted ${granted.ttl} s for ${ttl}`);
      }
    },
  },
  {
    name: 'a time to live beyond nine billion seconds is refused',
    needs: ['service'],
    async run({ service, refuses }) {
      const tooLong = service.leaseGrant({ id: 0n, ttl: 9_000_000_001 });
      await refuses(tooLong, 'ERR_LEASE_TTL_TOO_LARGE');
      const longest = await service.leaseGrant({ id: 0n, ttl: 9_000_000_000 });
      assert.equal(longest.ttl, 9_000_000_000);
      await service.leaseRevoke({ id: longest.id });
    },
  },
  {
    name: 'a lease may have an id of the caller, all 64 bits of it',
    async run({ kv, revision, eventually }) {
      const unique = BigInt(await revision());
      for (const id of [2n ** 62n + unique, -(2n ** 61n) - unique, -1n - unique]) {
        assert.equal((await kv.grantLease('60s', { id })).id, id);
        await eventually(async () => (await kv.leases()).includes(id), 'the lease is listed');
        await kv.revokeLease(id);
      }
    },
  },
  {
    name: 'a lease whose id is taken is refused',
    async run({ kv, defer, refuses }) {
      const { id } = await kv.grantLease('60s');
      defer(() => kv.revokeLease(id));
      await refuses(kv.grantLease('60s', { id }), 'ERR_LEASE_EXISTS');
    },
  },
  {
    name: 'an id is free again once its lease was revoked',
    async run({ kv }) {
      const { id } = await kv.grantLease('60s');
      await kv.revokeLease(id);
      assert.equal((await kv.grantLease('60s', { id })).id, id);
      await kv.revokeLease(id);
    },
  },
  {
    name: 'granting takes no revision, nor does revoking a lease without keys',
    async run({ kv, keepsRevision }) {
      await keepsRevision(async () => {
        const { id } = await kv.grantLease('60s');
        await kv.revokeLease(id);
      });
    },
  },
  {
    // Any member answers with what it has applied, so the list may be a little behind.
    name: 'a lease is listed until it is revoked',
    async run({ kv, eventually }) {
      const ids = [(await kv.grantLease('60s')).id, (await kv.grantLease('90s')).id];
      const listed = async () => {
        const all = await kv.leases();
        return ids.filter((id) => all.includes(id)).length;
      };
      await eventually(async () => (await listed()) === 2, 'both leases are listed');
      for (const id of ids) await kv.revokeLease(id);
      await eventually(async () => (await listed()) === 0, 'neither lease is listed');
    },
  },
];

const keyCases: readonly KvCase[] = [
  {
    name: 'a lease knows its keys, and tells them where asked',
    async run({ kv, key, defer }) {
      const { id } = await kv.grantLease('60s');
      defer(() => kv.revokeLease(id));
      await kv.put(key('b'), '', { lease: id });
      await kv.put(key('a'), '', { lease: id });
      await kv.put(key('other'), '');
      const { keys } = await kv.leaseInfo(id, { keys: true });
      const names = keys.map(String).sort();
      assert.deepEqual(names, [key('a'), key('b')]);
      assert.deepEqual((await kv.leaseInfo(id)).keys, []);
    },
  },
  {
    name: 'revoking a lease deletes its keys and no others',
    async run(context) {
      const { kv, key, all, names } = context;
      const { id } = await kv.grantLease('60s');
      await kv.put(key('a'), '', { lease: id });
      await kv.put(key('b'), '');
      await kv.put(key('c'), '', { lease: id });
      await kv.revokeLease(id);
      assert.deepEqual(names((await kv.range(all())).kvs), ['b']);
    },
  },
  {
    name: 'revoking a lease deletes its keys in one revision, in key order',
    async run({ kv, key, all, watch, names }) {
      const { id } = await kv.grantLease('60s');
      for (const name of ['c', 'a', 'b']) await kv.put(key(name), '', { lease: id });
      const reader = await watch(all());
      await kv.revokeLease(id);
      const [batch, more] = await reader.batches(3);
      assert.equal(more, undefined);
      assert.deepEqual(names(batch!.events.map((event) => event.kv)), ['a', 'b', 'c']);
      const revisions = batch!.events.map((event) => event.kv.modRevision);
      assert.equal(new Set(revisions).size, 1);
      assert.ok(batch!.events.every((event) => event.type === 'delete'));
    },
  },
  {
    name: 'a key put again without the lease outlives it',
    async run({ kv, key }) {
      const { id } = await kv.grantLease('60s');
      await kv.put(key('a'), 'one', { lease: id });
      await kv.put(key('a'), 'two');
      await kv.revokeLease(id);
      assert.equal((await kv.get(key('a')))?.value.toString(), 'two');
    },
  },
  {
    name: 'no key can be put on a lease that was revoked',
    async run({ kv, key, refuses }) {
      const { id } = await kv.grantLease('60s');
      await kv.revokeLease(id);
      await refuses(kv.put(key('a'), '', { lease: id }), 'ERR_LEASE_NOT_FOUND');
    },
  },
];

const missingCases: readonly KvCase[] = [
  {
    name: 'revoking a lease that does not exist is refused',
    async run({ kv, refuses }) {
      const { id } = await kv.grantLease('60s');
      await kv.revokeLease(id);
      await refuses(kv.revokeLease(id), 'ERR_LEASE_NOT_FOUND');
      await refuses(kv.revokeLease(123_456_789_012n), 'ERR_LEASE_NOT_FOUND');
    },
  },
  {
    name: 'keeping a lease alive that does not exist answers 0, and is no error',
    async run({ kv }) {
      assert.ok((await kv.keepAlive(123_456_789_012n)) <= 0);
      const { id } = await kv.grantLease('60s');
      await kv.revokeLease(id);
      assert.ok((await kv.keepAlive(id)) <= 0);
    },
  },
  {
    name: 'asking for a lease that does not exist answers a negative time, and is no error',
    async run({ kv }) {
      const info = await kv.leaseInfo(123_456_789_012n, { keys: true });
      assert.ok(info.remainingMs < 0);
      assert.deepEqual([info.grantedMs, info.keys], [0, []]);
    },
  },
];

const timeCases: readonly KvCase[] = [
  {
    name: 'keeping a lease alive starts its life anew',
    needs: ['expiry'],
    async run({ kv, defer, sleep }) {
      const { id } = await kv.grantLease('60s');
      defer(() => kv.revokeLease(id));
      await sleep(1_200);
      assert.ok((await kv.leaseInfo(id)).remainingMs <= 59_000);
      assert.equal(await kv.keepAlive(id), 60_000);
      assert.ok((await kv.leaseInfo(id)).remainingMs >= 59_000);
    },
  },
  {
    name: 'a lease that is not kept alive expires and takes its keys with it',
    needs: ['expiry'],
    async run({ kv, key, all, watch, eventually }) {
      const { id } = await kv.grantLease('1s');
      await kv.put(key('a'), '', { lease: id });
      await kv.put(key('b'), '', { lease: id });
      const reader = await watch(all());
      const [batch] = await reader.batches(2);
      assert.ok(batch!.events.every((event) => event.type === 'delete'));
      assert.equal(batch!.events.length, 2);
      assert.equal((await kv.range(all())).count, 0);
      await eventually(async () => (await kv.keepAlive(id)) <= 0, 'the lease is gone');
      assert.ok((await kv.leaseInfo(id)).remainingMs < 0);
      await eventually(async () => !(await kv.leases()).includes(id), 'it is listed no more');
    },
  },
  {
    name: 'a lease that is kept alive does not expire',
    needs: ['expiry'],
    async run({ kv, key, sleep }) {
      const { id, ttlMs } = await kv.grantLease('1s');
      await kv.put(key('a'), '', { lease: id });
      // Half as long again as it would live by itself.
      for (let waited = 0; waited < ttlMs * 1.5; waited += 400) {
        await sleep(400);
        assert.ok((await kv.keepAlive(id)) > 0);
      }
      assert.ok(await kv.get(key('a')));
      await kv.revokeLease(id);
    },
  },
];

export const leaseCases: readonly KvCase[] = [
  ...lifeCases,
  ...keyCases,
  ...missingCases,
  ...timeCases,
];
