/**
 * Tokens that this process took of a store ahead of need, by key.
 *
 * It holds at most `most` of a key, so in any interval it admits at most that many more than the store has given in it. How many
 * it takes goes by use: twice as many each time that all were used in time, and as many as were used where some were left.
 * So a key that is seldom used costs the others nothing, and one that is used much a command now and then.
 */

/** More keys are not held; the one that was filled first goes, with its tokens. */
const MAX_KEYS = 100_000;
/** With each new key so many are looked at, whether their time is over. */
const LOOKS = 4;

/** Tokens of a key. */
export interface HeldTokens {
  tokens: number;
  /** Thrown away then. */
  endsMs: number;
  /** How many it takes next time. */
  size: number;
  spent: number;
  /** Until then the store has none for who needs as many, or more. */
  refusedUntilMs: number;
  refusedCost: number;
  /** Then it would have them, which may be later. */
  freeMs: number;
  /** Under way to the store; rejects with what that rejected. */
  filling: Promise<void> | undefined;
  /** What those need who wait for it. */
  demand: number;
}

export class TokenLeases {
  readonly most: number;
  readonly forMs: number;
  readonly #held: Map<string, HeldTokens>;

  constructor(most: number, forMs: number) {
    this.most = most;
    this.forMs = forMs;
    this.#held = new Map();
  }

  get size(): number {
    return this.#held.size;
  }

  of(key: string, nowMs: number): HeldTokens {
    const held = this.#held.get(key) ?? this.#add(key, nowMs);
    if (held.tokens > 0 && nowMs >= held.endsMs) {
      held.size = Math.min(this.most, Math.max(1, Math.ceil(held.spent)));
      held.tokens = 0;
      held.spent = 0;
    }
    return held;
  }

  /** What it has of a key now. */
  tokensOf(key: string, nowMs: number): number {
    const held = this.#held.get(key);
    return held === undefined || nowMs >= held.endsMs ? 0 : held.tokens;
  }

  /** Up to so many should be there after it was filled. */
  wanted(held: HeldTokens, cost: number): number {
    return Math.min(this.most, Math.max(held.size, held.demand, cost));
  }

  /** @param sentMs - when the store was asked */
  fill(key: string, held: HeldTokens, amount: number, sentMs: number): void {
    // Used up in less than half of its time: twice as many will be used as well.
    const isQuick = sentMs < held.endsMs - this.forMs / 2;
    if (isQuick) held.size = Math.min(this.most, held.size * 2);
    // What is older goes with its own time, and takes what came later with it.
    if (held.tokens <= 0) held.endsMs = sentMs + this.forMs;
    held.tokens += amount;
    held.spent = 0;
    // In the order in which they end. One that was forgotten meanwhile stays so.
    if (this.#held.get(key) === held) {
      this.#held.delete(key);
      this.#held.set(key, held);
    }
  }

  refuse(held: HeldTokens, cost: number, delayMs: number, nowMs: number): void {
    held.freeMs = nowMs + delayMs;
    held.refusedUntilMs = Math.min(held.freeMs, nowMs + this.forMs);
    held.refusedCost = cost;
  }

  forget(key: string): void {
    this.#held.delete(key);
  }

  clear(): void {
    this.#held.clear();
  }

  #add(key: string, nowMs: number): HeldTokens {
    let looks = 0;
    for (const [other, { endsMs, filling }] of this.#held) {
      if (looks++ >= LOOKS) break;
      const isOver = endsMs <= nowMs || this.#held.size >= MAX_KEYS;
      if (isOver && filling === undefined) this.#held.delete(other);
    }
    const held: HeldTokens = {
      tokens: 0,
      endsMs: nowMs + this.forMs,
      size: 1,
      spent: 0,
      refusedUntilMs: 0,
      refusedCost: 0,
      freeMs: 0,
      filling: undefined,
      demand: 0,
    };
    this.#held.set(key, held);
    return held;
  }
}
