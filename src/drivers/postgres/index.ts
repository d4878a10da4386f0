/** Locks on PostgreSQL: `quorate/drivers/postgres`. */
import '../../core/runtime.ts';

export type {
  PostgresConnection,
  PostgresNotification,
  PostgresPool,
  PostgresQuery,
  PostgresQueryable,
} from './client.ts';
export { type PostgresLocksOptions, postgresLocks } from './locks.ts';
export { lockInTransaction, type TransactionLockOptions } from './transaction.ts';
