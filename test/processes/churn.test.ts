/**
 * Leaders that die while clients hold leases and watches, and nodes that are killed and stopped
 * while snapshots, compactions and installs go on all the time. In the end all agree.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isQuorateError } from 'quorate';
import { etcdKv, etcdService } from 'quorate/drivers/etcd';
import type { Kv } from 'quorate/kv';
import { type Cluster, startCluster, until } from '../support/cluster.ts';

const timeout = 120_000;

async function withCluster(
  flags: readonly string[],
  run: (cluster: Cluster, kv: Kv) => Promise<void>,
): Promise<void> {
  const cluster = await startCluster({ flags });
  const kv = etcdKv({ endpoints: cluster.endpoints });
  try {
    await run(cluster, kv);
  } finally {
    await kv.close();
    await cluster.close();
  }
}

/** Keys written once each by several lanes; what is known of each. */
class Writes {
  readonly acknowledged = new Map<string, number>();
  readonly unknown = new Set<string>();
  readonly refused = new Set<string>();
  readonly #kv: Kv;
  readonly #lanes: Promise<void>[];
  #stopped = false;

  constructor(kv: Kv, lanes: number) {
    this.#kv = kv;
    this.#lanes = Array.from({ length: lanes }, (_, lane) => this.#run(lane));
  }

  async #run(lane: number): Promise<void> {
    let last = 0;
    for (let i = 0; !this.#stopped; i++) {
      const key = `w/${lane}/${i}`;
      try {
        const { revision } = await this.#kv.put(key, 'v'.repeat(i % 600));
        assert.ok(revision > last, 'revisions of one client grow');
        last = revision;
        this.acknowledged.set(key, revision);
      } catch (error) {
        if (!isQuorateError(error)) throw error;
        (error.outcome === 'unknown' ? this.unknown : this.refused).add(key);
        await delay(10); // the pace of tries while nobody serves
      }
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#lanes);
  }

  /** Each acknowledged write is there once, at its revision; no refused one is. */
  async verify(): Promise<number> {
    const { kvs, revision } = await this.#kv.range({ prefix: 'w/' });
    const found = new Map(kvs.map((entry) => [entry.key.toString(), entry]));
    for (const [key, at] of this.acknowledged) {
      assert.equal(found.get(key)?.modRevision, at, `acknowledged ${key}`);
    }
    for (const key of this.refused) assert.ok(!found.has(key), `refused ${key} was applied`);
    for (const [key, entry] of found) assert.equal(entry.version, 1, `${key} was applied twice`);
    return revision;
  }
}

/** Follows `w/` from the first revision: each key once, in order. */
class Follower {
  revision = 0;
  readonly keys: string[] = [];
  readonly #close: () => Promise<void>;
  readonly #done: Promise<void>;

  constructor(kv: Kv) {
    const watch = kv.watch({ prefix: 'w/' }, { fromRevision: 1 });
    this.#close = () => watch.close();
    this.#done = (async () => {
      for await (const { events } of watch) {
        for (const event of events) {
          assert.ok(event.kv.modRevision > this.revision, 'in order, none again');
          this.revision = event.kv.modRevision;
          this.keys.push(event.kv.key.toString());
        }
      }
    })();
    this.#done.catch(() => undefined);
  }

  /** Until it has seen all that is there; then nothing was lost or repeated. */
  async verify(kv: Kv): Promise<void> {
    const { kvs } = await kv.range({ prefix: 'w/' }, { keysOnly: true });
    const last = Math.max(...kvs.map((entry) => entry.modRevision));
    await until('the watch has seen all', () => this.revision >= last);
    await this.#close();
    await this.#done;
    assert.deepEqual(this.keys.toSorted(), kvs.map((entry) => entry.key.toString()).toSorted());
  }
}

async function assertAllAgree(cluster: Cluster, revision: number): Promise<void> {
  const service = etcdService({ endpoints: cluster.endpoints });
  try {
    await until('all hold the same', async () => {
      const hashes = await Promise.all(
        cluster.endpoints.map((endpoint) => service.hashKv(endpoint, { revision })),
      );
      return (
        new Set(hashes.map(({ hash, compactRevision }) => `${hash}/${compactRevision}`)).size === 1
      );
    });
  } finally {
    await service.close();
  }
}

test('nodes killed and stopped amid snapshots, compactions and installs agree in the end', {
  timeout,
}, async (t) => {
  const flags = ['--snapshot-count=50', '--snapshot-catchup-entries=20'];
  await withCluster(flags, async (cluster, kv) => {
    const writes = new Writes(kv, 16);
    const follower = new Follower(kv);
    // Behind what the watch has seen, which must not be cut off.
    const compactions = setInterval(() => {
      if (follower.revision > 300) kv.compact(follower.revision - 200).catch(() => undefined);
    }, 500);
    const [first, second, third] = cluster.members;
    try {
      for (let round = 0; round < 3; round++) {
        for (const member of [first!, second!, third!]) {
          await member.kill('SIGKILL');
          await delay(200 * round); // the length of the outage: with 50 entries a snapshot, enough to need one
          member.start();
          await cluster.awaitAnswer(member);
        }
        const stopped = cluster.members[round]!;
        await stopped.kill('SIGSTOP');
        await delay(1500);
        await stopped.kill('SIGCONT');
        if (round !== 1) continue;
        await Promise.all(cluster.members.map((member) => member.kill('SIGKILL')));
        for (const member of cluster.members) member.start();
        await cluster.awaitLeader();
      }
      await cluster.awaitLeader();
    } finally {
      clearInterval(compactions);
      await writes.stop();
    }
    t.diagnostic(
      `acknowledged ${writes.acknowledged.size}, unknown ${writes.unknown.size}, refused ${writes.refused.size}`,
    );
    assert.ok(writes.acknowledged.size > 1000, 'most of the time somebody serves');
    for (const member of cluster.members) assert.ok(member.running, member.output);
    const revision = await writes.verify();
    await follower.verify(kv);
    await assertAllAgree(cluster, revision);
  });
});

test('leases that are kept alive outlive their leaders, others end soon after their time', {
  timeout,
}, async (t) => {
  await withCluster([], async (cluster, kv) => {
    const TTL = 3000;
    const kept = await kv.grantLease(TTL);
    await kv.put('kept', 'x', { lease: kept.id });
    const keeping = setInterval(() => kv.keepAlive(kept.id).catch(() => undefined), 500);
    const watch = kv.watch({ prefix: 'left' }, { without: 'put' });
    await watch.created;
    const ended = new Map<string, number>();
    const left = new Map<string, number>();
    const ending = (async () => {
      for await (const { events } of watch) {
        for (const { kv } of events) ended.set(kv.key.toString(), performance.now());
        if (ended.size === 3) return;
      }
    })();
    try {
      for (let i = 0; i < 3; i++) {
        const { id, ttlMs } = await kv.grantLease(TTL);
        assert.equal(ttlMs, TTL);
        const key = `left/${i}`;
        await until('its key is put', () => kv.put(key, 'x', { lease: id }));
        left.set(key, performance.now());
        if (i === 2) break;
        const leader = await cluster.awaitLeader();
        await leader.kill('SIGKILL');
        await cluster.awaitLeader(cluster.members.filter((member) => member.running));
        leader.start();
        await cluster.awaitAnswer(leader);
      }
      await ending;
      for (const [key, at] of left) {
        const life = ended.get(key)! - at;
        t.diagnostic(`${key} lived ${Math.round(life)} ms`);
        // Granted a little before `at`. A new leader gives each lease its whole time again, and an election's.
        assert.ok(life > TTL - 500, `${key} ended after ${life} ms`);
        assert.ok(life < 3 * TTL + 6000, `${key} ended after ${life} ms`);
      }
      assert.equal((await kv.get('kept'))?.value.toString(), 'x');
      clearInterval(keeping);
      const stoppedAt = performance.now();
      await until(
        'the lease that nobody keeps ends',
        async () => (await kv.get('kept')) === undefined,
      );
      const life = performance.now() - stoppedAt;
      assert.ok(life < TTL + 2000, `it lived for ${life} ms`);
    } finally {
      clearInterval(keeping);
      await watch.close();
    }
  });
});

test('a watch across kills of the leader loses and repeats no event', { timeout }, async () => {
  await withCluster([], async (cluster, kv) => {
    const writes = new Writes(kv, 4);
    const follower = new Follower(kv);
    for (let i = 0; i < 3; i++) {
      const count = writes.acknowledged.size;
      await until('writes are acknowledged', () => writes.acknowledged.size > count + 100);
      const leader = await cluster.awaitLeader();
      await leader.kill('SIGKILL');
      await cluster.awaitLeader(cluster.members.filter((member) => member.running));
      leader.start();
      await cluster.awaitAnswer(leader);
    }
    await writes.stop();
    const revision = await writes.verify();
    await follower.verify(kv);
    await assertAllAgree(cluster, revision);
  });
});

test('a store over its quota refuses writes with NOSPACE until space is made', {
  timeout,
}, async () => {
  await withCluster(['--quota-backend-bytes=4000000'], async (cluster, kv) => {
    const service = etcdService({ endpoints: cluster.endpoints });
    try {
      const refused = await until('the quota is used up', () =>
        kv.put('q', 'v'.repeat(100_000)).then(
          () => undefined,
          (error: unknown) => error,
        ),
      );
      assert.ok(isQuorateError(refused, 'ERR_NO_SPACE'), String(refused));
      const alarms = await until('the alarm is on', async () => {
        const on = await service.alarms();
        return on.length > 0 && on;
      });
      assert.ok(alarms.every(({ alarm }) => alarm === 1));
      for (const endpoint of cluster.endpoints) {
        const one = etcdKv({ endpoints: [endpoint] });
        await assert.rejects(one.put('q', 'x'), { code: 'ERR_NO_SPACE' });
        assert.notEqual(await one.get('q'), undefined, 'reads are served');
        await one.close();
        assert.equal((await service.health(endpoint)).healthy, false);
      }
      const { revision } = await kv.delete({ prefix: 'q' });
      await kv.compact(revision, { physical: true });
      await assert.rejects(kv.put('q', 'x'), { code: 'ERR_NO_SPACE' }, 'the alarm is still on');
      for (const endpoint of cluster.endpoints) {
        // Every member drops history on its own; the one that was asked has done so.
        await until('the history is dropped', async () => {
          return (await service.status(endpoint)).dbSizeInUse < 1_000_000;
        });
        await service.defragment(endpoint);
      }
      for (const { memberId, alarm } of await service.alarms()) {
        await service.alarm({ action: 2, memberId, alarm });
      }
      assert.deepEqual(await service.alarms(), []);
      for (let i = 0; i < 5; i++) await kv.put('q', 'v'.repeat(100_000));
      const { revision: last } = await kv.range('q');
      await assertAllAgree(cluster, last);
    } finally {
      await service.close();
    }
  });
});
