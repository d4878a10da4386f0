/** Messages of the etcd API as results of the public `Kv`. */
import { fromBytes } from '../core/bytes.ts';
import { QuorateError } from '../core/errors.ts';
import type * as pb from '../proto/messages.ts';
import { EventType } from '../proto/messages.ts';
import type {
  DeleteResult,
  KeyValue,
  OpResult,
  PutResult,
  RangeResult,
  TxnResult,
  WatchEvent,
} from './kv.ts';

export function keyValue(message: pb.KeyValueMessage): KeyValue {
  return {
    key: fromBytes(message.key),
    value: fromBytes(message.value),
    createRevision: message.createRevision,
    modRevision: message.modRevision,
    version: message.version,
    lease: message.lease,
  };
}

function previousOf(message: pb.KeyValueMessage | undefined): KeyValue | undefined {
  return message === undefined ? undefined : keyValue(message);
}

/** Steps of a transaction carry a revision where they changed or read something; else it is the transaction's. */
function revisionOf(header: pb.ResponseHeader | undefined, outer: number): number {
  return header === undefined || header.revision === 0 ? outer : header.revision;
}

export function rangeResult(response: pb.RangeResponse, outer = 0): RangeResult {
  return {
    revision: revisionOf(response.header, outer),
    kvs: response.kvs.map(keyValue),
    more: response.more,
    count: response.count,
  };
}

export function putResult(response: pb.PutResponse, outer = 0): PutResult {
  return { revision: revisionOf(response.header, outer), previous: previousOf(response.prevKv) };
}

export function deleteResult(response: pb.DeleteRangeResponse, outer = 0): DeleteResult {
  return {
    revision: revisionOf(response.header, outer),
    deleted: response.deleted,
    previous: response.prevKvs.map(keyValue),
  };
}

export function txnResult(response: pb.TxnResponse, outer = 0): TxnResult {
  const revision = revisionOf(response.header, outer);
  return {
    revision,
    succeeded: response.succeeded,
    results: response.responses.map((one) => opResult(one, revision)),
  };
}

function opResult(response: pb.ResponseOp, outer: number): OpResult {
  const { responsePut, responseRange, responseDeleteRange, responseTxn } = response;
  if (responsePut !== undefined) return { op: 'put', ...putResult(responsePut, outer) };
  if (responseRange !== undefined) return { op: 'range', ...rangeResult(responseRange, outer) };
  if (responseDeleteRange !== undefined) {
    return { op: 'delete', ...deleteResult(responseDeleteRange, outer) };
  }
  if (responseTxn !== undefined) return { op: 'txn', ...txnResult(responseTxn, outer) };
  throw new QuorateError(
    'ERR_PROTOCOL',
    'txn: the store answered a step with an empty response; the transaction was carried out',
    { outcome: 'unknown' },
  );
}

export function watchEvent(event: pb.EventMessage): WatchEvent {
  return {
    type: event.type === EventType.delete ? 'delete' : 'put',
    kv: keyValue(event.kv),
    previous: previousOf(event.prevKv),
  };
}
