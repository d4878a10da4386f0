/** Figures for Prometheus: read and written when it asks. */
import {
  METRIC_CONTENT_TYPES,
  type MetricFamily,
  type MetricFormat,
  metricText,
} from '../core/metric-text.ts';
import {
  Collection,
  maxSeriesOf,
  type Reading,
  SeriesBook,
} from '../telemetry/figures/collection.ts';
import type { Figure } from '../telemetry/figures/families.ts';
import { read, requireSources, type TelemetrySources } from '../telemetry/figures/sources.ts';

/** What is exported, and how much of it. */
export interface PrometheusOptions extends TelemetrySources {
  /**
   * So many series of one figure have names of their own, a histogram being one; further ones are added up under the name
   * `other`, and counted in `quorate_telemetry_other`. @defaultValue 1,000
   */
  readonly maxSeries?: number | undefined;
}

/** A request, as far as it is looked at: one of `node:http`. */
export interface MetricsRequest {
  readonly method?: string | undefined;
  readonly headers: { readonly accept?: string | undefined };
}

/** A response, as far as it is used: one of `node:http`. */
export interface MetricsResponse {
  writeHead(status: number, headers: Readonly<Record<string, string | number>>): unknown;
  end(body?: string): unknown;
}

/** Figures for Prometheus. */
export interface PrometheusMetrics {
  /** The page as it is now: text format 0.0.4, or OpenMetrics 1.0.0. @defaultValue `'text'` */
  text(format?: 'text' | 'openmetrics'): string;
  /** What `text()` is: the value of the header `content-type`. */
  readonly contentType: string;
  /**
   * Answers a request for the page, as a handler of `node:http`; in OpenMetrics where that is asked for. With 500, and a warning of
   * the process, where something that is read throws.
   */
  readonly handler: (request: MetricsRequest, response: MetricsResponse) => void;
}

/**
 * Makes figures of pipelines, policies and pools available to Prometheus. They are read when it asks for them, and cost
 * nothing else.
 *
 * @throws `ERR_INVALID_ARGUMENT` for a `maxSeries` that is no whole number from 1 to 1,000,000.
 * @example
 * ```ts
 * const metrics = prometheusMetrics({ pipelines: guards, pools: [mails] });
 * createServer(metrics.handler).listen(9464);
 * ```
 */
export function prometheusMetrics(options: PrometheusOptions): PrometheusMetrics {
  requireSources(options);
  const book = new SeriesBook(maxSeriesOf(options));
  const text = (format: MetricFormat = 'text'): string => {
    const collection = new Collection(book);
    read(options, collection);
    return metricText(collection.readings().map(familyOf), format);
  };
  return {
    text,
    contentType: METRIC_CONTENT_TYPES.text,
    handler: (request, response) => answer(request, response, text),
  };
}

function answer(
  { method, headers }: MetricsRequest,
  response: MetricsResponse,
  text: (format: MetricFormat) => string,
): void {
  if (method !== 'GET' && method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD', 'content-length': 0 });
    response.end();
    return;
  }
  const isOpen = headers.accept?.includes('application/openmetrics-text') === true;
  const format = isOpen ? 'openmetrics' : 'text';
  const page = pageOf(text, format);
  if (page === undefined) {
    response.writeHead(500, { 'content-length': 0 });
    response.end();
    return;
  }
  response.writeHead(200, {
    'content-type': METRIC_CONTENT_TYPES[format],
    'content-length': Buffer.byteLength(page),
  });
  response.end(method === 'HEAD' ? undefined : page);
}

/** `undefined` where a source throws: no scrape ends the process. */
function pageOf(text: (format: MetricFormat) => string, format: MetricFormat): string | undefined {
  try {
    return text(format);
  } catch (error) {
    process.emitWarning(error instanceof Error ? error : String(error), 'QuorateMetrics');
    return undefined;
  }
}

function familyOf({ figure, samples }: Reading): MetricFamily {
  const { kind, unit, help } = figure;
  return {
    name: prometheusName(figure),
    help,
    type: kind === 'updown' ? 'gauge' : kind,
    unit: unit === 's' ? 'seconds' : undefined,
    samples,
  };
}

/** By OpenTelemetry's rules for Prometheus: `_` for `.`, the unit, and `_total` for what is counted. */
function prometheusName({ name, kind, unit }: Figure): string {
  const ending = `${unit === 's' ? '_seconds' : ''}${kind === 'counter' ? '_total' : ''}`;
  return `${name.replaceAll('.', '_')}${ending}`;
}
