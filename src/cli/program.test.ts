import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { systemClock } from '../core/clock.ts';
import { CommandError, Interrupted } from './io.ts';
import { type ProgramOptions, runProgram } from './program.ts';

let folder: string;
before(() => (folder = mkdtempSync(join(tmpdir(), 'quorate-program-'))));
after(() => rmSync(folder, { recursive: true }));

/** Ten seconds in short naps: a test that fails leaves nothing behind for ever. */
const WAITS = 'i=0; while [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); done';
const never = new AbortController().signal;
const program = (script: string, options: Partial<ProgramOptions> = {}): ProgramOptions => ({
  command: ['sh', '-c', script],
  env: { ...process.env, FOLDER: folder },
  lost: never,
  interrupted: never,
  killAfterMs: 60_000,
  ...options,
});

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise<void>((resolve) => systemClock.after(10, resolve));
}

/** Until the program has written that file. */
async function written(name: string): Promise<string> {
  const path = join(folder, name);
  await until(() => existsSync(path) && readFileSync(path, 'utf8') !== '');
  return readFileSync(path, 'utf8').trim();
}

/** Whether a process is there and is no zombie. */
function runs(pid: string): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test("the program's exit code is passed on, and a signal as 128 plus its number", async () => {
  assert.deepEqual(await runProgram(program('exit 7')), { code: 7, lost: false });
  assert.deepEqual(await runProgram(program('kill -TERM $$')), { code: 143, lost: false });
});

test('a program that does not exist is code 127, as in a shell', async () => {
  await assert.rejects(runProgram({ ...program(''), command: ['no-such-program'] }), (error) => {
    assert.ok(error instanceof CommandError);
    assert.equal(error.exitCode, 127);
    return true;
  });
});

test('nothing runs when the protection is lost already', async () => {
  const end = await runProgram(program('touch $FOLDER/ran', { lost: AbortSignal.abort() }));
  assert.deepEqual(end, { code: 0, lost: true });
  assert.equal(existsSync(join(folder, 'ran')), false);
});

test('a loss ends the program and what it started', { timeout: 10_000 }, async () => {
  const loss = new AbortController();
  const script = 'sleep 30 & echo $! > $FOLDER/grandchild; wait';
  const running = runProgram(program(script, { lost: loss.signal }));
  const grandchild = await written('grandchild');
  assert.ok(runs(grandchild));
  loss.abort();
  assert.deepEqual(await running, { code: 143, lost: true });
  await until(() => !runs(grandchild));
});

test('a program that ignores SIGTERM gets SIGKILL', async () => {
  const loss = new AbortController();
  const script = `trap '' TERM; echo yes > $FOLDER/stubborn; ${WAITS}`;
  const running = runProgram(program(script, { lost: loss.signal, killAfterMs: 50 }));
  await written('stubborn');
  loss.abort();
  assert.deepEqual(await running, { code: 137, lost: true });
});

test('an interruption reaches the program as the same signal, and its answer counts', async () => {
  const stop = new AbortController();
  const script = `trap 'exit 9' INT; echo yes > $FOLDER/trapping; ${WAITS}`;
  const running = runProgram(program(script, { interrupted: stop.signal }));
  await written('trapping');
  stop.abort(new Interrupted('SIGINT'));
  assert.deepEqual(await running, { code: 9, lost: false });
});
