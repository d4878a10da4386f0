/**
 * Codecs of the services KV and Watch.
 *
 * Source: etcd 3.6 `rpc.proto`, `kv.proto` (Apache-2.0).
 */
import * as hot from './etcd-hot.ts';
import * as hotWatch from './etcd-hot-watch.ts';
import { field, type MessageType, messageType } from './message.ts';
import type * as pb from './messages.ts';

const SORT_ORDERS = ['NONE', 'ASCEND', 'DESCEND'];
const SORT_TARGETS = ['KEY', 'VERSION', 'CREATE', 'MOD', 'VALUE'];
const COMPARE_RESULTS = ['EQUAL', 'GREATER', 'LESS', 'NOT_EQUAL'];
const COMPARE_TARGETS = ['VERSION', 'CREATE', 'MOD', 'VALUE', 'LEASE'];
const EVENT_TYPES = ['PUT', 'DELETE'];
const FILTERS = ['NOPUT', 'NODELETE'];

export const ResponseHeader: MessageType<pb.ResponseHeader> = messageType(
  'etcdserverpb.ResponseHeader',
  [
    field(1, 'clusterId', 'id'),
    field(2, 'memberId', 'id'),
    field(3, 'revision', 'int64'),
    field(4, 'raftTerm', 'uint64'),
  ],
  hot.zeroResponseHeader,
  hot.responseHeader,
);

export const KeyValue: MessageType<pb.KeyValueMessage> = messageType(
  'mvccpb.KeyValue',
  [
    field(1, 'key', 'bytes'),
    field(2, 'createRevision', 'int64'),
    field(3, 'modRevision', 'int64'),
    field(4, 'version', 'int64'),
    field(5, 'value', 'bytes'),
    field(6, 'lease', 'lease'),
  ],
  hot.zeroKeyValue,
  hot.keyValue,
);

export const RangeRequest: MessageType<pb.RangeRequest> = messageType(
  'etcdserverpb.RangeRequest',
  [
    field(1, 'key', 'bytes'),
    field(2, 'rangeEnd', 'bytes'),
    field(3, 'limit', 'int64'),
    field(4, 'revision', 'int64'),
    field(5, 'sortOrder', 'enum', { values: SORT_ORDERS }),
    field(6, 'sortTarget', 'enum', { values: SORT_TARGETS }),
    field(7, 'serializable', 'bool'),
    field(8, 'keysOnly', 'bool'),
    field(9, 'countOnly', 'bool'),
    field(10, 'minModRevision', 'int64'),
    field(11, 'maxModRevision', 'int64'),
    field(12, 'minCreateRevision', 'int64'),
    field(13, 'maxCreateRevision', 'int64'),
  ],
  () => ({
    key: '',
    rangeEnd: '',
    limit: 0,
    revision: 0,
    sortOrder: 0,
    sortTarget: 0,
    serializable: false,
    keysOnly: false,
    countOnly: false,
    minModRevision: 0,
    maxModRevision: 0,
    minCreateRevision: 0,
    maxCreateRevision: 0,
  }),
  hot.rangeRequest,
);

export const RangeResponse: MessageType<pb.RangeResponse> = messageType(
  'etcdserverpb.RangeResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'kvs', 'message', { repeated: true, message: () => KeyValue }),
    field(3, 'more', 'bool'),
    field(4, 'count', 'int64'),
  ],
  () => ({ header: undefined, kvs: [], more: false, count: 0 }),
  hot.rangeResponse,
);

export const PutRequest: MessageType<pb.PutRequest> = messageType(
  'etcdserverpb.PutRequest',
  [
    field(1, 'key', 'bytes'),
    field(2, 'value', 'bytes'),
    field(3, 'lease', 'lease'),
    field(4, 'prevKv', 'bool'),
    field(5, 'ignoreValue', 'bool'),
    field(6, 'ignoreLease', 'bool'),
  ],
  () => ({ key: '', value: '', lease: 0n, prevKv: false, ignoreValue: false, ignoreLease: false }),
  hot.putRequest,
);

export const PutResponse: MessageType<pb.PutResponse> = messageType(
  'etcdserverpb.PutResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'prevKv', 'message', { message: () => KeyValue }),
  ],
  () => ({ header: undefined, prevKv: undefined }),
  hot.putResponse,
);

export const DeleteRangeRequest: MessageType<pb.DeleteRangeRequest> = messageType(
  'etcdserverpb.DeleteRangeRequest',
  [field(1, 'key', 'bytes'), field(2, 'rangeEnd', 'bytes'), field(3, 'prevKv', 'bool')],
  () => ({ key: '', rangeEnd: '', prevKv: false }),
);

export const DeleteRangeResponse: MessageType<pb.DeleteRangeResponse> = messageType(
  'etcdserverpb.DeleteRangeResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'deleted', 'int64'),
    field(3, 'prevKvs', 'message', { repeated: true, message: () => KeyValue }),
  ],
  () => ({ header: undefined, deleted: 0, prevKvs: [] }),
);

export const RequestOp: MessageType<pb.RequestOp> = messageType(
  'etcdserverpb.RequestOp',
  [
    field(1, 'requestRange', 'message', { oneof: true, message: () => RangeRequest }),
    field(2, 'requestPut', 'message', { oneof: true, message: () => PutRequest }),
    field(3, 'requestDeleteRange', 'message', { oneof: true, message: () => DeleteRangeRequest }),
    field(4, 'requestTxn', 'message', { oneof: true, message: () => TxnRequest }),
  ],
  () => ({
    requestRange: undefined,
    requestPut: undefined,
    requestDeleteRange: undefined,
    requestTxn: undefined,
  }),
);

export const ResponseOp: MessageType<pb.ResponseOp> = messageType(
  'etcdserverpb.ResponseOp',
  [
    field(1, 'responseRange', 'message', { oneof: true, message: () => RangeResponse }),
    field(2, 'responsePut', 'message', { oneof: true, message: () => PutResponse }),
    field(3, 'responseDeleteRange', 'message', { oneof: true, message: () => DeleteRangeResponse }),
    field(4, 'responseTxn', 'message', { oneof: true, message: () => TxnResponse }),
  ],
  () => ({
    responseRange: undefined,
    responsePut: undefined,
    responseDeleteRange: undefined,
    responseTxn: undefined,
  }),
);

export const Compare: MessageType<pb.CompareMessage> = messageType(
  'etcdserverpb.Compare',
  [
    field(1, 'result', 'enum', { values: COMPARE_RESULTS }),
    field(2, 'target', 'enum', { values: COMPARE_TARGETS }),
    field(3, 'key', 'bytes'),
    field(4, 'version', 'int64', { oneof: true }),
    field(5, 'createRevision', 'int64', { oneof: true }),
    field(6, 'modRevision', 'int64', { oneof: true }),
    field(7, 'value', 'bytes', { oneof: true }),
    field(8, 'lease', 'lease', { oneof: true }),
    field(64, 'rangeEnd', 'bytes'),
  ],
  () => ({
    result: 0,
    target: 0,
    key: '',
    version: 0,
    createRevision: 0,
    modRevision: 0,
    value: '',
    lease: 0n,
    rangeEnd: '',
  }),
  hot.compare,
);

export const TxnRequest: MessageType<pb.TxnRequest> = messageType(
  'etcdserverpb.TxnRequest',
  [
    field(1, 'compare', 'message', { repeated: true, message: () => Compare }),
    field(2, 'success', 'message', { repeated: true, message: () => RequestOp }),
    field(3, 'failure', 'message', { repeated: true, message: () => RequestOp }),
  ],
  () => ({ compare: [], success: [], failure: [] }),
);

export const TxnResponse: MessageType<pb.TxnResponse> = messageType(
  'etcdserverpb.TxnResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'succeeded', 'bool'),
    field(3, 'responses', 'message', { repeated: true, message: () => ResponseOp }),
  ],
  () => ({ header: undefined, succeeded: false, responses: [] }),
);

export const CompactionRequest: MessageType<pb.CompactionRequest> = messageType(
  'etcdserverpb.CompactionRequest',
  [field(1, 'revision', 'int64'), field(2, 'physical', 'bool')],
  () => ({ revision: 0, physical: false }),
);

export const CompactionResponse: MessageType<pb.CompactionResponse> = messageType(
  'etcdserverpb.CompactionResponse',
  [field(1, 'header', 'message', { message: () => ResponseHeader })],
  () => ({ header: undefined }),
);

export const Event: MessageType<pb.EventMessage> = messageType(
  'mvccpb.Event',
  [
    field(1, 'type', 'enum', { values: EVENT_TYPES }),
    field(2, 'kv', 'message', { message: () => KeyValue }),
    field(3, 'prevKv', 'message', { message: () => KeyValue }),
  ],
  hotWatch.zeroEvent,
  hotWatch.event,
);

export const WatchCreateRequest: MessageType<pb.WatchCreateRequest> = messageType(
  'etcdserverpb.WatchCreateRequest',
  [
    field(1, 'key', 'bytes'),
    field(2, 'rangeEnd', 'bytes'),
    field(3, 'startRevision', 'int64'),
    field(4, 'progressNotify', 'bool'),
    field(5, 'filters', 'enum', { repeated: true, values: FILTERS }),
    field(6, 'prevKv', 'bool'),
    field(7, 'watchId', 'watchId'),
    field(8, 'fragment', 'bool'),
  ],
  () => ({
    key: '',
    rangeEnd: '',
    startRevision: 0,
    progressNotify: false,
    filters: [],
    prevKv: false,
    watchId: 0,
    fragment: false,
  }),
);

export const WatchCancelRequest: MessageType<pb.WatchCancelRequest> = messageType(
  'etcdserverpb.WatchCancelRequest',
  [field(1, 'watchId', 'watchId')],
  () => ({ watchId: 0 }),
);

export const WatchProgressRequest: MessageType<pb.WatchProgressRequest> = messageType(
  'etcdserverpb.WatchProgressRequest',
  [],
  () => ({}),
);

export const WatchRequest: MessageType<pb.WatchRequest> = messageType(
  'etcdserverpb.WatchRequest',
  [
    field(1, 'createRequest', 'message', { oneof: true, message: () => WatchCreateRequest }),
    field(2, 'cancelRequest', 'message', { oneof: true, message: () => WatchCancelRequest }),
    field(3, 'progressRequest', 'message', { oneof: true, message: () => WatchProgressRequest }),
  ],
  () => ({ createRequest: undefined, cancelRequest: undefined, progressRequest: undefined }),
);

export const WatchResponse: MessageType<pb.WatchResponse> = messageType(
  'etcdserverpb.WatchResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeader }),
    field(2, 'watchId', 'watchId'),
    field(3, 'created', 'bool'),
    field(4, 'canceled', 'bool'),
    field(5, 'compactRevision', 'int64'),
    field(6, 'cancelReason', 'string'),
    field(7, 'fragment', 'bool'),
    field(11, 'events', 'message', { repeated: true, message: () => Event }),
  ],
  () => ({
    header: ResponseHeader.create(),
    watchId: 0,
    created: false,
    canceled: false,
    compactRevision: 0,
    cancelReason: '',
    fragment: false,
    events: [],
  }),
  hotWatch.watchResponse,
);

/** Encodes `event` unless that was done before, and keeps the bytes with it for the next watcher. */
export function encodeEventOnce(event: pb.EventMessage): Buffer {
  event.encoded ??= Event.encode(event);
  return event.encoded;
}
