/** Rules of watches as the public contract has them. etcd API: Watch. */
import assert from 'node:assert/strict';
import type { Op } from '../kv/kv.ts';
import type { KvCase } from './kv-context.ts';

const deliveryCases: readonly KvCase[] = [
  {
    name: 'a watch delivers what happens after it was created',
    async run({ kv, key, watch }) {
      await kv.put(key('a'), 'before');
      const reader = await watch(key('a'));
      await kv.put(key('a'), 'one');
      await kv.put(key('a'), 'two');
      await kv.delete(key('a'));
      assert.deepEqual(await reader.changes(3), ['put a=one', 'put a=two', 'delete a']);
    },
  },
  {
    name: 'a watch delivers everything after the revision at which it was created',
    async run({ kv, key, watchNow }) {
      const revisions: number[] = [];
      const put = async () => revisions.push((await kv.put(key('a'), '')).revision);
      await put();
      const reader = await watchNow(key('a'), {});
      await put();
      assert.ok(reader.createdRevision < revisions[1]!);
      await put();
      const expected = revisions.filter((revision) => revision > reader.createdRevision);
      const events = await reader.events(expected.length);
      assert.deepEqual(
        events.map((event) => event.kv.modRevision),
        expected,
      );
    },
  },
  {
    name: 'a watch on a key has that key alone',
    async run({ kv, key, watch, fill }) {
      const reader = await watch(key('b'));
      await fill('a', 'b', 'ba', 'c');
      await kv.delete(key('b'));
      assert.deepEqual(await reader.changes(2), ['put b=b', 'delete b']);
    },
  },
  {
    name: 'a watch on a prefix has all its keys',
    async run({ all, watch, fill }) {
      const reader = await watch(all('b'));
      await fill('a', 'b', 'ba', 'c', 'bz');
      assert.deepEqual(await reader.changes(3), ['put b=b', 'put ba=ba', 'put bz=bz']);
    },
  },
  {
    name: 'a watch on a range has its start and not its end',
    async run({ key, watch, fill }) {
      const reader = await watch({ from: key('b'), to: key('d') });
      await fill('a', 'b', 'c', 'd', 'b');
      assert.deepEqual(await reader.changes(3), ['put b=b', 'put c=c', 'put b=b']);
    },
  },
  {
    name: 'a watch without an end has every later key',
    async run({ kv, key, watch }) {
      const reader = await watch({ from: key('b') });
      await kv.put(key('a'), '');
      const { revision } = await kv.put(key('c'), '');
      for (;;) {
        const batch = await reader.batch();
        const names = batch!.events.map((event) => event.kv.key.toString());
        assert.ok(!names.includes(key('a')));
        if (batch!.revision >= revision) return assert.ok(names.includes(key('c')));
      }
    },
  },
  {
    name: 'a put event holds the key as the put left it',
    async run({ kv, key, watch, defer }) {
      const { id } = await kv.grantLease('60s');
      defer(() => kv.revokeLease(id));
      const reader = await watch(key('a'));
      await kv.put(key('a'), 'one');
      await kv.put(key('a'), 'two', { lease: id });
      const now = await kv.get(key('a'));
      const [first, second] = await reader.events(2);
      assert.equal(first?.kv.version, 1);
      assert.equal(first?.kv.createRevision, first?.kv.modRevision);
      assert.deepEqual(second?.kv, now);
      assert.equal(second?.previous, undefined);
    },
  },
  {
    name: 'a delete event holds the key and the revision of the delete',
    async run({ kv, key, watch }) {
      await kv.put(key('a'), 'one');
      const reader = await watch(key('a'));
      const { revision } = await kv.delete(key('a'));
      const [event] = await reader.events(1);
      assert.equal(event?.type, 'delete');
      assert.deepEqual(event?.kv, {
        key: Buffer.from(key('a')),
        value: Buffer.alloc(0),
        createRevision: 0,
        modRevision: revision,
        version: 0,
        lease: 0n,
      });
    },
  },
  {
    name: 'a delete of a range is one batch of its keys in order',
    async run({ kv, all, watch, fill }) {
      await fill('b', 'a', 'c');
      const reader = await watch(all());
      await kv.delete(all());
      const [batch, more] = await reader.batches(3);
      assert.equal(more, undefined);
      const keys = batch!.events.map((event) => event.kv.key.toString());
      assert.deepEqual(keys, [...keys].sort());
    },
  },
  {
    name: 'the changes of a transaction are one batch, in the order of its steps',
    async run({ kv, key, all, watch, fill, names }) {
      await fill('gone');
      const reader = await watch(all());
      const { revision } = await kv.txn({
        then: [
          { op: 'put', key: key('c'), value: '' },
          { op: 'txn', then: [{ op: 'put', key: key('b'), value: '' }] },
          { op: 'delete', key: key('gone') },
          { op: 'put', key: key('a'), value: '' },
        ],
      });
      const [batch] = await reader.batches(4);
      assert.deepEqual(names(batch!.events.map((event) => event.kv)), ['c', 'b', 'gone', 'a']);
      assert.ok(batch!.events.every((event) => event.kv.modRevision === revision));
      assert.equal(batch!.revision, revision);
    },
  },
  {
    name: 'a write that changes nothing is not delivered',
    async run({ kv, key, all, watch }) {
      const reader = await watch(all());
      await kv.delete(key('none'));
      await kv.txn({
        if: [{ key: key('none'), target: 'version', is: '>', to: 0 }],
        then: [{ op: 'put', key: key('never'), value: '' }],
      });
      await kv.put(key('a'), '1');
      assert.deepEqual(await reader.changes(1), ['put a=1']);
    },
  },
  {
    name: 'every watch of a key gets its events',
    async run({ all, watch, fill }) {
      const readers = await Promise.all([watch(all()), watch(all()), watch(all('a'))]);
      await fill('a', 'ab');
      for (const reader of readers) {
        assert.deepEqual(await reader.changes(2), ['put a=a', 'put ab=ab']);
      }
    },
  },
  {
    name: 'concurrent writes arrive once each, in the order of their revisions',
    async run({ kv, key, all, watch }) {
      const reader = await watch(all());
      const puts = Array.from({ length: 100 }, (_, i) => kv.put(key(`k${i % 7}`), String(i)));
      const revisions = (await Promise.all(puts)).map((put) => put.revision);
      const events = await reader.events(100);
      const delivered = events.map((event) => event.kv.modRevision);
      assert.deepEqual(
        delivered,
        revisions.sort((a, b) => a - b),
      );
    },
  },
];

const historyCases: readonly KvCase[] = [
  {
    name: 'a watch from an earlier revision replays it and goes on without gap or repetition',
    async run({ kv, key, all, watch, fill }) {
      const [, second] = await fill('a', 'b', 'a');
      await kv.delete(key('b'));
      const reader = await watch(all(), { fromRevision: second! });
      await fill('c');
      assert.deepEqual(await reader.changes(4), ['put b=b', 'put a=a', 'delete b', 'put c=c']);
    },
  },
  {
    name: 'a replay holds keys as they were, not as they are',
    async run({ kv, key, watch }) {
      const { revision } = await kv.put(key('a'), 'one');
      await kv.put(key('a'), 'two');
      const reader = await watch(key('a'), { fromRevision: revision });
      const [first, second] = await reader.events(2);
      assert.deepEqual([first?.kv.value.toString(), first?.kv.version], ['one', 1]);
      assert.deepEqual([second?.kv.value.toString(), second?.kv.version], ['two', 2]);
    },
  },
  {
    name: 'a replay of more than a thousand revisions is whole, in order, revision by revision',
    async run({ kv, key, all, watch }) {
      const first = await kv.put(key('first'), '');
      const writes = Array.from({ length: 600 }, (_, i) => {
        const steps: Op[] = [
          { op: 'put', key: key(`x${i}`), value: '' },
          { op: 'put', key: key(`y${i}`), value: '' },
        ];
        return kv.txn({ then: steps });
      });
      await Promise.all(writes);
      await Promise.all(Array.from({ length: 600 }, (_, i) => kv.put(key('z'), String(i))));
      const reader = await watch(all(), { fromRevision: first.revision });
      const batches = await reader.batches(1_801);
      let last = 0;
      for (const { events, revision } of batches) {
        const revisions = events.map((event) => event.kv.modRevision);
        assert.ok(revisions[0]! > last, 'a revision is in one batch only');
        assert.deepEqual(
          revisions,
          [...revisions].sort((a, b) => a - b),
        );
        last = revisions.at(-1)!;
        assert.equal(revision, last);
      }
    },
  },
  {
    name: 'a watch from a future revision waits for it',
    async run({ kv, key, watch, revision }) {
      const from = (await revision()) + 4;
      const reader = await watch(key('a'), { fromRevision: from });
      let put = await kv.put(key('a'), '');
      while (put.revision < from) put = await kv.put(key('a'), '');
      const [event] = await reader.events(1);
      assert.ok(event!.kv.modRevision >= from);
      assert.ok(event!.kv.modRevision <= put.revision);
    },
  },
  {
    name: 'a reader that is late gets everything, in order',
    async run({ kv, key, all, watch }) {
      const reader = await watch(all());
      const value = 'x'.repeat(16 * 1024);
      const keys = Array.from({ length: 320 }, (_, i) => key(`k${i}`));
      for (let i = 0; i < keys.length; i += 32) {
        await Promise.all(keys.slice(i, i + 32).map((name) => kv.put(name, value)));
      }
      const revisions = (await reader.events(320)).map((event) => event.kv.modRevision);
      assert.deepEqual(
        revisions,
        [...new Set(revisions)].sort((a, b) => a - b),
      );
    },
  },
];

const optionCases: readonly KvCase[] = [
  {
    name: 'a watch without puts has deletes alone',
    async run({ kv, key, all, watch, fill }) {
      const [first] = await fill('a');
      const live = await watch(all(), { without: 'put' });
      await kv.delete(key('a'));
      await fill('b');
      await kv.delete(key('b'));
      const replay = await watch(all(), { without: 'put', fromRevision: first! });
      for (const reader of [live, replay]) {
        assert.deepEqual(await reader.changes(2), ['delete a', 'delete b']);
      }
    },
  },
  {
    name: 'a watch without deletes has puts alone',
    async run({ kv, key, all, watch, fill }) {
      const reader = await watch(all(), { without: 'delete' });
      await fill('a');
      await kv.delete(key('a'));
      await fill('b');
      assert.deepEqual(await reader.changes(2), ['put a=a', 'put b=b']);
    },
  },
  {
    name: 'a watch with previous values has them for updates and deletes, not for creations',
    async run({ kv, key, watch, revision }) {
      const from = (await revision()) + 1;
      const live = await watch(key('a'), { previous: true });
      const first = await kv.put(key('a'), 'one');
      await kv.put(key('a'), 'two');
      await kv.delete(key('a'));
      await kv.put(key('a'), 'three');
      const replay = await watch(key('a'), { previous: true, fromRevision: from });
      for (const reader of [live, replay]) {
        const events = await reader.events(4);
        const values = events.map((event) => event.previous?.value.toString());
        assert.deepEqual(values, [undefined, 'one', 'two', undefined]);
        assert.equal(events[1]?.previous?.modRevision, first.revision);
      }
    },
  },
  {
    name: 'with fragments a large revision comes in parts, of which the last says so',
    async run({ kv, key, all, watch }) {
      const put = (fill: string): Op[] =>
        Array.from({ length: 100 }, (_, i) => {
          return { op: 'put', key: key(`k${i}`), value: fill.repeat(13_000) };
        });
      await kv.txn({ then: put('a') });
      const parts = await watch(all(), { fragment: true, previous: true });
      const whole = await watch(all(), { previous: true });
      const { revision } = await kv.txn({ then: put('b') });
      const fragments = await parts.batches(100);
      assert.ok(fragments.length > 1, 'more than one part');
      assert.deepEqual(
        fragments.map((batch) => batch.fragment),
        fragments.map((_, i) => i < fragments.length - 1),
      );
      const [batch] = await whole.batches(100);
      assert.deepEqual([batch!.fragment, batch!.revision], [false, revision]);
    },
  },
  {
    name: 'a request for progress is answered with how far the watch is',
    async run({ kv, key, watchNow, eventually }) {
      const reader = await watchNow(key('a'), {});
      const { revision } = await kv.put(key('other'), '');
      let seen = 0;
      await eventually(async () => {
        reader.watch.requestProgress();
        const batch = await reader.batch();
        assert.deepEqual(batch?.events, []);
        seen = batch!.revision;
        return seen >= revision;
      }, 'the watch has got to the last write');
    },
  },
  {
    name: 'progress never overtakes events',
    async run({ kv, key, all, watchNow }) {
      const reader = await watchNow(all(), {});
      const writes: Promise<unknown>[] = [];
      for (let i = 0; i < 200; i++) {
        writes.push(kv.put(key(`k${i % 3}`), String(i)));
        if (i % 10 === 0) reader.watch.requestProgress();
      }
      await Promise.all(writes);
      let progress = 0;
      for (let events = 0; events < 200; ) {
        const batch = await reader.batch();
        for (const event of batch!.events) assert.ok(event.kv.modRevision > progress);
        if (batch!.events.length === 0) progress = batch!.revision;
        events += batch!.events.length;
      }
    },
  },
];

const endCases: readonly KvCase[] = [
  {
    name: 'leaving the loop ends the watch',
    async run({ kv, key }) {
      const watch = kv.watch(key('a'));
      await watch.created;
      await kv.put(key('a'), 'one');
      for await (const batch of watch) {
        assert.equal(batch.events[0]?.kv.value.toString(), 'one');
        break;
      }
      for await (const batch of watch) assert.fail(`got ${batch.revision} after the end`);
    },
  },
  {
    name: 'closing a watch ends the loop that waits on it',
    async run({ kv, key, within }) {
      const watch = kv.watch(key('a'));
      await watch.created;
      const next = watch[Symbol.asyncIterator]().next();
      await watch.close();
      assert.equal((await within(next, 'the loop to end')).done, true);
      await watch.close();
    },
  },
  {
    name: 'an abort ends the watch with the reason of the abort',
    async run({ kv, key, within }) {
      const abort = new AbortController();
      const watch = kv.watch(key('a'), { signal: abort.signal });
      await watch.created;
      const next = watch[Symbol.asyncIterator]().next();
      const reason = new Error('enough');
      abort.abort(reason);
      await assert.rejects(within(next, 'the loop to end'), (error) => error === reason);
    },
  },
  {
    name: 'a watch on an empty key is refused',
    async run({ kv }) {
      assert.throws(() => kv.watch(''), { code: 'ERR_EMPTY_KEY' });
    },
  },
];

export const watchCases: readonly KvCase[] = [
  ...deliveryCases,
  ...historyCases,
  ...optionCases,
  ...endCases,
];
