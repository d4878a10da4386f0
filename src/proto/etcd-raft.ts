/**
 * The codec of what a log entry of the key-value store holds: one request of the etcd API.
 *
 * Source: etcd 3.6 `raft_internal.proto`, `membership.proto` (Apache-2.0).
 */
import { CompactionRequest, DeleteRangeRequest, PutRequest, TxnRequest } from './etcd-kv.ts';
import { LeaseGrantRequest, LeaseRevokeRequest } from './etcd-lease.ts';
import { AlarmRequest } from './etcd-maintenance.ts';
import { field, type MessageType, messageType } from './message.ts';
import type * as pb from './messages.ts';

type RaftRequest = pb.InternalRaftRequest;

const RequestHeader: MessageType<NonNullable<RaftRequest['header']>> = messageType(
  'etcdserverpb.RequestHeader',
  [
    field(1, 'id', 'id', { protoName: 'ID' }),
    field(2, 'username', 'string'),
    field(3, 'authRevision', 'uint64'),
  ],
  () => ({ id: 0n, username: '', authRevision: 0 }),
);

const LeaseCheckpoint: MessageType<
  NonNullable<RaftRequest['leaseCheckpoint']>['checkpoints'][number]
> = messageType(
  'etcdserverpb.LeaseCheckpoint',
  [
    field(1, 'id', 'lease', { protoName: 'ID' }),
    field(2, 'remainingTtl', 'int64', { protoName: 'remaining_TTL' }),
  ],
  () => ({ id: 0n, remainingTtl: 0 }),
);

const LeaseCheckpointRequest: MessageType<NonNullable<RaftRequest['leaseCheckpoint']>> =
  messageType(
    'etcdserverpb.LeaseCheckpointRequest',
    [field(1, 'checkpoints', 'message', { repeated: true, message: () => LeaseCheckpoint })],
    () => ({ checkpoints: [] }),
  );

const ClusterVersionSetRequest: MessageType<NonNullable<RaftRequest['clusterVersionSet']>> =
  messageType('membershippb.ClusterVersionSetRequest', [field(1, 'ver', 'string')], () => ({
    ver: '',
  }));

const Attributes: MessageType<{ name: string; clientUrls: string[] }> = messageType(
  'membershippb.Attributes',
  [field(1, 'name', 'string'), field(2, 'clientUrls', 'string', { repeated: true })],
  () => ({ name: '', clientUrls: [] }),
);

type MemberAttributes = NonNullable<RaftRequest['clusterMemberAttrSet']>;

interface NestedAttributes {
  memberId: bigint;
  memberAttributes: { name: string; clientUrls: string[] };
}

const NestedMemberAttributes: MessageType<NestedAttributes> = messageType(
  'membershippb.ClusterMemberAttrSetRequest',
  [
    field(1, 'memberId', 'id', { protoName: 'member_ID' }),
    field(2, 'memberAttributes', 'message', { message: () => Attributes }),
  ],
  () => ({ memberId: 0n, memberAttributes: { name: '', clientUrls: [] } }),
);

/** On the wire name and addresses sit in a message of their own. */
const ClusterMemberAttrSetRequest = messageType<MemberAttributes>(
  NestedMemberAttributes.name,
  NestedMemberAttributes.fields,
  () => ({ memberId: 0n, name: '', clientUrls: [] }),
  {
    size: (message) => NestedMemberAttributes.size(nested(message)),
    write: (buffer, position, message) =>
      NestedMemberAttributes.encodeTo(buffer, position, nested(message)),
    merge(reader, message) {
      const wire = nested(message);
      NestedMemberAttributes.merge(reader, wire);
      message.memberId = wire.memberId;
      message.name = wire.memberAttributes.name;
      message.clientUrls = wire.memberAttributes.clientUrls;
    },
  },
);

function nested(message: MemberAttributes): NestedAttributes {
  const { memberId, name, clientUrls } = message;
  return { memberId, memberAttributes: { name, clientUrls } };
}

export const InternalRaftRequest: MessageType<RaftRequest> = messageType(
  'etcdserverpb.InternalRaftRequest',
  [
    field(4, 'put', 'message', { message: () => PutRequest }),
    field(5, 'deleteRange', 'message', { message: () => DeleteRangeRequest }),
    field(6, 'txn', 'message', { message: () => TxnRequest }),
    field(7, 'compaction', 'message', { message: () => CompactionRequest }),
    field(8, 'leaseGrant', 'message', { message: () => LeaseGrantRequest }),
    field(9, 'leaseRevoke', 'message', { message: () => LeaseRevokeRequest }),
    field(10, 'alarm', 'message', { message: () => AlarmRequest }),
    field(11, 'leaseCheckpoint', 'message', { message: () => LeaseCheckpointRequest }),
    field(100, 'header', 'message', { message: () => RequestHeader }),
    field(1300, 'clusterVersionSet', 'message', { message: () => ClusterVersionSetRequest }),
    field(1301, 'clusterMemberAttrSet', 'message', { message: () => ClusterMemberAttrSetRequest }),
  ],
  () => ({
    header: undefined,
    put: undefined,
    deleteRange: undefined,
    txn: undefined,
    compaction: undefined,
    leaseGrant: undefined,
    leaseRevoke: undefined,
    alarm: undefined,
    leaseCheckpoint: undefined,
    clusterVersionSet: undefined,
    clusterMemberAttrSet: undefined,
  }),
);
