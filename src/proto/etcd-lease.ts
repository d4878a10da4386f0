/**
 * Codecs of the service Lease.
 *
 * Source: etcd 3.6 `rpc.proto` (Apache-2.0).
 */
import { ResponseHeader } from './etcd-kv.ts';
import { field, type MessageType, messageType } from './message.ts';
import type * as pb from './messages.ts';

export const LeaseGrantRequest: MessageType<pb.LeaseGrantRequest> = messageType(
  'etcdserverpb.LeaseGrantRequest',
  [field(1, 'ttl', 'int64', { protoName: 'TTL' }), field(2, 'id', 'lease', { protoName: 'ID' })],
  () => ({ ttl: 0, id: 0n }),
);

export const LeaseGrantResponse: MessageType<pb.LeaseGrantResponse> = messageType(
  'etcdserverpb.LeaseGrantResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'id', 'lease', { protoName: 'ID' }),
    field(3, 'ttl', 'int64', { protoName: 'TTL' }),
    field(4, 'error', 'string'),
  ],
  () => ({ header: undefined, id: 0n, ttl: 0, error: '' }),
);

export const LeaseRevokeRequest: MessageType<pb.LeaseRevokeRequest> = messageType(
  'etcdserverpb.LeaseRevokeRequest',
  [field(1, 'id', 'lease', { protoName: 'ID' })],
  () => ({ id: 0n }),
);

export const LeaseRevokeResponse: MessageType<pb.LeaseRevokeResponse> = messageType(
  'etcdserverpb.LeaseRevokeResponse',
  [field(1, 'header', 'message', { message: () => ResponseHeader })],
  () => ({ header: undefined }),
);

export const LeaseKeepAliveRequest: MessageType<pb.LeaseKeepAliveRequest> = messageType(
  'etcdserverpb.LeaseKeepAliveRequest',
  [field(1, 'id', 'lease', { protoName: 'ID' })],
  () => ({ id: 0n }),
);

export const LeaseKeepAliveResponse: MessageType<pb.LeaseKeepAliveResponse> = messageType(
  'etcdserverpb.LeaseKeepAliveResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'id', 'lease', { protoName: 'ID' }),
    field(3, 'ttl', 'int64', { protoName: 'TTL' }),
  ],
  () => ({ header: undefined, id: 0n, ttl: 0 }),
);

export const LeaseTimeToLiveRequest: MessageType<pb.LeaseTimeToLiveRequest> = messageType(
  'etcdserverpb.LeaseTimeToLiveRequest',
  [field(1, 'id', 'lease', { protoName: 'ID' }), field(2, 'keys', 'bool')],
  () => ({ id: 0n, keys: false }),
);

export const LeaseTimeToLiveResponse: MessageType<pb.LeaseTimeToLiveResponse> = messageType(
  'etcdserverpb.LeaseTimeToLiveResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'id', 'lease', { protoName: 'ID' }),
    field(3, 'ttl', 'int64', { protoName: 'TTL' }),
    field(4, 'grantedTtl', 'int64', { protoName: 'grantedTTL' }),
    field(5, 'keys', 'bytes', { repeated: true }),
  ],
  () => ({ header: undefined, id: 0n, ttl: 0, grantedTtl: 0, keys: [] }),
);

export const LeaseLeasesRequest: MessageType<pb.LeaseLeasesRequest> = messageType(
  'etcdserverpb.LeaseLeasesRequest',
  [],
  () => ({}),
);

export const LeaseStatus: MessageType<pb.LeaseStatus> = messageType(
  'etcdserverpb.LeaseStatus',
  [field(1, 'id', 'lease', { protoName: 'ID' })],
  () => ({ id: 0n }),
);

export const LeaseLeasesResponse: MessageType<pb.LeaseLeasesResponse> = messageType(
  'etcdserverpb.LeaseLeasesResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'leases', 'message', { repeated: true, message: () => LeaseStatus }),
  ],
  () => ({ header: undefined, leases: [] }),
);
