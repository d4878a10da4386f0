/** Every mutant still fits the sources; whether the simulator finds it is for `npm run mutants`. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { mutants } from './mutants.ts';

const root = join(import.meta.dirname, '../..');

test('every mutant still fits the sources', () => {
  for (const { id, also = [], ...first } of mutants) {
    for (const { file, find, replace } of [first, ...also]) {
      const places = readFileSync(join(root, file), 'utf8').split(find).length - 1;
      assert.equal(places, 1, `${id}: its text occurs ${places} times in ${file}: mend it`);
      assert.notEqual(find, replace, id);
    }
  }
});

test('every mutant has a name of its own, and says whose bug it was', () => {
  const ids = mutants.map(({ id }) => id);
  assert.deepEqual(ids, [...new Set(ids)]);
  for (const { id, bug, source } of mutants) {
    assert.match(id, /^[a-z0-9]+(-[a-z0-9]+)*$/);
    assert.ok(bug.length > 10 && source.length > 3, id);
  }
});
