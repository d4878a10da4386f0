/**
 * Real processes that are killed, stopped and restarted under load. What was acknowledged is there,
 * once; what was refused is not; what is unknown is counted apart.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isQuorateError } from 'quorate';
import { etcdKv } from 'quorate/drivers/etcd';
import type { Kv } from 'quorate/kv';
import { type Cluster, startCluster, until } from '../support/cluster.ts';

interface Tally {
  readonly acknowledged: Set<number>;
  readonly refused: Set<number>;
  readonly unknown: Set<number>;
}

/** Puts `count` keys of their own, `concurrency` at a time, once each: never tried again. */
async function writeKeys(
  kv: Kv,
  prefix: string,
  count: number,
  concurrency: number,
): Promise<Tally> {
  const tally: Tally = { acknowledged: new Set(), refused: new Set(), unknown: new Set() };
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const i = next++;
      try {
        await kv.put(`${prefix}${i}`, String(i));
        tally.acknowledged.add(i);
      } catch (error) {
        if (!isQuorateError(error)) throw error;
        (error.outcome === 'unknown' ? tally.unknown : tally.refused).add(i);
      }
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return tally;
}

async function assertExactlyTheAcknowledged(kv: Kv, prefix: string, tally: Tally): Promise<void> {
  const { kvs } = await kv.range({ prefix });
  const found = new Map(kvs.map((entry) => [Number(entry.value.toString()), entry]));
  for (const i of tally.acknowledged) assert.ok(found.has(i), `acknowledged write ${i} is missing`);
  for (const i of tally.refused) assert.ok(!found.has(i), `refused write ${i} was applied`);
  for (const [i, entry] of found) {
    assert.equal(entry.version, 1, `write ${i} was applied ${entry.version} times`);
  }
}

async function withCluster(
  options: Parameters<typeof startCluster>[0],
  run: (cluster: Cluster, kv: Kv) => Promise<void>,
): Promise<void> {
  const cluster = await startCluster(options);
  const kv = etcdKv({ endpoints: cluster.endpoints });
  try {
    await run(cluster, kv);
  } finally {
    await kv.close();
    await cluster.close();
  }
}

test('10,000 writes survive five kills of the leader, then a kill of all three', {
  timeout: 180_000,
}, async (t) => {
  await withCluster({}, async (cluster, kv) => {
    let done = false;
    const writing = writeKeys(kv, 'k/', 10_000, 64).finally(() => {
      done = true;
    });
    let kills = 0;
    while (kills < 5) {
      const leader = await cluster.awaitLeader();
      await delay(done ? 0 : 150); // let writes be in flight: the pace of the faults, not a wait for a condition
      await leader.kill('SIGKILL');
      kills += 1;
      await cluster.awaitLeader(cluster.members.filter((member) => member.running));
      leader.start();
      await cluster.awaitAnswer(leader);
    }
    const tally = await writing;
    t.diagnostic(
      `acknowledged ${tally.acknowledged.size}, unknown ${tally.unknown.size}, refused ${tally.refused.size}`,
    );
    assert.ok(tally.acknowledged.size > 5000, 'most writes are acknowledged despite the kills');
    await assertExactlyTheAcknowledged(kv, 'k/', tally);

    await Promise.all(cluster.members.map((member) => member.kill('SIGKILL')));
    for (const member of cluster.members) member.start();
    await cluster.awaitLeader();
    await assertExactlyTheAcknowledged(kv, 'k/', tally);
  });
});

test('a node that missed 100,000 writes catches up by snapshot while the others serve', {
  timeout: 300_000,
}, async (t) => {
  await withCluster({}, async (cluster, kv) => {
    const leader = await cluster.awaitLeader();
    const absent = cluster.members.find((member) => member !== leader)!;
    await absent.kill('SIGKILL');
    let next = 0;
    const value = 'x'.repeat(64);
    await Promise.all(
      Array.from({ length: 256 }, async () => {
        while (next < 100_000) await kv.put(`m/${next++ % 10_000}`, value);
      }),
    );
    const { revision } = await kv.range('m/0');
    absent.start();
    const startedAt = performance.now();
    const late = etcdKv({ endpoints: [absent.endpoint] });
    let slowest = 0;
    try {
      await until(
        'the absent node has caught up',
        async () => {
          const putAt = performance.now();
          await kv.put('m/alive', 'yes');
          slowest = Math.max(slowest, performance.now() - putAt);
          return (await late.range('m/0', { serializable: true })).revision >= revision;
        },
        60_000,
      );
      t.diagnostic(
        `caught up in ${Math.round(performance.now() - startedAt)} ms; slowest write meanwhile ${Math.round(slowest)} ms`,
      );
      const [mine, theirs] = await Promise.all([
        late.range({ prefix: 'm/' }),
        kv.range({ prefix: 'm/' }),
      ]);
      assert.deepEqual(
        mine.kvs.map((entry) => [entry.key.toString(), entry.modRevision, entry.version]),
        theirs.kvs.map((entry) => [entry.key.toString(), entry.modRevision, entry.version]),
      );
    } finally {
      await late.close();
    }
  });
});

test('a stopped leader is replaced within two election timeouts and serves nothing stale when it wakes', {
  timeout: 120_000,
}, async (t) => {
  await withCluster({}, async (cluster, kv) => {
    await kv.put('s', 'before');
    const old = await cluster.awaitLeader();
    const rest = cluster.members.filter((member) => member !== old);
    const oldKv = etcdKv({ endpoints: [old.endpoint] });
    const restKv = etcdKv({ endpoints: rest.map((member) => member.endpoint) });
    try {
      await oldKv.get('s');
      await old.kill('SIGSTOP');
      const stoppedAt = performance.now();
      // The first tries may have been handed to the sleeping leader: unknown, and safe to repeat.
      await until('a write is acknowledged', () => restKv.put('s', 'after'));
      const servedIn = performance.now() - stoppedAt;
      t.diagnostic(`writes again after ${Math.round(servedIn)} ms`);
      // Two election timeouts of at most 2 s each (Raft draws from [1, 2) timeouts), plus slack for a busy machine.
      assert.ok(servedIn < 4000, `a new leader served after ${Math.round(servedIn)} ms`);
      // Asked while it sleeps, answered when it wakes: none may be the old value.
      const asked = Array.from({ length: 50 }, () => oldKv.get('s').catch(() => undefined));
      await delay(10_000 - servedIn);
      await old.kill('SIGCONT');
      for (const answer of await Promise.all(asked)) {
        if (answer !== undefined) assert.equal(answer.value.toString(), 'after');
      }
      for (let i = 0; i < 100; i++) {
        const answer = await oldKv.get('s').catch(() => undefined);
        if (answer !== undefined) assert.equal(answer.value.toString(), 'after');
      }
      const leader = await cluster.awaitLeader();
      assert.notEqual(leader, old, 'the old leader stepped down');
    } finally {
      await oldKv.close();
      await restKv.close();
    }
  });
});
