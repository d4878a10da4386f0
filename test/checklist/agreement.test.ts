/**
 * The Paxos lab of 6.824, on a log: agreement whatever the network does, memory that is given back,
 * and a minority that decides nothing. Both cores must do what the lab asks of Paxos.
 */
import assert from 'node:assert/strict';
import { ELECTION_MS } from './core-cluster.ts';
import { onEveryCore } from './support.ts';

onEveryCore('Paxos lab, speed: one command after the other', { nodes: 3 }, (cluster) => {
  const leader = cluster.checkOneLeader();
  const beganMs = cluster.nowMs;
  for (let count = 0; count < 200; count++) {
    const index = cluster.propose(leader, `${count}`)!;
    while (cluster.appliedBy(index) === 0) cluster.wait(1);
  }
  // A way there, a write, a way back: no heartbeat is waited for.
  assert.ok(cluster.nowMs - beganMs <= 200 * 4, `${cluster.nowMs - beganMs} ms`);
});

onEveryCore(
  'Paxos lab, basic: many proposers, same and different values, one is chosen in each place',
  { nodes: 3, seeds: 5 },
  (cluster) => {
    for (let round = 0; round < 30; round++) {
      for (const seat of cluster.seats) {
        // Everybody believes to be the one to decide.
        if (cluster.random.below(3) === 0) seat.core.campaign();
        cluster.propose(seat, round % 2 === 0 ? 'same' : `${round} of ${seat.id}`);
      }
      cluster.wait(cluster.random.below(6));
    }
    cluster.checkAllAgree();
  },
);

onEveryCore(
  'Paxos lab, out of order: what comes late and in any order is put in its place',
  { nodes: 3, seeds: 5 },
  (cluster) => {
    cluster.checkOneLeader();
    cluster.unreliable = true;
    cluster.longReordering = true;
    for (let count = 0; count < 30; count++) {
      for (const seat of cluster.seats) cluster.propose(seat, `${count} of ${seat.id}`);
      cluster.wait(20);
    }
    cluster.unreliable = false;
    cluster.checkAllAgree();
  },
);

onEveryCore(
  'Paxos lab, deaf proposer: it learns what the others chose',
  { nodes: 5 },
  (cluster) => {
    cluster.one('first', 5, true);
    const leader = cluster.checkOneLeader();
    const at = cluster.seats.indexOf(leader);
    const [deaf, alsoDeaf] = [cluster.seat(at).id, cluster.seat(at + 1).id];
    // They speak and hear nothing.
    cluster.filter = ({ to }) => to !== deaf && to !== alsoDeaf;
    cluster.propose(leader, 'of the deaf');
    cluster.wait(2 * ELECTION_MS);
    cluster.one('of the others', 3, true);
    cluster.filter = () => true;
    cluster.checkAllAgree();
  },
);

onEveryCore(
  'Paxos lab, forget: what all have done is not kept',
  { nodes: 3, snapshotEvery: 10 },
  (cluster) => {
    for (let count = 0; count < 100; count++) {
      cluster.one(`${count}`.padEnd(10_000), 3, true);
    }
    for (const { core, disk } of cluster.seats) {
      const { firstIndex, lastIndex } = core.status();
      assert.ok(lastIndex - firstIndex < 30, `${firstIndex} to ${lastIndex} are in memory`);
      assert.ok(disk.entries.length < 30);
    }
  },
);

onEveryCore(
  'Paxos lab, forget many: forgetting and forgotten nodes in an unreliable network',
  { nodes: 5, seeds: 3, unreliable: true, snapshotEvery: 5 },
  (cluster) => {
    for (let round = 0; round < 40; round++) {
      const away = cluster.seat(cluster.random.below(5));
      cluster.disconnect(away);
      for (const seat of cluster.seats) cluster.propose(seat, `${round} of ${seat.id}`);
      cluster.wait(cluster.random.below(60));
      cluster.connect(away);
    }
    cluster.unreliable = false;
    cluster.checkAllAgree();
  },
);

onEveryCore('Paxos lab, RPC count: few messages for each agreement', { nodes: 3 }, (cluster) => {
  const leader = cluster.checkOneLeader();
  cluster.one('first', 3, true);
  const before = cluster.messagesSent;
  const beganMs = cluster.nowMs;
  for (let count = 0; count < 50; count++) {
    const index = cluster.propose(leader, `${count}`)!;
    cluster.until('it is applied', () => cluster.appliedBy(index) === 3);
  }
  // Where its answer comes while an entry is under way, the leader asks once whether that was lost.
  const heartbeats = Math.ceil((cluster.nowMs - beganMs) / 10 + 1) * 8;
  // No phase one: it was done once for all places to come.
  assert.ok(cluster.messagesSent - before - heartbeats <= 50 * 8);
});

onEveryCore(
  'Paxos lab, many instances: hundreds of places under decision at once',
  { nodes: 3, seeds: 3, unreliable: true },
  (cluster) => {
    const leader = cluster.checkOneLeader();
    const texts = Array.from({ length: 500 }, (_, count) => `${count}`);
    for (const text of texts) cluster.propose(leader, text);
    cluster.unreliable = false;
    cluster.checkAllAgree();
  },
);

onEveryCore(
  'Paxos lab, a minority is ignored, also with an old proposal in hand',
  { nodes: 5, seeds: 5 },
  (cluster) => {
    cluster.one('first', 5, true);
    const leader = cluster.checkOneLeader();
    const at = cluster.seats.indexOf(leader);
    const minority = [leader, cluster.seat(at + 1)];
    const majority = [2, 3, 4].map((step) => cluster.seat(at + step));
    cluster.disconnect(...majority);
    const index = cluster.propose(leader, 'of two')!;
    cluster.wait(20);
    cluster.disconnect(...minority);
    cluster.connect(...majority);
    const place = cluster.one('of three', 3, true);
    cluster.connect(...minority);
    cluster.checkAllAgree();
    // Either nobody of the three knew of it, or nobody decided otherwise.
    assert.equal(cluster.chosen.includes('of two'), false);
    assert.ok(place >= index);
  },
);

onEveryCore(
  'Paxos lab, many unreliable: proposals everywhere, losses everywhere',
  { nodes: 5, seeds: 4, unreliable: true },
  (cluster) => {
    for (let round = 0; round < 60; round++) {
      for (const seat of cluster.seats) cluster.propose(seat, `${round} of ${seat.id}`);
      cluster.wait(10);
    }
    cluster.unreliable = false;
    cluster.checkAllAgree();
  },
);

onEveryCore(
  'Paxos lab, partition heals: who was apart agrees',
  { nodes: 5, seeds: 4 },
  (cluster) => {
    for (let round = 0; round < 10; round++) {
      const away = [cluster.seat(cluster.random.below(5)), cluster.seat(cluster.random.below(5))];
      cluster.disconnect(...away);
      for (const seat of away) cluster.propose(seat, `${round} apart ${seat.id}`);
      cluster.one(`${round} together`, 3, true);
      cluster.connect(...away);
      cluster.wait(cluster.random.below(200));
    }
    cluster.checkAllAgree();
  },
);

onEveryCore(
  'Paxos lab, lots: the parts change again and again under load',
  { nodes: 5, seeds: 3, unreliable: true },
  (cluster) => {
    let parts = new Map<string, number>();
    cluster.filter = ({ from, to }) => parts.get(from) === parts.get(to);
    for (let round = 0; round < 60; round++) {
      parts = new Map(cluster.voters.map((id) => [id, cluster.random.below(3)]));
      for (const seat of cluster.seats) cluster.propose(seat, `${round} of ${seat.id}`);
      cluster.wait(cluster.random.below(250));
    }
    cluster.filter = () => true;
    cluster.unreliable = false;
    cluster.checkAllAgree();
  },
);
