/** Figures for `/metrics`, whoever counts them. */

/** One number for `/metrics`, in Prometheus' terms. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

type Labels = Metric['labels'];

/** What only grows. */
export function counter(name: string, help: string, value: number, labels?: Labels): Metric {
  return { name, help, type: 'counter', value, ...(labels && { labels }) };
}

/** What goes up and down. */
export function gauge(name: string, help: string, value: number, labels?: Labels): Metric {
  return { name, help, type: 'gauge', value, ...(labels && { labels }) };
}
