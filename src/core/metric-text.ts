/**
 * Figures as text: Prometheus' exposition format 0.0.4, or OpenMetrics 1.0.0, which says the same in its own way.
 */
import type { Metric } from './metric.ts';

/** How often something was in each range, ever. */
export interface HistogramValue {
  /** Upper bounds, growing; above them is one more range. */
  readonly bounds: readonly number[];
  /** In each range alone, not added up. */
  readonly counts: readonly number[];
  readonly sum: number;
}

/** One line, or those of one histogram. */
export interface MetricSample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number | HistogramValue;
}

/** All samples of one name. */
export interface MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** What it is measured in, where the name ends with that. */
  readonly unit?: 'seconds' | undefined;
  readonly samples: readonly MetricSample[];
}

/** `text`: 0.0.4, which everybody reads. */
export type MetricFormat = 'text' | 'openmetrics';

/** What each is called in HTTP. */
export const METRIC_CONTENT_TYPES: Readonly<Record<MetricFormat, string>> = {
  text: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
};

/** Figures by their names, in order. */
export function familiesOf(metrics: Iterable<Metric>): MetricFamily[] {
  const samples = new Map<string, MetricSample[]>();
  const families: MetricFamily[] = [];
  for (const { name, help, type, value, labels = {} } of metrics) {
    let family = samples.get(name);
    if (family === undefined) {
      family = [];
      samples.set(name, family);
      families.push({ name, help, type, samples: family });
    }
    family.push({ labels, value });
  }
  return families.sort((one, other) => (one.name < other.name ? -1 : 1));
}

/** The page. */
export function metricText(
  families: Iterable<MetricFamily>,
  format: MetricFormat = 'text',
): string {
  const isOpen = format === 'openmetrics';
  let text = '';
  for (const { name, help, type, unit, samples } of families) {
    // There a counter's family lacks the end that its lines have.
    const title = isOpen && type === 'counter' ? name.replace(/_total$/, '') : name;
    text += `# HELP ${title} ${escapeHelp(help, isOpen)}\n# TYPE ${title} ${type}\n`;
    if (isOpen && unit !== undefined) text += `# UNIT ${title} ${unit}\n`;
    for (const { labels, value } of samples) {
      if (typeof value !== 'number') text += histogramText(name, labels, value);
      else text += `${name}${labelText(labels)} ${numberText(value)}\n`;
    }
  }
  return isOpen ? `${text}# EOF\n` : text;
}

function histogramText(
  name: string,
  labels: MetricSample['labels'],
  { bounds, counts, sum }: HistogramValue,
): string {
  const own = pairsOf(labels);
  const before = own === '' ? '' : `${own},`;
  let text = '';
  let count = 0;
  for (const [index, inRange] of counts.entries()) {
    count += inRange;
    const le = numberText(bounds[index] ?? Number.POSITIVE_INFINITY);
    text += `${name}_bucket{${before}le="${le}"} ${count}\n`;
  }
  const last = own === '' ? '' : `{${own}}`;
  return `${text}${name}_sum${last} ${numberText(sum)}\n${name}_count${last} ${count}\n`;
}

function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  return value === Number.NEGATIVE_INFINITY ? '-Inf' : `${value}`;
}

function labelText(labels: MetricSample['labels']): string {
  const pairs = pairsOf(labels);
  return pairs === '' ? '' : `{${pairs}}`;
}

function pairsOf(labels: MetricSample['labels']): string {
  let text = '';
  for (const name of Object.keys(labels)) {
    text += `${text === '' ? '' : ','}${name}="${escapeLabel(labels[name]!)}"`;
  }
  return text;
}

function escapeLabel(value: string): string {
  if (!/[\\"\n]/.test(value)) return value;
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function escapeHelp(text: string, isOpen: boolean): string {
  if (isOpen) return escapeLabel(text);
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
