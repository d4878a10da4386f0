/**
 * Conformance suites as data: a contract's rules as cases that any test runner can run, on any
 * implementation, also the user's own.
 */

/** One rule of a contract. `run` rejects where the implementation breaks it. */
export interface Case<Context, Capability extends string> {
  /** A sentence about behaviour, unique in its suite. */
  readonly name: string;
  /** What the implementation must offer for the rule to mean anything. @defaultValue nothing */
  readonly needs?: readonly Capability[];
  run(context: Context): Promise<void>;
}

/**
 * How a case reaches the caller's test runner. `skip`, where given, says why the case does not
 * apply to this implementation.
 */
export type Register = (name: string, run: () => Promise<void>, skip: string | undefined) => void;
