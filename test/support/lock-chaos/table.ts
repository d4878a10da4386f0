/** What a storm of faults on locks did, as a table for people. */
import type { Outcome, Row } from './storm.ts';

const HEADINGS = [
  'fault',
  'times',
  'grants',
  'two wrote at once, unfenced',
  'refused by the token',
  'fenced violations',
  'longest without a write',
];

/** In Markdown: it goes into the docs as it is. */
export function tableOf({ engine, guarantees, rows, errors, noClock }: Outcome): string {
  const { fencing } = guarantees;
  const lines = [HEADINGS, HEADINGS.map((_, i) => (i === 0 ? '---' : '--:'))];
  const sorted = rows.toSorted((a, b) => order(a) - order(b));
  for (const row of sorted) lines.push(cellsOf(row, fencing !== 'none'));
  const table = lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
  const told = [...errors].map(([what, count]) => `${what} ${count}`).join(', ');
  const clock = noClock === undefined ? '' : `\n\nNO CLOCK WAS SET: ${noClock}`;
  const head = `**${engine}** (tokens: ${fencing})`;
  return `${head}\n\n${table}\n\nWorkers were told: ${told || 'no error'}${clock}`;
}

const order = ({ fault }: Row): number => (fault === 'none' ? 0 : 1);

function cellsOf(row: Row, hasTokens: boolean): string[] {
  const fenced = hasTokens ? [row.refused, row.violations] : ['no tokens', 'no tokens'];
  const gap = `${(row.longestGapMs / 1000).toFixed(1)} s`;
  return [row.fault, row.times, row.grants, row.overlaps, ...fenced, gap].map(String);
}
