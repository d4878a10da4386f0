/**
 * Builds `dist` with nothing but tsc, then proves what package.json promises: every export has its
 * code and its types and can be imported, and the executable starts.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

function fail(text: string): never {
  console.error(`build: ${text}`);
  process.exit(1);
}

function run(command: string, args: readonly string[], what: string): string {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (result.status === 0) return result.stdout;
  fail(`${what}\n${result.stdout}${result.stderr}${result.error?.message ?? ''}`);
}

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
}

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;

rmSync(join(root, 'dist'), { recursive: true, force: true });
run(join(root, 'node_modules/.bin/tsc'), ['-p', 'tsconfig.build.json'], 'tsc failed');

const entries: string[] = [];
for (const [path, target] of Object.entries(manifest.exports)) {
  if (typeof target === 'string') continue;
  for (const [condition, file] of Object.entries(target)) {
    if (!existsSync(join(root, file))) fail(`export "${path}" (${condition}): ${file} is missing`);
  }
  entries.push(path.replace(/^\./, manifest.name));
}
// A package imports itself by name; without the source condition that resolves to dist.
const imports = entries.map((entry) => `await import(${JSON.stringify(entry)});`).join('\n');
run(process.execPath, ['--input-type=module', '--eval', imports], 'an export cannot be imported');

for (const [name, file] of Object.entries(manifest.bin)) {
  const path = join(root, file);
  if (!readFileSync(path, 'utf8').startsWith('#!/usr/bin/env node\n')) fail(`${file}: no #! line`);
  chmodSync(path, 0o755);
  const version = run(process.execPath, [path, '--version'], `${name} --version failed`);
  if (!version.includes(manifest.version)) fail(`${name} --version says ${version}`);
}
console.log(`built ${manifest.name} ${manifest.version}: ${entries.length} exports`);
