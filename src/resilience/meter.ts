/** What became of the calls of a pipeline: counters, and how long they took. */
import { callEnd } from '../telemetry/channels.ts';
import type { End } from './call.ts';
import { type DurationHistogram, Histogram } from './histogram.ts';
import { LatencyWindow } from './latency.ts';
import { Rejection, type RejectionReason } from './outcome.ts';
import type { Gate } from './section.ts';
import type { SteadyClock } from './steady-clock.ts';

/** What became of the calls of a pipeline. Counters only grow. */
export interface PipelineStats {
  /** Calls that have ended. */
  readonly calls: number;
  /** With a value, also one of a fallback, and one for which nobody waited any more. */
  readonly successes: number;
  /** The work failed. */
  readonly failures: number;
  /** Refused or ended by a policy. */
  readonly rejections: Readonly<Record<RejectionReason, number>>;
  /** The caller gave up, and the work did not end well after that either. */
  readonly aborted: number;
  /** Under way now. */
  readonly running: number;
  /** Of the calls that ended in the last ten seconds, however; `undefined` where there were none. */
  readonly latency: {
    readonly count: number;
    readonly meanMs: number | undefined;
    readonly p50Ms: number | undefined;
    readonly p95Ms: number | undefined;
    readonly p99Ms: number | undefined;
  };
  /** How long the calls took that have ended, ever. */
  readonly durations: DurationHistogram;
}

/** The outermost gate of a pipeline: lets everybody in, and writes down how it ended. */
export class Meter implements Gate {
  readonly name = 'meter';
  readonly #pipeline: string;
  readonly #time: SteadyClock;
  readonly #latency: LatencyWindow;
  readonly #durations: Histogram;
  readonly #rejections: Record<RejectionReason, number>;
  #running: number;
  #successes: number;
  #failures: number;
  #aborted: number;

  constructor(pipeline: string, time: SteadyClock) {
    this.#pipeline = pipeline;
    this.#time = time;
    this.#latency = new LatencyWindow({ clock: time });
    this.#durations = new Histogram();
    this.#rejections = {
      limited: 0,
      open: 0,
      full: 0,
      shed: 0,
      timeout: 0,
      deadline: 0,
      unavailable: 0,
    };
    this.#running = 0;
    this.#successes = 0;
    this.#failures = 0;
    this.#aborted = 0;
  }

  enter(): number {
    this.#running += 1;
    return this.#time.now();
  }

  leave(begunMs: number, end: End, result: unknown): void {
    this.#running -= 1;
    if (end === 'success') this.#successes += 1;
    else if (result instanceof Rejection) this.#rejections[result.reason] += 1;
    else if (end === 'failure') this.#failures += 1;
    else this.#aborted += 1;
    const nowMs = this.#time.now();
    const durationMs = nowMs - begunMs;
    this.#latency.record(durationMs, nowMs);
    this.#durations.record(durationMs);
    if (callEnd.hasSubscribers)
      callEnd.publish({ pipeline: this.#pipeline, outcome: outcomeOf(end, result), durationMs });
  }

  stats(): PipelineStats {
    const rejections = { ...this.#rejections };
    let calls = this.#successes + this.#failures + this.#aborted;
    for (const count of Object.values(rejections)) calls += count;
    const latency = this.#latency;
    return {
      calls,
      successes: this.#successes,
      failures: this.#failures,
      rejections,
      aborted: this.#aborted,
      running: this.#running,
      latency: {
        count: latency.count,
        meanMs: latency.meanMs,
        p50Ms: latency.percentileMs(50),
        p95Ms: latency.percentileMs(95),
        p99Ms: latency.percentileMs(99),
      },
      durations: this.#durations.read(),
    };
  }
}

function outcomeOf(end: End, result: unknown): string {
  if (end === 'success') return 'success';
  if (result instanceof Rejection) return result.reason;
  return end === 'failure' ? 'failed' : 'aborted';
}
