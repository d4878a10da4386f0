/** The suites of locks and elections, and of transaction locks, on three embedded nodes, clients in turns on each of them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import type { LockLacks, LocksTarget } from '../../src/conformance/index.ts';
import { kvTxnLocks } from '../../src/locks/index.ts';
import type { QuorateNode } from '../../src/node.ts';
import { openThree } from './embedded.ts';
import { block, KV_LACKS, kvTarget, lockSuites, TXN_LACKS } from './locks-over-kv.ts';

let nodes: readonly QuorateNode[] = [];
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quorate-locks-'));
  nodes = await openThree(folder, 'raft');
});
after(async () => {
  await Promise.all(nodes.map((node) => node.close()));
  await rm(folder, { recursive: true });
});

describe('locks on three embedded nodes', () => {
  suites(KV_LACKS);
});
describe('transaction locks on three embedded nodes', () => {
  suites(TXN_LACKS, kvTxnLocks);
});

function suites(lacks: LockLacks, locks?: typeof kvTxnLocks): void {
  let target: LocksTarget;
  before(() => {
    const stores = nodes.map((node) => node.kv);
    const options = { stores, ttlMs: 2000, expiryMs: 3000, stall: block };
    target = kvTarget(locks === undefined ? options : { ...options, locks });
  });
  lockSuites(() => target, lacks);
}
