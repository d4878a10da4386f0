/**
 * Everything about the source that can be said without running it, in under ten seconds: format and
 * lint (biome), types (tsc), import rules and house rules (test/tidy.test.ts).
 */
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = (name: string): string => join(root, 'node_modules/.bin', name);

interface Check {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  readonly fix: string;
}

const checks: readonly Check[] = [
  {
    name: 'format and lint',
    command: [bin('biome'), 'check', '--error-on-warnings', '.'],
    fix: 'most of it is mended by: node_modules/.bin/biome check --write .',
  },
  { name: 'types', command: [bin('tsc'), '-p', '.'], fix: 'mend the types; `any` is no way out' },
  {
    name: 'house rules',
    command: [
      process.execPath,
      ...process.execArgv,
      '--test',
      '--test-reporter=dot',
      'test/tidy.test.ts',
    ],
    fix: 'each message says which rule and where; the rules are in test/tidy/',
  },
];

/** Resolves with the output of a failed check, or `undefined`. */
function failureOf(check: Check): Promise<string | undefined> {
  const [file, ...args] = check.command;
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd: root, shell: process.platform === 'win32' });
    let output = '';
    child.stdout.on('data', (data: Buffer) => (output += data.toString()));
    child.stderr.on('data', (data: Buffer) => (output += data.toString()));
    child.on('error', (error) => resolve(`${file}: ${error.message}`));
    child.on('close', (code) => resolve(code === 0 ? undefined : output));
  });
}

const failures = await Promise.all(checks.map(failureOf));
let failed = 0;
for (const [index, { name, fix }] of checks.entries()) {
  const output = failures[index];
  if (output === undefined) console.log(`ok      ${name}`);
  else {
    failed++;
    console.log(`FAILED  ${name}\n\n${output.trimEnd()}\n\n  → ${fix}\n`);
  }
}
process.exitCode = failed === 0 ? 0 : 1;
