/** `scripts/run.mjs`, which every command of package.json goes through. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const PROGRAM = `
  process.on('SIGTERM', () => { console.log('told to stop'); process.exit(); });
  setInterval(() => {}, 1000);
  console.log('runs');
`;

test('what npm started stops when npm is ended', { timeout: 30_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'quorate-run-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'program.ts');
  writeFileSync(file, PROGRAM);
  // As npm does: with a shell between, which a signal ends without passing it on.
  const shell = spawn('sh', ['-c', `node scripts/run.mjs ${relative(root, file)}; true`], {
    cwd: root,
    env: { ...process.env, QUORATE_NODE: process.execPath, npm_lifecycle_event: 'start' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  shell.stdout.on('data', (data: Buffer) => {
    said += data.toString();
    if (said === 'runs\n') shell.kill('SIGTERM');
  });
  await once(shell, 'close'); // of its output: the program has ended
  assert.equal(said, 'runs\ntold to stop\n');
});
