/** Range reads with every option of the API (etcd api: Range). */
import type { Bytes } from '../core/bytes.ts';
import type { KeyValueMessage, RangeRequest, RangeResponse } from '../proto/messages.ts';
import { SortOrder, SortTarget } from '../proto/messages.ts';
import type { Mvcc, UpperBound } from './mvcc.ts';
import type { VersionRecord } from './record.ts';

/** `rangeEnd` as an upper bound: `'\0'` means that there is none. Not for single keys. */
function upperBound(rangeEnd: Bytes): UpperBound {
  return rangeEnd === '\0' ? undefined : rangeEnd;
}

/** The versions of a key (`rangeEnd` empty) or range, in key order, at a readable revision. */
export function selectRange(
  mvcc: Mvcc,
  key: Bytes,
  rangeEnd: Bytes,
  revision: number,
  limit: number,
): VersionRecord[] {
  if (rangeEnd.length > 0) return mvcc.collect(key, upperBound(rangeEnd), revision, limit);
  const record = mvcc.at(key, revision);
  return record === undefined ? [] : [record];
}

/**
 * Answers a range at the revision it asks for (0 or less: what the running write sees). The header
 * is left to the caller.
 * @throws QuorateError `ERR_COMPACTED`, `ERR_FUTURE_REVISION`
 */
export function executeRange(mvcc: Mvcc, request: RangeRequest): RangeResponse {
  const { key, rangeEnd } = request;
  let revision = mvcc.visibleRevision;
  if (request.revision > 0) {
    revision = request.revision;
    mvcc.checkReadable(revision);
  }
  if (request.countOnly) {
    return { header: undefined, kvs: [], more: false, count: countRange(mvcc, request, revision) };
  }
  const filtered = hasFilter(request);
  const limit = Math.max(request.limit, 0);
  // A sort or filter needs all of the range; otherwise one more than asked for tells `more`.
  const whole = filtered || request.sortOrder !== SortOrder.none || limit === 0;
  let records = selectRange(mvcc, key, rangeEnd, revision, whole ? 0 : limit + 1);
  const cut = !whole && records.length > limit;
  const count = cut ? countRange(mvcc, request, revision) : records.length;
  if (filtered) records = records.filter((record) => passes(request, record));
  sortRecords(records, request);
  const more = limit > 0 && records.length > limit;
  if (more) records.length = limit;
  return { header: undefined, kvs: request.keysOnly ? records.map(keyOnly) : records, more, count };
}

function countRange(mvcc: Mvcc, { key, rangeEnd }: RangeRequest, revision: number): number {
  if (rangeEnd.length > 0) return mvcc.count(key, upperBound(rangeEnd), revision);
  return mvcc.at(key, revision) === undefined ? 0 : 1;
}

function hasFilter(request: RangeRequest): boolean {
  return (
    request.minModRevision !== 0 ||
    request.maxModRevision !== 0 ||
    request.minCreateRevision !== 0 ||
    request.maxCreateRevision !== 0
  );
}

/** Bounds are inclusive; 0 is no bound. */
function passes(request: RangeRequest, record: VersionRecord): boolean {
  const { maxModRevision, minModRevision, maxCreateRevision, minCreateRevision } = request;
  if (maxModRevision !== 0 && record.modRevision > maxModRevision) return false;
  if (minModRevision !== 0 && record.modRevision < minModRevision) return false;
  if (maxCreateRevision !== 0 && record.createRevision > maxCreateRevision) return false;
  return minCreateRevision === 0 || record.createRevision >= minCreateRevision;
}

function sortRecords(records: VersionRecord[], request: RangeRequest): void {
  const { sortOrder, sortTarget } = request;
  const descending = sortOrder === SortOrder.descend;
  // They come in key order already. Another target without an order means ascending.
  if (sortTarget === SortTarget.key) {
    if (descending) records.reverse();
    return;
  }
  const compare = COMPARE_BY[sortTarget];
  if (compare === undefined) return;
  records.sort(descending ? (a, b) => compare(b, a) : compare);
}

type Comparison = (a: VersionRecord, b: VersionRecord) => number;

const COMPARE_BY: Readonly<Record<number, Comparison>> = {
  [SortTarget.version]: (a, b) => a.version - b.version,
  [SortTarget.create]: (a, b) => a.createRevision - b.createRevision,
  [SortTarget.mod]: (a, b) => a.modRevision - b.modRevision,
  [SortTarget.value]: (a, b) => (a.value < b.value ? -1 : a.value > b.value ? 1 : 0),
};

function keyOnly(record: VersionRecord): KeyValueMessage {
  const { key, createRevision, modRevision, version, lease } = record;
  return { key, createRevision, modRevision, version, value: '', lease };
}
