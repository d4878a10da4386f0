/**
 * The key-value state machine by itself: applied puts, ranges, watch fan-out, snapshot, compaction,
 * and the heap that it takes.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { systemClock } from '../src/core/clock.ts';
import { seededRandom } from '../src/core/random.ts';
import { KvStore } from '../src/kv/store.ts';
import {
  InternalRaftRequest,
  PutRequest,
  RangeRequest,
  WatchCreateRequest,
  WatchRequest,
} from '../src/proto/etcd.ts';
import type { Report } from './report.ts';

const PUTS = 100_000;
const VALUE = 'x'.repeat(256);

/** Takes a figure of which less is better. */
type Add = (name: string, unit: string, ours: number) => void;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function heapBytes(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

/** Runs `work` for `count` operations and returns microseconds an operation. */
function timed(count: number, work: () => void): number {
  const start = systemClock.now();
  work();
  return ((systemClock.now() - start) * 1000) / count;
}

function entries(keys: number): Buffer[] {
  const random = seededRandom(1);
  return Array.from({ length: PUTS }, () => {
    const key = `/registry/pods/${String(random.below(keys)).padStart(8, '0')}`;
    return InternalRaftRequest.encode(
      InternalRaftRequest.create({ put: PutRequest.create({ key, value: VALUE }) }),
    );
  });
}

function putCase(add: Add, keys: number): KvStore {
  const log = entries(keys);
  const before = heapBytes();
  const store = new KvStore({ clock: systemClock });
  let index = 0;
  const us = timed(PUTS, () => {
    for (const data of log) store.apply(data, ++index);
  });
  const bytes = heapBytes() - before;
  add(`apply put, ${keys} keys`, 'µs', us);
  add(`heap after ${PUTS} puts of 256 B, ${keys} keys`, 'MB', bytes / 1e6);
  return store;
}

function rangeCase(add: Add, store: KvStore, keys: number): void {
  const random = seededRandom(2);
  const get = (): void => {
    const key = `/registry/pods/${String(random.below(keys)).padStart(8, '0')}`;
    store.range(RangeRequest.create({ key }));
  };
  add(
    `get, ${keys} keys`,
    'µs',
    timed(PUTS, () => {
      for (let i = 0; i < PUTS; i++) get();
    }),
  );
  const all = RangeRequest.create({ key: '/', rangeEnd: '0' });
  add(
    `range of all ${keys} keys, per key`,
    'µs',
    timed(keys, () => store.range(all)),
  );
  const page = RangeRequest.create({ key: '/', rangeEnd: '0', limit: 500 });
  add(
    'range, limit 500',
    'µs',
    timed(100, () => {
      for (let i = 0; i < 100; i++) store.range(page);
    }),
  );
}

function watchCase(add: Add): void {
  const store = new KvStore({ clock: systemClock });
  let events = 0;
  const sink = {
    response: (response: { events: unknown[] }): boolean => {
      events += response.events.length;
      return true;
    },
    end: (): void => undefined,
  };
  const header = () => ({ clusterId: 1n, memberId: 1n, revision: 1, raftTerm: 1 });
  for (let i = 0; i < 100; i++) {
    const createRequest = WatchCreateRequest.create({ key: '/registry/', rangeEnd: '/registry0' });
    store.openWatchStream(sink, header).request(WatchRequest.create({ createRequest }));
  }
  const log = entries(10_000).slice(0, 10_000);
  let index = 0;
  const us = timed(log.length * 100, () => {
    for (const data of log) {
      store.apply(data, ++index);
      store.flushWatches();
    }
  });
  if (events !== log.length * 100) throw new Error(`${events} events came`);
  add('put to 100 prefix watchers, per event', 'µs', us);
}

async function snapshotCase(add: Add, store: KvStore): Promise<void> {
  const start = systemClock.now();
  const view = store.snapshot();
  add('snapshot call', 'ms', systemClock.now() - start);
  const chunks: Uint8Array[] = [];
  add(
    'snapshot encode, per version',
    'µs',
    timed(PUTS, () => {
      for (const chunk of view) chunks.push(chunk);
    }),
  );
  const other = new KvStore({ clock: systemClock });
  const began = systemClock.now();
  await other.restore(
    (async function* () {
      yield* chunks;
    })(),
  );
  add('restore, per version', 'µs', ((systemClock.now() - began) * 1000) / PUTS);
  const hash = systemClock.now();
  if (other.hashKv(0).hash !== store.hashKv(0).hash) throw new Error('the hashes differ');
  add('hash, per version', 'µs', ((systemClock.now() - hash) * 500) / PUTS);
}

function compactCase(add: Add, store: KvStore): void {
  const request = InternalRaftRequest.create({
    compaction: { revision: store.revision, physical: false },
  });
  store.applyRequest(request, PUTS + 1);
  const slicesMs: number[] = [];
  const us = timed(PUTS, () => {
    for (let more = true; more; ) {
      const start = systemClock.now();
      more = store.compactStep();
      slicesMs.push(systemClock.now() - start);
    }
  });
  add('compact, per version', 'µs', us);
  // The slowest few have a garbage collection in them.
  slicesMs.sort((a, b) => a - b);
  add('compaction slice, p90', 'ms', slicesMs[Math.floor(slicesMs.length * 0.9)]!);
}

export async function benchMvcc(report: Report, quick: boolean): Promise<void> {
  const add: Add = (name, unit, ours) =>
    report.add({ name, unit, better: 'lower' }, { quorate: [ours] });
  // The first store warms the code up.
  putCase(() => undefined, 10_000);
  const store = putCase(add, 10_000);
  rangeCase(add, store, 10_000);
  if (!quick) rangeCase(add, putCase(add, 100_000), 60_000);
  watchCase(add);
  await snapshotCase(add, store);
  compactCase(add, store);
}
