/** Something else in the place of what failed. */
import { invalid } from '../core/errors.ts';
import type { Call, CallContext } from './call.ts';
import { Rejection } from './outcome.ts';
import { Alone, type Changeable, type Policy } from './policy.ts';
import type { Failure } from './retry.ts';
import { type Section, Value, type Wrap } from './section.ts';

/** Makes an answer of a failure. */
export type FallbackFunction = (failure: Failure, context: CallContext) => unknown;

/** Which failures are answered: those for which this is true. */
export type FallbackOn = (failure: Failure) => boolean;

/** What can be changed of a fallback while it is used. */
export interface FallbackRules {
  /** A value, or a `FallbackFunction`. */
  readonly answer: unknown;
  /** @defaultValue all failures of the work, and all refusals of policies further in */
  readonly on?: FallbackOn | undefined;
}

/** What a fallback takes besides its answer. */
export interface FallbackOptions {
  readonly on?: FallbackOn | undefined;
  /** @defaultValue `'fallback'` */
  readonly name?: string | undefined;
}

/** What a fallback has done. */
export interface FallbackStats {
  readonly calls: number;
  /** Calls that it answered. */
  readonly fallbacks: number;
  /** Calls whose fallback failed as well. */
  readonly failures: number;
}

/** A fallback. */
export interface Fallback extends Policy {
  readonly kind: 'fallback';
  stats(): FallbackStats;
  /** From now on by these rules, for calls that are under way, too. @throws `ERR_INVALID_ARGUMENT`; the old stay then */
  reconfigure(rules: FallbackRules): void;
}

/**
 * Answers in the place of what fails, or is refused by a policy further in. For policies around it the call has succeeded.
 *
 * The answer has to be of the type of the work's value. Where it is a function that throws, the call rejects with that error;
 * its `cause` is the first failure, unless it has one. Nothing is answered where the caller gave up.
 *
 * @param answer - the value, or a function of the failure; a function as the value has to be returned by one
 * @example
 * ```ts
 * const stock = await fallback({ items: [] }).run(() => fetchStock());
 * const price = fallback(({ reason }) => (reason === 'open' ? cachedPrice() : 0));
 * ```
 */
export function fallback(answer: FallbackFunction, options?: FallbackOptions): Fallback;
export function fallback(answer: unknown, options?: FallbackOptions): Fallback;
export function fallback(answer: unknown, options: FallbackOptions = {}): Fallback {
  return new Answers(options.name ?? 'fallback', { answer, on: options.on });
}

/** What a fallback is asked before each call. */
export class Answers extends Alone implements Wrap, Fallback, Changeable<FallbackRules> {
  override readonly kind = 'fallback';
  #rules: FallbackRules;
  #calls: number;
  #fallbacks: number;
  #failures: number;

  constructor(name: string, rules: FallbackRules) {
    super(name);
    this.#rules = checked(rules);
    this.#calls = 0;
    this.#fallbacks = 0;
    this.#failures = 0;
  }

  stats(): FallbackStats {
    return { calls: this.#calls, fallbacks: this.#fallbacks, failures: this.#failures };
  }

  reconfigure(rules: FallbackRules): void {
    this.prepare(rules)();
  }

  prepare(rules: FallbackRules): () => void {
    const next = checked(rules);
    return () => {
      this.#rules = next;
    };
  }

  async around(call: Call, inner: Section): Promise<unknown> {
    this.#calls += 1;
    let failure: Failure;
    try {
      const result = await inner.result(call);
      if (!(result instanceof Rejection)) return result;
      failure = result;
    } catch (error) {
      failure = { ok: false, reason: 'failed', error };
    }
    if (!this.#isAnswered(call, failure)) {
      if (failure instanceof Rejection) return failure;
      throw failure.error;
    }
    try {
      const value = await this.#answer(failure, call);
      this.#fallbacks += 1;
      return value instanceof Rejection ? new Value(value) : value;
    } catch (error) {
      this.#failures += 1;
      throw withCause(error, failure.error);
    }
  }

  #isAnswered(call: Call, failure: Failure): boolean {
    const { on } = this.#rules;
    return !call.isAborted && (on === undefined || on(failure));
  }

  #answer(failure: Failure, call: Call): unknown {
    const { answer } = this.#rules;
    return typeof answer === 'function' ? answer(failure, call) : answer;
  }
}

function checked(rules: FallbackRules): FallbackRules {
  if (!('answer' in rules)) throw invalid('answer: a value is needed, or a function that makes it');
  if (rules.on === undefined || typeof rules.on === 'function') return rules;
  throw invalid(`on: ${typeof rules.on}; a function is needed`);
}

function withCause(error: unknown, cause: unknown): unknown {
  if (!(error instanceof Error) || error === cause) return error;
  if (error.cause !== undefined || !Object.isExtensible(error)) return error;
  // As the constructor of errors does it: not among the properties that are listed.
  Object.defineProperty(error, 'cause', { value: cause, writable: true, configurable: true });
  return error;
}
