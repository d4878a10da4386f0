/**
 * The one history that consensus chose, kept outside of all nodes: what the first node to hand out an
 * entry saw is what every other one must see at that index, for ever.
 */
import type { Entry } from '../../../consensus/types.ts';

export class Chosen {
  /** The term of each entry, by index; nothing is at 0. */
  readonly terms: number[];
  readonly #hashes: number[];
  /** The earliest term whose leader counted each entry as committed, by index: never before that of the entry. */
  readonly #countedIn: number[];

  constructor() {
    this.terms = [0];
    this.#hashes = [0];
    this.#countedIn = [0];
  }

  get lastIndex(): number {
    return this.terms.length - 1;
  }

  /** Whether `entry` is new to the history; or a text that says what it contradicts. */
  add(entry: Entry): boolean | string {
    const { index } = entry;
    // What fills a gap under Paxos is of no ballot: it counts as of the one before.
    const term = entry.term === 0 ? (this.terms[index - 1] ?? 0) : entry.term;
    const hash = hashOf(entry);
    if (index === this.terms.length) {
      if (term < this.terms[index - 1]!) {
        return `entry ${index} of term ${term} was chosen after one of term ${this.terms[index - 1]}`;
      }
      this.terms.push(term);
      this.#hashes.push(hash);
      // The first members no leader counts: every log begins with them.
      if (!Number.isFinite(this.#countedIn[index])) this.count(index, term);
      return true;
    }
    if (index > this.terms.length) {
      return `entry ${index} was handed out, but no node has handed out entry ${this.terms.length}`;
    }
    if (this.terms[index] !== term) {
      return `entry ${index} was chosen in term ${this.terms[index]}, and another one in term ${term}`;
    }
    return this.#hashes[index] === hash ? false : `two different entries ${index} were chosen`;
  }

  /**
   * The leader of `term` counts the entry as committed, handed out or not. Returns whether no leader of that
   * term or an earlier one is known to have done so.
   */
  count(index: number, term: number): boolean {
    while (this.#countedIn.length <= index) this.#countedIn.push(Number.POSITIVE_INFINITY);
    if (this.#countedIn[index]! <= term) return false;
    this.#countedIn[index] = term;
    return true;
  }

  /** The newest of those handed out that was committed in a term before `term`. */
  lastBefore(term: number): number {
    let index = this.lastIndex;
    while (index > 0 && this.#countedIn[index]! >= term) index -= 1;
    return index;
  }
}

/** What two entries of one index and term must share. */
export function hashOf(entry: Entry): number {
  const { data } = entry;
  let hash = Math.imul(entry.type + 1, 0x9e3779b1) ^ data.length;
  for (let i = 0; i < data.length; i++) hash = Math.imul(hash ^ data[i]!, 0x01000193);
  return hash | 0;
}
