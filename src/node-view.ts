/** What a node shows of itself to clients and operators, and the little it does by itself. */

import type { Log } from './consensus/place.ts';
import type { ReplicaStatus } from './consensus/replica/options.ts';
import type { Replica } from './consensus/replica/replica.ts';
import { sleep, type WaitOptions } from './core/abort.ts';
import type { Cancel, Clock } from './core/clock.ts';
import { type Duration, durationMs } from './core/duration.ts';
import { QuorateError } from './core/errors.ts';
import { counter, gauge, type Metric } from './core/metric.ts';
import type { EmbeddedKv } from './kv/embedded.ts';
import type { KvService } from './kv/service.ts';
import type { ApplyResult, KvStore } from './kv/store.ts';
import { NodeMembers, nodeIdOf } from './node-members.ts';
import type * as pb from './proto/messages.ts';
import type { NodeBackend } from './server/backend.ts';
import { ETCD_VERSION } from './version.ts';

export interface NodeViewOptions {
  readonly replica: Replica<ApplyResult>;
  readonly store: KvStore;
  readonly service: EmbeddedKv;
  readonly clock: Clock;
  readonly name: string;
  readonly clientUrls: readonly string[];
  readonly quotaBytes: number;
  readonly autoCompaction:
    | { readonly mode: 'periodic' | 'revision'; readonly retention: string }
    | undefined;
  readonly log: Log | undefined;
}

/** Between two attempts to tell the cluster this node's name and client URLs. */
const PUBLISH_RETRY_MS = 500;
const REVISION_COMPACTION_MS = 300_000;

export class NodeView implements NodeBackend {
  readonly etcdVersion: string = ETCD_VERSION;
  readonly kv: KvService;
  readonly #options: NodeViewOptions;
  readonly #memberId: bigint;
  readonly #members: NodeMembers;
  #leaderChanges = 0;
  #lastLeader = '';
  #cancelCompaction: Cancel | undefined;
  readonly #stopping = new AbortController();

  constructor(options: NodeViewOptions) {
    this.#options = options;
    this.kv = options.service;
    this.#memberId = BigInt(`0x${options.replica.id}`);
    this.#members = new NodeMembers(options.replica, options.store, () => this.header());
  }

  start(): void {
    this.#lastLeader = this.#options.replica.leader;
    void this.#publish();
    this.#startCompaction();
  }

  stop(): void {
    this.#stopping.abort();
    this.#cancelCompaction?.();
  }

  changed(status: ReplicaStatus): void {
    if (status.leader === '' || status.leader === this.#lastLeader) return;
    this.#lastLeader = status.leader;
    this.#leaderChanges += 1;
  }

  header(): pb.ResponseHeader {
    return this.#options.service.header(0);
  }

  hasLeader(): boolean {
    return this.#options.replica.leader !== '';
  }

  isLearner(): boolean {
    const { replica } = this.#options;
    return replica.members.get(replica.id)?.learner === true;
  }

  status(): pb.StatusResponse {
    const { replica, store, quotaBytes } = this.#options;
    const status = replica.status();
    const size = store.sizeBytes();
    const errors = store.alarms().map(({ memberId, alarm }) => {
      return `memberID:${memberId} alarm:${alarm === 1 ? 'NOSPACE' : 'CORRUPT'} `;
    });
    if (status.leader === '') errors.unshift('etcdserver: no leader');
    return {
      header: this.header(),
      version: ETCD_VERSION,
      dbSize: size.total,
      leader: status.leader === '' ? 0n : BigInt(`0x${status.leader}`),
      raftIndex: status.commitIndex,
      raftTerm: status.term,
      raftAppliedIndex: status.appliedIndex,
      errors,
      dbSizeInUse: size.inUse,
      isLearner: this.isLearner(),
      storageVersion: `${ETCD_VERSION.split('.').slice(0, 2).join('.')}.0`,
      dbSizeQuota: quotaBytes,
      downgradeInfo: { enabled: false, targetVersion: '' },
    };
  }

  memberList(request: pb.MemberListRequest, options?: WaitOptions): Promise<pb.MemberListResponse> {
    return this.#members.list(request, options);
  }

  memberAdd(request: pb.MemberAddRequest, options?: WaitOptions): Promise<pb.MemberAddResponse> {
    return this.#members.add(request, options);
  }

  memberRemove(
    request: pb.MemberRemoveRequest,
    options?: WaitOptions,
  ): Promise<pb.MemberRemoveResponse> {
    return this.#members.remove(request, options);
  }

  memberUpdate(
    request: pb.MemberUpdateRequest,
    options?: WaitOptions,
  ): Promise<pb.MemberUpdateResponse> {
    return this.#members.update(request, options);
  }

  memberPromote(
    request: pb.MemberPromoteRequest,
    options?: WaitOptions,
  ): Promise<pb.MemberPromoteResponse> {
    return this.#members.promote(request, options);
  }

  async alarm(request: pb.AlarmRequest, options?: WaitOptions): Promise<pb.AlarmResponse> {
    const { service, store } = this.#options;
    if (request.action !== 0) {
      const result = await service.propose({ alarm: request }, options);
      return { ...result.alarm!, header: service.header(result.revision) };
    }
    await this.#options.replica.readBarrier(options);
    const wanted = store
      .alarms()
      .filter(({ alarm }) => request.alarm === 0 || alarm === request.alarm);
    return { header: this.header(), alarms: wanted };
  }

  async hashKv(request: pb.HashKvRequest): Promise<pb.HashKvResponse> {
    const hash = this.#options.store.hashKv(request.revision);
    return {
      header: this.header(),
      hash: hash.hash,
      compactRevision: hash.compactRevision,
      hashRevision: hash.hashRevision,
    };
  }

  async moveLeader(
    request: pb.MoveLeaderRequest,
    options?: WaitOptions,
  ): Promise<pb.MoveLeaderResponse> {
    await this.#options.replica.transferLeadership(nodeIdOf(request.targetId), options);
    return {};
  }

  async defragment(): Promise<void> {
    this.#options.store.defragment();
  }

  async health(options: { readonly serializable: boolean } & WaitOptions): Promise<void> {
    if (options.serializable) return;
    if (!this.hasLeader()) {
      throw new QuorateError('ERR_NO_LEADER', 'no leader is known', { retryable: true });
    }
    await this.#options.replica.readBarrier(options);
  }

  metrics(): readonly Metric[] {
    const { replica, store } = this.#options;
    const status = replica.status();
    const size = store.sizeBytes();
    return [
      gauge('etcd_server_has_leader', 'Whether a leader is known.', status.leader === '' ? 0 : 1),
      gauge('etcd_server_is_leader', 'Whether this node leads.', status.role === 'leader' ? 1 : 0),
      counter(
        'etcd_server_leader_changes_seen_total',
        'Changes of leader seen by this node.',
        this.#leaderChanges,
      ),
      counter('etcd_server_proposals_committed_total', 'Commit index.', status.commitIndex),
      counter('etcd_server_proposals_applied_total', 'Applied index.', status.appliedIndex),
      gauge(
        'etcd_server_proposals_pending',
        'Proposals without an answer yet.',
        replica.pendingProposals,
      ),
      gauge('etcd_mvcc_db_total_size_in_bytes', 'Bytes the store holds.', size.total),
      gauge('etcd_mvcc_db_total_size_in_use_in_bytes', 'Bytes in use.', size.inUse),
      gauge('etcd_debugging_mvcc_current_revision', 'Revision of the store.', store.revision),
      gauge(
        'etcd_debugging_mvcc_compact_revision',
        'Revision up to which history was dropped.',
        store.compactRevision,
      ),
      ...store.metrics(),
    ];
  }

  /** Tells the cluster this node's name and client URLs, through the log, as etcd members do. */
  async #publish(): Promise<void> {
    const { service, store, name, clientUrls, clock } = this.#options;
    const isKnown = (): boolean => {
      const known = store.members.get(this.#memberId);
      return known?.name === name && known.clientUrls.join() === clientUrls.join();
    };
    const { signal } = this.#stopping;
    // What timed out may have got through meanwhile.
    while (!signal.aborted && !isKnown()) {
      try {
        const attributes = { memberId: this.#memberId, name, clientUrls: [...clientUrls] };
        await service.propose({ clusterMemberAttrSet: attributes });
        return;
      } catch (error) {
        if (error instanceof QuorateError && error.code === 'ERR_CLOSED') return;
        await sleep(clock, PUBLISH_RETRY_MS, signal).catch(() => undefined);
      }
    }
  }

  // ---- automatic compaction -----------------------------------------------------------------

  #startCompaction(): void {
    const { autoCompaction, clock } = this.#options;
    if (autoCompaction === undefined || autoCompaction.retention === '0') return;
    if (autoCompaction.mode === 'revision') {
      const keep = Number(autoCompaction.retention);
      this.#cancelCompaction = clock.every(REVISION_COMPACTION_MS, () =>
        this.#compactTo(this.#options.store.revision - keep),
      );
      return;
    }
    this.#compactPeriodically(retentionMs(autoCompaction.retention));
  }

  /** Notes the revision ten times per retention; what was noted one retention ago is compacted to. */
  #compactPeriodically(keepMs: number): void {
    const noted: number[] = [];
    this.#cancelCompaction = this.#options.clock.every(Math.max(1000, keepMs / 10), () => {
      noted.push(this.#options.store.revision);
      if (noted.length > 10) this.#compactTo(noted.shift()!);
    });
  }

  #compactTo(revision: number): void {
    const { replica, service, store, log } = this.#options;
    if (!replica.leading || revision <= Math.max(1, store.compactRevision)) return;
    service.compact({ revision, physical: false }).then(
      () => log?.('info', `compacted to revision ${revision}`),
      (error) => log?.('warn', `compaction to revision ${revision} failed: ${error.message}`),
    );
  }
}

/** Throws `ERR_INVALID_ARGUMENT` where the retention cannot be meant. Before anything is opened. */
export function requireCompaction(autoCompaction: NodeViewOptions['autoCompaction']): void {
  if (autoCompaction === undefined || autoCompaction.retention === '0') return;
  const { mode, retention } = autoCompaction;
  if (mode === 'periodic') {
    retentionMs(retention);
    return;
  }
  const keep = Number(retention);
  if (Number.isSafeInteger(keep) && keep >= 1) return;
  throw new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `autoCompaction.retention: '${retention}' is no number of revisions`,
  );
}

/** etcd takes a bare number as hours. */
function retentionMs(retention: string): number {
  const text: Duration = /^\d+$/.test(retention) ? `${retention}h` : retention;
  return durationMs(text, 'autoCompaction.retention');
}
