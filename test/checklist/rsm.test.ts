/** 6.5840, part 4A: a replicated state machine answers each command once, with its own result. */
import assert from 'node:assert/strict';
import type { JournalCluster } from './journal-cluster.ts';
import { withReplicas } from './support.ts';

type Outcome = number | 'not-applied' | 'unknown';

/** Many at once, at all nodes in turn. */
function submitMany(cluster: JournalCluster, name: string, count: number): Promise<Outcome[]> {
  const texts = Array.from({ length: count }, (_, at) => `${name}/${at}`);
  return Promise.all(texts.map((text, at) => cluster.submit(cluster.seat(at), text)));
}

const three = { nodes: 3, seeds: 2 };

withReplicas('4A basic: each submission is answered with its place', three, async (cluster) => {
  for (let count = 0; count < 10; count++) {
    assert.equal(await cluster.one(`${count}`, 3), count, 'no other command got in between');
  }
});

withReplicas('4A concurrent: fifty at a time, each applied once', three, async (cluster) => {
  await cluster.one('first', 3);
  const places = await cluster.during(submitMany(cluster, 'c', 50));
  assert.deepEqual(
    places.toSorted((a, b) => Number(a) - Number(b)),
    Array.from({ length: 50 }, (_, at) => at + 1),
  );
});

withReplicas('4A leader failure: the others go on, it catches up', three, async (cluster) => {
  await cluster.one('first', 3);
  const leader = await cluster.leader();
  cluster.disconnect(leader);
  await cluster.one('without it', 2);
  assert.equal(leader.node!.journal.commands.includes('without it'), false);
  cluster.connect(leader);
  await cluster.one('with it', 3);
});

withReplicas(
  '4A leader partition: what a leader without followers takes is not answered',
  three,
  async (cluster) => {
    await cluster.one('first', 3);
    const leader = await cluster.leader();
    const others = cluster.seats.filter((seat) => seat !== leader);
    cluster.partition([leader], others);
    const texts = Array.from({ length: 100 }, (_, at) => `alone ${at}`);
    const alone = texts.map((text) => cluster.submit(leader, text));
    let answered = 0;
    for (const one of alone) void one.then((place) => typeof place === 'number' && answered++);
    await cluster.until('the others have a leader', () =>
      others.some(({ node }) => node!.status().role === 'leader'),
    );
    const other = others.find(({ node }) => node!.status().role === 'leader')!;
    assert.equal(typeof (await cluster.during(cluster.submit(other, 'together'))), 'number');
    assert.equal(answered, 0);
    cluster.partition(cluster.seats);
    const outcomes = await cluster.during(Promise.all(alone));
    for (const [at, outcome] of outcomes.entries()) {
      const isApplied = cluster.place(texts[at]!) !== undefined;
      if (outcome === 'not-applied') assert.ok(!isApplied, 'what is said not to be is not');
      if (typeof outcome === 'number') assert.ok(isApplied);
    }
  },
);

withReplicas('4A restart replay: the log brings the state back', three, async (cluster) => {
  for (let count = 0; count < 100; count++) await cluster.one(`${count}`, 1);
  const before = cluster.order.length;
  await cluster.restart(...cluster.seats);
  await cluster.until('all is back', () => cluster.appliedBy(before - 1) === 3);
  assert.equal(await cluster.one('after', 3), before, 'not one command more or less');
});

withReplicas('4A shutdown: every submission is answered', three, async (cluster) => {
  await cluster.one('first', 3);
  const pending = submitMany(cluster, 's', 100);
  await cluster.wait(1 + cluster.random.below(3));
  const closing = cluster.seats.map((seat) => seat.node!.close());
  const outcomes = await cluster.during(pending);
  await cluster.during(Promise.all(closing));
  assert.equal(outcomes.length, 100);
  cluster.crash(...cluster.seats);
  await cluster.start(...cluster.seats);
  await cluster.one('after', 3);
  for (const [at, outcome] of outcomes.entries()) {
    const place = cluster.place(`s/${at}`);
    if (typeof outcome === 'number') assert.equal(place, outcome, 'an answer is kept');
    if (outcome === 'not-applied') assert.equal(place, undefined);
  }
});

withReplicas('4A restart and submit: crashes under load, nothing twice', three, async (cluster) => {
  await cluster.one('first', 3);
  for (let round = 0; round < 4; round++) {
    const pending = submitMany(cluster, `r${round}`, 60);
    await cluster.wait(cluster.random.below(8));
    cluster.crash(...cluster.seats);
    const outcomes = await cluster.during(pending);
    await cluster.start(...cluster.seats);
    await cluster.one(`${round} after`, 3);
    for (const [at, outcome] of outcomes.entries()) {
      const place = cluster.place(`r${round}/${at}`);
      if (typeof outcome === 'number') assert.equal(place, outcome, 'an answer is kept');
      if (outcome === 'not-applied') assert.equal(place, undefined, 'and a refusal is one');
    }
  }
});

withReplicas(
  '4A snapshot and restore: the log stays short, the state stays whole',
  { ...three, snapshotEntries: 20 },
  async (cluster) => {
    for (let count = 0; count < 120; count++) await cluster.one(`${count}`, 1);
    const before = cluster.order.length;
    await cluster.restart(...cluster.seats);
    for (const { node } of cluster.seats) {
      const { snapshotIndex, firstIndex } = node!.replica.status();
      assert.ok(snapshotIndex >= 60, `the snapshot at ${snapshotIndex} holds most`);
      assert.ok(firstIndex > 20, 'and what it holds is not in the log');
    }
    assert.equal(await cluster.one('after', 3), before);
  },
);
