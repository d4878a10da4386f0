/** The example of a service that turns slow, then dead, then well: its clients do what they promise, on real HTTP. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

test('a breaker and a degradation follow a service that turns slow, then dead, then well', () => {
  const program = join(root, 'examples/bad-dependency/main.ts');
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--conditions=quorate-source', program, '--phase', '800', '--rate', '60'],
    { cwd: root, encoding: 'utf8', timeout: 60_000 },
  );
  assert.equal(status, 0, stdout + stderr);
  assert.equal(stdout.match(/^ok {4}/gm)?.length, 14, stdout);
  for (const line of [
    /slow +breaker: closed → open \(slow-rate\)/,
    /slow +degrade: closed → open \(mean\)/,
    /dead +breaker: half-open → open \(trial\)/,
    /well again +breaker: half-open → closed \(trial\)/,
    /well again +degrade: half-open → closed \(trial\)/,
  ]) {
    assert.match(stdout, line);
  }
});
