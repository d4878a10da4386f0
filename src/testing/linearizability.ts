/**
 * Was what the clients saw possible on a single copy that does one thing at a time? A checker of
 * histories for linearizability (Herlihy & Wing 1990) by the search of Wing & Gong (1993) with
 * Lowe's memory of configurations (2017), key by key: linearizability is local, so a history is
 * linearizable if and only if its part for each independent object is.
 *
 * The search itself is in `linearizability-search.ts`, models that are ready to use are in
 * `linearizability-models.ts`.
 */
import { QuorateError } from '../core/errors.ts';
import { type Found, Search } from './linearizability-search.ts';
import type { Model, Operation } from './linearizability-types.ts';

export type { Model, Operation } from './linearizability-types.ts';

/** Limits of a check. */
export interface CheckOptions {
  /**
   * Steps of the search in all, of the model for the most part; a check that needs more ends with the
   * verdict `unknown`. A step costs about a microsecond and a hundred bytes. @defaultValue `1_000_000`
   */
  readonly maxSteps?: number;
}

/** Why a history is not linearizable. */
export interface Counterexample<Input, Output> {
  /** The object: what the model's `partition` says of it. */
  readonly partition: string;
  /**
   * The operation whose answer cannot be explained: what was answered before it can be put in order,
   * and no order goes beyond its return.
   */
  readonly blocked: Operation<Input, Output>;
  /** The longest order found for what came before. */
  readonly prefix: readonly Operation<Input, Output>[];
  /** Operations of the same time that do not fit after `prefix` either. */
  readonly concurrent: readonly Operation<Input, Output>[];
  /** The model's state after `prefix`. */
  readonly state: string;
  /** All of this for a reader: a few lines. */
  readonly message: string;
}

/** What is known about a history. */
export type Linearizability<Input, Output> =
  | { readonly verdict: 'linearizable'; readonly steps: number }
  | {
      readonly verdict: 'not-linearizable';
      readonly steps: number;
      readonly counterexample: Counterexample<Input, Output>;
    }
  /** The steps were spent before the search came to an end. */
  | { readonly verdict: 'unknown'; readonly steps: number };

const DEFAULT_MAX_STEPS = 1_000_000;

/** How many operations before the blocked one a message shows. */
const SHOWN_OPERATIONS = 8;

/**
 * Whether there is an order of the operations that the model allows and in which each takes effect
 * between its call and its return. Operations that certainly did not happen are not to be in
 * `history`; those of unknown outcome are.
 *
 * The order of `history` does not matter, except for operations of one client that touch.
 *
 * @throws `ERR_INVALID_ARGUMENT` for an operation that returns before it is called
 *
 * @example
 * ```ts
 * const history = [
 *   { client: 1, callMs: 0, returnMs: 5, input: { op: 'write', value: 'a' } },
 *   { client: 2, callMs: 6, returnMs: 9, input: { op: 'read' }, output: null },
 * ] as const;
 * checkLinearizability(registerModel(), history).verdict; // not-linearizable
 * ```
 */
export function checkLinearizability<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  options: CheckOptions = {},
): Linearizability<Input, Output> {
  const { maxSteps = DEFAULT_MAX_STEPS } = options;
  if (!(maxSteps > 0)) invalid(`maxSteps is ${maxSteps}, at least 1 is needed`);
  let steps = 0;
  let spent = false;
  for (const [partition, operations] of partitionsOf(model, history)) {
    const search = new Search(model, operations, maxSteps - steps);
    const found = search.run();
    steps += search.steps;
    if (found === 'spent') {
      spent = true;
      if (steps >= maxSteps) break;
    } else if (found !== 'linearizable') {
      const counterexample = explain(model, partition, found);
      return { verdict: 'not-linearizable', steps, counterexample };
    }
  }
  return { verdict: spent ? 'unknown' : 'linearizable', steps };
}

/** Small objects first: where the steps do not suffice for all, most are known. */
function partitionsOf<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
): [string, Operation<Input, Output>[]][] {
  const partitions = new Map<string, Operation<Input, Output>[]>();
  for (const operation of history) {
    validate(operation);
    const name = model.partition?.(operation.input) ?? '';
    const operations = partitions.get(name);
    if (operations === undefined) partitions.set(name, [operation]);
    else operations.push(operation);
  }
  return [...partitions].sort(([, a], [, b]) => a.length - b.length);
}

function validate({ client, callMs, returnMs }: Operation<unknown, unknown>): void {
  if (!Number.isFinite(callMs)) invalid(`client ${client}: callMs is ${callMs}`);
  if (returnMs === undefined) return;
  if (Number.isFinite(returnMs) && returnMs >= callMs) return;
  invalid(`client ${client}: an operation called at ${callMs} returns at ${returnMs}`);
}

function invalid(message: string): never {
  throw new QuorateError('ERR_INVALID_ARGUMENT', message);
}

function explain<State, Input, Output>(
  model: Model<State, Input, Output>,
  partition: string,
  { blocked, prefix, concurrent, state }: Found<Input, Output>,
): Counterexample<Input, Output> {
  const line = (operation: Operation<Input, Output>): string => `    ${show(model, operation)}`;
  const object = partition === '' ? 'the history' : `the history of ${JSON.stringify(partition)}`;
  const lines = [`${object} is not linearizable: no order explains`, line(blocked)];
  const hidden = Math.max(0, prefix.length - SHOWN_OPERATIONS);
  if (prefix.length === 0) lines.push(`  in the first state, ${state}`);
  else {
    const more = hidden === 0 ? '' : ` (and ${hidden} earlier ones)`;
    lines.push(`  in state ${state}, the last one reached, after${more}`);
    lines.push(...prefix.slice(hidden).map(line));
  }
  if (concurrent.length > 0) {
    lines.push('  nor do these fit next');
    lines.push(...concurrent.slice(0, SHOWN_OPERATIONS).map(line));
    const rest = concurrent.length - SHOWN_OPERATIONS;
    if (rest > 0) lines.push(`    and ${rest} more`);
  }
  return { partition, blocked, prefix, concurrent, state, message: lines.join('\n') };
}

/** `client 3 [12.5, 20] {"op":"read"} → "a"` */
function show<State, Input, Output>(
  model: Model<State, Input, Output>,
  { client, callMs, returnMs, input, output }: Operation<Input, Output>,
): string {
  const known = returnMs === undefined ? undefined : output;
  const answer = returnMs === undefined ? 'unknown' : toText(output);
  const what = model.describe?.(input, known) ?? `${toText(input)} → ${answer}`;
  return `client ${client} [${callMs}, ${returnMs ?? '?'}] ${what}`;
}

/** JSON, with big whole numbers as `5n`. */
function toText(value: unknown): string {
  const text = JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? `${each}n` : each));
  return text ?? 'nothing';
}
