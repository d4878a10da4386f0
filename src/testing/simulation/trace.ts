/**
 * What happened, folded into a hash: two runs with equal hashes did the same. 64 bits in two
 * halves that mix differently; it finds differences, it does not resist an adversary.
 */

/** Texts are few and come again: each is hashed once. */
const MAX_REMEMBERED_TEXTS = 4096;

export class TraceHash {
  #low = 0x811c9dc5;
  #high = 0x9e3779b9;
  readonly #number = new Float64Array(1);
  readonly #halves = new Uint32Array(this.#number.buffer);
  readonly #texts = new Map<string, number>();

  addNumber(value: number): void {
    if (value === (value | 0)) this.#add(value);
    else {
      this.#number[0] = value;
      this.#add(this.#halves[0]!);
      this.#add(this.#halves[1]!);
    }
  }

  addText(text: string): void {
    let hash = this.#texts.get(text);
    if (hash === undefined) {
      hash = textHash(text);
      if (this.#texts.size < MAX_REMEMBERED_TEXTS) this.#texts.set(text, hash);
    }
    this.#add(hash);
  }

  /** 16 hex digits. */
  digest(): string {
    return hex(this.#high) + hex(this.#low);
  }

  #add(word: number): void {
    this.#low = Math.imul(this.#low ^ word, 0x01000193);
    this.#low ^= this.#low >>> 15;
    this.#high = Math.imul(this.#high + word, 0x85ebca6b) ^ this.#low;
    this.#high ^= this.#high >>> 13;
  }
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0');
}

/** A hash of a text, 32 bits. */
export function textHash(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    hash ^= hash >>> 13;
  }
  return hash >>> 0;
}
