/** What a limiter of many processes asks of a store: to count, in one step, by rules that come with the question. */
import type { LimitAlgorithm } from '../limit-algorithm.ts';
import type { ClusterAlgorithm, Usage } from '../limiter.ts';

/** Names in keys, which keep those of different ways to count apart. */
export const KEY_NAMES: Readonly<Record<ClusterAlgorithm, string>> = {
  'token-bucket': 'bucket',
  'sliding-window': 'sliding',
  'sliding-counter': 'counter',
  'fixed-window': 'fixed',
};

/** A rate, checked. */
export interface StoreRules {
  readonly kind: ClusterAlgorithm;
  /** So many come back in a period. */
  readonly perPeriod: number;
  /** A whole number of microseconds. */
  readonly periodUs: number;
  /** What may be taken at once. */
  readonly limit: number;
  /** The same, for stores that count here. */
  readonly algorithm: LimitAlgorithm;
}

/** What is to be taken. */
export interface Ask {
  readonly cost: number;
  /** Up to so much, where there is more now: at least `cost`. */
  readonly most: number;
  /** Taken later than this, it is not taken. */
  readonly maxWaitMs: number;
  /** Nobody waits for it any more: where it was not begun it need not be done. */
  isGone: boolean;
}

/** What was taken. */
export interface Taken {
  /** 0: nothing. */
  readonly amount: number;
  /** Until its time comes; where nothing was taken, until it would. */
  readonly delayMs: number;
  /** For `undo`; `undefined` where its time has come, so that nothing can be given back. */
  readonly receipt: unknown;
}

/** What a store rejects with where it did not ask since nobody waits for the answer: it says nothing about the store. */
export const NOT_ASKED: unique symbol = Symbol('not asked');

/**
 * A store. Every call rejects where it cannot answer, with what it may have done left done: what was taken for nobody counts.
 * Keys are any text; the store keeps those of different ways to count apart.
 */
export interface LimitStore {
  take(rules: StoreRules, key: string, ask: Ask): Promise<Taken>;
  /** Whether it was given back: nobody took anything after it, and its time has not come. */
  undo(rules: StoreRules, key: string, receipt: unknown): Promise<boolean>;
  usage(rules: StoreRules, key: string): Promise<Usage>;
  forget(rules: StoreRules, key: string): Promise<void>;
}
