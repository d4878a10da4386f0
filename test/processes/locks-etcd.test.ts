/** Locks and elections of ours and of etcd's own client tool, in the same queues of a real etcd. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { etcdKv } from '../../src/drivers/etcd/index.ts';
import type { Kv } from '../../src/kv/kv.ts';
import { kvElections, kvLocks } from '../../src/locks/index.ts';
import { elected } from '../../src/locks/testing.ts';
import { type EtcdCluster, engine, missingEtcd, startEtcd } from '../support/etcd.ts';

describe('on a real etcd', { skip: missingEtcd('etcd', 'etcdctl') }, () => {
  let etcd: EtcdCluster;
  let kv: Kv;

  before(async () => {
    etcd = await startEtcd(1);
    kv = etcdKv({ endpoints: etcd.endpoints });
  });
  after(async () => {
    await kv?.close();
    await etcd?.close();
  });

  /** Runs etcdctl until it is told to end. */
  function etcdctl(...args: string[]): { readonly child: ChildProcess; line(): Promise<string> } {
    const child = spawn(engine('etcdctl'), ['--endpoints', etcd.endpoints.join(','), ...args]);
    let out = '';
    child.stdout.on('data', (data: Buffer) => {
      out += data.toString();
    });
    return {
      child,
      async line() {
        while (!out.includes('\n')) await once(child.stdout, 'data');
        return out.slice(0, out.indexOf('\n'));
      },
    };
  }

  async function ended(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill('SIGINT');
    await exit;
  }

  /** Resolves when so many claims stand under the name. */
  async function queued(name: string, count: number): Promise<void> {
    while ((await kv.range({ prefix: `${name}/` }, { countOnly: true })).count !== count);
  }

  it('etcdctl waits for our lock, and we for its', async () => {
    const locks = kvLocks(kv);
    const lock = await locks.acquire('job');
    const tool = etcdctl('lock', 'job');
    await queued('job', 2);
    const third = locks.acquire('job');
    await queued('job', 3);
    await lock.release();
    const toolsKey = await tool.line();
    assert.match(toolsKey, /^job\/[0-9a-f]+$/);
    assert.equal(await locks.tryAcquire('job'), undefined);
    await ended(tool.child);
    const ours = await third;
    ours.assertHeld();
    assert.ok(ours.fencingToken > lock.fencingToken);
    await locks.close();
    await queued('job', 0);
  });

  it('etcdctl observes our leader, and we its', async () => {
    const elections = kvElections(kv);
    const leadership = await elected(elections, 'post', 'ours');
    const tool = etcdctl('elect', 'post', 'theirs');
    await queued('post', 2);
    assert.equal((await elections.leader('post'))!.value.toString(), 'ours');
    const listener = etcdctl('elect', '--listen', 'post');
    assert.equal(await listener.line(), leadership.holder);
    await ended(listener.child);
    const seen: string[] = [];
    for await (const leader of elections.observe('post')) {
      seen.push(leader?.value.toString() ?? 'nobody');
      if (seen.length === 1) void leadership.resign();
      if (leader?.value.toString() === 'theirs') break;
    }
    assert.equal(seen.at(-1), 'theirs');
    // It resigns when it is told to end only once it knows that it leads.
    await tool.line();
    await ended(tool.child);
    await elections.close();
    await queued('post', 0);
  });

  it('a holder whose key is deleted learns it within 50 ms', async () => {
    const locks = kvLocks(kv);
    const lock = await locks.acquire('stolen');
    const lost = once(lock.lost, 'abort');
    await kv.delete(lock.holder);
    const deletedAt = performance.now();
    await lost;
    assert.ok(performance.now() - deletedAt < 50 + 100, 'with a margin for a busy machine');
    await locks.close();
  });

  it('a holder whose process stood still past the time to live sees it at the first look', async () => {
    const [locks, others] = [kvLocks(kv, { ttl: '2s' }), kvLocks(kv)];
    const lock = await locks.acquire('stalled');
    const next = others.acquire('stalled');
    await queued('stalled', 2);
    const { lost } = lock;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2100);
    assert.equal(lost.aborted, true);
    assert.throws(() => lock.assertHeld(), { code: 'ERR_LOCK_LOST' });
    assert.ok((await next).fencingToken > lock.fencingToken);
    await Promise.all([locks.close(), others.close()]);
  });

  it('many claims of several Locks exclude each other and leave nothing', async () => {
    // etcdctl leaves its leases to run out.
    const leasesBefore = await kv.leases();
    const all = [kvLocks(kv), kvLocks(kv), kvLocks(kv)];
    let inside = 0;
    let lastToken = 0n;
    await Promise.all(
      Array.from({ length: 30 }, (_, i) =>
        all[i % 3]!.run('many', async (lock) => {
          inside += 1;
          assert.equal(inside, 1);
          assert.ok(lock.fencingToken > lastToken);
          lastToken = lock.fencingToken;
          await kv.get('x');
          inside -= 1;
        }),
      ),
    );
    await Promise.all(all.map((locks) => locks.close()));
    await queued('many', 0);
    assert.deepEqual(await kv.leases(), leasesBefore);
  });
});
