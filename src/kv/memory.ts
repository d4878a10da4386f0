/**
 * The store in memory behind `KvService`: one process, nothing kept, every request applied at once.
 * For tests and small tools; the rules are the embedded quorum's, since the state machine is the same.
 */
import { throwIfAborted, type WaitOptions } from '../core/abort.ts';
import { type Cancel, type Clock, systemClock } from '../core/clock.ts';
import { QuorateError } from '../core/errors.ts';
import { type Random, systemRandom } from '../core/random.ts';
import { InternalRaftRequest } from '../proto/etcd.ts';
import type * as pb from '../proto/messages.ts';
import type { KvService, WatchSink, WatchStream } from './service.ts';
import { type ApplyResult, KvStore } from './store.ts';
import {
  isReadOnlyTxn,
  MAX_TXN_OPERATIONS,
  validateDeleteRange,
  validatePut,
  validateRange,
  validateTxn,
} from './validate.ts';

/** How often leases that ran out are looked for, as in etcd. */
const LEASE_SCAN_MS = 500;

/** How a store in memory behaves; every default is etcd's. */
export interface MemoryOptions {
  /** @defaultValue the system's */
  readonly clock?: Clock;
  /** Picks lease ids. @defaultValue the system's */
  readonly random?: Random;
  /** Shorter leases are granted this life. @defaultValue 2, as etcd with its defaults */
  readonly minLeaseTtlSeconds?: number;
  /** How often idle watches that asked for it are told so. @defaultValue 10 minutes */
  readonly watchProgressIntervalMs?: number;
  /** Largest write; beyond: `ERR_REQUEST_TOO_LARGE`. @defaultValue 1.5 MiB, counted as keys and values */
  readonly maxRequestBytes?: number;
  /** Most operations in a transaction; beyond: `ERR_TOO_MANY_OPERATIONS`. @defaultValue 128 */
  readonly maxTxnOperations?: number;
}

/** The service, and the state machine behind it for a look inside. */
export interface MemoryService extends KvService {
  readonly store: KvStore;
}

/** A store in memory that speaks the API's own messages. */
export function memoryService(options: MemoryOptions = {}): MemoryService {
  return new MemoryKvService(options);
}

class MemoryKvService implements MemoryService {
  readonly store: KvStore;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #maxRequestBytes: number;
  readonly #maxTxnOperations: number;
  readonly #streams = new Set<WatchStream>();
  readonly #header = (): pb.ResponseHeader => this.#headerAt(this.store.revision);
  #index = 0;
  #cancelScan: Cancel | undefined = undefined;
  #cancelProgress: Cancel | undefined = undefined;
  #cancelCompact: Cancel | undefined = undefined;
  #closed = false;

  constructor(options: MemoryOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#maxRequestBytes = options.maxRequestBytes ?? 1.5 * 1024 * 1024;
    this.#maxTxnOperations = options.maxTxnOperations ?? MAX_TXN_OPERATIONS;
    this.store = new KvStore({
      clock: this.#clock,
      minLeaseTtlSeconds: options.minLeaseTtlSeconds ?? 2,
      progressNotifyMs: options.watchProgressIntervalMs ?? 10 * 60_000,
      maxRequestBytes: this.#maxRequestBytes,
    });
    this.store.lessor.promote(0);
  }

  async range(request: pb.RangeRequest, options?: WaitOptions): Promise<pb.RangeResponse> {
    this.#enter(options);
    validateRange(request);
    return this.#withHeader(this.store.range(request));
  }

  async put(request: pb.PutRequest, options?: WaitOptions): Promise<pb.PutResponse> {
    this.#enter(options);
    validatePut(request);
    this.#requireSize(this.store.costOfPut(request));
    return this.#withHeader(this.#apply({ put: request }).put!);
  }

  async deleteRange(
    request: pb.DeleteRangeRequest,
    options?: WaitOptions,
  ): Promise<pb.DeleteRangeResponse> {
    this.#enter(options);
    validateDeleteRange(request);
    return this.#withHeader(this.#apply({ deleteRange: request }).deleteRange!);
  }

  async txn(request: pb.TxnRequest, options?: WaitOptions): Promise<pb.TxnResponse> {
    this.#enter(options);
    validateTxn(request, this.#maxTxnOperations);
    if (isReadOnlyTxn(request)) return this.#withHeader(this.store.readOnlyTxn(request));
    this.#requireSize(this.store.costOfTxn(request));
    return this.#withHeader(this.#apply({ txn: request }).txn!);
  }

  async compact(
    request: pb.CompactionRequest,
    options?: WaitOptions,
  ): Promise<pb.CompactionResponse> {
    this.#enter(options);
    const response = this.#withHeader(this.#apply({ compaction: request }).compaction!);
    if (request.physical) while (this.store.compactStep());
    // Asked by a receiver of events, it can only be done when those are delivered.
    if (this.store.compactPending()) this.#compactLater();
    return response;
  }

  watch(sink: WatchSink): WatchStream {
    this.#enter(undefined);
    const { response } = sink;
    const stream = this.store.openWatchStream(
      {
        response: response.bind(sink),
        end: (error) => {
          this.#streams.delete(stream);
          sink.end(error);
        },
      },
      this.#header,
    );
    this.#streams.add(stream);
    this.#cancelProgress ??= this.#clock.every(this.store.progressScanMs, () => {
      this.store.notifyProgress();
    });
    return stream;
  }

  async leaseGrant(
    request: pb.LeaseGrantRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseGrantResponse> {
    this.#enter(options);
    let { id } = request;
    while (id === 0n || (request.id === 0n && this.store.lessor.has(id))) id = this.#random.id63();
    const result = this.#apply({ leaseGrant: { ttl: request.ttl, id } });
    this.#cancelScan ??= this.#clock.every(LEASE_SCAN_MS, () => this.#expireLeases());
    return this.#withHeader(result.leaseGrant!);
  }

  async leaseRevoke(
    request: pb.LeaseRevokeRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseRevokeResponse> {
    this.#enter(options);
    return this.#withHeader(this.#apply({ leaseRevoke: request }).leaseRevoke!);
  }

  async leaseKeepAlive(
    { id }: pb.LeaseKeepAliveRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseKeepAliveResponse> {
    this.#enter(options);
    return { header: this.#header(), id, ttl: this.store.lessor.keepAlive(id) };
  }

  async leaseTimeToLive(
    { id, keys }: pb.LeaseTimeToLiveRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseTimeToLiveResponse> {
    this.#enter(options);
    return this.#withHeader(this.store.lessor.timeToLive(id, keys));
  }

  async leaseLeases(
    _request: pb.LeaseLeasesRequest,
    options?: WaitOptions,
  ): Promise<pb.LeaseLeasesResponse> {
    this.#enter(options);
    const leases = this.store.lessor.ids().map((id) => ({ id }));
    return { header: this.#header(), leases };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelScan?.();
    this.#cancelProgress?.();
    this.#cancelCompact?.();
    for (const stream of [...this.#streams]) stream.close();
  }

  #enter(options: WaitOptions | undefined): void {
    throwIfAborted(options?.signal);
    if (this.#closed) throw new QuorateError('ERR_CLOSED', 'the store is closed');
  }

  #requireSize(bytes: number): void {
    if (bytes <= this.#maxRequestBytes) return;
    throw new QuorateError(
      'ERR_REQUEST_TOO_LARGE',
      `a write of ${bytes} bytes is above the limit of ${this.#maxRequestBytes}; split it`,
    );
  }

  #apply(request: Partial<pb.InternalRaftRequest>): ApplyResult {
    const result = this.store.applyRequest(InternalRaftRequest.create(request), ++this.#index);
    this.store.flushWatches();
    if (result.error !== undefined) throw result.error;
    return result;
  }

  #withHeader<T extends { header: pb.ResponseHeader | undefined }>(response: T): T {
    response.header = this.#header();
    return response;
  }

  #headerAt(revision: number): pb.ResponseHeader {
    return { clusterId: 0n, memberId: 0n, revision, raftTerm: 1 };
  }

  #expireLeases(): void {
    for (const id of this.store.lessor.expired()) this.#apply({ leaseRevoke: { id } });
    if (this.store.lessor.count > 0) return;
    this.#cancelScan?.();
    this.#cancelScan = undefined;
  }

  #compactLater(): void {
    this.#cancelCompact ??= this.#clock.after(0, () => {
      this.#cancelCompact = undefined;
      if (this.store.compactStep()) this.#compactLater();
    });
  }
}
