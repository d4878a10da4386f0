/**
 * The key-value state machine by itself: applied puts, ranges, watch fan-out, snapshot, and bytes of
 * heap per version. Run with `node --expose-gc bench/mvcc.ts` for true heap figures.
 */

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

const PUTS = 100_000;
const VALUE = 'x'.repeat(256);

function report(name: string, unit: string, better: 'higher' | 'lower', ours: number): void {
  const figure = Math.round(ours * 100) / 100;
  console.log(JSON.stringify({ block: 'kv', case: name, unit, better, ours: figure, peers: {} }));
}

function heapBytes(): number {
  (globalThis as { gc?: () => void }).gc?.();
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

function putCase(keys: number): KvStore {
  const log = entries(keys);
  const before = heapBytes();
  const store = new KvStore({ clock: systemClock });
  let index = 0;
  const us = timed(PUTS, () => {
    for (const data of log) store.apply(data, ++index);
  });
  const bytes = heapBytes() - before;
  report(`apply put, ${keys} keys`, 'us', 'lower', us);
  report(`heap after ${PUTS} puts of 256 B, ${keys} keys`, 'MB', 'lower', bytes / 1e6);
  return store;
}

function rangeCase(store: KvStore, keys: number): void {
  const random = seededRandom(2);
  const get = (): void => {
    const key = `/registry/pods/${String(random.below(keys)).padStart(8, '0')}`;
    store.range(RangeRequest.create({ key }));
  };
  report(
    `get, ${keys} keys`,
    'us',
    'lower',
    timed(PUTS, () => {
      for (let i = 0; i < PUTS; i++) get();
    }),
  );
  const all = RangeRequest.create({ key: '/', rangeEnd: '0' });
  report(
    `range of all ${keys} keys, per key`,
    'us',
    'lower',
    timed(keys, () => store.range(all)),
  );
  const page = RangeRequest.create({ key: '/', rangeEnd: '0', limit: 500 });
  report(
    'range, limit 500',
    'us',
    'lower',
    timed(100, () => {
      for (let i = 0; i < 100; i++) store.range(page);
    }),
  );
}

function watchCase(): void {
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
  report('put to 100 prefix watchers, per event', 'us', 'lower', us);
}

async function snapshotCase(store: KvStore): Promise<void> {
  const start = systemClock.now();
  const view = store.snapshot();
  report('snapshot call', 'ms', 'lower', systemClock.now() - start);
  const chunks: Uint8Array[] = [];
  report(
    'snapshot encode, per version',
    'us',
    'lower',
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
  report('restore, per version', 'us', 'lower', ((systemClock.now() - began) * 1000) / PUTS);
  const hash = systemClock.now();
  if (other.hashKv(0).hash !== store.hashKv(0).hash) throw new Error('the hashes differ');
  report('hash, per version', 'us', 'lower', ((systemClock.now() - hash) * 500) / PUTS);
}

function compactCase(store: KvStore): void {
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
  report('compact, per version', 'us', 'lower', us);
  // The slowest few have a garbage collection in them.
  slicesMs.sort((a, b) => a - b);
  report('compaction slice, p90', 'ms', 'lower', slicesMs[Math.floor(slicesMs.length * 0.9)]!);
}

putCase(10_000);
const store = putCase(10_000);
rangeCase(store, 10_000);
rangeCase(putCase(100_000), 60_000);
watchCase();
await snapshotCase(store);
compactCase(store);
