/** The statements in SQLite; in PostgreSQL they are tested in test/drivers/fencing.test.ts. */
import assert from 'node:assert/strict';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import { test } from 'node:test';
import { isQuorateError } from '../core/errors.ts';
import {
  type FencedStatement,
  type FencedWrite,
  fencedUpdate,
  fencedUpsert,
} from './fencing-sql.ts';

const dialect = 'sqlite';
const refused = (error: unknown): boolean => isQuorateError(error, 'ERR_LOCK_LOST');

function database(): { db: DatabaseSync; run(write: FencedStatement): void; rows(): unknown[] } {
  const db = new DatabaseSync(':memory:');
  db.exec('create table reports (id integer, part text, body text, fencing_token integer)');
  db.exec('create unique index one on reports (id, part)');
  return {
    db,
    run: ({ text, values, check }) => {
      check(db.prepare(text).run(...(values as SQLInputValue[])).changes);
    },
    rows: () => db.prepare('select body, fencing_token as token from reports').all(),
  };
}

const write = (body: string, token: bigint): FencedWrite => {
  return { table: 'reports', key: { id: 42, part: 'a' }, set: { body }, token, dialect };
};

test('an update with a lower token changes nothing and is refused', () => {
  const { db, run, rows } = database();
  db.exec(`insert into reports values (42, 'a', 'empty', null), (42, 'b', 'other', 99)`);
  run(fencedUpdate(write('first', 3n)));
  run(fencedUpdate(write('first again', 3n)));
  run(fencedUpdate(write('second', 5n)));
  assert.throws(() => run(fencedUpdate(write('late', 4n))), refused);
  const wanted = [
    { body: 'second', token: 5 },
    { body: 'other', token: 99 },
  ];
  assert.deepEqual(
    rows().map((row) => ({ ...(row as object) })),
    wanted,
  );
  assert.throws(
    () => run(fencedUpdate({ ...write('x', 6n), key: { id: 1 } })),
    /or there is no such row/,
  );
});

test('an upsert makes the row, and from then on refuses lower tokens', () => {
  const { db, run } = database();
  run(fencedUpsert(write('first', 3n)));
  run(fencedUpsert(write('first again', 3n)));
  run(fencedUpsert(write('second', 2n ** 62n)));
  assert.throws(() => run(fencedUpsert(write('late', 2n ** 62n - 1n))), refused);
  assert.deepEqual({ ...db.prepare('select body from reports').get() }, { body: 'second' });
});

test('without anything to set only the token is raised', () => {
  const { db, run } = database();
  db.exec('create table fences (resource text primary key, fencing_token integer)');
  const fence = (token: bigint): FencedWrite => {
    return { table: 'main.fences', key: { resource: 'reports' }, token, dialect };
  };
  run(fencedUpsert(fence(3n)));
  run(fencedUpdate(fence(4n)));
  assert.throws(() => run(fencedUpsert(fence(3n))), refused);
});

test('what cannot be is refused before anything is sent', () => {
  const invalid = (wrong: object, message: RegExp): void => {
    for (const build of [fencedUpdate, fencedUpsert]) {
      assert.throws(
        () => build({ ...write('x', 1n), ...wrong }),
        (error) => isQuorateError(error, 'ERR_INVALID_ARGUMENT') && message.test(error.message),
      );
    }
  };
  invalid({ table: 'reports; drop table reports' }, /is no name of a table/);
  invalid({ table: 'a"b' }, /is no name/);
  invalid({ column: 'x y' }, /is no name/);
  invalid({ key: {} }, /key: the columns/);
  invalid({ key: { 'id" or 1=1 --': 1 } }, /is no name/);
  invalid({ set: { id: 1 } }, /set: 'id'/);
  invalid({ set: { fencing_token: 1 } }, /set: 'fencing_token'/);
  invalid({ token: { fencingToken: undefined } }, /token: .*Redlock has none/);
  invalid({ token: 1 }, /a bigint/);
  invalid({ dialect: 'oracle' }, /dialect/);
});

test('a count that is none is an error of the caller; of several rows too', () => {
  const { db, run } = database();
  const { check } = fencedUpdate(write('x', 1n));
  assert.throws(() => check(undefined), /how many rows were changed is needed/);
  assert.throws(() => check(null), /how many rows were changed is needed/);
  db.exec(`insert into reports values (42, 'a', '', 0), (42, 'b', '', 0)`);
  assert.throws(
    () => run(fencedUpdate({ ...write('x', 1n), key: { id: 42 } })),
    (error) => isQuorateError(error, 'ERR_INVALID_ARGUMENT') && error.outcome === 'unknown',
  );
});
