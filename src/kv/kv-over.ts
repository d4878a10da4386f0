/**
 * The public `Kv` over a `KvService`: the one place where bytes, options and results change form,
 * so that the in-memory store, the embedded replica and the etcd driver behave alike.
 */
import { orAborted, throwIfAborted, type WaitOptions } from '../core/abort.ts';
import type { BytesLike } from '../core/bytes.ts';
import type { Duration } from '../core/duration.ts';
import { QuorateError } from '../core/errors.ts';
import * as etcd from '../proto/etcd.ts';
import type * as pb from '../proto/messages.ts';
import type {
  DeleteOptions,
  DeleteResult,
  KeyRange,
  KeyValue,
  Kv,
  Lease,
  LeaseInfo,
  PutOptions,
  PutResult,
  RangeOptions,
  RangeResult,
  ReadOptions,
  Txn,
  TxnResult,
  Watch,
  WatchOptions,
} from './kv.ts';
import {
  bytesOf,
  deleteRequest,
  describe,
  leaseIdOf,
  putRequest,
  rangeRequest,
  ttlOf,
  txnRequest,
  watchCreateRequest,
  wholeOf,
} from './over-requests.ts';
import { deleteResult, keyValue, putResult, rangeResult, txnResult } from './over-results.ts';
import { KvWatch } from './over-watch.ts';
import type { KvService } from './service.ts';

/** What the `Kv` owns. */
export interface KvOverOptions {
  /** Whether `close` also closes the service. @defaultValue `true` */
  readonly closeService?: boolean;
}

/**
 * Makes the public `Kv` of a service.
 *
 * Wrong arguments reject (from `watch`: throw) with `ERR_INVALID_ARGUMENT` before the service sees
 * them. An aborted call rejects with the signal's reason at once; an aborted write may have happened.
 * After `close` every call rejects with `ERR_CLOSED`.
 */
export function kvOver(service: KvService, options: KvOverOptions = {}): Kv {
  return new KvOver(service, options.closeService ?? true);
}

const NO_OPTIONS = {};

class KvOver implements Kv {
  readonly #service: KvService;
  readonly #closeService: boolean;
  readonly #watches: Set<KvWatch>;
  readonly #forget: (watch: KvWatch) => void;
  #closing: Promise<void> | undefined;

  constructor(service: KvService, closeService: boolean) {
    this.#service = service;
    this.#closeService = closeService;
    this.#watches = new Set();
    this.#forget = (watch) => {
      this.#watches.delete(watch);
    };
    this.#closing = undefined;
  }

  async get(key: BytesLike, options: ReadOptions = NO_OPTIONS): Promise<KeyValue | undefined> {
    this.#check(options);
    bytesOf(key, 'get: key');
    const { revision, serializable } = options;
    const request = rangeRequest(key, {});
    request.revision = wholeOf(revision, 'get: revision');
    request.serializable = serializable === true;
    const response = await orAborted(this.#service.range(request, options), options.signal);
    const kv = response.kvs[0];
    return kv === undefined ? undefined : keyValue(kv);
  }

  async range(range: KeyRange, options: RangeOptions = NO_OPTIONS): Promise<RangeResult> {
    this.#check(options);
    const request = rangeRequest(range, options);
    return rangeResult(await orAborted(this.#service.range(request, options), options.signal));
  }

  async put(
    key: BytesLike,
    value: BytesLike,
    options: PutOptions = NO_OPTIONS,
  ): Promise<PutResult> {
    this.#check(options);
    const request = putRequest(key, value, options);
    return putResult(await orAborted(this.#service.put(request, options), options.signal));
  }

  async delete(range: KeyRange, options: DeleteOptions = NO_OPTIONS): Promise<DeleteResult> {
    this.#check(options);
    const request = deleteRequest(range, options);
    const work = this.#service.deleteRange(request, options);
    return deleteResult(await orAborted(work, options.signal));
  }

  async txn(txn: Txn, options: WaitOptions = NO_OPTIONS): Promise<TxnResult> {
    this.#check(options);
    const request = txnRequest(txn);
    const isQuestion = request.success.length === 0 && request.failure.length === 0;
    if (isQuestion) addRead(request);
    const result = txnResult(await orAborted(this.#service.txn(request, options), options.signal));
    return isQuestion ? { ...result, results: [] } : result;
  }

  async compact(
    revision: number,
    options: { readonly physical?: boolean } & WaitOptions = NO_OPTIONS,
  ): Promise<void> {
    this.#check(options);
    const request = {
      revision: wholeOf(revision, 'compact: revision'),
      physical: options.physical === true,
    };
    await orAborted(this.#service.compact(request, options), options.signal);
  }

  watch(range: KeyRange, options: WatchOptions = NO_OPTIONS): Watch {
    this.#check(options);
    const request = watchCreateRequest(range, options);
    const watch = new KvWatch(this.#service, request, options.signal, this.#forget);
    if (!watch.isOver) this.#watches.add(watch);
    return watch;
  }

  async grantLease(
    ttl: Duration,
    options: { readonly id?: bigint } & WaitOptions = NO_OPTIONS,
  ): Promise<Lease> {
    this.#check(options);
    const request = { ttl: ttlOf(ttl), id: leaseIdOf(options.id, 'grantLease: id') };
    const response = await orAborted(this.#service.leaseGrant(request, options), options.signal);
    if (response.error !== '') {
      throw new QuorateError('ERR_INTERNAL', `grantLease: the store refused: ${response.error}`);
    }
    return { id: response.id, ttlMs: response.ttl * 1000 };
  }

  async revokeLease(id: bigint, options: WaitOptions = NO_OPTIONS): Promise<void> {
    this.#check(options);
    const request = { id: existingId(id, 'revokeLease: id') };
    await orAborted(this.#service.leaseRevoke(request, options), options.signal);
  }

  async keepAlive(id: bigint, options: WaitOptions = NO_OPTIONS): Promise<number> {
    this.#check(options);
    const request = { id: existingId(id, 'keepAlive: id') };
    const work = this.#service.leaseKeepAlive(request, options);
    const response = await orAborted(work, options.signal);
    return response.ttl * 1000;
  }

  async leaseInfo(
    id: bigint,
    options: { readonly keys?: boolean } & WaitOptions = NO_OPTIONS,
  ): Promise<LeaseInfo> {
    this.#check(options);
    const request = { id: existingId(id, 'leaseInfo: id'), keys: options.keys === true };
    const work = this.#service.leaseTimeToLive(request, options);
    const { ttl, grantedTtl, keys } = await orAborted(work, options.signal);
    return {
      remainingMs: ttl * 1000,
      grantedMs: grantedTtl * 1000,
      keys: keys.map((key) => Buffer.from(key, 'latin1')),
    };
  }

  async leases(options: WaitOptions = NO_OPTIONS): Promise<readonly bigint[]> {
    this.#check(options);
    const response = await orAborted(this.#service.leaseLeases({}, options), options.signal);
    return response.leases.map((lease) => lease.id);
  }

  /** Ends all watches, then the service. */
  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #closeAll(): Promise<void> {
    await Promise.all([...this.#watches].map((watch) => watch.close()));
    if (this.#closeService) await this.#service.close();
  }

  #check(options: WaitOptions): void {
    if (this.#closing !== undefined) {
      throw new QuorateError('ERR_CLOSED', 'this Kv was closed; open another one');
    }
    throwIfAborted(options.signal);
  }
}

function existingId(id: bigint, name: string): bigint {
  if (typeof id !== 'bigint') {
    throw new QuorateError('ERR_INVALID_ARGUMENT', `${name} must be a bigint, not ${describe(id)}`);
  }
  return leaseIdOf(id, name);
}

/**
 * Makes a transaction of conditions alone linearizable: etcd answers one without steps from the
 * member's own state, however old, and one that reads something after asking a quorum.
 */
function addRead(request: pb.TxnRequest): void {
  const key = request.compare[0]?.key || '\0';
  const requestRange = etcd.RangeRequest.create({ key, countOnly: true });
  request.success.push(etcd.RequestOp.create({ requestRange }));
  request.failure.push(etcd.RequestOp.create({ requestRange }));
}
