/** A binary heap of leases by time in which an entry can be moved or taken out. */

/** An entry of a heap; `position` is the heap's own business (-1: not in it). */
export interface Timed<T> {
  readonly subject: T;
  atMs: number;
  position: number;
}

export class TimeHeap<T> {
  readonly #entries: Timed<T>[] = [];

  get size(): number {
    return this.#entries.length;
  }

  /** Puts the entry in, or moves it, to this time. */
  schedule(entry: Timed<T>, atMs: number): void {
    entry.atMs = atMs;
    if (entry.position < 0) {
      entry.position = this.#entries.length;
      this.#entries.push(entry);
    }
    this.#up(entry.position);
    this.#down(entry.position);
  }

  remove(entry: Timed<T>): void {
    const at = entry.position;
    if (at < 0) return;
    entry.position = -1;
    const last = this.#entries.pop();
    if (last === undefined || last === entry) return;
    this.#entries[at] = last;
    last.position = at;
    this.#up(at);
    this.#down(last.position);
  }

  clear(): void {
    for (const entry of this.#entries) entry.position = -1;
    this.#entries.length = 0;
  }

  /** At most `limit` subjects whose time has come; they stay in. Costs a step each. */
  due(nowMs: number, limit: number): T[] {
    const found: T[] = [];
    // Only below an entry that is due can there be another.
    const open = [0];
    while (open.length > 0 && found.length < limit) {
      const at = open.pop()!;
      const entry = this.#entries[at];
      if (entry === undefined || entry.atMs > nowMs) continue;
      found.push(entry.subject);
      open.push(2 * at + 2, 2 * at + 1);
    }
    return found;
  }

  #up(from: number): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#entries[parent]!.atMs <= this.#entries[at]!.atMs) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #down(from: number): void {
    let at = from;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= this.#entries.length) return;
      const right = left + 1;
      const smaller =
        right < this.#entries.length && this.#entries[right]!.atMs < this.#entries[left]!.atMs
          ? right
          : left;
      if (this.#entries[at]!.atMs <= this.#entries[smaller]!.atMs) return;
      this.#swap(at, smaller);
      at = smaller;
    }
  }

  #swap(a: number, b: number): void {
    const first = this.#entries[a]!;
    const second = this.#entries[b]!;
    this.#entries[a] = second;
    this.#entries[b] = first;
    first.position = b;
    second.position = a;
  }
}
