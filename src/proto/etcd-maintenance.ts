/**
 * Codecs of the service Maintenance, and of gRPC's health check.
 *
 * Source: etcd 3.6 `rpc.proto` (Apache-2.0), `grpc/health/v1/health.proto`.
 */
import { ResponseHeader } from './etcd-kv.ts';
import { field, type MessageType, messageType } from './message.ts';
import type * as pb from './messages.ts';

const ALARM_ACTIONS = ['GET', 'ACTIVATE', 'DEACTIVATE'];
const ALARM_TYPES = ['NONE', 'NOSPACE', 'CORRUPT'];
const SERVING_STATUSES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];

export const StatusRequest: MessageType<pb.StatusRequest> = messageType(
  'etcdserverpb.StatusRequest',
  [],
  () => ({}),
);

export const DowngradeInfo: MessageType<pb.DowngradeInfo> = messageType(
  'etcdserverpb.DowngradeInfo',
  [
    field(1, 'enabled', 'bool'),
    field(2, 'targetVersion', 'string', { protoName: 'targetVersion' }),
  ],
  () => ({ enabled: false, targetVersion: '' }),
);

export const StatusResponse: MessageType<pb.StatusResponse> = messageType(
  'etcdserverpb.StatusResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'version', 'string'),
    field(3, 'dbSize', 'int64', { protoName: 'dbSize' }),
    field(4, 'leader', 'id'),
    field(5, 'raftIndex', 'uint64', { protoName: 'raftIndex' }),
    field(6, 'raftTerm', 'uint64', { protoName: 'raftTerm' }),
    field(7, 'raftAppliedIndex', 'uint64', { protoName: 'raftAppliedIndex' }),
    field(8, 'errors', 'string', { repeated: true }),
    field(9, 'dbSizeInUse', 'int64', { protoName: 'dbSizeInUse' }),
    field(10, 'isLearner', 'bool', { protoName: 'isLearner' }),
    field(11, 'storageVersion', 'string', { protoName: 'storageVersion' }),
    field(12, 'dbSizeQuota', 'int64', { protoName: 'dbSizeQuota' }),
    field(13, 'downgradeInfo', 'message', {
      protoName: 'downgradeInfo',
      message: () => DowngradeInfo,
    }),
  ],
  () => ({
    header: undefined,
    version: '',
    dbSize: 0,
    leader: 0n,
    raftIndex: 0,
    raftTerm: 0,
    raftAppliedIndex: 0,
    errors: [],
    dbSizeInUse: 0,
    isLearner: false,
    storageVersion: '',
    dbSizeQuota: 0,
    downgradeInfo: undefined,
  }),
);

export const AlarmRequest: MessageType<pb.AlarmRequest> = messageType(
  'etcdserverpb.AlarmRequest',
  [
    field(1, 'action', 'enum', { values: ALARM_ACTIONS }),
    field(2, 'memberId', 'id', { protoName: 'memberID' }),
    field(3, 'alarm', 'enum', { values: ALARM_TYPES }),
  ],
  () => ({ action: 0, memberId: 0n, alarm: 0 }),
);

export const AlarmMember: MessageType<pb.AlarmMember> = messageType(
  'etcdserverpb.AlarmMember',
  [
    field(1, 'memberId', 'id', { protoName: 'memberID' }),
    field(2, 'alarm', 'enum', { values: ALARM_TYPES }),
  ],
  () => ({ memberId: 0n, alarm: 0 }),
);

export const AlarmResponse: MessageType<pb.AlarmResponse> = messageType(
  'etcdserverpb.AlarmResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'alarms', 'message', { repeated: true, message: () => AlarmMember }),
  ],
  () => ({ header: undefined, alarms: [] }),
);

export const HashKvRequest: MessageType<pb.HashKvRequest> = messageType(
  'etcdserverpb.HashKVRequest',
  [field(1, 'revision', 'int64')],
  () => ({ revision: 0 }),
);

export const HashKvResponse: MessageType<pb.HashKvResponse> = messageType(
  'etcdserverpb.HashKVResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'hash', 'uint32'),
    field(3, 'compactRevision', 'int64'),
    field(4, 'hashRevision', 'int64'),
  ],
  () => ({ header: undefined, hash: 0, compactRevision: 0, hashRevision: 0 }),
);

export const MoveLeaderRequest: MessageType<pb.MoveLeaderRequest> = messageType(
  'etcdserverpb.MoveLeaderRequest',
  [field(1, 'targetId', 'id', { protoName: 'targetID' })],
  () => ({ targetId: 0n }),
);

export const MoveLeaderResponse: MessageType<pb.MoveLeaderResponse> = messageType(
  'etcdserverpb.MoveLeaderResponse',
  [],
  () => ({}),
);

export const DefragmentRequest: MessageType<pb.DefragmentRequest> = messageType(
  'etcdserverpb.DefragmentRequest',
  [],
  () => ({}),
);

export const DefragmentResponse: MessageType<pb.DefragmentResponse> = messageType(
  'etcdserverpb.DefragmentResponse',
  [field(1, 'header', 'message', { message: () => ResponseHeader })],
  () => ({ header: undefined }),
);

export const HealthCheckRequest: MessageType<pb.HealthCheckRequest> = messageType(
  'grpc.health.v1.HealthCheckRequest',
  [field(1, 'service', 'string')],
  () => ({ service: '' }),
);

export const HealthCheckResponse: MessageType<pb.HealthCheckResponse> = messageType(
  'grpc.health.v1.HealthCheckResponse',
  [field(1, 'status', 'enum', { values: SERVING_STATUSES })],
  () => ({ status: 0 }),
);
