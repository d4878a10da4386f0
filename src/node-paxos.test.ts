/** Nodes that run Multi-Paxos: what is theirs alone. The rest is in the suites, which run on both cores. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type NodeOptions, openNode } from './node.ts';
import { CrashDisk } from './testing/crash-disk.ts';

const PEERS = { a: 'http://127.0.0.1:0' };

/** A node that is alone in its cluster, on a disk in memory. */
function alone(disk: CrashDisk, more: Partial<NodeOptions> = {}): NodeOptions {
  return {
    name: 'a',
    dataDir: '/data',
    peers: PEERS,
    consensus: 'paxos',
    surroundings: { disk },
    ...more,
  };
}

test('what was written is there after restarts, and ballots are never used again', async () => {
  const disk = new CrashDisk();
  const terms: number[] = [];
  for (let life = 0; life < 3; life++) {
    const node = await openNode(alone(disk, { snapshotEntries: 5, keepEntries: 2 }));
    await node.ready();
    for (let i = 0; i < 20; i++) await node.kv.put(`key ${i}`, `life ${life}`);
    const found = await node.kv.get('key 7');
    assert.equal(Buffer.from(found?.value ?? '').toString(), `life ${life}`);
    terms.push(node.status().term);
    await node.close();
  }
  assert.deepEqual(terms, [1024, 2048, 3072]);
});

test('a folder of one consensus is refused by the other, and stays as it is', async () => {
  for (const [first, second] of [
    ['paxos', 'raft'],
    ['raft', 'paxos'],
  ] as const) {
    const disk = new CrashDisk();
    const node = await openNode(alone(disk, { consensus: first }));
    await node.kv.put('k', 'v');
    await node.close();
    await assert.rejects(openNode(alone(disk, { consensus: second })), {
      code: 'ERR_DATA_DIR_MISMATCH',
      message: new RegExp(`runs ${first}, but this one is to run ${second}`),
    });
    const again = await openNode(alone(disk, { consensus: first }));
    assert.notEqual(await again.kv.get('k'), null);
    await again.close();
  }
});

test('the members cannot be changed, and nobody can join', async () => {
  const node = await openNode(alone(new CrashDisk()));
  await node.ready();
  const member = { name: 'b', peerUrls: ['http://127.0.0.1:1'] };
  await assert.rejects(node.changeMembers([{ kind: 'add', member }]), {
    code: 'ERR_UNSUPPORTED',
    message: /members of a cluster that runs Paxos cannot be changed/,
  });
  await node.close();
  await assert.rejects(openNode(alone(new CrashDisk(), { join: true })), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /^join: /,
  });
});

test('a consensus that there is not is refused', async () => {
  const consensus = 'zab' as unknown as 'raft';
  await assert.rejects(openNode(alone(new CrashDisk(), { consensus })), {
    code: 'ERR_INVALID_ARGUMENT',
    message: "consensus: 'zab' is not known; use 'raft' or 'paxos'",
  });
});
