/**
 * What is said to PostgreSQL.
 *
 * Beside its lock a holder keeps a *tag*: a shared advisory lock of two numbers, the low half of the key and
 * the low half of the token. Nothing depends on it, but in `pg_locks` it shows others who has which token.
 */
import { QuorateError } from '../../core/errors.ts';

export interface Statements {
  /** Takes a lock and a token in one go if it is free and nobody waits: `$1` mark, `$2` tag, `$3` key. */
  readonly tryExclusive: string;
  readonly tryShared: string;
  /** A token, once a lock is held: `$1` mark, `$2` tag. */
  readonly token: string;
  /** Those who hold a key, then those who wait, in order: `$1` high half, `$2` low half. */
  readonly holders: string;
  /** Whether the sequence is there, and how to make it so. */
  readonly findSequence: string;
  readonly createSequence: string;
}

/**
 * The setting by which a connection knows that it still talks to its own server's process: behind a pooler that
 * gives each transaction another one it would lock here and write there, and two would hold one lock together.
 */
export const MARK = 'quorate.session';
const SAME = `coalesce(current_setting('${MARK}', true) = $1, false)`;

/** `$1` mark, `$2` key */
const waitWith = (call: string): string =>
  `select ${SAME} as same, case when ${SAME} then ${call}($2::bigint)::text end`;
export const WAIT_EXCLUSIVE = waitWith('pg_advisory_lock');
export const WAIT_SHARED = waitWith('pg_advisory_lock_shared');
/** `$1` key, `$2` tag, `$3` token or null */
const unlockWith = (call: string): string => `select ${call}($1::bigint) as done,
  case when $3::bigint is not null then pg_advisory_unlock_shared($2::int, ${lowHalf('$3::bigint')}) end`;
export const UNLOCK_EXCLUSIVE = unlockWith('pg_advisory_unlock');
export const UNLOCK_SHARED = unlockWith('pg_advisory_unlock_shared');
export const UNLOCK_ALL = 'select pg_advisory_unlock_all()';
export const CANCEL = 'select pg_cancel_backend($1) as done';

const IS_KEY = `l.locktype = 'advisory' and l.objsubid = 1
  and l.database = (select oid from pg_database where datname = current_database())
  and l.classid = $1::text::oid and l.objid = $2::text::oid`;

/** Of these connections, those in a queue. */
export const WAITING = `select pid from pg_locks
where locktype = 'advisory' and not granted and pid = any($1::int[])`;

/** Where holders hear that their lock is taken from them: their names. */
export const CHANNEL = 'quorate_locks';
export const TAKE = `select pg_notify('${CHANNEL}', holder) from unnest($1::text[]) as holder`;

/** Ends the server's side of a holder, if it still holds: `$3` process id. */
export const TERMINATE = `select pg_terminate_backend(l.pid, 5000) as done from pg_locks l
where ${IS_KEY} and l.granted and l.pid = $3`;

/**
 * A transaction that takes a number which an earlier one has logged is not held up until that log is on
 * disk: it has nothing to commit. So where some log is not, a record of its own makes it wait; else a
 * crash of the server could give the number out again.
 */
const FLUSHED = `case when token is not null and (pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()
  or current_setting('synchronous_standby_names') <> '') then pg_logical_emit_message(true, 'quorate', '') end`;

function lowHalf(number: string): string {
  return `(${number})::bit(32)::int`;
}

/** @param sequence - `name` or `schema.name` */
export function statementsFor(sequence: string): Statements {
  const quoted = quotedName(sequence);
  const regclass = `'${quoted}'::regclass`;
  const next = `nextval(${regclass})`;
  const granted = `select same, token::text, ${FLUSHED},
  case when token is not null then pg_try_advisory_lock_shared($2::int, ${lowHalf('token')}) end from granted`;
  const tryWith = (call: string): string => `with attempt as materialized (
  select ${SAME} as same,
    case when ${SAME} then ${call}($3::bigint) end as got
), granted as materialized (select same, case when got then ${next} end as token from attempt)
${granted}`;
  return {
    tryExclusive: tryWith('pg_try_advisory_lock'),
    tryShared: tryWith('pg_try_advisory_lock_shared'),
    token: `with granted as materialized (
  select ${SAME} as same, case when ${SAME} then ${next} end as token
) ${granted}`,
    // Of the numbers that end as the tag says, the token is the one next to the sequence's last.
    holders: `with last as materialized (select pg_sequence_last_value(${regclass}) as value)
select l.pid, l.granted, coalesce(a.application_name, '') as owner,
  case when l.granted then last.value + ${lowHalf('m.objid::bigint - last.value')} end as token
from pg_locks l cross join last left join pg_stat_activity a using (pid)
  left join pg_locks m on m.locktype = 'advisory' and m.objsubid = 2 and m.granted and m.pid = l.pid
    and m.database = l.database and m.classid = l.objid
where ${IS_KEY}
order by l.granted desc, token, l.waitstart, a.query_start, l.pid`,
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
