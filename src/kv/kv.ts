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

/**
 * One key, or all keys with a prefix, or `from` (inclusive) up to `to` (exclusive; absent: no end).
 * An empty prefix is every key; an empty key alone is refused with `ERR_EMPTY_KEY`.
 */
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

/** How to read. */
export interface ReadOptions extends WaitOptions {
  /**
   * Read the past: the state as of this revision. Rejects with `ERR_COMPACTED` where that is no
   * longer kept, with `ERR_FUTURE_REVISION` where it is yet to come. @defaultValue `0`: now
   */
  readonly revision?: number;
  /**
   * `true` answers from the contacted node at once, perhaps with old data, also without a quorum.
   * @defaultValue `false`: linearizable
   */
  readonly serializable?: boolean;
}

/** What to sort by: the key's bytes, its version, one of its revisions, or the value's bytes. */
export type SortTarget = 'key' | 'version' | 'create' | 'mod' | 'value';

/** How to read a range. The filters apply first, then the order, then the limit. */
export interface RangeOptions extends ReadOptions {
  /** At most this many keys. @defaultValue `0`: all */
  readonly limit?: number;
  /** @defaultValue `'key'` */
  readonly sortBy?: SortTarget;
  /** @defaultValue `'ascend'` */
  readonly order?: 'ascend' | 'descend';
  /** Leaves the values out: they come empty. @defaultValue `false` */
  readonly keysOnly?: boolean;
  /** Only `count` and `revision` are wanted; `kvs` is empty. @defaultValue `false` */
  readonly countOnly?: boolean;
  /** Only keys whose last put is not older. @defaultValue `0`: all */
  readonly minModRevision?: number;
  /** Only keys whose last put is not newer. @defaultValue `0`: all */
  readonly maxModRevision?: number;
  /** Only keys that were not created earlier. @defaultValue `0`: all */
  readonly minCreateRevision?: number;
  /** Only keys that were not created later. @defaultValue `0`: all */
  readonly maxCreateRevision?: number;
}

/** What a range holds. */
export interface RangeResult {
  /** The store's revision when it answered: watch from the one after it to miss nothing. */
  readonly revision: number;
  /** In the order asked for, by key if none was. */
  readonly kvs: readonly KeyValue[];
  /** Whether the limit cut something off. */
  readonly more: boolean;
  /** Keys in the range, regardless of limit and filters. */
  readonly count: number;
}

/** How to put. */
export interface PutOptions extends WaitOptions {
  /** Attach to this lease: the key goes when the lease does. @defaultValue none, and detached */
  readonly lease?: bigint;
  /** Also return what the key held before. @defaultValue `false` */
  readonly previous?: boolean;
  /** Keep the value that the key has; pass an empty one. @defaultValue `false` */
  readonly ignoreValue?: boolean;
  /** Keep the lease that the key has; pass none. @defaultValue `false` */
  readonly ignoreLease?: boolean;
}

/** What a put did. */
export interface PutResult {
  /** The revision of this put. */
  readonly revision: number;
  /** What the key held before; absent where it did not exist, or where it was not asked for. */
  readonly previous?: KeyValue | undefined;
}

/** How to delete. */
export interface DeleteOptions extends WaitOptions {
  /** Also return what was deleted. @defaultValue `false` */
  readonly previous?: boolean;
}

/** What a delete did. */
export interface DeleteResult {
  /** The revision of this delete; the store's, unmoved, where there was nothing to delete. */
  readonly revision: number;
  /** How many keys went. */
  readonly deleted: number;
  /** What they held, by key; empty unless it was asked for. */
  readonly previous: readonly KeyValue[];
}

/** A condition of a transaction. On a range, every key in it must satisfy the condition. */
export interface Compare {
  readonly key: KeyRange;
  /** What of the key is compared. */
  readonly target: 'version' | 'create' | 'mod' | 'value' | 'lease';
  readonly is: '=' | '!=' | '<' | '>';
  /** A number for version and revisions (0: the key does not exist), bytes for value, bigint for lease. */
  readonly to: number | bigint | BytesLike;
}

/** A step of a transaction. A `range` reads what the steps before it have written. */
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
  /** @defaultValue none: they all hold */
  readonly if?: readonly Compare[];
  /** @defaultValue none */
  readonly then?: readonly Op[];
  /** @defaultValue none */
  readonly else?: readonly Op[];
}

/** What a transaction did. */
export interface TxnResult {
  /** The revision of its writes; the store's, unmoved, where it wrote nothing. */
  readonly revision: number;
  /** Whether all conditions held, and so the `then` steps ran. */
  readonly succeeded: boolean;
  /** One result a step, in order. */
  readonly results: readonly OpResult[];
}

/** What a step of a transaction did. */
export type OpResult =
  | ({ readonly op: 'put' } & PutResult)
  | ({ readonly op: 'delete' } & DeleteResult)
  | ({ readonly op: 'range' } & RangeResult)
  | ({ readonly op: 'txn' } & TxnResult);

/** What to watch for. An aborted `signal` ends the watch at any time. */
export interface WatchOptions extends WaitOptions {
  /** First revision to deliver. @defaultValue `0`: the one after the watch was created */
  readonly fromRevision?: number;
  /** Also deliver what each key held before the change. @defaultValue `false` */
  readonly previous?: boolean;
  /** Leave out puts, or deletes. @defaultValue neither */
  readonly without?: 'put' | 'delete';
  /** Let one revision with very many events arrive in several batches. @defaultValue `false` */
  readonly fragment?: boolean;
  /**
   * Deliver an empty batch now and then while nothing changes, to show how far the watch is.
   * @defaultValue `false`
   */
  readonly progress?: boolean;
}

/** A change of one key. */
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
  /** More events of this revision follow in the next batch. */
  readonly fragment: boolean;
}

/**
 * A running watch. Each event arrives once, in order, across reconnects and leader changes; leaving
 * the loop ends it. It rejects with `ERR_COMPACTED` when its next revision is gone (list again and
 * watch from the revision after the list's), with `ERR_WATCH_CANCELED` when the store ended it, and
 * with the signal's reason when aborted. A slow reader holds up nobody: beyond a bounded number of
 * batches it is refilled from history.
 */
export interface Watch extends AsyncIterable<WatchBatch>, AsyncDisposable {
  /** Resolves when the store has accepted the watch, with the revision at that moment. */
  readonly created: Promise<number>;
  /** Asks for a batch without events that tells how far the watch is. */
  requestProgress(): void;
  /** Ends the watch and drops what was not read yet. Idempotent. */
  close(): Promise<void>;
}

/** A lease as it was granted. */
export interface Lease {
  readonly id: bigint;
  /** What the store granted: what was asked for, or its least if that is more. */
  readonly ttlMs: number;
}

/** A lease as it stands. */
export interface LeaseInfo {
  /** Remaining life in whole seconds; negative: there is no such lease. */
  readonly remainingMs: number;
  /** Full life; `0` where there is no such lease. */
  readonly grantedMs: number;
  /** The keys attached to it; empty unless they were asked for. */
  readonly keys: readonly Buffer[];
}

/**
 * A store. Linearizable unless a read says otherwise; a write resolves once it is durable on a
 * majority (where the store keeps anything at all).
 *
 * A write that rejects with `outcome: 'unknown'`, or with the reason of your signal, may have
 * happened; every other rejection means that it did not. Besides the codes named below every call
 * can reject with `ERR_INVALID_ARGUMENT`, `ERR_NO_LEADER`, `ERR_TIMEOUT`, `ERR_UNAVAILABLE`,
 * `ERR_BUSY` and, after `close`, `ERR_CLOSED`: see `docs/errors.md`.
 *
 * @example
 * ```ts
 * const { revision } = await kv.put('config/limit', '10');
 * const { succeeded } = await kv.txn({
 *   if: [{ key: 'config/limit', target: 'mod', is: '=', to: revision }],
 *   then: [{ op: 'put', key: 'config/limit', value: '20' }],
 * });
 * for await (const { events } of kv.watch({ prefix: 'config/' }, { fromRevision: revision })) {
 *   for (const event of events) console.log(event.type, event.kv.key.toString());
 * }
 * ```
 */
export interface Kv extends AsyncDisposable {
  /** One key, `undefined` where it does not exist. */
  get(key: BytesLike, options?: ReadOptions): Promise<KeyValue | undefined>;
  /** All keys of a range, in one answer: set a `limit` where they can be many. */
  range(range: KeyRange, options?: RangeOptions): Promise<RangeResult>;
  /**
   * Sets a key. Rejects with `ERR_EMPTY_KEY`, `ERR_LEASE_NOT_FOUND`, `ERR_REQUEST_TOO_LARGE`,
   * `ERR_NO_SPACE`, and with `ignoreValue` or `ignoreLease` with `ERR_KEY_NOT_FOUND`.
   */
  put(key: BytesLike, value: BytesLike, options?: PutOptions): Promise<PutResult>;
  /** Deletes all keys of a range, in one revision. No key there is no error. */
  delete(range: KeyRange, options?: DeleteOptions): Promise<DeleteResult>;
  /**
   * Decides and writes in one step: all or nothing, in one revision. Rejects as its steps do, and
   * with `ERR_TOO_MANY_OPERATIONS`, `ERR_DUPLICATE_KEY` (a key is put at most once).
   */
  txn(txn: Txn, options?: WaitOptions): Promise<TxnResult>;
  /**
   * Drops history before `revision`, which stays readable itself. `physical` waits until it is
   * gone from the store, too. Rejects with `ERR_COMPACTED`, `ERR_FUTURE_REVISION`.
   */
  compact(revision: number, options?: { readonly physical?: boolean } & WaitOptions): Promise<void>;
  /** Watches a range. Throws for arguments that cannot be; all else is told by the `Watch`. */
  watch(range: KeyRange, options?: WatchOptions): Watch;

  /**
   * Grants a lease, with an id of the store's choice unless `id` is given. It lives at least `ttl`,
   * longer across a change of leader. Rejects with `ERR_LEASE_EXISTS`, `ERR_LEASE_TTL_TOO_LARGE`.
   *
   * @param ttl whole seconds, rounded up; the store may raise it (by default to 2 s).
   */
  grantLease(ttl: Duration, options?: { readonly id?: bigint } & WaitOptions): Promise<Lease>;
  /** Deletes the lease and its keys, in one revision. Rejects with `ERR_LEASE_NOT_FOUND`. */
  revokeLease(id: bigint, options?: WaitOptions): Promise<void>;
  /** Starts the lease's life anew and returns it in ms; 0 or less: the lease is gone. */
  keepAlive(id: bigint, options?: WaitOptions): Promise<number>;
  /** How a lease stands. One that does not exist is no error: see `LeaseInfo.remainingMs`. */
  leaseInfo(id: bigint, options?: { readonly keys?: boolean } & WaitOptions): Promise<LeaseInfo>;
  /** The ids of all leases. */
  leases(options?: WaitOptions): Promise<readonly bigint[]>;

  /** Ends every watch and lets go of the store; leases live on. Idempotent. */
  close(): Promise<void>;
}
