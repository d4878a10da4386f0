/** Rules of reading: ranges and their options, revisions of the past. etcd API: Range. */
import assert from 'node:assert/strict';
import * as etcd from '../proto/etcd.ts';
import { SortOrder, SortTarget } from '../proto/messages.ts';
import type { KvCase } from './kv-context.ts';

export const rangeCases: readonly KvCase[] = [
  {
    name: 'a key that was never put is absent',
    async run({ kv, key }) {
      assert.equal(await kv.get(key('none')), undefined);
      const range = await kv.range(key('none'));
      assert.deepEqual([range.count, range.kvs.length, range.more], [0, 0, false]);
      assert.ok(range.revision >= 1);
    },
  },
  {
    name: 'a key reads back as it was put, with its revisions',
    async run({ kv, key }) {
      const { revision } = await kv.put(key('a'), 'value');
      assert.deepEqual(await kv.get(key('a')), {
        key: Buffer.from(key('a')),
        value: Buffer.from('value'),
        createRevision: revision,
        modRevision: revision,
        version: 1,
        lease: 0n,
      });
    },
  },
  {
    name: 'an empty value is a value',
    async run({ kv, key }) {
      await kv.put(key('a'), '');
      assert.equal((await kv.get(key('a')))?.value.length, 0);
    },
  },
  {
    name: 'every byte is kept in keys and values',
    async run({ kv, prefix }) {
      const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
      const name = Buffer.concat([Buffer.from(prefix), all]);
      await kv.put(name, all);
      const found = await kv.get(name);
      assert.deepEqual([found?.key, found?.value], [name, all]);
    },
  },
  {
    name: 'a value of one megabyte is kept',
    async run({ kv, key }) {
      const value = Buffer.alloc(1024 * 1024, 'xyz');
      await kv.put(key('a'), value);
      assert.ok((await kv.get(key('a')))?.value.equals(value));
    },
  },
  {
    name: 'a range of one key leaves out keys that begin with it',
    async run(context) {
      await context.fill('a', 'ab');
      const range = await context.kv.range(context.key('a'));
      assert.deepEqual(context.names(range.kvs), ['a']);
    },
  },
  {
    name: 'a prefix gives its keys in order',
    async run(context) {
      await context.fill('b', 'c1', 'a', 'c', 'ca');
      const all = await context.kv.range(context.all());
      assert.deepEqual(context.names(all.kvs), ['a', 'b', 'c', 'c1', 'ca']);
      const some = await context.kv.range(context.all('c'));
      assert.deepEqual(context.names(some.kvs), ['c', 'c1', 'ca']);
    },
  },
  {
    name: 'keys are ordered by their bytes',
    async run({ kv, prefix, all }) {
      const order = [
        '\x00',
        '\x00\x00',
        '\x01',
        'A',
        'a',
        '\x7f',
        '\x80',
        '\xfe',
        '\xff',
        '\xff\x00',
      ];
      for (const name of [...order].reverse()) {
        await kv.put(Buffer.from(prefix + name, 'latin1'), '');
      }
      const { kvs } = await kv.range(all());
      const names = kvs.map((one) => one.key.toString('latin1').slice(prefix.length));
      assert.deepEqual(names, order);
    },
  },
  {
    name: 'a prefix that ends in 0xff has all its keys and no others',
    async run({ kv, prefix }) {
      const bytes = (name: string): Buffer => Buffer.from(prefix + name, 'latin1');
      for (const name of ['a\xfe', 'a\xff', 'a\xff\x00', 'a\xff\xff', 'b']) {
        await kv.put(bytes(name), '');
      }
      assert.equal((await kv.range({ prefix: bytes('a\xff') })).count, 3);
    },
  },
  {
    name: 'a prefix of 0xff bytes alone reaches to the end of the store',
    async run({ kv, prefix, defer }) {
      const name = Buffer.from(`\xff\xff${prefix}`, 'latin1');
      defer(() => kv.delete(name));
      await kv.put(name, 'last');
      const { kvs } = await kv.range({ prefix: Buffer.from([0xff, 0xff]) });
      assert.ok(kvs.some((one) => one.key.equals(name)));
    },
  },
  {
    name: 'a range holds its start and not its end',
    async run(context) {
      await context.fill('a', 'b', 'c');
      const range = await context.kv.range({ from: context.key('a'), to: context.key('c') });
      assert.deepEqual(context.names(range.kvs), ['a', 'b']);
    },
  },
  {
    name: 'a range without an end goes on to the last key of the store',
    async run(context) {
      await context.fill('a', 'b', 'c');
      const range = await context.kv.range({ from: context.key('b') }, { limit: 2 });
      assert.deepEqual(context.names(range.kvs), ['b', 'c']);
      assert.ok(range.count >= 2);
    },
  },
  {
    name: 'an empty prefix is the whole store',
    async run(context) {
      await context.fill('a', 'b');
      const whole = await context.kv.range({ prefix: '' }, { countOnly: true });
      const own = await context.kv.range(context.all(), { countOnly: true });
      assert.ok(whole.count >= own.count && own.count === 2);
    },
  },
  {
    name: 'a range whose end is not after its start is empty',
    needs: ['service'],
    async run({ fill, key, service }) {
      await fill('a', 'b');
      for (const rangeEnd of [key('b'), key('a')]) {
        const request = etcd.RangeRequest.create({ key: key('b'), rangeEnd });
        const { kvs, count, more } = await service.range(request);
        assert.deepEqual([kvs.length, count, more], [0, 0, false]);
      }
    },
  },
  {
    name: 'the key \\0 up to \\0 is the whole store',
    needs: ['service'],
    async run({ fill, service }) {
      await fill('a', 'b');
      const request = etcd.RangeRequest.create({ key: '\0', rangeEnd: '\0', countOnly: true });
      assert.ok((await service.range(request)).count >= 2);
    },
  },
  {
    name: 'an empty key is refused',
    async run({ kv, refuses }) {
      await refuses(kv.get(''), 'ERR_EMPTY_KEY');
      await refuses(kv.range(''), 'ERR_EMPTY_KEY');
    },
  },
  {
    name: 'a limit cuts off, says so, and does not change the count',
    async run(context) {
      await context.fill('a', 'b', 'c');
      const { kvs, more, count } = await context.kv.range(context.all(), { limit: 2 });
      assert.deepEqual([context.names(kvs), more, count], [['a', 'b'], true, 3]);
    },
  },
  {
    name: 'a limit that everything fits into leaves nothing more',
    async run(context) {
      await context.fill('a', 'b', 'c');
      for (const limit of [3, 4, 0]) {
        const { kvs, more, count } = await context.kv.range(context.all(), { limit });
        assert.deepEqual([kvs.length, more, count], [3, false, 3]);
      }
    },
  },
  {
    name: 'a count gives no keys, and nothing more, also with a limit',
    async run(context) {
      await context.fill('a', 'b', 'c');
      for (const limit of [0, 1]) {
        const range = await context.kv.range(context.all(), { countOnly: true, limit });
        assert.deepEqual([range.kvs.length, range.more, range.count], [0, false, 3]);
      }
    },
  },
  {
    name: 'keys only leaves out the values and nothing else',
    async run({ kv, key, all, defer }) {
      const { id } = await kv.grantLease('60s');
      defer(() => kv.revokeLease(id));
      await kv.put(key('a'), 'value', { lease: id });
      await kv.put(key('a'), 'value', { lease: id });
      const whole = (await kv.range(all())).kvs[0]!;
      const bare = (await kv.range(all(), { keysOnly: true })).kvs[0]!;
      assert.deepEqual(bare, { ...whole, value: Buffer.alloc(0) });
      assert.equal(bare.lease, id);
    },
  },
  {
    name: 'keys are sorted by key, either way',
    async run(context) {
      const { kv, all, names } = context;
      await context.fill('b', 'a', 'c');
      const up = await kv.range(all(), { sortBy: 'key', order: 'ascend' });
      const down = await kv.range(all(), { sortBy: 'key', order: 'descend' });
      const bare = await kv.range(all(), { order: 'descend' });
      assert.deepEqual(names(up.kvs), ['a', 'b', 'c']);
      assert.deepEqual(names(down.kvs), ['c', 'b', 'a']);
      assert.deepEqual(names(bare.kvs), ['c', 'b', 'a']);
    },
  },
  {
    name: 'keys are sorted by version, by creation, by change and by value, either way',
    async run(context) {
      const { kv, key, all, names } = context;
      // Versions a 3, b 1, c 2; created b, c, a; changed b, a, c; values b < c < a.
      await kv.put(key('b'), '1');
      await kv.put(key('c'), '-');
      for (const value of ['-', '-', '3']) await kv.put(key('a'), value);
      await kv.put(key('c'), '2');
      const expected = {
        version: ['b', 'c', 'a'],
        create: ['b', 'c', 'a'],
        mod: ['b', 'a', 'c'],
        value: ['b', 'c', 'a'],
      } as const;
      for (const sortBy of ['version', 'create', 'mod', 'value'] as const) {
        const up = await kv.range(all(), { sortBy, order: 'ascend' });
        const down = await kv.range(all(), { sortBy, order: 'descend' });
        assert.deepEqual(names(up.kvs), expected[sortBy], sortBy);
        assert.deepEqual(names(down.kvs), [...expected[sortBy]].reverse(), sortBy);
      }
    },
  },
  {
    name: 'a sort target without an order sorts upwards',
    needs: ['service'],
    async run({ kv, key, prefix, service }) {
      for (const name of ['c', 'a', 'b']) await kv.put(key(name), name);
      const request = etcd.RangeRequest.create({
        key: prefix,
        rangeEnd: `${prefix.slice(0, -1)}0`,
        sortTarget: SortTarget.create,
        sortOrder: SortOrder.none,
      });
      const { kvs } = await service.range(request);
      assert.deepEqual(
        kvs.map((one) => one.value),
        ['c', 'a', 'b'],
      );
    },
  },
  {
    name: 'a limit is taken after sorting',
    async run(context) {
      await context.fill('a', 'b', 'c');
      const { kvs, more, count } = await context.kv.range(context.all(), {
        sortBy: 'create',
        order: 'descend',
        limit: 1,
      });
      assert.deepEqual([context.names(kvs), more, count], [['c'], true, 3]);
    },
  },
  {
    name: 'an unknown sort order or target is refused',
    needs: ['service'],
    async run({ key, service, refuses }) {
      const order = etcd.RangeRequest.create({ key: key('a'), sortOrder: 7 });
      const target = etcd.RangeRequest.create({ key: key('a'), sortTarget: 7 });
      await refuses(service.range(order), 'ERR_INVALID_SORT');
      await refuses(service.range(target), 'ERR_INVALID_SORT');
    },
  },
  {
    name: 'bounds on the revision of the last change are inclusive',
    async run(context) {
      const { kv, all, names } = context;
      const [, second, third] = await context.fill('a', 'b', 'c', 'd');
      const from = await kv.range(all(), { minModRevision: second! });
      const upTo = await kv.range(all(), { maxModRevision: second! });
      const both = await kv.range(all(), { minModRevision: second!, maxModRevision: third! });
      assert.deepEqual(names(from.kvs), ['b', 'c', 'd']);
      assert.deepEqual(names(upTo.kvs), ['a', 'b']);
      assert.deepEqual(names(both.kvs), ['b', 'c']);
    },
  },
  {
    name: 'bounds on the revision of creation are inclusive',
    async run(context) {
      const { kv, all, names } = context;
      const [, second, third] = await context.fill('a', 'b', 'c', 'd');
      await context.fill('b');
      const from = await kv.range(all(), { minCreateRevision: second! });
      const upTo = await kv.range(all(), { maxCreateRevision: second! });
      const both = await kv.range(all(), { minCreateRevision: second!, maxCreateRevision: third! });
      assert.deepEqual(names(from.kvs), ['b', 'c', 'd']);
      assert.deepEqual(names(upTo.kvs), ['a', 'b']);
      assert.deepEqual(names(both.kvs), ['b', 'c']);
    },
  },
  {
    name: 'the count takes no notice of bounds, and the limit counts what they leave',
    async run(context) {
      const [, second] = await context.fill('a', 'b', 'c', 'd');
      const filtered = { minModRevision: second! };
      const cut = await context.kv.range(context.all(), { ...filtered, limit: 2 });
      assert.deepEqual([context.names(cut.kvs), cut.more, cut.count], [['b', 'c'], true, 4]);
      const whole = await context.kv.range(context.all(), { ...filtered, limit: 3 });
      assert.deepEqual([whole.kvs.length, whole.more, whole.count], [3, false, 4]);
    },
  },
  {
    name: 'the past is read as it was, with the revision of now',
    async run({ kv, key }) {
      const first = await kv.put(key('a'), 'one');
      const second = await kv.put(key('a'), 'two');
      const past = await kv.range(key('a'), { revision: first.revision });
      assert.equal(past.kvs[0]?.value.toString(), 'one');
      assert.equal(past.kvs[0]?.version, 1);
      assert.ok(past.revision >= second.revision);
      const got = await kv.get(key('a'), { revision: first.revision });
      assert.equal(got?.modRevision, first.revision);
    },
  },
  {
    name: 'the past has deleted keys, and none that came later',
    async run(context) {
      const { kv, key, all, names } = context;
      const [first, second] = await context.fill('a', 'b');
      const deleted = await kv.delete(key('a'));
      const at = async (revision: number) => names((await kv.range(all(), { revision })).kvs);
      assert.deepEqual(await at(first!), ['a']);
      assert.deepEqual(await at(second!), ['a', 'b']);
      assert.deepEqual(await at(deleted.revision), ['b']);
    },
  },
  {
    name: 'counts, limits and sorting apply to the past',
    async run(context) {
      const { kv, all, names } = context;
      const revisions = await context.fill('a', 'b', 'c');
      await kv.delete(all());
      const { kvs, count, more } = await kv.range(all(), {
        revision: revisions[2]!,
        sortBy: 'mod',
        order: 'descend',
        limit: 2,
      });
      assert.deepEqual([names(kvs), count, more], [['c', 'b'], 3, true]);
    },
  },
  {
    name: 'a revision of the future is refused',
    async run({ kv, key, refuses, revision }) {
      const future = (await revision()) + 1_000_000;
      await refuses(kv.get(key('a'), { revision: future }), 'ERR_FUTURE_REVISION');
    },
  },
  {
    name: 'a negative revision means now',
    needs: ['service'],
    async run({ kv, key, service }) {
      await kv.put(key('a'), 'one');
      const request = etcd.RangeRequest.create({ key: key('a'), revision: -1 });
      assert.equal((await service.range(request)).kvs[0]?.value, 'one');
    },
  },
  {
    name: 'a serializable read is answered',
    async run({ kv, key, eventually }) {
      await kv.put(key('a'), 'one');
      await eventually(
        async () => (await kv.get(key('a'), { serializable: true })) !== undefined,
        'a serializable read sees the key',
      );
    },
  },
  {
    name: 'a linearizable read sees every write that was acknowledged before',
    async run({ kv, key }) {
      for (let i = 0; i < 20; i++) {
        const { revision } = await kv.put(key('a'), String(i));
        const found = await kv.get(key('a'));
        assert.ok(found !== undefined && found.modRevision >= revision);
        assert.equal(found.value.toString(), String(i));
      }
    },
  },
  {
    name: 'a range of a thousand keys is whole and in order',
    async run({ kv, key, all, names }) {
      const expected = Array.from({ length: 1_000 }, (_, i) => `k${String(i).padStart(4, '0')}`);
      for (let i = 0; i < expected.length; i += 125) {
        const part = expected.slice(i, i + 125);
        await kv.txn({ then: part.map((name) => ({ op: 'put', key: key(name), value: name })) });
      }
      const { kvs, count, more } = await kv.range(all());
      assert.deepEqual([names(kvs), count, more], [expected, 1_000, false]);
    },
  },
  {
    name: 'an aborted call rejects with the reason of the abort',
    async run({ kv, key }) {
      const reason = new Error('enough');
      const signal = AbortSignal.abort(reason);
      await assert.rejects(kv.get(key('a'), { signal }), (error) => error === reason);
      await assert.rejects(kv.put(key('a'), '', { signal }), (error) => error === reason);
      assert.equal(await kv.get(key('a')), undefined);
    },
  },
];
