/**
 * Fencing in SQL databases: a column keeps the highest token that wrote the row, and a write with a lower
 * one changes no row. Check and write are one statement, so nothing comes between.
 */
import { invalid, QuorateError } from '../core/errors.ts';
import { staleToken, type TokenSource, tokenOf } from './fencing.ts';

/** A write of one row under a token. */
export interface FencedWrite {
  /** `name` or `schema.name`, as the database keeps it. */
  readonly table: string;
  /** The columns that find the one row, with their values. */
  readonly key: Readonly<Record<string, unknown>>;
  /** What to write, as the driver takes it. @defaultValue nothing: only the token is raised */
  readonly set?: Readonly<Record<string, unknown>>;
  /** The token, or the lock that has it. */
  readonly token: TokenSource;
  /** The column of the highest token: `bigint`. @defaultValue `'fencing_token'` */
  readonly column?: string;
  /** How the driver writes parameters. @defaultValue `'postgres'`: `$1`; `'sqlite'`: `?1` */
  readonly dialect?: 'postgres' | 'sqlite';
}

/** A statement for any driver of the database. */
export interface FencedStatement {
  readonly text: string;
  /** The token is a bigint. */
  readonly values: unknown[];
  /**
   * Looks at how many rows the statement changed: `rowCount` of `pg`, `count` of `postgres`, `changes` of SQLite.
   *
   * @throws `ERR_LOCK_LOST` (not applied) for none: a later holder was there. In a transaction: roll it back.
   */
  check(changed: number | bigint | null | undefined): void;
}

/**
 * Changes a row that is there, unless a higher token has written it. As the first statement of a transaction
 * it guards the whole: the row stays locked until the commit, and who comes later waits.
 *
 * No row of that key looks like a higher token: where that can be, take `fencedUpsert`.
 *
 * @example
 * ```ts
 * const write = fencedUpdate({ table: 'reports', key: { id: 42 }, set: { body }, token: lock });
 * const { rowCount } = await pool.query(write.text, write.values);
 * write.check(rowCount);
 * ```
 * @throws `ERR_INVALID_ARGUMENT` for names that are none, and where there is no token
 */
export function fencedUpdate(write: FencedWrite): FencedStatement {
  const { table, column, parameters, keys, token } = begin(write);
  const set = Object.entries(write.set ?? {}).map(
    ([name, value]) => `${quoted(name)} = ${parameters.add(value)}`,
  );
  const number = parameters.add(token);
  const where = keys.map(([name, value]) => `${quoted(name)} = ${parameters.add(value)}`);
  const text = `update ${table} set ${[...set, `${column} = ${number}`].join(', ')}
where ${where.join(' and ')} and (${column} is null or ${column} <= ${number})`;
  return statement(write, text, parameters, ' (or there is no such row)');
}

/**
 * Writes a row, whether it is there or not, unless a higher token has written it. The columns of `key` need a
 * unique index. For PostgreSQL and SQLite.
 *
 * With a table for it (`resource text primary key, fencing_token bigint`) and nothing to set it guards
 * whatever the rest of the transaction writes.
 *
 * @throws as `fencedUpdate`
 */
export function fencedUpsert(write: FencedWrite): FencedStatement {
  const { table, column, parameters, keys, token } = begin(write);
  const set = Object.entries(write.set ?? {});
  const columns = [...keys, ...set].map(([name]) => quoted(name));
  const values = [...keys, ...set, ['', token] as const].map(([, value]) => parameters.add(value));
  const changes = [...set.map(([name]) => quoted(name)), column];
  const text = `insert into ${table} as kept (${[...columns, column].join(', ')}) values (${values.join(', ')})
on conflict (${keys.map(([name]) => quoted(name)).join(', ')}) do update set ${changes.map((name) => `${name} = excluded.${name}`).join(', ')}
where kept.${column} is null or kept.${column} <= excluded.${column}`;
  return statement(write, text, parameters, '');
}

class Parameters {
  readonly values: unknown[] = [];
  readonly #sign: string;

  constructor(sign: string) {
    this.#sign = sign;
  }

  add(value: unknown): string {
    return `${this.#sign}${this.values.push(value)}`;
  }
}

interface Begun {
  readonly table: string;
  readonly column: string;
  readonly parameters: Parameters;
  readonly keys: readonly (readonly [string, unknown])[];
  readonly token: bigint;
}

function begin(write: FencedWrite): Begun {
  const { dialect = 'postgres', column = 'fencing_token' } = write;
  if (dialect !== 'postgres' && dialect !== 'sqlite') {
    throw invalid(`dialect: 'postgres' or 'sqlite' is needed, not '${String(dialect)}'`);
  }
  const keys = Object.entries(write.key);
  if (keys.length === 0) throw invalid('key: the columns that find the row are needed');
  const table = String(write.table).split('.').map(quoted).join('.');
  const both = [...keys.map(([name]) => name), column].filter((name) =>
    Object.hasOwn(write.set ?? {}, name),
  );
  if (both.length > 0) throw invalid(`set: '${both[0]}' is the key's or the token's`);
  return {
    table,
    column: quoted(column),
    parameters: new Parameters(dialect === 'postgres' ? '$' : '?'),
    keys,
    token: tokenOf(write.token),
  };
}

function statement(
  write: FencedWrite,
  text: string,
  { values }: Parameters,
  otherwise: string,
): FencedStatement {
  const row = Object.values(write.key).map(String).join(', ');
  return {
    text,
    values,
    check: (changed) => {
      if (changed === 1 || changed === 1n) return;
      if (changed === 0 || changed === 0n) {
        throw staleToken(`${write.table} ${row}`, tokenOf(write.token), undefined, otherwise);
      }
      if (typeof changed !== 'number' && typeof changed !== 'bigint') {
        throw invalid('check: how many rows were changed is needed: rowCount of pg');
      }
      // Of several rows some may have been refused.
      throw new QuorateError(
        'ERR_INVALID_ARGUMENT',
        `key: ${changed} rows of ${write.table} have it, and one is needed: roll back`,
        { outcome: 'unknown' },
      );
    },
  };
}

function quoted(name: string): string {
  if (/^[a-z_]\w{0,62}$/i.test(name)) return `"${name}"`;
  throw invalid(
    `${JSON.stringify(name)} is no name of a table or column: letters, digits and '_' are needed`,
  );
}
