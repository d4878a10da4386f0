/**
 * NAME FOLDER PORT PORT PORT: one node of an embedded quorum. Its parent tells it by messages to say whether it leads, or
 * to lock, inside of this process.
 */
import { join } from 'node:path';
import { openNode } from 'quorate';
import { kvLocks } from 'quorate/locks';
import { pairs, queue } from './locks-load.ts';

export interface NodeOrder {
  readonly task: 'leads' | 'pairs' | 'queue';
  readonly lanes: number;
  readonly ms: number;
}

const [name = '', folder = '', ...ports] = process.argv.slice(2);
const urls = ports.map((port, i) => [`n${i + 1}`, `http://127.0.0.1:${port}`] as const);
const node = await openNode({
  name,
  peers: Object.fromEntries(urls),
  dataDir: join(folder, name),
});
const locks = kvLocks(node.kv);

async function take(key: string) {
  const lock = await locks.acquire(key);
  return { token: lock.fencingToken, giveBack: () => lock.release() };
}

async function answer({ task, lanes, ms }: NodeOrder): Promise<unknown> {
  if (task === 'pairs') return pairs(take, lanes, ms);
  if (task === 'queue') return queue(take, lanes, ms);
  const { leader, id } = node.status();
  return leader === id;
}

process.on('message', async (order: NodeOrder) => {
  process.send!(await answer(order));
});
// No node outlives the one that measures.
process.on('disconnect', () => process.exit());
await node.ready();
process.send!('ready');
