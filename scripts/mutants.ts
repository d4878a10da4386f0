/**
 * Puts known bugs into a copy of the sources, one at a time, and counts the seeds that the simulator
 * needs to find each (`test/mutants/mutants.ts`):
 *
 *   npm run mutants -- [--only TEXT] [--seeds COUNT] [--for DURATION] [--jobs COUNT]
 *
 * A mutant counts as found when a seed fails that holds without it. The table goes to
 * docs/internals/mutants.md; with --only the other rows stay as they are. Exit status 1 where one
 * was not found, 2 for a mistake.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { durationMs } from '../src/core/duration.ts';
import { isQuorateError } from '../src/core/errors.ts';
import { type Mutant, mutants } from '../test/mutants/mutants.ts';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const PAGE = join(ROOT, 'docs/internals/mutants.md');
const MAX_OUTPUT_BYTES = 1 << 28;

interface Detection {
  /** What did not hold; `undefined`: nothing was found. */
  readonly property: string | undefined;
  readonly seed: number | undefined;
  readonly runs: number;
  readonly cpuMs: number;
}

interface Run {
  readonly run?: number;
  readonly seed: number;
  readonly consensus: string;
  readonly cpuMs: number;
  readonly violation?: { readonly property: string; readonly message: string };
}

/** Exit status 2. */
class Mistake extends Error {}

/** Plays seeds in `folder`; one object a run, and what was said besides. */
function sim(folder: string, args: readonly string[]): { runs: Run[]; stderr: string } {
  const command = [...process.execArgv, join(folder, 'scripts/sim.ts'), '--json', ...args];
  const { stdout, stderr, status, error } = spawnSync(process.execPath, command, {
    cwd: folder,
    encoding: 'utf8',
    maxBuffer: MAX_OUTPUT_BYTES,
  });
  if (error !== undefined) throw error;
  if (status !== 0 && status !== 1) throw new Error(`the simulator failed: ${stderr}`);
  const lines = stdout.split('\n').filter((line) => line !== '');
  const runs = lines.map((line) => JSON.parse(line) as Run);
  return { runs: runs.filter(({ seed }) => seed !== undefined), stderr };
}

/** A copy of what a simulation needs. */
function copyOf(from: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'quorate-mutant-'));
  for (const path of ['src', 'scripts/sim.ts', 'scripts/sim', 'package.json']) {
    cpSync(join(from, path), join(folder, path), { recursive: true });
  }
  return folder;
}

/** A copy with the bug in it. */
function copyWith(mutant: Mutant, sound: string): string {
  const folder = copyOf(sound);
  for (const { file, find, replace } of [mutant, ...(mutant.also ?? [])]) {
    const path = join(folder, file);
    const source = readFileSync(path, 'utf8');
    const places = source.split(find).length - 1;
    if (places !== 1) {
      rmSync(folder, { recursive: true });
      throw new Mistake(`${mutant.id}: its text occurs ${places} times in ${file}, not once`);
    }
    writeFileSync(
      path,
      source.replace(find, () => replace),
    );
  }
  return folder;
}

/** Seeds from 1 on, until one fails that holds without the bug. */
function detect(
  mutant: Mutant,
  sound: string,
  jobs: string,
  seeds: number,
  forMs: number,
): Detection {
  const started = Date.now();
  const folder = copyWith(mutant, sound);
  const { having, workload = 'mixed' } = mutant;
  const about = ['--workload', workload, ...(having === undefined ? [] : ['--having', having])];
  const consensus = ['--consensus', mutant.consensus, ...about];
  let runs = 0;
  let cpuMs = 0;
  try {
    for (let first = 1; first <= seeds; ) {
      const leftMs = forMs - (Date.now() - started);
      if (leftMs <= 0) break;
      const range = ['--first', String(first), '--seeds', String(seeds - first + 1)];
      const limits = ['--jobs', jobs, '--for', `${leftMs}ms`];
      const keep = ['--shrink-runs', '0', '--keep', join(folder, 'kept')];
      const played = sim(folder, [...range, ...consensus, ...limits, ...keep]);
      runs += played.runs.length;
      for (const run of played.runs) cpuMs += run.cpuMs;
      const failed = played.runs.filter(({ violation }) => violation !== undefined);
      failed.sort((a, b) => a.seed - b.seed);
      const own = failed.find(({ seed, consensus }) => {
        const args = ['--seed', `${seed}`, '--consensus', consensus, '--workload', workload];
        return sim(sound, [...args, '--shrink-runs', '0']).runs[0]?.violation === undefined;
      });
      if (own !== undefined) return { property: nameOf(own), seed: own.seed, runs, cpuMs };
      if (failed.length === 0) break;
      first = Math.max(...failed.map(({ seed }) => seed)) + 1;
    }
    return { property: undefined, seed: undefined, runs, cpuMs };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** An assertion of ours in the words of its message: it says more than that something was thrown. */
function nameOf({ violation }: Run): string {
  const { property, message } = violation!;
  const invariant = /invariant broken: ([^\n]+)/.exec(message)?.[1];
  return invariant === undefined ? property : `${property}: ${invariant}`;
}

function row({ id, bug, source }: Mutant, { property, runs, cpuMs }: Detection): string {
  const found = property === undefined ? '**not found**' : property.replaceAll('|', '\\|');
  return `| \`${id}\` | ${bug} | ${source} | ${found} | ${runs} | ${Math.ceil(cpuMs / 1000)} |`;
}

/** The rows of the page as it is, by mutant. */
function rowsOnPage(): Map<string, string> {
  const text = existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : '';
  return new Map([...text.matchAll(/^\| `([^`]+)` \|.*$/gm)].map(([line, id]) => [id!, line]));
}

function writePage(rows: ReadonlyMap<string, string>): void {
  const present = mutants.flatMap(({ id }) => rows.get(id) ?? []);
  const missing = mutants.filter(({ id }) => !rows.has(id)).map(({ id }) => `\`${id}\``);
  const found = present.filter((line) => !line.includes('**not found**')).length;
  const text = `# Mutants

Bugs that others had, or that the papers warn of, put into our sources one at a time (\`test/mutants/mutants.ts\`). The
simulator plays seeds 1, 2, … until one fails that holds without the bug: of all seeds, or where a bug can only
show in some, of those with such faults or weather (\`having\`); for bugs of locks, of seeds aimed at those. Written by \`npm run mutants\`.

Found: ${found} of ${present.length}.${missing.length === 0 ? '' : ` Not tried yet: ${missing.join(', ')}.`}

| mutant | what it does wrong | source | what did not hold | seeds | CPU seconds |
|---|---|---|---|---:|---:|
${present.join('\n')}
`;
  writeFileSync(PAGE, text);
}

function options() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string', default: '' },
        seeds: { type: 'string', default: '500' },
        for: { type: 'string', default: '10m' },
        jobs: { type: 'string', default: String(availableParallelism()) },
      },
    });
    if (/^[1-9]\d{0,5}$/.test(values.seeds)) return values;
    throw new Mistake(`--seeds ${values.seeds}: it must be a whole number from 1`);
  } catch (error) {
    throw new Mistake(error instanceof Error ? error.message : String(error));
  }
}

/** Tries the chosen ones. Returns how many were not found. */
function main(): number {
  const { only, seeds, jobs, for: duration } = options();
  const forMs = durationMs(duration, '--for');
  const chosen = mutants.filter(({ id }) => id.includes(only));
  if (chosen.length === 0) throw new Mistake(`--only ${only}: no mutant has that in its name`);
  // All of them start from one state of the sources, whatever is edited meanwhile.
  const sound = copyOf(ROOT);
  let missed = 0;
  try {
    for (const mutant of chosen) {
      const detection = detect(mutant, sound, jobs, Number(seeds), forMs);
      const { property, seed, runs, cpuMs } = detection;
      if (property === undefined) missed++;
      const what = property === undefined ? 'NOT FOUND' : `seed ${seed}: ${property}`;
      const cost = `${runs} runs, ${Math.ceil(cpuMs / 1000)} s`;
      console.log(`${mutant.id.padEnd(45)} ${cost.padEnd(18)} ${what}`);
      // Read anew: another run may have written to it meanwhile.
      const rows = rowsOnPage();
      rows.set(mutant.id, row(mutant, detection));
      writePage(rows);
    }
  } finally {
    rmSync(sound, { recursive: true });
  }
  return missed;
}

try {
  process.exitCode = main() > 0 ? 1 : 0;
} catch (error) {
  const isMistake = error instanceof Mistake || isQuorateError(error, 'ERR_INVALID_ARGUMENT');
  if (!isMistake) throw error;
  console.error((error as Error).message);
  process.exitCode = 2;
}
