/**
 * The key-value contract: etcd's data model in TypeScript.
 *
 * Byte keys in order, every change numbered by one growing `revision`, compare-then-else
 * transactions, leases, and watches that replay from any retained revision. The embedded quorum, the
 * in-memory store and the etcd driver all implement it and pass `quorate/conformance`.
 */
import type { WaitOptions } from '../core/abort.ts';
import type { BytesLike } from '../core/bytes.ts';
import type { Duration } from '../core/duration.ts';

/** One key, or all keys with a prefix, or `from` (inclusive) up to `to` (exclusive; absent: no end). */
export type KeyRange =
  | BytesLike
  | { readonly prefix: BytesLike }
  | { readonly from: BytesLike; readonly to?: BytesLike };

/** A key as it stood at some revision. */
export interface KeyValue {
  readonly key: Buffer;
  /** Empty where only keys were asked for. */
  readonly value: Buffer;
  /** Revision of the put that began this life of the key. */
  readonly createRevision: number;
  /** Revision of the last put. */
  readonly modRevision: number;
  /** Puts in this life of the key, from 1. */
  readonly version: number;
  /** Lease it is attached to, `0n` for none. */
  readonly lease: bigint;
}

export interface ReadOptions extends WaitOptions {
  /** Read the past: the state as of this revision. @defaultValue now */
  readonly revision?: number;
  /**
   * `true` answers from the contacted node at once, perhaps with old data, also without a quorum.
   * @defaultValue `false`: linearizable
   */
  readonly serializable?: boolean;
}

export type SortTarget = 'key' | 'version' | 'create' | 'mod' | 'value';

export interface RangeOptions extends ReadOptions {
  /** At most this many keys. @defaultValue `0`: all */
  readonly limit?: number;
  readonly sortBy?: SortTarget;
  readonly order?: 'ascend' | 'descend';
  readonly keysOnly?: boolean;
  readonly countOnly?: boolean;
  readonly minModRevision?: number;
  readonly maxModRevision?: number;
  readonly minCreateRevision?: number;
  readonly maxCreateRevision?: number;
}

export interface RangeResult {
  /** The store's revision when it answered. */
  readonly revision: number;
  readonly kvs: readonly KeyValue[];
  /** Whether the limit cut something off. */
  readonly more: boolean;
  /** Keys in the range, regardless of limit and filters. */
  readonly count: number;
}

export interface PutOptions extends WaitOptions {
  /** Attach to this lease: the key goes when the lease does. @defaultValue none, and detached */
  readonly lease?: bigint;
  /** Also return what the key held before. */
  readonly previous?: boolean;
  /** Keep the value (pass an empty one) or the lease that the key has. */
  readonly ignoreValue?: boolean;
  readonly ignoreLease?: boolean;
}
export interface PutResult {
  readonly revision: number;
  readonly previous?: KeyValue | undefined;
}

export interface DeleteOptions extends WaitOptions {
  readonly previous?: boolean;
}
export interface DeleteResult {
  readonly revision: number;
  readonly deleted: number;
  readonly previous: readonly KeyValue[];
}

/** A condition of a transaction. On a range, every key in it must satisfy the condition. */
export interface Compare {
  readonly key: KeyRange;
  readonly target: 'version' | 'create' | 'mod' | 'value' | 'lease';
  readonly is: '=' | '!=' | '<' | '>';
  /** A number for version and revisions (0: the key does not exist), bytes for value, bigint for lease. */
  readonly to: number | bigint | BytesLike;
}

/** A step of a transaction. */
export type Op =
  | ({ readonly op: 'put'; readonly key: BytesLike; readonly value: BytesLike } & Omit<
      PutOptions,
      'signal'
    >)
  | ({ readonly op: 'delete'; readonly key: KeyRange } & Omit<DeleteOptions, 'signal'>)
  | ({ readonly op: 'range'; readonly key: KeyRange } & Omit<
      RangeOptions,
      'signal' | 'serializable'
    >)
  | ({ readonly op: 'txn' } & Txn);

/** All conditions hold: the `then` steps run; otherwise the `else` steps. One revision for all of it. */
export interface Txn {
  readonly if?: readonly Compare[];
  readonly then?: readonly Op[];
  readonly else?: readonly Op[];
}
export interface TxnResult {
  readonly revision: number;
  readonly succeeded: boolean;
  /** One result a step, in order. */
  readonly results: readonly OpResult[];
}
export type OpResult =
  | ({ readonly op: 'put' } & PutResult)
  | ({ readonly op: 'delete' } & DeleteResult)
  | ({ readonly op: 'range' } & RangeResult)
  | ({ readonly op: 'txn' } & TxnResult);

export interface WatchOptions extends WaitOptions {
  /** First revision to deliver. @defaultValue the one after the watch was created */
  readonly fromRevision?: number;
  /** Also deliver what each key held before the change. */
  readonly previous?: boolean;
  /** Leave out puts, or deletes. */
  readonly without?: 'put' | 'delete';
  /** Let one revision with very many events arrive in several batches. */
  readonly fragment?: boolean;
  /** Deliver an empty batch now and then while nothing changes, to show how far the watch is. */
  readonly progress?: boolean;
}
export interface WatchEvent {
  readonly type: 'put' | 'delete';
  /** For a delete only `key` and `modRevision` say something. */
  readonly kv: KeyValue;
  /** With `previous`: absent for a create, and where it was compacted away. */
  readonly previous?: KeyValue | undefined;
}
/** Changes in revision order. Never a part of a revision, unless `fragment` was asked for. */
export interface WatchBatch {
  /** All changes up to this revision have been delivered (not so while `fragment` is true). */
  readonly revision: number;
  /** Empty for a progress notice. */
  readonly events: readonly WatchEvent[];
  readonly fragment: boolean;
}

/**
 * A running watch. Each event arrives once, in order, across reconnects and leader changes; leaving
 * the loop ends it. It ends with `ERR_COMPACTED` when its next revision is gone (list again and
 * watch from the list's revision). A slow reader holds up nobody: it is refilled from history.
 */
export interface Watch extends AsyncIterable<WatchBatch>, AsyncDisposable {
  /** Resolves when the store has accepted the watch, with the revision at that moment. */
  readonly created: Promise<number>;
  /** Asks for a batch without events that tells how far the watch is. */
  requestProgress(): void;
  close(): Promise<void>;
}

export interface Lease {
  readonly id: bigint;
  /** What the store granted, at least what it allows. */
  readonly ttlMs: number;
}
export interface LeaseInfo {
  /** Remaining life; negative: there is no such lease. */
  readonly remainingMs: number;
  readonly grantedMs: number;
  readonly keys: readonly Buffer[];
}

/**
 * A store. Linearizable unless a read says otherwise. A write that rejects with
 * `outcome: 'unknown'` may have happened; every other rejection means that it did not.
 */
export interface Kv extends AsyncDisposable {
  get(key: BytesLike, options?: ReadOptions): Promise<KeyValue | undefined>;
  range(range: KeyRange, options?: RangeOptions): Promise<RangeResult>;
  put(key: BytesLike, value: BytesLike, options?: PutOptions): Promise<PutResult>;
  delete(range: KeyRange, options?: DeleteOptions): Promise<DeleteResult>;
  txn(txn: Txn, options?: WaitOptions): Promise<TxnResult>;
  /** Drops history before `revision`, which stays readable itself. */
  compact(revision: number, options?: { readonly physical?: boolean } & WaitOptions): Promise<void>;
  watch(range: KeyRange, options?: WatchOptions): Watch;

  /** @param ttl at least one second is kept; whole seconds, rounded up. */
  grantLease(ttl: Duration, options?: { readonly id?: bigint } & WaitOptions): Promise<Lease>;
  /** Deletes the lease and its keys, in one revision. */
  revokeLease(id: bigint, options?: WaitOptions): Promise<void>;
  /** Starts the lease's life anew and returns it in ms; 0 or less: the lease is gone. */
  keepAlive(id: bigint, options?: WaitOptions): Promise<number>;
  leaseInfo(id: bigint, options?: { readonly keys?: boolean } & WaitOptions): Promise<LeaseInfo>;
  leases(options?: WaitOptions): Promise<readonly bigint[]>;

  close(): Promise<void>;
}
