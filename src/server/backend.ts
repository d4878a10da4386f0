/** What the server needs of a node besides its store. `src/node.ts` implements it. */
import type { WaitOptions } from '../core/abort.ts';
import type { Metric } from '../core/metric.ts';
import type { KvService } from '../kv/service.ts';
import type * as pb from '../proto/messages.ts';

/**
 * A node as `serveEtcd` serves it. `QuorateNode.backend` is one; another implementation puts the
 * etcd API in front of a store of yours.
 */
export interface NodeBackend {
  readonly kv: KvService;
  /** Version of the etcd API that is spoken, such as `3.6.16`. */
  readonly etcdVersion: string;
  /** Cluster, member, term and current revision of this node. */
  header(): pb.ResponseHeader;
  /** Whether a leader is known now. Calls that ask for one (`hasleader`) are refused without. */
  hasLeader(): boolean;
  /** Whether this member does not vote yet: most calls are refused then, as etcd does. */
  isLearner(): boolean;
  /** Of this member, as `etcdctl endpoint status` shows it. */
  status(): pb.StatusResponse;
  memberList(request: pb.MemberListRequest, options?: WaitOptions): Promise<pb.MemberListResponse>;
  memberAdd(request: pb.MemberAddRequest, options?: WaitOptions): Promise<pb.MemberAddResponse>;
  memberRemove(
    request: pb.MemberRemoveRequest,
    options?: WaitOptions,
  ): Promise<pb.MemberRemoveResponse>;
  memberUpdate(
    request: pb.MemberUpdateRequest,
    options?: WaitOptions,
  ): Promise<pb.MemberUpdateResponse>;
  memberPromote(
    request: pb.MemberPromoteRequest,
    options?: WaitOptions,
  ): Promise<pb.MemberPromoteResponse>;
  alarm(request: pb.AlarmRequest, options?: WaitOptions): Promise<pb.AlarmResponse>;
  hashKv(request: pb.HashKvRequest): Promise<pb.HashKvResponse>;
  moveLeader(request: pb.MoveLeaderRequest, options?: WaitOptions): Promise<pb.MoveLeaderResponse>;
  defragment(): Promise<void>;
  /** Rejects where the node cannot serve: no leader, read failed. */
  health(options: { readonly serializable: boolean } & WaitOptions): Promise<void>;
  /** What `/metrics` shows besides the server's own figures. */
  metrics(): readonly Metric[];
}
