/**
 * The package as users get it: built, packed, installed into an empty project, without the sources
 * and without the source condition.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Cli } from './support/cli.ts';
import { freePorts } from './support/ports.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

interface Manifest {
  readonly version: string;
  readonly exports: Readonly<Record<string, string | object>>;
}
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
const entries = Object.keys(manifest.exports).filter((path) => path !== './package.json');
const specifiers = entries.map((path) => path.replace(/^\./, 'quorate'));

let project: string;

function run(folder: string, command: string, ...args: string[]): string {
  const env = { ...process.env };
  for (const name of Object.keys(env))
    if (/^npm_(config|package)_|^NODE_/.test(name)) delete env[name];
  const result = spawnSync(command, args, { cwd: folder, env, encoding: 'utf8' });
  assert.equal(result.status, 0, `${command} ${args.join(' ')}\n${result.stdout}${result.stderr}`);
  return result.stdout;
}

before(() => {
  project = mkdtempSync(join(tmpdir(), 'quorate-packaging-'));
  run(root, process.execPath, '--disable-warning=ExperimentalWarning', 'scripts/build.ts');
  run(root, 'npm', 'pack', '--ignore-scripts', '--silent', '--pack-destination', project);
  const [tarball] = readdirSync(project);
  writeFileSync(join(project, 'package.json'), '{"type":"module","private":true}');
  run(
    project,
    'npm',
    'install',
    '--offline',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    `./${tarball}`,
  );
});
after(() => rmSync(project, { recursive: true, force: true }));

test('every export can be imported, and brings nothing else along', () => {
  const script = specifiers.map((name) => `await import('${name}')`).join('; ');
  run(project, process.execPath, '--input-type=module', '--eval', script);
  const installed = readdirSync(join(project, 'node_modules')).filter(
    (name) => !name.startsWith('.'),
  );
  assert.deepEqual(installed, ['quorate']);
});

test('a Node that is too old is told so by every export', () => {
  for (const name of specifiers) {
    const script = `delete Promise.withResolvers;
      await import('${name}').catch(({ message }) => process.stdout.write(message));`;
    const said = run(project, process.execPath, '--input-type=module', '--eval', script);
    assert.equal(said, `quorate needs Node 22.18 or newer, this is ${process.version}`, name);
  }
});

test('every export has types that compile in a strict project', () => {
  const lines = specifiers.map((name, index) => `export type * as m${index} from '${name}';`);
  writeFileSync(join(project, 'types.ts'), lines.join('\n'));
  const compilerOptions = {
    strict: true,
    noEmit: true,
    module: 'nodenext',
    target: 'es2024',
    lib: ['es2024', 'esnext.disposable'],
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
  };
  writeFileSync(
    join(project, 'tsconfig.json'),
    JSON.stringify({ compilerOptions, files: ['types.ts'] }),
  );
  run(project, join(root, 'node_modules/.bin/tsc'), '-p', project);
});

test('the executable starts', () => {
  const version = run(project, process.execPath, 'node_modules/.bin/quorate', '--version');
  assert.match(version, new RegExp(`Quorate Version: ${manifest.version}`));
});

test('the package holds code, types, licence and pages, and no test', () => {
  const folder = join(project, 'node_modules/quorate');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  for (const name of ['LICENSE', 'README.md', 'CHANGELOG.md', 'docs/kv.md', 'docs/errors.md'])
    assert.ok(existsSync(join(folder, name)));
  assert.deepEqual(
    files.filter(
      (name) => /\.test\.|testing\.(js|d)|test-|\.ts$/.test(name) && !name.endsWith('.d.ts'),
    ),
    [],
  );
  assert.deepEqual(
    files.filter((name) => /testing\.d\.ts$|\.test\.d\.ts$/.test(name)),
    [],
  );
});

/** `.ci/run` names the oldest Node that the package supports. */
const oldest = process.env['QUORATE_OLDEST_NODE'];
const nodes = new Set([process.execPath, ...(oldest === undefined ? [] : [oldest])]);

describe('the installed command line serves and is served', () => {
  for (const node of nodes) {
    const { stdout } = spawnSync(node, ['--version'], { encoding: 'utf8' });
    test(`on Node ${stdout.trim()}`, { timeout: 60_000 }, async () => {
      const [client, peer] = (await freePorts(2)).map((port) => `http://127.0.0.1:${port}`);
      const main = join(project, 'node_modules/quorate/dist/cli/main.js');
      const program = [node, main] as const;
      const folder = mkdtempSync(join(project, 'data-'));
      const flags = ['--data-dir', folder, '--listen-client-urls', client!];
      const peers = ['--listen-peer-urls', peer!, '--initial-advertise-peer-urls', peer!];
      await using server = new Cli(['serve', ...flags, ...peers], { program });
      await server.said(/ready to serve client requests/);
      const at = ['--endpoints', client!];
      const put = await new Cli(['kv', 'put', 'k', 'v', ...at], { program }).ended;
      assert.deepEqual([put.code, put.out], [0, 'OK\n'], put.err);
      const lock = await new Cli(['lock', 'x', ...at, '--', 'echo', 'held'], { program }).ended;
      assert.deepEqual([lock.code, lock.out], [0, 'held\n'], lock.err);
      const other = await new Cli(['lock', 'x', '--driver', 'redis'], { program, cwd: project })
        .ended;
      const missing =
        /^quorate: --driver redis needs the package 'redis' or 'ioredis', .*: npm install redis\n$/;
      assert.equal(other.code, 1);
      assert.match(other.err, missing);
      server.kill('SIGTERM');
      assert.equal((await server.ended).code, 0, server.err);
    });
  }
});
