/** Figures read once: series by their labels, and not more of them than there is room for. */
import type { HistogramValue, MetricSample } from '../../core/metric-text.ts';
import { wholeNumber } from '../../core/numbers.ts';
import { ALL_FIGURES, FIGURES, type Figure } from './families.ts';

/** Labels of a series, without those that say nothing. */
export type Labels = MetricSample['labels'];

/** One figure and what was read of it. */
export interface Reading {
  readonly figure: Figure;
  readonly samples: readonly MetricSample[];
}

interface Named {
  readonly labels: Labels;
  readonly key: string;
  readonly isOther: boolean;
}

/** In the place of names for which there is no room. */
const OTHER = 'other';
const MAX_NAME_LENGTH = 256;
const MAX_SERIES = 1_000_000;

/** @throws ERR_INVALID_ARGUMENT */
export function maxSeriesOf({ maxSeries = 1000 }: { readonly maxSeries?: number | undefined }) {
  return wholeNumber('maxSeries', maxSeries, 1, MAX_SERIES);
}

/**
 * Which series have names of their own: for each figure those that came first, so that a series which once was shown always
 * is. Kept from one reading to the next.
 */
export class SeriesBook {
  readonly #maxSeries: number;
  readonly #known: Map<Figure, Set<string>>;

  constructor(maxSeries: number) {
    this.#maxSeries = maxSeries;
    this.#known = new Map(ALL_FIGURES.map((figure) => [figure, new Set()]));
  }

  /** The labels of a series, or of the one for those that get no name of their own. */
  labelsFor(figure: Figure, given: Labels): Named {
    const labels = cut(given);
    const key = keyOf(labels);
    if (figure.names.length === 0 || this.#hasRoom(figure, key)) {
      return { labels, key, isOther: false };
    }
    const left = withoutNames(figure, labels);
    return { labels: left, key: keyOf(left), isOther: true };
  }

  #hasRoom(figure: Figure, key: string): boolean {
    const known = this.#known.get(figure)!;
    if (known.has(key)) return true;
    if (known.size >= this.#maxSeries) return false;
    known.add(key);
    return true;
  }
}

type Series = Map<string, { readonly labels: Labels; value: number | HistogramValue }>;

/** One reading. Series of the same labels are added up; of gauges, which cannot be, the highest counts. */
export class Collection {
  readonly #book: SeriesBook;
  readonly #series: Map<Figure, Series>;
  #others: number;

  constructor(book: SeriesBook) {
    this.#book = book;
    this.#series = new Map(ALL_FIGURES.map((figure) => [figure, new Map()]));
    this.#others = 0;
  }

  add(figure: Figure, given: Labels, value: number | HistogramValue): void {
    const { labels, key, isOther } = this.#book.labelsFor(figure, given);
    if (isOther) this.#others += 1;
    const series = this.#series.get(figure)!;
    const there = series.get(key);
    if (there === undefined) series.set(key, { labels, value });
    else there.value = merged(figure, there.value, value);
  }

  /** All that there is something of. */
  readings(): Reading[] {
    this.add(FIGURES.own.other, {}, this.#others);
    const readings: Reading[] = [];
    for (const [figure, series] of this.#series) {
      if (series.size > 0) readings.push({ figure, samples: [...series.values()] });
    }
    return readings;
  }
}

function cut(labels: Labels): Labels {
  const pairs = Object.entries(labels);
  if (!pairs.some(([, { length }]) => length > MAX_NAME_LENGTH)) return labels;
  return Object.fromEntries(pairs.map(([name, value]) => [name, value.slice(0, MAX_NAME_LENGTH)]));
}

function withoutNames({ names }: Figure, labels: Labels): Labels {
  const pairs = Object.entries(labels);
  return Object.fromEntries(
    pairs.map(([name, value]) => [name, names.includes(name) ? OTHER : value]),
  );
}

function keyOf(labels: Labels): string {
  return JSON.stringify(labels);
}

function merged(
  { kind }: Figure,
  one: number | HistogramValue,
  other: number | HistogramValue,
): number | HistogramValue {
  if (typeof one === 'number' || typeof other === 'number') {
    return kind === 'gauge' ? Math.max(Number(one), Number(other)) : Number(one) + Number(other);
  }
  const counts = one.counts.map((count, index) => count + other.counts[index]!);
  return { bounds: one.bounds, counts, sum: one.sum + other.sum };
}
