/** Limiters of one process: keys, waiting and the contract, over any way to count. */
import { throwIfAborted } from '../core/abort.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { invalid } from '../core/errors.ts';
import { wholeNumber } from '../core/numbers.ts';
import { KeyTable } from './key-table.ts';
import type { LimitAlgorithm } from './limit-algorithm.ts';
import type {
  Decision,
  Limiter,
  LimitRules,
  LimitWaitOptions,
  Reservation,
  Usage,
} from './limiter.ts';
import {
  limiterClosed,
  maxWaitOf,
  requireCost,
  requireKey,
  tooLate,
  usedUp,
} from './limiter-checks.ts';
import { SteadyClock } from './steady-clock.ts';
import { type Waiter, WaitingLine } from './waiting-line.ts';

/** What all limiters of a process take. */
export interface LimiterOptions {
  /**
   * So many keys at most have used their limit in part; one that has it all back needs no room. A further key is refused
   * until there is room. @defaultValue 1,000,000
   */
  readonly maxKeys?: number | undefined;
  /** So many may wait, for all keys together; a further one is refused. @defaultValue 10,000 */
  readonly maxWaiting?: number | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
}

const MAX_COUNT = 2 ** 24;
/** When to come back where there is no room for a further key: nobody knows. */
const NO_ROOM_MS = 1000;

const ALLOWED: Decision = Object.freeze({ ok: true, retryAfterMs: 0 });

export class ProcessLimiter implements Limiter {
  readonly scope = 'process';
  readonly #algorithmOf: (rules: LimitRules) => LimitAlgorithm;
  #algorithm: LimitAlgorithm;
  readonly #clock: Clock;
  readonly #time: SteadyClock;
  readonly #table: KeyTable;
  readonly #maxWaiting: number;
  readonly #lines: Map<string, WaitingLine>;
  #waiting: number;
  #isClosed: boolean;

  constructor(
    algorithmOf: (rules: LimitRules) => LimitAlgorithm,
    options: LimiterOptions & LimitRules,
  ) {
    if (typeof options !== 'object' || options === null) throw invalid('options: a rate is needed');
    this.#algorithmOf = algorithmOf;
    this.#algorithm = algorithmOf(options);
    this.#clock = options.clock ?? systemClock;
    this.#time = new SteadyClock(this.#clock);
    const maxKeys = wholeNumber('maxKeys', options.maxKeys ?? 1_000_000, 1, MAX_COUNT);
    this.#maxWaiting = wholeNumber('maxWaiting', options.maxWaiting ?? 10_000, 1, MAX_COUNT);
    this.#table = new KeyTable(this.#algorithm.columns, maxKeys, (rows, at) =>
      this.#algorithm.idleAt(rows, at),
    );
    this.#lines = new Map();
    this.#waiting = 0;
    this.#isClosed = false;
  }

  allow(key = '', cost = 1): Decision {
    requireCost(cost, this.#algorithm);
    const nowMs = this.#time.now();
    const at = this.#table.find(key) ?? this.#add(key, nowMs);
    if (at === undefined) return { ok: false, retryAfterMs: NO_ROOM_MS };
    const { rows } = this.#table;
    const whenMs = this.#algorithm.earliest(rows, at, cost, nowMs);
    if (whenMs > nowMs) return { ok: false, retryAfterMs: whenMs - nowMs };
    this.#algorithm.take(rows, at, cost, nowMs);
    return ALLOWED;
  }

  async wait(key = '', options: LimitWaitOptions = {}): Promise<void> {
    const { cost = 1, signal } = options;
    requireCost(cost, this.#algorithm);
    const maxWaitMs = maxWaitOf(options);
    throwIfAborted(signal);
    if (this.#isClosed) throw limiterClosed();
    const nowMs = this.#time.now();
    const at = this.#table.find(key) ?? this.#add(key, nowMs);
    if (at === undefined) throw usedUp(key, 'too many keys are in use', NO_ROOM_MS);
    const { rows } = this.#table;
    const dueMs = this.#algorithm.earliest(rows, at, cost, nowMs);
    const delayMs = dueMs - nowMs;
    if (delayMs > maxWaitMs) throw tooLate(key, delayMs);
    if (delayMs > 0 && this.#waiting >= this.#maxWaiting) {
      throw usedUp(key, `${this.#maxWaiting} wait already`, delayMs);
    }
    if (delayMs <= 0) this.#algorithm.take(rows, at, cost, nowMs);
    else await this.#standInLine(key, at, { cost, dueMs, signal });
  }

  reserve(key = '', options: Omit<LimitWaitOptions, 'signal'> = {}): Reservation | undefined {
    const { cost = 1 } = options;
    requireCost(cost, this.#algorithm);
    const maxWaitMs = maxWaitOf(options);
    const nowMs = this.#time.now();
    const at = this.#table.find(key) ?? this.#add(key, nowMs);
    if (at === undefined || this.#lines.has(key)) return undefined;
    const { rows } = this.#table;
    const whenMs = this.#algorithm.earliest(rows, at, cost, nowMs);
    if (whenMs - nowMs > maxWaitMs) return undefined;
    const before = rows.slice(at, at + this.#algorithm.columns);
    this.#algorithm.take(rows, at, cost, whenMs);
    const after = rows.slice(at, at + this.#algorithm.columns);
    return {
      delayMs: whenMs - nowMs,
      cancel: () => this.#time.now() < whenMs && this.#restore(key, before, after),
    };
  }

  usage(key = ''): Usage {
    const { limit } = this.#algorithm;
    const at = this.#table.find(key);
    if (at === undefined) return { limit, remaining: limit, resetMs: 0 };
    const nowMs = this.#time.now();
    const { rows } = this.#table;
    const resetMs = Math.max(0, this.#algorithm.idleAt(rows, at) - nowMs);
    return { limit, remaining: this.#algorithm.remaining(rows, at, nowMs), resetMs };
  }

  reset(key = ''): void {
    const line = this.#lines.get(key);
    if (line === undefined) {
      this.#table.delete(key);
      return;
    }
    line.forget();
    this.#moveUp(key, line);
  }

  reconfigure(rules: LimitRules): void {
    this.prepare(rules)();
  }

  /** Checks new rules; what is returned makes them the ones in force. */
  prepare(rules: LimitRules): () => void {
    const algorithm = this.#algorithmOf(rules);
    return () => {
      const old = this.#algorithm;
      this.#algorithm = algorithm;
      if (algorithm.columns !== old.columns) {
        this.#table.widen(algorithm.columns, (from, at, to, toAt) =>
          algorithm.carry!(old, from, at, to, toAt),
        );
      }
      for (const [key, line] of this.#lines) {
        this.#waiting -= line.change(algorithm, usedUp(key, 'it was made smaller', 0));
        this.#moveUp(key, line);
      }
    };
  }

  close(): void {
    this.#isClosed = true;
    for (const line of this.#lines.values()) line.end(limiterClosed());
    this.#lines.clear();
    this.#waiting = 0;
  }

  #add(key: string, nowMs: number): number | undefined {
    requireKey(key);
    return this.#table.add(key, nowMs);
  }

  #standInLine(key: string, at: number, turn: Turn): Promise<void> {
    const { cost, dueMs, signal } = turn;
    const { rows } = this.#table;
    let line = this.#lines.get(key);
    if (line === undefined) {
      line = new WaitingLine(this.#algorithm, rows.slice(at, at + this.#algorithm.columns));
      this.#lines.set(key, line);
    }
    this.#algorithm.take(rows, at, cost, dueMs);
    this.#waiting += 1;
    return new Promise((resolve, reject) => {
      const onAbort = (): void => this.#giveUp(key, line, waiter);
      const waiter = { ...turn, resolve, reject, onAbort, before: undefined, after: undefined };
      line.push(waiter);
      signal?.addEventListener('abort', onAbort, { once: true });
      if (line.first === waiter) this.#arm(key, line);
    });
  }

  #giveUp(key: string, line: WaitingLine, waiter: Waiter): void {
    line.remove(waiter);
    this.#waiting -= 1;
    waiter.reject(waiter.signal!.reason);
    if (line.isStale) return;
    // Many may give up at once: those behind them move up once.
    line.isStale = true;
    queueMicrotask(() => this.#moveUp(key, line));
  }

  #moveUp(key: string, line: WaitingLine): void {
    line.isStale = false;
    if (this.#lines.get(key) !== line) return;
    line.replay(this.#table.rows, this.#table.find(key)!, this.#time.now());
    this.#arm(key, line);
  }

  /** Wakes up when the first of a line has its turn; a line in which nobody waits ends. */
  #arm(key: string, line: WaitingLine): void {
    line.cancelAlarm();
    const { first } = line;
    if (first === undefined) {
      this.#lines.delete(key);
      return;
    }
    const delayMs = Math.max(0, first.dueMs - this.#time.now());
    const serve = (): void => {
      this.#waiting -= line.serve(this.#time.now());
      this.#arm(key, line);
    };
    // Somebody awaits it, and perhaps nothing else.
    line.cancelAlarm = this.#clock.after(delayMs, serve, true);
  }

  #restore(key: string, before: Float64Array, after: Float64Array): boolean {
    const at = this.#table.find(key);
    if (at === undefined || this.#lines.has(key)) return false;
    const { rows } = this.#table;
    if (!after.every((value, i) => rows[at + i] === value)) return false;
    rows.set(before, at);
    return true;
  }
}

type Turn = Pick<Waiter, 'cost' | 'dueMs' | 'signal'>;
