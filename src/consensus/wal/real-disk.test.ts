/** The storage on the real file system, in a process that is killed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { nodeDisk } from '../../core/node-disk.ts';
import { openDiskStorage } from './storage.ts';

const identity = { clusterId: 'cdf818194e3a8c32', nodeId: '8e9e05c52164694d' };

/** Appends without end and prints the index of each entry that is durable. */
const WRITER = `
  import { openDiskStorage } from ${JSON.stringify(new URL('./storage.ts', import.meta.url).href)};
  import { nodeDisk } from ${JSON.stringify(new URL('../../core/node-disk.ts', import.meta.url).href)};
  const folder = process.argv[1];
  const identity = ${JSON.stringify(identity)};
  const storage = await openDiskStorage({ disk: nodeDisk, folder, identity, settings: { segmentBytes: 32768 } });
  let index = storage.recovered.entries.at(-1)?.index ?? 0;
  const next = () => {
    const one = { type: 0, term: 1, index: ++index, data: Buffer.alloc(2000, index) };
    storage.persist({ hardState: undefined, entries: [one] }, (error) => {
      if (error) throw error;
      process.stdout.write(one.index + '\\n');
      next();
    });
  };
  for (let i = 0; i < 4; i++) next();
`;

test('a process killed by SIGKILL loses nothing that it acknowledged, time after time', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'quorate-wal-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  let acknowledged = 0;
  for (let life = 1; life <= 2; life++) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', WRITER, folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    let output = '';
    const closed = once(child, 'close');
    child.stdout.on('data', (text) => {
      output += text;
    });
    while (output.split('\n').length < 60) await once(child.stdout, 'data');
    const second = openDiskStorage({ disk: nodeDisk, folder, identity });
    await assert.rejects(second, (error) => isQuorateError(error, 'ERR_DATA_DIR_LOCKED'));
    child.kill('SIGKILL');
    await closed;
    acknowledged = Math.max(acknowledged, ...output.split('\n').slice(0, -1).map(Number));
    const storage = await openDiskStorage({ disk: nodeDisk, folder, identity });
    const { entries } = storage.recovered;
    assert.ok(entries.length >= acknowledged, `${entries.length} of ${acknowledged}`);
    for (const [i, entry] of entries.entries()) {
      assert.equal(entry.index, i + 1);
      assert.equal(entry.data[0], (i + 1) % 256);
    }
    await storage.close();
  }
  assert.ok(readdirSync(join(folder, 'member', 'wal')).length > 2);
  assert.deepEqual(readdirSync(folder), ['member']);
});

test('a data directory that cannot be one is refused with the reason', async (t) => {
  const parent = mkdtempSync(join(tmpdir(), 'quorate-wal-'));
  t.after(() => rmSync(parent, { recursive: true, force: true }));
  const file = join(parent, 'file');
  writeFileSync(file, '');
  for (const folder of [file, join(file, 'below')]) {
    await assert.rejects(openDiskStorage({ disk: nodeDisk, folder, identity }), (error) => {
      assert.ok(isQuorateError(error, 'ERR_DISK_FAILED'));
      assert.equal(error.outcome, 'not-applied');
      assert.match(error.message, /cannot be used: a file is in its place \(ENOTDIR\)/);
      return true;
    });
  }
});
