import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isQuorateError } from './errors.ts';
import { lockFolder } from './folder-lock.ts';

const MODULE = new URL('./folder-lock.ts', import.meta.url).href;

function temporaryFolder(t: { after: (run: () => void) => void }, deep = ''): string {
  const root = mkdtempSync(join(tmpdir(), 'quorate-lock-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const folder = join(root, deep);
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** A process that locks `folder`, says how that went, and stays for as long as its input is open. */
async function locker(folder: string): Promise<{ child: ChildProcess; said: string }> {
  const script = `
    import { lockFolder } from ${JSON.stringify(MODULE)};
    const outcome = await lockFolder(${JSON.stringify(folder)}).then(() => 'locked', (e) => e.code);
    process.stdin.resume();
    console.log(outcome);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [said] = await once(child.stdout!, 'data');
  return { child, said: String(said).trim() };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  child.kill(signal);
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

function isLockedBy(pid: number | undefined): (error: unknown) => boolean {
  return (error) => {
    assert.ok(isQuorateError(error, 'ERR_DATA_DIR_LOCKED'), String(error));
    assert.match(error.message, new RegExp(`process ${pid} `));
    return true;
  };
}

test('a folder is locked once, and free again after release', async (t) => {
  const folder = temporaryFolder(t);
  const release = await lockFolder(folder);
  await assert.rejects(lockFolder(folder), isLockedBy(process.pid));
  await release();
  assert.deepEqual(readdirSync(folder), []);
  await (await lockFolder(folder))();
});

test('a path too long for a socket address is locked all the same', async (t) => {
  const folder = temporaryFolder(t, join('a'.repeat(90), 'b'.repeat(90)));
  const release = await lockFolder(folder);
  await assert.rejects(lockFolder(folder), isLockedBy(process.pid));
  await release();
  assert.deepEqual(readdirSync(folder), []);
});

test('a stopped process keeps its lock; one killed by SIGKILL leaves it free', async (t) => {
  const folder = temporaryFolder(t);
  const { child, said } = await locker(folder);
  t.after(() => child.kill('SIGKILL'));
  assert.equal(said, 'locked');
  child.kill('SIGSTOP');
  await assert.rejects(lockFolder(folder), isLockedBy(child.pid));
  await end(child, 'SIGKILL');
  assert.equal(readdirSync(folder).length, 1);
  const release = await lockFolder(folder);
  await release();
  assert.deepEqual(readdirSync(folder), []);
});

test('of many who take over from a dead process at once, exactly one gets the lock', async (t) => {
  const folder = temporaryFolder(t);
  const { child } = await locker(folder);
  await end(child, 'SIGKILL');
  const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(folder)));
  const won = outcomes.filter((outcome) => outcome.status === 'fulfilled');
  assert.equal(won.length, 1);
  await won[0]!.value();
});

test('a held lock does not keep the process alive', async (t) => {
  const folder = temporaryFolder(t);
  const { child } = await locker(folder);
  child.stdin!.end();
  const [code] = await once(child, 'exit');
  assert.equal(code, 0);
});
