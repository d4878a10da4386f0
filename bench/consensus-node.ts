/**
 * One node of `consensus.ts` in a process of its own: a replica of a counter. Its parent tells it what to
 * do by messages: to write or read as fast as it can, or to probe, one write after the other, until it is
 * told to stop.
 */
import { openReplica } from 'quorate/consensus';
import type { NodeAnswer, NodeOrder, NodePlan } from './consensus-cluster.ts';

const plan = JSON.parse(process.argv[2]!) as NodePlan;
let count = 0;
const { replica, nodeId } = await openReplica<number>({
  ...plan,
  machine: {
    apply: () => ++count,
    *snapshot() {
      yield Buffer.from(String(count));
    },
    async restore(chunks) {
      for await (const chunk of chunks) count = Number(Buffer.from(chunk).toString());
    },
  },
});

const tell = (answer: NodeAnswer): void => void process.send!(answer);
let probing = false;

/** `total` times `once`, `concurrency` at a time: the rate, and how long each took. */
async function load(
  once: () => Promise<unknown>,
  concurrency: number,
  total: number,
): Promise<NodeAnswer> {
  const latencies = new Float64Array(total);
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < total) {
      const at = next++;
      const sentAt = performance.now();
      await once();
      latencies[at] = performance.now() - sentAt;
    }
  };
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: concurrency }, worker));
  const seconds = (performance.now() - startedAt) / 1000;
  latencies.sort();
  const at = (part: number): number => latencies[Math.floor(total * part)]!;
  return { kind: 'load', rate: total / seconds, p50: at(0.5), p99: at(0.99) };
}

/** Tells of every write that succeeds when it was sent and when it was answered. */
async function probe(): Promise<void> {
  const data = Buffer.alloc(16);
  while (probing) {
    const sentMs = Date.now();
    try {
      await replica.propose(data);
      tell({ kind: 'written', sentMs, doneMs: Date.now() });
    } catch {
      // Not during an election: it tries again.
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

process.on('message', async (order: NodeOrder) => {
  const { concurrency, total } = order;
  if (order.kind === 'status') {
    tell({ kind: 'status', leads: replica.status().leader === nodeId });
  } else if (order.kind === 'probe') {
    probing = true;
    void probe();
  } else if (order.kind === 'rest') {
    probing = false;
  } else {
    const data = Buffer.alloc(16);
    const once = order.kind === 'write' ? () => replica.propose(data) : () => replica.readBarrier();
    tell(await load(once, concurrency, total));
  }
});
// No node outlives the one that measures.
process.on('disconnect', () => process.exit());
await replica.readBarrier();
tell({ kind: 'ready' });
