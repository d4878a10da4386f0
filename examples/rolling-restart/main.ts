// Three processes of a service under a constant rate of requests on kept connections, restarted one after the other. No request
// may fail, and none is sent twice. Run it:  node scripts/run.mjs examples/rolling-restart/main.ts --restarts 20 --rate 500
// --framework is node, express, fastify or hono. With --shutdown close, or none, the service ends as many do, and requests fail.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request as httpRequest } from 'node:http';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { ShutdownReport } from 'quorate/http';

const { values } = parseArgs({
  options: {
    restarts: { type: 'string', default: '20' },
    rate: { type: 'string', default: '500' },
    framework: { type: 'string', default: 'node' },
    shutdown: { type: 'string', default: 'graceful' },
  },
});
const restarts = Number(values.restarts);
const rate = Number(values.rate);
if (!(Number.isSafeInteger(restarts) && restarts > 0 && rate > 0)) {
  throw new Error('--restarts: a whole number above 0; --rate: requests a second');
}

const SERVICE = fileURLToPath(new URL('service.ts', import.meta.url));
const PROBE_MS = 100;

/** What a client knows of one instance. */
class Instance {
  readonly port: number;
  // Without a timeout of its own an agent of Node pays no heed to how long the server says that it keeps a connection, and
  // some day uses one at the moment when the server closes it: that request fails, restart or no restart.
  readonly agent = new Agent({ keepAlive: true, timeout: 30_000 });
  child: ChildProcess | undefined;
  isReady = false;

  constructor(port: number) {
    this.port = port;
  }

  async start(): Promise<void> {
    this.child = fork(SERVICE, [String(this.port), values.shutdown, values.framework], {
      stdio: 'inherit',
    });
    await once(this.child, 'message');
  }

  /** Sends SIGTERM and waits for the end. */
  async stop(): Promise<{
    readonly code: number | null;
    readonly report: ShutdownReport | undefined;
  }> {
    const child = this.child!;
    let report: ShutdownReport | undefined;
    child.on('message', (message) => (report = message as ShutdownReport));
    const ended = once(child, 'close');
    child.kill('SIGTERM');
    const [code] = (await ended) as [number | null];
    return { code, report };
  }

  async probe(): Promise<void> {
    try {
      this.isReady = (await this.send('GET', '/readyz')) === 200;
    } catch {
      this.isReady = false;
    }
  }

  /** @returns the status */
  send(method: string, path: string, body = ''): Promise<number> {
    const { port, agent } = this;
    return new Promise((resolve, reject) => {
      const headers = { 'content-type': 'text/plain', 'content-length': body.length };
      const options = { host: '127.0.0.1', port, agent, method, path, headers, timeout: 10_000 };
      const request = httpRequest(options, (response) => {
        response.on('end', () => resolve(response.statusCode!));
        response.on('error', reject);
        response.resume();
      });
      request.on('timeout', () => request.destroy(new Error('no answer within 10 s')));
      request.on('error', (error: NodeJS.ErrnoException) => {
        const where = request.reusedSocket ? 'on a kept connection' : 'on a new connection';
        reject(new Error(`${error.code ?? error.message} ${where}`));
      });
      request.end(body);
    });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const dueMs = performance.now() + 30_000;
  while (!holds()) {
    if (performance.now() > dueMs) throw new Error(`${what}: not within 30 s`);
    await delay(20);
  }
}

const instances = [
  new Instance(await freePort()),
  new Instance(await freePort()),
  new Instance(await freePort()),
];
const failures = new Map<string, number>();
const latencies: number[] = [];
let sent = 0;
let failed = 0;
let turn = 0;

/** To the next instance that is ready. Nothing is tried again: what fails, fails. */
async function sendOne(): Promise<void> {
  const ready = instances.filter(({ isReady }) => isReady);
  const startedMs = performance.now();
  sent++;
  try {
    const target = ready[turn++ % ready.length];
    if (target === undefined) throw new Error('no instance is ready');
    const status = await (sent % 2 === 0
      ? target.send('GET', '/work')
      : target.send('POST', '/work', 'x'.repeat(1_000)));
    if (status !== 200) throw new Error(`status ${status}`);
    latencies.push(performance.now() - startedMs);
  } catch (error) {
    failed++;
    const { message } = error as Error;
    failures.set(message, (failures.get(message) ?? 0) + 1);
  }
}

const stopping = new AbortController();

async function probeAll(instance: Instance): Promise<void> {
  while (!stopping.signal.aborted) {
    await instance.probe();
    await delay(PROBE_MS);
  }
}

async function sendAll(): Promise<void> {
  const startedMs = performance.now();
  const pending = new Set<Promise<void>>();
  for (let count = 0; !stopping.signal.aborted; ) {
    const due = ((performance.now() - startedMs) / 1_000) * rate;
    for (; count < due; count++) {
      const one = sendOne().finally(() => pending.delete(one));
      pending.add(one);
    }
    await delay(4);
  }
  await Promise.all(pending);
}

let abandoned = 0;
const rows: Record<string, string | number>[] = [];
try {
  await Promise.all(instances.map((instance) => instance.start()));
  const probing = instances.map(probeAll);
  await until('three instances are ready', () => instances.every(({ isReady }) => isReady));
  console.log(`${rate} requests a second to 3 instances, ${restarts} restarts`);
  const sending = sendAll();
  for (let restart = 0; restart < restarts; restart++) {
    const instance = instances[restart % instances.length]!;
    const before = { sent, failed };
    const startedMs = performance.now();
    const { code, report } = await instance.stop();
    const endedMs = performance.now();
    await instance.start();
    await until('it is ready again', () => instance.isReady);
    if (code !== 0) abandoned++;
    const finish = report?.phases.find(({ phase }) => phase === 'finish');
    const row = {
      restart: restart + 1,
      instance: (restart % instances.length) + 1,
      'exit code': code ?? 'killed',
      'ended after ms': Math.round(endedMs - startedMs),
      'finished at the end': finish?.steps[0]?.finished ?? '?',
      'ready again after ms': Math.round(performance.now() - endedMs),
      requests: sent - before.sent,
      failed: failed - before.failed,
    };
    rows.push(row);
    console.log(`restart ${row.restart}: ${row.requests} requests, ${row.failed} failed`);
  }
  stopping.abort();
  await Promise.all([sending, ...probing]);
  console.table(rows);
  latencies.sort((a, b) => a - b);
  const at = (share: number): string =>
    `${latencies[Math.floor(latencies.length * share)]?.toFixed(1)} ms`;
  console.log(`${sent} requests, ${failed} failed; median ${at(0.5)}, 99 % within ${at(0.99)}`);
  for (const [reason, times] of failures) console.log(`  ${times} × ${reason}`);
} finally {
  stopping.abort();
  for (const { agent, child } of instances) {
    agent.destroy();
    child?.kill('SIGKILL');
  }
}
process.exitCode = failed === 0 && abandoned === 0 ? 0 : 1;
