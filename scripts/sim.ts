/**
 * The simulator from the command line: `npm run sim -- --help`. One run in full, or many in several
 * processes; a story that fails is made smaller and kept, with the command that plays it again.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { isQuorateError } from '../src/core/errors.ts';
import { drawStory } from '../src/testing/simulation/draw-story.ts';
import { shrinkStory } from '../src/testing/simulation/shrink.ts';
import { parseStory, storyText } from '../src/testing/simulation/story.ts';
import type { SimulationResult, Story } from '../src/testing/simulation/types.ts';
import { type Consensus, readOptions, type SimOptions, USAGE, UsageError } from './sim/options.ts';
import { type Outcome, Pool } from './sim/pool.ts';
import { ProgressLine } from './sim/progress.ts';
import { Summary, timeText } from './sim/summary.ts';
import type { Task } from './sim/worker.ts';

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

type Log = (text: string) => void;

/** Where stdout is for programs, people read stderr. */
function logOf({ json }: SimOptions): Log {
  return json ? (text) => void process.stderr.write(`${text}\n`) : say;
}

function tellViolation({ seed, violation }: SimulationResult, replay: string, log: Log): void {
  const { property, message, atMs, event } = violation!;
  log(`\nVIOLATION of ${property} after event ${event}`);
  log(`  at ${timeText(atMs)} of virtual time, seed ${seed}`);
  log(message.replaceAll(/^/gm, '  '));
  log(`Play it again: npm run sim -- ${replay}`);
}

function seedArguments({ seed, story }: SimulationResult, { workload }: SimOptions): string {
  const consensus = story.consensus === 'raft' ? '' : ` --consensus ${story.consensus}`;
  return `--seed ${seed}${consensus}${workload === 'mixed' ? '' : ` --workload ${workload}`}`;
}

/** Makes the story of a run that failed smaller, and keeps it. */
async function keepStory(pool: Pool, result: SimulationResult, options: SimOptions): Promise<void> {
  const log = logOf(options);
  let { story } = result;
  let violation = result.violation!;
  if (options.shrinkRuns > 0) {
    log(`Making its story smaller, in ${options.shrinkRuns} runs at most.`);
    const twice = violation.property === 'determinism';
    const playSmaller = async (smaller: Story) => {
      const { seed, consensus } = smaller;
      return (await play(pool, { seed, consensus, story: smaller }, twice)).result.violation;
    };
    const shrunk = await shrinkStory(story, violation, playSmaller, {
      maxRuns: options.shrinkRuns,
    });
    const [before, after] = [story.faults.length, shrunk.story.faults.length];
    log(`  ${after} of ${before} faults are left after ${shrunk.runs} runs.`);
    ({ story, violation } = shrunk);
  }
  const folder = resolve(options.keep);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${violation.property}-${story.consensus}-${result.seed}.json`);
  writeFileSync(file, storyText(story, violation));
  log(`Kept: npm run sim -- --story ${relative(process.cwd(), file)}`);
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
    const replay =
      task.story === undefined ? seedArguments(result, options) : `--story ${options.story}`;
    tellViolation(result, replay, logOf(options));
    if (task.story === undefined || options.shrinkRuns > 0) {
      await keepStory(pool, result, options);
    }
    return 1;
  } finally {
    pool.close();
  }
}

/** The seeds to run, on each core; ends when the time is up. */
function* tasksOf(options: SimOptions, started: number): Generator<Task> {
  const { first, seeds, cores, forMs, having, workload } = options;
  for (let i = 0; i < seeds; i++) {
    for (const consensus of cores) {
      if (Date.now() - started >= forMs) return;
      const seed = (first + i) % 2 ** 32;
      if (having.length > 0 && !hasAll(drawStory(seed, consensus, workload), having)) continue;
      yield { seed, consensus, workload };
    }
  }
}

/** Whether the story has, for each of `names`, a fault or a part of the weather that begins so. */
function hasAll({ weather, faults }: Story, names: readonly string[]): boolean {
  const own = new Set([...Object.keys(weather), ...faults.map(({ kind }) => kind)]);
  return names.every((name) => [...own].some((each) => each.startsWith(name)));
}

async function runMany(options: SimOptions): Promise<number> {
  const pool = new Pool(options.jobs);
  const summary = new Summary();
  const progress = new ProgressLine(!options.json);
  const started = Date.now();
  const total = options.seeds * options.cores.length;
  const failures: SimulationResult[] = [];
  const tasks = tasksOf(options, started);
  const cores = options.cores.join(' and ');
  logOf(options)(`seeds from ${options.first} on ${cores}, ${options.jobs} processes`);
  const worker = async (): Promise<void> => {
    for (const task of tasks) {
      const { result, cpuMs } = await play(pool, task, options.twice);
      summary.add(result, cpuMs);
      if (options.json) say(lineOf(result, cpuMs, summary.runs));
      progress.show(progressText(summary, total, options.forMs, Date.now() - started));
      if (result.violation === undefined) continue;
      failures.push(result);
      if (!options.keepGoing) return void tasks.return(undefined);
      progress.clear();
      const { property, message } = result.violation;
      logOf(options)(
        `seed ${result.seed}, ${result.story.consensus}: ${property}: ${firstLine(message)}`,
      );
    }
  };
  const enough = (): void => void tasks.return(undefined);
  // Of a terminal it comes twice: to the group, and passed on by the process that started this one.
  process.on('SIGINT', enough);
  try {
    const loops = options.twice ? Math.max(1, options.jobs >> 1) : options.jobs;
    await Promise.all(Array.from({ length: loops }, worker));
    progress.clear();
    const realMs = Date.now() - started;
    if (options.json)
      say(JSON.stringify({ summary, neverReached: summary.neverReached(), realMs }));
    else say(`\n${summary.lines(realMs).join('\n')}`);
    for (const failure of failures) {
      tellViolation(failure, seedArguments(failure, options), logOf(options));
      await keepStory(pool, failure, options);
    }
    return failures.length > 0 ? 1 : 0;
  } finally {
    process.removeListener('SIGINT', enough);
    pool.close();
  }
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? '';
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
    const { seed, cores, workload } = options;
    return await runOne(options, { seed, consensus: cores[0] as Consensus, workload });
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
