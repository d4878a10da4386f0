/** What is to happen, by time; at the same time in the order in which it was scheduled. A binary heap. */

/** Something scheduled. `run` is dropped when it is cancelled: what it holds is free at once. */
export interface ScheduledEvent {
  readonly dueMs: number;
  readonly order: number;
  run: (() => void) | undefined;
}

/** Cancelled events are swept when there are more of them than of the others, and at least so many. */
const SWEEP_FROM = 1024;

export class EventQueue {
  #heap: ScheduledEvent[] = [];
  #order = 0;
  #cancelled = 0;

  /** Events that wait, without the cancelled ones. */
  get size(): number {
    return this.#heap.length - this.#cancelled;
  }

  add(dueMs: number, run: () => void): ScheduledEvent {
    const event: ScheduledEvent = { dueMs, order: this.#order++, run };
    this.#heap.push(event);
    this.#up(this.#heap.length - 1);
    return event;
  }

  cancel(event: ScheduledEvent): void {
    if (event.run === undefined) return;
    event.run = undefined;
    this.#cancelled += 1;
    if (this.#cancelled >= SWEEP_FROM && this.#cancelled * 2 > this.#heap.length) this.#sweep();
  }

  /** When the next event is due; infinity where there is none. */
  get nextMs(): number {
    this.#dropCancelled();
    return this.#heap[0]?.dueMs ?? Number.POSITIVE_INFINITY;
  }

  /** Takes the next event, whose `run` is still set: the caller runs it and then unsets it. */
  take(): ScheduledEvent | undefined {
    this.#dropCancelled();
    return this.#heap.length === 0 ? undefined : this.#pop();
  }

  #dropCancelled(): void {
    while (this.#heap.length > 0 && this.#heap[0]!.run === undefined) {
      this.#pop();
      this.#cancelled -= 1;
    }
  }

  #sweep(): void {
    // In order: a sorted list is a heap.
    this.#heap = this.#heap.filter((event) => event.run !== undefined).sort(compare);
    this.#cancelled = 0;
  }

  #pop(): ScheduledEvent {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length > 0) {
      heap[0] = last;
      this.#down(0);
    }
    return first;
  }

  #up(from: number): void {
    const heap = this.#heap;
    const event = heap[from]!;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (compare(heap[parent]!, event) <= 0) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #down(from: number): void {
    const heap = this.#heap;
    const event = heap[from]!;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && compare(heap[child + 1]!, heap[child]!) < 0) child += 1;
      if (compare(event, heap[child]!) <= 0) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = event;
  }
}

function compare(a: ScheduledEvent, b: ScheduledEvent): number {
  return a.dueMs - b.dueMs || a.order - b.order;
}
