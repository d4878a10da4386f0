/**
 * Stories as text: JSON that can be kept, read and played again. What is wrong with one is said before
 * it is played.
 */
import { QuorateError } from '../../core/errors.ts';
import { FAULT_KINDS } from './faults.ts';
import { type PlannedFault, SIMULATOR_VERSION, type Story, type Violation } from './types.ts';
import { WEATHER } from './weather.ts';

/** The longest storm that is played: an hour of virtual time. */
const MAX_STORM_MS = 3_600_000;
const MAX_NODES = 9;
const MAX_CLIENTS = 100;
const MAX_FAULTS = 10_000;

/** A story with, for its reader, what did not hold when it was found. */
export function storyText(story: Story, violation?: Violation): string {
  const { faults, ...rest } = story;
  // Without the stack, which tells of the machine.
  const about = violation && `${violation.property}: ${violation.message.split('\n')[0]}`;
  const head = JSON.stringify({ about, ...rest }, undefined, 2).slice(0, -2);
  const lines = faults.map((fault) => `    ${lineOf(fault)}`).join(',\n');
  return `${head},\n  "faults": [${lines === '' ? '' : `\n${lines}\n  `}]\n}\n`;
}

function lineOf(fault: PlannedFault): string {
  const fields = Object.entries(fault).map(
    ([name, value]) => `"${name}": ${JSON.stringify(value)}`,
  );
  return `{ ${fields.join(', ')} }`;
}

/**
 * The story in `text`.
 *
 * @throws `ERR_INVALID_ARGUMENT` for what is not JSON, not a story, of another version of the
 * simulator, or out of range; `name` is what the text is called in the message
 */
export function parseStory(text: string, name = 'story'): Story {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new QuorateError('ERR_INVALID_ARGUMENT', `${name} is not JSON: ${why}`);
  }
  const problem = problemOf(value);
  if (problem !== undefined) throw new QuorateError('ERR_INVALID_ARGUMENT', `${name}: ${problem}`);
  const { about: _, ...story } = value as Story & { readonly about?: string };
  return story;
}

const FIELDS = [
  'about',
  'version',
  'seed',
  'consensus',
  'nodes',
  'stormMs',
  'clients',
  'weather',
  'faults',
];
const FAULT_FIELDS = ['atMs', 'kind', 'node', 'peer', 'forMs', 'amount'];

/** What is wrong with it, in a sentence. */
function problemOf(value: unknown): string | undefined {
  if (!isRecord(value)) return 'a story is a JSON object';
  const { version, consensus, weather, faults } = value;
  if (version !== SIMULATOR_VERSION) {
    return `of version ${String(version)}; this simulator plays version ${SIMULATOR_VERSION}`;
  }
  if (consensus !== 'raft' && consensus !== 'paxos') return 'consensus must be raft or paxos';
  const stranger = Object.keys(value).find((field) => !FIELDS.includes(field));
  if (stranger !== undefined) return `${JSON.stringify(stranger)} is no part of a story`;
  const wrong =
    numberProblem(value, 'seed', 0, 0xffff_ffff, true) ??
    numberProblem(value, 'nodes', 1, MAX_NODES, true) ??
    numberProblem(value, 'stormMs', 0, MAX_STORM_MS) ??
    numberProblem(value, 'clients', 0, MAX_CLIENTS, true);
  if (wrong !== undefined) return wrong;
  if (!isRecord(weather)) return 'weather must be an object of numbers';
  for (const name of Object.keys(weather)) {
    if (!Object.hasOwn(WEATHER, name)) return `weather has no ${JSON.stringify(name)}`;
    const bad = numberProblem(
      weather,
      name,
      0,
      name.endsWith('Rate') ? 1 : Number.MAX_SAFE_INTEGER,
    );
    if (bad !== undefined) return `weather.${bad}`;
  }
  if (!Array.isArray(faults)) return 'faults must be a list';
  if (faults.length > MAX_FAULTS)
    return `${faults.length} faults, at most ${MAX_FAULTS} are played`;
  for (const [index, fault] of faults.entries()) {
    const bad = faultProblem(fault);
    if (bad !== undefined) return `faults[${index}]: ${bad}`;
  }
  return undefined;
}

function faultProblem(fault: unknown): string | undefined {
  if (!isRecord(fault)) return 'a fault is an object';
  const stranger = Object.keys(fault).find((field) => !FAULT_FIELDS.includes(field));
  if (stranger !== undefined) return `${JSON.stringify(stranger)} is no part of a fault`;
  const { kind } = fault;
  if (typeof kind !== 'string' || !Object.hasOwn(FAULT_KINDS, kind)) {
    return `${JSON.stringify(kind)} is no kind of fault; there are ${Object.keys(FAULT_KINDS).join(', ')}`;
  }
  const most = Number.MAX_SAFE_INTEGER;
  return (
    numberProblem(fault, 'atMs', 0, MAX_STORM_MS) ??
    (fault['node'] === undefined ? undefined : numberProblem(fault, 'node', 0, most, true)) ??
    (fault['peer'] === undefined ? undefined : numberProblem(fault, 'peer', 0, most, true)) ??
    (fault['forMs'] === undefined ? undefined : numberProblem(fault, 'forMs', 0, most)) ??
    (fault['amount'] === undefined ? undefined : numberProblem(fault, 'amount', -most, most))
  );
}

function numberProblem(
  record: Readonly<Record<string, unknown>>,
  name: string,
  least: number,
  most: number,
  whole = false,
): string | undefined {
  const value = record[name];
  const fits = typeof value === 'number' && value >= least && value <= most;
  if (fits && (!whole || Number.isInteger(value))) return undefined;
  const kind = whole ? 'a whole number' : 'a number';
  return `${name} is ${JSON.stringify(value)}, it must be ${kind} from ${least} to ${most}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
