/**
 * The search for an order: depth first, without recursion. A configuration is the set of operations
 * that are placed and the state after them. Next comes an operation that was called before the first
 * return of one that is not placed yet (Wing & Gong 1993); a configuration that was seen before is
 * not entered again (Lowe 2017, "Testing for linearizability").
 *
 * Operations of unknown outcome may be placed or left out. They are tried last, and a configuration is
 * also not entered where one with the same known operations and state but fewer of the unknown ones
 * was seen: whatever follows from the one follows from the other. Without this every write that timed
 * out would double the work.
 */

import { Configurations } from './linearizability-configurations.ts';
import type { Model, Operation } from './linearizability-types.ts';

/** What a search ends with where there is no order. */
export interface Found<Input, Output> {
  readonly blocked: Operation<Input, Output>;
  readonly prefix: readonly Operation<Input, Output>[];
  readonly concurrent: readonly Operation<Input, Output>[];
  readonly state: string;
}

/** Events in a doubly linked list: 0 is its head, `2i + 1` the call and `2i + 2` the return of operation i. */
const HEAD = 0;
const callOf = (operation: number): number => 2 * operation + 1;
const returnOf = (operation: number): number => 2 * operation + 2;
const isReturn = (event: number): boolean => event !== HEAD && event % 2 === 0;
const operationOf = (event: number): number => (event - 1) >> 1;

export class Search<State, Input, Output> {
  readonly #model: Model<State, Input, Output>;
  /** Those with a return, by call; behind them those without, by call. */
  readonly #operations: readonly Operation<Input, Output>[];
  /** How many have a return. */
  readonly #known: number;
  readonly #maxSteps: number;

  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** Place of each event in time. */
  readonly #rank: Int32Array;
  /** The operation of the same client that comes first although their times touch; -1 for none. */
  readonly #after: Int32Array;

  /** What is placed, in order, with the state and its number before each. */
  readonly #placed: Int32Array;
  readonly #states: State[] = [];
  readonly #stateIds: number[] = [];
  #depth = 0;
  #state: State;
  #stateId: number;
  readonly #configurations: Configurations;
  readonly #identities = new Map<string | number, number>();

  /** Where the search came furthest: the rank of the return it did not pass, and how it came there. */
  #furthestRank = -1;
  #furthestEvent: number = HEAD;
  #furthestDepth = 0;
  #furthestState: State;
  readonly #furthest: Int32Array;

  /** Steps of the model so far. */
  steps = 0;

  constructor(
    model: Model<State, Input, Output>,
    operations: readonly Operation<Input, Output>[],
    maxSteps: number,
  ) {
    const byCall = [...operations].sort((a, b) => a.callMs - b.callMs);
    const known = byCall.filter(({ returnMs }) => returnMs !== undefined);
    const unknown = byCall.filter(({ returnMs }) => returnMs === undefined);
    const events = 2 * known.length + 1;
    this.#model = model;
    this.#operations = [...known, ...unknown];
    this.#known = known.length;
    this.#maxSteps = maxSteps;
    this.#next = new Int32Array(events);
    this.#previous = new Int32Array(events);
    this.#rank = new Int32Array(events);
    this.#after = touching(this.#operations);
    this.#placed = new Int32Array(operations.length);
    this.#furthest = new Int32Array(operations.length);
    this.#state = model.init;
    this.#stateId = this.#identify(model.init);
    this.#furthestState = model.init;
    this.#configurations = new Configurations(known.length, unknown.length);
    this.#link();
  }

  run(): 'linearizable' | 'spent' | Found<Input, Output> {
    // What is tried next: an event of the list up to the first return, then an unknown operation
    // that was called before it.
    let event = this.#next[HEAD]!;
    let unknown = -1;
    let until = 0;
    while (this.#next[HEAD] !== HEAD) {
      if (this.steps >= this.#maxSteps) return 'spent';
      if (unknown < 0) {
        if (isReturn(event)) {
          unknown = this.#known;
          until = this.#timeOf(event);
        } else if (this.#place(operationOf(event))) event = this.#next[HEAD]!;
        else event = this.#next[event]!;
      } else if (unknown < this.#operations.length && this.#timeOfCall(unknown) <= until) {
        if (this.#place(unknown)) {
          event = this.#next[HEAD]!;
          unknown = -1;
        } else unknown++;
      } else {
        this.#noteFurthest();
        if (this.#depth === 0) return this.#found();
        const last = this.#takeBack();
        if (last < this.#known) {
          event = this.#next[callOf(last)]!;
          unknown = -1;
        } else {
          unknown = last + 1;
          until = this.#timeOf(this.#firstReturn());
        }
      }
    }
    return 'linearizable';
  }

  #timeOf(event: number): number {
    const { callMs, returnMs } = this.#operations[operationOf(event)]!;
    return isReturn(event) ? returnMs! : callMs;
  }

  #timeOfCall(operation: number): number {
    return this.#operations[operation]!.callMs;
  }

  #firstReturn(): number {
    let event = this.#next[HEAD]!;
    while (!isReturn(event)) event = this.#next[event]!;
    return event;
  }

  /** Places the operation next where the model allows it and the configuration is a new one. */
  #place(index: number): boolean {
    if (this.#configurations.has(index)) return false;
    const after = this.#after[index]!;
    if (after >= 0 && !this.#configurations.has(after)) return false;
    const { input, output } = this.#operations[index]!;
    const isKnown = index < this.#known;
    this.steps++;
    const state = this.#model.step(this.#state, input, isKnown ? output : undefined);
    if (state === undefined) return false;
    const id = this.#identify(state);
    // What may as well not have happened is left out.
    if (!isKnown && id === this.#stateId) return false;
    if (!this.#configurations.enter(index, id)) return false;
    this.#placed[this.#depth] = index;
    this.#states[this.#depth] = this.#state;
    this.#stateIds[this.#depth] = this.#stateId;
    this.#depth++;
    this.#state = state;
    this.#stateId = id;
    if (isKnown) this.#unlink(index);
    return true;
  }

  #takeBack(): number {
    this.#depth--;
    const index = this.#placed[this.#depth]!;
    this.#state = this.#states[this.#depth]!;
    this.#stateId = this.#stateIds[this.#depth]!;
    this.#configurations.leave(index);
    if (index < this.#known) this.#relink(index);
    return index;
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

  /** Puts all events in order of time; of those at one time the calls come first. */
  #link(): void {
    const events = Array.from({ length: 2 * this.#known }, (_, index) => index + 1);
    events.sort(
      (a, b) => this.#timeOf(a) - this.#timeOf(b) || Number(isReturn(a)) - Number(isReturn(b)),
    );
    let last: number = HEAD;
    for (const [rank, event] of events.entries()) {
      this.#rank[event] = rank;
      this.#next[last] = event;
      this.#previous[event] = last;
      last = event;
    }
    this.#next[last] = HEAD;
    this.#previous[HEAD] = last;
  }

  #unlink(index: number): void {
    this.#unlinkEvent(callOf(index));
    this.#unlinkEvent(returnOf(index));
  }

  /** The links of what was taken out still say where it was. */
  #relink(index: number): void {
    this.#relinkEvent(returnOf(index));
    this.#relinkEvent(callOf(index));
  }

  #unlinkEvent(event: number): void {
    this.#next[this.#previous[event]!] = this.#next[event]!;
    this.#previous[this.#next[event]!] = this.#previous[event]!;
  }

  #relinkEvent(event: number): void {
    this.#next[this.#previous[event]!] = event;
    this.#previous[this.#next[event]!] = event;
  }

  #noteFurthest(): void {
    const event = this.#firstReturn();
    const rank = this.#rank[event]!;
    if (rank < this.#furthestRank) return;
    if (rank === this.#furthestRank && this.#depth <= this.#furthestDepth) return;
    this.#furthestRank = rank;
    this.#furthestEvent = event;
    this.#furthestDepth = this.#depth;
    this.#furthestState = this.#state;
    this.#furthest.set(this.#placed.subarray(0, this.#depth));
  }

  #found(): Found<Input, Output> {
    const order = [...this.#furthest.subarray(0, this.#furthestDepth)];
    const placed = new Set(order);
    const blocked = operationOf(this.#furthestEvent);
    const before = this.#operations[blocked]!.returnMs!;
    const concurrent = this.#operations.filter(
      ({ callMs }, index) => callMs <= before && index !== blocked && !placed.has(index),
    );
    const state = this.#model.identity?.(this.#furthestState) ?? this.#furthestState;
    return {
      blocked: this.#operations[blocked]!,
      prefix: order.map((index) => this.#operations[index]!),
      concurrent,
      state: JSON.stringify(state),
    };
  }
}

/**
 * For each operation the one of its client that returned at the very time of its call. Where the times
 * differ the list of events keeps the order; where they are equal it takes them for concurrent.
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
