/**
 * `npm run bench -- BLOCK [--json] [--quick]`: side by side with the peers, in one run.
 * With `--json` one object a line: {block, case, unit, better, ours, peers, samples}.
 */
import { parseArgs } from 'node:util';
import { benchKv } from './kv.ts';
import { Report } from './report.ts';

const BLOCKS: Readonly<Record<string, (report: Report, quick: boolean) => Promise<void>>> = {
  kv: benchKv,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean' }, quick: { type: 'boolean' } },
});
const block = positionals[0] ?? '';
const run = BLOCKS[block];
if (run === undefined) {
  console.error(`usage: npm run bench -- ${Object.keys(BLOCKS).join('|')} [--json] [--quick]`);
  process.exit(2);
}
const report = new Report(block, values.json === true);
try {
  await run(report, values.quick === true);
} finally {
  report.end();
}
