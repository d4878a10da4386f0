/** What `npm run sim` is asked for; what makes no sense is said before anything runs. */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { durationMs } from '../../src/core/duration.ts';
import type { WorkloadName } from '../../src/testing/simulation/types.ts';

export const USAGE = `usage: npm run sim -- [OPTIONS]

Plays clusters of real nodes on simulated clocks, disks and networks, and checks what must hold.

  --seed N             one run, in full: its story, what it was like, its hash
  --story FILE         one run from a story: a shrunk one, or one of test/simulation/stories
  --trace              with --seed or --story: also the last of what happened
  --seeds COUNT        so many runs with different seeds (default 100)
  --for DURATION       runs until the time is up: 30s, 10m, 2h
  --first N            the first of the seeds (default: drawn from the clock, and printed)
  --workload NAME      what clients do: mixed (default), or mostly locks
  --having NAMES       of those seeds only the ones with such faults and weather: member-,pause
  --consensus NAME     raft (default), paxos, or both
  --twice              every run twice, in two processes, and the hashes compared
  --jobs COUNT         processes that run at the same time (default: one a core)
  --keep-going         do not stop at the first violation
  --shrink-runs COUNT  runs to make a failing story smaller (default 200, 0 for --story)
  --keep FOLDER        where stories that failed are put (default .cache/sim)
  --json               one JSON object a line: each run, then the summary

Exit status: 0 all held, 1 a violation, 2 a mistake in the options.`;

/** A mistake in the options: exit status 2. */
export class UsageError extends Error {}

export type Consensus = 'raft' | 'paxos';

export interface SimOptions {
  /** One run; `undefined` where there are many. */
  readonly seed: number | undefined;
  readonly story: string | undefined;
  readonly trace: boolean;
  /** How many; Infinity where only the time limits them. */
  readonly seeds: number;
  readonly forMs: number;
  readonly first: number;
  /** Beginnings of names of faults or weather that a story must have. */
  readonly having: readonly string[];
  readonly workload: WorkloadName;
  readonly cores: readonly Consensus[];
  readonly twice: boolean;
  readonly jobs: number;
  readonly keepGoing: boolean;
  readonly shrinkRuns: number;
  readonly keep: string;
  readonly json: boolean;
}

const MAX_SEED = 0xffff_ffff;

/** Reads the arguments. `nowMs` gives the first seed where none is given. */
export function readOptions(args: readonly string[], nowMs: number): SimOptions | 'help' {
  const values = parse(args);
  if (values.help) return 'help';
  const single = values.seed !== undefined || values.story !== undefined;
  if (values.seed !== undefined && values.story !== undefined) {
    throw new UsageError('--seed and --story: a story has its seed in it; give one of them');
  }
  for (const name of ['seeds', 'for', 'first', 'having'] as const) {
    if (!single || values[name] === undefined) continue;
    throw new UsageError(`--${name} is for many runs, and --seed or --story asks for one`);
  }
  if (values.trace && !single) throw new UsageError('--trace needs --seed or --story');
  const timed = values.for !== undefined;
  // A story is small already, or it is asked for.
  const shrinkRuns = values.story === undefined ? '200' : '0';
  return {
    seed: values.seed === undefined ? undefined : number('seed', values.seed, 0, MAX_SEED),
    story: values.story,
    trace: values.trace ?? false,
    seeds: countOf(values.seeds, timed),
    forMs: timed ? duration(values.for!) : Infinity,
    first: values.first === undefined ? drawn(nowMs) : number('first', values.first, 0, MAX_SEED),
    workload: workloadOf(values.workload ?? 'mixed', values.story),
    having: values.having?.split(',') ?? [],
    cores: coresOf(values.consensus ?? 'raft', values.story),
    twice: values.twice ?? false,
    jobs: number('jobs', values.jobs ?? String(availableParallelism()), 1, 1024),
    keepGoing: values['keep-going'] ?? false,
    shrinkRuns: number('shrink-runs', values['shrink-runs'] ?? shrinkRuns, 0, 1e6),
    keep: values.keep ?? '.cache/sim',
    json: values.json ?? false,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        seed: { type: 'string' },
        seeds: { type: 'string' },
        first: { type: 'string' },
        for: { type: 'string' },
        story: { type: 'string' },
        trace: { type: 'boolean' },
        having: { type: 'string' },
        workload: { type: 'string' },
        consensus: { type: 'string' },
        twice: { type: 'boolean' },
        jobs: { type: 'string' },
        'keep-going': { type: 'boolean' },
        'shrink-runs': { type: 'string' },
        keep: { type: 'string' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function number(name: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new UsageError(`--${name} ${text}: it must be a whole number from ${least} to ${most}`);
}

function countOf(seeds: string | undefined, timed: boolean): number {
  if (seeds !== undefined) return number('seeds', seeds, 1, 1e9);
  return timed ? Infinity : 100;
}

function duration(text: string): number {
  let ms = 0;
  try {
    ms = durationMs(text, '--for');
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  if (ms > 0) return ms;
  throw new UsageError(`--for ${text}: it must be longer than nothing`);
}

function coresOf(name: string, story: string | undefined): Consensus[] {
  if (story !== undefined && name !== 'raft') {
    throw new UsageError('--consensus: a story has it in it');
  }
  if (name === 'both') return ['raft', 'paxos'];
  if (name === 'raft' || name === 'paxos') return [name];
  throw new UsageError(`--consensus ${name}: there are raft, paxos and both`);
}

function workloadOf(name: string, story: string | undefined): WorkloadName {
  if (name !== 'mixed' && name !== 'locks') {
    throw new UsageError(`--workload ${name}: there are mixed and locks`);
  }
  if (story !== undefined && name !== 'mixed') {
    throw new UsageError('--workload: a story has it in it');
  }
  return name;
}

/** Room for many seeds above it. */
function drawn(nowMs: number): number {
  return Math.floor(nowMs / 1000) % 2 ** 31;
}
