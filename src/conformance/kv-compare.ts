/** Rules of a transaction's conditions. etcd API: Compare. */
import assert from 'node:assert/strict';
import type { Compare } from '../kv/kv.ts';
import * as etcd from '../proto/etcd.ts';
import type { KvCase, KvContext } from './kv-context.ts';

type Target = Compare['target'];
type Operand = Compare['to'];

const RESULTS = ['=', '!=', '<', '>'] as const;

/** For each operator whether `key`'s target stands so to `to`. */
async function judge(
  { kv }: KvContext,
  key: Compare['key'],
  target: Target,
  to: Operand,
): Promise<boolean[]> {
  const answers = RESULTS.map((is) => kv.txn({ if: [{ key, target, is, to }] }));
  return (await Promise.all(answers)).map((answer) => answer.succeeded);
}

// What the four operators answer where the key's own number is equal, smaller, greater.
const EQUAL = [true, false, false, false];
const SMALLER = [false, true, true, false];
const GREATER = [false, true, false, true];

/** Puts a key three times among others, so that its numbers differ, and compares one of them. */
function compares(target: Target, name: string, numberOf: (context: KvContext) => Promise<number>) {
  return {
    name: `a condition on ${name} has all four operators`,
    async run(context: KvContext) {
      const key = context.key('a');
      for (const value of ['one', 'two', 'three']) await context.kv.put(key, value);
      const number = await numberOf(context);
      assert.deepEqual(await judge(context, key, target, number), EQUAL);
      assert.deepEqual(await judge(context, key, target, number + 1), SMALLER);
      assert.deepEqual(await judge(context, key, target, number - 1), GREATER);
    },
  };
}

const numberCases: readonly KvCase[] = [
  compares('version', 'the version', async () => 3),
  compares('create', 'the revision of creation', async ({ kv, key }) => {
    return (await kv.get(key('a')))!.createRevision;
  }),
  compares('mod', 'the revision of the last change', async ({ kv, key }) => {
    return (await kv.get(key('a')))!.modRevision;
  }),
];

const otherCases: readonly KvCase[] = [
  {
    name: 'a condition on the value has all four operators, byte by byte',
    async run(context) {
      const key = context.key('a');
      await context.kv.put(key, Buffer.from([0x61, 0x80]));
      const than = (...bytes: number[]) => judge(context, key, 'value', Buffer.from(bytes));
      assert.deepEqual(await than(0x61, 0x80), EQUAL);
      assert.deepEqual(await than(0x61, 0x81), SMALLER);
      assert.deepEqual(await than(0x61, 0x80, 0x00), SMALLER);
      assert.deepEqual(await than(0x61, 0x7f, 0xff), GREATER);
      assert.deepEqual(await than(0x61), GREATER);
      assert.deepEqual(await than(), GREATER);
    },
  },
  {
    name: 'a condition on the lease has all four operators',
    async run(context) {
      const { kv, key, defer } = context;
      const { id } = await kv.grantLease('60s');
      defer(() => kv.revokeLease(id));
      await kv.put(key('a'), '', { lease: id });
      assert.deepEqual(await judge(context, key('a'), 'lease', id), EQUAL);
      assert.deepEqual(await judge(context, key('a'), 'lease', id + 1n), SMALLER);
      assert.deepEqual(await judge(context, key('a'), 'lease', id - 1n), GREATER);
      assert.deepEqual(await judge(context, key('a'), 'lease', 0n), GREATER);
    },
  },
  {
    name: 'of a key that does not exist, version, revisions and lease compare as 0',
    async run(context) {
      const key = context.key('none');
      for (const target of ['version', 'create', 'mod'] as const) {
        assert.deepEqual(await judge(context, key, target, 0), EQUAL, target);
        assert.deepEqual(await judge(context, key, target, 1), SMALLER, target);
      }
      assert.deepEqual(await judge(context, key, 'lease', 0n), EQUAL);
      assert.deepEqual(await judge(context, key, 'lease', 1n), SMALLER);
    },
  },
  {
    name: 'no condition on the value of a key that does not exist holds',
    async run(context) {
      const none = [false, false, false, false];
      assert.deepEqual(await judge(context, context.key('none'), 'value', ''), none);
      assert.deepEqual(await judge(context, context.key('none'), 'value', 'x'), none);
    },
  },
  {
    name: 'a deleted key compares as one that never was',
    async run(context) {
      await context.fill('a');
      await context.kv.delete(context.key('a'));
      assert.deepEqual(await judge(context, context.key('a'), 'version', 0), EQUAL);
      assert.deepEqual(await judge(context, context.key('a'), 'create', 0), EQUAL);
    },
  },
  {
    name: 'all conditions must hold',
    async run({ kv, key, fill }) {
      await fill('a', 'b');
      const holds: Compare = { key: key('a'), target: 'version', is: '=', to: 1 };
      const fails: Compare = { key: key('b'), target: 'version', is: '=', to: 2 };
      assert.equal((await kv.txn({ if: [holds, holds] })).succeeded, true);
      assert.equal((await kv.txn({ if: [holds, fails] })).succeeded, false);
      assert.equal((await kv.txn({ if: [fails, holds] })).succeeded, false);
    },
  },
  {
    name: 'a condition on a range must hold for every key in it',
    async run({ kv, key, all, fill }) {
      await fill('a', 'b', 'c');
      const each = { key: all(), target: 'version', is: '=', to: 1 } as const;
      assert.equal((await kv.txn({ if: [each] })).succeeded, true);
      await fill('c');
      assert.equal((await kv.txn({ if: [each] })).succeeded, false);
      const part = { ...each, key: { from: key('a'), to: key('c') } };
      assert.equal((await kv.txn({ if: [part] })).succeeded, true);
    },
  },
  {
    name: 'a condition on the values of a range must hold for every key in it',
    async run({ kv, key, all }) {
      await kv.put(key('a'), 'x');
      await kv.put(key('b'), 'x');
      const each = { key: all(), target: 'value', is: '=', to: 'x' } as const;
      assert.equal((await kv.txn({ if: [each] })).succeeded, true);
      await kv.put(key('b'), 'y');
      assert.equal((await kv.txn({ if: [each] })).succeeded, false);
    },
  },
  {
    name: 'a condition on an empty range is one on a key that does not exist',
    async run(context) {
      assert.deepEqual(await judge(context, context.all(), 'create', 0), EQUAL);
      assert.deepEqual(await judge(context, context.all(), 'version', 1), SMALLER);
      const none = [false, false, false, false];
      assert.deepEqual(await judge(context, context.all(), 'value', ''), none);
    },
  },
  {
    name: 'a condition with an unknown operator holds',
    needs: ['service'],
    async run({ key, service }) {
      const compare = [etcd.Compare.create({ key: key('a'), result: 9, version: 5 })];
      const { succeeded } = await service.txn(etcd.TxnRequest.create({ compare }));
      assert.equal(succeeded, true);
    },
  },
  {
    name: 'conditions decide between writers: of many that create a key one wins',
    async run({ kv, key }) {
      const create = (value: string) =>
        kv.txn({
          if: [{ key: key('a'), target: 'create', is: '=', to: 0 }],
          then: [{ op: 'put', key: key('a'), value }],
          else: [{ op: 'range', key: key('a') }],
        });
      const all = await Promise.all(Array.from({ length: 20 }, (_, i) => create(String(i))));
      const winners = all.filter((one) => one.succeeded);
      assert.equal(winners.length, 1);
      assert.equal((await kv.get(key('a')))?.createRevision, winners[0]!.revision);
    },
  },
];

export const compareCases: readonly KvCase[] = [...numberCases, ...otherCases];
