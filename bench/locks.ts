/** Locks beside the packages that people use: each section is one kind of engine. */
import { benchInProcess } from './locks-in-process.ts';
import { benchOnQuorum } from './locks-quorum.ts';
import { benchOnRedis } from './locks-redis.ts';
import type { Report } from './report.ts';

export async function benchLocks(report: Report, quick: boolean): Promise<void> {
  await benchInProcess(report, quick);
  await benchOnRedis(report, quick);
  await benchOnQuorum(report, quick);
}
