/**
 * Chaos on real engines for as long as you like: `npm run chaos -- locks --for 2m`. Prints a table for each engine: what
 * was done to it, and what became of it.
 */
import { parseArgs } from 'node:util';
import { durationMs } from '../src/core/duration.ts';
import { isQuorateError } from '../src/core/errors.ts';
import { ENGINE_NAMES, ENGINES, type EngineName } from '../test/support/lock-chaos/engines.ts';
import { FAULT_NAMES, FAULTS, type FaultName } from '../test/support/lock-chaos/faults.ts';
import { type Outcome, Storm } from '../test/support/lock-chaos/storm.ts';
import { summaryOf, tableOf } from '../test/support/lock-chaos/table.ts';

const faultLines = FAULT_NAMES.map((name) => `  ${name.padEnd(30)} ${FAULTS[name].what}`);
const USAGE = `usage: npm run chaos -- locks [OPTIONS]

Four processes fight for one lock (three wait for it, one tries again and again) and write under it, while
faults come, one at a time, each while the lock is held.

  --for DURATION    each engine for so long (default 1m); every fault comes once at least
  --engines NAMES   of ${ENGINE_NAMES.join('; ')}
  --faults NAMES    of those below (default: all that apply)
  --seed N          another order of the faults (default 1)
  --verbose         every fault as it ends

Names are separated by '+' or given again and again. An interrupt ends it after the fault under way.

${faultLines.join('\n')}

Exit status: 0 all went round again, and tokens that must grow did; 1 not so; 2 a mistake in the options.`;

class UsageError extends Error {}

interface Options {
  readonly forMs: number;
  readonly engines: readonly EngineName[];
  readonly faults: readonly FaultName[] | undefined;
  readonly seed: number;
  readonly isVerbose: boolean;
}

const OPTIONS = {
  for: { type: 'string', default: '1m' },
  engines: { type: 'string', multiple: true },
  faults: { type: 'string', multiple: true },
  seed: { type: 'string', default: '1' },
  verbose: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

function readOptions(args: string[]): Options | 'help' {
  const { values, positionals } = parsed(args);
  if (values.help) return 'help';
  if (positionals.length !== 1 || positionals[0] !== 'locks') {
    throw new UsageError('what is to have a hard time: locks');
  }
  const seed = Number(values.seed);
  if (!Number.isSafeInteger(seed)) throw new UsageError(`--seed: ${values.seed} is no number`);
  return {
    forMs: durationMs(values.for, '--for'),
    engines: chosen('--engines', values.engines, ENGINE_NAMES) ?? ENGINE_NAMES,
    faults: chosen('--faults', values.faults, FAULT_NAMES),
    seed,
    isVerbose: values.verbose,
  };
}

function parsed(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function chosen<T extends string>(
  option: string,
  given: readonly string[] | undefined,
  all: readonly T[],
): T[] | undefined {
  return given
    ?.flatMap((names) => names.split('+'))
    .map((wanted) => {
      const name = all.find((one) => one === wanted.trim());
      if (name !== undefined) return name;
      throw new UsageError(`${option}: '${wanted}' is none of ${all.join('; ')}`);
    });
}

/** `undefined`: it broke, which has been told. */
async function storm(
  engine: EngineName,
  options: Options,
  stop: AbortSignal,
): Promise<Outcome | undefined> {
  const { forMs, faults, seed, isVerbose } = options;
  const say = (line: string): void => {
    if (isVerbose) console.error(line);
  };
  try {
    const outcome = await Storm.run({ engine, forMs, faults, seed, stop, say });
    console.log(`\n${tableOf(outcome)}`);
    for (const text of outcome.violations) console.log(`VIOLATION: ${text}`);
    return outcome;
  } catch (error) {
    console.log(`\nFAILED: ${(error as Error).message}`);
    return undefined;
  }
}

async function play(options: Options): Promise<number> {
  const outcomes: Outcome[] = [];
  let status = 0;
  const stop = new AbortController();
  // Servers and stopped workers must not stay behind: of a terminal it comes twice, and is not to be deadly.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => stop.abort());
  for (const engine of options.engines) {
    if (stop.signal.aborted) break;
    const missing = ENGINES[engine].missing();
    if (missing !== false) {
      console.log(`\n${engine}: not played: ${missing}`);
      continue;
    }
    const outcome = await storm(engine, options, stop.signal);
    const { guarantees, violations } = outcome ?? {};
    if (outcome === undefined) status = 1;
    else outcomes.push(outcome);
    if (guarantees?.fencing === 'monotonic' && violations!.length > 0) status = 1;
  }
  if (outcomes.length > 1) console.log(`\n${summaryOf(outcomes)}`);
  return status;
}

async function main(args: string[]): Promise<number> {
  try {
    const options = readOptions(args);
    if (options !== 'help') return await play(options);
    console.log(USAGE);
    return 0;
  } catch (error) {
    const isMistake = error instanceof UsageError || isQuorateError(error, 'ERR_INVALID_ARGUMENT');
    if (!isMistake) throw error;
    console.error(`${(error as Error).message}\n(npm run chaos -- --help)`);
    return 2;
  }
}

process.exitCode = await main(process.argv.slice(2));
