/**
 * Our etcd client beside npm's `etcd3`: 64 concurrent reads and writes of one key on the same etcd,
 * alternating: one of its own, or the one at QUORATE_ETCD=host:port.
 */
import { Etcd3 } from 'etcd3';
import { etcdKv } from '../src/drivers/etcd/index.ts';
import { startEtcd } from '../test/support/etcd.ts';
import type { Report } from './report.ts';

const CONCURRENCY = 64;
const VALUE = 'v'.repeat(256);

interface Client {
  get(key: string): Promise<unknown>;
  put(key: string): Promise<unknown>;
  close(): Promise<void> | void;
}

function ours(endpoint: string): Client {
  const kv = etcdKv({ endpoints: endpoint });
  return { get: (key) => kv.get(key), put: (key) => kv.put(key, VALUE), close: () => kv.close() };
}

function peer(endpoint: string): Client {
  const client = new Etcd3({ hosts: `http://${endpoint}` });
  return {
    get: (key) => client.get(key).buffer(),
    put: (key) => client.put(key).value(VALUE).exec(),
    close: () => client.close(),
  };
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

export async function benchEtcdClient(report: Report, quick: boolean): Promise<void> {
  const given = process.env['QUORATE_ETCD'];
  const cluster = given === undefined ? await startEtcd(1) : undefined;
  const endpoint = given ?? cluster!.endpoints[0]!;
  const clients: Record<string, Client> = { quorate: ours(endpoint), etcd3: peer(endpoint) };
  try {
    for (const name of ['put', 'get'] as const) await compare(report, quick, name, clients);
  } finally {
    for (const client of Object.values(clients)) await client.close();
    await cluster?.close();
  }
}

async function compare(
  report: Report,
  quick: boolean,
  name: 'put' | 'get',
  clients: Readonly<Record<string, Client>>,
): Promise<void> {
  const rates: Record<string, number[]> = {};
  const costs: Record<string, number[]> = {};
  for (let round = 0; round <= (quick ? 3 : 5); round++) {
    for (const [who, client] of Object.entries(clients)) {
      const [rate, cost] = await measure(() => client[name]('bench'), quick ? 3_000 : 20_000);
      // The first round warms up.
      if (round === 0) continue;
      (rates[who] ??= []).push(rate);
      (costs[who] ??= []).push(cost);
      report.note(`${name} ${who}: ${Math.round(rate)} calls/s, ${Math.round(cost)} µs CPU a call`);
    }
  }
  const title = `${name}, ${CONCURRENCY} at once`;
  report.add({ name: title, unit: 'calls/s', better: 'higher' }, rates);
  report.add({ name: `${title}: client CPU`, unit: 'µs/call', better: 'lower' }, costs);
}
