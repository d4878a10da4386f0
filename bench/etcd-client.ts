/**
 * Our etcd client beside npm's `etcd3`: 64 concurrent reads and writes of one key on the same etcd,
 * alternating. `node bench/etcd-client.ts`, with QUORATE_ETCD=host:port or etcd installed. The peer
 * is installed beside the build products, never into the project; without it ours runs alone.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { etcdKv } from '../src/drivers/etcd/index.ts';
import { startEtcd } from '../test/support/etcd.ts';
import { Report } from './report.ts';

const ETCD3 = 'etcd3@1.1.2';
const CONCURRENCY = 64;
const VALUE = 'v'.repeat(256);

/** The part of `etcd3` that is measured. */
interface Etcd3 {
  get(key: string): { buffer(): Promise<Buffer | null> };
  put(key: string): { value(value: string): Promise<unknown> };
  close(): void;
}
interface Client {
  get(key: string): Promise<unknown>;
  put(key: string): Promise<unknown>;
  close(): Promise<void> | void;
}

function ours(endpoint: string): Client {
  const kv = etcdKv({ endpoints: endpoint });
  return { get: (key) => kv.get(key), put: (key) => kv.put(key, VALUE), close: () => kv.close() };
}

function peer(endpoint: string): Client | undefined {
  const prefix = fileURLToPath(
    new URL('../node_modules/.cache/quorate-bench-etcd3', import.meta.url),
  );
  try {
    if (!existsSync(join(prefix, 'node_modules', 'etcd3'))) {
      const args = [
        'install',
        '--ignore-scripts',
        '--no-save',
        '--no-package-lock',
        '--prefix',
        prefix,
        ETCD3,
      ];
      mkdirSync(prefix, { recursive: true });
      execFileSync('npm', args, { stdio: 'ignore' });
    }
    const load = createRequire(join(prefix, 'package.json'));
    const { Etcd3 } = load('etcd3') as { Etcd3: new (options: { hosts: string }) => Etcd3 };
    const client = new Etcd3({ hosts: `http://${endpoint}` });
    return {
      get: (key) => client.get(key).buffer(),
      put: (key) => client.put(key).value(VALUE),
      close: () => client.close(),
    };
  } catch {
    console.error(`${ETCD3} could not be installed: it is left out`);
    return undefined;
  }
}

/** Calls a second, and microseconds of this process' CPU a call. */
async function measure(call: () => Promise<unknown>, count: number): Promise<[number, number]> {
  let started = 0;
  const lane = async (): Promise<void> => {
    while (started++ < count) await call();
  };
  const cpu = process.cpuUsage();
  const from = performance.now();
  await Promise.all(Array.from({ length: CONCURRENCY }, lane));
  const { user, system } = process.cpuUsage(cpu);
  return [(count * 1000) / (performance.now() - from), (user + system) / count];
}

const { values } = parseArgs({
  options: { json: { type: 'boolean' }, quick: { type: 'boolean' } },
});
const report = new Report('etcd-client', values.json === true);
const rounds = values.quick === true ? 3 : 5;
const count = values.quick === true ? 3_000 : 20_000;
const given = process.env['QUORATE_ETCD'];
const cluster = given === undefined ? await startEtcd(1) : undefined;
const endpoint = given ?? cluster!.endpoints[0]!;
const clients: Record<string, Client> = { quorate: ours(endpoint) };
const etcd3 = peer(endpoint);
if (etcd3 !== undefined) clients['etcd3'] = etcd3;
try {
  for (const name of ['put', 'get'] as const) {
    const rates: Record<string, number[]> = {};
    const costs: Record<string, number[]> = {};
    for (let round = 0; round <= rounds; round++) {
      for (const [who, client] of Object.entries(clients)) {
        const [rate, cost] = await measure(() => client[name]('bench'), count);
        // The first round warms up.
        if (round === 0) continue;
        (rates[who] ??= []).push(rate);
        (costs[who] ??= []).push(cost);
        report.note(
          `${name} ${who}: ${Math.round(rate)} calls/s, ${Math.round(cost)} µs CPU a call`,
        );
      }
    }
    const title = `${name}, ${CONCURRENCY} at once`;
    report.add({ name: title, unit: 'calls/s', better: 'higher' }, rates);
    report.add({ name: `${title}, client CPU`, unit: 'µs/call', better: 'lower' }, costs);
  }
} finally {
  for (const client of Object.values(clients)) await client.close();
  await cluster?.close();
  report.end();
}
