/**
 * The door of `kvOver`: what a caller passed, checked and turned into messages of the etcd API.
 *
 * Only what a message cannot express is refused here (types, negative revisions); the rules of the
 * store (empty key, unknown lease, …) are the store's own answer, so that all stores agree.
 */
import { type Bytes, type BytesLike, prefixEnd, toBytes } from '../core/bytes.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { QuorateError } from '../core/errors.ts';
import * as etcd from '../proto/etcd.ts';
import * as pb from '../proto/messages.ts';
import type {
  Compare,
  DeleteOptions,
  KeyRange,
  Op,
  PutOptions,
  RangeOptions,
  Txn,
  WatchOptions,
} from './kv.ts';

/** A range as the API has it: `rangeEnd` empty for one key, `'\0'` for no end. */
interface RangeBytes {
  readonly key: Bytes;
  readonly rangeEnd: Bytes;
}

/** A range that holds no key: its end is not after its start, and is not the sign for "no end". */
const NOTHING: RangeBytes = { key: '\x01', rangeEnd: '\x01' };

function invalid(message: string): never {
  throw new QuorateError('ERR_INVALID_ARGUMENT', message);
}

/** @param name what the error calls it, such as `put: key` */
export function bytesOf(value: BytesLike, name: string): Bytes {
  if (typeof value === 'string' || value instanceof Uint8Array) return toBytes(value);
  return invalid(`${name} must be a string or a Uint8Array, not ${describe(value)}`);
}

export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'object') return value.constructor?.name ?? 'an object';
  return typeof value === 'bigint' ? `the bigint ${value}` : `${typeof value} ${String(value)}`;
}

/** The API's form of `range`. An empty prefix or `from` means all keys. */
function rangeOf(range: KeyRange, call: string): RangeBytes {
  if (typeof range === 'string' || range instanceof Uint8Array) {
    return { key: toBytes(range), rangeEnd: '' };
  }
  if (typeof range !== 'object' || range === null) {
    return invalid(`${call}: a range is a key, { prefix } or { from, to }, not ${describe(range)}`);
  }
  if ('prefix' in range) {
    const prefix = bytesOf(range.prefix, `${call}: prefix`);
    return prefix === ''
      ? { key: '\0', rangeEnd: '\0' }
      : { key: prefix, rangeEnd: prefixEnd(prefix) };
  }
  const from = bytesOf(range.from, `${call}: from`) || '\0';
  if (range.to === undefined) return { key: from, rangeEnd: '\0' };
  const to = bytesOf(range.to, `${call}: to`);
  return to > from ? { key: from, rangeEnd: to } : NOTHING;
}

/** A whole number that is not negative: a revision, a count, a bound. 0 where absent. */
export function wholeOf(value: number | undefined, name: string): number {
  if (value === undefined) return 0;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  return invalid(`${name} must be a whole number from 0, not ${describe(value)}`);
}

/** A lease id: any 64-bit number, also a negative one. */
export function leaseIdOf(value: bigint | undefined, name: string): bigint {
  if (value === undefined) return 0n;
  if (typeof value === 'bigint' && BigInt.asIntN(64, value) === value) return value;
  return invalid(`${name} must be a bigint of 64 bits, not ${describe(value)}`);
}

/** Whole seconds, rounded up, at least one. */
export function ttlOf(ttl: Duration): number {
  return Math.max(1, Math.ceil(durationMs(ttl, 'grantLease: ttl') / 1000));
}

const SORT_TARGETS: ReadonlyMap<string, number> = new Map(Object.entries(pb.SortTarget));

function sortTargetOf(name: string | undefined): number {
  if (name === undefined) return pb.SortTarget.key;
  const target = SORT_TARGETS.get(name);
  if (target !== undefined) return target;
  return invalid(
    `range: sortBy must be key, version, create, mod or value, not ${JSON.stringify(name)}`,
  );
}

function sortOrderOf(options: RangeOptions): number {
  const { order, sortBy } = options;
  if (order === 'descend') return pb.SortOrder.descend;
  if (order === 'ascend') return pb.SortOrder.ascend;
  if (order !== undefined) invalid(`range: order must be ascend or descend, not ${String(order)}`);
  return sortBy === undefined ? pb.SortOrder.none : pb.SortOrder.ascend;
}

export function rangeRequest(range: KeyRange, options: RangeOptions): pb.RangeRequest {
  const { key, rangeEnd } = rangeOf(range, 'range');
  return {
    key,
    rangeEnd,
    limit: wholeOf(options.limit, 'range: limit'),
    revision: wholeOf(options.revision, 'range: revision'),
    sortOrder: sortOrderOf(options),
    sortTarget: sortTargetOf(options.sortBy),
    serializable: options.serializable === true,
    keysOnly: options.keysOnly === true,
    countOnly: options.countOnly === true,
    minModRevision: wholeOf(options.minModRevision, 'range: minModRevision'),
    maxModRevision: wholeOf(options.maxModRevision, 'range: maxModRevision'),
    minCreateRevision: wholeOf(options.minCreateRevision, 'range: minCreateRevision'),
    maxCreateRevision: wholeOf(options.maxCreateRevision, 'range: maxCreateRevision'),
  };
}

export function putRequest(key: BytesLike, value: BytesLike, options: PutOptions): pb.PutRequest {
  return {
    key: bytesOf(key, 'put: key'),
    value: bytesOf(value, 'put: value'),
    lease: leaseIdOf(options.lease, 'put: lease'),
    prevKv: options.previous === true,
    ignoreValue: options.ignoreValue === true,
    ignoreLease: options.ignoreLease === true,
  };
}

export function deleteRequest(range: KeyRange, options: DeleteOptions): pb.DeleteRangeRequest {
  const { key, rangeEnd } = rangeOf(range, 'delete');
  return { key, rangeEnd, prevKv: options.previous === true };
}

const RESULTS: ReadonlyMap<string, number> = new Map([
  ['=', pb.CompareResult.equal],
  ['!=', pb.CompareResult.notEqual],
  ['<', pb.CompareResult.less],
  ['>', pb.CompareResult.greater],
]);

function compareMessage(compare: Compare): pb.CompareMessage {
  const { key, rangeEnd } = rangeOf(compare.key, 'txn: if');
  const result = RESULTS.get(compare.is);
  if (result === undefined) {
    return invalid(`txn: a condition's "is" must be =, !=, < or >, not ${String(compare.is)}`);
  }
  const message = etcd.Compare.create({ key, rangeEnd, result });
  const { target, to } = compare;
  const name = `txn: "to" of a condition on ${target}`;
  if (target === 'value') message.value = bytesOf(to as BytesLike, name);
  else if (target === 'lease') message.lease = leaseIdOf(to as bigint, name);
  else if (target === 'version') message.version = comparedNumber(to, name);
  else if (target === 'create') message.createRevision = comparedNumber(to, name);
  else if (target === 'mod') message.modRevision = comparedNumber(to, name);
  else invalid(`txn: a condition's target cannot be ${String(target)}`);
  message.target = pb.CompareTarget[target];
  return message;
}

function comparedNumber(value: unknown, name: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  return invalid(`${name} must be a whole number, not ${describe(value)}`);
}

function requestOp(op: Op): pb.RequestOp {
  const request = etcd.RequestOp.create();
  switch (op.op) {
    case 'put':
      request.requestPut = putRequest(op.key, op.value, op);
      return request;
    case 'delete':
      request.requestDeleteRange = deleteRequest(op.key, op);
      return request;
    case 'range':
      request.requestRange = rangeRequest(op.key, op);
      return request;
    case 'txn':
      request.requestTxn = txnRequest(op);
      return request;
    default:
      return invalid(`txn: a step's op must be put, delete, range or txn, not ${describe(op)}`);
  }
}

export function txnRequest(txn: Txn): pb.TxnRequest {
  if (typeof txn !== 'object' || txn === null) {
    return invalid(`txn: { if, then, else } is needed, not ${describe(txn)}`);
  }
  return {
    compare: (txn.if ?? []).map(compareMessage),
    success: (txn.then ?? []).map(requestOp),
    failure: (txn.else ?? []).map(requestOp),
  };
}

export function watchCreateRequest(range: KeyRange, options: WatchOptions): pb.WatchCreateRequest {
  const { key, rangeEnd } = rangeOf(range, 'watch');
  // The API takes an empty key for the key `\0`, which nobody who passes one means.
  if (key === '') throw new QuorateError('ERR_EMPTY_KEY', 'watch: the key is empty');
  if (rangeEnd !== '' && rangeEnd !== '\0' && rangeEnd <= key) {
    invalid('watch: the range holds no key: "to" is not after "from"');
  }
  return {
    key,
    rangeEnd,
    startRevision: wholeOf(options.fromRevision, 'watch: fromRevision'),
    progressNotify: options.progress === true,
    filters: filtersOf(options.without),
    prevKv: options.previous === true,
    watchId: 0,
    fragment: options.fragment === true,
  };
}

function filtersOf(without: string | undefined): number[] {
  if (without === undefined) return [];
  if (without === 'put') return [pb.WatchFilter.noPut];
  if (without === 'delete') return [pb.WatchFilter.noDelete];
  return invalid(`watch: without must be put or delete, not ${JSON.stringify(without)}`);
}
