/** The suite of limiters on three embedded nodes, in turns on each of them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import type { QuorateNode } from '../../src/node.ts';
import { openThree } from './embedded.ts';
import { kvTarget, limiterSuite } from './limiters-support.ts';

describe('limiters on three embedded nodes', () => {
  let nodes: readonly QuorateNode[] = [];
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'quorate-limiters-'));
    nodes = await openThree(folder, 'raft');
  });
  after(async () => {
    await Promise.all(nodes.map((node) => node.close()));
    await rm(folder, { recursive: true });
  });
  limiterSuite(() => kvTarget(nodes.map((node) => node.kv)));
});
