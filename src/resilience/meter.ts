/** What became of the calls of a pipeline: counters, and how long they took. */
import type { End } from './call.ts';
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
}

/** The outermost gate of a pipeline: lets everybody in, and writes down how it ended. */
export class Meter implements Gate {
  readonly name = 'meter';
  readonly #time: SteadyClock;
  readonly #latency: LatencyWindow;
  readonly #rejections: Record<RejectionReason, number>;
  #running: number;
  #successes: number;
  #failures: number;
  #aborted: number;

  constructor(time: SteadyClock) {
    this.#time = time;
    this.#latency = new LatencyWindow({ clock: time });
    this.#rejections = { limited: 0, open: 0, full: 0, shed: 0, timeout: 0, deadline: 0 };
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
    this.#latency.record(this.#time.now() - begunMs);
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
    };
  }
}
