/**
 * The messages of the etcd v3 API as TypeScript sees them: every field always present, zero where
 * the wire has none; `bytes` as latin1 strings, revisions and counts as numbers (below 2^53,
 * checked), ids of 64 bits as bigint. Field numbers live in `etcd.ts`.
 *
 * Source: etcd 3.6 `rpc.proto`, `kv.proto`, `raft_internal.proto` (Apache-2.0).
 */
import type { Bytes } from '../core/bytes.ts';

export interface ResponseHeader {
  clusterId: bigint;
  memberId: bigint;
  revision: number;
  raftTerm: number;
}

export interface KeyValueMessage {
  key: Bytes;
  createRevision: number;
  modRevision: number;
  version: number;
  value: Bytes;
  lease: bigint;
}

export const SortOrder = { none: 0, ascend: 1, descend: 2 } as const;
export const SortTarget = { key: 0, version: 1, create: 2, mod: 3, value: 4 } as const;

export interface RangeRequest {
  key: Bytes;
  rangeEnd: Bytes;
  limit: number;
  revision: number;
  sortOrder: number;
  sortTarget: number;
  serializable: boolean;
  keysOnly: boolean;
  countOnly: boolean;
  minModRevision: number;
  maxModRevision: number;
  minCreateRevision: number;
  maxCreateRevision: number;
}
export interface RangeResponse {
  header: ResponseHeader | undefined;
  kvs: KeyValueMessage[];
  more: boolean;
  count: number;
}

export interface PutRequest {
  key: Bytes;
  value: Bytes;
  lease: bigint;
  prevKv: boolean;
  ignoreValue: boolean;
  ignoreLease: boolean;
}
export interface PutResponse {
  header: ResponseHeader | undefined;
  prevKv: KeyValueMessage | undefined;
}

export interface DeleteRangeRequest {
  key: Bytes;
  rangeEnd: Bytes;
  prevKv: boolean;
}
export interface DeleteRangeResponse {
  header: ResponseHeader | undefined;
  deleted: number;
  prevKvs: KeyValueMessage[];
}

export const CompareResult = { equal: 0, greater: 1, less: 2, notEqual: 3 } as const;
export const CompareTarget = { version: 0, create: 1, mod: 2, value: 3, lease: 4 } as const;

/** `targetUnion`: which of the five was on the wire; the others are zero. */
export interface CompareMessage {
  result: number;
  target: number;
  key: Bytes;
  version: number;
  createRevision: number;
  modRevision: number;
  value: Bytes;
  lease: bigint;
  rangeEnd: Bytes;
}

/** A oneof: exactly one is set; none where the wire had an empty message. */
export interface RequestOp {
  requestRange: RangeRequest | undefined;
  requestPut: PutRequest | undefined;
  requestDeleteRange: DeleteRangeRequest | undefined;
  requestTxn: TxnRequest | undefined;
}
export interface ResponseOp {
  responseRange: RangeResponse | undefined;
  responsePut: PutResponse | undefined;
  responseDeleteRange: DeleteRangeResponse | undefined;
  responseTxn: TxnResponse | undefined;
}
export interface TxnRequest {
  compare: CompareMessage[];
  success: RequestOp[];
  failure: RequestOp[];
}
export interface TxnResponse {
  header: ResponseHeader | undefined;
  succeeded: boolean;
  responses: ResponseOp[];
}

export interface CompactionRequest {
  revision: number;
  physical: boolean;
}
export interface CompactionResponse {
  header: ResponseHeader | undefined;
}

export const EventType = { put: 0, delete: 1 } as const;
export interface EventMessage {
  type: number;
  kv: KeyValueMessage;
  prevKv: KeyValueMessage | undefined;
  /**
   * The event as bytes, where somebody has encoded it already (`encodeEventOnce`): what is sent to
   * many watchers is encoded once. Whoever changes the event must clear it.
   */
  encoded?: Buffer | undefined;
}

export const WatchFilter = { noPut: 0, noDelete: 1 } as const;
export interface WatchCreateRequest {
  key: Bytes;
  rangeEnd: Bytes;
  startRevision: number;
  progressNotify: boolean;
  filters: number[];
  prevKv: boolean;
  watchId: number;
  fragment: boolean;
}
export interface WatchCancelRequest {
  watchId: number;
}
export interface WatchProgressRequest {
  readonly _?: never;
}
export interface WatchRequest {
  createRequest: WatchCreateRequest | undefined;
  cancelRequest: WatchCancelRequest | undefined;
  progressRequest: WatchProgressRequest | undefined;
}
export interface WatchResponse {
  header: ResponseHeader;
  watchId: number;
  created: boolean;
  canceled: boolean;
  compactRevision: number;
  cancelReason: string;
  fragment: boolean;
  events: EventMessage[];
}

export interface LeaseGrantRequest {
  ttl: number;
  id: bigint;
}
export interface LeaseGrantResponse {
  header: ResponseHeader | undefined;
  id: bigint;
  ttl: number;
  error: string;
}
export interface LeaseRevokeRequest {
  id: bigint;
}
export interface LeaseRevokeResponse {
  header: ResponseHeader | undefined;
}
export interface LeaseKeepAliveRequest {
  id: bigint;
}
export interface LeaseKeepAliveResponse {
  header: ResponseHeader | undefined;
  id: bigint;
  ttl: number;
}
export interface LeaseTimeToLiveRequest {
  id: bigint;
  keys: boolean;
}
export interface LeaseTimeToLiveResponse {
  header: ResponseHeader | undefined;
  id: bigint;
  ttl: number;
  grantedTtl: number;
  keys: Bytes[];
}
export interface LeaseLeasesRequest {
  readonly _?: never;
}
export interface LeaseStatus {
  id: bigint;
}
export interface LeaseLeasesResponse {
  header: ResponseHeader | undefined;
  leases: LeaseStatus[];
}

export interface Member {
  id: bigint;
  name: string;
  peerUrls: string[];
  clientUrls: string[];
  isLearner: boolean;
}
export interface MemberListRequest {
  linearizable: boolean;
}
export interface MemberListResponse {
  header: ResponseHeader | undefined;
  members: Member[];
}

export interface MemberAddRequest {
  peerUrls: string[];
  isLearner: boolean;
}
export interface MemberAddResponse {
  header: ResponseHeader | undefined;
  member: Member | undefined;
  members: Member[];
}
export interface MemberRemoveRequest {
  id: bigint;
}
export interface MemberUpdateRequest {
  id: bigint;
  peerUrls: string[];
}
export interface MemberPromoteRequest {
  id: bigint;
}
/** Of a change: all members after it. */
export interface MemberRemoveResponse {
  header: ResponseHeader | undefined;
  members: Member[];
}
export interface MemberUpdateResponse extends MemberRemoveResponse {}
export interface MemberPromoteResponse extends MemberRemoveResponse {}

export interface StatusRequest {
  readonly _?: never;
}
export interface DowngradeInfo {
  enabled: boolean;
  targetVersion: string;
}
export interface StatusResponse {
  header: ResponseHeader | undefined;
  version: string;
  dbSize: number;
  leader: bigint;
  raftIndex: number;
  raftTerm: number;
  raftAppliedIndex: number;
  errors: string[];
  dbSizeInUse: number;
  isLearner: boolean;
  storageVersion: string;
  dbSizeQuota: number;
  downgradeInfo: DowngradeInfo | undefined;
}

export const AlarmAction = { get: 0, activate: 1, deactivate: 2 } as const;
export const AlarmType = { none: 0, noSpace: 1, corrupt: 2 } as const;
export interface AlarmRequest {
  action: number;
  memberId: bigint;
  alarm: number;
}
export interface AlarmMember {
  memberId: bigint;
  alarm: number;
}
export interface AlarmResponse {
  header: ResponseHeader | undefined;
  alarms: AlarmMember[];
}
export interface HashKvRequest {
  revision: number;
}
export interface HashKvResponse {
  header: ResponseHeader | undefined;
  hash: number;
  compactRevision: number;
  hashRevision: number;
}
export interface MoveLeaderRequest {
  targetId: bigint;
}
export interface MoveLeaderResponse {
  readonly _?: never;
}
export interface DefragmentRequest {
  readonly _?: never;
}
export interface DefragmentResponse {
  header: ResponseHeader | undefined;
}

/** What a log entry of the key-value store holds (`raft_internal.proto`): exactly one request. */
export interface InternalRaftRequest {
  /** Field 100; 0 where absent. */
  header: { id: bigint; username: string; authRevision: number } | undefined;
  put: PutRequest | undefined;
  deleteRange: DeleteRangeRequest | undefined;
  txn: TxnRequest | undefined;
  compaction: CompactionRequest | undefined;
  leaseGrant: LeaseGrantRequest | undefined;
  leaseRevoke: LeaseRevokeRequest | undefined;
  alarm: AlarmRequest | undefined;
  leaseCheckpoint: { checkpoints: { id: bigint; remainingTtl: number }[] } | undefined;
  clusterVersionSet: { ver: string } | undefined;
  clusterMemberAttrSet: { memberId: bigint; name: string; clientUrls: string[] } | undefined;
}

/** `grpc.health.v1`: how orchestrators ask whether a service answers. */
export const ServingStatus = { unknown: 0, serving: 1, notServing: 2, serviceUnknown: 3 } as const;
export interface HealthCheckRequest {
  service: string;
}
export interface HealthCheckResponse {
  status: number;
}
