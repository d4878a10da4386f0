/**
 * How policies are run around the work. A policy is a gate, which lets a call in and is told how it ended, or it is wrapped
 * around what is inside it. Gates that follow each other are one section: one promise, however many they are.
 */
import type { QuorateError } from '../core/errors.ts';
import { Call, type CallOptions, type End, noFunction, type Work } from './call.ts';
import { errorIn, type Outcome, Rejection, tellRejected } from './outcome.ts';

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

/**
 * Goes on where a section has ended: called as soon as its gates are left. What it returns or throws is how the promise of
 * the section settles. So a section and what is directly around it have one promise, not two.
 */
export interface Next {
  /** @param result - as `Section.result` resolves with */
  ended(result: unknown): unknown;
  failed(error: unknown): unknown;
}

const RESULT: Next = {
  ended: (result) => result,
  failed(error) {
    throw error;
  },
};

/** The value, or the error that the caller gets of a rejection. */
class ValueOrError implements Next {
  readonly #pipeline: string | undefined;
  /** Policies that always refuse alike do it with one object. */
  #last: Rejection | undefined;
  #lastError: QuorateError | undefined;

  constructor(pipeline?: string) {
    this.#pipeline = pipeline;
    this.#last = undefined;
    this.#lastError = undefined;
  }

  ended(result: unknown): unknown {
    if (result instanceof Rejection) throw this.errorOf(result);
    return result instanceof Value ? result.value : result;
  }

  failed(error: unknown): never {
    throw error;
  }

  errorOf(rejection: Rejection): QuorateError {
    if (this.#pipeline === undefined) return rejection.error;
    if (rejection !== this.#last) {
      this.#last = rejection;
      this.#lastError = errorIn(this.#pipeline, rejection);
    }
    return this.#lastError!;
  }
}

const VALUE = new ValueOrError();

const OUTCOME: Next = {
  ended(result) {
    if (result instanceof Rejection) return result;
    return { ok: true, value: result instanceof Value ? result.value : result };
  },
  failed: (error) => ({ ok: false, reason: 'failed', error }),
};

const SETTLED = Promise.resolve();

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
  /** Tickets of all sections of the call. */
  readonly #places: number;
  readonly #wrap: Wrap | undefined;
  readonly #inner: Section | undefined;
  readonly #leavesEarly: boolean;
  readonly #value: ValueOrError;

  constructor(
    gates: readonly Gate[],
    offset: number,
    places: number,
    wrap?: Wrap,
    inner?: Section,
    value = VALUE,
  ) {
    this.#gates = gates;
    this.#offset = offset;
    this.#places = places;
    this.#wrap = wrap;
    this.#inner = inner;
    const hasEarly = gates.some(({ leavesEarly }) => leavesEarly === true);
    this.#value = value;
    this.#leavesEarly = inner === undefined ? hasEarly : hasEarly || inner.#leavesEarly;
  }

  /** For policies that are wrapped around this: the value or a rejection, unless `next` makes something else of it. */
  result(call: Call, next = RESULT): Promise<unknown> {
    return this.#run(call, next);
  }

  run<T>(work: Work<T>, options?: CallOptions): Promise<T> {
    if (typeof work !== 'function') return Promise.reject(noFunction(work));
    const call = new Call(work, options);
    const { signal } = call.options;
    if (signal === undefined) return this.#run(call, this.#value) as Promise<T>;
    if (signal.aborted) return Promise.reject(signal.reason);
    return orGivenUp(this.#run(call, this.#value) as Promise<T>, call, signal, undefined);
  }

  attempt<T>(work: Work<T>, options?: CallOptions): Promise<Outcome<T>> {
    if (typeof work !== 'function') {
      return Promise.resolve({ ok: false, reason: 'failed', error: noFunction(work) });
    }
    const call = new Call(work, options);
    const { signal } = call.options;
    if (signal === undefined) return this.#run(call, OUTCOME) as Promise<Outcome<T>>;
    if (signal.aborted) return Promise.resolve(aborted(signal.reason));
    return orGivenUp(this.#run(call, OUTCOME) as Promise<Outcome<T>>, call, signal, aborted);
  }

  /** Promises are what a call costs, so there is one for a section, and none to go in unless a gate has to wait. */
  #run(call: Call, next: Next): Promise<unknown> {
    let entered = 0;
    try {
      for (; entered < this.#gates.length; entered++) {
        const ticket = this.#gates[entered]!.enter(call);
        if (ticket instanceof Promise) return this.#runLater(call, next, entered, ticket);
        if (ticket instanceof Rejection) return this.#refused(call, next, entered, ticket);
        this.#keep(call, entered, ticket);
      }
    } catch (error) {
      return this.#broken(call, next, entered, error);
    }
    return this.#begin(call, next);
  }

  /** Goes on where a gate has to wait. */
  async #runLater(
    call: Call,
    next: Next,
    from: number,
    waiting: Promise<Ticket | Rejection>,
  ): Promise<unknown> {
    let entered = from;
    try {
      let ticket = await waiting;
      for (;;) {
        if (ticket instanceof Rejection) return this.#refused(call, next, entered, ticket);
        this.#keep(call, entered, ticket);
        entered += 1;
        if (entered === this.#gates.length) break;
        const given = this.#gates[entered]!.enter(call);
        ticket = given instanceof Promise ? await given : given;
      }
    } catch (error) {
      return this.#broken(call, next, entered, error);
    }
    return this.#begin(call, next);
  }

  #keep(call: Call, entered: number, ticket: Ticket): void {
    call.tickets ??= new Array(this.#places);
    call.tickets[this.#offset + entered] = ticket;
  }

  #refused(call: Call, next: Next, entered: number, refusal: Rejection): Promise<unknown> {
    tellRejected(refusal);
    this.#leave(call, entered, 'ignored', refusal);
    if (next === OUTCOME) return Promise.resolve(refusal);
    if (next === this.#value) return rejected(() => this.#value.errorOf(refusal));
    return promised(() => next.ended(refusal));
  }

  /** A gate that breaks says nothing about the work. */
  #broken(call: Call, next: Next, entered: number, error: unknown): Promise<unknown> {
    this.#leave(call, entered, 'ignored', error);
    return promised(() => next.failed(error));
  }

  /** All gates are passed. */
  #begin(call: Call, next: Next): Promise<unknown> {
    if (this.#leavesEarly) call.outermost ??= this;
    return this.#inside(call).then(
      (result) => {
        const isValue = this.#wrap === undefined && result instanceof Rejection;
        return this.#ended(call, next, isValue ? new Value(result) : result);
      },
      (error: unknown) => this.#failed(call, next, error),
    );
  }

  #inside(call: Call): Promise<unknown> {
    try {
      const wrap = this.#wrap;
      const inside = wrap === undefined ? call.work(call) : wrap.around(call, this.#inner!);
      return Promise.resolve(inside);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #ended(call: Call, next: Next, result: unknown): unknown {
    const end = result instanceof Rejection ? result.end : 'success';
    try {
      this.#leave(call, this.#gates.length, end, result instanceof Value ? result.value : result);
    } catch (error) {
      // Somebody waits to hear how it ended, whatever else is broken.
      return next.failed(error);
    }
    return next.ended(result);
  }

  #failed(call: Call, next: Next, error: unknown): unknown {
    try {
      const end = call.isAborted ? call.abortedAs : 'failure';
      this.#leave(call, this.#gates.length, end, error);
    } catch (another) {
      return next.failed(another);
    }
    return next.failed(error);
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

/** The section of policies, the outermost first. @param pipeline - its name, which is then in the errors of policies */
export function sectionOf(policies: readonly (Gate | Wrap)[], pipeline?: string): Section {
  let gates: Gate[] = [];
  let wrap: Wrap | undefined;
  let inner: Section | undefined;
  const places = policies.length;
  let offset = places;
  for (const policy of policies.toReversed()) {
    offset -= 1;
    if ('enter' in policy) {
      gates.unshift(policy);
    } else {
      // Where a wrap brings a gate that has the wrap's place among the tickets.
      const { inside } = policy;
      if (inside === undefined) inner = new Section(gates, offset + 1, places, wrap, inner);
      else inner = new Section([inside, ...gates], offset, places, wrap, inner);
      gates = [];
      wrap = policy;
    }
  }
  const value = pipeline === undefined ? VALUE : new ValueOrError(pipeline);
  return new Section(gates, 0, places, wrap, inner, value);
}

/**
 * Rejects when who asked has had the time to listen: of promises that are rejected before that Node keeps a list, which
 * costs more than the promise.
 */
function rejected(errorOf: () => unknown): Promise<never> {
  return new Promise((_, reject) => {
    void SETTLED.then(() => reject(errorOf()));
  });
}

async function promised(make: () => unknown): Promise<unknown> {
  return make();
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
