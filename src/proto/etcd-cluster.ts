/**
 * Codecs of the service Cluster.
 *
 * Source: etcd 3.6 `rpc.proto` (Apache-2.0).
 */
import { ResponseHeader } from './etcd-kv.ts';
import { field, type MessageType, messageType } from './message.ts';
import type * as pb from './messages.ts';

export const Member: MessageType<pb.Member> = messageType(
  'etcdserverpb.Member',
  [
    field(1, 'id', 'id', { protoName: 'ID' }),
    field(2, 'name', 'string'),
    field(3, 'peerUrls', 'string', { protoName: 'peerURLs', repeated: true }),
    field(4, 'clientUrls', 'string', { protoName: 'clientURLs', repeated: true }),
    field(5, 'isLearner', 'bool', { protoName: 'isLearner' }),
  ],
  () => ({ id: 0n, name: '', peerUrls: [], clientUrls: [], isLearner: false }),
);

export const MemberListRequest: MessageType<pb.MemberListRequest> = messageType(
  'etcdserverpb.MemberListRequest',
  [field(1, 'linearizable', 'bool')],
  () => ({ linearizable: false }),
);

export const MemberListResponse: MessageType<pb.MemberListResponse> = messageType(
  'etcdserverpb.MemberListResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'members', 'message', { repeated: true, message: () => Member }),
  ],
  () => ({ header: undefined, members: [] }),
);

export const MemberAddRequest: MessageType<pb.MemberAddRequest> = messageType(
  'etcdserverpb.MemberAddRequest',
  [
    field(1, 'peerUrls', 'string', { protoName: 'peerURLs', repeated: true }),
    field(2, 'isLearner', 'bool', { protoName: 'isLearner' }),
  ],
  () => ({ peerUrls: [], isLearner: false }),
);

export const MemberAddResponse: MessageType<pb.MemberAddResponse> = messageType(
  'etcdserverpb.MemberAddResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'member', 'message', { message: () => Member }),
    field(3, 'members', 'message', { repeated: true, message: () => Member }),
  ],
  () => ({ header: undefined, member: undefined, members: [] }),
);

export const MemberRemoveRequest: MessageType<pb.MemberRemoveRequest> = messageType(
  'etcdserverpb.MemberRemoveRequest',
  [field(1, 'id', 'id', { protoName: 'ID' })],
  () => ({ id: 0n }),
);

export const MemberRemoveResponse: MessageType<pb.MemberRemoveResponse> = messageType(
  'etcdserverpb.MemberRemoveResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'members', 'message', { repeated: true, message: () => Member }),
  ],
  () => ({ header: undefined, members: [] }),
);

export const MemberUpdateRequest: MessageType<pb.MemberUpdateRequest> = messageType(
  'etcdserverpb.MemberUpdateRequest',
  [
    field(1, 'id', 'id', { protoName: 'ID' }),
    field(2, 'peerUrls', 'string', { protoName: 'peerURLs', repeated: true }),
  ],
  () => ({ id: 0n, peerUrls: [] }),
);

export const MemberUpdateResponse: MessageType<pb.MemberUpdateResponse> = messageType(
  'etcdserverpb.MemberUpdateResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'members', 'message', { repeated: true, message: () => Member }),
  ],
  () => ({ header: undefined, members: [] }),
);

export const MemberPromoteRequest: MessageType<pb.MemberPromoteRequest> = messageType(
  'etcdserverpb.MemberPromoteRequest',
  [field(1, 'id', 'id', { protoName: 'ID' })],
  () => ({ id: 0n }),
);

export const MemberPromoteResponse: MessageType<pb.MemberPromoteResponse> = messageType(
  'etcdserverpb.MemberPromoteResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'members', 'message', { repeated: true, message: () => Member }),
  ],
  () => ({ header: undefined, members: [] }),
);
