import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import * as proto from '../proto/etcd.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { memoryService } from './memory.ts';

const everything = proto.RangeRequest.create({ key: '\0', rangeEnd: '\0' });

test('a lease that is not kept alive takes its keys along', async () => {
  const clock = new VirtualClock();
  const service = memoryService({ clock, random: seededRandom(1) });
  const { id, ttl } = await service.leaseGrant({ id: 0n, ttl: 5 });
  assert.equal(ttl, 5);
  await service.put(proto.PutRequest.create({ key: 'a', lease: id }));
  await clock.advance(4000);
  assert.equal((await service.leaseKeepAlive({ id })).ttl, 5);
  await clock.advance(4500);
  assert.equal((await service.range(everything)).count, 1);
  await clock.advance(1000);
  assert.equal((await service.range(everything)).count, 0);
  assert.equal((await service.leaseKeepAlive({ id })).ttl, 0);
  assert.equal(clock.pending, 0, 'no lease, no timer');
});

test('a request too large, aborted or after the end is refused, and leaves nothing behind', async () => {
  const clock = new VirtualClock();
  const service = memoryService({ clock, maxRequestBytes: 1000 });
  const large = proto.PutRequest.create({ key: 'a', value: 'x'.repeat(1000) });
  await assert.rejects(service.put(large), { code: 'ERR_REQUEST_TOO_LARGE' });
  const put = proto.PutRequest.create({ key: 'a' });
  const reason = new Error('no more');
  await assert.rejects(service.put(put, { signal: AbortSignal.abort(reason) }), reason);
  let ended = 0;
  service.watch({ response: () => true, end: () => ended++ });
  await service.leaseGrant({ id: 1n, ttl: 60 });
  await service.compact({ revision: 1, physical: false });
  await service.close();
  await service.close();
  assert.equal(ended, 1);
  assert.equal(clock.pending, 0);
  await assert.rejects(service.range(everything), { code: 'ERR_CLOSED' });
});

test('history is removed in turns after a compaction, and at once where that was asked for', async () => {
  const clock = new VirtualClock();
  const service = memoryService({ clock });
  const put = proto.PutRequest.create({ key: 'a' });
  for (let i = 0; i < 3000; i++) await service.put(put);
  await service.compact({ revision: 3000, physical: false });
  assert.equal(service.store.compactPending(), true);
  await clock.advance(10);
  assert.equal(service.store.compactPending(), false);
  await service.compact({ revision: 3001, physical: true });
  assert.equal(service.store.compactPending(), false);
  assert.equal(clock.pending, 0);
});

test('a compaction that a receiver of events asks for takes none of the events that are on their way', async () => {
  const clock = new VirtualClock();
  const service = memoryService({ clock });
  const put = proto.PutRequest.create({ key: 'a' });
  const seen: number[] = [];
  const stream = service.watch({
    response: ({ events }) => {
      for (const { kv } of events) seen.push(kv!.modRevision);
      if (seen.length === 1 && events.length > 0) {
        for (let i = 0; i < 3; i++) void service.put(put);
        void service.compact({ revision: 5, physical: true });
      }
      return true;
    },
    end: () => undefined,
  });
  stream.request(
    proto.WatchRequest.create({ createRequest: proto.WatchCreateRequest.create({ key: 'a' }) }),
  );
  await service.put(put);
  assert.deepEqual(seen, [2, 3, 4, 5]);
  assert.equal(service.store.compactPending(), true);
  await clock.advance(10);
  assert.equal(service.store.compactPending(), false);
  await service.close();
});
