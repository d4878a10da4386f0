/**
 * What is needed of `pg` (node-postgres), as the user made it, and what its errors mean here.
 */
import { isQuorateError, QuorateError } from '../../core/errors.ts';

/** A query of node-postgres. */
export interface PostgresQuery {
  /** Prepared once per connection under this name. */
  readonly name?: string;
  readonly text: string;
  readonly values?: unknown[];
  /** Milliseconds; goes before what the pool has set. */
  readonly query_timeout?: number;
}

/** What runs queries: a `Client` or `PoolClient` of node-postgres. */
export interface PostgresQueryable {
  query(query: PostgresQuery): Promise<{ readonly rows: readonly unknown[] }>;
  /** `'I'`: in no transaction. Newer versions have it. */
  getTransactionStatus?(): string | null;
}

/** What `NOTIFY` sends. */
export interface PostgresNotification {
  readonly channel: string;
  readonly payload?: string | undefined;
}

/** A connection of a pool: `PoolClient` of node-postgres. */
export interface PostgresConnection extends PostgresQueryable {
  on(event: 'end', listener: () => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'notification', listener: (message: PostgresNotification) => void): unknown;
  /** `true`: it is closed, and not given to others. */
  release(destroy?: boolean): void;
}

/** Where connections come from: a `Pool` of node-postgres. */
export interface PostgresPool {
  connect(): Promise<PostgresConnection>;
}

/** The five characters by which the server says what went wrong; `undefined`: it was not the server. */
export function sqlState(error: unknown): string | undefined {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

/** Whether the connection survived the error. */
export function isAnswer(error: unknown): boolean {
  const { severity } = (error ?? {}) as { readonly severity?: unknown };
  return sqlState(error) !== undefined && severity !== 'FATAL' && severity !== 'PANIC';
}

/** The error of a query that was answered with one. */
export function answeredError(doing: string, error: unknown): QuorateError {
  const state = sqlState(error)!;
  const said = `PostgreSQL (${state}): ${messageOf(error)}`;
  const cause = error;
  if (state === '42501') {
    const advice = 'docs/postgres.md says which rights are needed';
    return new QuorateError('ERR_PERMISSION_DENIED', `${doing}: ${said}; ${advice}`, { cause });
  }
  if (state.startsWith('28')) {
    return new QuorateError('ERR_UNAUTHENTICATED', `${doing}: ${said}`, { cause });
  }
  if (state.startsWith('53')) {
    return new QuorateError('ERR_BUSY', `${doing}: ${said}`, { cause, retryable: true });
  }
  // A prepared statement that is there already, or not at all.
  if (state === '42P05' || state === '26000') return pooled(error);
  if (state === '55P03' || state === '40P01') {
    return new QuorateError('ERR_LOCK_BUSY', `${doing}: ${said}`, { cause, retryable: true });
  }
  if (state === '25006') {
    const advice = 'locks need the primary, and this server only reads';
    return new QuorateError('ERR_UNAVAILABLE', `${doing}: ${advice}; ${said}`, {
      cause,
      retryable: true,
    });
  }
  if (/^(08|57P)/.test(state)) {
    return new QuorateError('ERR_UNAVAILABLE', `${doing}: ${said}`, { cause, retryable: true });
  }
  return new QuorateError('ERR_INTERNAL', `${doing}: ${said}`, { cause });
}

export function pooled(cause?: unknown): QuorateError {
  return new QuorateError(
    'ERR_UNSUPPORTED',
    'a pooler between this process and PostgreSQL gives each transaction another connection; locks need one of their own: use session pooling, or connect directly',
    { cause },
  );
}

/** The error of a connection that could not be had. */
export function connectError(error: unknown): QuorateError {
  if (isQuorateError(error)) return error;
  const doing = 'no connection to PostgreSQL';
  if (sqlState(error) !== undefined) return answeredError(doing, error);
  return new QuorateError('ERR_UNAVAILABLE', `${doing}: ${messageOf(error)}`, {
    cause: error,
    retryable: true,
  });
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
