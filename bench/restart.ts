/** ENTRIES: fills the log of a one-node cluster, kills the process, and times the next start. */
import { fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openNode } from 'quorate';
import { freePorts } from '../test/support/ports.ts';

const [entriesText, folder, port] = process.argv.slice(2);
const entries = Number(entriesText);

if (folder === undefined) {
  const made = await mkdtemp(join(tmpdir(), 'quorate-restart-'));
  const [free] = await freePorts(1);
  const once = (phase: string): Promise<{ seconds: number }> =>
    new Promise((resolve, reject) => {
      const child = fork(fileURLToPath(import.meta.url), [entriesText!, made, String(free)], {
        env: { ...process.env, BENCH_PHASE: phase },
        execArgv: ['--conditions=quorate-source', '--max-old-space-size=6000'],
      });
      let result: { seconds: number } | undefined;
      child.on('message', (message) => {
        result = message as { seconds: number };
        child.kill('SIGKILL');
      });
      child.on('exit', (code) => {
        if (result === undefined) reject(new Error(`ended with ${code}`));
        else resolve(result);
      });
    });
  await once('fill');
  console.log(JSON.stringify(await once('restart')));
  await rm(made, { recursive: true });
} else {
  const startedAt = performance.now();
  const node = await openNode({
    name: 'n1',
    peers: { n1: `http://127.0.0.1:${port}` },
    dataDir: join(folder, 'n1'),
    // No snapshot: the whole log is read and applied.
    snapshotEntries: entries * 2,
    snapshotBytes: 1e12,
  });
  await node.ready();
  if (process.env['BENCH_PHASE'] === 'fill') {
    const value = Buffer.alloc(256, 'x');
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < entries) await node.kv.put(`key${next++ % 10_000}`, value);
    };
    await Promise.all(Array.from({ length: 2000 }, worker));
  } else {
    await node.kv.get('key0');
  }
  process.send!({ seconds: (performance.now() - startedAt) / 1000 });
}
