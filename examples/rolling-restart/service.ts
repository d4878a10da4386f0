// One instance of a service that can be restarted at any time: it knows when it may be sent requests, and ends in
// the order in which nobody notices. `main.ts` starts three of them.

import { setTimeout as delay } from 'node:timers/promises';
import { gracefulShutdown, healthChecks } from 'quorate/http';
import { workerPool } from 'quorate/resilience';
import { FRAMEWORKS } from './frameworks.ts';

const port = Number(process.argv[2] ?? 0);
const work = workerPool({ size: 100 });
let isWarm = false;
const health = healthChecks({
  checks: {
    cache: { check: () => ({ ok: isWarm, message: 'warming' }), scope: 'startup', cacheFor: 0 },
  },
});

const build = FRAMEWORKS[process.argv[4] ?? 'node'];
if (build === undefined) throw new Error(`one of ${Object.keys(FRAMEWORKS).join(', ')} is needed`);
const server = await build(health, async (body) => {
  // Every hundredth takes long: there is always something in progress.
  const tookMs = await work.submit(async () => {
    const forMs = Math.random() < 0.01 ? 400 : Math.random() * 20;
    await delay(forMs);
    return forMs;
  });
  return { pid: process.pid, characters: body.length, tookMs };
});

// For comparison: `close` does what many do, `none` leaves it to Node.
const how = process.argv[3] ?? 'graceful';
if (how === 'graceful') {
  gracefulShutdown({
    servers: [server],
    health,
    delay: '1500ms', // longer than clients take to notice that it is not ready
    pools: { work },
    onReport: (report) => process.send?.(report),
  });
} else if (how === 'close') {
  process.on('SIGTERM', () => {
    server.close(() => process.exit(0));
    setTimeout(() => process.exit(1), 5_000);
  });
}

process.on('disconnect', () => process.exit()); // nobody is left to end it
server.listen(port, '127.0.0.1');
await delay(100); // whatever has to be loaded first
isWarm = true;
process.send?.('started');
