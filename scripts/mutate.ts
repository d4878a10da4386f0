/**
 * Mutation testing of src/resilience with Stryker: changes the sources in a copy, one place at a time, and looks whether a test
 * fails (docs/internals/mutation-testing.md).
 *
 *   npm run mutate -- [--only TEXT[,TEXT]] [--anew] [--survivors]
 *
 * `--only`: the files that have one of the texts in their path. What is known of a mutant is kept in .cache/mutation/ and holds until
 * its code or its tests change; `--anew` forgets it. `--survivors` tries nothing, and lists those that are known. It runs for long, with
 * the lowest priority, and is no part of the tests. Stryker is installed beside the build products once.
 *
 * Each file has a run of its own: what Stryker puts into a source makes it ten times as slow, and what is done can be kept.
 */
import { existsSync, globSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { installPeers } from '../bench/peers.ts';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const CACHE = '.cache/mutation';
const PAGE = join(ROOT, 'docs/internals/mutation-testing.md');
const PACKAGES = ['@stryker-mutator/core@10.1.1', '@stryker-mutator/api@10.1.1'];
const SOURCES = 'src/resilience/**/*.ts';
/** What tests them besides their own tests, within one process. */
const OTHER_TESTS = 'src/{telemetry,prometheus}/**/*.test.ts';
/** These have engines and threads to test with, which are started anew for each test. */
const APART = /^src\/resilience\/(cluster\/[^/]*(?<!\.test)\.ts|threads\/)/;

/** What Stryker says of one mutant, by its report's schema. */
interface Mutant {
  readonly mutatorName: string;
  readonly replacement?: string;
  readonly status: string;
  readonly static?: boolean;
  readonly location: {
    readonly start: { readonly line: number; readonly column: number };
    readonly end: { readonly line: number; readonly column: number };
  };
}

interface FileResult {
  readonly source: string;
  readonly mutants: readonly Mutant[];
}

interface Stryker {
  runMutationTest(): Promise<unknown>;
}

/** Exit status 2. */
class Mistake extends Error {}

function isTest(path: string): boolean {
  return path.endsWith('.test.ts') || /\/test-[\w-]+\.ts$/.test(path);
}

function paths(pattern = SOURCES): string[] {
  const all = globSync(pattern, { cwd: ROOT }).map((path) => path.replaceAll('\\', '/'));
  return all.filter((path) => !APART.test(path)).sort();
}

/** What is known of a file's mutants, written by Stryker. */
function knownPath(path: string): string {
  return join(CACHE, 'known', `${path.replace('src/resilience/', '').replaceAll('/', '+')}.json`);
}

function importsOf(file: string): string[] {
  const source = readFileSync(join(ROOT, file), 'utf8');
  const found = [...source.matchAll(/from '(\.[^']+\.ts)'/g)];
  const paths = found.map(([, to]) => posix.join(posix.dirname(file), to!));
  return paths.filter((one) => existsSync(join(ROOT, one)));
}

/** The tests that load it, by imports, and those of them that import it themselves. */
function testsOf(path: string): { readonly all: string[]; readonly near: string[] } {
  const reaches = new Map<string, boolean>([[path, true]]);
  const visit = (file: string): boolean => {
    const seen = reaches.get(file);
    if (seen !== undefined) return seen;
    reaches.set(file, false);
    // All of them, as others will ask.
    const any = importsOf(file).map(visit);
    reaches.set(file, any.includes(true));
    return reaches.get(file)!;
  };
  const all = [...paths(), ...paths(OTHER_TESTS)];
  const tests = all.filter((one) => one.endsWith('.test.ts') && visit(one));
  return { all: tests, near: tests.filter((one) => importsOf(one).includes(path)) };
}

/**
 * What is computed when a module is loaded is covered by no test by name, so that Stryker takes what was known of it to hold
 * whatever tests were added.
 */
function forgetStaticSurvivors(path: string): void {
  const file = join(ROOT, knownPath(path));
  if (!existsSync(file)) return;
  const all = JSON.parse(readFileSync(file, 'utf8')) as { files: Record<string, FileResult> };
  for (const [name, result] of Object.entries(all.files)) {
    const mutants = result.mutants.filter((one) => one.static !== true || !lives(one));
    all.files[name] = { ...result, mutants };
  }
  writeFileSync(file, JSON.stringify(all));
}

type MakeStryker = new (options: object) => Stryker;

async function installedStryker(): Promise<MakeStryker> {
  const prefix = await installPeers('mutation', PACKAGES);
  const entry = join(prefix, 'node_modules/@stryker-mutator/core/dist/src/index.js');
  return ((await import(pathToFileURL(entry).href)) as { Stryker: MakeStryker }).Stryker;
}

async function tryMutantsOf(path: string, Stryker: MakeStryker): Promise<void> {
  forgetStaticSurvivors(path);
  const { all, near } = testsOf(path);
  process.env['QUORATE_MUTATE_TESTS'] = JSON.stringify(all);
  process.env['QUORATE_MUTATE_NEAR'] = JSON.stringify(near);
  const stryker = new Stryker({
    mutate: [path],
    testRunner: 'node-test',
    plugins: [join(ROOT, 'scripts/mutate/test-runner.ts')],
    testRunnerNodeArgs: [...process.execArgv],
    coverageAnalysis: 'perTest',
    concurrency: 1,
    // What mutants leave behind in the process of the runner is not to reach many others.
    maxTestRunnerReuse: 250,
    timeoutMS: 4000,
    timeoutFactor: 3,
    dryRunTimeoutMinutes: 15,
    incremental: true,
    incrementalFile: knownPath(path),
    ignorePatterns: ['**', '!src/**/*.ts', '!test/support/**', '!package.json'],
    disableTypeChecks: false,
    symlinkNodeModules: false,
    checkers: [],
    reporters: [],
    logLevel: 'error',
    thresholds: { high: 90, low: 90, break: null },
    tempDirName: join(CACHE, 'sandbox'),
    allowConsoleColors: false,
  });
  await stryker.runMutationTest();
}

function known(path: string): FileResult {
  const file = join(ROOT, knownPath(path));
  const nothing = { source: '', mutants: [] };
  if (!existsSync(file)) return nothing;
  const { files } = JSON.parse(readFileSync(file, 'utf8')) as { files: Record<string, FileResult> };
  return files[path] ?? nothing;
}

const lives = ({ status }: Mutant): boolean => status === 'Survived' || status === 'NoCoverage';
const dies = ({ status }: Mutant): boolean => status === 'Killed' || status === 'Timeout';

/** What a mutant is, as `line:column: name: before → after`. */
function told({ location, mutatorName, replacement, status }: Mutant, source: string): string {
  const { start, end } = location;
  const lines = source.split('\n').slice(start.line - 1, end.line);
  lines[lines.length - 1] = lines.at(-1)!.slice(0, end.column - 1);
  lines[0] = lines[0]!.slice(start.column - 1);
  const short = (text: string): string => text.replace(/\s+/g, ' ').slice(0, 90);
  const place = `${start.line}:${start.column}`;
  const seen = status === 'NoCoverage' ? ' (never run)' : '';
  return `${place}: ${mutatorName}: ${short(lines.join(' '))} → ${short(replacement ?? '')}${seen}`;
}

function listSurvivors(files: readonly string[]): void {
  for (const path of files) {
    const { mutants, source } = known(path);
    for (const mutant of mutants.filter(lives)) console.log(`${path}:${told(mutant, source)}`);
  }
}

function row(name: string, mutants: readonly Mutant[]): string {
  const killed = mutants.filter(dies).length;
  const alive = mutants.filter(lives).length;
  const score = killed + alive === 0 ? '–' : ((100 * killed) / (killed + alive)).toFixed(1);
  const timeouts = mutants.filter(({ status }) => status === 'Timeout').length;
  return `| ${name} | ${killed + alive} | ${killed} | ${timeouts} | ${alive} | ${score} |`;
}

/** Writes the table of the page, between its two marks. */
function writeTable(): void {
  const rows: string[] = [];
  const counted: Mutant[] = [];
  for (const path of paths()) {
    const mutants = known(path).mutants.filter((one) => lives(one) || dies(one));
    if (mutants.length === 0) continue;
    counted.push(...mutants);
    rows.push(row(`\`${path.replace('src/resilience/', '')}\``, mutants));
  }
  rows.push(row('all', counted));
  const head = '| file | mutants | killed | of these by timeout | alive | score, % |';
  const table = [head, '|---|---:|---:|---:|---:|---:|', ...rows].join('\n');
  const page = readFileSync(PAGE, 'utf8');
  const marks = /(<!-- table -->\n)[\s\S]*?(<!-- end of table -->)/;
  writeFileSync(
    PAGE,
    page.replace(marks, (_, begin: string, end: string) => `${begin}${table}\n${end}`),
  );
  console.log(rows.at(-1));
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: '' },
      anew: { type: 'boolean', default: false },
      survivors: { type: 'boolean', default: false },
    },
  });
  const texts = values.only.split(',');
  const chosen = paths().filter(
    (path) => !isTest(path) && texts.some((text) => path.includes(text)),
  );
  if (chosen.length === 0) throw new Mistake(`--only ${values.only}: no file has that in its path`);
  if (values.survivors) return listSurvivors(chosen);
  process.chdir(ROOT);
  setPriority(constants.priority.PRIORITY_LOW);
  const Stryker = await installedStryker();
  for (const path of chosen) {
    if (values.anew) rmSync(knownPath(path), { force: true });
    console.log(`${new Date().toISOString()} ${path}`);
    try {
      await tryMutantsOf(path, Stryker);
    } catch (error) {
      // Such as a test that fails without mutants: the other files can be tried all the same.
      process.exitCode = 1;
      console.log(`${path}: ${(error as Error).message}`);
      continue;
    }
    listSurvivors([path]);
    writeTable();
  }
}

try {
  await main();
} catch (error) {
  const code = (error as { code?: unknown }).code;
  if (!(error instanceof Mistake) && !String(code).startsWith('ERR_PARSE_ARGS')) throw error;
  console.error((error as Error).message);
  process.exitCode = 2;
}
