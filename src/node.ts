/**
 * A node: one member of a durable quorum with the key-value store on it, inside this process.
 * Three processes that each open one form the cluster; `serveEtcd` makes it reachable for etcd clients.
 */
import { openReplica } from './consensus/open-replica.ts';
import { type ReplicaPlace, requirePlace } from './consensus/place.ts';
import type { MemberChange, MemberInfo } from './consensus/replica/member-change.ts';
import type { ReplicaStatus } from './consensus/replica/options.ts';
import type { Replica } from './consensus/replica/replica.ts';
import type { ReplicaSettings } from './consensus/replica/settings.ts';
import type { ReplicaSurroundings } from './consensus/surroundings.ts';
import type { WaitOptions } from './core/abort.ts';
import { systemClock } from './core/clock.ts';
import { QuorateError } from './core/errors.ts';
import { systemRandom } from './core/random.ts';
import { EmbeddedKv } from './kv/embedded.ts';
import type { Kv } from './kv/kv.ts';
import { kvOver } from './kv/kv-over.ts';
import { type ApplyResult, KvStore } from './kv/store.ts';
import { NodeView, requireCompaction } from './node-view.ts';
import type { NodeBackend } from './server/backend.ts';
import { leaderChange } from './telemetry/channels.ts';

/** Who a node is, where its data lives, and how it and its store behave. */
export interface NodeOptions
  extends ReplicaPlace,
    Partial<Omit<ReplicaSettings, 'maxProposalBytes'>> {
  /**
   * Where clients reach this node; shown to them in the member list. To be reached there, serve it:
   * `serveEtcd(node.backend, …)`. @defaultValue none
   */
  readonly clientUrls?: readonly string[] | undefined;
  /** Largest request, and so the largest proposal. @defaultValue 1.5 MiB */
  readonly maxRequestBytes?: number | undefined;
  /** Most operations in a transaction. @defaultValue 128 */
  readonly maxTxnOperations?: number | undefined;
  /** Bytes the store may hold; then writes are refused with `ERR_NO_SPACE`. @defaultValue 2 GiB; 0 or less: no limit */
  readonly quotaBytes?: number | undefined;
  /** How often quiet watches that ask for it are told how far they are. @defaultValue 10 minutes */
  readonly watchProgressIntervalMs?: number | undefined;
  /** Drops history by itself: older than `retention` (`'1h'`), or all but so many revisions (`'1000'`). @defaultValue off */
  readonly autoCompaction?:
    | { readonly mode: 'periodic' | 'revision'; readonly retention: string }
    | undefined;
  /** For simulations and tests. @defaultValue the clock, the disk and the network of this machine */
  readonly surroundings?: ReplicaSurroundings;
}

/** How a node stands: its part in the quorum, and its store. */
export interface NodeStatus extends ReplicaStatus {
  readonly name: string;
  /** 16 hex digits, made of the first nodes' peer URLs and the cluster token: the same on every node. */
  readonly clusterId: string;
  /** The store's revision on this node. */
  readonly revision: number;
  /** What the store holds, as etcd counts its database: freed space included until a defragmentation. */
  readonly storeBytes: number;
}

/** A running node. */
export interface QuorateNode extends AsyncDisposable {
  /** The store: without a network hop where this node leads. */
  readonly kv: Kv;
  /** For `serveEtcd`. */
  readonly backend: NodeBackend;
  /**
   * Resolves with the reason when the node stops itself: its disk failed, an invariant broke, or it was
   * removed from the cluster (`ERR_CLOSED`).
   */
  readonly failed: Promise<Error>;
  /** How this node stands now. No I/O. */
  status(): NodeStatus;
  /** Who belongs to the cluster, as far as this node has applied the log. A name is empty until its node ran. */
  members(): readonly MemberInfo[];
  /**
   * Changes who belongs to the cluster, on any node; see `Replica.changeMembers` for what is refused. A
   * member that was added is then opened with `join`.
   *
   * @example
   * ```ts
   * await node.changeMembers([
   *   { kind: 'add', member: { peerUrls: ['http://10.0.0.4:2380'], learner: true } },
   * ]);
   * ```
   */
  changeMembers(
    changes: readonly MemberChange[],
    options?: WaitOptions,
  ): Promise<readonly MemberInfo[]>;
  /**
   * Resolves when the node can serve: a leader is known and this node holds all that was committed.
   * Waits as long as that takes; rejects with the signal's reason, or `ERR_CLOSED`.
   */
  ready(options?: { readonly signal?: AbortSignal }): Promise<void>;
  /** Hands leadership over if it can, then lets go of disk and network. Idempotent. */
  close(): Promise<void>;
}

const DEFAULT_QUOTA_BYTES = 2 * 1024 ** 3;
const DEFAULT_PROGRESS_MS = 600_000;

/**
 * Opens a node on its data folder and joins the cluster that `peers` names.
 *
 * Resolves when the folder is read and the node listens to its peers; operations wait for a leader
 * by themselves. Rejects with `ERR_INVALID_ARGUMENT`, `ERR_DATA_DIR_LOCKED`,
 * `ERR_DATA_DIR_MISMATCH`, `ERR_CORRUPT` or `ERR_ADDRESS_IN_USE`, with `join` also with `ERR_UNAVAILABLE`
 * (no member answers) or `ERR_MEMBER_NOT_FOUND` (it was not added); nothing stays open then.
 *
 * @example
 * ```ts
 * await using node = await openNode({
 *   name: 'a',
 *   peers: { a: 'http://10.0.0.1:2380', b: 'http://10.0.0.2:2380', c: 'http://10.0.0.3:2380' },
 *   dataDir: '/var/lib/quorate',
 * });
 * await node.kv.put('greeting', 'hello');
 * ```
 */
export async function openNode(options: NodeOptions): Promise<QuorateNode> {
  requirePlace(options);
  requireCompaction(options.autoCompaction);
  const { clock = systemClock, random = systemRandom } = options.surroundings ?? {};
  const maxRequestBytes = options.maxRequestBytes ?? 1.5 * 1024 * 1024;
  const electionMs = options.electionMs ?? 1000;
  const store = new KvStore({
    clock,
    minLeaseTtlSeconds: Math.ceil((1.5 * electionMs) / 1000),
    progressNotifyMs: options.watchProgressIntervalMs ?? DEFAULT_PROGRESS_MS,
    maxRequestBytes,
  });
  const failed = Promise.withResolvers<Error>();
  const tellLeader = leaderTeller();
  const parts: { service?: EmbeddedKv; view?: NodeView } = {};
  const opened = await openReplica<ApplyResult>({
    ...options,
    // As in etcd it bounds the entry, which holds a header besides the request.
    maxProposalBytes: maxRequestBytes,
    machine: store,
    events: {
      onApplied: () => parts.service?.events.onApplied?.(),
      onLeading: (leading) => parts.service?.events.onLeading?.(leading),
      onCall: async (method, payload) => {
        if (parts.service !== undefined) return parts.service.events.onCall!(method, payload);
        throw new QuorateError('ERR_UNAVAILABLE', 'this node is starting', { retryable: true });
      },
      onChange: (status) => {
        options.log?.(
          'info',
          `${status.role} in term ${status.term}, leader ${status.leader || 'unknown'}`,
        );
        tellLeader(status);
        parts.view?.changed(status);
      },
      onFailed: (error) => {
        options.log?.('error', `the node stops: ${error.message}`);
        failed.resolve(error);
      },
      onRemoved: () => {
        const text = 'this node was removed from the cluster; its data are of no more use';
        options.log?.('warn', text);
        failed.resolve(new QuorateError('ERR_CLOSED', text));
      },
      isStarted: (member) => (store.members.get(BigInt(`0x${member}`))?.name ?? '') !== '',
    },
  });
  const { replica, nodeId, clusterId } = opened;
  const service = new EmbeddedKv(store, {
    clock,
    random,
    clusterId: BigInt(`0x${clusterId}`),
    memberId: BigInt(`0x${nodeId}`),
    maxTxnOperations: options.maxTxnOperations ?? 128,
    quotaBytes: Math.max(0, options.quotaBytes ?? DEFAULT_QUOTA_BYTES),
    requestTimeoutMs: replica.settings.requestTimeoutMs,
    electionMs,
  });
  parts.service = service;
  service.attach(replica);
  const view = new NodeView({
    replica,
    store,
    service,
    clock,
    name: options.name,
    clientUrls: options.clientUrls ?? [],
    quotaBytes: options.quotaBytes ?? DEFAULT_QUOTA_BYTES,
    autoCompaction: options.autoCompaction,
    log: options.log,
  });
  parts.view = view;
  view.start();
  return new Node(replica, store, service, view, options.name, clusterId, failed.promise);
}

class Node implements QuorateNode {
  readonly kv: Kv;
  readonly backend: NodeBackend;
  readonly failed: Promise<Error>;
  readonly #replica: Replica<ApplyResult>;
  readonly #store: KvStore;
  readonly #service: EmbeddedKv;
  readonly #view: NodeView;
  readonly #name: string;
  readonly #clusterId: string;
  #closing: Promise<void> | undefined;

  constructor(
    replica: Replica<ApplyResult>,
    store: KvStore,
    service: EmbeddedKv,
    view: NodeView,
    name: string,
    clusterId: string,
    failed: Promise<Error>,
  ) {
    this.kv = kvOver(service);
    this.backend = view;
    this.failed = failed;
    this.#replica = replica;
    this.#store = store;
    this.#service = service;
    this.#view = view;
    this.#name = name;
    this.#clusterId = clusterId;
  }

  status(): NodeStatus {
    return {
      ...this.#replica.status(),
      name: this.#name,
      clusterId: this.#clusterId,
      revision: this.#store.revision,
      storeBytes: this.#store.sizeBytes().total,
    };
  }

  members(): readonly MemberInfo[] {
    return this.#replica.members.list().map((member) => this.#named(member));
  }

  async changeMembers(
    changes: readonly MemberChange[],
    options: WaitOptions = {},
  ): Promise<readonly MemberInfo[]> {
    const members = await this.#replica.changeMembers(changes, options);
    return members.map((member) => this.#named(member));
  }

  /** Of a member that was added later the log knows no name: it told the store. */
  #named(member: MemberInfo): MemberInfo {
    const name = this.#store.members.get(BigInt(`0x${member.id}`))?.name ?? member.name;
    return { ...member, name };
  }

  async ready(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    for (;;) {
      try {
        return await this.#replica.readBarrier(options);
      } catch (error) {
        if (!(error instanceof QuorateError) || !error.retryable || error.code === 'ERR_CLOSED')
          throw error;
      }
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#view.stop();
    await this.kv.close();
    await this.#service.close();
    await this.#replica.close();
  }
}

/** Tells who listens when the leader is another one. */
function leaderTeller(): (status: ReplicaStatus) => void {
  let last = '';
  return ({ id, leader, term }) => {
    if (leader === last) return;
    last = leader;
    if (!leaderChange.hasSubscribers) return;
    leaderChange.publish({ member: id, leader: leader === '' ? undefined : leader, term });
  };
}
