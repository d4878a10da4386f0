/**
 * The suite is tested by stores that are wrong in one thing each: it must notice every one of them.
 * That it passes on right ones is tested in `test/conformance`.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { QuorateError } from '../core/errors.ts';
import { kvOver } from '../kv/kv-over.ts';
import { memoryService } from '../kv/memory.ts';
import type { KvService, WatchSink } from '../kv/service.ts';
import * as etcd from '../proto/etcd.ts';
import type * as pb from '../proto/messages.ts';
import { kvCases, runCase, runCases } from './kv.ts';
import { clockInFastTime } from './test-time.ts';
import { withMethods } from './test-wrong.ts';

/** A right store with some methods replaced; `wrong` is given the right ones. */
type Wrong = (right: KvService) => Partial<KvService>;

/** Changes every response of a watch; `undefined` swallows it. */
function watchWith(
  right: KvService,
  change: (response: pb.WatchResponse) => (pb.WatchResponse | undefined)[],
): Partial<KvService> {
  return {
    watch: (sink) => {
      const wrongSink: WatchSink = {
        response: (response) => {
          let more = true;
          for (const one of change(response)) {
            if (one !== undefined) more = sink.response(one);
          }
          return more;
        },
        end: (error) => sink.end(error),
      };
      return right.watch(wrongSink);
    },
  };
}

const wrongStores: Record<string, Wrong> = {
  'ignores the limit': (right) => ({
    range: (request) => right.range({ ...request, limit: 0 }),
  }),
  'counts only what it returns': (right) => ({
    range: async (request) => {
      const response = await right.range(request);
      return { ...response, count: request.countOnly ? response.count : response.kvs.length };
    },
  }),
  'never says that there is more': (right) => ({
    range: async (request) => ({ ...(await right.range(request)), more: false }),
  }),
  'returns values where only keys were asked for': (right) => ({
    range: (request) => right.range({ ...request, keysOnly: false }),
  }),
  'does not sort': (right) => ({
    range: (request) => right.range({ ...request, sortOrder: 0, sortTarget: 0 }),
  }),
  'has exclusive bounds': (right) => ({
    range: (request) => {
      const min = request.minModRevision;
      return right.range({ ...request, minModRevision: min === 0 ? 0 : min + 1 });
    },
  }),
  'answers the past with the present': (right) => ({
    range: (request) => right.range({ ...request, revision: 0 }),
  }),
  'does not return the previous value of a put': (right) => ({
    put: (request) => right.put({ ...request, prevKv: false }),
  }),
  'forgets leases of puts': (right) => ({
    put: (request) => right.put({ ...request, lease: 0n }),
  }),
  'deletes the key only, not the range': (right) => ({
    deleteRange: (request) => right.deleteRange({ ...request, rangeEnd: '' }),
  }),
  'takes a revision for a delete that finds nothing': (right) => ({
    deleteRange: async (request) => {
      const response = await right.deleteRange(request);
      if (response.deleted === 0) await right.put(etcd.PutRequest.create({ key: '~' }));
      return response;
    },
  }),
  'takes every condition for true': (right) => ({
    txn: (request) => right.txn({ ...request, compare: [] }),
  }),
  'takes greater for equal': (right) => ({
    txn: (request) => {
      const compare = request.compare.map((one) => ({ ...one, result: one.result || 1 }));
      return right.txn({ ...request, compare });
    },
  }),
  'carries out a transaction step by step': (right) => ({
    txn: async (request) => {
      const puts = request.success.map((one) => one.requestPut).filter((one) => one !== undefined);
      if (puts.length < 2 || request.compare.length > 0) return right.txn(request);
      for (const put of puts) await right.put(put);
      return right.txn({ ...request, success: [] });
    },
  }),
  'says of a refusal that it may have happened': (right) => ({
    put: async (request) => {
      try {
        return await right.put(request);
      } catch (error) {
        const { code, message } = error as QuorateError;
        throw new QuorateError(code, message, { outcome: 'unknown' });
      }
    },
  }),
  'refuses to keep a missing lease alive': (right) => ({
    leaseKeepAlive: async (request) => {
      const response = await right.leaseKeepAlive(request);
      if (response.ttl <= 0) throw new QuorateError('ERR_LEASE_NOT_FOUND', 'no such lease');
      return response;
    },
  }),
  'revokes a lease and keeps its keys': (right) => ({
    leaseRevoke: async (request) => {
      const { keys } = await right.leaseTimeToLive({ id: request.id, keys: true });
      for (const key of keys) {
        await right.put(etcd.PutRequest.create({ key, ignoreValue: true }));
      }
      return right.leaseRevoke(request);
    },
  }),
  'does not compact': () => ({
    compact: async () => etcd.CompactionResponse.create(),
  }),
  'delivers an event twice': (right) =>
    watchWith(right, (response) =>
      response.events.length > 0 ? [response, response] : [response],
    ),
  'loses deletes': (right) =>
    watchWith(right, (response) => {
      const events = response.events.filter((event) => event.type === 0);
      return [{ ...response, events }];
    }),
  'splits a revision over two batches': (right) =>
    watchWith(right, (response) => {
      if (response.events.length < 2) return [response];
      const [first, ...rest] = response.events;
      return [
        { ...response, events: [first!] },
        { ...response, events: rest },
      ];
    }),
  'delivers no previous values': (right) =>
    watchWith(right, (response) => {
      const events = response.events.map((event) => ({ ...event, prevKv: undefined }));
      return [{ ...response, events }];
    }),
  'promises progress ahead of its events': (right) =>
    watchWith(right, (response) => {
      if (response.created || response.canceled || response.events.length > 0) return [response];
      const header = { ...response.header, revision: response.header.revision + 1_000 };
      return [{ ...response, header }];
    }),
};

describe('the key-value suite', () => {
  const clock = clockInFastTime();

  for (const [what, wrong] of Object.entries(wrongStores)) {
    test(`notices a store that ${what}`, async (t) => {
      const right = memoryService({ clock });
      const service = withMethods(right, wrong(right));
      const kv = kvOver(service);
      t.after(() => kv.close());
      assert.notEqual(await firstFailure({ kv, service, clock }), undefined);
    });
  }

  test('has a name of its own for every case', () => {
    assert.equal(new Set(kvCases.map((one) => one.name)).size, kvCases.length);
  });

  test('skips cases whose needs are lacking, with the reason', () => {
    const skipped = new Set<string>();
    const register = (_: string, __: unknown, skip: string | undefined) => {
      if (skip !== undefined) skipped.add(skip);
    };
    const open = () => assert.fail('opened without a run');
    runCases(kvCases, open, register, { service: 'no raw API', expiry: 'no time' });
    assert.deepEqual([...skipped].sort(), ['no raw API', 'no time']);
  });
});

/** Name of the first case that the store fails. */
async function firstFailure(target: Parameters<typeof runCase>[1]): Promise<string | undefined> {
  for (const one of kvCases) {
    if (one.needs?.includes('expiry')) continue;
    try {
      await runCase(one, target);
    } catch {
      return one.name;
    }
  }
  return undefined;
}
