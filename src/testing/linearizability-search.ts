/**
 * The search for an order. A configuration is the set of operations that are placed and the state after
 * them. Next comes an operation that was called before the first return of one that is not placed yet
 * (Wing & Gong 1993), depth first; a configuration that was seen before is not entered again (Lowe
 * 2017, "Testing for linearizability").
 *
 * Operations of unknown outcome may be placed or left out. They are tried where nothing else goes on, in
 * the configuration that came furthest first, and a configuration is not entered where one with the same
 * known operations and state but fewer of the unknown ones was seen: whatever follows from the one
 * follows from the other. Without this every write that timed out would double the work. Of those that ask
 * for the same the one that was called first goes first: in any order it can take the place of a later one.
 */
import { Configuration, Configurations } from './linearizability-configurations.ts';
import type { Model, Operation } from './linearizability-types.ts';

/** What a search ends with where there is no order. */
export interface Found<Input, Output> {
  readonly blocked: Operation<Input, Output>;
  readonly prefix: readonly Operation<Input, Output>[];
  readonly concurrent: readonly Operation<Input, Output>[];
  readonly state: string;
}

/** More would not fit into memory. */
const MAX_CONFIGURATIONS = 1_000_000;

/** Comparisons of configurations that cost as much as a step of the model. */
const COMPARISONS_A_STEP = 8;

export class Search<State, Input, Output> {
  readonly #model: Model<State, Input, Output>;
  /** Those with a return, by call; behind them those without, by call. */
  readonly #operations: readonly Operation<Input, Output>[];
  readonly #calls: Float64Array;
  readonly #returns: Float64Array;
  /** How many have a return. */
  readonly #known: number;
  readonly #maxSteps: number;
  /** The operation of the same client that comes first although their times touch; -1 for none. */
  readonly #after: Int32Array;
  /** For each without a return the one called before it that asks for the same; -1 for none. */
  readonly #twins: Int32Array;
  readonly #identities = new Map<string | number, number>();

  readonly #seen = new Configurations<State>();
  /** The way down: each is entered from the one before it. */
  readonly #path: Configuration<State>[] = [];
  /** Where nothing known goes on: a heap, the most promising first. */
  readonly #waiting: Configuration<State>[] = [];
  #furthest: Configuration<State>;

  #modelSteps = 0;

  constructor(
    model: Model<State, Input, Output>,
    operations: readonly Operation<Input, Output>[],
    maxSteps: number,
  ) {
    const byCall = [...operations].sort((a, b) => a.callMs - b.callMs);
    const known = byCall.filter(({ returnMs }) => returnMs !== undefined);
    this.#model = model;
    this.#operations = [...known, ...byCall.filter(({ returnMs }) => returnMs === undefined)];
    this.#calls = Float64Array.from(this.#operations, ({ callMs }) => callMs);
    this.#returns = Float64Array.from(known, ({ returnMs }) => returnMs!);
    this.#known = known.length;
    this.#maxSteps = maxSteps;
    this.#after = touching(this.#operations);
    this.#twins = twins(this.#operations, known.length);
    const first = Configuration.first(model.init, this.#identify(model.init));
    this.#furthest = first;
    this.#enter(first);
  }

  /** The work so far: steps of the model, and comparisons. */
  get steps(): number {
    return this.#modelSteps + Math.floor(this.#seen.comparisons / COMPARISONS_A_STEP);
  }

  run(): 'linearizable' | 'spent' | Found<Input, Output> {
    for (;;) {
      const last = this.#path.at(-1);
      const configuration = last ?? this.#waiting[0];
      if (configuration === undefined) return this.#found();
      if (configuration.knownCount === this.#known) return 'linearizable';
      if (this.steps >= this.#maxSteps || this.#seen.size > MAX_CONFIGURATIONS) return 'spent';
      if (last !== undefined) {
        const index = this.#nextKnown(last);
        if (index >= 0) this.#place(last, index);
        else this.#wait(this.#path.pop()!);
      } else {
        const index = this.#nextUnknown(configuration);
        if (index >= 0) this.#place(configuration, index);
        else takeFirst(this.#waiting);
      }
    }
  }

  #nextKnown(configuration: Configuration<State>): number {
    for (let index = configuration.nextKnown; index < this.#known; index++) {
      if (this.#calls[index]! > configuration.until) break;
      if (configuration.hasKnown(index) || !this.#isFree(configuration, index)) continue;
      configuration.nextKnown = index + 1;
      return index;
    }
    return -1;
  }

  #nextUnknown(configuration: Configuration<State>): number {
    if (configuration.dominated) return -1;
    const known = this.#known;
    for (let index = known + configuration.nextUnknown; index < this.#calls.length; index++) {
      if (this.#calls[index]! > configuration.until) break;
      if (configuration.hasUnknown(index - known) || !this.#isFree(configuration, index)) continue;
      if (this.#hasTwin(configuration, index)) continue;
      configuration.nextUnknown = index - known + 1;
      return index;
    }
    return -1;
  }

  /** Whether another that asks for the same could come instead, and was called before. */
  #hasTwin(configuration: Configuration<State>, index: number): boolean {
    const twin = this.#twins[index - this.#known]!;
    if (twin < 0 || configuration.hasUnknown(twin - this.#known)) return false;
    return this.#isFree(configuration, twin);
  }

  /** Whether what the same client did just before is placed. */
  #isFree(configuration: Configuration<State>, index: number): boolean {
    const before = this.#after[index]!;
    return before < 0 || configuration.hasKnown(before);
  }

  /** Places the operation next, where the model allows it and what comes out is new. */
  #place(configuration: Configuration<State>, index: number): void {
    const isKnown = index < this.#known;
    const { input, output } = this.#operations[index]!;
    this.#modelSteps++;
    const state = this.#model.step(configuration.state, input, isKnown ? output : undefined);
    if (state === undefined) return;
    const id = this.#identify(state);
    if (isKnown) this.#enter(configuration.withKnown(index, state, id));
    // What may as well not have happened is left out.
    else if (id !== configuration.stateId) {
      this.#enter(configuration.withUnknown(index - this.#known, state, id));
    }
  }

  #enter(configuration: Configuration<State>): void {
    if (!this.#seen.add(configuration)) return;
    let until = Infinity;
    for (let index = configuration.firstGap; index < this.#known; index++) {
      if (configuration.hasKnown(index)) continue;
      if (this.#calls[index]! > until) break;
      if (this.#isPast(configuration, index)) return;
      until = Math.min(until, this.#returns[index]!);
    }
    configuration.until = until;
    configuration.nextKnown = configuration.firstGap;
    this.#path.push(configuration);
  }

  /** Whether a known operation can never be placed after this. The first configuration stays: it is what to tell of. */
  #isPast({ state, parent }: Configuration<State>, index: number): boolean {
    const { input, output } = this.#operations[index]!;
    return parent !== undefined && this.#model.isPast?.(state, input, output as Output) === true;
  }

  #wait(configuration: Configuration<State>): void {
    const { until, depth } = this.#furthest;
    if (
      configuration.until > until ||
      (configuration.until === until && configuration.depth > depth)
    )
      this.#furthest = configuration;
    if (this.#calls.length > this.#known) insert(this.#waiting, configuration);
  }

  #identify(state: State): number {
    const identity =
      this.#model.identity?.(state) ??
      (typeof state === 'string' || typeof state === 'number' ? state : JSON.stringify(state));
    const id = this.#identities.get(identity);
    if (id !== undefined) return id;
    this.#identities.set(identity, this.#identities.size);
    return this.#identities.size - 1;
  }

  #found(): Found<Input, Output> {
    const furthest = this.#furthest;
    const order: number[] = [];
    for (let each = furthest; each.parent !== undefined; each = each.parent) {
      order.push(each.isKnown ? each.index : each.index + this.#known);
    }
    const placed = new Set(order);
    const blocked = this.#returns.findIndex(
      (returnMs, index) => returnMs === furthest.until && !placed.has(index),
    );
    const concurrent = this.#operations.filter(
      ({ callMs }, index) => callMs <= furthest.until && index !== blocked && !placed.has(index),
    );
    const state = this.#model.identity?.(furthest.state) ?? furthest.state;
    return {
      blocked: this.#operations[blocked]!,
      prefix: order.reverse().map((index) => this.#operations[index]!),
      concurrent,
      state: JSON.stringify(state),
    };
  }
}

/** Another place a few operations earlier is more likely than one unknown operation more here. */
const UNKNOWN_COST = 8;

/** Whether `a` is tried before `b`: it came further, with fewer unknown operations. */
function goesFirst<State>(a: Configuration<State>, b: Configuration<State>): boolean {
  return (
    a.knownCount - UNKNOWN_COST * a.unknownCount > b.knownCount - UNKNOWN_COST * b.unknownCount
  );
}

function insert<State>(heap: Configuration<State>[], item: Configuration<State>): void {
  let at = heap.length;
  heap.push(item);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!goesFirst(item, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = item;
}

function takeFirst<State>(heap: Configuration<State>[]): void {
  const item = heap.pop();
  if (item === undefined || heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && goesFirst(heap[child + 1]!, heap[child]!)) child++;
    if (!goesFirst(heap[child]!, item)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = item;
}

/**
 * For each operation the one of its client that returned at the very time of its call. Where the times
 * differ calls and returns keep the order; where they are equal they would count as concurrent.
 */
function touching(operations: readonly Operation<unknown, unknown>[]): Int32Array {
  const after = new Int32Array(operations.length).fill(-1);
  const last = new Map<number | string, number>();
  const byCall = operations.map((_, index) => index);
  byCall.sort((a, b) => operations[a]!.callMs - operations[b]!.callMs || a - b);
  for (const index of byCall) {
    const { client, callMs, returnMs } = operations[index]!;
    const before = last.get(client);
    if (before !== undefined && operations[before]!.returnMs === callMs) after[index] = before;
    if (returnMs !== undefined) last.set(client, index);
  }
  return after;
}

/** For each operation from number `known` on the last one before it with the same input; -1 for none. */
function twins(operations: readonly Operation<unknown, unknown>[], known: number): Int32Array {
  const before = new Map<string, number>();
  const unknown = operations.slice(known);
  return Int32Array.from(unknown, ({ input }, at) => {
    const text = flatText(input);
    if (text === undefined) return -1;
    const twin = before.get(text) ?? -1;
    before.set(text, known + at);
    return twin;
  });
}

/** A text that is equal for equal inputs only; `undefined` for those that are more than fields of simple values. */
function flatText(input: unknown): string | undefined {
  if (isSimple(input)) return `${typeof input} ${String(input)}`;
  if (Object.getPrototypeOf(input) !== Object.prototype) return undefined;
  const fields = Object.entries(input as object);
  if (!fields.every(([, value]) => isSimple(value))) return undefined;
  return JSON.stringify(fields.map(([name, value]) => [name, typeof value, String(value)]));
}

function isSimple(value: unknown): boolean {
  const type = typeof value;
  return value === null || !(type === 'object' || type === 'function' || type === 'symbol');
}
