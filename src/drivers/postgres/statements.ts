/** What is said to PostgreSQL. */
import { QuorateError } from '../../core/errors.ts';

export interface Statements {
  /** Takes a lock and a token in one go if it is free and nobody waits: `$1` key, `$2` process id. */
  readonly tryExclusive: string;
  readonly tryShared: string;
  /** A token, once a lock is held: `$1` process id. */
  readonly token: string;
  /** Whether the sequence is there, and how to make it so. */
  readonly findSequence: string;
  readonly createSequence: string;
}

export const WAIT_EXCLUSIVE = 'select pg_advisory_lock($1::bigint)';
export const WAIT_SHARED = 'select pg_advisory_lock_shared($1::bigint)';
export const UNLOCK_EXCLUSIVE = 'select pg_advisory_unlock($1::bigint) as done';
export const UNLOCK_SHARED = 'select pg_advisory_unlock_shared($1::bigint) as done';
export const UNLOCK_ALL = 'select pg_advisory_unlock_all()';
export const CANCEL = 'select pg_cancel_backend($1) as done';

/** Those who hold a key, then those who wait, in order: `$1` high half, `$2` low half. */
export const HOLDERS = `select l.pid, l.granted, coalesce(a.application_name, '') as owner
from pg_locks l left join pg_stat_activity a using (pid)
where l.locktype = 'advisory' and l.objsubid = 1
  and l.database = (select oid from pg_database where datname = current_database())
  and l.classid = $1::text::oid and l.objid = $2::text::oid
order by l.granted desc, l.waitstart, a.query_start, l.pid`;

/** Ends the server's side of a holder, if it still holds: `$3` process id. */
export const TERMINATE = `select pg_terminate_backend(l.pid, 5000) as done from pg_locks l
where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
  and l.database = (select oid from pg_database where datname = current_database())
  and l.classid = $1::text::oid and l.objid = $2::text::oid and l.pid = $3`;

/**
 * A transaction that takes a number which an earlier one has logged is not held up until that log is on
 * disk: it has nothing to commit. So where some log is not, a record of its own makes it wait; else a
 * crash of the server could give the number out again.
 */
const FLUSHED = `case when token is not null and (pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()
  or current_setting('synchronous_standby_names') <> '') then pg_logical_emit_message(true, 'quorate', '') end`;

/** @param sequence - `name` or `schema.name` */
export function statementsFor(sequence: string): Statements {
  const quoted = quotedName(sequence);
  const next = `nextval('${quoted}'::regclass)`;
  const tryWith = (call: string): string => `with attempt as materialized (
  select pg_backend_pid() = $2 as same,
    case when pg_backend_pid() = $2 then ${call}($1::bigint) end as got
), grant_ as materialized (select same, case when got then ${next} end as token from attempt)
select same, token::text, ${FLUSHED} from grant_`;
  return {
    tryExclusive: tryWith('pg_try_advisory_lock'),
    tryShared: tryWith('pg_try_advisory_lock_shared'),
    token: `with grant_ as materialized (
  select pg_backend_pid() = $1 as same, ${next} as token
) select same, token::text, ${FLUSHED} from grant_`,
    findSequence: `select to_regclass('${quoted}') is not null as found`,
    createSequence: `create sequence if not exists ${quoted}`,
  };
}

function quotedName(sequence: string): string {
  if (typeof sequence === 'string' && /^[a-z_]\w{0,62}(\.[a-z_]\w{0,62})?$/i.test(sequence)) {
    return sequence
      .split('.')
      .map((part) => `"${part}"`)
      .join('.');
  }
  throw new QuorateError(
    'ERR_INVALID_ARGUMENT',
    "sequence: letters, digits and '_' are needed, with a schema in front or without: 'app.lock_tokens'",
  );
}
