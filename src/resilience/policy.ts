/** What all policies have in common: each guards calls alone, or with others in a pipeline. */
import type { CallOptions, Work } from './call.ts';
import type { Outcome } from './outcome.ts';
import { type Gate, type Section, sectionOf, type Wrap } from './section.ts';

/** What kinds of policies there are. */
export type PolicyKind =
  | 'adaptive'
  | 'breaker'
  | 'bulkhead'
  | 'deadline'
  | 'degrade'
  | 'fallback'
  | 'hedge'
  | 'limit'
  | 'pipeline'
  | 'retry'
  | 'shed'
  | 'timeout'
  | 'other';

/**
 * Guards calls.
 *
 * A policy has state of its own and is made once, for all calls to what it guards.
 */
export interface Policy {
  readonly kind: PolicyKind;
  /** What it is called in errors and figures. */
  readonly name: string;
  /**
   * Runs the work unless it is refused. Rejects with what the work threw, unchanged; with the error of the policy that
   * refused or ended it (its `code` says why, `retryAfterMs` when to come back); with the signal's reason when aborted.
   */
  run<T>(work: Work<T>, options?: CallOptions): Promise<T>;
  /** The same, and never rejects: for callers that do not want to pay for errors. */
  attempt<T>(work: Work<T>, options?: CallOptions): Promise<Outcome<T>>;
}

/** A policy that is a gate or a wrap: what a pipeline is made of. */
export type Part = Policy & (Gate | Wrap) & Partial<Changeable>;

/** Has rules that can be changed while it is used. */
export interface Changeable<Rules = never> {
  /**
   * Checks new rules; what is returned makes them the ones in force, and cannot fail. So several can be changed together
   * or not at all.
   *
   * @throws ERR_INVALID_ARGUMENT
   */
  prepare(rules: Rules): () => void;
}

/** The way to guard calls with a part alone. */
export abstract class Alone implements Policy {
  readonly kind: PolicyKind = 'other';
  readonly name: string;
  #section: Section | undefined;

  constructor(name: string) {
    this.name = name;
    this.#section = undefined;
  }

  run<T>(work: Work<T>, options?: CallOptions): Promise<T> {
    return this.#alone().run(work, options);
  }

  attempt<T>(work: Work<T>, options?: CallOptions): Promise<Outcome<T>> {
    return this.#alone().attempt(work, options);
  }

  #alone(): Section {
    this.#section ??= sectionOf([this as unknown as Gate | Wrap]);
    return this.#section;
  }
}
