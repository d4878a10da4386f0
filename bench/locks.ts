/** Locks beside the packages that people use: each section is one kind of engine. */
import { benchInProcess } from './locks-in-process.ts';
import type { Report } from './report.ts';

export async function benchLocks(report: Report, quick: boolean): Promise<void> {
  await benchInProcess(report, quick);
}
