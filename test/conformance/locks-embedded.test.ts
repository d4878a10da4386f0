/** The suites of locks and elections on three embedded nodes, clients in turns on each of them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import type { LocksTarget } from '../../src/conformance/index.ts';
import type { QuorateNode } from '../../src/node.ts';
import { openThree } from './embedded.ts';
import { block, KV_LACKS, kvTarget, lockSuites } from './locks-over-kv.ts';

describe('locks on three embedded nodes', () => {
  let nodes: readonly QuorateNode[] = [];
  let folder: string;
  let target: LocksTarget;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'quorate-locks-'));
    nodes = await openThree(folder, 'raft');
    const stores = nodes.map((node) => node.kv);
    target = kvTarget({ stores, ttlMs: 2000, expiryMs: 3000, stall: block });
  });
  after(async () => {
    await Promise.all(nodes.map((node) => node.close()));
    await rm(folder, { recursive: true });
  });
  lockSuites(() => target, KV_LACKS);
});
