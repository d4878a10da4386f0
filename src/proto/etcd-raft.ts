/**
 * The codec of what a log entry of the key-value store holds: one request of the etcd API.
 *
 * Source: etcd 3.6 `raft_internal.proto`, `membership.proto` (Apache-2.0).
 */

import { putRequest, requestHeader, zeroRequestHeader } from './etcd-hot.ts';
import { CompactionRequest, DeleteRangeRequest, PutRequest, TxnRequest } from './etcd-kv.ts';
import { LeaseGrantRequest, LeaseRevokeRequest } from './etcd-lease.ts';
import { AlarmRequest } from './etcd-maintenance.ts';
import { field, type HandWritten, type MessageType, messageType } from './message.ts';
import type * as pb from './messages.ts';
import { type Reader, varintSize, writeVarint } from './wire.ts';

type RaftRequest = pb.InternalRaftRequest;

type Header = NonNullable<RaftRequest['header']>;

/** Tag of the header: field 100, an embedded message. */
const HEADER_TAG = 0x322;

const RequestHeader = messageType<Header>(
  'etcdserverpb.RequestHeader',
  [
    field(1, 'id', 'id', { protoName: 'ID' }),
    field(2, 'username', 'string'),
    field(3, 'authRevision', 'uint64'),
  ],
  zeroRequestHeader,
  requestHeader,
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

// Not a oneof in etcd's schema, but an entry holds exactly one request.
const INTERNAL_FIELDS = [
  field(4, 'put', 'message', { oneof: true, message: () => PutRequest }),
  field(5, 'deleteRange', 'message', { oneof: true, message: () => DeleteRangeRequest }),
  field(6, 'txn', 'message', { oneof: true, message: () => TxnRequest }),
  field(7, 'compaction', 'message', { oneof: true, message: () => CompactionRequest }),
  field(8, 'leaseGrant', 'message', { oneof: true, message: () => LeaseGrantRequest }),
  field(9, 'leaseRevoke', 'message', { oneof: true, message: () => LeaseRevokeRequest }),
  field(10, 'alarm', 'message', { oneof: true, message: () => AlarmRequest }),
  field(11, 'leaseCheckpoint', 'message', { oneof: true, message: () => LeaseCheckpointRequest }),
  field(100, 'header', 'message', { message: () => RequestHeader }),
  field(1300, 'clusterVersionSet', 'message', {
    oneof: true,
    message: () => ClusterVersionSetRequest,
  }),
  field(1301, 'clusterMemberAttrSet', 'message', {
    oneof: true,
    message: () => ClusterMemberAttrSetRequest,
  }),
];

function zeroInternal(): RaftRequest {
  return {
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
  };
}

const anyInternal = messageType<RaftRequest>('', INTERNAL_FIELDS, zeroInternal);

/** Size of the header as it stands behind the request. */
function headerSize(header: Header | undefined): number {
  if (header === undefined) return 0;
  const size = requestHeader.size(header);
  return 2 + varintSize(size) + size;
}

function writeHeader(buffer: Buffer, position: number, header: Header | undefined): number {
  if (header === undefined) return position;
  let next = writeVarint(buffer, position, HEADER_TAG);
  next = writeVarint(buffer, next, requestHeader.size(header));
  return requestHeader.write(buffer, next, header);
}

/** Nearly every entry is a put: that is written by hand, the others go through the loops. */
const internalRaftRequest: HandWritten<RaftRequest> = {
  size(message) {
    const { put, header } = message;
    if (put === undefined) return anyInternal.size(message);
    const size = putRequest.size(put);
    return 1 + varintSize(size) + size + headerSize(header);
  },
  write(buffer, position, message) {
    const { put, header } = message;
    if (put === undefined) return anyInternal.encodeTo(buffer, position, message);
    buffer[position] = 0x22;
    const next = writeVarint(buffer, position + 1, putRequest.size(put));
    return writeHeader(buffer, putRequest.write(buffer, next, put), header);
  },
  merge(reader, message) {
    // A put stands first and the header behind it; anything else is left to the loops.
    if (reader.buffer[reader.position] === 0x22 && reader.position < reader.end) {
      reader.position++;
      message.put ??= PutRequest.create();
      const outerEnd = reader.enter();
      putRequest.merge(reader, message.put);
      reader.leave(outerEnd);
      readHeader(reader, message);
    }
    if (reader.position < reader.end) anyInternal.merge(reader, message);
  },
};

function readHeader(reader: Reader, message: RaftRequest): void {
  const { buffer, position, end } = reader;
  if (end - position < 2 || buffer[position] !== 0xa2 || buffer[position + 1] !== 0x06) return;
  reader.position += 2;
  message.header ??= zeroRequestHeader();
  const outerEnd = reader.enter();
  requestHeader.merge(reader, message.header);
  reader.leave(outerEnd);
}

export const InternalRaftRequest = messageType<RaftRequest>(
  'etcdserverpb.InternalRaftRequest',
  INTERNAL_FIELDS,
  zeroInternal,
  internalRaftRequest,
);
