/** How long calls took, ever: a cumulative histogram, which can be added up over instances, as percentiles cannot. */

/** A histogram of durations. Counters only grow. */
export interface DurationHistogram {
  /** Upper bounds of the buckets in milliseconds, growing. */
  readonly boundsMs: readonly number[];
  /** How many were in each bucket, not above its bound; the last one has no bound. */
  readonly counts: readonly number[];
  readonly sumMs: number;
}

/** Those that OpenTelemetry advises for `http.server.request.duration`. */
export const REQUEST_BOUNDS_MS: readonly number[] = Object.freeze([
  5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000,
]);
/** The same, and 1 ms for what stays in the house. */
export const CALL_BOUNDS_MS: readonly number[] = Object.freeze([1, ...REQUEST_BOUNDS_MS]);

export class Histogram {
  readonly #boundsMs: readonly number[];
  /** The same where they are compared, and one that nothing is above. */
  readonly #upperMs: Float64Array;
  readonly #counts: Float64Array;
  #sumMs: number;

  constructor(boundsMs = CALL_BOUNDS_MS) {
    this.#boundsMs = boundsMs;
    this.#upperMs = new Float64Array([...boundsMs, Number.POSITIVE_INFINITY]);
    this.#counts = new Float64Array(this.#upperMs.length);
    this.#sumMs = 0;
  }

  /** Adds a duration. What is no positive number counts as 0. */
  record(tookMs: number): void {
    let bucket = 0;
    if (tookMs > 0) {
      // Most are short; and there are few buckets.
      while (tookMs > this.#upperMs[bucket]!) bucket += 1;
      this.#sumMs += tookMs;
    }
    this.#counts[bucket]! += 1;
  }

  read(): DurationHistogram {
    return { boundsMs: this.#boundsMs, counts: [...this.#counts], sumMs: this.#sumMs };
  }
}
