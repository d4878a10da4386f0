/**
 * Figures for OpenTelemetry: read when a reader of its SDK asks. Only how long calls of pipelines and requests take is
 * told as they end, because a histogram cannot be read there.
 */
import type { HistogramValue } from '../core/metric-text.ts';
import { CALL_BOUNDS_MS, REQUEST_BOUNDS_MS } from '../resilience/histogram.ts';
import {
  Collection,
  type Labels,
  maxSeriesOf,
  SeriesBook,
} from '../telemetry/figures/collection.ts';
import { ALL_FIGURES, FIGURES, type Figure } from '../telemetry/figures/families.ts';
import {
  pipelinesOf,
  read,
  requestLabels,
  requireSources,
  type TelemetrySources,
} from '../telemetry/figures/sources.ts';
import { onEvent } from '../telemetry/on-event.ts';
import type { AttributesLike, HistogramLike, MeterLike, ObservationsLike } from './api.ts';

/** What is exported, and how much of it. */
export interface OpenTelemetryOptions extends TelemetrySources {
  /**
   * So many series of one figure have names of their own; further ones are added up under the name `other`, and counted in
   * `quorate.telemetry.other`. @defaultValue 1,000
   */
  readonly maxSeries?: number | undefined;
}

/** Figures that are exported until this is closed. */
export interface OpenTelemetryMetrics extends Disposable {
  /** Idempotent. */
  close(): void;
}

/**
 * Makes figures of pipelines, policies and pools available through OpenTelemetry, as asynchronous instruments: they are read
 * when the SDK collects, and cost nothing else. The durations of the pipelines' calls, and of requests where `http` is given, are
 * recorded as they end.
 *
 * @param meter - a `Meter` of `@opentelemetry/api`
 * @throws `ERR_INVALID_ARGUMENT` for a `maxSeries` that is no whole number from 1 to 1,000,000.
 * @example
 * ```ts
 * const exported = openTelemetryMetrics(metrics.getMeter('shop'), { pipelines: guards, pools: [mails] });
 * ```
 */
export function openTelemetryMetrics(
  meter: MeterLike,
  options: OpenTelemetryOptions,
): OpenTelemetryMetrics {
  requireSources(options);
  const book = new SeriesBook(maxSeriesOf(options));
  const instruments = new Instruments(meter);
  const collect = (observations: ObservationsLike): void => {
    const collection = new Collection(book);
    read(options, collection);
    instruments.observe(collection, observations);
  };
  const all = instruments.all();
  meter.addBatchObservableCallback(collect, all);
  const stops = [timePipelines(meter, options, book)];
  if (options.http !== undefined) stops.push(timeRequests(meter, book));
  const close = (): void => {
    meter.removeBatchObservableCallback(collect, all);
    for (const stop of stops) stop();
  };
  return { close, [Symbol.dispose]: close };
}

/** Told as they end. */
const RECORDED: readonly Figure[] = [FIGURES.pipeline.duration, FIGURES.http.duration];

/** An instrument for each figure; two for what would be a histogram, its sum and its count, of which the mean can be made. */
class Instruments {
  readonly #one: Map<Figure, object>;
  readonly #sums: Map<Figure, readonly [sum: object, count: object]>;

  constructor(meter: MeterLike) {
    this.#one = new Map();
    this.#sums = new Map();
    for (const figure of ALL_FIGURES) {
      if (RECORDED.includes(figure)) continue;
      if (figure.kind === 'histogram') this.#sums.set(figure, sumAndCount(meter, figure));
      else this.#one.set(figure, instrumentOf(meter, figure));
    }
  }

  all(): never[] {
    return [...this.#one.values(), ...[...this.#sums.values()].flat()] as never[];
  }

  observe(collection: Collection, observations: ObservationsLike): void {
    for (const { figure, samples } of collection.readings()) {
      for (const { labels, value } of samples) {
        const attributes = attributesOf(labels);
        if (typeof value === 'number') {
          observations.observe(this.#one.get(figure)!, value, attributes);
          continue;
        }
        const both = this.#sums.get(figure);
        if (both === undefined) continue;
        observations.observe(both[0], value.sum, attributes);
        observations.observe(both[1], countOf(value), attributes);
      }
    }
  }
}

function instrumentOf(meter: MeterLike, { name, kind, unit, help }: Figure): object {
  const options = { unit, description: help };
  if (kind === 'counter') return meter.createObservableCounter(name, options);
  if (kind === 'updown') return meter.createObservableUpDownCounter(name, options);
  return meter.createObservableGauge(name, options);
}

function sumAndCount(meter: MeterLike, { name, unit, help }: Figure): [object, object] {
  const sum = meter.createObservableCounter(`${name}.sum`, { unit, description: help });
  const description = `How many: ${help}`;
  return [sum, meter.createObservableCounter(`${name}.count`, { unit: '1', description })];
}

function countOf({ counts }: HistogramValue): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Records how long calls take, of the pipelines that are asked for. Returns what ends that. */
function timePipelines(meter: MeterLike, sources: TelemetrySources, book: SeriesBook): () => void {
  const figure = FIGURES.pipeline.duration;
  const histogram = histogramOf(meter, figure, CALL_BOUNDS_MS);
  const series = new Map<string, AttributesLike>();
  return onEvent('quorate:call:end', ({ pipeline, durationMs }) => {
    let attributes = series.get(pipeline);
    if (attributes === undefined) {
      if (!pipelinesOf(sources).some(({ name }) => name === pipeline)) return;
      const { labels, isOther } = book.labelsFor(figure, { pipeline });
      attributes = attributesOf(labels);
      if (!isOther) series.set(pipeline, attributes);
    }
    histogram.record(durationMs / 1000, attributes);
  });
}

/** The same for requests, of all guards of this process. */
function timeRequests(meter: MeterLike, book: SeriesBook): () => void {
  const figure = FIGURES.http.duration;
  const histogram = histogramOf(meter, figure, REQUEST_BOUNDS_MS);
  return onEvent('quorate:request:end', ({ method, route, status, durationMs }) => {
    const given = requestLabels(method, route, status);
    const { labels } = book.labelsFor(figure, given);
    histogram.record(durationMs / 1000, attributesOf(labels));
  });
}

function histogramOf(meter: MeterLike, figure: Figure, boundsMs: readonly number[]): HistogramLike {
  const { name, unit, help: description } = figure;
  const advice = { explicitBucketBoundaries: boundsMs.map((ms) => ms / 1000) };
  return meter.createHistogram(name, { unit, description, advice });
}

/** By OpenTelemetry's conventions: in a name space of their own, but for those that have a convention already. */
function attributesOf(labels: Labels): AttributesLike {
  const pairs = Object.entries(labels);
  return Object.fromEntries(
    pairs.map(([name, value]) => ATTRIBUTES[name]?.(value) ?? [`quorate.${name}`, value]),
  );
}

const ATTRIBUTES: Readonly<Record<string, (value: string) => [string, string | number]>> = {
  http_request_method: (value) => ['http.request.method', value],
  http_route: (value) => ['http.route', value],
  http_response_status_code: (value) => ['http.response.status_code', Number(value)],
};
