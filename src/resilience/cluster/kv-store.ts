/**
 * Limits over the key-value contract: a record for each key, changed by transactions that compare before they write.
 *
 * What this process asks about a key while a transaction of it is under way is decided together by the next one, in the order
 * in which it was asked (flat combining; Hendler et al., SPAA 2010): a key that is used much costs a transaction a round, not
 * one a question.
 */

import { orAborted, throwIfAborted } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { isQuorateError, QuorateError } from '../../core/errors.ts';
import type { Compare, KeyValue, Kv, Op } from '../../kv/kv.ts';
import type { Usage } from '../limiter.ts';
import { KvLeases } from './kv-leases.ts';
import { KvRecord, type RowReceipt } from './kv-record.ts';
import {
  type Ask,
  KEY_NAMES,
  type LimitStore,
  NOT_ASKED,
  type StoreRules,
  type Taken,
} from './limit-store.ts';
import { SharedTime } from './shared-time.ts';

/** As many questions are decided by one transaction. */
const MOST_TOGETHER = 1000;
/** As many may wait for one, for all keys together. */
const MOST_WAITING = 100_000;
/** The records of so many keys are remembered, those used last: their next transaction needs no reading before it. */
const MOST_KNOWN = 1000;
/** Added to what a key's lease must last: the time until the transaction is done. */
const MARGIN_MS = 1000;

/** A question about a key. */
interface Question {
  readonly rules: StoreRules;
  /** Decides it, and changes the record or does not. Called again with another record where the transaction did not go through. */
  decide(record: KvRecord, nowMs: number): void;
  isGone(): boolean;
  /** With what was decided last. */
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** What is known of a key: its record as of a revision; 0 is no key. */
interface Known {
  readonly revision: number;
  readonly bytes: Buffer | undefined;
  /** It was read in this round. */
  readonly isFresh: boolean;
}

const NOT_THERE: Known = { revision: 0, bytes: undefined, isFresh: false };

export class KvLimitStore implements LimitStore {
  readonly #kv: Kv;
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #time: SharedTime;
  readonly #leases: KvLeases;
  /** Questions by key, while there are any. */
  readonly #questions: Map<string, Question[]>;
  #waiting: number;
  readonly #known: Map<string, Known>;

  constructor(kv: Kv, prefix: string, clock: Clock, timeoutMs: number) {
    this.#kv = kv;
    this.#prefix = prefix;
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#time = new SharedTime(clock);
    this.#leases = new KvLeases(kv, clock);
    this.#questions = new Map();
    this.#waiting = 0;
    this.#known = new Map();
  }

  take(rules: StoreRules, key: string, ask: Ask): Promise<Taken> {
    const decide = (record: KvRecord, nowMs: number) => take(rules, record, ask, nowMs);
    return this.#ask(rules, key, decide, ask);
  }

  undo(rules: StoreRules, key: string, receipt: unknown): Promise<boolean> {
    return this.#ask(rules, key, (record, nowMs) => record.undo(receipt as RowReceipt, nowMs));
  }

  usage(rules: StoreRules, key: string): Promise<Usage> {
    const { algorithm, limit } = rules;
    return this.#ask(rules, key, ({ row }, nowMs) => ({
      limit,
      remaining: algorithm.remaining(row, 0, nowMs),
      resetMs: Math.max(0, algorithm.idleAt(row, 0) - nowMs),
    }));
  }

  forget(rules: StoreRules, key: string): Promise<void> {
    return this.#ask(rules, key, ({ row }) => void row.fill(0));
  }

  #ask<T>(
    rules: StoreRules,
    key: string,
    decide: (record: KvRecord, nowMs: number) => T,
    ask?: Ask,
  ): Promise<T> {
    if (this.#waiting >= MOST_WAITING) return Promise.reject(tooMany());
    this.#waiting += 1;
    return new Promise<T>((resolve, reject) => {
      let answer: T;
      const question: Question = {
        rules,
        decide: (record, nowMs) => {
          answer = decide(record, nowMs);
        },
        isGone: () => ask?.isGone === true,
        resolve: () => resolve(answer),
        reject,
      };
      const name = `${this.#prefix}${KEY_NAMES[rules.kind]}/${escaped(key)}`;
      const waiting = this.#questions.get(name);
      if (waiting !== undefined) {
        waiting.push(question);
        return;
      }
      this.#questions.set(name, [question]);
      void this.#answer(name);
    });
  }

  /** Round after round until nobody asks about the key. */
  async #answer(name: string): Promise<void> {
    // Those who ask in the same turn are answered together.
    await undefined;
    for (;;) {
      const waiting = this.#questions.get(name)!;
      if (waiting.length === 0) break;
      const { rules } = waiting[0]!;
      // Those that came after the rules were changed are decided by the new ones.
      const others = waiting.findIndex((question) => question.rules !== rules);
      const round = waiting.splice(0, others < 0 ? MOST_TOGETHER : Math.min(others, MOST_TOGETHER));
      this.#waiting -= round.length;
      await this.#round(name, round);
    }
    this.#questions.delete(name);
  }

  async #round(name: string, round: readonly Question[]): Promise<void> {
    const stop = new AbortController();
    const late = new QuorateError(
      'ERR_TIMEOUT',
      `${name}: no answer within ${Math.round(this.#timeoutMs)} ms`,
      { outcome: 'unknown', retryable: true },
    );
    const cancel = this.#clock.after(this.#timeoutMs, () => stop.abort(late));
    let answered: readonly Question[] = round;
    try {
      let known = this.#known.get(name) ?? NOT_THERE;
      for (;;) {
        throwIfAborted(stop.signal);
        answered = stillAsked(answered);
        if (answered.length === 0) return;
        const next = await this.#attempt(name, known, answered, stop.signal);
        if (next === undefined) break;
        known = next;
      }
      for (const question of answered) question.resolve();
    } catch (error) {
      // Whether it was written nobody knows: it is read anew.
      this.#known.delete(name);
      this.#leases.giveUp();
      for (const question of round) question.reject(error);
    } finally {
      cancel();
    }
  }

  /** Decides all, and writes that. What is to be decided by instead, where another process was quicker. */
  async #attempt(
    name: string,
    known: Known,
    round: readonly Question[],
    signal: AbortSignal,
  ): Promise<Known | undefined> {
    const { rules } = round[0]!;
    const { algorithm } = rules;
    const nowUs = this.#time.nowUs();
    const record =
      known.bytes === undefined
        ? KvRecord.first(rules, nowUs)
        : KvRecord.parse(known.bytes, rules, () => name);
    const nowMs = record.advance(rules, nowUs);
    const before = record.row.slice();
    for (const question of round) question.decide(record, nowMs);
    if (record.row.every((value, i) => value === before[i])) {
      return known.isFresh ? undefined : this.#read(name, signal);
    }
    const idleMs = algorithm.idleAt(record.row, 0) - nowMs;
    const bytes = idleMs > 0 ? record.bytes() : undefined;
    try {
      const lease = bytes && (await orAborted(this.#leases.lasting(idleMs + MARGIN_MS), signal));
      const write: Op =
        bytes === undefined
          ? { op: 'delete', key: name }
          : { op: 'put', key: name, value: bytes, lease: lease! };
      const compare: Compare = { key: name, target: 'mod', is: '=', to: known.revision };
      const read: Op = { op: 'range', key: name };
      const txn = { if: [compare], then: [write], else: [read] };
      const writing = orAborted(this.#kv.txn(txn, { signal }), signal);
      const { succeeded, revision, results } = await writing;
      if (!succeeded) return knownOf(results[0]?.op === 'range' ? results[0].kvs[0] : undefined);
      this.#remember(name, bytes === undefined ? NOT_THERE : { revision, bytes, isFresh: false });
      return undefined;
    } catch (error) {
      if (!isQuorateError(error, 'ERR_LEASE_NOT_FOUND')) throw error;
      // This process stood still for long, or somebody revoked it; nothing was written.
      this.#leases.forget();
      return known;
    }
  }

  async #read(name: string, signal: AbortSignal): Promise<Known> {
    const known = knownOf(await orAborted(this.#kv.get(name, { signal }), signal));
    this.#remember(name, { ...known, isFresh: false });
    return known;
  }

  #remember(name: string, known: Known): void {
    this.#known.delete(name);
    if (known.revision === 0) return;
    this.#known.set(name, known);
    if (this.#known.size <= MOST_KNOWN) return;
    for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest);
      break;
    }
  }
}

/** Those that somebody waits for; the others are told that nothing was asked. */
function stillAsked(questions: readonly Question[]): readonly Question[] {
  if (!questions.some((question) => question.isGone())) return questions;
  return questions.filter((question) => {
    if (question.isGone()) question.reject(NOT_ASKED);
    return !question.isGone();
  });
}

function knownOf(kv: KeyValue | undefined): Known {
  return { revision: kv?.modRevision ?? 0, bytes: kv?.value, isFresh: true };
}

function take(rules: StoreRules, record: KvRecord, ask: Ask, nowMs: number): Taken {
  const { algorithm } = rules;
  const { row } = record;
  const { cost, most, maxWaitMs } = ask;
  const whenMs = algorithm.earliest(row, 0, cost, nowMs);
  const delayMs = whenMs - nowMs;
  if (delayMs > maxWaitMs) return { amount: 0, delayMs, receipt: undefined };
  let amount = cost;
  if (delayMs === 0 && most > cost) {
    const room = Math.min(most, Math.floor(algorithm.remaining(row, 0, nowMs)));
    if (room > cost && algorithm.earliest(row, 0, room, nowMs) === nowMs) amount = room;
  }
  if (delayMs === 0) {
    algorithm.take(row, 0, amount, nowMs);
    return { amount, delayMs, receipt: undefined };
  }
  const before = row.slice();
  algorithm.take(row, 0, amount, whenMs);
  return { amount, delayMs, receipt: record.receipt(before, whenMs) };
}

/** Half a surrogate pair has no UTF-8; sent as it is all of them would be one. */
function escaped(key: string): string {
  if (!/[%\uD800-\uDFFF]/.test(key)) return key;
  return key.replace(/%|\p{Surrogate}/gu, (one) => {
    return `%${one.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

function tooMany(): QuorateError {
  return new QuorateError('ERR_BUSY', `${MOST_WAITING} questions about limits wait already`, {
    retryable: true,
  });
}
