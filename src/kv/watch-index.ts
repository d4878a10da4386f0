/**
 * Finds the watchers of a key without looking at all watchers.
 *
 * Exact keys are looked up; prefixes, which nearly all watched ranges are, cost one look-up for each
 * distinct prefix length; what is left is in an interval tree, which is laid out anew when it
 * changed since the last event.
 */
import { type Bytes, prefixEnd } from '../core/bytes.ts';

/** What is watched. `rangeEnd` as in the API: empty for one key, `'\0'` for all keys from `key`. */
export interface Interest {
  readonly key: Bytes;
  readonly rangeEnd: Bytes;
}

export class WatchIndex<T extends Interest> {
  readonly #exact = new Map<Bytes, Set<T>>();
  readonly #prefixes = new Map<Bytes, Set<T>>();
  /** Distinct prefix lengths in rising order, with the number of prefixes of that length. */
  #lengths: { readonly length: number; count: number }[] = [];
  readonly #ranges = new Set<T>();
  #tree: IntervalTree<T> | undefined = undefined;

  add(watcher: T): void {
    const prefix = watchedPrefix(watcher);
    if (watcher.rangeEnd === '') addTo(this.#exact, watcher.key, watcher);
    else if (prefix !== undefined) {
      if (addTo(this.#prefixes, prefix, watcher)) this.#addLength(prefix.length);
    } else {
      this.#ranges.add(watcher);
      this.#tree = undefined;
    }
  }

  delete(watcher: T): void {
    const prefix = watchedPrefix(watcher);
    if (watcher.rangeEnd === '') deleteFrom(this.#exact, watcher.key, watcher);
    else if (prefix !== undefined) {
      if (deleteFrom(this.#prefixes, prefix, watcher)) this.#deleteLength(prefix.length);
    } else if (this.#ranges.delete(watcher)) {
      this.#tree = undefined;
    }
  }

  /** Calls `found` for each watcher of `key`. */
  match(key: Bytes, found: (watcher: T) => void): void {
    this.#exact.get(key)?.forEach(found);
    for (const { length } of this.#lengths) {
      if (length > key.length) break;
      this.#prefixes.get(length === key.length ? key : key.slice(0, length))?.forEach(found);
    }
    if (this.#ranges.size === 0) return;
    this.#tree ??= new IntervalTree([...this.#ranges]);
    this.#tree.match(key, found);
  }

  #addLength(length: number): void {
    const known = this.#lengths.find((each) => each.length === length);
    if (known !== undefined) known.count++;
    else {
      this.#lengths.push({ length, count: 1 });
      this.#lengths.sort((a, b) => a.length - b.length);
    }
  }

  #deleteLength(length: number): void {
    const known = this.#lengths.find((each) => each.length === length);
    if (known === undefined || --known.count > 0) return;
    this.#lengths = this.#lengths.filter((each) => each !== known);
  }
}

/** Whether `key` is one of the keys watched. */
export function covers({ key: from, rangeEnd }: Interest, key: Bytes): boolean {
  if (rangeEnd === '') return key === from;
  return from <= key && (rangeEnd === '\0' || key < rangeEnd);
}

/** The prefix that a range stands for; undefined where it is another range. */
function watchedPrefix({ key, rangeEnd }: Interest): Bytes | undefined {
  if (key === '\0' && rangeEnd === '\0') return '';
  const end = prefixEnd(key);
  return end === rangeEnd && end !== '\0' ? key : undefined;
}

/** Whether it is the first of its name. */
function addTo<T>(groups: Map<Bytes, Set<T>>, name: Bytes, member: T): boolean {
  const group = groups.get(name);
  if (group !== undefined) {
    group.add(member);
    return false;
  }
  groups.set(name, new Set([member]));
  return true;
}

/** Whether it was the last of its name. */
function deleteFrom<T>(groups: Map<Bytes, Set<T>>, name: Bytes, member: T): boolean {
  const group = groups.get(name);
  if (!group?.delete(member) || group.size > 0) return false;
  groups.delete(name);
  return true;
}

/** Intervals sorted by start, as an implicit balanced tree that knows the greatest end below. */
class IntervalTree<T extends Interest> {
  readonly #sorted: readonly T[];
  /** By middle index: the greatest end in that subtree; `undefined`: one has no end. */
  readonly #greatestEnd: (Bytes | undefined)[];

  constructor(intervals: T[]) {
    this.#sorted = intervals.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
    this.#greatestEnd = new Array<Bytes | undefined>(intervals.length).fill('');
    this.#measure(0, intervals.length);
  }

  match(key: Bytes, found: (interval: T) => void): void {
    this.#matchIn(0, this.#sorted.length, key, found);
  }

  #matchIn(low: number, high: number, key: Bytes, found: (interval: T) => void): void {
    if (low >= high) return;
    const middle = (low + high) >>> 1;
    const end = this.#greatestEnd[middle];
    if (end !== undefined && end <= key) return;
    this.#matchIn(low, middle, key, found);
    const interval = this.#sorted[middle]!;
    if (interval.key > key) return;
    if (covers(interval, key)) found(interval);
    this.#matchIn(middle + 1, high, key, found);
  }

  #measure(low: number, high: number): Bytes | undefined {
    if (low >= high) return '';
    const middle = (low + high) >>> 1;
    const { rangeEnd } = this.#sorted[middle]!;
    const below = this.#measure(low, middle);
    const above = this.#measure(middle + 1, high);
    let greatest: Bytes | undefined;
    if (rangeEnd !== '\0' && below !== undefined && above !== undefined) {
      greatest = [rangeEnd, below, above].sort()[2];
    }
    this.#greatestEnd[middle] = greatest;
    return greatest;
  }
}
