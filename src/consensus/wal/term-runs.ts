/**
 * The terms of a log's entries, as runs: one element for each change of term, so a handful for
 * millions of entries. It tells whether a snapshot agrees with the log or replaces it.
 */
export class TermRuns {
  /** Index of the last entry or snapshot. */
  last: number;
  /** First index of each run, rising, and its term. */
  readonly #starts: number[];
  readonly #terms: number[];

  /** The log begins after the snapshot at `index` and `term`; 0 and 0 for none. */
  constructor(index: number, term: number) {
    this.last = index;
    this.#starts = [index];
    this.#terms = [term];
  }

  /** Appends an entry, after cutting the log to before it. */
  append(index: number, term: number): void {
    this.last = index;
    while (this.#starts.length > 0 && this.#starts.at(-1)! >= index) {
      this.#starts.pop();
      this.#terms.pop();
    }
    if (this.#terms.at(-1) === term) return;
    this.#starts.push(index);
    this.#terms.push(term);
  }

  /** A snapshot became current: the runs before it go, and all of them where the log differs. */
  snapshot(index: number, term: number): void {
    const position = this.#starts.findLastIndex((start) => start <= index);
    if (position < 0) return;
    if (index > this.last || this.#terms[position] !== term) {
      this.#starts.length = 0;
      this.#terms.length = 0;
      this.#starts.push(index);
      this.#terms.push(term);
      this.last = index;
      return;
    }
    this.#starts.splice(0, position);
    this.#terms.splice(0, position);
  }
}
