/** Figures for Prometheus: `quorate/prometheus`. */
import '../core/runtime.ts';

export type { HttpSource, PoolSource, TelemetrySources } from '../telemetry/figures/sources.ts';
export {
  type MetricsRequest,
  type MetricsResponse,
  type PrometheusMetrics,
  type PrometheusOptions,
  prometheusMetrics,
} from './metrics.ts';
