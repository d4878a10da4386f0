/**
 * The store on the embedded quorum: writes go through the replicated log, reads through a read
 * barrier (or none, if serializable), both end in the node's own `KvStore` without a network hop.
 *
 * Leases: granted and revoked through the log; their remaining life is kept by the leader alone,
 * which proposes the revocation of those that ran out. Other members ask the leader.
 */

import { notLeading } from '../consensus/replica/errors.ts';
import type { ProposeOptions, ReplicaEvents } from '../consensus/replica/options.ts';
import type { Replica } from '../consensus/replica/replica.ts';
import { orAborted, sleep, type WaitOptions } from '../core/abort.ts';
import type { Cancel, Clock } from '../core/clock.ts';
import { isQuorateError, QuorateError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import * as proto from '../proto/etcd.ts';
import type * as pb from '../proto/messages.ts';
import type { KvService, WatchSink, WatchStream } from './service.ts';
import type { ApplyResult, KvStore } from './store.ts';
import {
  isReadOnlyTxn,
  isSerializableTxn,
  validateDeleteRange,
  validatePut,
  validateRange,
  validateTxn,
} from './validate.ts';

/** How often the leader looks for leases that ran out, as etcd does. */
const LEASE_SCAN_MS = 500;
/** Largest time to live, in seconds, that etcd accepts. */
const MAX_LEASE_TTL = 9_000_000_000;
/** Between two slices of a compaction, so that requests get their turn. */
const COMPACT_SLICE_PAUSE_MS = 1;
/** Between two attempts to reach a leader that is being elected. */
const LEADER_RETRY_MS = 50;

const AS_LEADER: ProposeOptions = { onlyAsLeader: true };

export interface EmbeddedOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly clusterId: bigint;
  readonly memberId: bigint;
  readonly maxTxnOperations: number;
  /** Bytes the store may hold before writes are refused with `ERR_NO_SPACE`; 0: no limit. */
  readonly quotaBytes: number;
  readonly requestTimeoutMs: number;
  readonly electionMs: number;
}

/** What one log entry may ask, all unset: the shape every proposal starts from. */
type Request = Partial<Omit<pb.InternalRaftRequest, 'header'>>;

export class EmbeddedKv implements KvService {
  readonly #store: KvStore;
  readonly #options: EmbeddedOptions;
  #replica!: Replica<ApplyResult>;
  #cancelScan: Cancel | undefined;
  #cancelProgress: Cancel | undefined;
  /** Compacts in slices: cancels the next one. */
  #cancelSlice: Cancel | undefined;
  readonly #closing = new AbortController();
  #requests = 0;
  readonly #streams = new Set<WatchStream>();
  readonly #header = (): pb.ResponseHeader => this.header(0);

  constructor(store: KvStore, options: EmbeddedOptions) {
    this.#store = store;
    this.#options = options;
  }

  /** What the replica has to tell this store. Given to the replica before it is `attach`ed. */
  readonly events: ReplicaEvents = {
    onApplied: () => {
      this.#store.flushWatches();
      this.#compactInSlices();
    },
    onLeading: (leading) => (leading ? this.#lead() : this.#follow()),
    onCall: (method, payload) => this.#answer(method, payload),
  };

  attach(replica: Replica<ApplyResult>): void {
    this.#replica = replica;
    this.#cancelProgress = this.#options.clock.every(this.#store.progressScanMs, () =>
      this.#store.notifyProgress(),
    );
    if (replica.leading) this.#lead();
  }

  header(revision: number): pb.ResponseHeader {
    return {
      clusterId: this.#options.clusterId,
      memberId: this.#options.memberId,
      revision: revision === 0 ? this.#store.revision : revision,
      raftTerm: this.#replica.term,
    };
  }

  async range(request: pb.RangeRequest, options?: WaitOptions): Promise<pb.RangeResponse> {
    validateRange(request);
    if (!request.serializable) await this.#replica.readBarrier(options);
    const response = this.#store.range(request);
    response.header = this.header(0);
    return response;
  }

  async put(request: pb.PutRequest, options?: WaitOptions): Promise<pb.PutResponse> {
    validatePut(request);
    this.#requireSpace(this.#store.costOfPut(request));
    const result = await this.#propose({ put: request }, options);
    const response = result.put!;
    response.header = this.header(result.revision);
    return response;
  }

  async deleteRange(
    request: pb.DeleteRangeRequest,
    options?: WaitOptions,
  ): Promise<pb.DeleteRangeResponse> {
    validateDeleteRange(request);
    const result = await this.#propose({ deleteRange: request }, options);
    const response = result.deleteRange!;
    response.header = this.header(result.revision);
    return response;
  }

  async txn(request: pb.TxnRequest, options?: WaitOptions): Promise<pb.TxnResponse> {
    validateTxn(request, this.#options.maxTxnOperations);
    if (isReadOnlyTxn(request)) {
      if (!isSerializableTxn(request)) await this.#replica.readBarrier(options);
      const response = this.#store.readOnlyTxn(request);
      response.header = this.header(0);
      return response;
    }
    this.#requireSpace(this.#store.costOfTxn(request));
    const result = await this.#propose({ txn: request }, options);
    const response = result.txn!;
    response.header = this.header(result.revision);
    return response;
  }

  async compact(
    request: pb.CompactionRequest,
    options?: WaitOptions,
  ): Promise<pb.CompactionResponse> {
    await this.#propose({ compaction: request }, options);
    if (request.physical) {
      const { signal } = this.#closing;
      while (this.#store.compactStep()) {
        await sleep(this.#options.clock, COMPACT_SLICE_PAUSE_MS, signal);
      }
    }
    return { header: this.header(0) };
  }

  watch(sink: WatchSink): WatchStream {
    const stream = this.#store.openWatchStream(
      {
        response: (response) => sink.response(response),
        end: (error) => {
          this.#streams.delete(stream);
          sink.end(error);
        },
      },
      this.#header,
    );
    this.#streams.add(stream);
    return stream;
  }

  async leaseGrant(
    request: pb.LeaseGrantRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseGrantResponse> {
    if (request.ttl > MAX_LEASE_TTL) {
      throw new QuorateError(
        'ERR_LEASE_TTL_TOO_LARGE',
        `a lease of ${request.ttl} s is above the limit of ${MAX_LEASE_TTL} s`,
      );
    }
    this.#requireSpace(64);
    const id = request.id === 0n ? this.#freeLeaseId() : request.id;
    const result = await this.#propose({ leaseGrant: { ttl: request.ttl, id } }, options);
    const response = result.leaseGrant!;
    response.header = this.header(result.revision);
    return response;
  }

  async leaseRevoke(
    request: pb.LeaseRevokeRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseRevokeResponse> {
    const result = await this.#propose({ leaseRevoke: request }, options);
    return { header: this.header(result.revision) };
  }

  async leaseKeepAlive(
    request: pb.LeaseKeepAliveRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseKeepAliveResponse> {
    const header = this.header(0);
    const ttl = await this.#onLeader(
      'lease-keep-alive',
      proto.LeaseKeepAliveRequest.encode(request),
      () => this.#renew(request.id),
      (reply) => proto.LeaseKeepAliveResponse.decode(reply).ttl,
      options,
    );
    return { header, id: request.id, ttl };
  }

  async leaseTimeToLive(
    request: pb.LeaseTimeToLiveRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseTimeToLiveResponse> {
    const response = await this.#onLeader(
      'lease-time-to-live',
      proto.LeaseTimeToLiveRequest.encode(request),
      () => this.#timeToLive(request),
      (reply) => proto.LeaseTimeToLiveResponse.decode(reply),
      options,
    );
    response.header = this.header(0);
    return response;
  }

  async leaseLeases(
    _request: pb.LeaseLeasesRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseLeasesResponse> {
    await this.#replica.readBarrier(options);
    const leases = this.#store.lessor.ids().map((id) => ({ id }));
    return { header: this.header(0), leases };
  }

  /** Proposes what is not a client's request: alarms, member attributes. */
  async propose(request: Request, options?: WaitOptions): Promise<ApplyResult> {
    return this.#propose(request, options);
  }

  async close(): Promise<void> {
    this.#follow();
    this.#cancelProgress?.();
    this.#cancelSlice?.();
    this.#closing.abort(new QuorateError('ERR_CLOSED', 'the node was closed'));
    for (const stream of [...this.#streams]) stream.close();
  }

  async #propose(request: Request, options: ProposeOptions | undefined): Promise<ApplyResult> {
    this.#requests += 1;
    const data = proto.InternalRaftRequest.encode({
      header: { id: this.#nextRequestId(), username: '', authRevision: 0 },
      put: request.put,
      deleteRange: request.deleteRange,
      txn: request.txn,
      compaction: request.compaction,
      leaseGrant: request.leaseGrant,
      leaseRevoke: request.leaseRevoke,
      alarm: request.alarm,
      leaseCheckpoint: request.leaseCheckpoint,
      clusterVersionSet: request.clusterVersionSet,
      clusterMemberAttrSet: request.clusterMemberAttrSet,
    });
    const result = await this.#replica.propose(data, options);
    if (result.error !== undefined) throw result.error;
    return result;
  }

  /** Unique among the requests of this process; only etcd's tools look at it. */
  #nextRequestId(): bigint {
    return ((this.#options.memberId & 0xffffn) << 47n) | BigInt(this.#requests);
  }

  #freeLeaseId(): bigint {
    for (;;) {
      const id = this.#options.random.id63();
      if (!this.#store.lessor.has(id)) return id;
    }
  }

  #requireSpace(cost: number): void {
    if (this.#store.hasSpaceFor(cost, this.#options.quotaBytes)) return;
    void this.#raiseNoSpace();
    throw new QuorateError(
      'ERR_NO_SPACE',
      `the store is at its quota of ${this.#options.quotaBytes} bytes: compact old revisions, delete keys, then disarm the alarm (etcdctl alarm disarm)`,
    );
  }

  async #raiseNoSpace(): Promise<void> {
    if (this.#store.noSpaceRaisedBy(this.#options.memberId)) return;
    const alarm = { action: 1, memberId: this.#options.memberId, alarm: 1 };
    // Whether or not it gets through, the write was refused; the next one raises it again.
    await this.#propose({ alarm }, undefined).catch(() => undefined);
  }

  // ---- leases -------------------------------------------------------------------------------

  /** Renews on the leader, after it has made sure that it still is the leader. */
  async #renew(id: bigint): Promise<number> {
    await this.#replica.readBarrier();
    if (!this.#replica.leading) throw notLeading();
    return this.#store.lessor.keepAlive(id);
  }

  async #timeToLive(request: pb.LeaseTimeToLiveRequest): Promise<pb.LeaseTimeToLiveResponse> {
    await this.#replica.readBarrier();
    if (!this.#replica.leading) throw notLeading();
    return this.#store.lessor.timeToLive(request.id, request.keys);
  }

  /** Runs `here` if this node leads, else asks the leader; waits through a change of leader. */
  async #onLeader<T>(
    method: string,
    payload: Buffer,
    here: () => Promise<T>,
    decode: (reply: Buffer) => T,
    options: WaitOptions = {},
  ): Promise<T> {
    const deadline = this.#options.clock.now() + this.#options.requestTimeoutMs;
    for (;;) {
      const left = deadline - this.#options.clock.now();
      try {
        if (this.#replica.leading) return await orAborted(here(), options.signal);
        const reply = await orAborted(
          this.#replica.callLeader(method, payload, left),
          options.signal,
        );
        return decode(Buffer.from(reply.buffer, reply.byteOffset, reply.byteLength));
      } catch (error) {
        const again =
          error instanceof QuorateError &&
          (error.code === 'ERR_NO_LEADER' ||
            error.code === 'ERR_NOT_LEADER' ||
            error.code === 'ERR_UNAVAILABLE');
        if (!again || left <= LEADER_RETRY_MS) throw error;
      }
      const pause = sleep(this.#options.clock, LEADER_RETRY_MS, this.#closing.signal);
      await orAborted(pause, options.signal);
    }
  }

  async #answer(method: string, payload: Uint8Array): Promise<Uint8Array> {
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
    switch (method) {
      case 'lease-keep-alive': {
        const { id } = proto.LeaseKeepAliveRequest.decode(bytes);
        const ttl = await this.#renew(id);
        return proto.LeaseKeepAliveResponse.encode({ header: undefined, id, ttl });
      }
      case 'lease-time-to-live':
        return proto.LeaseTimeToLiveResponse.encode(
          await this.#timeToLive(proto.LeaseTimeToLiveRequest.decode(bytes)),
        );
      default:
        throw new QuorateError('ERR_UNSUPPORTED', `this node does not answer '${method}'`);
    }
  }

  #lead(): void {
    this.#store.lessor.promote(this.#options.electionMs);
    this.#cancelScan?.();
    this.#cancelScan = this.#options.clock.every(LEASE_SCAN_MS, () => this.#expireLeases());
  }

  #follow(): void {
    this.#cancelScan?.();
    this.#cancelScan = undefined;
    this.#store.lessor.demote();
  }

  /**
   * Only as leader: what ran out here may have been renewed at the next leader, where a revocation
   * that came late, or was proposed again, would end it under its holder.
   */
  #expireLeases(): void {
    const { lessor } = this.#store;
    const { term } = this.#replica;
    for (const id of lessor.takeExpired(term)) {
      this.#propose({ leaseRevoke: { id } }, AS_LEADER).catch((error) => {
        if (!mayBeInLog(error)) lessor.revocationRefused(id, term);
      });
    }
    const checkpoints = lessor.takeCheckpoints(term);
    if (checkpoints.length === 0) return;
    this.#propose({ leaseCheckpoint: { checkpoints } }, AS_LEADER).catch((error) => {
      if (!mayBeInLog(error)) lessor.checkpointsRefused(term);
    });
  }

  // ---- compaction ---------------------------------------------------------------------------

  /** Removes what a compaction made unreachable, a slice a turn, so that nothing else waits. */
  #compactInSlices(): void {
    if (this.#cancelSlice !== undefined || this.#closing.signal.aborted) return;
    if (!this.#store.compactPending()) return;
    const { clock } = this.#options;
    const step = (): void => {
      const isMore = this.#store.compactStep();
      this.#cancelSlice = isMore ? clock.after(COMPACT_SLICE_PAUSE_MS, step) : undefined;
    };
    this.#cancelSlice = clock.after(COMPACT_SLICE_PAUSE_MS, step);
  }
}

function mayBeInLog(error: unknown): boolean {
  return isQuorateError(error) && error.outcome === 'unknown';
}
