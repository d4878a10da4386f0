import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { KeyTable } from './key-table.ts';

/** A table whose first column says from when on a row is not needed any more. */
const open = (columns: number, maxKeys: number): KeyTable =>
  new KeyTable(columns, maxKeys, (rows, at) => rows[at]!);

function fill(table: KeyTable, key: string, columns: number, idleMs: number, nowMs: number): void {
  const at = table.add(key, nowMs);
  assert.notEqual(at, undefined, key);
  for (let column = 0; column < columns; column++) {
    assert.equal(table.rows[at! + column], 0, 'a new row is one of zeros');
    table.rows[at! + column] = idleMs + column;
  }
}

function requireRow(table: KeyTable, key: string, columns: number, idleMs: number): void {
  const at = table.find(key)!;
  for (let column = 0; column < columns; column++) {
    assert.equal(table.rows[at + column], idleMs + column, key);
  }
}

describe('rows by key', () => {
  it('keep what is written to them while others come and go, in few bytes', () => {
    for (const columns of [1, 3]) {
      const table = open(columns, 1000);
      const random = seededRandom(columns);
      const model = new Map<string, number>();
      for (let step = 1; step <= 3000; step++) {
        const key = `${random.below(600)}`;
        const isThere = model.has(key);
        assert.equal(table.find(key) !== undefined, isThere);
        if (isThere && random.below(2) === 0) {
          table.delete(key);
          model.delete(key);
        } else if (!isThere) {
          fill(table, key, columns, step, 0);
          model.set(key, step);
        }
      }
      for (const [key, idleMs] of model) requireRow(table, key, columns, idleMs);
      assert.ok(table.rows.length <= 1024 * columns, `${table.rows.length}`);
    }
  });

  it('are at most so many, and those that are not needed any more make room', () => {
    const table = open(2, 20);
    for (let i = 0; i < 20; i++) fill(table, `${i}`, 2, 100, 0);
    assert.equal(table.rows.length, 40);
    // One that looks finds some, and goes on where it was.
    assert.equal(table.add('early', 99), undefined);
    assert.equal(table.add('early', 99), undefined);
    assert.equal(table.add('early', 99), undefined);
    fill(table, 'a', 2, 200, 100);
    let left = 0;
    for (let i = 0; i < 20; i++) if (table.find(`${i}`) !== undefined) left += 1;
    assert.ok(left >= 11 && left < 20, `${left}`);
    for (let i = 0; i < 19; i++) fill(table, `b${i}`, 2, 300, 100);
    requireRow(table, 'a', 2, 200);
    assert.equal(table.add('one more', 100), undefined);
  });

  it('may be deleted more than once, and there may be only one', () => {
    const table = open(1, 1);
    assert.equal(table.rows.length, 1);
    for (let round = 0; round < 3; round++) {
      fill(table, 'a', 1, 1e9, 0);
      assert.equal(table.add('b', 0), undefined);
      table.delete('a');
      table.delete('a');
      table.delete('never there');
      assert.equal(table.find('a'), undefined);
    }
  });

  it('get other columns with what they held', () => {
    for (const [before, after] of [
      [2, 5],
      [5, 2],
    ] as const) {
      const table = open(before, 100);
      for (let i = 0; i < 30; i++) fill(table, `${i}`, before, 1000 + i, 0);
      for (const i of [3, 7, 29]) table.delete(`${i}`);
      table.widen(after, (from, at, to, toAt) => {
        assert.equal(to[toAt], 0);
        for (let column = 0; column < after; column++) to[toAt + column] = from[at]! + column;
      });
      for (let i = 30; i < 60; i++) fill(table, `${i}`, after, 1000 + i, 0);
      for (let i = 0; i < 60; i++) {
        if (table.find(`${i}`) === undefined) assert.ok([3, 7, 29].includes(i), `${i}`);
        else requireRow(table, `${i}`, after, 1000 + i);
      }
      assert.ok(table.rows.length <= 64 * after, `${table.rows.length}`);
    }
  });
});
