/** Rules of transactions: steps, atomicity, nesting, what is refused. etcd API: Txn. */
import assert from 'node:assert/strict';
import type { Op, OpResult } from '../kv/kv.ts';
import * as etcd from '../proto/etcd.ts';
import type { KvCase } from './kv-context.ts';

function put(key: string, value: string): Op {
  return { op: 'put', key, value };
}

/** The result of a step, which must be of kind `op`. */
function resultOf<K extends OpResult['op']>(
  result: OpResult | undefined,
  op: K,
): Extract<OpResult, { op: K }> {
  assert.equal(result?.op, op);
  return result as Extract<OpResult, { op: K }>;
}

const stepCases: readonly KvCase[] = [
  {
    name: 'a transaction takes its then branch where the condition holds, else the other',
    async run({ kv, key }) {
      await kv.put(key('a'), 'one');
      const run = (expected: string) =>
        kv.txn({
          if: [{ key: key('a'), target: 'value', is: '=', to: expected }],
          then: [put(key('then'), expected)],
          else: [put(key('else'), expected)],
        });
      assert.equal((await run('one')).succeeded, true);
      assert.equal((await run('other')).succeeded, false);
      assert.equal((await kv.get(key('then')))?.value.toString(), 'one');
      assert.equal((await kv.get(key('else')))?.value.toString(), 'other');
    },
  },
  {
    name: 'a transaction without conditions takes its then branch',
    async run({ kv, key }) {
      const { succeeded } = await kv.txn({
        then: [put(key('a'), '1')],
        else: [put(key('b'), '1')],
      });
      assert.equal(succeeded, true);
      assert.ok(await kv.get(key('a')));
      assert.equal(await kv.get(key('b')), undefined);
    },
  },
  {
    name: 'results come in the order of the steps',
    async run({ kv, key, all }) {
      await kv.put(key('a'), 'one');
      const { results, revision } = await kv.txn({
        then: [
          { op: 'range', key: key('a') },
          { ...put(key('b'), 'two'), previous: true } as Op,
          { op: 'delete', key: key('a'), previous: true },
          { op: 'range', key: all() },
          { op: 'txn', then: [put(key('c'), 'three')] },
        ],
      });
      assert.equal(results.length, 5);
      assert.equal(resultOf(results[0], 'range').kvs[0]?.value.toString(), 'one');
      assert.equal(resultOf(results[1], 'put').previous, undefined);
      const deleted = resultOf(results[2], 'delete');
      assert.equal(deleted.deleted, 1);
      assert.equal(deleted.previous[0]?.value.toString(), 'one');
      assert.equal(resultOf(results[3], 'range').count, 1);
      const inner = resultOf(results[4], 'txn');
      assert.deepEqual([inner.succeeded, inner.results.length], [true, 1]);
      assert.equal((await kv.get(key('c')))?.modRevision, revision);
    },
  },
  {
    name: 'a transaction takes one revision, whatever it writes',
    async run({ kv, key, takesOneRevision }) {
      await kv.put(key('d'), '');
      await takesOneRevision(async () => {
        const txn = await kv.txn({
          then: [put(key('a'), '1'), put(key('b'), '1'), { op: 'delete', key: key('d') }],
        });
        const changed = [await kv.get(key('a')), await kv.get(key('b'))];
        assert.deepEqual(
          changed.map((one) => one?.modRevision),
          [txn.revision, txn.revision],
        );
        await kv.put(key('d'), '');
        return txn;
      });
    },
  },
  {
    name: 'a transaction that only reads takes no revision',
    async run({ kv, key, all, fill, keepsRevision }) {
      await fill('a', 'b');
      await keepsRevision(async () => {
        const { results } = await kv.txn({
          if: [{ key: key('a'), target: 'version', is: '>', to: 0 }],
          then: [
            { op: 'range', key: all() },
            { op: 'range', key: key('b') },
          ],
        });
        assert.equal(resultOf(results[0], 'range').count, 2);
        assert.equal(resultOf(results[1], 'range').kvs[0]?.value.toString(), 'b');
      });
    },
  },
  {
    name: 'a transaction whose branch is empty is a plain answer and takes no revision',
    async run({ kv, key, keepsRevision }) {
      await keepsRevision(async () => {
        const { succeeded, results } = await kv.txn({
          if: [{ key: key('none'), target: 'version', is: '>', to: 0 }],
          then: [put(key('a'), '1')],
        });
        assert.deepEqual([succeeded, results], [false, []]);
      });
    },
  },
  {
    name: 'a transaction without anything is answered',
    async run({ kv }) {
      const { succeeded, results } = await kv.txn({});
      assert.deepEqual([succeeded, results], [true, []]);
    },
  },
  {
    name: 'a range in a transaction sees the writes before it and not those after',
    async run({ kv, key }) {
      await kv.put(key('a'), 'old');
      const { results, revision } = await kv.txn({
        then: [
          { op: 'range', key: key('a') },
          put(key('a'), 'new'),
          { op: 'range', key: key('a') },
        ],
      });
      const [before, , after] = results;
      assert.equal(resultOf(before, 'range').kvs[0]?.value.toString(), 'old');
      assert.equal(resultOf(after, 'range').kvs[0]?.value.toString(), 'new');
      assert.equal(resultOf(after, 'range').kvs[0]?.modRevision, revision);
      assert.equal(resultOf(after, 'range').revision, revision);
      assert.ok(resultOf(before, 'range').revision < revision);
    },
  },
  {
    name: 'a range in a transaction takes every option and also reads the past',
    async run({ kv, key, all, names, fill }) {
      const [first] = await fill('a', 'b', 'c');
      const { results } = await kv.txn({
        then: [
          { op: 'range', key: all(), sortBy: 'mod', order: 'descend', limit: 2 },
          { op: 'range', key: all(), countOnly: true },
          { op: 'range', key: all(), keysOnly: true, maxModRevision: first! },
          { op: 'range', key: all(), revision: first! },
          put(key('d'), ''),
        ],
      });
      const ranges = results.slice(0, 4).map((one) => resultOf(one, 'range'));
      assert.deepEqual(names(ranges[0]!.kvs), ['c', 'b']);
      assert.deepEqual([ranges[0]!.more, ranges[0]!.count], [true, 3]);
      assert.deepEqual([ranges[1]!.count, ranges[1]!.kvs.length], [3, 0]);
      assert.deepEqual(names(ranges[2]!.kvs), ['a']);
      assert.equal(ranges[2]!.kvs[0]?.value.length, 0);
      assert.deepEqual(names(ranges[3]!.kvs), ['a']);
    },
  },
  {
    name: 'puts and deletes in a transaction return what was before, where asked',
    async run({ kv, key, fill }) {
      await fill('a', 'b');
      const { results } = await kv.txn({
        then: [
          { op: 'put', key: key('a'), value: 'new', previous: true },
          { op: 'delete', key: key('b'), previous: true },
        ],
      });
      assert.equal(resultOf(results[0], 'put').previous?.value.toString(), 'a');
      assert.equal(resultOf(results[1], 'delete').previous[0]?.value.toString(), 'b');
    },
  },
  {
    name: 'a put in a transaction attaches to a lease and may ignore value or lease',
    async run({ kv, key, defer, fill }) {
      const { id } = await kv.grantLease('60s');
      defer(() => kv.revokeLease(id));
      await fill('a', 'b');
      await kv.txn({
        then: [
          { op: 'put', key: key('a'), value: '', ignoreValue: true, lease: id },
          { op: 'put', key: key('c'), value: '1', lease: id },
        ],
      });
      await kv.txn({ then: [{ op: 'put', key: key('c'), value: '2', ignoreLease: true }] });
      const [a, c] = [await kv.get(key('a')), await kv.get(key('c'))];
      assert.deepEqual([a?.value.toString(), a?.lease], ['a', id]);
      assert.deepEqual([c?.value.toString(), c?.lease], ['2', id]);
    },
  },
  {
    name: 'deletes in a transaction may overlap; the later one finds less',
    async run({ kv, key, all, fill }) {
      await fill('a', 'b');
      const { results } = await kv.txn({
        then: [
          { op: 'delete', key: key('a') },
          { op: 'delete', key: all() },
        ],
      });
      assert.equal(resultOf(results[0], 'delete').deleted, 1);
      assert.equal(resultOf(results[1], 'delete').deleted, 1);
    },
  },
  {
    name: 'a step says the revision it saw: the new one from the first change on',
    async run({ kv, key }) {
      await kv.put(key('a'), '');
      const { results, revision } = await kv.txn({
        then: [
          { op: 'delete', key: key('none') },
          { op: 'range', key: key('a') },
          put(key('b'), ''),
          { op: 'delete', key: key('none') },
          { op: 'delete', key: key('a') },
          { op: 'range', key: key('a') },
        ],
      });
      const revisions = results.map((one) => one.revision);
      const before = revisions[0]!;
      assert.ok(before < revision);
      assert.deepEqual(revisions, [before, before, revision, revision, revision, revision]);
    },
  },
];

const nestedCases: readonly KvCase[] = [
  {
    name: 'conditions of a nested transaction are judged before anything is written',
    async run({ kv, key }) {
      const { results } = await kv.txn({
        then: [
          put(key('a'), 'new'),
          {
            op: 'txn',
            if: [{ key: key('a'), target: 'version', is: '=', to: 0 }],
            then: [{ op: 'range', key: key('a') }],
          },
        ],
      });
      const inner = resultOf(results[1], 'txn');
      assert.equal(inner.succeeded, true);
      // Its ranges, though, see what the outer one wrote.
      assert.equal(resultOf(inner.results[0], 'range').kvs[0]?.value.toString(), 'new');
    },
  },
  {
    name: 'transactions nest in either branch, several levels deep',
    async run({ kv, key }) {
      const { results, succeeded } = await kv.txn({
        if: [{ key: key('a'), target: 'version', is: '>', to: 0 }],
        else: [
          {
            op: 'txn',
            then: [{ op: 'txn', then: [put(key('deep'), '1')] }, put(key('inner'), '1')],
          },
          put(key('outer'), '1'),
        ],
      });
      assert.equal(succeeded, false);
      const inner = resultOf(results[0], 'txn');
      const deep = resultOf(inner.results[0], 'txn');
      assert.deepEqual([inner.succeeded, deep.succeeded], [true, true]);
      const revisions = await Promise.all(
        ['deep', 'inner', 'outer'].map(async (name) => (await kv.get(key(name)))?.modRevision),
      );
      assert.equal(new Set(revisions).size, 1);
      assert.ok(revisions[0] !== undefined);
    },
  },
  {
    name: 'a key put by a transaction and by one nested in it is refused',
    async run({ kv, key, refuses }) {
      const twice = { then: [put(key('a'), '1'), { op: 'txn', then: [put(key('a'), '2')] }] };
      await refuses(kv.txn(twice as never), 'ERR_DUPLICATE_KEY');
      assert.equal(await kv.get(key('a')), undefined);
    },
  },
  {
    name: 'a key put by two nested transactions of one branch is refused',
    async run({ kv, key, refuses }) {
      const inner: Op = { op: 'txn', then: [put(key('a'), '1')] };
      await refuses(kv.txn({ then: [inner, inner] }), 'ERR_DUPLICATE_KEY');
    },
  },
  {
    name: 'the two branches of a transaction may put the same key, nested ones too',
    async run({ kv, key }) {
      await kv.txn({ then: [put(key('a'), '1')], else: [put(key('a'), '2')] });
      await kv.txn({
        then: [{ op: 'txn', then: [put(key('b'), '1')], else: [put(key('b'), '2')] }],
      });
      assert.equal((await kv.get(key('a')))?.value.toString(), '1');
      assert.equal((await kv.get(key('b')))?.value.toString(), '1');
    },
  },
  {
    name: 'a nested transaction has the operations that the outer one left',
    async run({ kv, key, refuses }) {
      const puts = (name: string, count: number): Op[] =>
        Array.from({ length: count }, (_, i) => put(key(`${name}${i}`), ''));
      const nested = (count: number) => ({
        then: [...puts('outer', 99), { op: 'txn' as const, then: puts('inner', count) }],
      });
      await refuses(kv.txn(nested(29)), 'ERR_TOO_MANY_OPERATIONS');
      assert.equal((await kv.txn(nested(28))).results.length, 100);
    },
  },
];

const refusedCases: readonly KvCase[] = [
  {
    name: 'a key put twice in one branch is refused and nothing is written',
    async run({ kv, key, all, refuses }) {
      const twice = [put(key('b'), '1'), put(key('a'), '1'), put(key('a'), '2')];
      await refuses(kv.txn({ then: twice }), 'ERR_DUPLICATE_KEY');
      await refuses(kv.txn({ then: [], else: twice }), 'ERR_DUPLICATE_KEY');
      assert.equal((await kv.range(all())).count, 0);
    },
  },
  {
    name: 'a put of a key that the same branch deletes is refused',
    async run({ kv, key, all, refuses }) {
      for (const range of [key('a'), all(), { from: key(''), to: key('b') }]) {
        const steps: Op[] = [{ op: 'delete', key: range }, put(key('a'), '1')];
        await refuses(kv.txn({ then: steps }), 'ERR_DUPLICATE_KEY');
        await refuses(kv.txn({ then: steps.reverse() }), 'ERR_DUPLICATE_KEY');
      }
    },
  },
  {
    name: 'a put beside a deleted range is carried out',
    async run({ kv, key }) {
      await kv.put(key('a'), '1');
      const range = { from: key('a'), to: key('b') };
      await kv.txn({ then: [{ op: 'delete', key: range }, put(key('b'), '1')] });
      assert.equal(await kv.get(key('a')), undefined);
      assert.ok(await kv.get(key('b')));
    },
  },
  {
    name: 'a hundred and twenty-eight steps are carried out, one more is refused',
    async run({ kv, key, all, refuses }) {
      const steps = Array.from({ length: 129 }, (_, i) => put(key(String(i)), ''));
      await refuses(kv.txn({ then: steps }), 'ERR_TOO_MANY_OPERATIONS');
      await refuses(kv.txn({ else: steps }), 'ERR_TOO_MANY_OPERATIONS');
      assert.equal((await kv.range(all())).count, 0);
      await kv.txn({ then: steps.slice(1), else: steps.slice(1) });
      assert.equal((await kv.range(all())).count, 128);
    },
  },
  {
    name: 'a hundred and twenty-nine conditions are refused',
    async run({ kv, key, refuses }) {
      const one = { key: key('a'), target: 'version', is: '=', to: 0 } as const;
      const conditions = Array.from({ length: 129 }, () => one);
      await refuses(kv.txn({ if: conditions }), 'ERR_TOO_MANY_OPERATIONS');
      assert.equal((await kv.txn({ if: conditions.slice(1) })).succeeded, true);
    },
  },
  {
    name: 'a step that is no operation is refused',
    needs: ['service'],
    async run({ service, refuses }) {
      const request = etcd.TxnRequest.create({ success: [etcd.RequestOp.create()] });
      await refuses(service.txn(request), 'ERR_KEY_NOT_FOUND');
    },
  },
  {
    name: 'an empty key in a condition or step is refused',
    async run({ kv, key, refuses }) {
      const condition = { key: '', target: 'version', is: '=', to: 0 } as const;
      await refuses(kv.txn({ if: [condition], then: [put(key('a'), '')] }), 'ERR_EMPTY_KEY');
      const steps: Op[] = [put('', ''), { op: 'range', key: '' }, { op: 'delete', key: '' }];
      for (const step of steps) {
        await refuses(kv.txn({ then: [put(key('a'), ''), step] }), 'ERR_EMPTY_KEY');
        await refuses(kv.txn({ then: [{ op: 'txn', else: [step] }] }), 'ERR_EMPTY_KEY');
      }
      assert.equal(await kv.get(key('a')), undefined);
    },
  },
  {
    name: 'a step with a value or lease that is to be ignored is refused, in either branch',
    async run({ kv, key, refuses }) {
      const value: Op = { op: 'put', key: key('a'), value: 'x', ignoreValue: true };
      const lease: Op = { op: 'put', key: key('a'), value: 'x', ignoreLease: true, lease: 5n };
      await refuses(kv.txn({ then: [value] }), 'ERR_VALUE_PROVIDED');
      await refuses(kv.txn({ else: [value] }), 'ERR_VALUE_PROVIDED');
      await refuses(kv.txn({ else: [lease] }), 'ERR_LEASE_PROVIDED');
    },
  },
  {
    name: 'a step with an unknown sort option is refused',
    needs: ['service'],
    async run({ key, service, refuses }) {
      const requestRange = etcd.RangeRequest.create({ key: key('a'), sortTarget: 9 });
      const success = [etcd.RequestOp.create({ requestRange })];
      await refuses(service.txn(etcd.TxnRequest.create({ success })), 'ERR_INVALID_SORT');
    },
  },
  {
    name: 'a transaction above the size of a request is refused and nothing is written',
    async run({ kv, key, all, refuses }) {
      const value = Buffer.alloc(600_000, 'x');
      const steps = ['a', 'b', 'c'].map((name): Op => ({ op: 'put', key: key(name), value }));
      await refuses(kv.txn({ then: steps }), 'ERR_REQUEST_TOO_LARGE');
      assert.equal((await kv.range(all())).count, 0);
    },
  },
  {
    name: 'a step that cannot be done undoes the whole transaction',
    async run({ kv, key, all, refuses }) {
      await kv.put(key('there'), '');
      const failing: [Op, Parameters<typeof refuses>[1]][] = [
        [{ op: 'put', key: key('b'), value: '', lease: 987_654n }, 'ERR_LEASE_NOT_FOUND'],
        [{ op: 'put', key: key('b'), value: '', ignoreValue: true }, 'ERR_KEY_NOT_FOUND'],
        [{ op: 'put', key: key('b'), value: '', ignoreLease: true }, 'ERR_KEY_NOT_FOUND'],
      ];
      for (const [step, code] of failing) {
        const steps: Op[] = [put(key('a'), ''), { op: 'delete', key: key('there') }, step];
        await refuses(kv.txn({ then: steps }), code);
        await refuses(kv.txn({ then: [{ op: 'txn', then: steps }] }), code);
      }
      assert.equal((await kv.range(all())).count, 1);
    },
  },
  {
    name: 'a transaction that writes and reads the future is refused and writes nothing',
    needs: ['pastInWrites'],
    async run({ kv, key, all, refuses, revision }) {
      const future = (await revision()) + 1_000_000;
      const read: Op = { op: 'range', key: key('a'), revision: future };
      await refuses(kv.txn({ then: [put(key('a'), ''), read] }), 'ERR_FUTURE_REVISION');
      await refuses(kv.txn({ then: [read, put(key('a'), '')] }), 'ERR_FUTURE_REVISION');
      assert.equal((await kv.range(all())).count, 0);
    },
  },
  {
    name: 'a step that could not be done does not matter in the branch not taken',
    async run({ kv, key, revision }) {
      const future = (await revision()) + 1_000_000;
      const { succeeded } = await kv.txn({
        then: [put(key('a'), '')],
        else: [
          { op: 'put', key: key('b'), value: '', lease: 987_654n },
          { op: 'range', key: key('b'), revision: future },
        ],
      });
      assert.equal(succeeded, true);
      assert.ok(await kv.get(key('a')));
    },
  },
  {
    name: 'a read-only transaction at a future revision is refused',
    async run({ kv, key, refuses, revision }) {
      const future = (await revision()) + 1_000_000;
      const step: Op = { op: 'range', key: key('a'), revision: future };
      await refuses(kv.txn({ then: [step] }), 'ERR_FUTURE_REVISION');
    },
  },
];

export const txnCases: readonly KvCase[] = [...stepCases, ...nestedCases, ...refusedCases];
