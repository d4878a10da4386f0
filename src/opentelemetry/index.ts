/** Figures and spans for OpenTelemetry: `quorate/opentelemetry`. */
import '../core/runtime.ts';

export type { HttpSource, PoolSource, TelemetrySources } from '../telemetry/figures/sources.ts';
export type {
  AttributesLike,
  HistogramLike,
  InstrumentOptions,
  MeterLike,
  ObservationsLike,
  SpanLike,
  TracerLike,
} from './api.ts';
export {
  type OpenTelemetryMetrics,
  type OpenTelemetryOptions,
  openTelemetryMetrics,
} from './metrics.ts';
export { type SpanKindName, type TracedOptions, traced } from './traced.ts';
