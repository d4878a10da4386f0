/** The end of a process by real signals: its exit code, and what it says of what it left behind. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { get } from 'node:http';
import { dirname } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** A service that never answers `/hangs`. */
const program = (options: string): string => `
import { createServer } from 'node:http';
import { gracefulShutdown } from 'quorate/http';
const server = createServer((request, response) => {
  process.send('asked');
  if (request.url === '/quick') response.end('ok');
});
gracefulShutdown({ servers: [server], idle: 0, delay: 0, ${options} });
server.listen(0, '127.0.0.1', () => process.send(server.address().port));
`;

interface Started {
  readonly child: ChildProcess;
  readonly ask: (path: string) => Promise<void>;
  readonly ended: Promise<readonly [code: number | null, stderr: string]>;
}

async function start(t: TestContext, options: string): Promise<Started> {
  const flags = ['--conditions=quorate-source', '--disable-warning=ExperimentalWarning'];
  const args = [...flags, '--input-type=module', '--eval', program(options)];
  const child = spawn(process.execPath, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
  });
  t.after(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = once(child, 'close').then(([code]) => [code as number | null, stderr] as const);
  const [port] = (await once(child, 'message')) as [number];
  const ask = async (path: string): Promise<void> => {
    const asked = once(child, 'message');
    get({ host: '127.0.0.1', port, path, agent: false }, (response) => response.resume()).on(
      'error',
      () => undefined,
    );
    await asked;
  };
  return { child, ask, ended };
}

test('a process with nothing left ends with 0, and says so', async (t) => {
  const { child, ask, ended } = await start(t, '');
  await ask('/quick');
  child.kill('SIGINT');
  const [code, stderr] = await ended;
  assert.equal(code, 0, stderr);
  assert.match(stderr, /^shut down \(SIGINT\) in \d+ ms, exit code 0\n/);
});

test('a request that hangs is given up at its deadline: exit code 1, and the log names it', async (t) => {
  const { child, ask, ended } = await start(t, 'deadlines: { finish: 200 }');
  await ask('/hangs?token=secret');
  child.kill('SIGTERM');
  const [code, stderr] = await ended;
  assert.equal(code, 1, stderr);
  assert.match(stderr, /finish abandoned.*\n.*0 finished, 1 abandoned: GET \/hangs\n/);
  assert.ok(!stderr.includes('secret'), stderr);
});

test('a second signal ends it at once', async (t) => {
  const { child, ask, ended } = await start(t, "deadlines: { finish: '10m' }");
  await ask('/hangs');
  child.kill('SIGTERM');
  let hasEnded = false;
  void ended.then(() => (hasEnded = true));
  // The first ones are taken for the same: a second after it they are not.
  while (!hasEnded) {
    await delay(300);
    child.kill('SIGTERM');
  }
  const [code, stderr] = await ended;
  assert.equal(code, 1, stderr);
  assert.match(stderr, /1 abandoned: GET \/hangs\n[\s\S]*flush skipped/);
});
