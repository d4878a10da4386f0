/** The lock of a transaction of the caller's own: PostgreSQL gives it back with the commit or rollback. */
import { QuorateError } from '../../core/errors.ts';
import { requireEncodable } from '../../locks/names.ts';
import { answeredError, connectError, isAnswer, type PostgresQueryable } from './client.ts';
import { advisoryKey, requireNamespace } from './key.ts';

/** How to lock within a transaction. */
export interface TransactionLockOptions {
  /** As in `PostgresLocksOptions`: these and those exclude each other. @defaultValue `'quorate'` */
  readonly namespace?: string;
  /** Shared with all that ask for the same. @defaultValue `false` */
  readonly shared?: boolean;
  /** `false`: resolves with `false` where it is not free at once. @defaultValue `true` */
  readonly wait?: boolean;
}

/**
 * Takes the lock `name` until the transaction that `client` is in ends, with the commit or with its loss.
 * What the transaction writes needs no fencing token: without the lock there is no commit.
 *
 * It waits as long as the transaction's own `lock_timeout` and `statement_timeout` let it.
 *
 * @returns `false` where it did not wait and the lock was not free
 * @throws `ERR_INVALID_ARGUMENT` outside of a transaction, where the lock would be gone at once;
 * `ERR_LOCK_BUSY` after `lock_timeout`, or to break a deadlock: the transaction is then void.
 * @example
 * ```ts
 * await client.query('begin');
 * await lockInTransaction(client, 'orders/42');
 * await client.query('update orders set ...');
 * await client.query('commit');
 * ```
 */
export async function lockInTransaction(
  client: PostgresQueryable,
  name: string,
  options: TransactionLockOptions = {},
): Promise<boolean> {
  requireEncodable(name);
  const key = advisoryKey(requireNamespace(options.namespace ?? 'quorate'), name);
  const call = `pg_${options.wait === false ? 'try_' : ''}advisory_xact_lock`;
  if (client.getTransactionStatus?.() === 'I') throw outside(name);
  const text = `select ${call}${options.shared === true ? '_shared' : ''}($1::bigint)::text as locked, ${NOW}`;
  const { locked, now } = await ask(client, name, { text, values: [key] });
  if (typeof client.getTransactionStatus !== 'function') {
    // The time stands still in a transaction, and only there.
    const later = await ask(client, name, { text: `select '' as locked, ${NOW}`, values: [] });
    if (later.now !== now) throw outside(name);
  }
  return locked !== 'false';
}

const NOW = 'extract(epoch from now())::text as now';

interface Row {
  /** Empty for the functions that wait. */
  readonly locked: string;
  readonly now: string;
}

function outside(name: string): QuorateError {
  return new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `'${name}' was not locked: the client is in no transaction; query('begin') first`,
  );
}

async function ask(
  client: PostgresQueryable,
  name: string,
  query: { readonly text: string; readonly values: unknown[] },
): Promise<Row> {
  try {
    return (await client.query(query)).rows[0] as Row;
  } catch (error) {
    if (!isAnswer(error)) throw connectError(error);
    throw answeredError(`the lock '${name}' in a transaction`, error);
  }
}
