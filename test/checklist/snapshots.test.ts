/** 6.5840, part 3D: the log stays short, and who was away gets the state instead. Real log files. */
import assert from 'node:assert/strict';
import type { JournalCluster, JournalNode } from './journal-cluster.ts';
import type { NodeSeat } from './node-cluster.ts';
import { withReplicas } from './support.ts';

const EVERY = 10;

interface Trouble {
  readonly disconnect?: boolean;
  readonly crash?: boolean;
}

/** Entries in memory: what a snapshot made needless is gone. */
function checkLogs(cluster: JournalCluster): void {
  for (const { node } of cluster.running) {
    const { firstIndex, lastIndex } = node!.replica.status();
    assert.ok(lastIndex - firstIndex < 5 * EVERY, `${cluster}: ${firstIndex} to ${lastIndex}`);
  }
}

/** One node after the other misses more than a snapshot holds. */
async function rounds(cluster: JournalCluster, trouble: Trouble): Promise<void> {
  const all = cluster.seats.length;
  await cluster.one('first', all);
  let leader = await cluster.leader();
  for (let round = 0; round < 12; round++) {
    const follower = cluster.seat(cluster.seats.indexOf(leader) + 1);
    const [victim, sender] = round % 3 === 1 ? [leader, follower] : [follower, leader];
    if (trouble.disconnect) cluster.disconnect(victim);
    if (trouble.crash) cluster.crash(victim);
    const away = trouble.disconnect === true || trouble.crash === true;
    if (away) await cluster.one(`${round} away`, all - 1);
    const count = EVERY / 2 + cluster.random.below(EVERY) + (away ? EVERY : 0);
    await burst(cluster, sender, `${round}`, count);
    await cluster.one(`${round} sent`, away ? all - 1 : all);
    if (away) await backAgain(cluster, victim, `${round}`);
    leader = await cluster.leader();
  }
  await cluster.until('the logs are short', () => {
    return cluster.seats.every(({ node }) => node!.replica.status().snapshotIndex > 8 * EVERY);
  });
  checkLogs(cluster);
}

async function burst(
  cluster: JournalCluster,
  sender: NodeSeat<JournalNode>,
  name: string,
  count: number,
): Promise<void> {
  const texts = Array.from({ length: count }, (_, at) => `${name}/${at}`);
  await cluster.during(Promise.all(texts.map((text) => cluster.submit(sender, text))));
}

async function backAgain(
  cluster: JournalCluster,
  victim: NodeSeat<JournalNode>,
  name: string,
): Promise<void> {
  if (victim.node === undefined) await cluster.start(victim);
  cluster.connect(victim);
  await cluster.one(`${name} back`, cluster.seats.length);
}

const every = { nodes: 3, snapshotEntries: EVERY };
const bad = { ...every, unreliable: true, seeds: 2 };

withReplicas('3D snapshots basic', { ...every, seeds: 1 }, (cluster) => rounds(cluster, {}));
withReplicas('3D install snapshots (disconnect)', every, (cluster) =>
  rounds(cluster, { disconnect: true }),
);
withReplicas('3D install snapshots (disconnect, unreliable)', bad, (cluster) =>
  rounds(cluster, { disconnect: true }),
);
withReplicas('3D install snapshots (crash)', every, (cluster) => rounds(cluster, { crash: true }));
withReplicas('3D install snapshots (crash, unreliable)', bad, (cluster) =>
  rounds(cluster, { crash: true }),
);

withReplicas('3D crash and restart of all nodes', every, async (cluster) => {
  await cluster.one('first', 3);
  for (let round = 0; round < 5; round++) {
    const count = EVERY / 2 + cluster.random.below(EVERY);
    let newest = 0;
    for (let at = 0; at < count; at++) newest = await cluster.one(`${round}/${at}`, 3);
    await cluster.restart(...cluster.seats);
    await cluster.until('the journals are back', () => cluster.appliedBy(newest) === 3);
    const next = await cluster.one(`${round} again`, 3);
    assert.ok(next > newest);
  }
});

withReplicas('3D snapshot initialization after crash', every, async (cluster) => {
  await cluster.one('first', 3);
  const count = EVERY + cluster.random.below(EVERY);
  for (let at = 0; at < count; at++) await cluster.one(`a${at}`, 3);
  await cluster.restart(...cluster.seats);
  await cluster.one('one only', 3);
  // What the second start finds was written on top of the first one's snapshot.
  await cluster.restart(...cluster.seats);
  await cluster.one('and another', 3);
  assert.equal(cluster.seat(0).node!.journal.commands.length, cluster.order.length);
});
