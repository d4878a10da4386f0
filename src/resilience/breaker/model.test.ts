/** Random runs of a circuit breaker beside a naive model of it that keeps everything and counts anew each time. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Random, seededRandom } from '../../core/random.ts';
import { VirtualClock } from '../../testing/virtual-clock.ts';
import type { Rejection } from '../outcome.ts';
import { circuitBreaker, type Isolation } from './circuit-breaker.ts';
import type { BreakerRules, BreakerState, BreakerWindow } from './options.ts';
import type { Permit } from './permit.ts';

interface Rules {
  consecutive: number | undefined;
  window: { calls: number } | { time: number; slices: number };
  failureRate: number | undefined;
  slow: { over: number; rate: number } | undefined;
  mean: number | undefined;
  minCalls: number;
  open: { first: number; factor: number; max: number; jitter: number };
  trial: { calls: number; successes: number; concurrent: number; within: number };
}

/** A call that was let in. */
interface Entry {
  readonly period: number;
  readonly atMs: number;
}

interface Result {
  readonly atMs: number;
  readonly isFailure: boolean;
  readonly tookMs: number;
}

class Model {
  rules: Rules;
  readonly #random: Random;
  state: BreakerState = 'closed';
  /** Number of this stay in the state. */
  period = 0;
  results: Result[] = [];
  inARow = 0;
  openMs = 0;
  openUntilMs = 0;
  trials: { entry: Entry; end: 'success' | 'failure' | undefined }[] = [];
  isolations = 0;
  refused = 0;
  late = 0;
  opened = 0;
  readonly changes: string[] = [];

  constructor(rules: Rules, random: Random) {
    this.rules = rules;
    this.#random = random;
  }

  pass(nowMs: number): void {
    for (;;) {
      if (this.state === 'open' && nowMs >= this.openUntilMs) {
        this.to('half-open', 'time');
      } else if (this.state === 'half-open' && this.isFull()) {
        const running = this.trials.filter(({ end }) => end === undefined);
        const overMs = this.rules.trial.within + this.lastTrialMs;
        if (running.length === 0 || nowMs < overMs) return;
        this.break('trial', overMs);
      } else {
        return;
      }
    }
  }

  lastTrialMs = 0;

  isFull(): boolean {
    const { calls, concurrent } = this.rules.trial;
    const running = this.trials.filter(({ end }) => end === undefined).length;
    return running >= concurrent || this.trials.length >= calls;
  }

  enter(nowMs: number): Entry | { refusedFor: number | undefined } {
    this.pass(nowMs);
    const entry = { period: this.period, atMs: nowMs };
    if (this.state === 'closed') return entry;
    if (this.state === 'half-open' && !this.isFull()) {
      this.trials.push({ entry, end: undefined });
      this.lastTrialMs = nowMs;
      return entry;
    }
    this.refused += 1;
    if (this.state === 'isolated') return { refusedFor: undefined };
    if (this.state === 'open') return { refusedFor: this.openUntilMs - nowMs };
    return { refusedFor: this.nextOpenMs };
  }

  nextOpenMs = 0;

  leave(entry: Entry, end: 'success' | 'failure' | 'ignored', nowMs: number): void {
    this.pass(nowMs);
    if (entry.period !== this.period) {
      if (end !== 'ignored') this.late += 1;
      return;
    }
    const { slow, mean, trial } = this.rules;
    const tookMs = nowMs - entry.atMs;
    if (this.state === 'half-open') {
      const one = this.trials.findIndex((other) => other.entry === entry);
      if (end === 'ignored') {
        this.trials.splice(one, 1);
        return;
      }
      const isSlow =
        (slow !== undefined && tookMs > slow.over) || (mean !== undefined && tookMs > mean);
      this.trials[one]!.end = isSlow ? 'failure' : end;
      this.decide(nowMs, trial);
      return;
    }
    if (end === 'ignored') return;
    this.results.push({ atMs: nowMs, isFailure: end === 'failure', tookMs });
    this.inARow = end === 'failure' ? this.inARow + 1 : 0;
    this.judge(nowMs);
  }

  decide(nowMs: number, { calls, successes }: Rules['trial']): void {
    const good = this.trials.filter(({ end }) => end === 'success').length;
    const bad = this.trials.filter(({ end }) => end === 'failure').length;
    if (good >= successes) this.close('trial');
    else if (calls - bad < successes) this.break('trial', nowMs);
  }

  inWindow(nowMs: number): Result[] {
    const { window } = this.rules;
    if ('calls' in window) return this.results.slice(-window.calls);
    const sliceMs = window.time / window.slices;
    const oldest = Math.floor(nowMs / sliceMs) - window.slices + 1;
    return this.results.filter(({ atMs }) => Math.floor(atMs / sliceMs) >= oldest);
  }

  judge(nowMs: number): void {
    const { consecutive, failureRate, slow, mean, minCalls } = this.rules;
    if (consecutive !== undefined && this.inARow >= consecutive) {
      this.break('consecutive', nowMs);
      return;
    }
    const results = this.inWindow(nowMs);
    if (results.length < minCalls) return;
    const share = (is: (result: Result) => boolean): number =>
      results.filter(is).length / results.length;
    const meanMs = results.reduce((sum, { tookMs }) => sum + tookMs, 0) / results.length;
    if (failureRate !== undefined && share(({ isFailure }) => isFailure) >= failureRate)
      this.break('failure-rate', nowMs);
    else if (slow !== undefined && share(({ tookMs }) => tookMs > slow.over) >= slow.rate)
      this.break('slow-rate', nowMs);
    else if (mean !== undefined && meanMs > mean) this.break('mean', nowMs);
  }

  break(reason: string, nowMs: number): void {
    const { first, factor, max, jitter } = this.rules.open;
    if (reason === 'trial') this.openMs *= factor;
    if (this.openMs < first) this.openMs = first;
    if (this.openMs > max) this.openMs = max;
    const openMs = this.openMs * (1 - (jitter * this.#random.below(2 ** 32)) / 2 ** 32);
    this.openUntilMs = nowMs + openMs;
    this.opened += 1;
    this.to('open', reason);
  }

  close(reason: string): void {
    this.results = [];
    this.inARow = 0;
    this.openMs = 0;
    this.isolations = 0;
    if (this.state === 'closed') this.period += 1;
    else this.to('closed', reason);
  }

  open(nowMs: number): void {
    this.pass(nowMs);
    if (this.state !== 'isolated') this.break('manual', nowMs);
  }

  isolate(nowMs: number): void {
    this.pass(nowMs);
    this.isolations += 1;
    if (this.state !== 'isolated') this.to('isolated', 'manual');
  }

  release(): void {
    this.isolations -= 1;
    if (this.isolations === 0) this.to('half-open', 'manual');
  }

  to(state: BreakerState, reason: string): void {
    this.changes.push(`${this.state} → ${state}: ${reason}`);
    this.state = state;
    this.period += 1;
    this.trials = [];
    const { first, factor, max } = this.rules.open;
    this.nextOpenMs = Math.min(max, Math.max(first, this.openMs * factor));
  }
}

function anyRules(random: Random): Rules {
  const maybe = <T>(value: T): T | undefined => (random.below(2) === 0 ? value : undefined);
  const isByTime = random.below(2) === 0;
  const window = isByTime
    ? { time: 1000, slices: [2, 5, 10][random.below(3)]! }
    : { calls: 1 + random.below(12) };
  const calls = 1 + random.below(4);
  const first = 100 * (1 + random.below(5));
  return {
    consecutive: maybe(2 + random.below(4)),
    window,
    failureRate: maybe((1 + random.below(4)) / 4),
    slow: maybe({ over: 50, rate: (1 + random.below(4)) / 4 }),
    mean: maybe(40),
    minCalls: 'calls' in window ? 1 + random.below(window.calls) : 1 + random.below(8),
    open: {
      first,
      factor: 1 + random.below(3),
      max: first * (1 + random.below(4)),
      jitter: random.below(3) / 4,
    },
    trial: {
      calls,
      successes: 1 + random.below(calls),
      concurrent: 1 + random.below(4),
      within: 100 * (1 + random.below(10)),
    },
  };
}

/** A breaker whose rules name none has one of its own. */
function withARule(rules: Rules): Rules {
  const { consecutive, failureRate, slow, mean } = rules;
  if (consecutive ?? failureRate ?? slow ?? mean) return rules;
  return { ...rules, failureRate: 0.5 };
}

const isSameWindow = (a: BreakerWindow, b: BreakerWindow): boolean =>
  JSON.stringify(a) === JSON.stringify(b);

interface Running {
  readonly entry: Entry;
  readonly end: (how: 'success' | 'failure' | 'ignored') => Promise<void>;
}

async function soon(): Promise<void> {
  for (let i = 0; i < 8; i++) await undefined;
}

class Run {
  readonly #random: Random;
  readonly #clock = new VirtualClock();
  readonly #model: Model;
  readonly changes: string[] = [];
  readonly #breaker;
  readonly #running: Running[] = [];
  #isolations: Isolation[] = [];
  readonly log: string[] = [];

  constructor(seed: number) {
    this.#random = seededRandom(seed);
    const rules = withARule(anyRules(this.#random));
    this.#model = new Model(rules, seededRandom(seed + 1));
    this.#breaker = circuitBreaker({
      ...rules,
      clock: this.#clock,
      random: seededRandom(seed + 1),
      isFailure: (error) => error !== 'fine',
      isBadValue: (value) => value === 'bad',
      onStateChange: ({ from, to, reason }) => this.changes.push(`${from} → ${to}: ${reason}`),
    });
    this.log.push(JSON.stringify(rules));
  }

  async step(): Promise<void> {
    const { below } = this.#random;
    const nowMs = this.#clock.now();
    const what = below(100);
    if (what < 38) await this.#start(nowMs);
    else if (what < 76) await this.#end(nowMs);
    else if (what < 94) this.#clock.stall(below(6) === 0 ? below(2500) : below(60));
    else if (what < 98) this.#command(nowMs);
    else this.#reconfigure(nowMs);
    this.log.push(`${nowMs} ${what} ${this.#model.state}`);
    // To look at it moves it on: it has to come to the same where nobody does.
    if (below(3) === 0) this.#compare();
  }

  async #start(nowMs: number): Promise<void> {
    const expected = this.#model.enter(nowMs);
    let refusal: Rejection | undefined;
    let end: Running['end'] | undefined;
    if (this.#random.below(2) === 0) {
      const permit = this.#breaker.allow();
      if (permit.ok) end = (how) => endPermit(permit, how);
      else refusal = permit;
    } else {
      [end, refusal] = await this.#run();
    }
    if ('refusedFor' in expected) {
      assert.equal(end, undefined, 'it was to be refused');
      assert.equal(refusal!.reason, 'open');
      assert.equal(refusal!.retryAfterMs, expected.refusedFor);
    } else {
      assert.equal(refusal, undefined, 'it was to be let in');
      this.#running.push({ entry: expected, end: end! });
    }
  }

  async #run(): Promise<[Running['end'] | undefined, Rejection | undefined]> {
    const { below } = this.#random;
    const abort = new AbortController();
    let settle: { resolve(value: unknown): void; reject(error: unknown): void } | undefined;
    const outcome = this.#breaker.attempt(
      () => new Promise((resolve, reject) => (settle = { resolve, reject })),
      { signal: abort.signal },
    );
    if (settle === undefined) return [undefined, (await outcome) as Rejection];
    const { resolve, reject } = settle;
    const end: Running['end'] = async (how) => {
      if (how === 'ignored') abort.abort();
      if (how === 'success' && below(2) === 0) reject('fine');
      else if (how === 'success') resolve('good');
      else if (how === 'failure' && below(2) === 0) resolve('bad');
      else reject(new Error('failed'));
      await soon();
    };
    return [end, undefined];
  }

  async #end(nowMs: number): Promise<void> {
    if (this.#running.length === 0) return;
    const [one] = this.#running.splice(this.#random.below(this.#running.length), 1);
    const dice = this.#random.below(20);
    const how = dice < 9 ? 'success' : dice < 18 ? 'failure' : 'ignored';
    this.#model.leave(one!.entry, how, nowMs);
    await one!.end(how);
  }

  #command(nowMs: number): void {
    const dice = this.#random.below(5);
    if (dice === 0) {
      this.#model.open(nowMs);
      this.#breaker.open();
    } else if (dice === 1) {
      this.#model.pass(nowMs);
      void this.#breaker.state;
      this.#model.close('manual');
      this.#breaker.close();
      this.#isolations = [];
    } else if (dice === 2 || this.#isolations.length === 0) {
      this.#model.isolate(nowMs);
      this.#isolations.push(this.#breaker.isolate());
    } else {
      this.#model.release();
      const isolation = this.#isolations.pop()!;
      isolation.release();
      isolation.release();
    }
  }

  #reconfigure(nowMs: number): void {
    const model = this.#model;
    const before = model.rules;
    let rules = anyRules(this.#random);
    // What does not matter for how long calls took does not know it afterwards.
    rules.slow = before.slow && { ...before.slow };
    rules.mean = before.mean;
    rules = withARule(rules);
    model.pass(nowMs);
    model.rules = rules;
    if (!isSameWindow(before.window, rules.window)) model.results = [];
    if (model.state === 'half-open') model.decide(nowMs, rules.trial);
    this.#breaker.reconfigure(rules satisfies BreakerRules);
  }

  #compare(): void {
    const model = this.#model;
    const nowMs = this.#clock.now();
    model.pass(nowMs);
    const stats = this.#breaker.stats();
    const results = model.inWindow(nowMs);
    const isTimed = model.rules.slow !== undefined || model.rules.mean !== undefined;
    assert.equal(stats.state, model.state);
    assert.deepEqual(this.changes, model.changes);
    const { refused, late, opened } = model;
    assert.deepEqual(
      { refused: stats.refused, late: stats.late, opened: stats.opened },
      { refused, late, opened },
    );
    assert.equal(stats.calls, results.length);
    assert.equal(stats.failures, results.filter(({ isFailure }) => isFailure).length);
    assert.equal(stats.consecutive, model.inARow);
    const overMs = model.rules.slow?.over ?? Number.POSITIVE_INFINITY;
    assert.equal(stats.slow, results.filter(({ tookMs }) => tookMs > overMs).length);
    const totalMs = results.reduce((sum, { tookMs }) => sum + tookMs, 0);
    const meanMs = isTimed && results.length > 0 ? totalMs / results.length : undefined;
    assert.ok(Math.abs((stats.meanMs ?? -1) - (meanMs ?? -1)) < 1e-6);
  }
}

async function endPermit(permit: Permit, how: 'success' | 'failure' | 'ignored'): Promise<void> {
  if (how === 'success') permit.success();
  else if (how === 'failure') permit.failure(new Error('failed'));
  else permit.cancel();
  // Whatever comes after the first end does not count.
  permit.failure();
  permit.success();
}

describe('circuit breaker beside its model', () => {
  it('does the same in random runs of calls, results, time, commands and new rules', async () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 250; seed++) {
      const run = new Run(seed);
      try {
        for (let step = 0; step < 250; step++) await run.step();
      } catch (error) {
        throw new Error(`seed ${seed}: ${run.log.slice(-12).join('\n')}`, { cause: error });
      }
      for (const line of run.changes) seen.add(line);
    }
    // Otherwise the runs say little.
    for (const rule of ['consecutive', 'failure-rate', 'slow-rate', 'mean'])
      assert.ok(seen.has(`closed → open: ${rule}`), rule);
    for (const change of ['half-open → open: trial', 'half-open → closed: trial'])
      assert.ok(seen.has(change), change);
  });
});
