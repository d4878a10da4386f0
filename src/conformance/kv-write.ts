/** Rules of writing one thing: revisions, put and its flags, delete. etcd API: Put, DeleteRange. */
import assert from 'node:assert/strict';
import * as etcd from '../proto/etcd.ts';
import type { KvCase } from './kv-context.ts';

const putCases: readonly KvCase[] = [
  {
    name: 'a put takes exactly one revision',
    async run({ kv, key, takesOneRevision }) {
      await takesOneRevision(() => kv.put(key('a'), 'one'));
      await takesOneRevision(() => kv.put(key('a'), 'one'));
    },
  },
  {
    name: 'revisions only grow',
    async run({ fill }) {
      const revisions = await fill('a', 'b', 'a', 'a', 'c');
      const sorted = [...new Set(revisions)].sort((a, b) => a - b);
      assert.deepEqual(revisions, sorted);
    },
  },
  {
    name: 'a put again raises the version and the change revision, not that of creation',
    async run({ kv, key }) {
      const first = await kv.put(key('a'), 'one');
      const second = await kv.put(key('a'), 'two');
      const third = await kv.put(key('a'), 'two');
      assert.ok(third.revision > second.revision);
      const { createRevision, modRevision, version } = (await kv.get(key('a')))!;
      assert.deepEqual([createRevision, modRevision, version], [first.revision, third.revision, 3]);
    },
  },
  {
    name: 'a put returns what was there before, where asked',
    async run({ kv, key }) {
      const first = await kv.put(key('a'), 'one', { previous: true });
      assert.equal(first.previous, undefined);
      const second = await kv.put(key('a'), 'two');
      assert.equal(second.previous, undefined);
      const third = await kv.put(key('a'), 'three', { previous: true });
      assert.equal(third.previous?.value.toString(), 'two');
      assert.equal(third.previous?.version, 2);
      assert.equal(third.previous?.modRevision, second.revision);
    },
  },
  {
    name: 'a put with an empty key is refused',
    async run({ kv, refuses }) {
      await refuses(kv.put('', 'one'), 'ERR_EMPTY_KEY');
      await refuses(kv.put('', 'one', { ignoreValue: true }), 'ERR_EMPTY_KEY');
    },
  },
  {
    name: 'a put above the size of a request is refused',
    async run({ kv, key, refuses }) {
      const value = Buffer.alloc(1_700_000, 'x');
      await refuses(kv.put(key('a'), value), 'ERR_REQUEST_TOO_LARGE');
      assert.equal(await kv.get(key('a')), undefined);
    },
  },
  {
    name: 'a put attaches to a lease, and one without a lease detaches',
    async run({ kv, key, defer }) {
      const { id } = await kv.grantLease('60s');
      defer(() => kv.revokeLease(id));
      await kv.put(key('a'), 'one', { lease: id });
      assert.equal((await kv.get(key('a')))?.lease, id);
      assert.deepEqual((await kv.leaseInfo(id, { keys: true })).keys, [Buffer.from(key('a'))]);
      await kv.put(key('a'), 'two');
      assert.equal((await kv.get(key('a')))?.lease, 0n);
      assert.deepEqual((await kv.leaseInfo(id, { keys: true })).keys, []);
    },
  },
  {
    name: 'a put with another lease moves the key there',
    async run({ kv, key, defer }) {
      const first = await kv.grantLease('60s');
      const second = await kv.grantLease('60s');
      defer(() => kv.revokeLease(second.id));
      await kv.put(key('a'), 'one', { lease: first.id });
      await kv.put(key('a'), 'two', { lease: second.id });
      await kv.revokeLease(first.id);
      assert.equal((await kv.get(key('a')))?.lease, second.id);
      assert.equal((await kv.leaseInfo(second.id, { keys: true })).keys.length, 1);
    },
  },
  {
    name: 'a put with an unknown lease is refused and writes nothing',
    async run({ kv, key, refuses }) {
      await refuses(kv.put(key('a'), 'one', { lease: 123_456_789n }), 'ERR_LEASE_NOT_FOUND');
      assert.equal(await kv.get(key('a')), undefined);
    },
  },
  {
    name: 'a put that ignores the value keeps it and is a change all the same',
    async run({ kv, key, defer }) {
      const { id } = await kv.grantLease('60s');
      defer(() => kv.revokeLease(id));
      await kv.put(key('a'), 'one');
      const { revision } = await kv.put(key('a'), '', { ignoreValue: true, lease: id });
      const found = (await kv.get(key('a')))!;
      assert.deepEqual(
        [found.value.toString(), found.lease, found.version, found.modRevision],
        ['one', id, 2, revision],
      );
    },
  },
  {
    name: 'a put that ignores the lease keeps the one the key has',
    async run({ kv, key, defer }) {
      const { id } = await kv.grantLease('60s');
      defer(() => kv.revokeLease(id));
      await kv.put(key('a'), 'one', { lease: id });
      await kv.put(key('a'), 'two', { ignoreLease: true });
      const found = (await kv.get(key('a')))!;
      assert.deepEqual([found.value.toString(), found.lease], ['two', id]);
    },
  },
  {
    name: 'a value or lease that is to be ignored must not be given',
    async run({ kv, key, refuses }) {
      await kv.put(key('a'), 'one');
      await refuses(kv.put(key('a'), 'two', { ignoreValue: true }), 'ERR_VALUE_PROVIDED');
      await refuses(kv.put(key('a'), '', { ignoreLease: true, lease: 5n }), 'ERR_LEASE_PROVIDED');
      assert.equal((await kv.get(key('a')))?.value.toString(), 'one');
    },
  },
  {
    name: 'to ignore value or lease of a key that does not exist is refused',
    async run({ kv, key, refuses }) {
      await refuses(kv.put(key('a'), '', { ignoreValue: true }), 'ERR_KEY_NOT_FOUND');
      await refuses(kv.put(key('a'), 'one', { ignoreLease: true }), 'ERR_KEY_NOT_FOUND');
      await kv.put(key('a'), 'one');
      await kv.delete(key('a'));
      await refuses(kv.put(key('a'), '', { ignoreValue: true }), 'ERR_KEY_NOT_FOUND');
    },
  },
  {
    name: 'concurrent puts each take a revision of their own',
    async run({ kv, key }) {
      const puts = Array.from({ length: 50 }, (_, i) => kv.put(key('a'), String(i)));
      const revisions = (await Promise.all(puts)).map((put) => put.revision);
      assert.equal(new Set(revisions).size, 50);
      const found = (await kv.get(key('a')))!;
      assert.equal(found.version, 50);
      assert.equal(found.modRevision, Math.max(...revisions));
      assert.equal(found.value.toString(), String(revisions.indexOf(found.modRevision)));
    },
  },
];

const deleteCases: readonly KvCase[] = [
  {
    name: 'a delete says how many keys went and, where asked, what they held',
    async run({ kv, key, all, fill }) {
      await fill('a', 'b', 'c');
      const one = await kv.delete(key('b'));
      assert.deepEqual([one.deleted, one.previous], [1, []]);
      const rest = await kv.delete(all(), { previous: true });
      assert.equal(rest.deleted, 2);
      assert.deepEqual(
        rest.previous.map((before) => before.value.toString()),
        ['a', 'c'],
      );
      assert.equal((await kv.range(all())).count, 0);
    },
  },
  {
    name: 'a delete of many keys takes one revision',
    async run({ kv, all, fill, takesOneRevision }) {
      await fill('a', 'b', 'c');
      await takesOneRevision(async () => {
        const gone = await kv.delete(all());
        await fill('a', 'b', 'c');
        return gone;
      });
    },
  },
  {
    name: 'a delete that finds nothing changes nothing',
    async run({ kv, key, keepsRevision }) {
      await keepsRevision(async () => {
        const { deleted, previous } = await kv.delete(key('none'), { previous: true });
        assert.deepEqual([deleted, previous], [0, []]);
      });
    },
  },
  {
    name: 'a delete of a range leaves its end',
    async run(context) {
      await context.fill('a', 'b', 'c');
      const range = { from: context.key('a'), to: context.key('c') };
      assert.equal((await context.kv.delete(range)).deleted, 2);
      const left = await context.kv.range(context.all());
      assert.deepEqual(context.names(left.kvs), ['c']);
    },
  },
  {
    name: 'a delete of a range whose end is not after its start deletes nothing',
    needs: ['service'],
    async run({ kv, key, all, fill, service }) {
      await fill('a', 'b');
      for (const rangeEnd of [key('a'), key('b')]) {
        const request = etcd.DeleteRangeRequest.create({ key: key('b'), rangeEnd });
        assert.equal((await service.deleteRange(request)).deleted, 0);
      }
      assert.equal((await kv.range(all())).count, 2);
    },
  },
  {
    name: 'a delete of an empty key is refused',
    async run({ kv, refuses }) {
      await refuses(kv.delete(''), 'ERR_EMPTY_KEY');
    },
  },
  {
    name: 'a key that is put again after a delete begins a new life',
    async run({ kv, key }) {
      await kv.put(key('a'), 'one');
      await kv.put(key('a'), 'two');
      await kv.delete(key('a'));
      const { revision, previous } = await kv.put(key('a'), 'three', { previous: true });
      assert.equal(previous, undefined);
      const found = (await kv.get(key('a')))!;
      assert.deepEqual(
        [found.version, found.createRevision, found.modRevision],
        [1, revision, revision],
      );
    },
  },
  {
    name: 'a deleted key is gone from its lease',
    async run({ kv, key, defer }) {
      const { id } = await kv.grantLease('60s');
      defer(() => kv.revokeLease(id));
      await kv.put(key('a'), 'one', { lease: id });
      await kv.delete(key('a'));
      await kv.put(key('a'), 'two');
      assert.deepEqual((await kv.leaseInfo(id, { keys: true })).keys, []);
      assert.equal((await kv.get(key('a')))?.lease, 0n);
    },
  },
];

export const writeCases: readonly KvCase[] = [...putCases, ...deleteCases];
