/** Rules of dropping history. They move the floor of the whole store, so they come last. */
import assert from 'node:assert/strict';
import type { Op } from '../kv/kv.ts';
import * as etcd from '../proto/etcd.ts';
import type { KvCase, KvContext } from './kv-context.ts';

const needs = ['compaction'] as const;
const needsService = ['compaction', 'service'] as const;

/** Puts `a` three times and compacts at the second; the three revisions. */
async function compacted({ kv, key }: KvContext): Promise<[number, number, number]> {
  const first = await kv.put(key('a'), 'one');
  const second = await kv.put(key('a'), 'two');
  const third = await kv.put(key('a'), 'three');
  await kv.compact(second.revision);
  return [first.revision, second.revision, third.revision];
}

const readCases: readonly KvCase[] = [
  {
    name: 'a revision before the compacted one cannot be read',
    needs,
    async run(context) {
      const [first] = await compacted(context);
      const { kv, key, refuses } = context;
      await refuses(kv.get(key('a'), { revision: first }), 'ERR_COMPACTED');
      await refuses(kv.range(context.all(), { revision: first }), 'ERR_COMPACTED');
    },
  },
  {
    name: 'the compacted revision itself and all later ones can be read',
    needs,
    async run(context) {
      const [, second, third] = await compacted(context);
      const at = async (revision: number) =>
        (await context.kv.get(context.key('a'), { revision }))?.value.toString();
      assert.deepEqual([await at(second), await at(third)], ['two', 'three']);
      assert.equal((await context.kv.get(context.key('a')))?.version, 3);
    },
  },
  {
    name: 'a transaction that reads before the compacted revision is refused',
    needs,
    async run(context) {
      const [first] = await compacted(context);
      const { kv, key, refuses } = context;
      const read: Op = { op: 'range', key: key('a'), revision: first };
      await refuses(kv.txn({ then: [read] }), 'ERR_COMPACTED');
    },
  },
  {
    name: 'a transaction that also reads before the compacted revision writes nothing',
    needs: ['compaction', 'pastInWrites'],
    async run(context) {
      const [first] = await compacted(context);
      const { kv, key, refuses } = context;
      const read: Op = { op: 'range', key: key('a'), revision: first };
      const put: Op = { op: 'put', key: key('b'), value: '' };
      await refuses(kv.txn({ then: [put, read] }), 'ERR_COMPACTED');
      await refuses(kv.txn({ then: [read, put] }), 'ERR_COMPACTED');
      assert.equal(await kv.get(key('b')), undefined);
    },
  },
  {
    name: 'a negative revision means now, except in a transaction, where it was compacted',
    needs: needsService,
    async run(context) {
      await compacted(context);
      const { key, service, refuses } = context;
      for (const revision of [-1, -2]) {
        const requestRange = etcd.RangeRequest.create({ key: key('a'), revision });
        assert.equal((await service.range(requestRange)).kvs[0]?.value, 'three');
        const success = [etcd.RequestOp.create({ requestRange })];
        await refuses(service.txn(etcd.TxnRequest.create({ success })), 'ERR_COMPACTED');
      }
    },
  },
  {
    name: 'compaction takes no key and no revision',
    needs,
    async run({ kv, key, all, names, fill, keepsRevision }) {
      await fill('a', 'b', 'a', 'c');
      await kv.delete(key('b'));
      const before = await kv.range(all());
      let next = before.kvs[0]!.createRevision;
      await keepsRevision(() => kv.compact(next++));
      const after = await kv.range(all());
      assert.deepEqual(after.kvs, before.kvs);
      assert.deepEqual(names(after.kvs), ['a', 'c']);
    },
  },
  {
    name: 'a physical compaction is the same to see',
    needs,
    async run({ kv, key, refuses }) {
      const first = await kv.put(key('a'), 'one');
      const second = await kv.put(key('a'), 'two');
      await kv.compact(second.revision, { physical: true });
      await refuses(kv.get(key('a'), { revision: first.revision }), 'ERR_COMPACTED');
      const found = await kv.get(key('a'), { revision: second.revision });
      assert.equal(found?.value.toString(), 'two');
    },
  },
  {
    name: 'a revision cannot be compacted twice, nor an earlier one',
    needs,
    async run(context) {
      const [first, second] = await compacted(context);
      await context.refuses(context.kv.compact(second), 'ERR_COMPACTED');
      await context.refuses(context.kv.compact(first), 'ERR_COMPACTED');
    },
  },
  {
    name: 'a revision of the future cannot be compacted',
    needs,
    async run({ kv, refuses, revision }) {
      await refuses(kv.compact((await revision()) + 1_000_000), 'ERR_FUTURE_REVISION');
    },
  },
  {
    name: 'a key is put, updated and deleted after a compaction as before',
    needs,
    async run(context) {
      const [first, , third] = await compacted(context);
      const { kv, key } = context;
      const put = await kv.put(key('a'), 'four', { previous: true });
      assert.equal(put.previous?.modRevision, third);
      const found = (await kv.get(key('a')))!;
      assert.deepEqual([found.version, found.createRevision], [4, first]);
      assert.equal((await kv.delete(key('a'), { previous: true })).previous[0]?.version, 4);
      assert.equal(await kv.get(key('a')), undefined);
    },
  },
  {
    name: 'a key deleted before the compaction is gone and can be put anew',
    needs,
    async run({ kv, key, all, fill, revision }) {
      await fill('a', 'a');
      await kv.delete(key('a'));
      await fill('b');
      await kv.compact(await revision());
      assert.equal((await kv.range(all())).count, 1);
      await kv.put(key('a'), 'new');
      assert.equal((await kv.get(key('a')))?.version, 1);
    },
  },
];

const watchCases: readonly KvCase[] = [
  {
    name: 'a watch from before the compacted revision ends with what is still there',
    needs,
    async run(context) {
      const [first, second] = await compacted(context);
      const watch = context.kv.watch(context.key('a'), { fromRevision: first });
      context.defer(() => watch.close());
      const next = watch[Symbol.asyncIterator]().next();
      await assert.rejects(context.within(next, 'the end of the watch'), {
        code: 'ERR_COMPACTED',
        compactRevision: second,
      });
    },
  },
  {
    name: 'a watch from the compacted revision replays it',
    needs,
    async run(context) {
      const [, second, third] = await compacted(context);
      const reader = await context.watch(context.key('a'), { fromRevision: second });
      const revisions = (await reader.events(2)).map((event) => event.kv.modRevision);
      assert.deepEqual(revisions, [second, third]);
    },
  },
  {
    name: 'a delete at the compacted revision is still seen by a watch from there',
    needs,
    async run({ kv, key, watch }) {
      await kv.put(key('a'), 'one');
      const { revision } = await kv.delete(key('a'));
      await kv.compact(revision);
      const reader = await watch(key('a'), { fromRevision: revision });
      await kv.put(key('a'), 'two');
      assert.deepEqual(await reader.changes(2), ['delete a', 'put a=two']);
    },
  },
  {
    name: 'a previous value that was compacted away is left out',
    needs,
    async run(context) {
      const [, second, third] = await compacted(context);
      const reader = await context.watch(context.key('a'), {
        fromRevision: second,
        previous: true,
      });
      const [at, after] = await reader.events(2);
      assert.deepEqual([at?.kv.modRevision, at?.previous], [second, undefined]);
      assert.deepEqual([after?.kv.modRevision, after?.previous?.value.toString()], [third, 'two']);
    },
  },
  {
    name: 'a running watch is not disturbed by a compaction',
    needs,
    async run(context) {
      const reader = await context.watch(context.key('a'));
      await compacted(context);
      await context.kv.delete(context.key('a'));
      const expected = ['put a=one', 'put a=two', 'put a=three', 'delete a'];
      assert.deepEqual(await reader.changes(4), expected);
    },
  },
  {
    name: 'a watch that history no longer serves is created first and then canceled',
    needs: needsService,
    async run(context) {
      const [first, second] = await compacted(context);
      const raw = context.rawWatch();
      raw.create({ key: context.key('a'), startRevision: first });
      const created = await raw.next();
      assert.deepEqual([created.created, created.canceled], [true, false]);
      const canceled = await raw.next();
      assert.deepEqual(
        [canceled.watchId, canceled.created, canceled.canceled, canceled.cancelReason],
        [created.watchId, false, true, ''],
      );
      assert.equal(canceled.compactRevision, second);
      assert.deepEqual(canceled.events, []);
    },
  },
];

export const compactCases: readonly KvCase[] = [...readCases, ...watchCases];
