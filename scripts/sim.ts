/**
 * The simulator from the command line: `npm run sim -- --help`. One run in full, or many in several
 * processes; a story that fails is made smaller and kept, with the command that plays it again.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isQuorateError } from '../src/core/errors.ts';
import { shrinkStory } from '../src/testing/simulation/shrink.ts';
import { parseStory, storyText } from '../src/testing/simulation/story.ts';
import type { SimulationResult } from '../src/testing/simulation/types.ts';
import { type Consensus, readOptions, type SimOptions, USAGE, UsageError } from './sim/options.ts';
import { type Outcome, Pool } from './sim/pool.ts';
import { ProgressLine } from './sim/progress.ts';
import { Summary, timeText } from './sim/summary.ts';
import type { Task } from './sim/worker.ts';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const TRACE_LINES = 200;

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** A run, and where asked for the same again in another process: the hashes must be equal. */
async function play(
  pool: Pool,
  task: Task,
  twice: boolean,
  onProgress?: (progress: { virtualMs: number; events: number }) => void,
): Promise<Outcome> {
  const runs = [pool.play(task, onProgress)];
  if (twice) runs.push(pool.play(task));
  const [first, second] = await Promise.all(runs);
  const { result } = first!;
  if (second === undefined || result.violation !== undefined) return first!;
  if (second.result.traceHash === result.traceHash) return first!;
  const message = `one seed, two runs: ${result.traceHash} and ${second.result.traceHash}`;
  const { events: event, virtualMs: atMs } = result;
  const violation = { property: 'determinism', message, atMs, event };
  return { ...first!, result: { ...result, violation } };
}

function replayCommand({ seed, story }: SimulationResult): string {
  const consensus = story.consensus === 'raft' ? '' : ` --consensus ${story.consensus}`;
  return `npm run sim -- --seed ${seed}${consensus}`;
}

/** Tells of a violation, makes its story smaller and keeps it. */
async function onViolation(pool: Pool, result: SimulationResult, options: SimOptions) {
  const violation = result.violation!;
  const log = options.json ? (text: string) => process.stderr.write(`${text}\n`) : say;
  log(`\nVIOLATION of ${violation.property} after event ${violation.event}`);
  log(`  at ${timeText(violation.atMs)} of virtual time, seed ${result.seed}`);
  log(violation.message.replaceAll(/^/gm, '  '));
  log(`Play it again: ${replayCommand(result)}`);
  let { story } = result;
  let last = violation;
  if (options.shrinkRuns > 0) {
    log(`making its story smaller (${options.shrinkRuns} runs at most)`);
    const shrunk = await shrinkStory(
      story,
      violation,
      async (smaller) => {
        const task = { seed: smaller.seed, consensus: smaller.consensus, story: smaller };
        return (await play(pool, task, violation.property === 'determinism')).result.violation;
      },
      { maxRuns: options.shrinkRuns },
    );
    const [before, after] = [story.faults.length, shrunk.story.faults.length];
    log(`  after ${shrunk.runs} runs: ${after} of ${before} faults are left`);
    story = shrunk.story;
    last = shrunk.violation;
  }
  const folder = resolve(ROOT, options.keep);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${violation.property}-${story.consensus}-${result.seed}.json`);
  writeFileSync(file, storyText(story, last));
  log(`Kept: ${relative(process.cwd(), file)}; play it with npm run sim -- --story ${file}`);
}

/** One run, told in full. */
async function runOne(options: SimOptions, task: Task): Promise<number> {
  const pool = new Pool(options.twice ? 2 : 1);
  const progress = new ProgressLine(!options.json);
  try {
    const started = Date.now();
    const { result, cpuMs } = await play(
      pool,
      { ...task, keepTrace: options.trace },
      options.twice,
      ({ virtualMs, events }) => progress.show(`${timeText(virtualMs)} virtual, ${events} events`),
    );
    progress.clear();
    if (options.json) say(JSON.stringify(result));
    else {
      const summary = new Summary();
      summary.add(result, cpuMs);
      say(storyText(result.story).trimEnd());
      if (options.trace)
        say(`\nlast of the trace:\n${result.trace.slice(-TRACE_LINES).join('\n')}`);
      say(`\n${summary.lines(Date.now() - started).join('\n')}`);
      say(`trace hash ${result.traceHash}`);
    }
    if (result.violation === undefined) return 0;
    await onViolation(
      pool,
      result,
      task.story === undefined ? options : { ...options, shrinkRuns: 0 },
    );
    return 1;
  } finally {
    pool.close();
  }
}

/** The seeds to run, on each core; ends when the time is up. */
function* tasksOf({ first, seeds, cores, forMs }: SimOptions, started: number): Generator<Task> {
  for (let i = 0; i < seeds; i++) {
    for (const consensus of cores) {
      if (Date.now() - started >= forMs) return;
      yield { seed: (first + i) % 2 ** 32, consensus };
    }
  }
}

async function runMany(options: SimOptions): Promise<number> {
  const pool = new Pool(options.jobs);
  const summary = new Summary();
  const progress = new ProgressLine(!options.json);
  const started = Date.now();
  const total = options.seeds * options.cores.length;
  const failures: SimulationResult[] = [];
  const tasks = tasksOf(options, started);
  const say2 = options.json ? (text: string) => process.stderr.write(`${text}\n`) : say;
  say2(`seeds from ${options.first} on ${options.cores.join(' and ')}, ${options.jobs} processes`);
  const worker = async (): Promise<void> => {
    for (const task of tasks) {
      const { result, cpuMs } = await play(pool, task, options.twice);
      summary.add(result, cpuMs);
      if (options.json) say(lineOf(result, cpuMs, summary.runs));
      progress.show(progressText(summary, total, options.forMs, Date.now() - started));
      if (result.violation === undefined) continue;
      failures.push(result);
      if (!options.keepGoing) return void tasks.return(undefined);
    }
  };
  try {
    const loops = options.twice ? Math.max(1, options.jobs >> 1) : options.jobs;
    await Promise.all(Array.from({ length: loops }, worker));
    progress.clear();
    const realMs = Date.now() - started;
    if (options.json)
      say(JSON.stringify({ summary, neverReached: summary.neverReached(), realMs }));
    else say(`\n${summary.lines(realMs).join('\n')}`);
    for (const failure of failures) await onViolation(pool, failure, options);
    return failures.length > 0 ? 1 : 0;
  } finally {
    pool.close();
  }
}

function lineOf(result: SimulationResult, cpuMs: number, run: number): string {
  const { story, trace: _, ...rest } = result;
  const { consensus, nodes } = story;
  return JSON.stringify({ run, consensus, nodes, ...rest, cpuMs: Math.round(cpuMs) });
}

function progressText(summary: Summary, total: number, forMs: number, realMs: number): string {
  const { runs, events, virtualMs, violations } = summary;
  const done = Number.isFinite(total)
    ? `${runs} of ${total}`
    : `${runs} runs, ${timeText(realMs)} of ${timeText(forMs)}`;
  const rate = Math.round(events / (realMs / 1000));
  return `${done}, ${rate} events/s, ${timeText(virtualMs)} virtual, ${violations} violations`;
}

async function main(args: readonly string[]): Promise<number> {
  try {
    const options = readOptions(args, Date.now());
    if (options === 'help') {
      say(USAGE);
      return 0;
    }
    if (options.story !== undefined) {
      const story = parseStory(readStory(options.story), options.story);
      return await runOne(options, { seed: story.seed, consensus: story.consensus, story });
    }
    if (options.seed === undefined) return await runMany(options);
    if (options.cores.length > 1)
      throw new UsageError('--seed plays one: --consensus raft or paxos');
    return await runOne(options, { seed: options.seed, consensus: options.cores[0] as Consensus });
  } catch (error) {
    const mistake = error instanceof UsageError || isQuorateError(error, 'ERR_INVALID_ARGUMENT');
    if (!mistake) throw error;
    process.stderr.write(`${(error as Error).message}\n(npm run sim -- --help)\n`);
    return 2;
  }
}

function readStory(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UsageError(`--story: ${(error as Error).message}`);
  }
}

process.exitCode = await main(process.argv.slice(2));
