/**
 * What is used of OpenTelemetry's API: `Meter` and `Tracer` of the package `@opentelemetry/api`, 1.3 or later, known by their
 * shape. Who uses them brings the package.
 */

/** Values by names, as OpenTelemetry has them. */
export type AttributesLike = Readonly<Record<string, string | number | boolean>>;

/** What an instrument is. */
export interface InstrumentOptions {
  readonly description: string;
  readonly unit: string;
  readonly advice?: { explicitBucketBoundaries: number[] };
}

/** What is told when somebody asks. */
export interface ObservationsLike {
  observe(instrument: object, value: number, attributes?: AttributesLike): void;
}

/** What is told each time. */
export interface HistogramLike {
  record(value: number, attributes?: AttributesLike): void;
}

/** A `Meter`. */
export interface MeterLike {
  createHistogram(name: string, options: InstrumentOptions): HistogramLike;
  createObservableCounter(name: string, options: InstrumentOptions): object;
  createObservableUpDownCounter(name: string, options: InstrumentOptions): object;
  createObservableGauge(name: string, options: InstrumentOptions): object;
  addBatchObservableCallback(
    callback: (observations: ObservationsLike) => void,
    observables: never[],
  ): void;
  removeBatchObservableCallback(
    callback: (observations: ObservationsLike) => void,
    observables: never[],
  ): void;
}

/** A `Span`. */
export interface SpanLike {
  isRecording(): boolean;
  setAttributes(attributes: AttributesLike): unknown;
  addEvent(name: string, attributes: AttributesLike): unknown;
  setStatus(status: { code: number; message: string }): unknown;
  recordException(error: Error | string): void;
  end(): void;
}

/** A `Tracer`. */
export interface TracerLike {
  startActiveSpan(
    name: string,
    options: { kind: number; attributes: AttributesLike },
    work: (span: SpanLike) => Promise<unknown>,
  ): unknown;
}
