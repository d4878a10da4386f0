/** Command lines: options by `node:util`, refused with one helpful line. */
import { parseArgs } from 'node:util';
import { durationMs } from '../core/duration.ts';
import { UsageError } from './io.ts';

export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly multiple?: boolean;
}
export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

/** Options that every command takes. */
export const commonOptions = {
  json: { type: 'boolean' },
  debug: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const satisfies OptionSpecs;

type ValueOf<Spec extends OptionSpec> = Spec['type'] extends 'boolean'
  ? boolean
  : Spec['multiple'] extends true
    ? readonly string[]
    : string;

/** The options given; absent ones are undefined. */
export type Values<Specs extends OptionSpecs> = {
  readonly [Name in keyof Specs]?: ValueOf<Specs[Name]> | undefined;
};

export interface Parsed<Specs extends OptionSpecs> {
  readonly values: Values<Specs>;
  readonly positionals: readonly string[];
}

/**
 * Parses what follows the command's name. Booleans also take `=true` and `=false`, as etcdctl's.
 *
 * @throws UsageError for an unknown option, a missing value, or a value where none belongs
 */
export function parse<const Specs extends OptionSpecs>(
  topic: string,
  specs: Specs,
  argv: readonly string[],
): Parsed<Specs> {
  try {
    const { values, positionals } = parseArgs({
      args: argv.flatMap((argument) => plainBoolean(argument, specs)),
      options: specs as Record<string, OptionSpec>,
      allowPositionals: true,
    });
    return { values: values as Values<Specs>, positionals };
  } catch (error) {
    throw new UsageError(explain(error as Error, specs), topic);
  }
}

/** Milliseconds of an option such as `30s`. @throws UsageError */
export function durationOf(topic: string, option: string, text: string): number {
  try {
    return durationMs(text, option);
  } catch (error) {
    throw new UsageError((error as Error).message, topic);
  }
}

/** `--prefix=true` becomes `--prefix` and `--prefix=false` nothing; `parseArgs` knows neither. */
function plainBoolean(argument: string, specs: OptionSpecs): string[] {
  const match = /^--([\w-]+)=(true|false)$/.exec(argument);
  if (match === null || specs[match[1]!]?.type !== 'boolean') return [argument];
  return match[2] === 'true' ? [`--${match[1]}`] : [];
}

function explain(error: Error, specs: OptionSpecs): string {
  const unknown = /^Unknown option '(-+)([\w-]+)'/.exec(error.message);
  if (unknown === null) return explainValue(error.message);
  const name = unknown[2]!;
  const near = closest(name, Object.keys(specs));
  const hint = near === undefined ? '' : `; did you mean --${near}?`;
  return `there is no option ${unknown[1]}${name}${hint}`;
}

/** What `parseArgs` says of an option's value, in a sentence that names the option. */
function explainValue(message: string): string {
  const option = /--[\w-]+/.exec(message)?.[0];
  if (option !== undefined && /argument missing/.test(message)) return `${option} needs a value`;
  if (option !== undefined && /ambiguous/.test(message)) {
    return `${option} needs a value; one that starts with a dash is written ${option}=-…`;
  }
  if (option !== undefined && /does not take/.test(message)) return `${option} takes no value`;
  const text = message.split('\n')[0]!;
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/**
 * The candidate that was probably meant: one that starts with the word, or is at most two edits away
 * and not as many as it has letters.
 */
export function closest(word: string, candidates: readonly string[]): string | undefined {
  const longer = candidates.filter((candidate) => candidate.startsWith(word));
  if (word.length > 2 && longer.length === 1) return longer[0];
  let best: string | undefined;
  let bestDistance = Math.min(3, word.length);
  for (const candidate of candidates) {
    const distance = editDistance(word, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(replaced, previous[j]! + 1, current[j - 1]! + 1));
    }
    previous = current;
  }
  return previous[b.length]!;
}

/** A whole number of at least `least`. */
export function wholeNumber(
  topic: string,
  name: string,
  text: string | undefined,
  least = 0,
): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
  throw new UsageError(`${name} takes a whole number of at least ${least}, not '${text}'`, topic);
}

/** Splits at the first `--`: what follows is the program to run. */
export function splitProgram(argv: readonly string[]): {
  readonly own: readonly string[];
  readonly program: readonly string[] | undefined;
} {
  const at = argv.indexOf('--');
  if (at < 0) return { own: argv, program: undefined };
  return { own: argv.slice(0, at), program: argv.slice(at + 1) };
}
