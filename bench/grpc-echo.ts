/**
 * What the transport alone costs: etcd's own load generator puts 256-byte values against a backend
 * that answers at once, so that every microsecond is HTTP/2, gRPC and the codec.
 *
 *   node bench/grpc-echo.ts [--json] [--total 100000] [--conns 100] [--clients 1000]
 *
 * Needs `etcd-benchmark` (npm run engines) on the PATH or in ETCD_BENCHMARK.
 */
import { spawn } from 'node:child_process';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { parseArgs } from 'node:util';
import { memoryService } from '../src/kv/memory.ts';
import type { KvService } from '../src/kv/service.ts';
import { serveEtcd } from '../src/server/index.ts';
import { testBackend } from '../src/server/test-backend.ts';

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    total: { type: 'string', default: '100000' },
    conns: { type: 'string', default: '100' },
    clients: { type: 'string', default: '1000' },
  },
});

const header = { clusterId: 1n, memberId: 2n, revision: 3, raftTerm: 4 };
const kv: KvService = memoryService();
kv.put = async () => ({ header, prevKv: undefined });

await using server = await serveEtcd(testBackend(kv), { listenUrls: ['http://127.0.0.1:0'] });
// The first run warms the code up.
await put(server.urls[0]!, Math.ceil(Number(options.total) / 5));
const before = process.cpuUsage();
const rate = await put(server.urls[0]!, Number(options.total));
const used = process.cpuUsage(before);
const cpuMicros = (used.user + used.system) / Number(options.total);
if (options.json) {
  const common = { block: 'server', case: 'grpc put, instant backend', peers: {}, samples: 1 };
  const round = (value: number): number => Math.round(value * 10) / 10;
  process.stdout.write(
    `${JSON.stringify({ ...common, unit: 'req/s', better: 'higher', ours: round(rate) })}\n` +
      `${JSON.stringify({ ...common, unit: 'us cpu/req', better: 'lower', ours: round(cpuMicros) })}\n`,
  );
} else {
  process.stdout.write(`${rate.toFixed(0)} puts/s, ${cpuMicros.toFixed(1)} µs CPU a put\n`);
}
await kv.close();

/** Runs the load generator; resolves with requests a second. */
async function put(endpoint: string, total: number): Promise<number> {
  const command = process.env['ETCD_BENCHMARK'] ?? 'etcd-benchmark';
  const engines = process.env['QUORATE_ENGINES'] ?? join(homedir(), '.cache/quorate-engines');
  const child = spawn(
    command,
    [
      `--endpoints=${endpoint}`,
      `--conns=${options.conns}`,
      `--clients=${options.clients}`,
      ...['put', `--total=${total}`, '--val-size=256'],
    ],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, PATH: `${process.env['PATH']}${delimiter}${join(engines, 'bin')}` },
    },
  );
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const code = await new Promise((resolve, reject) =>
    child.on('error', reject).on('close', resolve),
  );
  const match = /Requests\/sec:\s*([\d.]+)/.exec(output);
  if (code !== 0 || match === null) throw new Error(`${command} failed (${code}):\n${output}`);
  return Number(match[1]);
}
