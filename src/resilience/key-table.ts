/** Rows of numbers by key, at most so many: few bytes a key, and no object or timer for any of them. */

/** Rows that a new key looks at to find some that are not needed any more. */
const LOOKS = 8;
const FIRST_ROWS = 16;

export class KeyTable {
  /** Row `i` begins at `i * columns`. Another array after a key was added. */
  rows: Float64Array;
  #columns: number;
  readonly #maxKeys: number;
  readonly #idleAt: (rows: Float64Array, at: number) => number;
  readonly #places: Map<string, number>;
  /** Of keys that were forgotten. */
  readonly #free: number[];
  /** Goes round and round through the keys. */
  #hand: IterableIterator<[string, number]>;

  /** @param idleAt - from when on a row is as good as none */
  constructor(
    columns: number,
    maxKeys: number,
    idleAt: (rows: Float64Array, at: number) => number,
  ) {
    this.rows = new Float64Array(columns * Math.min(FIRST_ROWS, maxKeys));
    this.#columns = columns;
    this.#maxKeys = maxKeys;
    this.#idleAt = idleAt;
    this.#places = new Map();
    this.#free = [];
    this.#hand = this.#places.entries();
  }

  /** Where the row of a key begins; `undefined` for one that is not there. */
  find(key: string): number | undefined {
    return this.#places.get(key);
  }

  /** A row of zeros for a new key; `undefined` where there is no room for it. */
  add(key: string, nowMs: number): number | undefined {
    this.#forgetIdle(nowMs);
    if (this.#places.size >= this.#maxKeys) return undefined;
    const at = this.#free.pop() ?? this.#places.size * this.#columns;
    if (at >= this.rows.length) this.#grow();
    this.#places.set(key, at);
    return at;
  }

  delete(key: string): void {
    const at = this.#places.get(key);
    if (at === undefined) return;
    this.rows.fill(0, at, at + this.#columns);
    this.#places.delete(key);
    this.#free.push(at);
  }

  /** Other columns from now on: `carry` fills each new row, of zeros, from the old one. */
  widen(
    columns: number,
    carry: (from: Float64Array, at: number, to: Float64Array, toAt: number) => void,
  ): void {
    const rows = new Float64Array((this.rows.length / this.#columns) * columns);
    for (const [key, at] of this.#places) {
      const toAt = (at / this.#columns) * columns;
      carry(this.rows, at, rows, toAt);
      this.#places.set(key, toAt);
    }
    for (const [i, at] of this.#free.entries()) this.#free[i] = (at / this.#columns) * columns;
    this.rows = rows;
    this.#columns = columns;
  }

  #forgetIdle(nowMs: number): void {
    for (let looks = 0; looks < LOOKS; looks++) {
      const { value, done } = this.#hand.next();
      if (done === true) {
        this.#hand = this.#places.entries();
        return;
      }
      const [key, at] = value;
      if (this.#idleAt(this.rows, at) <= nowMs) this.delete(key);
    }
  }

  #grow(): void {
    const most = this.#maxKeys * this.#columns;
    const rows = new Float64Array(Math.min(most, this.rows.length * 2));
    rows.set(this.rows);
    this.rows = rows;
  }
}
