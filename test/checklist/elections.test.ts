/** 6.5840, part 3A: one leader at a time, and soon another where it is lost. */
import assert from 'node:assert/strict';
import { ELECTION_MS } from './core-cluster.ts';
import { onEveryCore } from './support.ts';

onEveryCore('3A initial election: one leader, and it stays', { nodes: 3, seeds: 10 }, (cluster) => {
  const leader = cluster.checkOneLeader();
  const { term } = leader.core.status();
  assert.ok(term >= 1);
  cluster.wait(2 * ELECTION_MS);
  assert.equal(cluster.checkOneLeader(), leader);
  for (const { core } of cluster.seats) {
    assert.equal(core.status().term, term, 'without a failure nobody begins a term');
    assert.equal(core.status().leader, leader.id, 'everybody knows who leads');
  }
});

onEveryCore('3A re-election after a network failure', { nodes: 3, seeds: 10 }, (cluster) => {
  const first = cluster.checkOneLeader();
  cluster.disconnect(first);
  const second = cluster.checkOneLeader();
  assert.notEqual(second, first);

  cluster.connect(first);
  assert.equal(cluster.checkOneLeader(), second, 'who comes back does not disturb');

  const third = cluster.seats.find((seat) => seat !== first && seat !== second)!;
  cluster.disconnect(second, third);
  cluster.wait(2 * ELECTION_MS);
  cluster.checkNoLeader();

  cluster.connect(third);
  cluster.checkOneLeader();
  cluster.connect(second);
  cluster.checkOneLeader();
});

onEveryCore(
  '3A many elections: seven nodes, any three of them cut off',
  { nodes: 7 },
  (cluster) => {
    cluster.checkOneLeader();
    for (let round = 0; round < 10; round++) {
      const away = [0, 1, 2].map(() => cluster.seat(cluster.random.below(7)));
      cluster.disconnect(...away);
      cluster.checkOneLeader();
      cluster.connect(...away);
    }
    cluster.checkOneLeader();
  },
);
