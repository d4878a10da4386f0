/**
 * What the transport alone costs: etcd's own load generator puts 256-byte values against a backend
 * that answers at once, so that every microsecond is HTTP/2, gRPC and the codec.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { memoryService } from '../src/kv/memory.ts';
import type { KvService } from '../src/kv/service.ts';
import { serveEtcd } from '../src/server/index.ts';
import { testBackend } from '../src/server/test-backend.ts';
import { engine } from '../test/support/etcd.ts';
import type { Report } from './report.ts';

const run = promisify(execFile);

export async function benchGrpcEcho(report: Report, quick: boolean): Promise<void> {
  const total = quick ? 20_000 : 100_000;
  const header = { clusterId: 1n, memberId: 2n, revision: 3, raftTerm: 4 };
  const kv: KvService = memoryService();
  kv.put = async () => ({ header, prevKv: undefined });
  await using server = await serveEtcd(testBackend(kv), { listenUrls: ['http://127.0.0.1:0'] });
  const rates: number[] = [];
  const costs: number[] = [];
  for (let round = 0; round <= (quick ? 1 : 3); round++) {
    const before = process.cpuUsage();
    const rate = await put(server.urls[0]!, total);
    const { user, system } = process.cpuUsage(before);
    // The first round warms up.
    if (round === 0) continue;
    rates.push(rate);
    costs.push((user + system) / total);
  }
  const name = 'put, 1000 clients on 100 connections, instant backend';
  report.add({ name, unit: 'requests/s', better: 'higher' }, { quorate: rates });
  report.add({ name: `${name}: CPU`, unit: 'µs/request', better: 'lower' }, { quorate: costs });
  await kv.close();
}

/** Runs the load generator; resolves with requests a second. */
async function put(endpoint: string, total: number): Promise<number> {
  const load = ['--conns=100', '--clients=1000', 'put', `--total=${total}`, '--val-size=256'];
  const { stdout } = await run(engine('etcd-benchmark'), [`--endpoints=${endpoint}`, ...load], {
    maxBuffer: 64 * 1024 * 1024,
  });
  const rate = /Requests\/sec:\s*([\d.]+)/.exec(stdout)?.[1];
  if (rate === undefined) throw new Error(`etcd-benchmark said no rate:\n${stdout}`);
  return Number(rate);
}
