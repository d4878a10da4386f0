/** Collects samples of alternating runs and prints their medians: a table, or one JSON object a line. */

export interface Case {
  readonly name: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
}

/** A benchmark: adds its cases to `report`; `quick` is for a look, not for figures to quote. */
export type Bench = (report: Report, quick: boolean) => Promise<void>;

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The sample that this share of the others does not exceed; sorts them. */
export function percentile(samples: number[], share: number): number {
  samples.sort((a, b) => a - b);
  return samples[Math.min(samples.length - 1, Math.floor(samples.length * share))] ?? Number.NaN;
}

export class Report {
  readonly #block: string;
  readonly #json: boolean;
  readonly #rows: string[][] = [['case', 'unit', 'quorate', 'peer', 'ratio']];

  constructor(block: string, json: boolean) {
    this.#block = block;
    this.#json = json;
  }

  /** Progress while one waits; silent with `--json`. */
  note(text: string): void {
    if (!this.#json) console.error(`  ${text}`);
  }

  /** `samples` by system; `quorate` is ours. */
  add(one: Case, samples: Readonly<Record<string, readonly number[]>>): void {
    const ours = median(samples['quorate'] ?? []);
    const peers = Object.fromEntries(
      Object.entries(samples)
        .filter(([name]) => name !== 'quorate')
        .map(([name, values]) => [name, median(values)]),
    );
    if (this.#json) {
      const { name, unit, better } = one;
      console.log(
        JSON.stringify({ block: this.#block, case: name, unit, better, ours, peers, samples }),
      );
      return;
    }
    const rows = Object.entries(peers).map(([peer, value]) => [
      `${peer} ${format(value)}`,
      Number.isNaN(ours / value) ? '-' : (ours / value).toFixed(2),
    ]);
    if (rows.length === 0) rows.push(['', '']);
    rows.forEach(([peer, ratio], i) => {
      const head =
        i === 0 ? [one.name, `${one.unit}, ${one.better} is better`, format(ours)] : ['', '', ''];
      this.#rows.push([...head, peer!, ratio!]);
    });
  }

  end(): void {
    if (this.#json) return;
    const widths = this.#rows[0]!.map((_, column) =>
      Math.max(...this.#rows.map((row) => row[column]!.length)),
    );
    for (const row of this.#rows) {
      console.log(
        row
          .map((cell, column) => cell.padEnd(widths[column]!))
          .join('  ')
          .trimEnd(),
      );
    }
  }
}

function format(value: number): string {
  if (Number.isNaN(value)) return '-';
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3);
}
