/** What a circuit breaker takes, and what is made of it once it was checked. */
import type { Clock } from '../../core/clock.ts';
import { type Duration, durationMs } from '../../core/duration.ts';
import { invalid } from '../../core/errors.ts';
import { numberAbove, numberWithin, wholeNumber } from '../../core/numbers.ts';
import type { Random } from '../../core/random.ts';
import type { BreakerHints } from './hints.ts';
import { CountWindow, type ResultWindow, TimeWindow } from './window.ts';

/**
 * `closed`: calls run and are counted. `open`: they are refused for a time. `half-open`: some are let through on trial, and
 * decide. `isolated`: they are refused until that is taken back.
 */
export type BreakerState = 'closed' | 'open' | 'half-open' | 'isolated';

/**
 * Why a breaker changed its state: a rule about failures in a row, their share, slow calls, or the mean (`consecutive`,
 * `failure-rate`, `slow-rate`, `mean`); its trial calls (`trial`); the open time is over (`time`); a command (`manual`);
 * other instances (`hints`).
 */
export type BreakerReason =
  | 'consecutive'
  | 'failure-rate'
  | 'slow-rate'
  | 'mean'
  | 'trial'
  | 'time'
  | 'manual'
  | 'hints';

/** A change of a breaker's state. */
export interface BreakerChange {
  /** Name of the breaker. */
  readonly name: string;
  readonly from: BreakerState;
  readonly to: BreakerState;
  readonly reason: BreakerReason;
  /** Milliseconds for which it is open now; `undefined` for other states. */
  readonly openMs: number | undefined;
}

/** The last so many calls, or those of the last while. */
export type BreakerWindow =
  | {
      /** Up to 1,048,576. */
      readonly calls: number;
    }
  | {
      readonly time: Duration;
      /** Parts of the time, 2 to 1,000; the oldest leaves as a whole. @defaultValue 10 */
      readonly slices?: number | undefined;
    };

/** For how long a circuit is open. */
export interface OpenTime {
  /** The first time. */
  readonly first: Duration;
  /** So many times longer each time that the trials fail, at least 1. @defaultValue 2 */
  readonly factor?: number | undefined;
  /** Never longer. @defaultValue a minute, or `first` where that is longer */
  readonly max?: Duration | undefined;
  /** Up to this share of the time is left out at random, 0 to 1, so that instances do not all try at once. @defaultValue 0.2 */
  readonly jitter?: number | undefined;
}

/** How a circuit is tried before it is closed again. */
export interface TrialOptions {
  /** So many calls are let through at most until it is decided. @defaultValue 1 */
  readonly calls?: number | undefined;
  /** So many of them must succeed; it is open again as soon as that cannot be any more. @defaultValue all */
  readonly successes?: number | undefined;
  /** So many run at the same time at most. @defaultValue all */
  readonly concurrent?: number | undefined;
  /**
   * Trial calls that hold all the places for so long have failed, and count no more if they end yet: one that never
   * ends does not block the circuit for ever. @defaultValue a minute
   */
  readonly within?: Duration | undefined;
}

/** The rules of a circuit breaker, which can be changed while it is used. */
export interface BreakerRules {
  /** Breaks after so many failures one after the other. @defaultValue no such rule */
  readonly consecutive?: number | undefined;
  /** What the shares and the mean are taken of. @defaultValue the last 10 s; the last 100 calls where only `consecutive` is given */
  readonly window?: BreakerWindow | undefined;
  /** Breaks where this share of the window failed, or more: above 0 and up to 1. @defaultValue 0.5 where no rule is given */
  readonly failureRate?: number | undefined;
  /**
   * Breaks where this share of the window took longer than that. A trial call that did has failed.
   * @defaultValue no such rule
   */
  readonly slow?: { readonly over: Duration; readonly rate: number } | undefined;
  /** Breaks where the window's calls took longer than this on average. A trial call that did has failed. @defaultValue no such rule */
  readonly mean?: Duration | undefined;
  /** Shares and mean say nothing before so many calls are in the window. @defaultValue 20, or as many as it holds */
  readonly minCalls?: number | undefined;
  /** For how long it is open: always as long, or growing. @defaultValue 5 s at first, then growing */
  readonly open?: Duration | OpenTime | undefined;
  readonly trial?: TrialOptions | undefined;
  /**
   * Whether what the work threw is a failure; else it is a success: what was guarded gave an answer. Where this throws, it is
   * one. @defaultValue all errors are
   */
  readonly isFailure?: ((error: unknown) => boolean) | undefined;
  /** Whether what the work returned is a failure. Where this throws, it is one. @defaultValue no value is */
  readonly isBadValue?: ((value: unknown) => boolean) | undefined;
}

/** What a circuit breaker takes. */
export interface BreakerOptions extends BreakerRules {
  /** @defaultValue `'breaker'` */
  readonly name?: string | undefined;
  /** Told of each change, when it is done. What it throws is ignored. */
  readonly onStateChange?: ((change: BreakerChange) => void) | undefined;
  /** Breaks as well when so many other instances have broken, and tells them when this one has. */
  readonly hints?: { readonly shared: BreakerHints; readonly quorum: number } | undefined;
  /** @defaultValue the system's */
  readonly clock?: Clock | undefined;
  /** @defaultValue the system's */
  readonly random?: Random | undefined;
}

/** Rules with all that was left out. A rule that is not there is a number that is never reached. */
export interface Settings {
  readonly consecutive: number;
  readonly failureRate: number;
  /** The share of failures must be more than that, not as much. */
  readonly isAbove: boolean;
  readonly slowRate: number;
  readonly slowMs: number;
  readonly meanMs: number;
  readonly minCalls: number;
  readonly firstOpenMs: number;
  readonly openFactor: number;
  readonly maxOpenMs: number;
  readonly openJitter: number;
  readonly trialCalls: number;
  readonly trialSuccesses: number;
  readonly trialConcurrent: number;
  readonly trialWithinMs: number;
  readonly isFailure: ((error: unknown) => boolean) | undefined;
  readonly isBadValue: ((value: unknown) => boolean) | undefined;
  /** Whether it matters how long calls take. */
  readonly isTimed: boolean;
  readonly window: WindowSize;
}

export interface WindowSize {
  readonly calls: number;
  readonly timeMs: number;
  readonly slices: number;
}

const NEVER = Number.POSITIVE_INFINITY;
const MAX_WINDOW_CALLS = 2 ** 20;
const DEFAULT_MIN_CALLS = 20;

/** @throws ERR_INVALID_ARGUMENT */
export function settingsOf(rules: BreakerRules, isAbove = false): Settings {
  const { consecutive, slow, isFailure, isBadValue } = rules;
  const hasRule = consecutive !== undefined || slow !== undefined || rules.mean !== undefined;
  // Who names a window without a rule for it means its failures.
  const failureRate = rules.failureRate ?? (hasRule ? undefined : 0.5);
  const isCounted = failureRate !== undefined || slow !== undefined || rules.mean !== undefined;
  const window = windowOf(rules.window ?? (isCounted ? { time: '10s' } : { calls: 100 }));
  const slowMs = slow === undefined ? NEVER : timeOf('slow.over', slow.over);
  const meanMs = rules.mean === undefined ? NEVER : timeOf('mean', rules.mean);
  return {
    consecutive: consecutive === undefined ? NEVER : wholeNumber('consecutive', consecutive, 1),
    failureRate: failureRate === undefined ? NEVER : failureRateOf(failureRate, isAbove),
    isAbove,
    slowRate: slow === undefined ? NEVER : shareOf('slow.rate', slow.rate),
    slowMs,
    meanMs,
    minCalls: minCallsOf(rules.minCalls, window),
    ...openTimeOf(rules.open ?? { first: '5s' }),
    ...trialOf(rules.trial ?? {}),
    isFailure: functionOf('isFailure', isFailure),
    isBadValue: functionOf('isBadValue', isBadValue),
    isTimed: slowMs !== NEVER || meanMs !== NEVER,
    window,
  };
}

export function openWindow({ calls, timeMs, slices }: WindowSize): ResultWindow {
  return calls > 0 ? new CountWindow(calls) : new TimeWindow(timeMs, slices);
}

function windowOf(window: BreakerWindow): WindowSize {
  if ('calls' in window) {
    const calls = wholeNumber('window.calls', window.calls, 1);
    numberWithin('window.calls', calls, 1, MAX_WINDOW_CALLS);
    return { calls, timeMs: 0, slices: 0 };
  }
  const slices = wholeNumber('window.slices', window.slices ?? 10, 2);
  numberWithin('window.slices', slices, 2, 1000);
  return { calls: 0, timeMs: timeOf('window.time', window.time), slices };
}

function minCallsOf(given: number | undefined, { calls }: WindowSize): number {
  const most = calls === 0 ? Number.MAX_SAFE_INTEGER : calls;
  const minCalls = wholeNumber('minCalls', given ?? Math.min(DEFAULT_MIN_CALLS, most), 1);
  // With more than the window ever holds the breaker would never break.
  return numberWithin('minCalls', minCalls, 1, most);
}

function openTimeOf(open: Duration | OpenTime) {
  if (typeof open !== 'object') {
    const openMs = timeOf('open', open);
    return { firstOpenMs: openMs, openFactor: 1, maxOpenMs: openMs, openJitter: 0 };
  }
  const firstOpenMs = timeOf('open.first', open.first);
  const maxOpenMs = timeOf('open.max', open.max ?? Math.max(60_000, firstOpenMs));
  if (maxOpenMs < firstOpenMs)
    throw invalid(`open.max: ${maxOpenMs} ms; it is less than open.first, ${firstOpenMs} ms`);
  return {
    firstOpenMs,
    openFactor: numberWithin('open.factor', open.factor ?? 2, 1, Number.MAX_VALUE),
    maxOpenMs,
    openJitter: numberWithin('open.jitter', open.jitter ?? 0.2, 0, 1),
  };
}

function trialOf(trial: TrialOptions) {
  const trialCalls = wholeNumber('trial.calls', trial.calls ?? 1, 1);
  const trialSuccesses = wholeNumber('trial.successes', trial.successes ?? trialCalls, 1);
  if (trialSuccesses > trialCalls) {
    throw invalid(`trial.successes: ${trialSuccesses} of ${trialCalls} trial calls cannot succeed`);
  }
  return {
    trialCalls,
    trialSuccesses,
    trialConcurrent: wholeNumber('trial.concurrent', trial.concurrent ?? trialCalls, 1),
    trialWithinMs: timeOf('trial.within', trial.within ?? '1m'),
  };
}

function timeOf(name: string, given: Duration): number {
  return numberAbove(name, durationMs(given, name), 0);
}

function shareOf(name: string, given: number): number {
  if (typeof given === 'number' && given > 0 && given <= 1) return given;
  throw invalid(`${name}: ${String(given)}; a share above 0 and up to 1 is needed`);
}

function failureRateOf(given: number, isAbove: boolean): number {
  if (!isAbove) return shareOf('failureRate', given);
  if (typeof given === 'number' && given >= 0 && given < 1) return given;
  throw invalid(`failureRate: ${String(given)}; a share of at least 0 and below 1 is needed`);
}

function functionOf<T>(name: string, given: T | undefined): T | undefined {
  if (given === undefined || typeof given === 'function') return given;
  throw invalid(`${name}: ${typeof given}; a function is needed`);
}
