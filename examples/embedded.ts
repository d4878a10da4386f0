// Three instances of a service that embed the quorum: configuration, a watch and a lock, no server.
// All in one process, for the example; in production each instance opens one node.
// Prints: watched: rate = 100
// Prints: instance b holds the lock, token 3

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openNode } from 'quorate';
import { kvLocks } from 'quorate/locks';

const peers = {
  a: 'http://127.0.0.1:27201',
  b: 'http://127.0.0.1:27202',
  c: 'http://127.0.0.1:27203',
};
const folder = await mkdtemp(join(tmpdir(), 'quorate-embedded-'));
{
  await using a = await openNode({ name: 'a', peers, dataDir: join(folder, 'a') });
  await using b = await openNode({ name: 'b', peers, dataDir: join(folder, 'b') });
  await using _c = await openNode({ name: 'c', peers, dataDir: join(folder, 'c') });

  await using watch = b.kv.watch({ prefix: 'config/' });
  await watch.created;
  await a.kv.put('config/rate', '100'); // durable on a majority when it resolves
  for await (const { events } of watch) {
    const { key, value } = events[0]!.kv;
    console.log(`watched: ${key.toString().slice('config/'.length)} = ${value}`);
    break;
  }

  await using locks = kvLocks(b.kv, { ttl: '10s' });
  await locks.run('nightly-report', async (lock) => {
    console.log(`instance b holds the lock, token ${lock.fencingToken}`);
  });
}
await rm(folder, { recursive: true });
