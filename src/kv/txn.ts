/**
 * Writes, and transactions of them (etcd api: Txn).
 *
 * A transaction runs in three passes: all compares of all levels on the state before it, which fixes
 * the branch of each level; then every check that may fail; then the steps, which cannot fail any
 * more. So it needs no rollback, and a refused one has no effect.
 */
import { assert } from '../core/assert.ts';
import { QuorateError } from '../core/errors.ts';
import type {
  CompareMessage,
  DeleteRangeRequest,
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RequestOp,
  ResponseHeader,
  ResponseOp,
  TxnRequest,
  TxnResponse,
} from '../proto/messages.ts';
import { CompareResult, CompareTarget } from '../proto/messages.ts';
import type { Lessor } from './leases.ts';
import { compactedError, futureError, type Mvcc } from './mvcc.ts';
import { executeRange, selectRange } from './range.ts';
import { NO_LEASE, type VersionRecord } from './record.ts';

/** What a write changes. */
export interface WriteTarget {
  readonly mvcc: Mvcc;
  readonly lessor: Lessor;
}

/**
 * The checks of a put that need the state.
 * @throws QuorateError `ERR_LEASE_NOT_FOUND`, `ERR_KEY_NOT_FOUND`
 */
export function checkPut(target: WriteTarget, request: PutRequest): void {
  requireLease(target.lessor, request);
  requireKept(target.mvcc, request);
}

function requireLease(lessor: Lessor, { lease }: PutRequest): void {
  if (lease === NO_LEASE || lessor.has(lease)) return;
  throw new QuorateError(
    'ERR_LEASE_NOT_FOUND',
    `there is no lease ${lease.toString(16)}: it expired or was revoked; grant a new one`,
  );
}

/** What is to be kept must be there. */
function requireKept(mvcc: Mvcc, request: PutRequest): void {
  if (!request.ignoreValue && !request.ignoreLease) return;
  if (mvcc.latest(request.key) !== undefined) return;
  throw new QuorateError(
    'ERR_KEY_NOT_FOUND',
    'the put keeps the value or lease of a key that does not exist; put it in full',
  );
}

/** Puts inside a write. Call `checkPut` before the write begins. */
export function executePut({ mvcc, lessor }: WriteTarget, request: PutRequest): PutResponse {
  const before = mvcc.latest(request.key);
  const value = request.ignoreValue && before !== undefined ? before.value : request.value;
  const lease = request.ignoreLease && before !== undefined ? before.lease : request.lease;
  const record = mvcc.put(request.key, value, lease, before);
  const oldLease = before === undefined ? NO_LEASE : before.lease;
  if (oldLease !== lease) {
    if (oldLease !== NO_LEASE) lessor.detach(oldLease, record.key);
    if (lease !== NO_LEASE) lessor.attach(lease, record.key);
  }
  return { header: undefined, prevKv: request.prevKv ? before : undefined };
}

/** Deletes inside a write, in key order. */
export function executeDelete(
  { mvcc, lessor }: WriteTarget,
  request: DeleteRangeRequest,
): DeleteRangeResponse {
  const { key, rangeEnd, prevKv } = request;
  const victims = selectRange(mvcc, key, rangeEnd, mvcc.visibleRevision, 0);
  for (const record of victims) {
    mvcc.delete(record);
    if (record.lease !== NO_LEASE) lessor.detach(record.lease, record.key);
  }
  return { header: undefined, deleted: victims.length, prevKvs: prevKv ? victims : [] };
}

/**
 * Runs a transaction: inside a write if it has one to do.
 * @throws QuorateError what one of its steps is refused for; then it had no effect
 */
export function executeTxn(target: WriteTarget, request: TxnRequest): TxnResponse {
  const branches: boolean[] = [];
  chooseBranches(target.mvcc, request, branches);
  checkBranch(target, request, branches, 0);
  const response = runBranch(target, request, branches, { next: 0 });
  response.header = undefined;
  return response;
}

/** Evaluates the compares of `request` and of every transaction nested in the branch it takes. */
function chooseBranches(mvcc: Mvcc, request: TxnRequest, branches: boolean[]): void {
  const holds = request.compare.every((compare) => compareHolds(mvcc, compare));
  branches.push(holds);
  for (const { requestTxn } of holds ? request.success : request.failure) {
    if (requestTxn !== undefined) chooseBranches(mvcc, requestTxn, branches);
  }
}

/** Checks the chosen branch; returns the number of branches used up. */
function checkBranch(
  target: WriteTarget,
  request: TxnRequest,
  branches: readonly boolean[],
  at: number,
): number {
  let next = at + 1;
  for (const op of branches[at] ? request.success : request.failure) {
    if (op.requestRange !== undefined) checkRange(target.mvcc, op.requestRange.revision);
    else if (op.requestPut !== undefined) {
      // In a transaction etcd looks at them in this order, by itself in the other.
      requireKept(target.mvcc, op.requestPut);
      requireLease(target.lessor, op.requestPut);
    } else if (op.requestTxn !== undefined)
      next = checkBranch(target, op.requestTxn, branches, next);
  }
  return next;
}

/** Decided from the replicated floor only, never from how far a node has compacted physically. */
function checkRange(mvcc: Mvcc, revision: number): void {
  if (revision === 0) return;
  if (revision > mvcc.revision) throw futureError(revision, mvcc.revision);
  if (revision < mvcc.compactRevision) throw compactedError(revision, mvcc.compactRevision);
}

function runBranch(
  target: WriteTarget,
  request: TxnRequest,
  branches: readonly boolean[],
  cursor: { next: number },
): TxnResponse {
  const succeeded = branches[cursor.next++];
  assert(succeeded !== undefined, 'every level of a transaction has a branch');
  const responses: ResponseOp[] = [];
  for (const op of succeeded ? request.success : request.failure) {
    responses.push(runStep(target, op, branches, cursor));
  }
  return { header: innerHeader(0), succeeded, responses };
}

function runStep(
  target: WriteTarget,
  op: RequestOp,
  branches: readonly boolean[],
  cursor: { next: number },
): ResponseOp {
  const response: ResponseOp = {
    responseRange: undefined,
    responsePut: undefined,
    responseDeleteRange: undefined,
    responseTxn: undefined,
  };
  const { mvcc } = target;
  if (op.requestRange !== undefined) {
    response.responseRange = executeRange(mvcc, op.requestRange);
    response.responseRange.header = innerHeader(mvcc.visibleRevision);
  } else if (op.requestPut !== undefined) {
    response.responsePut = executePut(target, op.requestPut);
    response.responsePut.header = innerHeader(mvcc.visibleRevision);
  } else if (op.requestDeleteRange !== undefined) {
    response.responseDeleteRange = executeDelete(target, op.requestDeleteRange);
    response.responseDeleteRange.header = innerHeader(mvcc.visibleRevision);
  } else if (op.requestTxn !== undefined) {
    response.responseTxn = runBranch(target, op.requestTxn, branches, cursor);
  }
  return response;
}

/** Inside a transaction etcd fills in nothing but the revision; for a nested one not even that. */
function innerHeader(revision: number): ResponseHeader {
  return { clusterId: 0n, memberId: 0n, revision, raftTerm: 0 };
}

/** A compare on a range must hold for every key in it; an empty range is like a missing key. */
function compareHolds(mvcc: Mvcc, compare: CompareMessage): boolean {
  const { key, rangeEnd, target } = compare;
  const records = selectRange(mvcc, key, rangeEnd, mvcc.visibleRevision, 0);
  if (records.length > 0) return records.every((record) => recordHolds(compare, record));
  // Nothing can be said about the value of a key that does not exist, not even that it differs.
  return target !== CompareTarget.value && recordHolds(compare, undefined);
}

function recordHolds(compare: CompareMessage, record: VersionRecord | undefined): boolean {
  switch (compare.target) {
    case CompareTarget.version:
      return orderHolds(compare.result, record?.version ?? 0, compare.version);
    case CompareTarget.create:
      return orderHolds(compare.result, record?.createRevision ?? 0, compare.createRevision);
    case CompareTarget.mod:
      return orderHolds(compare.result, record?.modRevision ?? 0, compare.modRevision);
    case CompareTarget.value:
      return orderHolds(compare.result, record?.value ?? '', compare.value);
    case CompareTarget.lease:
      return orderHolds(compare.result, record?.lease ?? NO_LEASE, compare.lease);
    default:
      // etcd leaves the difference of an unknown target at zero.
      return orderHolds(compare.result, 0, 0);
  }
}

function orderHolds<T extends number | bigint | string>(result: number, is: T, to: T): boolean {
  switch (result) {
    case CompareResult.equal:
      return is === to;
    case CompareResult.notEqual:
      return is !== to;
    case CompareResult.greater:
      return is > to;
    case CompareResult.less:
      return is < to;
    default:
      return true;
  }
}
