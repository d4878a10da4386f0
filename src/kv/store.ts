/**
 * The key-value store as a replicated state machine: log entries in, etcd's answers out.
 *
 * Deterministic: what `apply` answers and does depends on the entries alone. What depends on a clock
 * (when leases run out) or on receivers (watch delivery) is beside it and changes no state.
 */

import type { StateMachine } from '../consensus/state-machine.ts';
import { assert } from '../core/assert.ts';
import type { Clock } from '../core/clock.ts';
import { isQuorateError, QuorateError } from '../core/errors.ts';
import { counter, gauge, type Metric } from '../core/metric.ts';
import { InternalRaftRequest } from '../proto/etcd.ts';
import * as pb from '../proto/messages.ts';
import { decodeSnapshot, encodeSnapshot, type MemberAttributes } from './kv-snapshot.ts';
import { Lessor } from './leases.ts';
import { compactedError, futureError, Mvcc } from './mvcc.ts';
import { executeRange } from './range.ts';
import { NO_LEASE } from './record.ts';
import type { WatchSink, WatchStream } from './service.ts';
import { checkPut, executeDelete, executePut, executeTxn } from './txn.ts';
import { WatchHub } from './watch-hub.ts';

/** What etcd counts for a key, or a lease, when it looks whether a write fits the quota. */
const KEY_COST_BYTES = 256;
const LEASE_COST_BYTES = 64;

export interface KvStoreOptions {
  readonly clock: Clock;
  /** Seconds below which a lease is raised to this. The same on all members. @defaultValue 2 */
  readonly minLeaseTtlSeconds?: number;
  /** How often idle watches that asked for it are told so. @defaultValue 10 minutes */
  readonly progressNotifyMs?: number;
  /** Responses of watches with `fragment` are cut above this. @defaultValue 1.5 MiB */
  readonly maxRequestBytes?: number;
}

/** The answer to one applied entry. Either `error`, or the response of its kind, without header. */
export interface ApplyResult {
  error: QuorateError | undefined;
  /** For the response's header: the store's revision after the entry. */
  revision: number;
  put: pb.PutResponse | undefined;
  deleteRange: pb.DeleteRangeResponse | undefined;
  txn: pb.TxnResponse | undefined;
  compaction: pb.CompactionResponse | undefined;
  leaseGrant: pb.LeaseGrantResponse | undefined;
  leaseRevoke: pb.LeaseRevokeResponse | undefined;
  alarm: pb.AlarmResponse | undefined;
}

export class KvStore implements StateMachine<ApplyResult> {
  readonly lessor: Lessor;
  /** How often the host calls `notifyProgress`. */
  readonly progressScanMs: number;
  readonly #clock: Clock;
  readonly #minLeaseTtlSeconds: number;
  readonly #hub: WatchHub;
  #mvcc = new Mvcc();
  #members = new Map<bigint, MemberAttributes>();
  #alarms: pb.AlarmMember[] = [];
  #appliedIndex = 0;
  #putCount = 0;
  #deleteCount = 0;
  #txnCount = 0;
  #rangeCount = 0;

  constructor(options: KvStoreOptions) {
    this.#clock = options.clock;
    this.#minLeaseTtlSeconds = options.minLeaseTtlSeconds ?? 2;
    this.progressScanMs = options.progressNotifyMs ?? 10 * 60_000;
    this.lessor = new Lessor(options.clock);
    this.#hub = new WatchHub(
      this.#mvcc,
      options.clock,
      options.maxRequestBytes ?? 1.5 * 1024 * 1024,
    );
  }

  /** Revision of the last write; 1 in an empty store. */
  get revision(): number {
    return this.#mvcc.revision;
  }
  /** The oldest revision that can be read; -1 if there was no compaction yet. */
  get compactRevision(): number {
    return this.#mvcc.compactRevision;
  }
  /** Index of the last applied entry, or that of the snapshot. */
  get appliedIndex(): number {
    return this.#appliedIndex;
  }
  /** What members told of themselves through the log. */
  get members(): ReadonlyMap<bigint, MemberAttributes> {
    return this.#members;
  }

  // ---- the log ---------------------------------------------------------------------------------

  apply(data: Uint8Array, index: number): ApplyResult {
    let request: pb.InternalRaftRequest;
    try {
      request = InternalRaftRequest.decode(data);
    } catch (cause) {
      // Committed as it is: all members see the same and none can do anything with it.
      this.#appliedIndex = index;
      const error = new QuorateError('ERR_PROTOCOL', 'the entry holds no request of this store', {
        cause,
      });
      return this.#result(error);
    }
    return this.applyRequest(request, index);
  }

  /** As `apply`, for a request that is decoded already. */
  applyRequest(request: pb.InternalRaftRequest, index: number): ApplyResult {
    assert(index > this.#appliedIndex, 'entries are applied once, in order');
    this.#appliedIndex = index;
    const result = this.#result(undefined);
    try {
      this.#dispatch(request, result);
    } catch (error) {
      // Refused before anything was changed. Anything else is a defect: it stops the node.
      if (!isQuorateError(error) || error.code === 'ERR_INTERNAL') throw error;
      result.error = error;
    }
    result.revision = this.#mvcc.revision;
    return result;
  }

  #dispatch(request: pb.InternalRaftRequest, result: ApplyResult): void {
    if (request.put !== undefined) result.put = this.#put(request.put);
    else if (request.txn !== undefined) result.txn = this.#txn(request.txn);
    else if (request.deleteRange !== undefined) {
      this.#refuseIfCorrupt();
      this.#deleteCount++;
      this.#mvcc.begin();
      result.deleteRange = executeDelete(this.#target(), request.deleteRange);
      this.#mvcc.end();
    } else if (request.compaction !== undefined) {
      this.#refuseIfCorrupt();
      this.#mvcc.compact(request.compaction.revision);
      result.compaction = { header: undefined };
    } else if (request.leaseGrant !== undefined) {
      result.leaseGrant = this.#leaseGrant(request.leaseGrant);
    } else if (request.leaseRevoke !== undefined) {
      this.#leaseRevoke(request.leaseRevoke.id);
      result.leaseRevoke = { header: undefined };
    } else if (request.leaseCheckpoint !== undefined) {
      this.lessor.applyCheckpoints(request.leaseCheckpoint.checkpoints);
    } else if (request.alarm !== undefined) {
      result.alarm = { header: undefined, alarms: this.#alarm(request.alarm) };
    } else if (request.clusterMemberAttrSet !== undefined) {
      const { memberId, name, clientUrls } = request.clusterMemberAttrSet;
      this.#members.set(memberId, { name, clientUrls });
    }
    // `clusterVersionSet` and entries of newer versions change nothing here.
  }

  #put(request: pb.PutRequest): pb.PutResponse {
    this.#refuseIfCorrupt();
    this.#refuseIfFull(KEY_COST_BYTES);
    const target = this.#target();
    checkPut(target, request);
    this.#putCount++;
    this.#mvcc.begin();
    const response = executePut(target, request);
    this.#mvcc.end();
    return response;
  }

  #txn(request: pb.TxnRequest): pb.TxnResponse {
    this.#refuseIfCorrupt();
    if (this.#alarms.length > 0) this.#refuseIfFull(this.costOfTxn(request));
    this.#txnCount++;
    this.#mvcc.begin();
    const response = executeTxn(this.#target(), request);
    this.#mvcc.end();
    return response;
  }

  #leaseGrant(request: pb.LeaseGrantRequest): pb.LeaseGrantResponse {
    this.#refuseIfCorrupt();
    this.#refuseIfFull(LEASE_COST_BYTES);
    this.lessor.checkGrant(request.id, request.ttl);
    const ttl = Math.max(request.ttl, this.#minLeaseTtlSeconds);
    this.lessor.grant(request.id, ttl);
    return { header: undefined, id: request.id, ttl, error: '' };
  }

  /** Deletes the lease and its keys: all in one revision, in key order. */
  #leaseRevoke(id: bigint): void {
    this.lessor.revocationApplied(id);
    this.#refuseIfCorrupt();
    if (!this.lessor.has(id)) {
      throw new QuorateError(
        'ERR_LEASE_NOT_FOUND',
        `there is no lease ${id.toString(16)}: it expired or was revoked already`,
      );
    }
    this.#mvcc.begin();
    for (const key of this.lessor.keysOf(id)) {
      const record = this.#mvcc.latest(key);
      assert(record !== undefined && record.lease === id, 'a lease knows exactly its keys');
      this.#mvcc.delete(record);
    }
    this.lessor.revoke(id);
    this.#mvcc.end();
  }

  // ---- reads of the local state ------------------------------------------------------------------

  /** @throws QuorateError `ERR_COMPACTED`, `ERR_FUTURE_REVISION`. The caller validates first. */
  range(request: pb.RangeRequest): pb.RangeResponse {
    this.#refuseIfCorrupt();
    this.#rangeCount++;
    return executeRange(this.#mvcc, request);
  }

  /** A transaction without writes. @throws QuorateError as its ranges do */
  readOnlyTxn(request: pb.TxnRequest): pb.TxnResponse {
    this.#refuseIfCorrupt();
    this.#txnCount++;
    return executeTxn(this.#target(), request);
  }

  /**
   * Checksum of the store as of `revision` (0: now), comparable between members and with etcd.
   * @throws QuorateError `ERR_COMPACTED`, `ERR_FUTURE_REVISION`
   */
  hashKv(revision: number): { hash: number; compactRevision: number; hashRevision: number } {
    const { revision: current, compactRevision } = this.#mvcc;
    if (revision > current) throw futureError(revision, current);
    if (revision > 0 && revision < compactRevision) throw compactedError(revision, compactRevision);
    const hashRevision = revision > 0 ? revision : current;
    return { hash: this.#mvcc.hash(hashRevision), compactRevision, hashRevision };
  }

  alarms(): readonly pb.AlarmMember[] {
    return this.#alarms;
  }

  metrics(): readonly Metric[] {
    const hub = this.#hub;
    return [
      gauge('etcd_debugging_mvcc_keys_total', 'Keys with retained history.', this.#mvcc.keyCount),
      gauge('quorate_mvcc_versions', 'Versions of keys retained.', this.#mvcc.versionCount),
      counter(
        'etcd_mvcc_put_total',
        'Puts applied, those in transactions not counted.',
        this.#putCount,
      ),
      counter('etcd_mvcc_delete_total', 'Deletes applied, likewise.', this.#deleteCount),
      counter('etcd_mvcc_txn_total', 'Transactions run.', this.#txnCount),
      counter('etcd_mvcc_range_total', 'Ranges read.', this.#rangeCount),
      gauge('etcd_debugging_mvcc_watch_stream_total', 'Watch streams.', hub.streamCount),
      gauge('etcd_debugging_mvcc_watcher_total', 'Watches.', hub.watcherCount),
      gauge('etcd_debugging_mvcc_slow_watcher_total', 'Watches behind.', hub.behindCount),
      counter('etcd_debugging_mvcc_events_total', 'Events sent to watches.', hub.eventCount),
      gauge('quorate_leases', 'Leases granted.', this.lessor.count),
    ];
  }

  // ---- space -------------------------------------------------------------------------------------

  /** Bytes of the database as etcd would report them: `total` shrinks only when defragmented. */
  sizeBytes(): { readonly total: number; readonly inUse: number } {
    return this.#mvcc.sizeBytes();
  }

  defragment(): void {
    this.#mvcc.defragment();
  }

  costOfPut(request: pb.PutRequest): number {
    return KEY_COST_BYTES + request.key.length + request.value.length;
  }

  /** What the costlier branch puts; 0 where there is no put. */
  costOfTxn(request: pb.TxnRequest): number {
    return Math.max(this.#costOfOps(request.success), this.#costOfOps(request.failure));
  }

  /** Whether a write of this cost may be proposed: no alarm, and below the quota (0: none). */
  hasSpaceFor(cost: number, quotaBytes: number): boolean {
    if (cost === 0) return true;
    if (this.#alarmed(pb.AlarmType.noSpace)) return false;
    return quotaBytes === 0 || this.#mvcc.sizeBytes().total + cost < quotaBytes;
  }

  noSpaceRaisedBy(memberId: bigint): boolean {
    return this.#alarms.some((each) => {
      return each.memberId === memberId && each.alarm === pb.AlarmType.noSpace;
    });
  }

  #costOfOps(ops: readonly pb.RequestOp[]): number {
    let cost = 0;
    for (const { requestPut, requestTxn } of ops) {
      if (requestPut !== undefined) cost += this.costOfPut(requestPut);
      else if (requestTxn !== undefined) cost += this.costOfTxn(requestTxn);
    }
    return cost;
  }

  // ---- watches and compaction: driven by the host --------------------------------------------------

  /** Opens a stream; `header` gives the ids and the term for its responses. */
  openWatchStream(sink: WatchSink, header: () => pb.ResponseHeader): WatchStream {
    return this.#hub.open(sink, header);
  }

  /** Delivers what was applied since the last call. Once per batch of applied entries. */
  flushWatches(): void {
    this.#hub.flush();
  }

  /** To be called every `progressScanMs`. */
  notifyProgress(): void {
    this.#hub.notifyProgress();
  }

  compactPending(): boolean {
    return this.#mvcc.compacting;
  }

  /**
   * One bounded slice of removing what a compaction made unreadable; true while there is more that
   * can be done now. Watches are given first what they have not had: it would be missing there.
   */
  compactStep(): boolean {
    // Called by a receiver: the rest stays `compactPending`.
    if (!this.#hub.flush()) return false;
    return this.#mvcc.compactStep();
  }

  // ---- snapshots -----------------------------------------------------------------------------------

  /** The view is pinned now and costs a step per 4096 versions; chunks are encoded as pulled. */
  snapshot(): Iterable<Uint8Array> {
    const log = this.#mvcc.pin();
    const head = {
      appliedIndex: this.#appliedIndex,
      revision: this.#mvcc.revision,
      compactRevision: this.#mvcc.compactRevision,
      versionCount: log.count,
      leases: this.lessor.records(),
      alarms: [...this.#alarms],
      members: new Map(this.#members),
    };
    return encodeSnapshot(head, log);
  }

  /** All or nothing. Watches go on from where they are, or end as compacted. */
  async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const mvcc = new Mvcc();
    const head = await decodeSnapshot(chunks, (record) => mvcc.load(record));
    mvcc.finishLoad(head.revision, head.compactRevision);
    const lessor = new Lessor(this.#clock);
    for (const { id, ttlSeconds, remainingSeconds } of head.leases) {
      lessor.grant(id, ttlSeconds, remainingSeconds);
    }
    for (const { key, lease } of mvcc.collect('', undefined, head.revision, 0)) {
      if (lease !== NO_LEASE) lessor.attach(lease, key);
    }
    this.#hub.flush();
    this.#mvcc = mvcc;
    this.lessor.replaceBy(lessor);
    this.#members = new Map(head.members);
    this.#alarms = [...head.alarms];
    this.#appliedIndex = head.appliedIndex;
    this.#hub.replaceStore(mvcc);
  }

  // ---- alarms --------------------------------------------------------------------------------------

  #alarm({ action, memberId, alarm }: pb.AlarmRequest): pb.AlarmMember[] {
    const same = (each: pb.AlarmMember): boolean => {
      return each.memberId === memberId && each.alarm === alarm;
    };
    if (action === pb.AlarmAction.activate && alarm !== pb.AlarmType.none) {
      if (!this.#alarms.some(same)) this.#alarms.push({ memberId, alarm });
      return [{ memberId, alarm }];
    }
    if (action === pb.AlarmAction.deactivate) {
      const lifted = this.#alarms.filter(same);
      this.#alarms = this.#alarms.filter((each) => !same(each));
      return lifted;
    }
    if (action !== pb.AlarmAction.get) return [];
    return this.#alarms.filter((each) => alarm === pb.AlarmType.none || each.alarm === alarm);
  }

  #alarmed(alarm: number): boolean {
    return this.#alarms.some((each) => each.alarm === alarm);
  }

  #refuseIfCorrupt(): void {
    if (this.#alarms.length === 0 || !this.#alarmed(pb.AlarmType.corrupt)) return;
    throw new QuorateError(
      'ERR_CORRUPT',
      'members of the cluster hold different data; restore them, then lift the CORRUPT alarm',
    );
  }

  /** While the NOSPACE alarm is raised, nothing that adds to the store is applied. */
  #refuseIfFull(cost: number): void {
    if (cost === 0 || this.#alarms.length === 0 || !this.#alarmed(pb.AlarmType.noSpace)) return;
    throw new QuorateError(
      'ERR_NO_SPACE',
      'a member is out of space: compact, delete keys, defragment, then lift the NOSPACE alarm',
    );
  }

  #target(): { readonly mvcc: Mvcc; readonly lessor: Lessor } {
    return { mvcc: this.#mvcc, lessor: this.lessor };
  }

  #result(error: QuorateError | undefined): ApplyResult {
    return {
      error,
      revision: this.#mvcc.revision,
      put: undefined,
      deleteRange: undefined,
      txn: undefined,
      compaction: undefined,
      leaseGrant: undefined,
      leaseRevoke: undefined,
      alarm: undefined,
    };
  }
}
