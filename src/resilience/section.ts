/**
 * How policies are run around the work. A policy is a gate, which lets a call in and is told how it ended, or it is wrapped
 * around what is inside it. Gates that follow each other are one section: one asynchronous function, however many they are.
 */
import { Call, type CallOptions, type End, type Work } from './call.ts';
import { type Outcome, Rejection, tellRejected } from './outcome.ts';

/** What a gate gives to a call that it lets in: comes back when that leaves. */
export type Ticket = number | object;

/** A policy that lets calls in or not. */
export interface Gate {
  readonly name: string;
  /** At once where it can: a promise is for what has to wait. It rejects only where the call is aborted meanwhile. */
  enter(call: Call): Ticket | Rejection | Promise<Ticket | Rejection>;
  /** @param result - the value of a success, what was thrown for a failure */
  leave(ticket: Ticket, end: End, result: unknown): void;
  /**
   * Left at once where a timeout or the like ends the call, though its work goes on, perhaps for ever: for gates that judge
   * the work; not for those that count what runs.
   */
  readonly leavesEarly?: boolean;
}

/** A policy that decides whether, when, and how often what is inside it is run. */
export interface Wrap {
  readonly name: string;
  /** Resolves with the value, or the rejection of this or of an inner policy; rejects where the work failed. */
  around(call: Call, inner: Section): Promise<unknown>;
  /** A gate that belongs to it, directly inside it. */
  readonly inside?: Gate;
}

/** What is wanted of a section: the value or a rejection; the value alone; an outcome. */
type Wanted = 'result' | 'value' | 'outcome';

/** In the place of the ticket of a gate that was left. */
const LEFT = Object.freeze({});

/** A value that happens to be a rejection: of another pipeline, which the work has used. */
export class Value {
  readonly value: unknown;

  constructor(value: unknown) {
    this.value = value;
  }
}

export class Section {
  readonly #gates: readonly Gate[];
  /** Where in the tickets of a call those of this section begin. */
  readonly #offset: number;
  readonly #wrap: Wrap | undefined;
  readonly #inner: Section | undefined;
  readonly #leavesEarly: boolean;

  constructor(gates: readonly Gate[], offset: number, wrap?: Wrap, inner?: Section) {
    this.#gates = gates;
    this.#offset = offset;
    this.#wrap = wrap;
    this.#inner = inner;
    const hasEarly = gates.some(({ leavesEarly }) => leavesEarly === true);
    this.#leavesEarly = inner === undefined ? hasEarly : hasEarly || inner.#leavesEarly;
  }

  /** For policies that are wrapped around this. */
  result(call: Call): Promise<unknown> {
    return this.#run(call, 'result');
  }

  run<T>(work: Work<T>, options?: CallOptions): Promise<T> {
    const call = new Call(work, options);
    const { signal } = call.options;
    if (signal === undefined) return this.#run(call, 'value') as Promise<T>;
    if (signal.aborted) return Promise.reject(signal.reason);
    return orGivenUp(this.#run(call, 'value') as Promise<T>, call, signal, undefined);
  }

  attempt<T>(work: Work<T>, options?: CallOptions): Promise<Outcome<T>> {
    const call = new Call(work, options);
    const { signal } = call.options;
    if (signal === undefined) return this.#run(call, 'outcome') as Promise<Outcome<T>>;
    if (signal.aborted) return Promise.resolve(aborted(signal.reason));
    return orGivenUp(this.#run(call, 'outcome') as Promise<Outcome<T>>, call, signal, aborted);
  }

  async #run(call: Call, wanted: Wanted): Promise<unknown> {
    const gates = this.#gates;
    let entered = 0;
    let refusal: Rejection | undefined;
    let result: unknown;
    try {
      for (; entered < gates.length; entered++) {
        let ticket = gates[entered]!.enter(call);
        if (ticket instanceof Promise) ticket = await ticket;
        if (ticket instanceof Rejection) {
          refusal = ticket;
          break;
        }
        call.tickets ??= [];
        call.tickets[this.#offset + entered] = ticket;
      }
      if (refusal === undefined) {
        if (this.#leavesEarly) call.outermost ??= this;
        const wrap = this.#wrap;
        result = await (wrap === undefined ? call.work(call) : wrap.around(call, this.#inner!));
        if (wrap === undefined && result instanceof Rejection) result = new Value(result);
      }
    } catch (error) {
      // A gate that breaks says nothing about the work.
      const end = entered < gates.length ? 'ignored' : call.isAborted ? call.abortedAs : 'failure';
      this.#leave(call, entered, end, error);
      if (wanted !== 'outcome') throw error;
      return { ok: false, reason: 'failed', error };
    }
    if (refusal !== undefined) {
      tellRejected(refusal);
      this.#leave(call, entered, 'ignored', refusal);
      return ended(refusal, wanted);
    }
    const end = result instanceof Rejection ? result.end : 'success';
    this.#leave(call, entered, end, result instanceof Value ? result.value : result);
    return ended(result, wanted);
  }

  leaveEarly(call: Call): void {
    this.#inner?.leaveEarly(call);
    const { tickets, abortedAs, abortReason } = call;
    const last = this.#gates.length - 1;
    // Where a gate has yet to let the call in, its end says nothing about the work.
    if (last < 0 || tickets?.[this.#offset + last] === undefined) return;
    for (let i = last; i >= 0; i--) {
      const gate = this.#gates[i]!;
      const at = this.#offset + i;
      const ticket = tickets[at];
      if (gate.leavesEarly !== true || ticket === LEFT) continue;
      tickets[at] = LEFT;
      gate.leave(ticket as Ticket, abortedAs, abortReason);
    }
  }

  #leave(call: Call, entered: number, end: End, result: unknown): void {
    const { tickets } = call;
    for (let i = entered - 1; i >= 0; i--) {
      const at = this.#offset + i;
      const ticket = tickets![at];
      if (ticket === LEFT) continue;
      tickets![at] = LEFT;
      this.#gates[i]!.leave(ticket as Ticket, end, result);
    }
  }
}

/** The section of policies, the outermost first. */
export function sectionOf(policies: readonly (Gate | Wrap)[]): Section {
  let gates: Gate[] = [];
  let wrap: Wrap | undefined;
  let inner: Section | undefined;
  let offset = policies.length;
  for (const policy of policies.toReversed()) {
    offset -= 1;
    if ('enter' in policy) {
      gates.unshift(policy);
    } else {
      // Where a wrap brings a gate that has the wrap's place among the tickets.
      const { inside } = policy;
      if (inside === undefined) inner = new Section(gates, offset + 1, wrap, inner);
      else inner = new Section([inside, ...gates], offset, wrap, inner);
      gates = [];
      wrap = policy;
    }
  }
  return new Section(gates, 0, wrap, inner);
}

function ended(result: unknown, wanted: Wanted): unknown {
  if (wanted === 'result') return result;
  if (result instanceof Rejection) {
    if (wanted === 'value') throw result.error;
    return result;
  }
  const value = result instanceof Value ? result.value : result;
  return wanted === 'value' ? value : { ok: true, value };
}

function aborted(error: unknown) {
  return { ok: false, reason: 'aborted', error } as const;
}

/** Ends a call at once when its caller's signal is aborted, wherever it waits, and leaves no listener behind. */
function orGivenUp<T>(
  run: Promise<T>,
  call: Call,
  signal: AbortSignal,
  toOutcome: ((reason: unknown) => T) | undefined,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      call.abort(signal.reason);
      if (toOutcome === undefined) reject(signal.reason);
      else resolve(toOutcome(signal.reason));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    run.then(
      (value) => {
        signal.removeEventListener('abort', onAbort);
        resolve(value);
      },
      (error: unknown) => {
        signal.removeEventListener('abort', onAbort);
        reject(error);
      },
    );
  });
}
