/** The contract between the replicated log and what is replicated. */

/**
 * A deterministic state machine. Every node applies the same entries in the same order and must
 * reach the same state: no clock, no randomness, no I/O in `apply`.
 *
 * @typeParam Result - what `apply` answers to the proposer.
 *
 * @example A replicated counter: `examples/counter.ts`
 */
export interface StateMachine<Result> {
  /**
   * Applies one committed entry and returns the answer for its proposer. Runs on every node, once
   * per entry, in log order. It must not throw: bad input is an answer, not an exception (a throw
   * stops the node, since the state can no longer be trusted). `data` must not be kept or changed.
   */
  apply(data: Uint8Array, index: number): Result;

  /**
   * Takes a snapshot of the state as of now. The first chunk is pulled at once (so a generator may pin
   * the state in its first step), the others later, while further entries are applied: they must not
   * show those. The iterator's `return` frees what was pinned.
   */
  snapshot(): Iterable<Uint8Array>;

  /** Replaces the whole state by that of a snapshot; the chunks arrive with the same boundaries. */
  restore(chunks: AsyncIterable<Uint8Array>): Promise<void>;
}
