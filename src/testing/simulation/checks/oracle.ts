/**
 * What the chosen history means: one more store, fed entry by entry, that has no process, no disk and
 * no peers. It knows what every key held at every revision and every event in order, so that what
 * clients are told can be held against it at once.
 */
import type { Entry } from '../../../consensus/types.ts';
import { EntryType } from '../../../consensus/types.ts';
import type { Clock } from '../../../core/clock.ts';
import { KvStore } from '../../../kv/store.ts';
import { InternalRaftRequest, WatchCreateRequest, WatchRequest } from '../../../proto/etcd.ts';
import * as pb from '../../../proto/messages.ts';

/** A change of one key. Keys and values are byte strings (latin1). */
export interface OracleEvent {
  readonly revision: number;
  readonly type: 'put' | 'delete';
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly version: number;
  readonly lease: bigint;
}

/** What may be told of as it is chosen. */
export interface OracleListener {
  event?(event: OracleEvent): void;
  leaseGranted?(id: bigint, ttlSeconds: number): void;
  leaseRevoked?(id: bigint): void;
}

/** Leases run out by leaders' clocks; this store has none to ask. */
const NO_CLOCK: Clock = {
  now: () => 0,
  wallNow: () => 0,
  after: () => () => undefined,
  every: () => () => undefined,
};

/** A watch of all keys. */
const EVERYTHING = WatchRequest.create({
  createRequest: WatchCreateRequest.create({ key: '\0', rangeEnd: '\0' }),
});

/** A state machine beside the cluster, fed with what was chosen. */
export interface HistoryOracle {
  /** The next entry of the chosen history. */
  apply(entry: Entry): void;
  /** Of the whole history, to compare with a node that has applied as much. */
  hash(): number;
}

export class Oracle implements HistoryOracle {
  /** All events, in order. */
  readonly events: OracleEvent[];
  readonly #store: KvStore;
  readonly #byKey: Map<string, OracleEvent[]>;
  readonly #listeners: OracleListener[];

  /** @param minLeaseTtlSeconds as the nodes have it */
  constructor(minLeaseTtlSeconds: number) {
    this.events = [];
    this.#store = new KvStore({ clock: NO_CLOCK, minLeaseTtlSeconds });
    this.#byKey = new Map();
    this.#listeners = [];
    const stream = this.#store.openWatchStream(
      {
        response: (response) => {
          for (const event of response.events) this.#record(event);
          return true;
        },
        end: () => undefined,
      },
      () => ({ clusterId: 0n, memberId: 0n, revision: this.#store.revision, raftTerm: 0 }),
    );
    stream.request(EVERYTHING);
  }

  listen(listener: OracleListener): void {
    this.#listeners.push(listener);
  }

  get revision(): number {
    return this.#store.revision;
  }

  get compactRevision(): number {
    return this.#store.compactRevision;
  }

  /** Ids of the leases that live, in order. */
  leases(): readonly bigint[] {
    return [...this.#store.lessor.ids()].sort((a, b) => (a < b ? -1 : 1));
  }

  /** Of the whole history, to compare with a node that has applied as much. */
  hash(): number {
    return this.#store.hashKv(0).hash;
  }

  /** The next entry of the chosen history. */
  apply(entry: Entry): void {
    if (entry.type !== EntryType.normal || entry.data.length === 0) return;
    const request = InternalRaftRequest.decode(entry.data);
    const result = this.#store.applyRequest(request, entry.index);
    this.#store.flushWatches();
    if (result.error !== undefined) return;
    for (const listener of this.#listeners) {
      if (request.leaseGrant !== undefined) {
        listener.leaseGranted?.(request.leaseGrant.id, result.leaseGrant!.ttl);
      }
      if (request.leaseRevoke !== undefined) listener.leaseRevoked?.(request.leaseRevoke.id);
    }
  }

  /** The last change of `key` up to `revision`. */
  lastChange(key: string, revision: number): OracleEvent | undefined {
    const changes = this.#byKey.get(key);
    if (changes === undefined) return undefined;
    let at = changes.length - 1;
    while (at >= 0 && changes[at]!.revision > revision) at -= 1;
    return changes[at];
  }

  /** What `key` held at `revision`; `undefined` where it did not exist. */
  valueAt(key: string, revision: number): OracleEvent | undefined {
    const change = this.lastChange(key, revision);
    return change?.type === 'put' ? change : undefined;
  }

  /** Position in `events` of the first one that is not before `revision`. */
  firstAt(revision: number): number {
    let low = 0;
    let high = this.events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.events[middle]!.revision < revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #record({ type, kv }: pb.EventMessage): void {
    const event: OracleEvent = {
      revision: kv!.modRevision,
      type: type === pb.EventType.put ? 'put' : 'delete',
      key: kv!.key,
      value: kv!.value,
      createRevision: kv!.createRevision,
      version: kv!.version,
      lease: kv!.lease,
    };
    this.events.push(event);
    const changes = this.#byKey.get(event.key);
    if (changes === undefined) this.#byKey.set(event.key, [event]);
    else changes.push(event);
    for (const listener of this.#listeners) listener.event?.(event);
  }
}
