import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeDisk } from './node-disk.ts';

function temporaryFolder(t: { after: (run: () => void) => void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'quorate-disk-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test('a file is created once, written and read at any offset, cut, and closed twice', async (t) => {
  const path = join(temporaryFolder(t), 'file');
  await assert.rejects(nodeDisk.open(path, 'write'), { code: 'ENOENT' });
  const file = await nodeDisk.open(path, 'create');
  await assert.rejects(nodeDisk.open(path, 'create'), { code: 'EEXIST' });
  await file.write(Buffer.from('world'), 6);
  await file.write(Buffer.from('hello'), 0);
  await file.sync();
  assert.equal((await file.read(0, 100)).toString(), 'hello\0world');
  assert.equal((await file.read(6, 3)).toString(), 'wor');
  assert.equal((await file.read(50, 3)).length, 0);
  assert.equal(await file.size(), 11);
  await file.close();
  await file.close();
});

test('a durable write reaches the file also after it was renamed', async (t) => {
  const folder = temporaryFolder(t);
  const file = await nodeDisk.open(join(folder, 'a'), 'create');
  if (file.writeDurably === undefined) return t.skip('this system has no durable write');
  await file.writeDurably(Buffer.from('one'), 0);
  await nodeDisk.rename(join(folder, 'a'), join(folder, 'b'));
  await nodeDisk.syncFolder(folder);
  await file.writeDurably(Buffer.from('two'), 3);
  assert.equal((await file.read(0, 10)).toString(), 'onetwo');
  await file.close();
});

test('folders list, exist and forget', async (t) => {
  const folder = join(temporaryFolder(t), 'a', 'b');
  assert.equal(await nodeDisk.exists(folder), false);
  await nodeDisk.makeFolder(folder);
  assert.equal(await nodeDisk.exists(folder), true);
  const path = join(folder, 'file');
  await (await nodeDisk.open(path, 'create')).close();
  assert.deepEqual(await nodeDisk.list(folder), ['file']);
  await nodeDisk.remove(path);
  assert.deepEqual(await nodeDisk.list(folder), []);
  await assert.rejects(nodeDisk.remove(path), { code: 'ENOENT' });
});
