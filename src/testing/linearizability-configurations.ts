/**
 * Configurations of the search, and which of them were seen. Known operations are placed roughly in the
 * order of their calls, so of their bits only the words from the first that has a gap to the last that
 * has a bit are kept and compared.
 */

const NONE = new Int32Array(0);

/** What is placed, and the state after it. */
export class Configuration<State> {
  readonly parent: Configuration<State> | undefined;
  /** What was placed last: its number among the known or among the unknown operations. */
  readonly index: number;
  readonly isKnown: boolean;
  readonly state: State;
  /** Equal for equal states. */
  readonly stateId: number;
  readonly knownCount: number;
  readonly unknownCount: number;
  /** Bits of the known operations, without the words before `#from`, which are full. */
  readonly #known: Int32Array;
  readonly #from: number;
  readonly #unknown: Int32Array;
  /** Of the bits of the known operations. */
  readonly #hash: number;

  /** What is to be tried next here. */
  nextKnown = 0;
  nextUnknown = 0;
  /** The first return of what is not placed: what was called later cannot come next. */
  until = 0;
  /** One that is better was seen after this one. */
  dominated = false;
  /** The next one with the same hash. */
  chained: Configuration<State> | undefined = undefined;

  private constructor(
    parent: Configuration<State> | undefined,
    index: number,
    isKnown: boolean,
    state: State,
    stateId: number,
    known: Int32Array,
    from: number,
    unknown: Int32Array,
    hash: number,
  ) {
    this.parent = parent;
    this.index = index;
    this.isKnown = isKnown;
    this.state = state;
    this.stateId = stateId;
    this.knownCount = (parent?.knownCount ?? 0) + Number(parent !== undefined && isKnown);
    this.unknownCount = (parent?.unknownCount ?? 0) + Number(!isKnown);
    this.#known = known;
    this.#from = from;
    this.#unknown = unknown;
    this.#hash = hash;
  }

  /** Nothing is placed. */
  static first<State>(state: State, stateId: number): Configuration<State> {
    return new Configuration<State>(undefined, -1, true, state, stateId, NONE, 0, NONE, 0);
  }

  get depth(): number {
    return this.knownCount + this.unknownCount;
  }

  /** Every known operation before this one is placed. */
  get firstGap(): number {
    return this.#from * 32;
  }

  /** Equal for configurations that may take each other's place. */
  get key(): number {
    return this.#hash ^ scatter(-1 - this.stateId);
  }

  hasKnown(index: number): boolean {
    const word = (index >> 5) - this.#from;
    return word < 0 || (word < this.#known.length && bit(this.#known[word]!, index));
  }

  hasUnknown(index: number): boolean {
    const word = index >> 5;
    return word < this.#unknown.length && bit(this.#unknown[word]!, index);
  }

  withKnown(index: number, state: State, stateId: number): Configuration<State> {
    let known = withBit(this.#known, index - 32 * this.#from);
    let full = 0;
    while (full < known.length && known[full] === -1) full++;
    if (full > 0) known = known.slice(full);
    const hash = this.#hash ^ scatter(index + 1);
    const from = this.#from + full;
    return new Configuration(this, index, true, state, stateId, known, from, this.#unknown, hash);
  }

  withUnknown(index: number, state: State, stateId: number): Configuration<State> {
    const unknown = withBit(this.#unknown, index);
    const [known, from, hash] = [this.#known, this.#from, this.#hash];
    return new Configuration(this, index, false, state, stateId, known, from, unknown, hash);
  }

  /** Whether they differ at most in the unknown operations they have placed. */
  isLike(other: Configuration<State>): boolean {
    if (this.stateId !== other.stateId || this.#from !== other.#from) return false;
    if (this.#known.length !== other.#known.length) return false;
    return this.#known.every((word, at) => word === other.#known[at]);
  }

  /** Whether all its unknown operations are placed in `other` too. */
  needsNoMoreThan(other: Configuration<State>): boolean {
    return this.#unknown.every((word, at) => (word & ~(other.#unknown[at] ?? 0)) === 0);
  }
}

/** Those that were seen, but for the ones that have a better one among them. */
export class Configurations<State> {
  readonly #seen = new Map<number, Configuration<State>>();
  /** How many were added. */
  size = 0;
  /** How often two were compared: where few can take each other's place that is most of the work. */
  comparisons = 0;

  /** `false`, and it is not added, where it was seen before, or one that is as good. */
  add(configuration: Configuration<State>): boolean {
    const { key } = configuration;
    const first = this.#seen.get(key);
    for (let each = first; each !== undefined; each = each.chained) {
      this.comparisons++;
      if (each.dominated || !each.isLike(configuration)) continue;
      if (each.needsNoMoreThan(configuration)) return false;
      if (configuration.needsNoMoreThan(each)) each.dominated = true;
    }
    configuration.chained = first;
    this.#seen.set(key, configuration);
    this.size++;
    return true;
  }
}

function bit(word: number, index: number): boolean {
  return (word & (1 << (index & 31))) !== 0;
}

function withBit(words: Int32Array, index: number): Int32Array {
  const word = index >> 5;
  const copy = new Int32Array(Math.max(words.length, word + 1));
  copy.set(words);
  copy[word]! |= 1 << (index & 31);
  return copy;
}

/** Spreads a number over 32 bits (the finisher of MurmurHash3). */
function scatter(value: number): number {
  let hash = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
