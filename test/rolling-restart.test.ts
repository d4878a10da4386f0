/** The example whose service is restarted under load, in short: no request may fail. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

for (const framework of ['node', 'express', 'fastify', 'hono']) {
  test(`a service of three processes on ${framework} is restarted under load, and no request fails`, () => {
    const program = join(root, 'examples/rolling-restart/main.ts');
    const restarts = framework === 'node' ? '3' : '1';
    const options = ['--restarts', restarts, '--rate', '150', '--framework', framework];
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['--conditions=quorate-source', program, ...options],
      { cwd: root, encoding: 'utf8', timeout: 120_000 },
    );
    assert.equal(status, 0, stdout + stderr);
    const [, requests, failed] = /^(\d+) requests, (\d+) failed/m.exec(stdout) ?? [];
    assert.ok(Number(requests) > 100, stdout);
    assert.equal(failed, '0');
  });
}
