/**
 * How many calls may run at the same time, found out from how long they take: where more run than what they call can do
 * at once, they wait there, and take longer than the same without load.
 *
 * The limit follows the gradient of the two, as in Netflix's concurrency-limits and Envoy's adaptive concurrency:
 * `limit · (1 + TOLERANCE) · unloaded / loaded + √limit`. What calls take without load is measured, at half the limit for
 * some tens of calls, and not taken for the least or a long mean of what was seen: a mean that is learned under load has
 * the limit stay where it is wrong, and the least of many samples is far below what is usual.
 */

/** Calls may take longer than without load by this share before the limit is lowered for it. */
const TOLERANCE = 0.2;
/** So much of the way to the new limit is gone with each cohort. */
const SMOOTHING = 0.5;
/** A cohort has at least so many calls, and those of at least so long where it is no probe. */
const COHORT_CALLS = 20;
const COHORT_MS = 100;
const PROBE_CALLS = 50;
/** So many of a cohort have to have ended: waiting for the last would be waiting for those that hang. */
const ENOUGH = 0.95;
/** Where they have not after this, it is taken as it is. */
const MAX_COHORT_MS = 5000;
/** Under load it is looked again after this what calls take without. */
const PROBE_EVERY_MS = 10_000;
/** While that is not known yet: after so many cohorts. */
const SETTLE_COHORTS = 3;
/** Where with half as many calls each takes less than this share of the time, what they wait for is each other. */
const STILL_LOADED = 0.6;

/** What a call says when it has ended. `overload`: that there is too much to do; `nothing`: it failed, or was aborted. */
export type Said = 'success' | 'overload' | 'nothing';

export class AdaptiveLimit {
  #min: number;
  #max: number;
  /** With fractions. */
  #limit: number;
  /**
   * The cohort: calls that began from this moment on, before that one. All of them are waited for: the first that end
   * are the quick ones.
   */
  #fromMs: number;
  #untilMs: number;
  #lastBeganMs: number;
  #begun: number;
  #ended: number;
  #count: number;
  #sumMs: number;
  #overloaded: number;
  /** The most that ran at the same time. */
  #peak: number;
  #unloadedMs: number | undefined;
  #loadedMs: number | undefined;
  /** `draining`: as many run as under load; what they take is not measured. */
  #phase: 'normal' | 'draining' | 'probing';
  #phaseFromMs: number;
  /** What was measured without load was without load. */
  #isSettled: boolean;
  #cohorts: number;

  constructor(initial: number, min: number, max: number) {
    this.#min = min;
    this.#max = max;
    this.#limit = initial;
    this.#fromMs = 0;
    this.#untilMs = Number.POSITIVE_INFINITY;
    this.#lastBeganMs = 0;
    this.#begun = 0;
    this.#ended = 0;
    this.#count = 0;
    this.#sumMs = 0;
    this.#overloaded = 0;
    this.#peak = 0;
    this.#unloadedMs = undefined;
    this.#loadedMs = undefined;
    this.#phase = 'normal';
    this.#phaseFromMs = 0;
    this.#isSettled = false;
    this.#cohorts = 0;
  }

  /** How many may run now. */
  get limit(): number {
    return this.#phase === 'normal' ? Math.floor(this.#limit) : this.#probeLimit;
  }

  /** What calls take without load. */
  get unloadedMs(): number | undefined {
    return this.#unloadedMs;
  }

  /** What calls of the last cohort took. */
  get loadedMs(): number | undefined {
    return this.#loadedMs;
  }

  setBounds(min: number, max: number): void {
    this.#min = min;
    this.#max = max;
    this.#limit = clamp(this.#limit, min, max);
  }

  /** @param running - so many run, now that this was let in */
  onBegin(nowMs: number, running: number): void {
    if (running > this.#peak) this.#peak = running;
    if (nowMs >= this.#untilMs) return;
    // Only between two moments: a call is known by the one at which it began.
    if (nowMs > this.#lastBeganMs && this.#isWhole(nowMs)) {
      this.#untilMs = nowMs;
      return;
    }
    this.#begun += 1;
    this.#lastBeganMs = nowMs;
  }

  /** @param running - so many still run */
  onEnd(said: Said, beganMs: number, nowMs: number, running: number): void {
    // Of calls that began earlier, under another limit, nothing counts.
    if (beganMs >= this.#fromMs && beganMs < this.#untilMs) this.#countEnd(said, nowMs - beganMs);
    if (this.#phase === 'draining') {
      if (running <= this.#probeLimit) this.#enter('probing', nowMs);
      else if (nowMs - this.#phaseFromMs > MAX_COHORT_MS) this.#enter('normal', nowMs);
      return;
    }
    const isLate = nowMs - this.#fromMs > MAX_COHORT_MS;
    if (this.#ended < this.#begun * ENOUGH && !isLate) return;
    if (this.#untilMs > nowMs && !this.#isWhole(nowMs) && !isLate) return;
    if (this.#phase === 'probing') this.#endProbe(nowMs);
    else this.#endCohort(nowMs);
  }

  get #probeLimit(): number {
    return Math.max(this.#min, Math.ceil(this.#limit / 2));
  }

  #isWhole(nowMs: number): boolean {
    if (this.#phase === 'probing') return this.#begun >= PROBE_CALLS;
    return this.#begun >= COHORT_CALLS && nowMs - this.#fromMs >= COHORT_MS;
  }

  #countEnd(said: Said, tookMs: number): void {
    this.#ended += 1;
    if (said === 'overload') this.#overloaded += 1;
    // Who gave up after long would have taken even longer.
    const counts =
      said === 'success' || (said === 'nothing' && tookMs > (this.#loadedMs ?? tookMs));
    if (!counts) return;
    this.#count += 1;
    this.#sumMs += tookMs;
  }

  #enter(phase: 'normal' | 'draining' | 'probing', nowMs: number): void {
    this.#phase = phase;
    this.#phaseFromMs = nowMs;
    this.#beginCohort(nowMs);
  }

  #beginCohort(nowMs: number): void {
    this.#fromMs = nowMs;
    this.#untilMs = Number.POSITIVE_INFINITY;
    this.#lastBeganMs = nowMs;
    this.#begun = 0;
    this.#ended = 0;
    this.#count = 0;
    this.#sumMs = 0;
    this.#overloaded = 0;
    this.#peak = 0;
  }

  #endCohort(nowMs: number): void {
    this.#cohorts += 1;
    if (this.#count > 0) {
      const meanMs = this.#sumMs / this.#count;
      this.#loadedMs = meanMs;
      this.#unloadedMs ??= meanMs;
      // It can do more than it could: a little of that is taken at once, the rest when it is measured.
      if (meanMs < this.#unloadedMs) this.#unloadedMs += 0.05 * (meanMs - this.#unloadedMs);
    }
    // Where fewer want to run than may, what they take says nothing about the limit.
    if (this.#peak >= this.#limit / 2) this.#adjust();
    const isDue = this.#isSettled
      ? nowMs - this.#phaseFromMs >= PROBE_EVERY_MS && this.#isLoaded
      : this.#cohorts >= SETTLE_COHORTS;
    if (isDue) this.#enter('draining', nowMs);
    else this.#beginCohort(nowMs);
  }

  get #isLoaded(): boolean {
    return (this.#loadedMs ?? 0) > (this.#unloadedMs ?? 0) * (1 + TOLERANCE / 2);
  }

  #adjust(): void {
    const before = this.#limit;
    const loadedMs = this.#count === 0 ? 0 : this.#sumMs / this.#count;
    const unloadedMs = this.#unloadedMs ?? loadedMs;
    const gradient = loadedMs === 0 ? 1 : clamp((unloadedMs * (1 + TOLERANCE)) / loadedMs, 0.5, 1);
    const refusedShare = this.#overloaded / Math.max(1, this.#ended);
    const room = refusedShare > 0 ? 0 : Math.sqrt(before);
    const wanted = before * Math.min(gradient, 1 - refusedShare / 2) + room;
    this.#limit = clamp(before + SMOOTHING * (wanted - before), this.#min, this.#max);
  }

  #endProbe(nowMs: number): void {
    this.#cohorts = 0;
    // Where all of them failed nothing was learned.
    if (this.#count > 0) this.#learn(this.#sumMs / this.#count);
    this.#enter('normal', nowMs);
  }

  #learn(measuredMs: number): void {
    const before = this.#unloadedMs;
    this.#isSettled = measuredMs >= (this.#loadedMs ?? 0) * STILL_LOADED;
    if (!this.#isSettled) this.#limit = this.#probeLimit;
    const isAlike = before !== undefined && Math.abs(measuredMs / before - 1) < 0.5;
    this.#unloadedMs = this.#isSettled && isAlike ? (before + measuredMs) / 2 : measuredMs;
  }
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
