/**
 * Which configurations the search has seen: sets of operations as bits, with the number of a state.
 * Known operations are placed roughly in the order of their calls, so of their bits only the words
 * from the first that has a gap to the last that has a bit are kept and compared.
 */
interface Configuration {
  readonly state: number;
  readonly from: number;
  readonly known: Int32Array;
  unknown: Int32Array;
  /** The next one with the same hash. */
  readonly next: Configuration | undefined;
}

const NONE = new Int32Array(0);

export class Configurations {
  readonly #knownCount: number;
  readonly #known: Int32Array;
  readonly #unknown: Int32Array;
  /** First word with a gap, and the one behind the last with a bit. */
  #from = 0;
  #to = 0;
  /** Of the bits of known operations: what is placed is added, what is taken back is subtracted, by XOR. */
  #hash = 0;
  readonly #seen = new Map<number, Configuration>();

  constructor(known: number, unknown: number) {
    this.#knownCount = known;
    this.#known = new Int32Array((known + 31) >> 5);
    this.#unknown = new Int32Array((unknown + 31) >> 5);
  }

  /** Whether the operation is placed in the present configuration. */
  has(index: number): boolean {
    const known = index < this.#knownCount;
    const bit = known ? index : index - this.#knownCount;
    return ((known ? this.#known : this.#unknown)[bit >> 5]! & (1 << (bit & 31))) !== 0;
  }

  /**
   * Adds the operation; the state after it is `state`. `false`, and nothing changes, where that
   * configuration was seen before, or one that is as good.
   */
  enter(index: number, state: number): boolean {
    this.#flip(index);
    if (this.#remember(state)) return true;
    this.#flip(index);
    return false;
  }

  /** Takes the operation back. */
  leave(index: number): void {
    this.#flip(index);
  }

  #flip(index: number): void {
    if (index >= this.#knownCount) {
      const bit = index - this.#knownCount;
      this.#unknown[bit >> 5]! ^= 1 << (bit & 31);
      return;
    }
    const word = index >> 5;
    this.#known[word]! ^= 1 << (index & 31);
    this.#hash ^= scatter(index + 1);
    if (this.#known[word] === -1) {
      while (this.#from < this.#known.length && this.#known[this.#from] === -1) this.#from++;
    } else if (word < this.#from) this.#from = word;
    if (word >= this.#to) this.#to = word + 1;
    while (this.#to > this.#from && this.#known[this.#to - 1] === 0) this.#to--;
    if (this.#to < this.#from) this.#to = this.#from;
  }

  #remember(state: number): boolean {
    const hash = this.#hash ^ scatter(-1 - state);
    const first = this.#seen.get(hash);
    for (let each = first; each !== undefined; each = each.next) {
      if (each.state !== state || !this.#isKnownSet(each)) continue;
      if (isSubset(each.unknown, this.#unknown)) return false;
      // The better one takes the place of the other.
      if (isSubset(this.#unknown, each.unknown)) {
        each.unknown = this.#unknown.slice();
        return true;
      }
    }
    const unknown = this.#unknown.length === 0 ? NONE : this.#unknown.slice();
    const known = this.#known.slice(this.#from, this.#to);
    this.#seen.set(hash, { state, from: this.#from, known, unknown, next: first });
    return true;
  }

  #isKnownSet({ from, known }: Configuration): boolean {
    if (from !== this.#from || known.length !== this.#to - this.#from) return false;
    for (let word = 0; word < known.length; word++) {
      if (known[word] !== this.#known[from + word]) return false;
    }
    return true;
  }
}

function isSubset(part: Int32Array, whole: Int32Array): boolean {
  for (let word = 0; word < part.length; word++) {
    if ((part[word]! & ~whole[word]!) !== 0) return false;
  }
  return true;
}

/** Spreads a number over 32 bits (the finisher of MurmurHash3). */
function scatter(value: number): number {
  let hash = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
