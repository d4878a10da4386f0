/**
 * 6.5840, parts 4B and 4C: a fault-tolerant key-value store, linearizable whatever happens, without
 * and with snapshots.
 */
import assert from 'node:assert/strict';
import type { KvCluster } from './kv-cluster.ts';
import { withStores } from './support.ts';

const STORM_MS = 500;

interface Trouble {
  readonly clients: number;
  /** How many keys all share. @defaultValue each client has its own */
  readonly keys?: number;
  readonly partitions?: boolean;
  /** All nodes lose power at once, after each storm. */
  readonly crash?: boolean;
}

/** The labs' generic test: storms, each followed by calm, crashes between them. */
async function storms(cluster: KvCluster, trouble: Trouble): Promise<void> {
  for (let round = 0; round < 2; round++) {
    const before = cluster.answered;
    const asking = cluster.clients(trouble.clients, STORM_MS, trouble.keys);
    if (trouble.partitions) await cluster.during(cluster.partitions(STORM_MS));
    if (trouble.crash) {
      await cluster.wait(trouble.partitions ? 0 : STORM_MS / 2);
      cluster.crash(...cluster.seats);
      await cluster.wait(50);
      await cluster.start(...cluster.seats);
    }
    await cluster.during(asking);
    await cluster.during(cluster.clients(trouble.clients, STORM_MS / 4, trouble.keys));
    assert.ok(cluster.answered > before, `${cluster}: there is progress`);
  }
}

const calm = { nodes: 5 };
const bad = { nodes: 5, unreliable: true };
const short = { nodes: 5, snapshotEntries: 20 };
const shortBad = { ...short, unreliable: true };

withStores('4B basic: one client', calm, (cluster) => storms(cluster, { clients: 1 }));

withStores('4B speed: a put waits for nothing but disks and network', calm, async (cluster) => {
  const leader = await cluster.leader();
  await cluster.during(leader.node!.ready());
  const beganMs = cluster.clock.now();
  for (let count = 0; count < 100; count++) {
    await cluster.during(leader.node!.kv.put('key', `${count}`));
  }
  // A heartbeat is every 10 ms, a way takes 1 ms.
  const eachMs = (cluster.clock.now() - beganMs) / 100;
  assert.ok(eachMs < 6, `${eachMs} ms for a put`);
});

withStores('4B concurrent: many clients', calm, (cluster) => storms(cluster, { clients: 8 }));
withStores('4B unreliable network, many clients', bad, (cluster) => {
  return storms(cluster, { clients: 8 });
});

withStores(
  '4B progress in the majority, none in the minority, completion after the heal',
  calm,
  async (cluster) => {
    const leader = await cluster.leader();
    const others = cluster.seats.filter((seat) => seat !== leader);
    const minority = [leader, others[0]!];
    await cluster.during(leader.node!.ready());
    cluster.partition(minority, others.slice(1));
    const stuck = [
      cluster.ask(1, leader, { op: 'put', key: 'key', value: 'in the minority' }),
      cluster.ask(2, minority[1]!, { op: 'get', key: 'key' }),
    ];
    let settled = 0;
    for (const one of stuck) void one.then((output) => output !== undefined && settled++);
    await cluster.until('the majority goes on', () =>
      others.slice(1).some(({ node }) => node!.status().role === 'leader'),
    );
    const there = others[1]!;
    const put = { op: 'put', key: 'key', value: 'in the majority' } as const;
    assert.notEqual(await cluster.during(cluster.ask(3, there, put)), undefined);
    assert.equal(settled, 0, 'nobody is answered in the minority');
    cluster.partition(cluster.seats);
    await cluster.during(Promise.all(stuck));
    const got = await cluster.during(cluster.ask(2, leader, { op: 'get', key: 'key' }));
    assert.ok(got?.found?.value?.startsWith('in the m'));
  },
);

withStores('4B many partitions, one client', calm, (cluster) => {
  return storms(cluster, { clients: 1, partitions: true });
});
withStores('4B many partitions, many clients, the same keys', calm, (cluster) => {
  return storms(cluster, { clients: 6, keys: 2, partitions: true });
});

withStores('4B persistence: restarts, one client', calm, (cluster) => {
  return storms(cluster, { clients: 1, crash: true });
});
withStores('4B persistence: restarts, many clients', calm, (cluster) => {
  return storms(cluster, { clients: 6, crash: true });
});
withStores('4B persistence: restarts, unreliable network, many clients', bad, (cluster) => {
  return storms(cluster, { clients: 6, crash: true });
});
withStores('4B persistence: restarts, partitions, many clients', calm, (cluster) => {
  return storms(cluster, { clients: 6, crash: true, partitions: true });
});
withStores(
  '4B persistence: restarts, partitions, unreliable network, the same keys (linearizable)',
  { ...bad, seeds: 2 },
  (cluster) => storms(cluster, { clients: 8, keys: 2, crash: true, partitions: true }),
);

withStores(
  '4C install snapshot: who was away gets the state',
  { ...short, nodes: 3 },
  async (cluster) => {
    await cluster.during(cluster.clients(2, 100));
    const leader = await cluster.leader();
    const away = cluster.seats.find((seat) => seat !== leader)!;
    cluster.disconnect(away);
    for (let count = 0; count < 60; count++) {
      await cluster.during(cluster.ask(1, leader, { op: 'put', key: 'key', value: `${count}` }));
    }
    assert.ok(leader.node!.status().firstIndex > away.node!.status().lastIndex + 1);
    cluster.connect(away);
    await cluster.until('it has what the leader has', () => {
      return away.node!.status().appliedIndex >= leader.node!.status().commitIndex;
    });
    // Now it must be able to do without the other.
    cluster.disconnect(leader);
    const got = await cluster.during(cluster.ask(2, away, { op: 'get', key: 'key' }));
    if (got !== undefined) assert.equal(got.found?.value, '59');
  },
);

withStores('4C the log and the snapshot stay small', { ...short, nodes: 3 }, async (cluster) => {
  const leader = await cluster.leader();
  for (let count = 0; count < 150; count++) {
    const value = 'x'.repeat(1000) + count;
    await cluster.during(cluster.ask(1, leader, { op: 'put', key: `key ${count % 3}`, value }));
  }
  await cluster.wait(100);
  for (const { node } of cluster.seats) {
    const { firstIndex, lastIndex, snapshotIndex } = node!.status();
    assert.ok(lastIndex - firstIndex < 60, 'what is in a snapshot leaves the log');
    assert.ok(lastIndex - snapshotIndex < 60);
  }
});

withStores('4C speed: a put does not wait for a snapshot', short, async (cluster) => {
  const leader = await cluster.leader();
  await cluster.during(leader.node!.ready());
  const beganMs = cluster.clock.now();
  for (let count = 0; count < 100; count++) {
    await cluster.during(leader.node!.kv.put('key', `${count}`));
  }
  assert.ok(cluster.clock.now() - beganMs < 600);
});

withStores('4C snapshots: restarts, one client', short, (cluster) => {
  return storms(cluster, { clients: 1, crash: true });
});
withStores('4C snapshots: restarts, many clients', short, (cluster) => {
  return storms(cluster, { clients: 8, crash: true });
});
withStores('4C snapshots: unreliable network, many clients', shortBad, (cluster) => {
  return storms(cluster, { clients: 6 });
});
withStores('4C snapshots: unreliable network, restarts, many clients', shortBad, (cluster) => {
  return storms(cluster, { clients: 6, crash: true });
});
withStores(
  '4C snapshots: unreliable network, restarts, partitions, the same keys (linearizable)',
  { ...shortBad, seeds: 2 },
  (cluster) => storms(cluster, { clients: 8, keys: 2, crash: true, partitions: true }),
);
