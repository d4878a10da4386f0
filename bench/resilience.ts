/**
 * Policies, limiters, pools and middleware beside those of npm: what they add to a call, what a limiter costs, what becomes of
 * a dependency that is down and of a server that is asked for too much; then what needs processes of its own.
 */
import type { Report } from './report.ts';
import { benchCalls } from './resilience-calls.ts';
import { benchClusterLimiters } from './resilience-cluster.ts';
import { benchHttp } from './resilience-http.ts';
import { benchLimiters } from './resilience-limiters.ts';
import { benchLoad } from './resilience-load.ts';
import { loadPeers } from './resilience-peers.ts';
import { benchPools } from './resilience-pools.ts';

export async function benchResilience(report: Report, quick: boolean): Promise<void> {
  const peers = await loadPeers();
  await benchCalls(report, peers, quick);
  await benchLimiters(report, peers, quick);
  await benchLoad(report, peers, quick);
  await benchPools(report, quick);
  await benchHttp(report, quick);
  await benchClusterLimiters(report, quick);
}
