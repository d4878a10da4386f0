/** Limiters of many processes: waiting, leases, and what is done while the store is down, over any store. */
import { orAborted, throwIfAborted, type WaitOptions } from '../../core/abort.ts';
import type { Cancel, Clock } from '../../core/clock.ts';
import type {
  ClusterDecision,
  ClusterLimiter,
  ClusterReservation,
  LimitRules,
  LimitWaitOptions,
  Usage,
} from '../limiter.ts';
import {
  limiterClosed,
  maxWaitOf,
  requireCost,
  requireKey,
  tooLate,
  usedUp,
} from '../limiter-checks.ts';
import type { Ask, LimitStore, StoreRules, Taken } from './limit-store.ts';
import { type Settings, storeRulesOf } from './options.ts';
import { StoreDown, StoreGuard } from './store-guard.ts';
import { type HeldTokens, TokenLeases } from './token-leases.ts';

const ALLOWED: ClusterDecision = Object.freeze({ ok: true, retryAfterMs: 0 });

/** One who waits for the time that was taken for it. */
interface Sleeper {
  readonly key: string;
  readonly taken: Taken;
  readonly rules: StoreRules;
  readonly dueMs: number;
  cancelAlarm: Cancel;
  readonly resolve: (isInTime: boolean) => void;
  readonly reject: (reason: unknown) => void;
  readonly end: () => void;
}

/** Those who wait for a key, in the order in which the store answered. */
interface Line {
  readonly sleepers: Set<Sleeper>;
  /** Of the last one. */
  lastDueMs: number;
}

interface Asked {
  readonly key: string;
  readonly rules: StoreRules;
  readonly ask: Ask;
  readonly signal: AbortSignal;
}

/** @param check - what the store wants of rules besides; throws `ERR_INVALID_ARGUMENT` */
export function limiterOver(
  store: LimitStore,
  settings: Settings,
  check: (rules: StoreRules) => void = () => undefined,
): ClusterLimiter {
  check(settings.rules);
  return new StoreLimiter(store, settings, check);
}

class StoreLimiter implements ClusterLimiter {
  readonly scope = 'cluster';
  readonly #store: LimitStore;
  readonly #settings: Settings;
  readonly #check: (rules: StoreRules) => void;
  #rules: StoreRules;
  readonly #clock: Clock;
  readonly #guard: StoreGuard;
  readonly #leases: TokenLeases | undefined;
  readonly #sleepers: Set<Sleeper>;
  /** The same by key. */
  readonly #asleep: Map<string, Line>;
  /** Waits under way, those that ask the store included. */
  #waiting: number;
  /** Gave up in this turn. */
  #leaving: Sleeper[];
  #closed: Promise<void> | undefined;

  constructor(store: LimitStore, settings: Settings, check: (rules: StoreRules) => void) {
    const { rules, name, clock, random, timeoutMs, lease } = settings;
    this.#store = store;
    this.#settings = settings;
    this.#check = check;
    this.#rules = rules;
    this.#clock = clock;
    this.#guard = new StoreGuard(name, clock, random, timeoutMs);
    this.#leases = lease === undefined ? undefined : new TokenLeases(lease.tokens, lease.forMs);
    this.#sleepers = new Set();
    this.#asleep = new Map();
    this.#waiting = 0;
    this.#leaving = [];
    this.#closed = undefined;
  }

  async allow(key = '', cost = 1, { signal }: WaitOptions = {}): Promise<ClusterDecision> {
    this.#require(key, cost);
    throwIfAborted(signal);
    try {
      const leases = this.#leases;
      if (leases !== undefined && cost <= leases.most && !this.#asleep.has(key)) {
        return await this.#allowHeld(leases, key, cost, signal);
      }
      const taken = await this.#take(key, cost, 0, signal);
      if (taken.amount > 0) return ALLOWED;
      return { ok: false, retryAfterMs: taken.delayMs };
    } catch (error) {
      if (!(error instanceof StoreDown)) throw error;
      const { whenDown } = this.#settings;
      const down = error.error;
      if (whenDown === 'admit') return { ok: true, retryAfterMs: 0, down };
      if (whenDown === 'refuse') return { ok: false, retryAfterMs: down.retryAfterMs!, down };
      return { ...whenDown.local.allow(key, cost), down };
    }
  }

  async wait(key = '', options: LimitWaitOptions = {}): Promise<void> {
    const { cost = 1, signal } = options;
    this.#require(key, cost);
    const maxWaitMs = maxWaitOf(options);
    throwIfAborted(signal);
    const { maxWaiting, whenDown } = this.#settings;
    if (this.#waiting >= maxWaiting) throw usedUp(key, `${maxWaiting} wait already`, 0);
    this.#waiting += 1;
    try {
      if (await this.#takeHeld(key, cost, signal)) return;
      const endsMs = this.#clock.now() + maxWaitMs;
      let leftMs = maxWaitMs;
      while (!(await this.#waitFor(key, cost, leftMs, signal))) {
        leftMs = Math.max(0, endsMs - this.#clock.now());
      }
    } catch (error) {
      if (!(error instanceof StoreDown)) throw error;
      if (whenDown === 'refuse') throw error.error;
      if (whenDown !== 'admit') await whenDown.local.wait(key, options);
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Whether it may go: not where this process stood still for so long that its time is over. */
  async #waitFor(
    key: string,
    cost: number,
    maxWaitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const rules = this.#rules;
    // They may have been changed meanwhile: what is more than may be taken at once has no time.
    requireCost(cost, rules.algorithm);
    const taken = await this.#take(key, cost, maxWaitMs, signal);
    const { amount, delayMs } = taken;
    if (amount <= 0) throw tooLate(key, delayMs);
    return delayMs <= 0 || this.#sleep(key, rules, taken, signal);
  }

  async reserve(key = '', options: LimitWaitOptions = {}): Promise<ClusterReservation | undefined> {
    const { cost = 1, signal } = options;
    this.#require(key, cost);
    const maxWaitMs = maxWaitOf(options);
    throwIfAborted(signal);
    const rules = this.#rules;
    try {
      const taken = await this.#take(key, cost, maxWaitMs, signal);
      if (taken.amount <= 0) return undefined;
      const { delayMs } = taken;
      return { delayMs, cancel: () => this.#giveBack(key, rules, taken) };
    } catch (error) {
      if (!(error instanceof StoreDown)) throw error;
      const { whenDown } = this.#settings;
      if (whenDown === 'refuse') throw error.error;
      if (whenDown === 'admit') return { delayMs: 0, cancel: () => Promise.resolve(false) };
      const local = whenDown.local.reserve(key, { cost, maxWait: options.maxWait });
      if (local === undefined) return undefined;
      return { delayMs: local.delayMs, cancel: async () => local.cancel() };
    }
  }

  async usage(key = '', { signal }: WaitOptions = {}): Promise<Usage> {
    this.#requireOpen(key);
    throwIfAborted(signal);
    const rules = this.#rules;
    const usage = await this.#ask(() => this.#store.usage(rules, key), signal);
    const held = this.#leases?.tokensOf(key, this.#clock.now()) ?? 0;
    const remaining = Math.min(rules.limit, usage.remaining + held);
    return held > 0 ? { ...usage, remaining } : usage;
  }

  async reset(key = '', { signal }: WaitOptions = {}): Promise<void> {
    this.#requireOpen(key);
    throwIfAborted(signal);
    const rules = this.#rules;
    this.#leases?.forget(key);
    await this.#ask(() => this.#store.forget(rules, key), signal);
  }

  reconfigure(rules: LimitRules): void {
    this.prepare(rules)();
  }

  prepare(rules: LimitRules): () => void {
    const checked = storeRulesOf(this.#rules.kind, rules);
    this.#check(checked);
    return () => {
      this.#rules = checked;
      // They were taken by the old rate.
      this.#leases?.clear();
    };
  }

  close(): Promise<void> {
    this.#closed ??= this.#end();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #end(): Promise<void> {
    this.#leases?.clear();
    const sleepers = [...this.#sleepers];
    for (const sleeper of sleepers) {
      sleeper.end();
      sleeper.reject(limiterClosed());
    }
    await Promise.all(this.#giveBackAll(sleepers));
  }

  #requireOpen(key: string): void {
    if (this.#closed !== undefined) throw limiterClosed();
    requireKey(key);
  }

  #require(key: string, cost: number): void {
    this.#requireOpen(key);
    requireCost(cost, this.#rules.algorithm);
  }

  /** Whether it could be taken of what this process holds, or may hold. */
  async #takeHeld(key: string, cost: number, signal: AbortSignal | undefined): Promise<boolean> {
    const leases = this.#leases;
    if (leases === undefined || cost > leases.most || this.#asleep.has(key)) return false;
    return (await this.#allowHeld(leases, key, cost, signal)).ok;
  }

  async #allowHeld(
    leases: TokenLeases,
    key: string,
    cost: number,
    signal: AbortSignal | undefined,
  ): Promise<ClusterDecision> {
    for (;;) {
      const nowMs = this.#clock.now();
      const held = leases.of(key, nowMs);
      if (held.tokens >= cost) {
        held.tokens -= cost;
        held.spent += cost;
        return ALLOWED;
      }
      if (nowMs < held.refusedUntilMs && cost - held.tokens >= held.refusedCost) {
        return { ok: false, retryAfterMs: held.freeMs - nowMs };
      }
      held.demand += cost;
      held.filling ??= this.#fill(leases, key, held, cost);
      try {
        await orAborted(held.filling, signal);
      } finally {
        held.demand -= cost;
      }
      if (this.#closed !== undefined) throw limiterClosed();
    }
  }

  async #fill(leases: TokenLeases, key: string, held: HeldTokens, cost: number): Promise<void> {
    try {
      // Those who ask in the same turn ask together.
      await undefined;
      const sentMs = this.#clock.now();
      const least = cost - held.tokens;
      const most = Math.max(least, leases.wanted(held, cost) - held.tokens);
      const ask = { cost: least, most, maxWaitMs: 0, isGone: false };
      const { amount, delayMs } = await this.#askFor(key, ask, undefined);
      if (amount > 0) leases.fill(key, held, amount, sentMs);
      else leases.refuse(held, least, delayMs, this.#clock.now());
    } finally {
      held.filling = undefined;
    }
  }

  #take(
    key: string,
    cost: number,
    maxWaitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Taken> {
    return this.#askFor(key, { cost, most: cost, maxWaitMs, isGone: false }, signal);
  }

  #askFor(key: string, ask: Ask, signal: AbortSignal | undefined): Promise<Taken> {
    const rules = this.#rules;
    const onLate = (): void => {
      ask.isGone = true;
    };
    const taking = this.#guard.run(() => this.#store.take(rules, key, ask), onLate);
    return signal === undefined ? taking : this.#orGone(taking, { key, rules, ask, signal });
  }

  async #orGone(taking: Promise<Taken>, { key, rules, ask, signal }: Asked): Promise<Taken> {
    try {
      return await orAborted(taking, signal, (taken) => void this.#giveBack(key, rules, taken));
    } finally {
      ask.isGone = true;
    }
  }

  async #ask<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    try {
      return await orAborted(this.#guard.run(work), signal);
    } catch (error) {
      throw error instanceof StoreDown ? error.error : error;
    }
  }

  async #giveBack(key: string, rules: StoreRules, { receipt }: Taken): Promise<boolean> {
    if (receipt === undefined) return false;
    try {
      return await this.#guard.run(() => this.#store.undo(rules, key, receipt));
    } catch {
      // It stays taken.
      return false;
    }
  }

  /** The last of a key first: none can be given back while another is behind it. */
  #giveBackAll(sleepers: readonly Sleeper[]): Promise<boolean>[] {
    return sleepers.toReversed().map(({ key, rules, taken }) => this.#giveBack(key, rules, taken));
  }

  #sleep(
    key: string,
    rules: StoreRules,
    taken: Taken,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    if (this.#closed !== undefined) {
      void this.#giveBack(key, rules, taken);
      return Promise.reject(limiterClosed());
    }
    return new Promise((resolve, reject) => {
      const line = this.#lineOf(key);
      const onAbort = (): void => {
        sleeper.end();
        reject(signal!.reason);
        this.#leaving.push(sleeper);
        if (this.#leaving.length === 1) queueMicrotask(() => this.#leave());
      };
      const end = (): void => {
        sleeper.cancelAlarm();
        signal?.removeEventListener('abort', onAbort);
        this.#sleepers.delete(sleeper);
        line.sleepers.delete(sleeper);
        if (line.sleepers.size === 0) this.#asleep.delete(key);
      };
      const dueMs = this.#dueMs(line, taken.delayMs);
      const cancelAlarm: Cancel = () => undefined;
      const sleeper: Sleeper = { key, taken, rules, dueMs, cancelAlarm, resolve, reject, end };
      line.sleepers.add(sleeper);
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#wake(line, sleeper);
    });
  }

  /** An answer that came late makes a time late, and that of one behind it not. In a line nobody gets ahead for that. */
  #dueMs(line: Line, delayMs: number): number {
    const dueMs = this.#clock.now() + delayMs;
    const lateMs = line.lastDueMs - dueMs;
    line.lastDueMs = lateMs > 0 && lateMs <= this.#settings.timeoutMs ? line.lastDueMs : dueMs;
    return line.lastDueMs;
  }

  #lineOf(key: string): Line {
    const known = this.#asleep.get(key);
    if (known !== undefined) return known;
    const line: Line = { sleepers: new Set(), lastDueMs: 0 };
    this.#asleep.set(key, line);
    return line;
  }

  #wake(line: Line, sleeper: Sleeper): void {
    const nowMs = this.#clock.now();
    const leftMs = sleeper.dueMs - nowMs;
    if (leftMs > 0) {
      // Timers come a little early. Somebody awaits it, and perhaps nothing else.
      const wake = (): void => this.#wake(line, sleeper);
      sleeper.cancelAlarm = this.#clock.after(Math.ceil(leftMs), wake, true);
      return;
    }
    for (const one of line.sleepers) {
      if (one.dueMs > nowMs) break;
      this.#rouse(one, nowMs);
    }
    // It is one of them, unless somebody before it waits for longer.
    this.#rouse(sleeper, nowMs);
  }

  /** As late as an answer may be. All whose times passed in a longer pause would go at once, together with those of other processes. */
  #rouse(sleeper: Sleeper, nowMs: number): void {
    sleeper.end();
    sleeper.resolve(nowMs - sleeper.dueMs <= this.#settings.timeoutMs);
  }

  #leave(): void {
    const leaving = this.#leaving;
    this.#leaving = [];
    this.#giveBackAll(leaving);
  }
}
