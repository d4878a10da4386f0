/**
 * The tests: every `*.test.ts` of src, test and examples, one process a file.
 *
 *   npm test -- [--only TEXT] [--engines | --no-engines] [--verbose]
 *
 * Tests against the real etcd run when it is installed (`npm run engines`), and say loudly when
 * they are skipped; with `--engines` a skipped engine is a failure. The last line is always
 * `N passed, N failed, N skipped`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { availableParallelism, homedir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { run } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inspect, parseArgs, styleText } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** A storm of chaos may be asked to go on for longer, and ends by itself. */
const FILE_TIMEOUT_MS = process.env['QUORATE_CHAOS_FOR'] ? Number.POSITIVE_INFINITY : 600_000;

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    engines: { type: 'boolean' },
    'no-engines': { type: 'boolean' },
    verbose: { type: 'boolean' },
  },
});

interface FileReport {
  passed: number;
  ms: number;
  readonly failures: string[];
  readonly output: string[];
}

const reports = new Map<string, FileReport>();
/** The files that are run, as paths. */
const reportedFiles = new Set<string>();
const skips: string[] = [];
/** What a test stands in, by its depth: results come in the order in which the tests are declared. */
const headings: string[] = [];
let failed = 0;

type Colour = 'red' | 'green' | 'yellow' | 'gray';
const paint = (colour: Colour, text: string): string =>
  process.stdout.isTTY && !process.env['NO_COLOR'] ? styleText(colour, text) : text;

function reportOf(file: string | undefined): FileReport {
  const name = file === undefined ? 'tests' : relative(root, file);
  let report = reports.get(name);
  if (report === undefined) {
    report = { passed: 0, ms: 0, failures: [], output: [] };
    reports.set(name, report);
  }
  return report;
}

/** What a failed test says: the assertion's own message and place, not the runner's wrapper. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const text = typeof cause === 'string' ? cause : inspect(cause, { depth: 6 });
  return text.replaceAll(/^/gm, '      ');
}

interface Verdict {
  readonly name: string;
  readonly nesting: number;
  readonly file?: string | undefined;
  readonly line?: number | undefined;
  readonly skip?: string | boolean | undefined;
  readonly todo?: string | boolean | undefined;
  readonly details: {
    readonly duration_ms: number;
    readonly type?: string | undefined;
    readonly error?: unknown;
  };
}

/** A suite is a heading, and a file that only wraps its tests is no test of its own. */
function isTest(verdict: Verdict): boolean {
  if (verdict.details.type === 'suite') return false;
  return verdict.file === undefined || verdict.name !== relative(process.cwd(), verdict.file);
}

function onVerdict(verdict: Verdict, passed: boolean): void {
  const report = reportOf(verdict.file);
  if (verdict.nesting === 0) report.ms += verdict.details.duration_ms;
  const { skip, todo } = verdict;
  if (skip !== undefined || todo !== undefined) {
    const why = [skip, todo].find((reason) => typeof reason === 'string' && reason !== '');
    const place = verdict.file === undefined ? '' : relative(root, verdict.file);
    skips.push(`${place}: ${verdict.name}: ${why ?? 'no reason given'}`);
  } else if (passed) {
    if (isTest(verdict)) report.passed++;
    if (options.verbose && isTest(verdict)) report.output.push(`    ✓ ${verdict.name}\n`);
  } else if (!isSubtestFailure(verdict.details.error)) {
    failed++;
    const place = [...headings.slice(0, verdict.nesting), verdict.name].join(' › ');
    report.failures.push(`    ✗ ${place}\n${reasonOf(verdict.details.error)}`);
  }
}

/** A suite or file that fails because of a test inside it, which was counted itself. */
function isSubtestFailure(error: unknown): boolean {
  const type = (error as { failureType?: string } | undefined)?.failureType;
  return type === 'subtestsFailed';
}

function printFile(file: string): void {
  const report = reportOf(file);
  const good = report.failures.length === 0;
  const mark = good ? paint('green', '✓') : paint('red', '✗');
  const elsewhere = report.passed === 0 && good && reportedFiles.has(file);
  const counts = elsewhere
    ? 'its tests are counted where they are defined'
    : `${report.passed} passed${good ? '' : `, ${report.failures.length} failed`}`;
  const time = paint('gray', `(${(report.ms / 1000).toFixed(1)} s)`);
  console.log(`${mark} ${relative(root, file)} ${counts} ${time}`);
  if (!good || options.verbose) for (const text of report.output) process.stdout.write(text);
  for (const text of report.failures) console.log(paint('red', text));
}

/** The real etcd, started for this run; `undefined` where it is not installed. */
function startEngines(): (() => void) | undefined {
  if (options['no-engines'] || process.env['QUORATE_ETCD']) return undefined;
  const bin = process.env['QUORATE_ENGINES'] ?? join(homedir(), '.cache/quorate-engines/bin');
  if (!existsSync(join(bin, 'etcd'))) {
    if (!options.engines) return undefined;
    console.error('etcd is not installed: run `npm run engines` first');
    process.exit(1);
  }
  process.env['QUORATE_ENGINES'] = bin;
  const script = (name: string): string => join(root, 'scripts/engines', name);
  const started = spawnSync('bash', [script('start.sh')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 2],
  });
  if (started.status !== 0) {
    console.error('etcd could not be started (see above)');
    process.exit(1);
  }
  for (const [, name, value] of started.stdout.matchAll(/(\w+)=(\S+)/g)) process.env[name!] = value;
  const folder = process.env['QUORATE_ETCD_DIR']!;
  return () => void spawnSync('bash', [script('stop.sh'), '--rm', folder], { stdio: 'inherit' });
}

async function runFiles(files: readonly string[]): Promise<void> {
  const pending = new Set(files);
  for (const file of files) reportedFiles.add(file);
  const stream = run({
    files: [...files],
    concurrency: Math.max(2, Math.min(4, availableParallelism())),
    timeout: FILE_TIMEOUT_MS,
    cwd: root,
  });
  const done = (file: string): void => {
    if (pending.delete(file)) printFile(file);
  };
  for await (const event of stream) {
    if (event.type === 'test:start') headings[event.data.nesting] = event.data.name;
    else if (event.type === 'test:pass') onVerdict(event.data as Verdict, true);
    else if (event.type === 'test:fail') onVerdict(event.data as Verdict, false);
    else if (event.type === 'test:stdout' || event.type === 'test:stderr') {
      reportOf(event.data.file).output.push(event.data.message);
    } else if (event.type === 'test:summary' && event.data.file) done(event.data.file);
  }
  for (const file of pending) printFile(file);
  // Tests that a helper defines for several files.
  const others = [...reports.keys()].filter((name) => !reportedFiles.has(join(root, name)));
  for (const name of others) printFile(join(root, name));
}

function main(): string[] {
  const patterns = ['src/**/*.test.ts', 'test/**/*.test.ts', 'examples/**/*.test.ts'];
  const files = globSync(patterns, { cwd: root }).sort();
  const wanted = files.filter((file) => file.includes(options.only ?? ''));
  if (wanted.length === 0) console.error(`no test file has "${options.only}" in its path`);
  return wanted.map((file) => join(root, file));
}

const files = main();
process.chdir(root);
if (options.engines) process.env['QUORATE_REQUIRE_ENGINES'] = '1';
const stopEngines = files.length === 0 ? undefined : startEngines();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    stopEngines?.();
    process.exit(1);
  });
}
try {
  if (files.length > 0) await runFiles(files);
} finally {
  stopEngines?.();
}
if (skips.length > 0) {
  console.log(paint('yellow', `\nSKIPPED, so nothing is known about:`));
  for (const skip of skips) console.log(paint('yellow', `  ${skip}`));
  if (!process.env['QUORATE_ETCD']) console.log('  (`npm run engines` installs the real etcd)');
}
let passed = 0;
for (const report of reports.values()) passed += report.passed;
const broken = [...reports].filter(([, report]) => report.failures.length > 0);
if (broken.length > 0) {
  console.log(`\nFailed: ${broken.map(([name]) => name).join(', ')}`);
  console.log('Run one file again with: npm test -- --verbose --only <part of its path>');
}
console.log(`\n${passed} passed, ${failed} failed, ${skips.length} skipped`);
process.exitCode = failed > 0 || passed === 0 || (options.engines && skips.length > 0) ? 1 : 0;
