/**
 * Policies beside those of npm, in one process: what they add to a call, what a limiter costs, what becomes of a
 * dependency that is down and of a server that is asked for too much.
 */
import type { Report } from './report.ts';
import { benchCalls } from './resilience-calls.ts';
import { benchLimiters } from './resilience-limiters.ts';
import { benchLoad } from './resilience-load.ts';
import { loadPeers } from './resilience-peers.ts';

export async function benchResilience(report: Report, quick: boolean): Promise<void> {
  const peers = await loadPeers();
  await benchCalls(report, peers, quick);
  await benchLimiters(report, peers, quick);
  await benchLoad(report, peers, quick);
}
