/** Rules of a watch stream that the public contract hides: ids, replies, cancel. etcd API: Watch. */
import assert from 'node:assert/strict';
import type * as pb from '../proto/messages.ts';
import type { KvCase } from './kv-context.ts';

/** What a reply to a create or cancel says, without its header. */
function reply({ watchId, created, canceled, cancelReason, events }: pb.WatchResponse) {
  assert.deepEqual(events, []);
  return { watchId, created, canceled, cancelReason };
}

const CREATED = { created: true, canceled: false, cancelReason: '' };
const CANCELED = { created: false, canceled: true, cancelReason: '' };
const refusedWith = (cancelReason: string) => {
  return { watchId: -1, created: true, canceled: true, cancelReason };
};

export const watchStreamCases: readonly KvCase[] = [
  {
    name: 'watches of a stream are numbered from 0',
    needs: ['service'],
    async run({ key, rawWatch }) {
      const raw = rawWatch();
      for (const watchId of [0, 1, 2]) {
        raw.create({ key: key('a') });
        assert.deepEqual(reply(await raw.next()), { watchId, ...CREATED });
      }
    },
  },
  {
    name: 'creates are answered in their order',
    needs: ['service'],
    async run({ key, rawWatch }) {
      const raw = rawWatch();
      for (const watchId of [9, 4, 7, 5]) raw.create({ key: key('a'), watchId });
      for (const watchId of [9, 4, 7, 5]) assert.equal((await raw.next()).watchId, watchId);
    },
  },
  {
    name: 'a watch may have a number of the caller, and later ones go round it',
    needs: ['service'],
    async run({ key, rawWatch }) {
      const raw = rawWatch();
      raw.create({ key: key('a'), watchId: 1 });
      raw.create({ key: key('a') });
      raw.create({ key: key('a') });
      const ids = [await raw.next(), await raw.next(), await raw.next()].map((one) => one.watchId);
      assert.deepEqual(ids, [1, 0, 2]);
    },
  },
  {
    name: 'a number that is taken is refused',
    needs: ['service'],
    async run({ key, rawWatch }) {
      const raw = rawWatch();
      raw.create({ key: key('a'), watchId: 5 });
      raw.create({ key: key('a'), watchId: 5 });
      assert.deepEqual(reply(await raw.next()), { watchId: 5, ...CREATED });
      const reason = 'mvcc: duplicate watch ID provided on the WatchStream';
      assert.deepEqual(reply(await raw.next()), refusedWith(reason));
    },
  },
  {
    name: 'a range that holds no key cannot be watched',
    needs: ['service'],
    async run({ key, rawWatch }) {
      const raw = rawWatch();
      for (const rangeEnd of [key('b'), key('a')]) {
        raw.create({ key: key('b'), rangeEnd });
        assert.deepEqual(reply(await raw.next()), refusedWith('mvcc: watcher range is empty'));
      }
    },
  },
  {
    name: 'a negative revision cannot be watched from',
    needs: ['service'],
    async run({ key, rawWatch }) {
      const raw = rawWatch();
      raw.create({ key: key('a'), startRevision: -1 });
      const reason = 'etcdserver: mvcc: required revision has been compacted';
      assert.deepEqual(reply(await raw.next()), refusedWith(reason));
    },
  },
  {
    name: 'a canceled watch says so once and then nothing more',
    needs: ['service'],
    async run({ kv, key, rawWatch }) {
      const raw = rawWatch();
      raw.create({ key: key('a') });
      raw.create({ key: key('b') });
      assert.equal((await raw.next()).created, true);
      assert.equal((await raw.next()).created, true);
      raw.cancel(0);
      assert.deepEqual(reply(await raw.next()), { watchId: 0, ...CANCELED });
      await kv.put(key('a'), '');
      await kv.put(key('b'), '');
      const response = await raw.next();
      assert.deepEqual([response.watchId, response.events[0]?.kv.key], [1, key('b')]);
    },
  },
  {
    name: 'a cancel of an unknown number is not answered',
    needs: ['service'],
    async run({ key, rawWatch }) {
      const raw = rawWatch();
      raw.cancel(77);
      raw.create({ key: key('a') });
      assert.deepEqual(reply(await raw.next()), { watchId: 0, ...CREATED });
    },
  },
  {
    name: 'a canceled number can be taken again',
    needs: ['service'],
    async run({ kv, key, rawWatch }) {
      const raw = rawWatch();
      raw.create({ key: key('a'), watchId: 3 });
      assert.deepEqual(reply(await raw.next()), { watchId: 3, ...CREATED });
      raw.cancel(3);
      raw.create({ key: key('b'), watchId: 3 });
      assert.deepEqual(reply(await raw.next()), { watchId: 3, ...CANCELED });
      assert.deepEqual(reply(await raw.next()), { watchId: 3, ...CREATED });
      await kv.put(key('b'), '');
      assert.equal((await raw.next()).events[0]?.kv.key, key('b'));
    },
  },
  {
    name: 'every watch of a stream gets its own events',
    needs: ['service'],
    async run({ kv, key, rawWatch }) {
      const raw = rawWatch();
      raw.create({ key: key('a') });
      raw.create({ key: key('a'), rangeEnd: key('z') });
      await raw.next();
      await raw.next();
      const { revision } = await kv.put(key('a'), '');
      const responses = [await raw.next(), await raw.next()];
      assert.deepEqual(responses.map((one) => one.watchId).sort(), [0, 1]);
      for (const one of responses) {
        assert.equal(one.header.revision, revision);
        assert.equal(one.events[0]?.kv.modRevision, revision);
      }
    },
  },
  {
    name: 'progress is answered for the whole stream, without a watch of its own',
    needs: ['service'],
    async run({ kv, key, rawWatch, eventually }) {
      const { revision } = await kv.put(key('other'), '');
      const raw = rawWatch();
      raw.create({ key: key('a') });
      await raw.next();
      const plain = { watchId: -1, created: false, canceled: false, cancelReason: '' };
      await eventually(async () => {
        raw.progress();
        const response = await raw.next();
        assert.deepEqual(reply(response), plain);
        return response.header.revision >= revision;
      }, 'the stream has got to the last write');
    },
  },
  {
    name: 'progress is not answered on a stream without watches',
    needs: ['service'],
    async run({ key, rawWatch }) {
      const raw = rawWatch();
      raw.progress();
      raw.create({ key: key('a') });
      assert.deepEqual(reply(await raw.next()), { watchId: 0, ...CREATED });
    },
  },
  {
    name: 'progress is not answered while a watch of the stream starts in the future',
    needs: ['service'],
    async run({ key, rawWatch, revision }) {
      const raw = rawWatch();
      raw.create({ key: key('a'), startRevision: (await revision()) + 1_000_000 });
      await raw.next();
      raw.progress();
      raw.create({ key: key('a') });
      assert.deepEqual(reply(await raw.next()), { watchId: 1, ...CREATED });
    },
  },
  {
    name: 'an empty key is the smallest key there can be',
    needs: ['service'],
    async run({ kv, key, rawWatch, defer }) {
      defer(() => kv.delete('\0'));
      const raw = rawWatch();
      raw.create({ key: '' });
      raw.create({ key: '', rangeEnd: '\0' });
      await raw.next();
      await raw.next();
      const { revision } = await kv.put('\0', '');
      for (const seen = new Set<number>(); seen.size < 2; ) {
        const response = await raw.next();
        if (response.events.some((event) => event.kv.modRevision === revision)) {
          seen.add(response.watchId);
        }
      }
      const last = await kv.put(key('a'), '');
      for (;;) {
        const response = await raw.next();
        if (response.header.revision < last.revision) continue;
        assert.equal(response.watchId, 1);
        return;
      }
    },
  },
  {
    name: 'a receiver that asks for a pause gets nothing until it goes on, and then everything',
    needs: ['service'],
    async run({ kv, key, rawWatch, within }) {
      const raw = rawWatch();
      raw.create({ key: key('a') });
      await raw.next();
      raw.pauseAfter = 1;
      const other = rawWatch();
      other.create({ key: key('a') });
      await other.next();
      for (let i = 0; i < 100; i++) await kv.put(key('a'), String(i));
      const seen = async (stream: typeof raw, count: number): Promise<string[]> => {
        const values: string[] = [];
        while (values.length < count) {
          values.push(...(await stream.next()).events.map((event) => event.kv.value));
        }
        return values;
      };
      const everything = Array.from({ length: 100 }, (_, i) => String(i));
      assert.deepEqual(await within(seen(other, 100), 'the other stream'), everything);
      assert.equal(raw.received, 2, 'the create, the response that was answered with "pause"');
      raw.pauseAfter = Number.POSITIVE_INFINITY;
      raw.stream.resume();
      assert.deepEqual(await seen(raw, 100), everything);
    },
  },
  {
    name: 'a stream that is closed ends without an error',
    needs: ['service'],
    async run({ key, rawWatch }) {
      const raw = rawWatch();
      raw.create({ key: key('a') });
      await raw.next();
      raw.stream.close();
      raw.stream.close();
      assert.equal((await raw.ended()).error, undefined);
    },
  },
];
