/** What a storm of faults on locks did, as a table for people. */
import type { Outcome, Row } from './storm.ts';

const HEADINGS = [
  'fault',
  'times',
  'grants',
  'wrote late, unfenced',
  'refused by the token',
  'fenced violations',
  'longest without a write',
];

/** In Markdown: it goes into the docs as it is. */
export function tableOf({ engine, guarantees, rows, errors, noClock }: Outcome): string {
  const { fencing } = guarantees;
  const cells = rows.map((row) => cellsOf(row, fencing !== 'none'));
  const told = [...errors].map(([what, count]) => `${what} ${count}`).join(', ');
  const clock = noClock === undefined ? '' : `\n\nNO CLOCK WAS SET: ${noClock}`;
  const head = `**${engine}** (tokens: ${fencing})`;
  return `${head}\n\n${table(HEADINGS, cells)}\n\nWorkers were told: ${told || 'no error'}${clock}`;
}

function cellsOf(row: Row, hasTokens: boolean): string[] {
  const fenced = hasTokens ? [row.refused, row.violations] : ['no tokens', 'no tokens'];
  return [row.fault, row.times, row.grants, row.overlaps, ...fenced, gapOf(row)].map(String);
}

/** Engines side by side: how many holders wrote late where nobody compared tokens, and how often the fault came. */
export function summaryOf(outcomes: readonly Outcome[]): string {
  const faults = [...new Set(outcomes.flatMap(({ rows }) => rows.map(({ fault }) => fault)))];
  const perFault = (cell: (row: Row) => string): string[][] =>
    faults.map((fault) => {
      const cells = outcomes.map(({ rows }) => rows.find((row) => row.fault === fault));
      return [fault, ...cells.map((row) => (row === undefined ? '' : cell(row)))];
    });
  const sum = (rows: readonly Row[], name: 'grants' | 'refused' | 'violations'): string =>
    String(rows.reduce((total, row) => total + row[name], 0));
  const totals = (['grants', 'refused', 'violations'] as const).map((name) => [
    TOTALS[name],
    ...outcomes.map(({ rows, guarantees }) =>
      name !== 'grants' && guarantees.fencing === 'none' ? 'no tokens' : sum(rows, name),
    ),
  ]);
  const engines = outcomes.map(({ engine }) => engine);
  return [
    table(
      ['holders that wrote late, unfenced', ...engines],
      perFault(({ overlaps, times }) => `${overlaps} in ${times}`),
    ),
    table(['longest without a write', ...engines], perFault(gapOf)),
    table(['in all', ...engines], totals),
  ].join('\n\n');
}

const TOTALS = {
  grants: 'grants',
  refused: 'writes refused by the token',
  violations: 'fenced violations',
};

const gapOf = ({ longestGapMs }: Row): string => `${(longestGapMs / 1000).toFixed(1)} s`;

function table(heading: readonly string[], rows: readonly string[][]): string {
  const rule = heading.map((_, i) => (i === 0 ? '---' : '--:'));
  return [heading, rule, ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
