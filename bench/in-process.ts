/**
 * FOLDER TOTAL PORT PORT PORT: three nodes in three processes; the one that leads puts 256-byte
 * values through `node.kv.put`, 1,000 at a time, and the figures are printed as JSON.
 */
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openNode } from 'quorate';

const CONCURRENCY = 1000;
const [folder, totalText, ...ports] = process.argv.slice(2);
const role = process.env['BENCH_NODE'];

if (role === undefined) {
  const children = ['n1', 'n2', 'n3'].map((name) =>
    fork(fileURLToPath(import.meta.url), process.argv.slice(2), {
      env: { ...process.env, BENCH_NODE: name },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    }),
  );
  const result = await new Promise((resolve, reject) => {
    for (const child of children) {
      child.on('message', resolve);
      child.on('exit', (code) => reject(new Error(`a node ended with ${code}`)));
    }
  });
  for (const child of children) child.kill('SIGKILL');
  console.log(JSON.stringify(result));
} else {
  const peers = Object.fromEntries(
    ports.map((port, i) => [`n${i + 1}`, `http://127.0.0.1:${port}`]),
  );
  const node = await openNode({ name: role, peers, dataDir: join(folder!, role) });
  await node.ready();
  const status = node.status();
  if (status.leader === status.id) process.send!(await load(Number(totalText)));

  async function load(total: number): Promise<object> {
    const value = Buffer.alloc(256, 'x');
    const latencies = new Float64Array(total);
    const warm = Math.min(20_000, total);
    let next = 0;
    const worker = async (end: number): Promise<void> => {
      while (next < end) {
        const i = next++;
        const sentAt = performance.now();
        await node.kv.put(`key${i % 10_000}`, value);
        latencies[i % total] = performance.now() - sentAt;
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, () => worker(warm)));
    next = 0;
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: CONCURRENCY }, () => worker(total)));
    const seconds = (performance.now() - startedAt) / 1000;
    latencies.sort();
    return {
      rate: total / seconds,
      p50: latencies[Math.floor(total * 0.5)],
      p99: latencies[Math.floor(total * 0.99)],
    };
  }
}
