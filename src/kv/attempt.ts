/**
 * Something that the leader proposes by itself and that must be in the log once, not once a look: the
 * end of a lease, a checkpoint of what is left of some. A proposal that timed out may still be in the
 * log, and stays there as long as this node leads its term. Proposed again before that is decided, a
 * log that is slow would get slower with every look, and the second one, coming into force late, would
 * end a lease that was granted anew under the same id.
 */
export class Attempt {
  #term = 0;
  #againAtMs = 0;

  /** Whether the leader of `term` may propose it: nothing that it proposed is still undecided. */
  isDue(term: number, nowMs: number): boolean {
    return this.#term !== term || nowMs >= this.#againAtMs;
  }

  /** It is proposed in `term`, and undecided until `applied` or `refused`, or until another term. */
  begin(term: number): void {
    this.#term = term;
    this.#againAtMs = Number.POSITIVE_INFINITY;
  }

  /** The proposal of `term` never got into the log; another may be made from `againAtMs` on. */
  refused(term: number, againAtMs: number): void {
    if (term === this.#term) this.#againAtMs = againAtMs;
  }

  /** An entry with it was applied; should there be need of another, from `againAtMs` on. */
  applied(againAtMs: number): void {
    this.#againAtMs = againAtMs;
  }
}
