import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CommandError } from './io.ts';
import { loadPackage } from './packages.ts';

let folder: string;
before(() => (folder = mkdtempSync(join(tmpdir(), 'quorate-packages-'))));
after(() => rmSync(folder, { recursive: true }));

/** A project with these packages, each with its source. */
function project(name: string, packages: Record<string, string>): string {
  for (const [packed, source] of Object.entries(packages)) {
    const at = join(folder, name, 'node_modules', packed);
    mkdirSync(at, { recursive: true });
    writeFileSync(join(at, 'index.js'), source);
  }
  return join(folder, name, 'package.json');
}

test('the first that is there is taken, of the first place that has one', async () => {
  const own = project('own', { second: 'module.exports = { from: "own" }' });
  const other = project('other', { first: 'module.exports = { from: "other" }' });
  const load = (...places: string[]) => loadPackage(['first', 'second'], 'it', places);
  assert.equal((await load(own, other)).name, 'second');
  assert.equal((await load(own, other)).exports['from'], 'own');
  assert.equal((await load(other, own)).name, 'first');
});

test('where none is there the message says what to install', async () => {
  const empty = project('empty', {});
  await assert.rejects(loadPackage(['first', 'second'], '--driver x', [empty]), (error) => {
    assert.ok(error instanceof CommandError);
    assert.match(
      error.message,
      /^--driver x needs the package 'first' or 'second'.*install first$/,
    );
    return true;
  });
});

test('one that breaks when it is loaded says so, not that it is missing', async () => {
  const broken = project('broken', { first: 'throw new Error("no such luck")' });
  await assert.rejects(loadPackage(['first'], 'it', [broken]), /'first' cannot be loaded: no such/);
});
