/** The programs in the documentation run, and print what they say they print. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePorts } from './support/ports.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Runs it as a file at the root would: `quorate/…` is this package. */
function outputOf(program: string): string[] {
  const flags = ['--conditions=quorate-source', '--disable-warning=ExperimentalWarning'];
  const args = [...flags, '--input-type=module-typescript', '--eval', program];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(status, 0, stderr);
  return stdout.trimEnd().split('\n');
}

/** All TypeScript of the page is one program; `console.log(…); // text` says what is printed. */
const PAGES = [
  'kv',
  'locks',
  'fencing',
  'resilience',
  'cluster-limits',
  'hosting',
  'testing',
  'telemetry',
].map((name) => `docs/${name}.md`);
for (const page of PAGES) {
  test(`the examples of ${page} print what they say`, () => {
    const text = readFileSync(join(root, page), 'utf8');
    const program = [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code).join('\n');
    const wanted = [...program.matchAll(/console\.log\(.*\); \/\/ (.+)$/gm)].map(
      ([, said]) => said,
    );
    assert.ok(wanted.length > 3);
    assert.deepEqual(outputOf(program), wanted);
  });
}

for (const example of globSync('examples/*.ts', { cwd: root })) {
  test(`${example} prints what it says`, { timeout: 60_000 }, async () => {
    let program = readFileSync(join(root, example), 'utf8');
    const wanted = [...program.matchAll(/^\/\/ Prints: (.+)$/gm)].map(([, said]) => said);
    assert.ok(wanted.length > 0);
    const ports = new Set(program.match(/(?<=127\.0\.0\.1:)\d+/g));
    const free = await freePorts(ports.size);
    for (const [index, port] of [...ports].entries()) {
      program = program.replaceAll(port, String(free[index]));
    }
    assert.deepEqual(outputOf(program), wanted);
  });
}
