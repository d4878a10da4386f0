/**
 * What etcd refuses before it proposes a request, in etcd's order: a client that sends several
 * mistakes at once gets the same error from both. Pure; nothing here looks at the store.
 */
import type { Bytes } from '../core/bytes.ts';
import { QuorateError } from '../core/errors.ts';
import type {
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RequestOp,
  TxnRequest,
} from '../proto/messages.ts';
import { SortOrder, SortTarget } from '../proto/messages.ts';

/** Operations in one branch of a transaction, nested ones taken off (etcd `--max-txn-ops`). */
export const MAX_TXN_OPERATIONS = 128;
/** The longest lease in seconds that etcd grants. */
export const MAX_LEASE_TTL_SECONDS = 9_000_000_000;

function requireKey(key: Bytes): void {
  if (key.length === 0) {
    throw new QuorateError('ERR_EMPTY_KEY', 'the key is empty; a key has at least one byte');
  }
}

/** @throws QuorateError `ERR_EMPTY_KEY`, `ERR_INVALID_SORT` */
export function validateRange(request: RangeRequest): void {
  requireKey(request.key);
  const { sortOrder, sortTarget } = request;
  if (sortOrder < 0 || sortOrder > SortOrder.descend) {
    throw new QuorateError('ERR_INVALID_SORT', `there is no sort order ${sortOrder}`);
  }
  if (sortTarget < 0 || sortTarget > SortTarget.value) {
    throw new QuorateError('ERR_INVALID_SORT', `there is no sort target ${sortTarget}`);
  }
}

/** @throws QuorateError `ERR_EMPTY_KEY`, `ERR_VALUE_PROVIDED`, `ERR_LEASE_PROVIDED` */
export function validatePut(request: PutRequest): void {
  requireKey(request.key);
  if (request.ignoreValue && request.value.length > 0) {
    throw new QuorateError(
      'ERR_VALUE_PROVIDED',
      'the put keeps the old value and also brings one; send an empty value',
    );
  }
  if (request.ignoreLease && request.lease !== 0n) {
    throw new QuorateError(
      'ERR_LEASE_PROVIDED',
      'the put keeps the old lease and also brings one; send no lease',
    );
  }
}

/** @throws QuorateError `ERR_EMPTY_KEY` */
export function validateDeleteRange(request: DeleteRangeRequest): void {
  requireKey(request.key);
}

/**
 * @throws QuorateError `ERR_TOO_MANY_OPERATIONS`, `ERR_DUPLICATE_KEY`, `ERR_KEY_NOT_FOUND` (an
 * empty operation, as etcd calls it), and what each operation by itself may be refused for
 */
export function validateTxn(request: TxnRequest, maxOperations = MAX_TXN_OPERATIONS): void {
  checkOperations(request, maxOperations);
  checkOverlaps(request.success);
  checkOverlaps(request.failure);
}

/** Whether the transaction cannot change anything, so that it needs no place in the log. */
export function isReadOnlyTxn(request: TxnRequest): boolean {
  const isRange = (op: RequestOp): boolean => op.requestRange !== undefined;
  return request.success.every(isRange) && request.failure.every(isRange);
}

/** Whether a read-only transaction may be answered from local state: all its ranges say so. */
export function isSerializableTxn(request: TxnRequest): boolean {
  const serializable = (op: RequestOp): boolean => op.requestRange?.serializable ?? false;
  return (
    request.success.length + request.failure.length > 0 &&
    request.success.every(serializable) &&
    request.failure.every(serializable)
  );
}

function checkOperations(request: TxnRequest, budget: number): void {
  const { compare, success, failure } = request;
  const count = Math.max(compare.length, success.length, failure.length);
  if (count > budget) {
    throw new QuorateError(
      'ERR_TOO_MANY_OPERATIONS',
      `the transaction has ${count} operations in one list; at most ${budget} are allowed here`,
    );
  }
  for (const { key } of compare) requireKey(key);
  for (const op of success) checkOperation(op, budget - count);
  for (const op of failure) checkOperation(op, budget - count);
}

function checkOperation(op: RequestOp, budget: number): void {
  if (op.requestRange !== undefined) validateRange(op.requestRange);
  else if (op.requestPut !== undefined) validatePut(op.requestPut);
  else if (op.requestDeleteRange !== undefined) validateDeleteRange(op.requestDeleteRange);
  else if (op.requestTxn !== undefined) checkOperations(op.requestTxn, budget);
  else throw new QuorateError('ERR_KEY_NOT_FOUND', 'the transaction has an empty operation');
}

/** What one list of operations writes. */
interface Writes {
  readonly puts: Set<Bytes>;
  readonly deletes: DeleteRangeRequest[];
}

/**
 * Refuses a list in which a key is put twice, or put and also deleted, so that the order of steps
 * cannot matter. The two branches of a nested transaction exclude each other and may share keys.
 */
function checkOverlaps(ops: readonly RequestOp[]): Writes {
  const puts = new Set<Bytes>();
  const deletes: DeleteRangeRequest[] = [];
  for (const op of ops) {
    if (op.requestDeleteRange !== undefined) deletes.push(op.requestDeleteRange);
  }
  for (const { requestTxn } of ops) {
    if (requestTxn === undefined) continue;
    const then = checkOverlaps(requestTxn.success);
    const otherwise = checkOverlaps(requestTxn.failure);
    for (const key of then.puts) {
      if (puts.has(key)) throw duplicateKey();
      refuseDeleted(key, deletes);
      puts.add(key);
    }
    for (const key of otherwise.puts) {
      if (puts.has(key) && !then.puts.has(key)) throw duplicateKey();
      refuseDeleted(key, deletes);
      puts.add(key);
    }
    deletes.push(...then.deletes, ...otherwise.deletes);
  }
  for (const { requestPut } of ops) {
    if (requestPut === undefined) continue;
    if (puts.has(requestPut.key)) throw duplicateKey();
    refuseDeleted(requestPut.key, deletes);
    puts.add(requestPut.key);
  }
  return { puts, deletes };
}

function refuseDeleted(key: Bytes, deletes: readonly DeleteRangeRequest[]): void {
  for (const { key: from, rangeEnd } of deletes) {
    // An end of '\0' is below every key here: etcd does not see such a delete as "all keys above",
    // and runs it in its turn.
    const hit = rangeEnd.length === 0 ? key === from : from <= key && key < rangeEnd;
    if (hit) throw duplicateKey();
  }
}

function duplicateKey(): QuorateError {
  return new QuorateError(
    'ERR_DUPLICATE_KEY',
    'the transaction puts one key twice, or puts and deletes it; each key may be written once',
  );
}
