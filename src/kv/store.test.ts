import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as proto from '../proto/etcd.ts';
import type * as pb from '../proto/messages.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { type ApplyResult, KvStore } from './store.ts';

const clock = new VirtualClock();

function apply(store: KvStore, request: Partial<pb.InternalRaftRequest>): ApplyResult {
  const data = proto.InternalRaftRequest.encode(proto.InternalRaftRequest.create(request));
  return store.apply(data, store.appliedIndex + 1);
}

function put(store: KvStore, key: string, more: Partial<pb.PutRequest> = {}): ApplyResult {
  return apply(store, { put: proto.PutRequest.create({ key, value: 'v', ...more }) });
}

function keys(store: KvStore): string[] {
  const all = proto.RangeRequest.create({ key: '\0', rangeEnd: '\0' });
  return store.range(all).kvs.map((kv) => kv.key);
}

async function* fed(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

describe('applying entries', () => {
  it('answers a refusal as a value, changes nothing, and goes on', () => {
    const store = new KvStore({ clock });
    assert.equal(put(store, 'a', { lease: 5n }).error?.code, 'ERR_LEASE_NOT_FOUND');
    assert.equal(store.revision, 1);
    assert.deepEqual([put(store, 'a').revision, store.appliedIndex], [2, 2]);
  });

  it('takes an entry that cannot be read for a refusal, and an entry of a newer version for nothing', () => {
    const store = new KvStore({ clock });
    assert.equal(store.apply(Buffer.from([0xff, 0xff]), 1).error?.code, 'ERR_PROTOCOL');
    assert.equal(apply(store, { clusterVersionSet: { ver: '3.6.0' } }).error, undefined);
    assert.equal(store.apply(Buffer.alloc(0), 3).error, undefined);
    assert.deepEqual([store.revision, store.appliedIndex], [1, 3]);
  });

  it('stops at an entry that was applied before', () => {
    const store = new KvStore({ clock });
    put(store, 'a');
    assert.throws(() => store.apply(Buffer.alloc(0), 1), { code: 'ERR_INTERNAL' });
  });

  it('numbers steps of a transaction within one revision, and fills in only their revision', () => {
    const store = new KvStore({ clock });
    const requestPut = proto.PutRequest.create({ key: 'a' });
    const requestRange = proto.RangeRequest.create({ key: 'a' });
    const inner = proto.TxnRequest.create({ success: [proto.RequestOp.create({ requestRange })] });
    const success = [
      proto.RequestOp.create({ requestRange }),
      proto.RequestOp.create({ requestPut }),
      proto.RequestOp.create({ requestTxn: inner }),
    ];
    const { txn, revision } = apply(store, { txn: proto.TxnRequest.create({ success }) });
    const [first, second, third] = txn!.responses;
    assert.equal(revision, 2);
    assert.equal(txn?.header, undefined);
    assert.deepEqual(
      [first?.responseRange?.header?.revision, second?.responsePut?.header?.revision],
      [1, 2],
    );
    assert.equal(third?.responseTxn?.header?.revision, 0);
    assert.equal(third?.responseTxn?.responses[0]?.responseRange?.count, 1);
  });
});

describe('leases in the log', () => {
  it('are raised to the least life, and refused where the id is taken or the life too long', () => {
    const store = new KvStore({ clock, minLeaseTtlSeconds: 3 });
    const grant = (id: bigint, ttl: number): ApplyResult =>
      apply(store, { leaseGrant: { id, ttl } });
    assert.equal(grant(-4n, -1).leaseGrant?.ttl, 3);
    assert.equal(grant(-4n, 5).error?.code, 'ERR_LEASE_EXISTS');
    assert.equal(grant(1n, 9_000_000_001).error?.code, 'ERR_LEASE_TTL_TOO_LARGE');
    assert.equal(grant(1n, 9_000_000_000).leaseGrant?.ttl, 9_000_000_000);
  });

  it('take all their keys along in one revision, in order, and no key that left them', () => {
    const store = new KvStore({ clock });
    for (const id of [1n, 2n]) apply(store, { leaseGrant: { id, ttl: 60 } });
    for (const key of ['c', 'a', 'b', 'moved', 'freed']) put(store, key, { lease: 1n });
    put(store, 'moved', { lease: 2n });
    put(store, 'freed');
    put(store, 'a', { ignoreLease: true });
    const before = store.revision;
    assert.equal(apply(store, { leaseRevoke: { id: 1n } }).revision, before + 1);
    assert.deepEqual(keys(store), ['freed', 'moved']);
    assert.equal(apply(store, { leaseRevoke: { id: 1n } }).error?.code, 'ERR_LEASE_NOT_FOUND');
    assert.deepEqual(store.lessor.keysOf(2n), ['moved']);
  });

  it('without keys go without a revision', () => {
    const store = new KvStore({ clock });
    apply(store, { leaseGrant: { id: 1n, ttl: 60 } });
    assert.equal(apply(store, { leaseRevoke: { id: 1n } }).revision, 1);
  });
});

describe('space', () => {
  it('is refused above the quota, and everything that adds is refused under the alarm', () => {
    const store = new KvStore({ clock });
    put(store, 'a', { value: 'x'.repeat(50_000) });
    assert.equal(store.hasSpaceFor(1, 60_000), false);
    assert.equal(store.hasSpaceFor(1, 200_000), true);
    assert.equal(store.hasSpaceFor(1, 0), true);
    const alarm = { action: ACTIVATE, memberId: 9n, alarm: NO_SPACE };
    assert.deepEqual(apply(store, { alarm }).alarm?.alarms, [{ memberId: 9n, alarm: 1 }]);
    assert.equal(store.noSpaceRaisedBy(9n), true);
    assert.equal(put(store, 'a').error?.code, 'ERR_NO_SPACE');
    const grant = apply(store, { leaseGrant: { id: 1n, ttl: 9 } });
    assert.equal(grant.error?.code, 'ERR_NO_SPACE');
    assert.equal(store.hasSpaceFor(1, 0), false);
    const deleteRange = proto.DeleteRangeRequest.create({ key: 'a' });
    assert.equal(apply(store, { deleteRange }).deleteRange?.deleted, 1);
    apply(store, { alarm: { ...alarm, action: 2 } });
    assert.deepEqual(store.alarms(), []);
    assert.equal(put(store, 'a').error, undefined);
  });

  it('of a transaction is what the costlier branch puts', () => {
    const store = new KvStore({ clock });
    const op = (size: number): pb.RequestOp => {
      const requestPut = proto.PutRequest.create({ key: 'k', value: 'x'.repeat(size) });
      return proto.RequestOp.create({ requestPut });
    };
    const txn = proto.TxnRequest.create({ success: [op(1)], failure: [op(10), op(10)] });
    assert.equal(store.costOfTxn(txn), 2 * (256 + 1 + 10));
    assert.equal(store.hasSpaceFor(store.costOfTxn(proto.TxnRequest.create()), 1), true);
  });
});

const ACTIVATE = 1;
const NO_SPACE = 1;

describe('a snapshot', () => {
  function filled(): KvStore {
    const store = new KvStore({ clock });
    apply(store, { leaseGrant: { id: -7n, ttl: 600 } });
    apply(store, { leaseCheckpoint: { checkpoints: [{ id: -7n, remainingTtl: 50 }] } });
    apply(store, { alarm: { action: 1, memberId: 3n, alarm: 1 } });
    apply(store, { alarm: { action: 2, memberId: 3n, alarm: 1 } });
    const clientUrls = ['http://127.0.0.1:2379'];
    apply(store, { clusterMemberAttrSet: { memberId: 2n ** 63n, name: 'ä1', clientUrls } });
    for (let i = 0; i < 30; i++) {
      put(store, `k${i % 20}`, { lease: i % 3 === 0 ? -7n : 0n, value: 'x'.repeat(100_000) });
    }
    apply(store, { deleteRange: proto.DeleteRangeRequest.create({ key: 'k3' }) });
    apply(store, { compaction: { revision: 20, physical: false } });
    return store;
  }

  it('brings everything along', async () => {
    const store = filled();
    const other = new KvStore({ clock });
    put(other, 'gone');
    await other.restore(fed(store.snapshot()));
    assert.deepEqual(other.hashKv(0), store.hashKv(0));
    assert.deepEqual(keys(other), keys(store));
    assert.deepEqual(
      [other.revision, other.compactRevision, other.appliedIndex],
      [store.revision, 20, store.appliedIndex],
    );
    assert.deepEqual(other.members, store.members);
    assert.deepEqual(other.lessor.records(), store.lessor.records());
    assert.deepEqual(other.lessor.keysOf(-7n), store.lessor.keysOf(-7n));
    assert.deepEqual(other.alarms(), []);
    assert.equal(apply(other, { leaseRevoke: { id: -7n } }).error, undefined);
  });

  it('brings any number of leases along', async () => {
    const store = new KvStore({ clock });
    for (let id = 1n; id <= 25_000n; id++) apply(store, { leaseGrant: { id, ttl: 60 } });
    const chunks = [...store.snapshot()];
    assert.equal(chunks.length, 5);
    const other = new KvStore({ clock });
    await other.restore(fed(chunks));
    assert.deepEqual(other.lessor.records(), store.lessor.records());
    await assert.rejects(other.restore(fed([...chunks.slice(0, 3), chunks[4]!])), {
      code: 'ERR_CORRUPT',
    });
  });

  it('comes in chunks of about a mebibyte', () => {
    const sizes = [...filled().snapshot()].map((chunk) => chunk.length);
    assert.ok(sizes.length >= 5);
    assert.ok(sizes.every((size) => size <= 1024 * 1024));
  });

  it('that is cut off or damaged is refused, and the store stays as it was', async () => {
    const chunks = [...filled().snapshot()];
    const store = new KvStore({ clock });
    put(store, 'mine');
    const refused = async (damaged: Uint8Array[]): Promise<void> => {
      await assert.rejects(store.restore(fed(damaged)), { code: 'ERR_CORRUPT' });
      assert.deepEqual(keys(store), ['mine']);
    };
    for (let count = 0; count < chunks.length; count++) await refused(chunks.slice(0, count));
    await refused([chunks[0]!, chunks[1]!.subarray(0, 5), ...chunks.slice(2)]);
    await refused([chunks[0]!, ...chunks.slice(2)]);
    await refused([Buffer.from('{"format":"other"}'), ...chunks.slice(1)]);
    await refused([...chunks, chunks[1]!]);
  });
});
