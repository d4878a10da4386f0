/**
 * Our client on a real three-member etcd cluster while members are killed, stopped and asked for
 * passwords.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import { isQuorateError } from '../../src/core/errors.ts';
import { etcdKv, etcdService } from '../../src/drivers/etcd/index.ts';
import type { Kv } from '../../src/kv/kv.ts';
import { until } from '../support/cluster.ts';
import { engine, missingEtcd, startEtcd } from '../support/etcd.ts';

const skip = missingEtcd('etcd', 'etcdctl');

function etcdctl(endpoints: readonly string[], ...args: string[]): string {
  const flags = ['--endpoints', endpoints.join(','), '--command-timeout=10s'];
  return execFileSync(engine('etcdctl'), [...flags, ...args], { encoding: 'utf8' });
}

/** Writes keys until told to stop; knows of each whether it was acknowledged. */
class Writer {
  readonly acknowledged: string[] = [];
  readonly unknown: string[] = [];
  readonly refused: unknown[] = [];
  #stopped = false;
  readonly #kv: Kv;
  readonly #lanes: Promise<void>[];

  constructor(kv: Kv, lanes: number) {
    this.#kv = kv;
    this.#lanes = Array.from({ length: lanes }, (_, lane) => this.#run(lane));
  }

  async #run(lane: number): Promise<void> {
    for (let i = 0; !this.#stopped && this.refused.length === 0; i++) {
      const key = `w/${lane}/${i}`;
      try {
        await this.#kv.put(key, key);
        this.acknowledged.push(key);
      } catch (error) {
        if (isQuorateError(error) && error.outcome === 'unknown') this.unknown.push(key);
        else this.refused.push(error);
      }
    }
  }

  async reach(count: number): Promise<void> {
    const target = this.acknowledged.length + count;
    await until(`${count} more writes`, () => {
      assert.deepEqual(this.refused, []);
      return this.acknowledged.length >= target;
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#lanes);
  }
}

/** Follows a prefix and keeps every event; ends when `close` is called. */
function follow(
  kv: Kv,
  prefix: string,
): { seen: string[]; revision(): number; close(): Promise<void> } {
  const watch = kv.watch({ prefix }, { fromRevision: 1 });
  const seen: string[] = [];
  let revision = 0;
  const done = (async () => {
    for await (const batch of watch) {
      for (const { kv } of batch.events) seen.push(kv.key.toString());
      revision = batch.revision;
    }
  })();
  return {
    seen,
    revision: () => revision,
    async close() {
      await watch.close();
      await done;
    },
  };
}

test('members killed and stopped under load: nothing acknowledged is missing, no event twice', {
  skip,
}, async () => {
  const cluster = await startEtcd(3);
  try {
    await using kv = etcdKv({ endpoints: cluster.endpoints });
    const writer = new Writer(kv, 8);
    const follower = follow(kv, 'w/');
    await writer.reach(200);
    // A member that only sleeps keeps its connections open.
    const leader = cluster.endpoints.indexOf(cluster.leader()!);
    process.kill(cluster.pids[leader]!, 'SIGSTOP');
    await writer.reach(200);
    process.kill(cluster.pids[leader]!, 'SIGCONT');
    await writer.reach(200);
    process.kill(cluster.pids[(leader + 1) % 3]!, 'SIGKILL');
    await writer.reach(200);
    await writer.stop();
    const { kvs, revision } = await kv.range({ prefix: 'w/' });
    const stored = new Map(kvs.map(({ key, version }) => [key.toString(), version]));
    assert.deepEqual(
      writer.acknowledged.filter((key) => stored.get(key) !== 1),
      [],
      'every acknowledged key is there, written once',
    );
    assert.deepEqual(writer.refused, []);
    const known = new Set([...writer.acknowledged, ...writer.unknown]);
    assert.deepEqual(
      [...stored.keys()].filter((key) => !known.has(key)),
      [],
    );
    await until('the watch has caught up', () => follower.revision() >= revision);
    assert.deepEqual(
      follower.seen.toSorted(),
      [...stored.keys()].toSorted(),
      'the watch delivered every write once',
    );
    await follower.close();
  } finally {
    await cluster.close();
  }
});

test('a stopped member does not cost a lease its renewals', { skip }, async () => {
  const cluster = await startEtcd(3);
  try {
    await using kv = etcdKv({ endpoints: cluster.endpoints });
    const lease = await kv.grantLease('5s');
    for (const stopped of [0, 1, 2]) {
      await kv.keepAlive(lease.id);
      process.kill(cluster.pids[stopped]!, 'SIGSTOP');
      assert.equal(await kv.keepAlive(lease.id), 5_000);
      process.kill(cluster.pids[stopped]!, 'SIGCONT');
      await until('a leader answers', () => kv.keepAlive(lease.id).then((ms) => ms === 5_000));
    }
  } finally {
    await cluster.close();
  }
});

test('members, leader and health are told as they are, also of a member that is dead', {
  skip,
}, async () => {
  const cluster = await startEtcd(3);
  const service = etcdService({ endpoints: cluster.endpoints });
  try {
    const { members } = await service.memberList();
    assert.deepEqual(members.map(({ name }) => name).toSorted(), ['e1', 'e2', 'e3']);
    const { leader } = await service.status(cluster.endpoints[0]!);
    const next = members.find(({ id }) => id !== leader)!;
    await service.moveLeader(next.id);
    await until('the leadership has moved', async () => {
      return (await service.status(cluster.endpoints[1]!)).leader === next.id;
    });
    const hashes = await Promise.all(cluster.endpoints.map((one) => service.hashKv(one)));
    assert.equal(new Set(hashes.map(({ hash }) => hash)).size, 1);
    process.kill(cluster.pids[2]!, 'SIGKILL');
    await assert.rejects(service.status(cluster.endpoints[2]!));
    const health = await Promise.all(cluster.endpoints.map((one) => service.health(one)));
    assert.equal(health[2]?.healthy, false);
    assert.deepEqual(await service.alarms(), []);
  } finally {
    await service.close();
    await cluster.close();
  }
});

test('with authentication on, a changed password costs one more login and no call', {
  skip,
}, async () => {
  const cluster = await startEtcd(1);
  const [endpoint] = cluster.endpoints;
  try {
    const ctl = (...args: string[]): string => etcdctl(cluster.endpoints, ...args);
    const asRoot = ['--user', 'root:first'];
    ctl('user', 'add', 'root:first');
    ctl('user', 'grant-role', 'root', 'root');
    ctl('auth', 'enable');
    const auth = { username: 'root', password: 'first' };
    await using kv = etcdKv({ endpoints: endpoint!, auth });
    await kv.put('a', '1');
    const watch = kv.watch('a', { fromRevision: 1 });
    await watch.created;
    const lease = await kv.grantLease('60s');
    // Any change to the user ends its tokens.
    ctl(...asRoot, 'role', 'add', 'other');
    ctl(...asRoot, 'user', 'grant-role', 'root', 'other');
    await kv.put('a', '2');
    assert.equal(await kv.keepAlive(lease.id), 60_000);
    const late = kv.watch('a', { fromRevision: 1 });
    for (const one of [watch, late]) {
      const values: string[] = [];
      for await (const { events } of one) {
        values.push(...events.map(({ kv }) => kv.value.toString()));
        if (values.length === 2) break;
      }
      assert.deepEqual(values, ['1', '2']);
    }
    await using nobody = etcdKv({ endpoints: endpoint! });
    await assert.rejects(nobody.get('a'), (error) => isQuorateError(error, 'ERR_UNAUTHENTICATED'));
    await assert.rejects(nobody.watch('a').created, (error) =>
      isQuorateError(error, 'ERR_UNAUTHENTICATED'),
    );
  } finally {
    await cluster.close();
  }
});
