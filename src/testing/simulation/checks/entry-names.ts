/**
 * Log matching (Raft §5.3), by induction: whoever writes an entry of some index and term writes the
 * same bytes after an entry of the same term, so logs that share an entry share all before it.
 */
import type { Entry } from '../../../consensus/types.ts';
import { hashOf } from './chosen.ts';

interface Named {
  readonly term: number;
  readonly hash: number;
  readonly termBefore: number;
}

export class EntryNames {
  /** By index: the few entries that ever competed for it. */
  readonly #named: Named[][];

  constructor() {
    this.#named = [];
  }

  /** Returns what `entry`, after one of `termBefore`, contradicts. */
  check(entry: Entry, termBefore: number): string | undefined {
    const { index, term } = entry;
    const known = (this.#named[index] ??= []);
    const hash = hashOf(entry);
    for (const one of known) {
      if (one.term !== term) continue;
      if (one.hash !== hash) return `two different entries ${index} of term ${term} were written`;
      if (one.termBefore === termBefore) return undefined;
      return `entry ${index} of term ${term} follows term ${termBefore} here, ${one.termBefore} elsewhere`;
    }
    known.push({ term, hash, termBefore });
    return undefined;
  }
}
