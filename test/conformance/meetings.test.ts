/** Latches and barriers between several clients on real stores: three embedded nodes, and a real etcd. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { etcdKv } from '../../src/drivers/etcd/index.ts';
import type { Kv } from '../../src/kv/index.ts';
import { type Barrier, kvBarrier, kvLatch, type Latch } from '../../src/locks/index.ts';
import type { QuorateNode } from '../../src/node.ts';
import { until } from '../support/cluster.ts';
import { openThree } from './embedded.ts';

const ROUNDS = 5;
const PARTIES = 4;
const PATIENCE = { wait: '30s' } as const;

describe('meetings on three embedded nodes', () => {
  let nodes: readonly QuorateNode[] = [];
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'quorate-meetings-'));
    nodes = await openThree(folder, 'raft');
  });
  after(async () => {
    await Promise.all(nodes.map((node) => node.close()));
    await rm(folder, { recursive: true });
  });
  meetings(() => nodes.map((node) => node.kv));
});

const address = process.env['QUORATE_ETCD'];

if (address === undefined) {
  const reason = 'NO ETCD: set QUORATE_ETCD=host:port (npm run engines starts one)';
  const skip = process.env['QUORATE_REQUIRE_ENGINES'] === '1' ? false : reason;
  test('meetings on a real etcd', { skip }, () => assert.fail(reason));
} else {
  describe(`meetings on etcd at ${address}`, () => {
    const stores = [1, 2].map(() => etcdKv({ endpoints: address }));
    after(() => Promise.all(stores.map((store) => store.close())));
    meetings(() => stores);
  });
}

function meetings(stores: () => readonly Kv[]): void {
  const prefix = `meetings/${randomUUID()}`;

  /** One for each party, on the stores in turns. */
  function each<T>(open: (kv: Kv) => T): T[] {
    return Array.from({ length: PARTIES }, (_, i) => open(stores()[i % stores().length]!));
  }

  async function leavesNothing(name: string): Promise<void> {
    await until(`nothing is left under ${name}`, async () => {
      const { kvs } = await stores()[0]!.range({ prefix: name }, { keysOnly: true });
      return kvs.length === 0;
    });
  }

  test('a latch opens with the last count-down, for those who wait and those who come later', async () => {
    const name = `${prefix}/latch`;
    const latches: Latch[] = each((kv) => kvLatch(kv, name, { count: PARTIES, ttl: '2s' }));
    let through = 0;
    const waits = latches.map(async (latch) => {
      await latch.wait(PATIENCE);
      through += 1;
    });
    for (const [i, latch] of latches.entries()) {
      assert.equal(await latches.at(-1)!.remaining(), PARTIES - i);
      assert.equal(through, 0, 'somebody is through early');
      assert.equal(await latch.countDown(), PARTIES - i - 1);
    }
    await Promise.all(waits);
    const late = kvLatch(stores()[0]!, name, { count: PARTIES, ttl: '2s' });
    await late.wait(PATIENCE);
    await Promise.all([late, ...latches].map((latch) => latch.close()));
    await leavesNothing(name);
  });

  test('count-downs at the same time count once each', async () => {
    const name = `${prefix}/busy-latch`;
    const count = 10 * PARTIES;
    const latches = each((kv) => kvLatch(kv, name, { count, ttl: '2s' }));
    const counts = latches.flatMap((latch) => Array.from({ length: 10 }, () => latch.countDown()));
    const remaining = (await Promise.all(counts)).sort((a, b) => a - b);
    assert.deepEqual(
      remaining,
      remaining.map((_, i) => i),
      'each leaves one less',
    );
    await Promise.all(latches.map((latch) => latch.wait(PATIENCE)));
    await Promise.all(latches.map((latch) => latch.close()));
    await leavesNothing(name);
  });

  test('the parties of a barrier begin each round together and end it together', async () => {
    const name = `${prefix}/barrier`;
    const barriers: Barrier[] = each((kv) => kvBarrier(kv, name, { parties: PARTIES, ttl: '2s' }));
    const entered = Array.from({ length: ROUNDS }, () => 0);
    const done = Array.from({ length: ROUNDS }, () => 0);
    await Promise.all(
      barriers.map(async (barrier) => {
        for (let round = 0; round < ROUNDS; round++) {
          entered[round]! += 1;
          await barrier.enter(PATIENCE);
          assert.equal(entered[round], PARTIES, 'began before all had come');
          done[round]! += 1;
          await barrier.leave(PATIENCE);
          assert.equal(done[round], PARTIES, 'went on before all had done their work');
        }
      }),
    );
    await Promise.all(barriers.map((barrier) => barrier.close()));
    await leavesNothing(name);
  });

  test('a barrier is begun without a party that gave up, once another has come', async () => {
    const name = `${prefix}/given-up`;
    const barriers = each((kv) => kvBarrier(kv, name, { parties: PARTIES, ttl: '2s' }));
    const [first, ...others] = barriers;
    await assert.rejects(first!.enter({ wait: '100ms' }), { code: 'ERR_TIMEOUT' });
    await leavesNothing(name);
    const substitute = kvBarrier(stores()[0]!, name, { parties: PARTIES, ttl: '2s' });
    const places = await Promise.all([substitute, ...others].map((one) => one.enter(PATIENCE)));
    for (const place of places) place.assertHeld();
    await Promise.all([substitute, ...barriers].map((one) => one.close()));
    await leavesNothing(name);
  });
}
