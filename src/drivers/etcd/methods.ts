/**
 * The calls of the etcd v3 API as the client sees them: path, codecs, and what decides over
 * retries: whether a call may change something, and whether it needs a leader.
 */
import type { Bytes } from '../../core/bytes.ts';
import type { MessageType } from '../../proto/etcd.ts';
import * as codec from '../../proto/etcd.ts';
import type * as pb from '../../proto/messages.ts';
import { AuthenticateRequest, AuthenticateResponse } from './auth-messages.ts';

export interface Method<Q extends object, A extends object> {
  readonly path: string;
  readonly request: MessageType<Q>;
  readonly response: MessageType<A>;
  /** Whether it may change something: then it is sent again only where it surely was not done. */
  writes(request: Q): boolean;
  /** Whether a member that sees no leader should say so at once: it could not answer. */
  needsLeader(request: Q): boolean;
  /** The call and its key or id in words, for messages. */
  describe(request: Q): string;
}

const always = (): boolean => true;
const never = (): boolean => false;

/** Keys in messages: readable where they are, hex where not, and never long. */
function shownKey(key: Bytes): string {
  const text = key.length > 64 ? `${key.slice(0, 64)}…` : key;
  return /^[\x20-\x7e…]*$/.test(text) ? JSON.stringify(text) : `0x${hexOf(key.slice(0, 32))}`;
}

function hexOf(bytes: Bytes): string {
  let hex = '';
  for (let i = 0; i < bytes.length; i++) hex += bytes.charCodeAt(i).toString(16).padStart(2, '0');
  return hex;
}

function shownRange(key: Bytes, rangeEnd: Bytes): string {
  if (rangeEnd === '') return `key ${shownKey(key)}`;
  return `keys from ${shownKey(key)}${rangeEnd === '\0' ? '' : ` to ${shownKey(rangeEnd)}`}`;
}

/** Lease ids as etcdctl prints them. */
export function shownLease(id: bigint): string {
  return `lease ${BigInt.asUintN(64, id).toString(16)}`;
}

function opWrites(op: pb.RequestOp): boolean {
  if (op.requestTxn !== undefined) return txnWrites(op.requestTxn);
  return op.requestRange === undefined;
}
function txnWrites(txn: pb.TxnRequest): boolean {
  return txn.success.some(opWrites) || txn.failure.some(opWrites);
}
function shownTxn(txn: pb.TxnRequest): string {
  const first = txn.compare[0]?.key ?? firstKey(txn.success) ?? firstKey(txn.failure);
  return first === undefined ? 'txn' : `txn on key ${shownKey(first)}`;
}
function firstKey(ops: readonly pb.RequestOp[]): Bytes | undefined {
  const op = ops[0];
  return (op?.requestPut ?? op?.requestRange ?? op?.requestDeleteRange)?.key;
}

export const RANGE: Method<pb.RangeRequest, pb.RangeResponse> = {
  path: '/etcdserverpb.KV/Range',
  request: codec.RangeRequest,
  response: codec.RangeResponse,
  writes: never,
  needsLeader: (request) => !request.serializable,
  describe: ({ key, rangeEnd }) => `range of ${shownRange(key, rangeEnd)}`,
};
export const PUT: Method<pb.PutRequest, pb.PutResponse> = {
  path: '/etcdserverpb.KV/Put',
  request: codec.PutRequest,
  response: codec.PutResponse,
  writes: always,
  needsLeader: always,
  describe: ({ key }) => `put of key ${shownKey(key)}`,
};
export const DELETE_RANGE: Method<pb.DeleteRangeRequest, pb.DeleteRangeResponse> = {
  path: '/etcdserverpb.KV/DeleteRange',
  request: codec.DeleteRangeRequest,
  response: codec.DeleteRangeResponse,
  writes: always,
  needsLeader: always,
  describe: ({ key, rangeEnd }) => `delete of ${shownRange(key, rangeEnd)}`,
};
export const TXN: Method<pb.TxnRequest, pb.TxnResponse> = {
  path: '/etcdserverpb.KV/Txn',
  request: codec.TxnRequest,
  response: codec.TxnResponse,
  writes: txnWrites,
  needsLeader: always,
  describe: shownTxn,
};
export const COMPACT: Method<pb.CompactionRequest, pb.CompactionResponse> = {
  path: '/etcdserverpb.KV/Compact',
  request: codec.CompactionRequest,
  response: codec.CompactionResponse,
  writes: always,
  needsLeader: always,
  describe: ({ revision }) => `compaction at revision ${revision}`,
};

export const LEASE_GRANT: Method<pb.LeaseGrantRequest, pb.LeaseGrantResponse> = {
  path: '/etcdserverpb.Lease/LeaseGrant',
  request: codec.LeaseGrantRequest,
  response: codec.LeaseGrantResponse,
  writes: always,
  needsLeader: always,
  describe: ({ id, ttl }) => `grant of ${id === 0n ? 'a lease' : shownLease(id)} of ${ttl} s`,
};
export const LEASE_REVOKE: Method<pb.LeaseRevokeRequest, pb.LeaseRevokeResponse> = {
  path: '/etcdserverpb.Lease/LeaseRevoke',
  request: codec.LeaseRevokeRequest,
  response: codec.LeaseRevokeResponse,
  writes: always,
  needsLeader: always,
  describe: ({ id }) => `revocation of ${shownLease(id)}`,
};
export const LEASE_TIME_TO_LIVE: Method<pb.LeaseTimeToLiveRequest, pb.LeaseTimeToLiveResponse> = {
  path: '/etcdserverpb.Lease/LeaseTimeToLive',
  request: codec.LeaseTimeToLiveRequest,
  response: codec.LeaseTimeToLiveResponse,
  writes: never,
  needsLeader: always,
  describe: ({ id }) => `time to live of ${shownLease(id)}`,
};
export const LEASE_LEASES: Method<pb.LeaseLeasesRequest, pb.LeaseLeasesResponse> = {
  path: '/etcdserverpb.Lease/LeaseLeases',
  request: codec.LeaseLeasesRequest,
  response: codec.LeaseLeasesResponse,
  writes: never,
  needsLeader: always,
  describe: () => 'list of leases',
};
export const LEASE_KEEP_ALIVE_PATH = '/etcdserverpb.Lease/LeaseKeepAlive';
export const WATCH_PATH = '/etcdserverpb.Watch/Watch';

export const MEMBER_LIST: Method<pb.MemberListRequest, pb.MemberListResponse> = {
  path: '/etcdserverpb.Cluster/MemberList',
  request: codec.MemberListRequest,
  response: codec.MemberListResponse,
  writes: never,
  needsLeader: (request) => request.linearizable,
  describe: () => 'list of members',
};
export const MEMBER_ADD: Method<pb.MemberAddRequest, pb.MemberAddResponse> = {
  path: '/etcdserverpb.Cluster/MemberAdd',
  request: codec.MemberAddRequest,
  response: codec.MemberAddResponse,
  writes: always,
  needsLeader: always,
  describe: ({ peerUrls }) => `addition of a member at ${peerUrls.join()}`,
};
export const MEMBER_REMOVE: Method<pb.MemberRemoveRequest, pb.MemberRemoveResponse> = {
  path: '/etcdserverpb.Cluster/MemberRemove',
  request: codec.MemberRemoveRequest,
  response: codec.MemberRemoveResponse,
  writes: always,
  needsLeader: always,
  describe: ({ id }) => `removal of member ${id.toString(16)}`,
};
export const MEMBER_UPDATE: Method<pb.MemberUpdateRequest, pb.MemberUpdateResponse> = {
  path: '/etcdserverpb.Cluster/MemberUpdate',
  request: codec.MemberUpdateRequest,
  response: codec.MemberUpdateResponse,
  writes: always,
  needsLeader: always,
  describe: ({ id }) => `update of member ${id.toString(16)}`,
};
export const MEMBER_PROMOTE: Method<pb.MemberPromoteRequest, pb.MemberPromoteResponse> = {
  path: '/etcdserverpb.Cluster/MemberPromote',
  request: codec.MemberPromoteRequest,
  response: codec.MemberPromoteResponse,
  writes: always,
  needsLeader: always,
  describe: ({ id }) => `promotion of member ${id.toString(16)}`,
};
export const STATUS: Method<pb.StatusRequest, pb.StatusResponse> = {
  path: '/etcdserverpb.Maintenance/Status',
  request: codec.StatusRequest,
  response: codec.StatusResponse,
  writes: never,
  needsLeader: never,
  describe: () => 'status',
};
export const ALARM: Method<pb.AlarmRequest, pb.AlarmResponse> = {
  path: '/etcdserverpb.Maintenance/Alarm',
  request: codec.AlarmRequest,
  response: codec.AlarmResponse,
  writes: (request) => request.action !== 0,
  needsLeader: always,
  describe: (request) => (request.action === 0 ? 'list of alarms' : 'change of an alarm'),
};
export const HASH_KV: Method<pb.HashKvRequest, pb.HashKvResponse> = {
  path: '/etcdserverpb.Maintenance/HashKV',
  request: codec.HashKvRequest,
  response: codec.HashKvResponse,
  writes: never,
  needsLeader: never,
  describe: ({ revision }) => `hash of the keys at ${revision === 0 ? 'now' : revision}`,
};
export const MOVE_LEADER: Method<pb.MoveLeaderRequest, pb.MoveLeaderResponse> = {
  path: '/etcdserverpb.Maintenance/MoveLeader',
  request: codec.MoveLeaderRequest,
  response: codec.MoveLeaderResponse,
  writes: always,
  needsLeader: always,
  describe: ({ targetId }) => `move of the leadership to member ${targetId.toString(16)}`,
};
export const DEFRAGMENT: Method<pb.DefragmentRequest, pb.DefragmentResponse> = {
  path: '/etcdserverpb.Maintenance/Defragment',
  request: codec.DefragmentRequest,
  response: codec.DefragmentResponse,
  writes: always,
  needsLeader: never,
  describe: () => 'defragmentation',
};
/** Gives a token and changes nothing that matters: it may be repeated. */
export const AUTHENTICATE: Method<AuthenticateRequest, AuthenticateResponse> = {
  path: '/etcdserverpb.Auth/Authenticate',
  request: AuthenticateRequest,
  response: AuthenticateResponse,
  writes: never,
  needsLeader: always,
  describe: ({ username }) => `login of user ${JSON.stringify(username)}`,
};
