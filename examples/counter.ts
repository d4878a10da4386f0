// A state machine of your own on the replicated log: a counter that survives the loss of a node.
// Three replicas in one process, for the example; in production each is in its own.
// Prints: counted to 3, and 3 again after a restart

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openReplica, type StateMachine } from 'quorate/consensus';

class Counter implements StateMachine<number> {
  #count = 0;

  // The same entries in the same order on every node: no clock, no randomness, no I/O in here.
  apply(data: Uint8Array): number {
    this.#count += data[0] ?? 0;
    return this.#count;
  }

  // The value is taken now; the log goes on while it is written out.
  snapshot(): Iterable<Uint8Array> {
    return [Buffer.from(String(this.#count))];
  }

  async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const chunk of chunks) this.#count = Number(Buffer.from(chunk).toString());
  }

  get count(): number {
    return this.#count;
  }
}

const peers = {
  a: 'http://127.0.0.1:27101',
  b: 'http://127.0.0.1:27102',
  c: 'http://127.0.0.1:27103',
};
const folder = await mkdtemp(join(tmpdir(), 'quorate-counter-'));

async function open(name: string) {
  const machine = new Counter();
  const { replica } = await openReplica({ name, peers, machine, dataDir: join(folder, name) });
  return { machine, replica };
}

const names = Object.keys(peers);
let cluster = await Promise.all(names.map(open));
const [first] = cluster;
for (let i = 0; i < 2; i++) await first!.replica.propose(Uint8Array.of(1));
const counted = await first!.replica.propose(Uint8Array.of(1)); // durable on a majority

await Promise.all(cluster.map(({ replica }) => replica.close()));
cluster = await Promise.all(names.map(open));
await cluster[1]!.replica.readBarrier(); // everything committed before this line is applied here
console.log(`counted to ${counted}, and ${cluster[1]!.machine.count} again after a restart`);

await Promise.all(cluster.map(({ replica }) => replica.close()));
await rm(folder, { recursive: true });
