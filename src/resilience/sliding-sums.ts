/** Sums over the last while, in slices: the oldest leaves as a whole. To add is O(1), amortised over slices. */

export class SlidingSums {
  /** Of all slices, a number for each column. */
  readonly totals: Float64Array;
  readonly #rows: Float64Array;
  readonly #columns: number;
  readonly #slices: number;
  readonly #sliceMs: number;
  /** Number of the slice that is filled, from the beginning of time. */
  #current: number;
  /** When it is over. */
  #untilMs: number;
  /** Where its row begins. */
  #row: number;

  /** Amounts are whole numbers: the sums then stay exact while slices come and go. */
  constructor(columns: number, lengthMs: number, slices: number) {
    this.totals = new Float64Array(columns);
    this.#rows = new Float64Array(slices * columns);
    this.#columns = columns;
    this.#slices = slices;
    this.#sliceMs = lengthMs / slices;
    this.#current = 0;
    this.#untilMs = this.#sliceMs;
    this.#row = 0;
  }

  /** To the slice of the last `advance`. */
  add(column: number, amount: number): void {
    this.#rows[this.#row + column]! += amount;
    this.totals[column]! += amount;
  }

  /** Forgets what is too old. Time does not go back. */
  advance(nowMs: number): void {
    if (nowMs < this.#untilMs) return;
    const current = Math.floor(nowMs / this.#sliceMs);
    if (current - this.#current >= this.#slices) this.clear();
    else for (let one = this.#current + 1; one <= current; one++) this.#forget(one % this.#slices);
    this.#current = current;
    this.#untilMs = (current + 1) * this.#sliceMs;
    this.#row = (current % this.#slices) * this.#columns;
  }

  clear(): void {
    this.#rows.fill(0);
    this.totals.fill(0);
  }

  #forget(slot: number): void {
    const from = slot * this.#columns;
    for (let column = 0; column < this.#columns; column++) {
      this.totals[column]! -= this.#rows[from + column]!;
      this.#rows[from + column] = 0;
    }
  }
}
