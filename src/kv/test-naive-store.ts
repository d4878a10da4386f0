/**
 * The rules of the store written down as plainly as possible, for tests to hold the real one
 * against: a list of all changes ever, from which every answer is worked out anew.
 */
import type * as pb from '../proto/messages.ts';
import { covers } from './watch-index.ts';

export interface NaiveChange {
  readonly kv: pb.KeyValueMessage;
  readonly deleted: boolean;
}

type State = Map<string, pb.KeyValueMessage>;

/** A refusal: the code alone. */
export class Refused extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

export class NaiveStore {
  readonly changes: NaiveChange[] = [];
  readonly leases = new Set<bigint>();
  revision = 1;
  compactRevision = -1;

  /** What every key held at `revision`. */
  stateAt(revision: number): State {
    const state: State = new Map();
    for (const { kv, deleted } of this.changes) {
      if (kv.modRevision > revision) break;
      if (deleted) state.delete(kv.key);
      else state.set(kv.key, kv);
    }
    return state;
  }

  select(state: State, key: string, rangeEnd: string): pb.KeyValueMessage[] {
    const found = [...state.values()].filter((kv) => covers({ key, rangeEnd }, kv.key));
    return found.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  range(request: pb.RangeRequest, visible = this.revision): pb.RangeResponse {
    const revision = request.revision > 0 ? request.revision : visible;
    if (revision > visible) throw new Refused('ERR_FUTURE_REVISION');
    if (revision < this.compactRevision) throw new Refused('ERR_COMPACTED');
    const all = this.select(this.stateAt(revision), request.key, request.rangeEnd);
    const count = all.length;
    if (request.countOnly) return { header: undefined, kvs: [], more: false, count };
    const within = (value: number, low: number, high: number): boolean => {
      return (low === 0 || value >= low) && (high === 0 || value <= high);
    };
    let kvs = all.filter(
      (kv) =>
        within(kv.modRevision, request.minModRevision, request.maxModRevision) &&
        within(kv.createRevision, request.minCreateRevision, request.maxCreateRevision),
    );
    const sorted = request.sortOrder !== 0 || kvs.length < all.length;
    const filters =
      request.minModRevision +
      request.maxModRevision +
      request.minCreateRevision +
      request.maxCreateRevision;
    if (!sorted && filters === 0 && request.limit > 0) kvs = kvs.slice(0, request.limit + 1);
    if (request.sortTarget === 4) kvs.sort((a, b) => (a.value < b.value ? -1 : 1));
    if (request.sortOrder === 2) kvs.reverse();
    const more = request.limit > 0 && kvs.length > request.limit;
    if (more) kvs = kvs.slice(0, request.limit);
    if (request.keysOnly) kvs = kvs.map((kv) => ({ ...kv, value: '' }));
    return { header: undefined, kvs, more, count };
  }

  put(request: pb.PutRequest): void {
    const { key, lease, ignoreLease, ignoreValue } = request;
    if (lease !== 0n && !this.leases.has(lease)) throw new Refused('ERR_LEASE_NOT_FOUND');
    if ((ignoreLease || ignoreValue) && !this.stateAt(this.revision).has(key)) {
      throw new Refused('ERR_KEY_NOT_FOUND');
    }
    this.#write(() => this.#put(request));
  }

  delete(request: pb.DeleteRangeRequest): number {
    return this.#write(() => this.#delete(request));
  }

  revoke(id: bigint): void {
    if (!this.leases.delete(id)) throw new Refused('ERR_LEASE_NOT_FOUND');
    const held = [...this.stateAt(this.revision).values()].filter((kv) => kv.lease === id);
    held.sort((a, b) => (a.key < b.key ? -1 : 1));
    this.#write(() => {
      for (const kv of held) this.#tombstone(kv.key);
    });
  }

  compact(revision: number): void {
    if (revision <= this.compactRevision) throw new Refused('ERR_COMPACTED');
    if (revision > this.revision) throw new Refused('ERR_FUTURE_REVISION');
    this.compactRevision = revision;
  }

  /** Answers what each step did, nested ones in place. */
  txn(request: pb.TxnRequest): unknown {
    const before = this.stateAt(this.revision);
    this.#check(request, before);
    return this.#write(() => this.#run(request, before));
  }

  #taken(request: pb.TxnRequest, before: State): boolean {
    return request.compare.every((compare) => {
      const kvs = this.select(before, compare.key, compare.rangeEnd);
      if (kvs.length === 0) return compare.target !== 3 && holds(compare, undefined);
      return kvs.every((kv) => holds(compare, kv));
    });
  }

  #check(request: pb.TxnRequest, before: State): void {
    for (const op of this.#taken(request, before) ? request.success : request.failure) {
      if (op.requestTxn !== undefined) this.#check(op.requestTxn, before);
      if (op.requestPut !== undefined) {
        const { key, lease, ignoreLease, ignoreValue } = op.requestPut;
        if ((ignoreLease || ignoreValue) && !before.has(key))
          throw new Refused('ERR_KEY_NOT_FOUND');
        if (lease !== 0n && !this.leases.has(lease)) throw new Refused('ERR_LEASE_NOT_FOUND');
      }
      const revision = op.requestRange?.revision ?? 0;
      if (revision > this.revision) throw new Refused('ERR_FUTURE_REVISION');
      if (revision !== 0 && revision < this.compactRevision) throw new Refused('ERR_COMPACTED');
    }
  }

  #run(request: pb.TxnRequest, before: State): unknown {
    const succeeded = this.#taken(request, before);
    const steps = (succeeded ? request.success : request.failure).map((op) => {
      if (op.requestTxn !== undefined) return this.#run(op.requestTxn, before);
      if (op.requestPut !== undefined) return this.#put(op.requestPut);
      if (op.requestDeleteRange !== undefined) return this.#delete(op.requestDeleteRange);
      return this.range(op.requestRange!, this.#visible());
    });
    return { succeeded, steps };
  }

  #visible(): number {
    const last = this.changes[this.changes.length - 1];
    return last === undefined ? this.revision : Math.max(this.revision, last.kv.modRevision);
  }

  #write<T>(work: () => T): T {
    const result = work();
    this.revision = this.#visible();
    return result;
  }

  #put(request: pb.PutRequest): undefined {
    const { key } = request;
    const old = this.stateAt(this.revision + 1).get(key);
    const modRevision = this.revision + 1;
    const kv = {
      key,
      createRevision: old?.createRevision ?? modRevision,
      modRevision,
      version: (old?.version ?? 0) + 1,
      value: (request.ignoreValue ? old?.value : undefined) ?? request.value,
      lease: (request.ignoreLease ? old?.lease : undefined) ?? request.lease,
    };
    this.changes.push({ kv, deleted: false });
  }

  #delete({ key, rangeEnd }: pb.DeleteRangeRequest): number {
    const victims = this.select(this.stateAt(this.revision + 1), key, rangeEnd);
    for (const kv of victims) this.#tombstone(kv.key);
    return victims.length;
  }

  #tombstone(key: string): void {
    const modRevision = this.revision + 1;
    const kv = { key, createRevision: 0, modRevision, version: 0, value: '', lease: 0n };
    this.changes.push({ kv, deleted: true });
  }
}

function holds(compare: pb.CompareMessage, kv: pb.KeyValueMessage | undefined): boolean {
  const [is, to] = [
    () => [kv?.version ?? 0, compare.version] as const,
    () => [kv?.createRevision ?? 0, compare.createRevision] as const,
    () => [kv?.modRevision ?? 0, compare.modRevision] as const,
    () => [kv?.value ?? '', compare.value] as const,
    () => [kv?.lease ?? 0n, compare.lease] as const,
  ][compare.target]!();
  return [is === to, is > to, is < to, is !== to][compare.result]!;
}
